"""A Tornado web app whose access log goes to Kafka, keyed by the client's address.

KAFKA_BROKERS=localhost:9092 python examples/tornado_app.py
curl localhost:8888/hello/ada
"""

import asyncio
import logging
import logging.config
import os

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

access_log = logging.getLogger("shop.access")


def config(brokers: str) -> dict[str, object]:
    """Return a dictConfig: requests to one topic, everything else to another."""
    kafka = {
        "class": "kiel_logging.KafkaHandler",
        "brokers": brokers,
        "close_timeout_ms": 2_000,
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "access": {**kafka, "topic": "shop.access", "key_field": "remote_ip"},
            "app": {**kafka, "topic": "shop.app"},
        },
        "loggers": {"shop.access": {"handlers": ["access"], "propagate": False}},
        "root": {"level": "INFO", "handlers": ["app"]},
    }


class Hello(RequestHandler):
    """Greets."""

    def get(self, name: str) -> None:
        """Log as in any program: the call puts the record into the buffer and returns."""
        logging.getLogger("shop.hello").info("greeting %s", name, extra={"user": name})
        self.write(f"Hello, {name}\n")


def log_request(handler: RequestHandler) -> None:
    """Take the place of Tornado's own access log, with fields instead of a line of text."""
    request = handler.request
    access_log.info(
        "%s %s",
        request.method,
        request.path,
        extra={
            "status": handler.get_status(),
            "method": request.method,
            "uri": request.uri,
            "remote_ip": request.remote_ip,
            "duration_ms": round(request.request_time() * 1000, 3),
            "user_agent": request.headers.get("User-Agent"),
        },
    )


async def main() -> None:
    """Serve until stopped."""
    logging.config.dictConfig(config(os.environ.get("KAFKA_BROKERS", "localhost:9092")))
    app = Application([(r"/hello/(\w+)", Hello)], log_function=log_request)
    server = HTTPServer(app)
    for listening in bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1"):
        server.add_socket(listening)
        print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
