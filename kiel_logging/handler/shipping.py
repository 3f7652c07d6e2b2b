"""Tells the records that are made while shipping records: those must not be shipped again.

By thread and by moment, not by the name of a logger: whatever tornado, asyncio, ssl or a
serializer logs while it works for us is meant, whatever it logs otherwise is not.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Here(threading.local):
    shipping = False


_here = _Here()


def mark_this_thread_as_shipping() -> None:
    """All that this thread does is shipping."""
    _here.shipping = True


def is_shipping() -> bool:
    """Whether the running code works for a handler of ours."""
    return _here.shipping


@contextmanager
def shipping() -> Iterator[None]:
    """What runs inside works for a handler: its serializer, its key maker."""
    _here.shipping = True
    try:
        yield
    finally:
        _here.shipping = False
