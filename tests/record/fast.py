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
