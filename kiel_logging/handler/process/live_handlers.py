"""The handlers that are there: for what concerns all of a process, its forks and its end.

Weak: a handler that is in here is not kept alive by it.
"""

import logging
import weakref
from typing import Any, Protocol


class Live(Protocol):
    """What a fork, a signal and the end of the process want of a handler."""

    flushes_on_sigterm: bool | None

    def finish(self, *, last: bool = False) -> int:
        """As ``flush()``, and say what is to be said last: perhaps nothing comes any more."""

    def begin_to_end(self) -> None:
        """Start to deliver what is buffered; the process is about to end."""

    def tell_what_is_lost(self) -> None:
        """Say on stderr what did not reach Kafka."""

    def pause(self, timeout: float) -> bool:
        """Hold the loop thread still; return whether ``go_on()`` has to be called.

        Raises:
            TimeoutError: it works all of ``timeout`` seconds.
        """

    def go_on(self) -> None:
        """Let it work again."""

    def start_over(self) -> None:
        """This is a forked child: what is buffered is the parent's."""


# Not a WeakSet: those can't be read while another thread adds to them.
_handlers: dict[int, "weakref.ref[Any]"] = {}


def add(handler: Live) -> None:
    """``handler`` was made."""
    number = id(handler)
    _handlers[number] = weakref.ref(handler, lambda _ref: _handlers.pop(number, None))


def remove(handler: Live) -> None:
    """``handler`` was closed."""
    _handlers.pop(id(handler), None)


def live_handlers() -> list[Any]:
    """Return all that were made and not closed, oldest first."""
    found = [reference() for reference in list(_handlers.values())]
    return [handler for handler in found if isinstance(handler, logging.Handler)]
