"""An event loop that can be held still from another thread: a fork must not cut it in the middle.

The gate is closed while the loop's thread works and open while it waits. Whoever passes it knows
that the thread does nothing: it imports no module, holds no lock, has written whole frames.

The law: who asks while the thread works passes as soon as it would wait, however busy it is.
"""

import asyncio
import math
import os
import selectors
import threading
import time
from typing import Final

_FOR_EVER: Final = -1.0


class _Gate:
    """A lock that goes to whoever asked for it first.

    A lock of Python's goes to whoever runs when it is let go. A loop that never waits for long
    takes it back at once, every time, while another thread only wakes up.
    """

    def __init__(self) -> None:
        self._next = threading.Lock()
        self._lock = threading.Lock()

    def acquire(self, timeout: float = _FOR_EVER) -> bool:
        """Wait, at most ``timeout`` seconds, for all those that asked before."""
        deadline = time.monotonic() + timeout
        if not self._next.acquire(timeout=timeout):
            return False
        try:
            left = timeout if timeout == _FOR_EVER else max(0.0, deadline - time.monotonic())
            return self._lock.acquire(timeout=left)
        finally:
            self._next.release()

    def release(self) -> None:
        """Let the next one have it; any thread may."""
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


class _GatedSelector(selectors.DefaultSelector):
    """Opens the gate while it waits."""

    def __init__(self, gate: _Gate) -> None:
        super().__init__()
        self._gate = gate

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._gate.release()
        try:
            return super().select(timeout)
        finally:
            self._gate.acquire()


class PausingLoop(asyncio.SelectorEventLoop):
    """Its thread runs with the gate closed, but for the time that it waits."""

    def __init__(self) -> None:
        self._gate = _Gate()
        self._gated_selector = _GatedSelector(self._gate)
        try:
            super().__init__(self._gated_selector)
        except OSError:  # no more files
            self._gated_selector.close()
            self._closed = True  # there is nothing to close, as its __del__ would
            raise
        # In Python's development mode it would tell how busy the machine is: on our host's stderr.
        self.slow_callback_duration = math.inf

    def working(self) -> _Gate:
        """Return the gate, for the loop's thread to hold: ``with loop.working(): ...``."""
        return self._gate

    def pause(self, timeout: float) -> bool:
        """Wait, at most ``timeout`` seconds, until the loop does nothing, and keep it so.

        Returns:
            True: ``go_on()`` has to be called.

        Raises:
            TimeoutError: it works all the time.
        """
        if not self._gate.acquire(timeout):
            raise TimeoutError(f"the loop did not come to rest within {timeout} s")
        return True

    def go_on(self) -> None:
        """Let it work again."""
        self._gate.release()

    def abandon(self) -> None:
        """Close its files in a forked child, where nobody will run it again.

        They are the parent's too: nothing may be unregistered, for the parent waits on the same
        epoll object. Nor may anything close them once more; whoever calls this keeps the loop.
        """
        files = [key.fd for key in (self._gated_selector.get_map() or {}).values()]
        files.append(self._gated_selector.fileno())
        if (waker := getattr(self, "_csock", None)) is not None:
            files.append(waker.fileno())
        for number in files:
            os.close(number)
