"""Tells the records that are made while shipping records: those must not be shipped again.

By thread and by moment, not by the name of a logger: whatever tornado, asyncio, ssl or a
serializer logs while it works for us is meant, whatever it logs otherwise is not.

A signal handler or a ``__del__`` may run on top of the conversion of a record, and has nothing to
do with it: what it logs is the program's. The stack tells.
"""

import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, TypeVar

T = TypeVar("T")


class _Here(threading.local):
    depth = 0


here: Final = _Here()
"""This thread's depth: 0 where the program works for itself.

On a thread that logs it is changed and put back within one ``try``. A signal handler that raises
(a time limit, Ctrl-C) may do so when a function begins, ``__exit__`` for one: the thread would be
taken for shipping for good.
"""


def mark_this_thread_as_shipping() -> None:
    """All that this thread does is shipping."""
    here.depth = 1 << 30


def is_shipping() -> bool:
    """Whether the running code works for a handler of ours."""
    return here.depth > 0 and not (here.depth == 1 and _interrupted())


def as_shipping(work: Callable[..., T], *arguments: Any) -> T:
    """Return what ``work(*arguments)`` returns, which works for a handler: a key maker, say."""
    depth, here.depth = here.depth, here.depth + 1
    try:
        return work(*arguments)
    finally:
        here.depth = depth


class _Shipping:
    """What runs inside works for a handler; for where no signal handlers run."""

    def __enter__(self) -> None:
        here.depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if here.depth > 0:  # not_shipping() may have been cut short
            here.depth -= 1


shipping: Final = _Shipping()


@contextmanager
def not_shipping() -> Iterator[None]:
    """What runs inside works for the program again: its fallback handler."""
    depth, here.depth = here.depth, 0
    try:
        yield
    finally:
        here.depth = depth


def _interrupted() -> bool:
    """Whether a signal handler or a ``__del__`` runs on top of the conversion.

    Only once: what they log while theirs is converted may be a loop.
    """
    handlers = set(map(_code_of, map(signal.getsignal, signal.valid_signals())))
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not _converts(frame):
        if frame.f_code in handlers or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _converts(frame: FrameType) -> bool:
    return frame.f_code.co_name == "convert" and frame.f_globals.get("__name__") == _CONVERSION


_CONVERSION: Final = "kiel_logging.record.conversion"


def _code_of(handler: Any) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    function = getattr(handler, "__func__", handler)
    if callable(handler) and not hasattr(function, "__code__"):  # an object that can be called
        function = getattr(type(handler), "__call__", None)  # noqa: B004 # it can, and how?
    return getattr(function, "__code__", None)
