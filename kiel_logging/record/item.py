"""One log record on its way: what travels from the thread that logs to the one that ships."""

import logging
from typing import Any, Final, NamedTuple, Protocol

from kiel_logging.records import (
    RECORD_MEMORY_OVERHEAD,
    Receipt,
    Record,
    TopicPartition,
    Undelivered,
)
from kiel_logging.wire.sizes import record_size

STAMP_MEMORY: Final = 80
"""Bytes by which a stamp makes an item larger (150, and 314 with a chain), for the quarter of them
that are with the producer and have one (tracemalloc, CPython 3.11)."""

ITEM_MEMORY_OVERHEAD: Final = RECORD_MEMORY_OVERHEAD + STAMP_MEMORY

SOURCE_MEMORY: Final = 1_500
"""Bytes that a LogRecord takes which is kept for the fallback (tracemalloc, CPython 3.11)."""


class Waiter(Protocol):
    """Waits for the end of one record, for a receipt."""

    outcome: Receipt | Undelivered | None
    """How the record ended; None before."""

    @property
    def memory(self) -> int:
        """Bytes that it takes."""

    def delivered(self, place: TopicPartition, offset: int) -> None:
        """Settle it: the brokers stored the record there; the offset is -1 where none is known."""

    def lost(self, reason: str, error: BaseException | None = None) -> None:
        """Settle it: the record was dropped or given up."""

    def held(self, error: Exception, *, on_disk: bool) -> None:
        """Note what keeps the record from being delivered for now."""


class _Item(NamedTuple):
    topic: str
    key: Any
    record: Record
    size: int
    memory: int
    level: int = logging.NOTSET
    source: logging.LogRecord | None = None
    waiter: Waiter | None = None


class Item(_Item):
    """One log record, ready to be sent: nothing of what is sent can change any more.

    ``key`` is what the partitioner gets; ``record`` has it as bytes. ``size`` is the most bytes
    that it takes in a batch; ``memory`` those that it takes in this process, from when it is put
    until it is delivered. ``level`` is logging's number. ``source`` is the LogRecord, kept only for
    a fallback. ``waiter`` gets the outcome, if a receipt waits for it. proof/stamper.py relies on
    the order of the first four.

    Attributes:
        run: what read it from the journal; None for an item that is in memory alone.
        entry: which entry of that it is.
    """

    run: Any = None
    entry: int = 0

    @property
    def timestamp(self) -> int:
        """Its time, in milliseconds since the epoch."""
        return self.record.timestamp


def make_item(
    topic: str,
    key: Any,
    record: Record,
    level: int = logging.NOTSET,
    source: logging.LogRecord | None = None,
) -> Item:
    """Return the item, with what it takes of batches and memory."""
    size = record_size(record)
    memory = size + ITEM_MEMORY_OVERHEAD
    if source is not None:
        memory += SOURCE_MEMORY
    return Item(topic, key, record, size, memory, level, source)


def level_of(record: logging.LogRecord) -> int:
    """Return the record's level as a number; NOTSET for a made-up one."""
    return record.levelno if isinstance(record.levelno, int) else logging.NOTSET
