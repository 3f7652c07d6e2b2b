"""An audit stream in a Tornado app, from the request to the verified topic.

A transfer is confirmed when its log records are stored by the brokers, or are on disk to be stored
later. At the end ``kiel-logging verify`` checks that the topic has all of them, unchanged.

KAFKA_BROKERS=localhost:9092 python examples/audit_app.py
"""

import asyncio
import logging
import os
import sys
from contextlib import closing

from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from kiel_logging import AuditHandler
from kiel_logging.cli import main as kiel_logging_command
from kiel_logging.errors import NotAcknowledged

BROKERS = os.environ.get("KAFKA_BROKERS", "localhost:9092")
TOPIC = os.environ.get("TOPIC", "shop.transfers")
SPOOL = os.environ.get("SPOOL_DIR", "transfers-spool")
KEY = {"env": "AUDIT_KEY"}
"""With it ``verify`` is evidence against people who can write to the topic and don't have it."""

audit = logging.getLogger("audit")


class Transfer(RequestHandler):
    """Moves money, and logs that."""

    def initialize(self, stream: AuditHandler) -> None:
        """``stream`` gets the log records."""
        self.stream = stream

    async def post(self, source: str, target: str, amount: str) -> None:
        """Answer 201 with the places of the records, or 202 if they are not stored yet."""
        trace = {"account": source, "target": target, "amount": amount}
        try:
            async with self.stream.receipts(timeout=2.0) as receipts:
                audit.info("transfer from %s to %s begun", source, target, extra=trace)
                await asyncio.sleep(0)  # the money would be moved here
                audit.debug("transfer from %s to %s done", source, target, extra=trace)
        except NotAcknowledged as error:
            self.set_status(202)
            self.write({"waiting": len(error.undelivered)})
            return
        self.set_status(201)
        self.write({"stored": [f"{one.topic}[{one.partition}]@{one.offset}" for one in receipts]})


async def serve(stream: AuditHandler) -> None:
    """Serve three transfers, and print the responses."""
    sockets = bind_sockets(0, "127.0.0.1")
    application = Application(
        [(r"/transfer/(\w+)/(\w+)/(\d+)", Transfer, {"stream": stream})], log_function=str
    )
    server = HTTPServer(application)
    server.add_sockets(sockets)
    port = sockets[0].getsockname()[1]
    for path in ("ada/bob/10", "bob/eve/7", "ada/eve/3"):
        url = f"http://127.0.0.1:{port}/transfer/{path}"
        response = await AsyncHTTPClient().fetch(url, method="POST", body=b"")
        print(path, response.code, response.body.decode())
    server.stop()


def main() -> int:
    """Serve, close the stream, and return the exit status of ``kiel-logging verify``."""
    os.environ.setdefault("AUDIT_KEY", "from a secret store")
    stream = AuditHandler(
        BROKERS,
        TOPIC,
        spool_dir=SPOOL,
        spool="always",
        key_field="account",
        chain_key=KEY,
    )
    audit.setLevel(logging.CRITICAL)  # as a careless dictConfig may; the stream gets all records
    with closing(stream):
        asyncio.run(serve(stream))
    topic = ["--brokers", BROKERS, "--topic", TOPIC]
    return kiel_logging_command(["verify", *topic, "--key-env", KEY["env"], "--timeout", "5"])


if __name__ == "__main__":
    sys.exit(main())
