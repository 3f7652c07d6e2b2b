"""What happens to handlers at ``os.fork()``, and so in all that forks: multiprocessing, gunicorn...

Before: every loop thread is held still, so that none is cut in the middle of a frame, or of an
import, whose lock would stay locked in the child for ever. Logging's own lock is taken first: a
thread that has it may be waiting for a loop thread (dictConfig closes handlers), and a loop thread
for it. A fork holds all of them or none.

In the child: the records, sockets and producer id are the parent's. A handler starts over with an
empty buffer, its own counts and, once it is used, its own thread and connections.
"""

import logging
import os
import threading
import time
from typing import Any, Final

from kiel_logging.handler.process.live_handlers import live_handlers
from kiel_logging.handler.process.loading import wait_for_modules
from kiel_logging.native import monotonic

_PATIENCE: Final = 5.0
"""Seconds that a fork waits for loop threads; after that it goes on all the same.

They may run what the program gave the handler: a partitioner, a fallback. Nothing that the child
needs depends on these."""

_AT_ONCE: Final = 0.05
"""Seconds that it waits for one of them before it lets everybody else go on."""

_A_MOMENT: Final = 0.001
"""Seconds in which whoever waits for logging's lock gets it."""

_forking: tuple[int, int] | None = None
"""The process and the thread that are about to fork."""

_lock: Any = None
_paused: list[Any] = []
_postponed: list[tuple[int, int]] = []


def postpone(signal_number: int) -> bool:
    """See to it that a signal is handled when this thread has forked, if it is about to.

    Returns:
        Whether it is: what waits for a loop thread then waits in vain.
    """
    if _forking is None or _forking[1] != threading.get_ident():
        return False
    _postponed.append((os.getpid(), signal_number))
    return True


def is_forking() -> bool:
    """Whether this thread is about to fork, and so holds all loop threads still."""
    return _forking is not None and _forking == (os.getpid(), threading.get_ident())


def _before() -> None:
    deadline = monotonic() + _PATIENCE
    _begin()
    while not _hold_all() and monotonic() < deadline:
        _let_all_go_on()
        _end()
        time.sleep(_A_MOMENT)
        wait_for_modules(deadline - monotonic())
        _begin()


def _begin() -> None:
    global _forking, _lock
    lock: Any = logging._lock  # type: ignore[attr-defined] # billiard makes a new one
    lock.acquire()
    _lock = lock
    _forking = os.getpid(), threading.get_ident()


def _end() -> None:
    global _forking
    _forking = None
    _lock.release()


def _hold_all() -> bool:
    still = True
    for handler in live_handlers():
        try:
            if handler.pause(_AT_ONCE):
                _paused.append(handler)
        except TimeoutError:
            still = False
    return still


def _let_all_go_on() -> None:
    while _paused:
        _paused.pop().go_on()


def _in_the_parent() -> None:
    _let_all_go_on()
    _end()
    _handle_postponed()


def _in_the_child() -> None:
    global _forking
    _paused.clear()
    if _lock is not None:  # else the fork ran this half of the hooks alone, as uWSGI can
        _lock._at_fork_reinit()
    for handler in live_handlers():
        handler.start_over()
    _forking = None
    _handle_postponed()


def _handle_postponed() -> None:
    while _postponed:
        process, number = _postponed.pop()
        if process == os.getpid():  # else it is the parent's
            os.kill(process, number)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_before, after_in_parent=_in_the_parent, after_in_child=_in_the_child
    )
