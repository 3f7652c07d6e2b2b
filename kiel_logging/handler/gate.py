"""A lock that whoever works holds, and that a fork passes: it finds nobody at work.

The law: who asks first passes first, however soon the worker would have it back.
"""

from typing import Final

from kiel_logging import native
from kiel_logging.native import monotonic

_FOR_EVER: Final = -1.0


class Gate:
    """A lock that goes to whoever asked for it first.

    A lock of Python's goes to whoever runs when it is let go. A loop that never waits for long
    takes it back at once, every time, while another thread only wakes up.
    """

    def __init__(self) -> None:
        self._next = native.Lock()
        self._lock = native.Lock()

    def acquire(self, timeout: float = _FOR_EVER) -> bool:
        """Wait, at most ``timeout`` seconds, for all those that asked before."""
        deadline = monotonic() + timeout
        if not self._next.acquire(timeout=timeout):
            return False
        try:
            left = timeout if timeout == _FOR_EVER else max(0.0, deadline - monotonic())
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
