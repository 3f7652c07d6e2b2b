"""A Tornado web app whose access log goes to Kafka, and each record knows its request.

KIEL_LOGGING_BROKERS=localhost:9092 python examples/tornado_app.py
curl localhost:8888/hello/ada
"""

import asyncio
import logging
import logging.config
import os
import signal
import uuid
from contextvars import ContextVar

from tornado import autoreload
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

access_log = logging.getLogger("shop.access")
request_id: ContextVar[str] = ContextVar("request_id")


def config(brokers: str) -> dict[str, object]:
    """Return a dictConfig: requests to one topic, everything else to another."""
    kafka = {
        "class": "kiel_logging.KafkaHandler",
        "brokers": brokers,
        "context": {"request_id": request_id},
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "access": {**kafka, "topic": "shop.access", "key_field": "remote_ip"},
            "app": {**kafka, "topic": "shop.app"},
            "console": {"class": "logging.StreamHandler"},
        },
        "loggers": {"shop.access": {"handlers": ["access"], "propagate": False}},
        "root": {"level": "INFO", "handlers": ["app", "console"]},
    }


class Hello(RequestHandler):
    """Greets."""

    def prepare(self) -> None:
        """Give the request an id. Tornado handles each in a task, which has its own value."""
        request_id.set(self.request.headers.get("X-Request-ID") or uuid.uuid4().hex)

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
    logging.config.dictConfig(config(os.environ.get("KIEL_LOGGING_BROKERS", "localhost:9092")))
    autoreload.add_reload_hook(logging.shutdown)  # it starts the program again by execv()
    app = Application(
        [(r"/hello/(\w+)", Hello)],
        log_function=log_request,
        autoreload=bool(os.environ.get("DEBUG")),
    )
    server = HTTPServer(app)
    for listening in bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1"):
        server.add_socket(listening)
        logging.info("listening on http://127.0.0.1:%d", listening.getsockname()[1])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.stop()
    await server.close_all_connections()
    logging.info("stopped")


if __name__ == "__main__":
    asyncio.run(main())
