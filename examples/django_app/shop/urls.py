"""The pages of the shop."""

import logging

from django.http import HttpRequest, HttpResponse
from django.urls import path

log = logging.getLogger(__name__)


def hello(request: HttpRequest, name: str) -> HttpResponse:
    """Log as in any program: the call puts the record into the buffer and returns."""
    log.info("greeting %s", name, extra={"user": name})
    return HttpResponse(f"Hello, {name}\n")


def fail(request: HttpRequest) -> HttpResponse:
    """Django logs the exception, with its traceback."""
    raise ValueError("card declined")


urlpatterns = [path("hello/<name>", hello), path("fail", fail)]
