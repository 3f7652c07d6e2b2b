"""An id for each request."""

import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

request_id: ContextVar[str] = ContextVar("request_id")


def middleware(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Give each request an id: the client's, or a new one."""

    def handle(request: HttpRequest) -> HttpResponse:
        request_id.set(request.headers.get("X-Request-ID") or uuid.uuid4().hex)
        return get_response(request)

    return handle
