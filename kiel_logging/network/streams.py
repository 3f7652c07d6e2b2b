"""The streams that connections are made of: Tornado's, but each says what is wrong only once.

Tornado logs a warning for what it raises as well, for every attempt and broker. Whoever gets the
error tells it, once in a while.
"""

import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final

from tornado.iostream import IOStream, SSLIOStream
from tornado.log import gen_log

from kiel_logging.wire.messages import MOST_BYTES

_raised_too: Final[ContextVar[bool]] = ContextVar("kiel_logging_raised_too", default=False)


def _is_news(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING or not _raised_too.get()


gen_log.addFilter(_is_news)  # by what runs, not by the text: streams of others are none of ours


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    before = _raised_too.set(True)
    try:
        yield
    finally:
        _raised_too.reset(before)


class _Plain(IOStream):
    def _handle_events(self, fd: Any, events: int) -> None:
        with _without_warnings():
            super()._handle_events(fd, events)


class _Encrypted(SSLIOStream):
    def _handle_events(self, fd: Any, events: int) -> None:
        with _without_warnings():
            super()._handle_events(fd, events)


def make_stream(plain: socket.socket, context: ssl.SSLContext | None) -> IOStream:
    """Return a stream over ``plain``, encrypted if there is a context for that."""
    if context is None:
        return _Plain(plain, max_buffer_size=2 * MOST_BYTES)
    return _Encrypted(plain, max_buffer_size=2 * MOST_BYTES, ssl_options=context)
