"""Work in threads, waits for other threads and processes, and how long programs may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

PATIENCE = 30.0
"""Seconds: far more than anything that is waited for takes."""

_SLOW = "kiel_logging: the program ends when the brokers have "


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Return once the condition holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.001)


def in_threads(work: Callable[[int], object], each: Iterable[int]) -> None:
    """Call ``work`` with each of these at once, and return when all calls have ended."""
    threads = [threading.Thread(target=work, args=(one,)) for one in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def complaints(stderr: str) -> list[str]:
    """Return the lines of a program's stderr, without the notice that its end takes a while.

    On a busy machine any program's end may take long enough for that notice.
    """
    return [line for line in stderr.splitlines(keepends=True) if not line.startswith(_SLOW)]
