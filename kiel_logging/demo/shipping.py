"""Switching the shop's logging on and off, and asking its handlers how they did."""

import logging
import logging.config
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from kiel_logging.demo.errors import DemoError


class HandlerStats(Protocol):
    """What the demo reads of a handler's own account. ``dropped`` is reason -> records."""

    @property
    def emitted(self) -> int: ...
    @property
    def delivered(self) -> int: ...
    @property
    def dropped(self) -> Mapping[str, int]: ...
    @property
    def failed(self) -> int: ...


class ShippingHandler(Protocol):
    """What the demo calls of a handler beyond what ``logging`` does."""

    def flush(self, timeout: float | None = None) -> int: ...
    def close(self) -> None: ...
    def stats(self) -> HandlerStats: ...


@contextmanager
def configured(config: dict[str, Any]) -> Iterator[Mapping[str, ShippingHandler]]:
    """Apply ``config`` and yield its handlers by name; afterwards they are closed and detached.

    Raises:
        DemoError: a handler refused its options.
    """
    try:
        logging.config.dictConfig(config)
    except ValueError as error:
        raise DemoError(str(error.__cause__ or error)) from error
    loggers = [logging.getLogger(name) for name in config["loggers"]]
    handlers: dict[str, Any] = {
        str(handler.name): handler for logger in loggers for handler in logger.handlers
    }
    try:
        yield handlers
    finally:
        for logger in loggers:
            logger.handlers.clear()
        for handler in handlers.values():
            handler.close()


def flush_all(handlers: Mapping[str, ShippingHandler], timeout: float) -> float:
    """Flush all handlers and return how many seconds it took.

    ``timeout`` is in seconds, for all of them together. What is still undelivered then shows up in
    the statistics, and as lost.
    """
    start = time.monotonic()
    for handler in handlers.values():
        handler.flush(max(start + timeout - time.monotonic(), 0.0))
    return time.monotonic() - start
