"""Processes: forks, signals, and ends, before which records have to be delivered.

``logging.shutdown()`` flushes and closes every handler on logging's list, one after the other, at
the normal end of a program. This module sees to the rest: that all handlers use the same time, that
handlers are on the list which are in use though a ``dictConfig`` took them off, that the children
of multiprocessing flush (they run no ``atexit``), and SIGTERM, which runs nothing.
"""

import atexit
import contextlib
import logging
import math
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from kiel_logging import native
from kiel_logging.diagnostics import report
from kiel_logging.handler.loading import wait_for_modules
from kiel_logging.handler.recursion import mark_this_thread_as_shipping
from kiel_logging.native import monotonic

if TYPE_CHECKING:
    from kiel_logging.handler.lifecycle import Lifecycle
    from kiel_logging.handler.plan import AnyPipeline

# Not a WeakKeyDictionary: those can't be read while another thread adds to them.
_live: "dict[int, tuple[weakref.ref[logging.Handler], Lifecycle]]" = {}


def register(handler: logging.Handler, lifecycle: "Lifecycle") -> None:
    """Note that ``handler`` is in use. It is not kept alive by that."""
    number = id(handler)
    _live[number] = weakref.ref(handler, lambda _ref: _live.pop(number, None)), lifecycle


def unregister(handler: logging.Handler) -> None:
    """Note that ``handler`` was closed."""
    _live.pop(id(handler), None)


def _lifecycles() -> "list[Lifecycle]":
    return [lifecycle for _, lifecycle in list(_live.values())]


def live_handlers() -> list[Any]:
    """Return all handlers that were made and not closed, oldest first."""
    found = [reference() for reference, _ in list(_live.values())]
    return [handler for handler in found if handler is not None]


at_ends: "Final[list[Callable[[], object]]]" = []
"""Called by ``note_end()``."""


def note_end() -> None:
    """Report that a handler is closed, or delivered what it could at the end of its process."""
    for function in at_ends:
        with contextlib.suppress(Exception):  # there is no disk, or no memory, for figures
            function()


_PATIENCE: Final = 5.0
"""Seconds that a fork waits for loop threads; after that it forks all the same.

They may run what the program gave the handler: a partitioner, a fallback. Nothing that the child
needs depends on these."""

_AT_ONCE: Final = 0.05
"""Seconds that it waits for one of them before it releases the others for a while."""

_A_MOMENT: Final = 0.001
"""Seconds in which a thread that waits for logging's lock gets it."""

_AFTER_HOOKS: Final = 0.01
"""Seconds after which a forked child has run all hooks."""

_forking: tuple[int, int] | None = None
"""The process and the thread that are about to fork."""

_lock: Any = None
_blocks_sigterm = False
_paused: "list[Lifecycle]" = []
_postponed: list[tuple[int, int]] = []


def postpone(signal_number: int) -> bool:
    """Postpone a signal until this thread has forked, if it is about to.

    Returns:
        Whether it is. During a fork no wait for a loop thread ends.
    """
    if _forking is None or _forking[1] != threading.get_ident():
        return False
    _postponed.append((os.getpid(), signal_number))
    return True


def is_forking() -> bool:
    """Whether this thread is about to fork, and so holds all loop threads still."""
    return _forking is not None and _forking == (os.getpid(), threading.get_ident())


def _before() -> None:
    if "billiard" in sys.modules:  # its children load this at once, and too late for our hook
        import_module("multiprocessing.util")
    deadline = monotonic() + _PATIENCE
    _lock_logging()
    while not _hold_all() and monotonic() < deadline:
        _resume_all()
        _unlock()
        time.sleep(_A_MOMENT)
        wait_for_modules(deadline - monotonic())
        _lock_logging()
    _block_sigterm()


def _block_sigterm() -> None:
    """Have the kernel keep SIGTERM until the fork is over.

    Python forgets, in the child, all signals that came before it runs its own code there. A pool
    that ended a worker that early would wait for it for ever.
    """
    global _blocks_sigterm
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    _blocks_sigterm = signal.SIGTERM not in before


def _unblock_sigterm() -> None:
    global _blocks_sigterm
    if _blocks_sigterm:
        _blocks_sigterm = False
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _unblock_sigterm_in_the_child() -> None:
    """Unblock SIGTERM. A handler of the program that raises, to end it, runs after the fork: an
    exception in a hook is ignored."""
    handler = signal.getsignal(signal.SIGTERM)
    is_foreign = callable(handler) and not isinstance(handler, _OnSigterm)
    if _blocks_sigterm and is_foreign and signal.SIGTERM in signal.sigpending():
        signal.sigwait([signal.SIGTERM])
        native.start_new_thread(_terminate_soon, ())
    _unblock_sigterm()


def _terminate_soon() -> None:
    native.sleep(_AFTER_HOOKS)
    os.kill(os.getpid(), signal.SIGTERM)


def _lock_logging() -> None:
    global _forking, _lock
    lock: Any = logging._lock  # type: ignore[attr-defined] # billiard makes a new one
    lock.acquire()
    _lock = lock
    _forking = os.getpid(), threading.get_ident()


