"""Threads, locks and clocks as the interpreter made them, and the name of its host.

gevent and eventlet put their own in place of these ("monkey patching"): a thread becomes a
greenlet, which runs only when the program's others wait. The loop that ships needs a thread of its
own, and the program's ``asyncio`` the thread that it runs on. So the originals are taken when this
module is imported: before there is a patch, or from what the patcher keeps of them.
"""

import _thread
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final


def original(module: str, name: str) -> Any:
    if name in (saved := getattr(sys.modules.get("gevent.monkey"), "saved", {}).get(module, {})):
        return saved[name]
    if (patcher := sys.modules.get("eventlet.patcher")) is not None:
        return _before_eventlet(patcher, module, name)
    return getattr(importlib.import_module(module), name)


def _before_eventlet(patcher: Any, module: str, name: str) -> Any:
    """Return what eventlet keeps; its copy of ``selectors`` would have its own ``select`` in it."""
    import select

    sys.modules["select"] = patcher.original("select")
    try:
        return getattr(patcher.original(module), name)
    finally:
        sys.modules["select"] = select


start_new_thread: Final[Callable[..., int]] = original("_thread", "start_new_thread")
get_ident: Final[Callable[[], int]] = original("_thread", "get_ident")
Lock: Final[Callable[[], threading.Lock]] = original("_thread", "allocate_lock")
sleep: Final[Callable[[float], None]] = original("time", "sleep")
_RLock: Final[Any] = original("_thread", "RLock")

try:
    from kiel_logging._accelerator import lean_exit
except ImportError:  # there was no C compiler
    RLock: Callable[[], Any] = _RLock
else:

    class RLock(_RLock):  # type: ignore[no-redef,misc]
        """A lock that ``with`` releases even when there is no memory.

        CPython's own ``__exit__()`` is called with a tuple. If there is no memory for that, the
        call raises MemoryError and the lock is never released. ``acquire()``, ``try`` and
        ``finally`` in place of ``with`` would let a signal handler raise between the first two.
        """

        __slots__ = ()
        __exit__ = lean_exit(_RLock)


_PAUSE: Final = 0.002
"""Seconds between two looks of a greenlet that waits for a thread."""


def is_patched() -> bool:
    """Whether threads are greenlets by now."""
    return _thread.start_new_thread is not start_new_thread


def _clocks() -> tuple[Callable[[], float]]:
    frozen = sys.modules.get("freezegun.api")
    return (getattr(frozen, "real_monotonic", time.monotonic),)


_CLOCKS: Final = _clocks()
"""In a tuple, for freezegun replaces the clock wherever a module has it by a name."""


def monotonic() -> float:
    """Return the seconds of the interpreter's own clock, which no test of the program's stops: the
    loop that ships would wait for ever."""
    return _CLOCKS[0]()


def host_name() -> str:
    """Return the name of this host; without the module ``socket``, where the system has it."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket

    return socket.gethostname()


def acquire(lock: threading.Lock, timeout: float) -> bool:
    """Acquire ``lock`` within ``timeout`` seconds; return whether that is done.

    Greenlets beside this one continue: it is a thread that releases the lock.
    """
    if not is_patched():
        return lock.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
    deadline = monotonic() + timeout
    while not lock.acquire(blocking=False):
        if monotonic() >= deadline:
            return False
        time.sleep(_PAUSE)  # the patched one
    return True


class Thread:
    """A daemon thread that runs ``target()``, once however often it is started.

    Attributes:
        ident: the interpreter's number of it; None before it runs.
    """

    def __init__(self, target: Callable[[], object], name: str) -> None:
        self._target = target
        self._name = name
        self._begun = Lock()
        self._over = Lock()
        self._shown: threading.Thread | None = None
        self.ident: int | None = None

    def __repr__(self) -> str:
        return f"<Thread {self._name} {self.ident}>"

    @property
    def is_current(self) -> bool:
        """Whether the calling code runs on it."""
        return get_ident() == self.ident

    def start(self) -> None:
        """Start it.

        Raises:
            RuntimeError: none can be started, as when the interpreter ends.
        """
        self._over.acquire(blocking=False)
        if is_patched():
            start_new_thread(self._run, ())
        else:  # tools show it by its name
            self._shown = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._shown.start()

    def _run(self) -> None:
        # A signal handler that raises in start() leaves open whether there is a thread, which may
        # begin late: start() is called again, and this is a second thread.
        if not self._begun.acquire(blocking=False):
            return
        self.ident = get_ident()
        try:
            self._target()
        finally:
            if self._shown is not None and is_patched():
                # Since it started there was a patch: threading forgets it by another number.
                active: dict[int, threading.Thread] = vars(threading).get("_active", {})
                active[threading.get_ident()] = active.pop(self.ident, self._shown)
            self._over.release()

    def join(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds until it has ended."""
        if acquire(self._over, timeout):
            self._over.release()
            if self._shown is not None and not is_patched():
                self._shown.join()
