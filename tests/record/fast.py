"""FastWays and QuickItems for tests."""

from __future__ import annotations

import logging
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from kiel_logging.handler.buffer import Counts
from kiel_logging.record.conversion import Conversion
from kiel_logging.record.fast_way import FastWay
from tests.record.test_conversion import conversion

IN_C = FastWay is not None
needs_c = pytest.mark.skipif(not IN_C, reason="there is no C compiler")


def fast_way(made: Conversion, queue: Any = None, **others: Any) -> Any:
    """Return the FastWay of a conversion, which queues items in ``queue``."""
    assert made.fast is not None
    arguments: dict[str, Any] = {
        **made.fast,
        "here": SimpleNamespace(depth=0),
        "blocks": {},
        "counts": Counts(10**6, 2**40, 10**6),
        "queue": deque() if queue is None else queue,
        "wake": lambda _queued: None,
        "tail": None,
        **others,
    }
    return FastWay(**arguments)


def quick_item(record: logging.LogRecord, **options: Any) -> Any:
    """Return the item that compiled code makes of ``record``, which must need no care."""
    item = fast_way(conversion(**options)).convert(record)
    assert item is not None
    return item


def careful(made: Conversion, given: logging.LogRecord) -> Any:
    """Return the item that Python makes, or None if an option of the program raised."""
    try:
        return made.convert(given, None)
    except Exception:
        return None


def is_fast(given: logging.LogRecord, **options: Any) -> bool:
    """Check that both ways agree on a record; return whether it needed no care."""
    made = conversion(**options)
    fast, expected = fast_way(made), careful(made, given)
    first, second = fast.convert(given), fast.convert(given)  # whose call site is known by then
    assert (first is None) == (second is None)
    for item in (first, second):
        if item is not None:
            assert item.plain() == expected
            names = ("topic", "key", "record", "size", "memory", "level", "source", "waiter")
            assert [getattr(item, name) for name in names] == list(expected)
    return first is not None
