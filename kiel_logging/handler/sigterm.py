"""SIGTERM: handlers deliver what is buffered, and then it does what it did before.

By default it ends a process at once, and nothing runs, ``atexit`` included. It is never lost at a
fork, and ends a worker even if it comes at the worst moment.
"""

import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Final

from kiel_logging import native
from kiel_logging.diagnostics import report
from kiel_logging.handler import exits
from kiel_logging.handler.forks import postpone

_has_warned = False


def flush_on_sigterm(asked: bool | None) -> None:
    """Let SIGTERM deliver what handlers have buffered, then do what it did before.

    Where that was not ``asked`` for, it has a handler only if SIGTERM would end the process at
    once. A program with another handler ends as that one decides.

    Args:
        asked: None for the default.
    """
    global _has_warned
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
        if asked and not _has_warned:
            _has_warned = True
            report(
                logging.WARNING,
                "flush_on_sigterm=True has no effect: no signal handler can be set here (%s); make "
                "the handler on the main thread, or call its flush() when the program ends",
                error,
            )


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
        flushed = [one for one in exits.lifecycles() if one.flushes_on_sigterm]
        exits.flush(flushed, last=self.ends_the_process)
        exits.resume()
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


# -- at a fork -------------------------------------------------------------------------------------

_AFTER_HOOKS: Final = 0.01
"""Seconds after which a forked child has run all hooks."""

_is_blocked = False


def _block() -> None:
    """Have the kernel keep SIGTERM until the fork is over.

    Python forgets, in the child, all signals that came before it runs its own code there. A pool
    that ended a worker that early would wait for it for ever.
    """
    global _is_blocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    _is_blocked = signal.SIGTERM not in before


def _unblock() -> None:
    global _is_blocked
    if _is_blocked:
        _is_blocked = False
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _unblock_in_the_child() -> None:
    """Unblock SIGTERM. A handler of the program that raises, to end it, runs after the fork: an
    exception in a hook is ignored."""
    _stop_watching()
    handler = signal.getsignal(signal.SIGTERM)
    is_foreign = callable(handler) and not isinstance(handler, _OnSigterm)
    if _is_blocked and is_foreign and signal.SIGTERM in signal.sigpending():
        signal.sigwait([signal.SIGTERM])
        native.start_new_thread(_terminate_soon, ())
    _unblock()
    if (util := sys.modules.get("multiprocessing.util")) is not None:  # which is billiard's too
        util.register_after_fork(watch, lambda watch: watch())  # called in workers only


def _terminate_soon() -> None:
    native.sleep(_AFTER_HOOKS)
    os.kill(os.getpid(), signal.SIGTERM)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_block, after_in_parent=_unblock, after_in_child=_unblock_in_the_child
    )


# -- in a worker -----------------------------------------------------------------------------------

_STALLED: Final = 0.05
"""Seconds after which Python calls a signal's handler only if another signal comes."""

_watched: tuple[int, int] | None = None
"""Both ends of a pipe, into which Python writes the numbers of signals as they come."""


def watch() -> None:
    """Have SIGTERM end a worker even if it comes just before the main thread waits.

    Python calls signal handlers between two instructions. A signal that comes when a call has
    checked for signals, and does not wait in the kernel yet, interrupts nothing. A worker of a pool
    would wait for a semaphore of its parent, and the parent for the worker; the default action ends
    the worker. So a thread sends the signal again until the handler is called.

    A program's own handler is left alone: it might be called twice.
    """
    global _watched
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or _watched is not None or not _is_awaited():
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


def _is_awaited() -> bool:
    handler = signal.getsignal(signal.SIGTERM)
    return isinstance(handler, _OnSigterm) and handler.ends_the_process and not handler.was_called


def _send_again(main_thread: int, reader: int) -> None:
    while True:
        received = os.read(reader, 100)
        native.sleep(_STALLED)
        if signal.SIGTERM in received and _is_awaited():
            signal.pthread_kill(main_thread, signal.SIGTERM)  # and so its number is read again


def _stop_watching() -> None:
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
