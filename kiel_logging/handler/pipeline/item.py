"""One log record on its way: what travels from the thread that logs to the one that ships."""

import logging
from typing import Any, Final, NamedTuple

from kiel_logging.delivery.batch import memory_of
from kiel_logging.records import Record

SOURCE_MEMORY: Final = 1_500
"""Bytes that a LogRecord takes which is kept for the fallback (tracemalloc, CPython 3.11)."""


class Item(NamedTuple):
    """One log record, ready to be sent: nothing of what is sent can change any more.

    ``key`` is what the partitioner gets; ``record`` has it as bytes. ``memory`` in bytes.
    ``level`` is logging's number. ``source`` is the LogRecord, kept only for a fallback.
    """

    topic: str
    key: Any
    record: Record
    memory: int
    level: int = logging.NOTSET
    source: logging.LogRecord | None = None


def make_item(
    topic: str,
    key: Any,
    record: Record,
    level: int = logging.NOTSET,
    source: logging.LogRecord | None = None,
) -> Item:
    """Return the item, with the memory that it takes."""
    memory = memory_of(record)
    return Item(
        topic, key, record, memory if source is None else memory + SOURCE_MEMORY, level, source
    )


def level_of(record: logging.LogRecord) -> int:
    """Return the record's level as a number; NOTSET for one that somebody made up without."""
    return record.levelno if isinstance(record.levelno, int) else logging.NOTSET
