"""Forks: loop threads do nothing while their process forks, and the child starts anew."""

import logging
import os
import sys
import threading
import time
import weakref
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from kiel_logging.diagnostics import report
from kiel_logging.handler.exits import lifecycles
from kiel_logging.handler.loading import wait_for_modules
from kiel_logging.native import monotonic

if TYPE_CHECKING:
    from kiel_logging.handler.loop_thread import Gate, Runner

_PATIENCE: Final = 5.0
"""Seconds that a fork waits for loop threads; after that it forks all the same.

They may run what the program gave the handler: a partitioner, a fallback. Nothing that the child
needs depends on these."""

_AT_ONCE: Final = 0.05
"""Seconds that it waits for one of them before it releases the others for a while."""

_A_MOMENT: Final = 0.001
"""Seconds in which a thread that waits for logging's lock gets it."""

_runners: "dict[int, tuple[weakref.ref[Runner], int]]" = {}
"""By their ids: loop threads, and the processes that they belong to."""

_forking: tuple[int, int] | None = None
"""The process and the thread that are about to fork."""

_lock: Any = None
_held: "list[Gate]" = []
_postponed: list[tuple[int, int]] = []


def register(runner: "Runner") -> None:
    """Have forks wait until ``runner`` does nothing, as long as it is there."""
    number = id(runner)
    _runners[number] = weakref.ref(runner, lambda _: _runners.pop(number, None)), os.getpid()


def abandon_runners() -> None:
    """Close the files of the parent's loops, in a forked child: once, for later they may be
    others'."""
    for number, (reference, process) in list(_runners.items()):
        is_first = process != os.getpid() and _runners.pop(number, None) is not None
        if is_first and (runner := reference()) is not None:
            runner.abandon()


def is_forking() -> bool:
    """Whether this thread is about to fork, and so holds all loop threads still."""
    return _forking is not None and _forking == (os.getpid(), threading.get_ident())


def postpone(signal_number: int) -> bool:
    """Postpone a signal until this thread has forked, if it is about to.

    Returns:
        Whether it is. During a fork no wait for a loop thread ends.
    """
    if _forking is None or _forking[1] != threading.get_ident():
        return False
    _postponed.append((os.getpid(), signal_number))
    return True


def _before() -> None:
    if "billiard" in sys.modules:  # its children load this at once, and too late for our hook
        import_module("multiprocessing.util")
    deadline = monotonic() + _PATIENCE
    _lock_logging()
    while not _hold_all() and monotonic() < deadline:
        _resume_all()
        _unlock_logging()
        time.sleep(_A_MOMENT)
        wait_for_modules(deadline - monotonic())
        _lock_logging()


def _lock_logging() -> None:
    global _forking, _lock
    lock: Any = logging._lock  # type: ignore[attr-defined] # billiard makes a new one
    lock.acquire()
    _lock = lock
    _forking = os.getpid(), threading.get_ident()


def _unlock_logging() -> None:
    global _forking
    _forking = None
    _lock.release()


def _hold_all() -> bool:
    still = True
    for reference, process in list(_runners.values()):
        runner = reference()
        if runner is None or process != os.getpid() or runner.thread.is_current:
            continue
        if runner.gate.acquire(_AT_ONCE):
            _held.append(runner.gate)
        else:
            still = False
    return still


def _resume_all() -> None:
    while _held:
        _held.pop().release()


def _in_the_parent() -> None:
    _resume_all()
    _unlock_logging()
    _send_postponed()


def _in_the_child() -> None:
    global _forking
    _held.clear()
    if _lock is not None:  # else the fork ran this half of the hooks alone, as uWSGI can
        _lock._at_fork_reinit()
    for lifecycle in lifecycles():
        lifecycle.reset()
    _forking = None
    _send_postponed()


def _send_postponed() -> None:
    while _postponed:
        process, number = _postponed.pop()
        if process == os.getpid():  # else it is the parent's
            os.kill(process, number)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_before, after_in_parent=_in_the_parent, after_in_child=_in_the_child
    )

_has_warned = False


def warn_before_forks_in_c() -> None:
    """Report that workers of uWSGI may hang, where a thread starts before uWSGI forks them.

    It forks in C, and without the GIL. A worker that is forked while the thread has the GIL, or is
    about to get it, waits for ever. With its option, uWSGI takes the GIL and runs Python's hooks.
    """
    global _has_warned
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is None or uwsgi.worker_id() or uwsgi.masterpid() not in (0, os.getpid()):
        return
    forks = uwsgi.numproc > 1 or "master" in uwsgi.opt
    if forks and "py-call-uwsgi-fork-hooks" not in uwsgi.opt and not _has_warned:
        _has_warned = True
        report(
            logging.WARNING,
            "uWSGI is about to fork beside the thread that ships log records, and its workers may "
            "hang: start it with --py-call-uwsgi-fork-hooks, or with --lazy-apps",
        )
