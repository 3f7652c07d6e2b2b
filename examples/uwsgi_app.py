"""A WSGI application for uWSGI.

KIEL_LOGGING_BROKERS=localhost:9092 uwsgi --http-socket 127.0.0.1:8000 uwsgi.ini
"""

import logging
import time
import uuid
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING

import kiel_logging

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

request_id: ContextVar[str] = ContextVar("request_id")
log = logging.getLogger("shop")

# Brokers, a spool directory and more come from KIEL_LOGGING_* variables.
kiel_logging.setup(topic="shop.uwsgi", context={"request_id": request_id})
log.info("application loaded")


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Greet; ``/slow`` takes longer than harakiri allows."""
    request_id.set(environ.get("HTTP_X_REQUEST_ID") or uuid.uuid4().hex)
    log.info("request %s", environ["PATH_INFO"])
    if environ["PATH_INFO"] == "/slow":
        time.sleep(60)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"Hello\n"]
