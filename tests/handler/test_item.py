"""One log record on its way: nothing but values, and how much memory they take."""

from __future__ import annotations

import logging

from kiel_logging.delivery.batch import memory_of
from kiel_logging.record.item import (
    SOURCE_MEMORY,
    STAMP_MEMORY,
    Item,
    level_of,
    make_item,
)
from kiel_logging.records import Record
from kiel_logging.wire.sizes import record_size

RECORD = Record(b"key", b"v" * 1000, (), 0)


def test_an_item_knows_its_memory() -> None:
    """It is that of its record, with Python's overhead and that of the stamp to come."""
    made = make_item("logs", 7, RECORD, logging.INFO)
    size, memory = record_size(RECORD), memory_of(RECORD) + STAMP_MEMORY
    assert made == Item("logs", 7, RECORD, size, memory, logging.INFO, None)


def test_a_kept_log_record_takes_memory_too() -> None:
    """The bounds hold with a fallback as well."""
    source = logging.makeLogRecord({"msg": "x"})
    made = make_item("logs", 7, RECORD, logging.INFO, source)
    assert made.source is source
    assert made.memory == memory_of(RECORD) + STAMP_MEMORY + SOURCE_MEMORY


def test_a_record_without_a_level() -> None:
    """A made-up record counts as NOTSET: levels have an order."""
    assert level_of(logging.makeLogRecord({})) == logging.NOTSET
    assert level_of(logging.makeLogRecord({"levelno": 35})) == 35
