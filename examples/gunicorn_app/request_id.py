"""The id of a request, in a module that the master imports with gunicorn.conf.py."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id")
