"""A WSGI application; those of Flask and Django are started in the same way."""

import logging
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

from request_id import request_id

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

log = logging.getLogger("shop")
log.info("application loaded")


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Greet. A thread or greenlet has its own value of request_id."""
    request_id.set(environ.get("HTTP_X_REQUEST_ID") or uuid.uuid4().hex)
    log.info("begin %s", environ["PATH_INFO"])
    time.sleep(0.01)  # other greenlets run here
    log.info("end %s", environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"Hello\n"]
