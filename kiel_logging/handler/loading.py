"""The modules that only the loop thread needs: asyncio, Tornado, the engine. They load there.

Loading on a thread beside others has two dangers.

A fork in the middle leaves the child a module that is half there, and a lock on it that never
opens. So the loop thread holds its gate meanwhile, and a fork waits for that (``forks.py``).

Modules call ``logging.getLogger()`` when they are imported: asyncio and Tornado do. That takes
logging's lock while the thread has the locks of these modules. ``dictConfig()`` takes the same
locks the other way round: it imports the classes of handlers and formatters while it has logging's
lock. Two such threads would wait for each other for ever. Therefore

- loading begins at a moment at which no other thread has logging's lock, and
- ``dictConfig()``, which closes the handlers that were there before it imports anything, waits
  in their ``close()`` until loading is over; its lock is free for that time (``wait_for_modules``).
"""

import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from kiel_logging import native
from kiel_logging.native import monotonic

# Tornado looks its loop up when one is made, Python its codec of host names when one is resolved.
_MODULES: Final = (
    "kiel_logging.handler.shipper",
    "kiel_logging.handler.pausing_loop",
    "tornado.platform.asyncio",
    "encodings.idna",
)

_A_MOMENT: Final = 0.005
"""Seconds between two looks whether loading is over."""

_bootstrap: Final[Any] = importlib._bootstrap

_loading: dict[int, int] = {}
"""The threads that load, or are about to, and the processes that they are of."""

_loaded = False


@contextmanager
def modules() -> Iterator[None]:
    """Import all that the loop thread needs, for a block that uses it for the first time.

    That is for a thread that has no module's lock. The block counts as loading: asyncio logs which
    selector it uses, and may want logging's lock for that.

    Raises:
        Exception: whatever the import of a module raises.
    """
    global _loaded
    thread = native.get_ident()
    _loading[thread] = os.getpid()  # first: a thread that gets the lock from now on waits for us
    try:
        if not _loaded:
            with _logging_lock():
                pass
            for name in _MODULES:
                import_module(name)
            _loaded = True
        yield
    finally:
        del _loading[thread]


def load_beside_greenlets() -> None:
    """Load on this thread if gevent or eventlet made greenlets of all others: the locks of modules
    are theirs then, and not for the loop thread, which is a real one."""
    if native.is_patched():
        with modules():
            pass


def wait_for_modules(timeout: float) -> None:
    """Wait, at most ``timeout`` seconds, until no other thread loads modules.

    If this thread has logging's lock, others can take it meanwhile.
    """
    if not _is_loading():
        return
    deadline = monotonic() + timeout
    free = threading.Condition(_logging_lock())  # its wait() releases the lock altogether
    with free:
        while _is_loading() and (left := deadline - monotonic()) > 0:
            free.wait(min(left, _A_MOMENT))


def reset() -> None:
    """Forget what a thread of the parent was loading, in a child that was forked in C meanwhile.

    The child has these modules half, and their locks, which nothing there would ever release. The
    next thread that needs the modules loads them.
    """
    here = os.getpid()
    gone = [thread for thread, process in list(_loading.items()) if process != here]
    for thread in gone:
        _loading.pop(thread, None)
        _bootstrap._blocking_on.pop(thread, None)
    for name, reference in list(_bootstrap._module_locks.items()) if gone else ():
        lock = reference()
        if lock is not None and lock.owner in gone:
            _forget(name)


def _forget(half: str) -> None:
    """Forget a module that is half there, and what is whole of its package: a package that is
    imported again has no attributes for modules that are there already."""
    for name in list(sys.modules):
        if name == half or name.startswith(f"{half}."):
            del sys.modules[name]
    _bootstrap._module_locks.pop(half, None)


def _is_loading() -> bool:
    """Return whether another thread loads; those that a fork left behind don't count."""
    here, process = native.get_ident(), os.getpid()
    return any(of == process for thread, of in list(_loading.items()) if thread != here)


def _logging_lock() -> threading.RLock:
    lock: threading.RLock = logging._lock  # type: ignore[attr-defined] # billiard makes a new one
    return lock
