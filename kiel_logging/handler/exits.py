"""Exits: the handlers in use deliver before their process ends.

``logging.shutdown()`` flushes and closes every handler on logging's list, one after the other, at
the normal end of a program. This module sees to the rest: that all handlers use the same time, that
handlers are on the list which are in use though a ``dictConfig`` took them off, and that those are
closed that others opened again.
"""

import atexit
import contextlib
import logging
import math
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from kiel_logging import native
from kiel_logging.handler.recursion import mark_this_thread_as_shipping
from kiel_logging.native import monotonic

if TYPE_CHECKING:
    from kiel_logging.handler.lifecycle import AnyPipeline, Lifecycle

# Not a WeakKeyDictionary: those can't be read while another thread adds to them.
_live: "dict[int, tuple[weakref.ref[logging.Handler], Lifecycle]]" = {}


def register(handler: logging.Handler, lifecycle: "Lifecycle") -> None:
    """Note that ``handler`` is in use. It is not kept alive by that."""
    number = id(handler)
    _live[number] = weakref.ref(handler, lambda _ref: _live.pop(number, None)), lifecycle


def unregister(handler: logging.Handler) -> None:
    """Note that ``handler`` was closed."""
    _note_end()  # first: its figures count as well
    _live.pop(id(handler), None)


def lifecycles() -> "list[Lifecycle]":
    """Return those of all handlers that were made and not closed."""
    return [lifecycle for _, lifecycle in list(_live.values())]


def live_handlers() -> list[Any]:
    """Return all handlers that were made and not closed, oldest first."""
    found = [reference() for reference, _ in list(_live.values())]
    return [handler for handler in found if handler is not None]


at_ends: "Final[list[Callable[[], object]]]" = []
"""Called when a handler is closed, or delivered what it could at the end of its process."""


def _note_end() -> None:
    for function in at_ends:
        with contextlib.suppress(Exception):  # there is no disk, or no memory, for figures
            function()


def flush(ending: "list[Lifecycle]", *, last: bool) -> None:
    """Deliver what is buffered; ``last`` if the process certainly ends then."""
    for lifecycle in ending:
        lifecycle.start_shutdown()
    for lifecycle in ending:
        if lifecycle.finish(last=last):
            lifecycle.now().report_undelivered()
    _wait_for_those_aside()
    _note_end()


_RATHER_SOON: Final = 1.0
"""Seconds that other handlers have once the user pressed Ctrl-C."""

_deadline = math.inf


def give_up() -> None:
    """Have all handlers wait for a second at most from now on: the user pressed Ctrl-C."""
    global _deadline
    _deadline = min(_deadline, monotonic() + _RATHER_SOON)


def resume() -> None:
    """Let handlers wait as long as they like again: the program may continue."""
    global _deadline
    _deadline = math.inf


def deadline() -> float:
    """Return until when handlers may wait at the end of the process, in monotonic seconds."""
    return _deadline


_is_over = False


def is_over() -> bool:
    """Whether logging has closed all handlers at the end of the process. A thread that started
    now would never be ended."""
    return _is_over


class _End(logging.Handler):
    """Closed by ``logging.shutdown()`` behind all others: closes what these opened again.

    It keeps ``handlers``: one may be opened again until then, and its last reference may go before,
    as a MemoryHandler that closes hands on what it has, and forgets its target.
    """

    def __init__(self, handlers: list[Any]) -> None:
        super().__init__()
        self._handlers = handlers

    def close(self) -> None:
        global _is_over
        for handler in live_handlers():
            handler.close()
        _wait_for_those_aside()
        _is_over = True
        _remember_ctrl_c()


def _remember_ctrl_c() -> None:
    """Let the program end by SIGINT, status 130, if a Ctrl-C ended it.

    Python forgets that when any thread evaluates a string, as imports do that make named tuples:
    the loop thread may still load the network. A string that raises the same has Python know again.
    """
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1"):
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102 # nothing else does


_end: _End | None = None


@atexit.register  # and so before logging's own, which was registered earlier
def _start_shutdown() -> None:
    global _deadline, _end
    # A thread that logs on opens handlers again: they get no time of their own for that.
    deadlines = [lifecycle.start_shutdown() for lifecycle in lifecycles()]
    _deadline = min(_deadline, max(deadlines, default=math.inf))
    references: list[Any] = logging._handlerList  # type: ignore[attr-defined]
    listed = [reference() for reference in references]
    for handler in live_handlers():
        if handler not in listed:
            logging._addHandlerRef(handler)  # type: ignore[attr-defined]
    _end = _End(live_handlers())
    references[:] = [weakref.ref(_end), *(one for one in references if one() is not _end)]


_aside: "Final[dict[AnyPipeline, tuple[threading.Lock, float]]]" = {}
"""Pipelines whose handlers are gone: locks that are free once they are closed, and timeouts."""


def close_aside(pipeline: "AnyPipeline", timeout: float) -> None:
    """Close ``pipeline`` on another thread; the end of the process waits for it."""
    open_still = native.Lock()
    open_still.acquire()
    _aside[pipeline] = open_still, timeout

    def close() -> None:
        mark_this_thread_as_shipping()
        try:
            if pipeline.close(timeout):
                pipeline.report_undelivered()
        finally:
            _aside.pop(pipeline, None)
            open_still.release()

    with contextlib.suppress(RuntimeError):  # no thread can be had: see _wait_for_those_aside()
        native.start_new_thread(close, ())


def _wait_for_those_aside() -> None:
    for pipeline, (open_still, timeout) in list(_aside.items()):
        if pipeline.process != os.getpid():  # the parent's
            continue
        if pipeline.close(timeout):  # it had got no thread
            pipeline.report_undelivered()
        else:
            native.acquire(open_still, timeout)
