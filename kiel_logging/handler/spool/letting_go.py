"""Locks that a frame beneath has, let go while whoever is on top of it waits.

A signal handler may flush, or leave a block of receipts, on top of a frame of its own thread that
holds a lock here. What it waits for may need that lock. All that these locks guard stands that
others come in between wherever a signal handler may: so they may come in while it waits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def let_go(*locks: Any) -> Iterator[None]:
    """Release those of ``locks``, which are RLocks, that this thread has, for a block.

    With what ``threading.Condition`` uses to wait, however often a lock was taken.
    """
    held = [(lock, lock._release_save()) for lock in locks if lock._is_owned()]
    try:
        yield
    finally:
        for lock, state in reversed(held):
            lock._acquire_restore(state)