def _unlock() -> None:
    global _forking
    _forking = None
    _lock.release()


def _hold_all() -> bool:
    still = True
    for lifecycle in _lifecycles():
        try:
            if lifecycle.pause(_AT_ONCE):
                _paused.append(lifecycle)
        except TimeoutError:
            still = False
    return still


def _resume_all() -> None:
    while _paused:
        _paused.pop().resume()


def _in_the_parent() -> None:
    _resume_all()
    _unblock_sigterm()  # before this thread has forked: a handler is postponed until then
    _unlock()
    _handle_postponed()


def _in_the_child() -> None:
    global _forking
    _paused.clear()
    if _lock is not None:  # else the fork ran this half of the hooks alone, as uWSGI can
        _lock._at_fork_reinit()
    for lifecycle in _lifecycles():
        lifecycle.reset()
    _stop_watching_in_the_child()
    _unblock_sigterm_in_the_child()
    if (util := sys.modules.get("multiprocessing.util")) is not None:  # which is billiard's too
        util.register_after_fork(_watch_sigterm, lambda watch: watch())  # called in workers only
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


_WORKERS: Final = ("multiprocessing", "billiard")
"""Packages whose children end by ``os._exit()``, after the finalizers of their ``util``."""

_LAST: Final = -100
"""Finalizers with a higher priority run before, and may log."""


class _End(logging.Handler):
    """Closed by ``logging.shutdown()`` behind all others: closes what these opened again."""

    def __init__(self, kept: list[Any]) -> None:
        super().__init__()
        self._kept = kept

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


_is_over = False
_end: _End | None = None

_RATHER_SOON: Final = 1.0
"""Seconds that other handlers have once the user pressed Ctrl-C."""

_deadline = math.inf


def give_up() -> None:
    """Have all handlers wait for a second at most from now on: the user pressed Ctrl-C."""
    global _deadline
    _deadline = min(_deadline, monotonic() + _RATHER_SOON)


def deadline() -> float:
    """Return until when handlers may wait at the end of the process, in monotonic seconds."""
    return _deadline


def is_over() -> bool:
    """Whether logging has closed all handlers at the end of the process. A thread that started
    now would never be ended."""
    return _is_over


@atexit.register  # and so before logging's own, which was registered earlier
def _start_shutdown() -> None:
    global _end
    for lifecycle in _lifecycles():
        lifecycle.start_shutdown()
    references: list[Any] = logging._handlerList  # type: ignore[attr-defined]
    listed = [reference() for reference in references]
    for handler in live_handlers():
        if handler not in listed:
            logging._addHandlerRef(handler)  # type: ignore[attr-defined]
    # As a handler may be opened again until then, and its last reference may go before: a
    # MemoryHandler that closes hands on what it has, and forgets its target.
    _end = _End(live_handlers())
    references[:] = [weakref.ref(_end), *(one for one in references if one() is not _end)]


_seen_to_in: int | None = None


def flush_at_the_end_of_a_worker() -> None:
    """Have handlers flush at the end of a child of multiprocessing, or of billiard."""
    global _seen_to_in
    if _seen_to_in == os.getpid():
        return
    for package in _WORKERS:
        util: Any = sys.modules.get(f"{package}.util")
        process: Any = sys.modules.get(f"{package}.process")
        if util is not None and process is not None and _is_a_worker(process.current_process()):
            util.Finalize(None, _end_of_a_worker, exitpriority=_LAST)
            # Again, behind all finalizers: an exception of a signal handler ends these.
            threading._register_atexit(_end_of_a_worker)  # type: ignore[attr-defined]
            flush_on_sigterm(None)  # billiard's have taken the parent's handler away
            _watch_sigterm()
            _flush_on_exit_of(getattr(process.current_process(), "_target", None))
    _seen_to_in = os.getpid()


def _is_a_worker(process: Any) -> bool:
    return getattr(process, "_parent_pid", None) is not None


def _flush_on_exit_of(worker: Any) -> None:
    """Have a worker of billiard's Pool, and so of Celery, flush: it runs no finalizers.

    It calls ``on_exit(pid, exitcode)``, if it has one, and then ``os._exit()``, or is killed.
    """
    if not hasattr(worker, "on_exit"):
        return
    previous = worker.on_exit

    def on_exit(pid: int, exitcode: int) -> None:
        try:
            if previous is not None:
                previous(pid, exitcode)
        finally:
            _end_of_a_worker()

    worker.on_exit = on_exit


def _end_of_a_worker() -> None:
    try:
        _flush(_lifecycles(), last=True)
    except SystemExit:  # of a signal handler: a pool's SIGTERM finds workers that end already
        _flush(_lifecycles(), last=True)
        raise


def _flush(lifecycles: "list[Lifecycle]", *, last: bool) -> None:
    """Deliver what is buffered; ``last`` if the process certainly ends then."""
    for lifecycle in lifecycles:
        lifecycle.start_shutdown()
    for lifecycle in lifecycles:
        if lifecycle.finish(last=last):
            lifecycle.report_undelivered()
    _wait_for_those_aside()
    note_end()


def flush_on_sigterm(asked: bool | None) -> None:
    """Let SIGTERM deliver what handlers have buffered, then do what it did before.

    Where that was not ``asked`` for, it has a handler only if SIGTERM would end the process at
    once. A program with another handler ends as that one decides.

    Args:
        asked: None for the default.
    """
    if asked is False or "uwsgi" in sys.modules:  # its handler is in C, and not seen from Python
        return
    if isinstance(before := signal.getsignal(signal.SIGTERM), _OnSigterm):
        return
    signal.raise_signal = _raise_signal
    if asked is None and before is not signal.SIG_DFL:
        return
    try:
        signal.signal(signal.SIGTERM, _OnSigterm(before))
    except ValueError as error:  # not the main thread or interpreter, or a server keeps signals
        if asked:
            _report_once(
                "flush_on_sigterm=True has no effect: no signal handler can be set here (%s); make "
                "the handler on the main thread, or call its flush() when the program ends",
                error,
            )


def warn_before_forks_in_c() -> None:
    """Report that workers of uWSGI may hang, where a thread starts before uWSGI forks them.

    It forks in C, and without the GIL. A worker that is forked while the thread has the GIL, or is
    about to get it, waits for ever. With its option, uWSGI takes the GIL and runs Python's hooks.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is None or uwsgi.worker_id() or uwsgi.masterpid() not in (0, os.getpid()):
        return
    if uwsgi.numproc > 1 or "master" in uwsgi.opt:
        if "py-call-uwsgi-fork-hooks" in uwsgi.opt:
            return
        _report_once(
            "uWSGI is about to fork beside the thread that ships log records, and its workers may "
            "hang: start it with --py-call-uwsgi-fork-hooks, or with --lazy-apps"
        )


_reported: set[str] = set()


def _report_once(message: str, *args: object) -> None:
    if message not in _reported:
        _reported.add(message)
        report(logging.WARNING, message, *args)


def _flushes(handler: Any) -> bool:
    return getattr(handler, "_flushes_on_sigterm", False) is not False


class _OnSigterm:
    """A signal handler in front of ``previous``, which ``signal.getsignal()`` returned."""

    def __init__(self, previous: Any) -> None:
        self._previous = previous
        self.ends_the_process = not callable(previous) and previous is not signal.SIG_IGN
        self.was_called = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if postpone(number):
            return
        self.was_called = True
        flushed = [life for ref, life in list(_live.values()) if _flushes(ref())]
        _flush(flushed, last=self.ends_the_process)
        global _deadline
        _deadline = math.inf  # the program may continue
        if callable(self._previous):
            self._previous(number, frame)
        elif self._previous is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            os._exit(128 + number)  # that signal ends every process but the first of a container


_raise: Final = signal.raise_signal


def _raise_signal(number: int) -> None:
    """Raise a signal, as ``signal.raise_signal()`` does; deliver first if it ends the process.

    uvicorn's workers have a handler of their own while they import the application. When they have
    shut down, they restore the default action and raise the signal again; nothing runs in between.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if number == signal.SIGTERM and is_main and signal.getsignal(number) is signal.SIG_DFL:
        _OnSigterm(signal.SIG_DFL)(number, None)
    else:
        _raise(number)


_STALLED: Final = 0.05
"""Seconds after which Python calls a signal's handler only if another signal comes."""

_watched: tuple[int, int] | None = None
"""Both ends of a pipe, into which Python writes the numbers of signals as they come."""


def _watch_sigterm() -> None:
    """Have SIGTERM end a worker even if it comes just before the main thread waits.

    Python calls signal handlers between two instructions. A signal that comes when a call has
    checked for signals, and does not wait in the kernel yet, interrupts nothing. A worker of a pool
    would wait for a semaphore of its parent, and the parent for the worker; the default action ends
    the worker. So a thread sends the signal again until the handler is called.

    A program's own handler is left alone: it might be called twice.
    """
    global _watched
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or _watched is not None or not _awaits_sigterm():
        return
    if (others := signal.set_wakeup_fd(-1)) != -1:
        signal.set_wakeup_fd(others)  # a loop of the program needs it
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        native.start_new_thread(_send_again, (native.get_ident(), reader))
    except RuntimeError:  # no thread can be had
        os.close(reader)
        os.close(writer)
    else:
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        _watched = reader, writer


def _awaits_sigterm() -> bool:
    handler = signal.getsignal(signal.SIGTERM)
    return isinstance(handler, _OnSigterm) and handler.ends_the_process and not handler.was_called


def _send_again(main_thread: int, reader: int) -> None:
    while True:
        received = os.read(reader, 100)
        native.sleep(_STALLED)
        if signal.SIGTERM in received and _awaits_sigterm():
            signal.pthread_kill(main_thread, signal.SIGTERM)  # and so its number is read again


def _stop_watching_in_the_child() -> None:
    """Leave the pipe to the parent, which would take the child's signals for its own."""
    global _watched
    if _watched is None:
        return
    reader, writer = _watched
    _watched = None
    if (descriptor := signal.set_wakeup_fd(-1)) != writer:  # the program has its own
        signal.set_wakeup_fd(descriptor)
    os.close(reader)
    os.close(writer)
