"""What the hand-off counts, where C can count it too.

The law: whoever logs changes ``emitted``, ``kept`` and ``bytes_kept``; the loop thread ``ended``
and ``bytes_ended``. Each change is one step, between two of Python's: ``x.kept += 1`` of a plain
attribute lets nobody in between.
"""

import contextlib
from collections.abc import Callable, Sized
from typing import Any, Protocol

from kiel_logging.record.item import Item


class Kept(Protocol):
    """Counts what is queued."""

    emitted: int
    kept: int
    bytes_kept: int


class CountsInPython:
    """Counts of one hand-off.

    Args:
        many_records: from so many outstanding records on, it looks closely whether there is room.
        many_bytes: from so many bytes on.
        batch_size: as many queued records are worth waking the reader.

    Attributes:
        emitted: records that were put, or dropped.
        kept: those that were not dropped.
        bytes_kept: the memory that these take.
        ended: records of these that ended, as the hand-off counts them.
        bytes_ended: the memory that these took.
        out_of_memory: records that were dropped because there was no memory, not even to count them
            where others are counted; not in ``emitted``.
        crowded: as the hand-off has it.
        closed: as the hand-off has it.
        unwoken: whether there was no memory to wake the reader.
    """

    __slots__ = (
        "batch_size",
        "bytes_ended",
        "bytes_kept",
        "closed",
        "crowded",
        "emitted",
        "ended",
        "kept",
        "many_bytes",
        "many_records",
        "out_of_memory",
        "unwoken",
    )

    def __init__(self, many_records: int, many_bytes: int, batch_size: int) -> None:
        self.many_records = many_records
        self.many_bytes = many_bytes
        self.batch_size = batch_size
        self.emitted = self.kept = self.bytes_kept = self.ended = self.bytes_ended = 0
        self.out_of_memory = 0
        self.crowded = self.closed = self.unwoken = False

    def lose(self) -> None:
        """Count a record for which there was no memory, if there is enough for that; in C none is
        needed."""
        with contextlib.suppress(MemoryError):
            self.out_of_memory += 1


def queue_up_in_python(
    counts: CountsInPython, queue: Sized, append: Callable[[Item], None], item: Item
) -> int:
    """Queue ``item`` if there is plenty of room; return how many are queued, 0 if there is not.

    Whoever comes on top of this may count one as the last that does the same as well: then the
    reader is woken twice, and never not at all.
    """
    memory, queued = item.memory, len(queue) + 1
    if (
        counts.closed
        or counts.kept - counts.ended >= counts.many_records
        or counts.bytes_kept - counts.bytes_ended + memory > counts.many_bytes
    ):
        return 0
    count_and_append(counts, memory, append, item)
    return queued


def count_and_append(
    counts: Kept, memory: int, append: Callable[[Any], None], entry: object
) -> None:
    """Count an item of ``memory`` bytes and append ``entry``.

    Whatever is raised by a signal handler, it is counted and there; without memory it is neither.
    """
    # CPython lets nobody in between, neither from here to append() nor from a MemoryError of it to
    # where the counts are restored. Tuples would call the garbage collector.
    emitted, kept, held = counts.emitted, counts.kept, counts.bytes_kept
    emitted_now, kept_now, held_now = emitted + 1, kept + 1, held + memory
    counts.emitted, counts.kept, counts.bytes_kept = emitted_now, kept_now, held_now
    try:
        append(entry)
    except MemoryError:
        counts.emitted, counts.kept, counts.bytes_kept = emitted, kept, held
        raise


try:
    from kiel_logging._accelerator import Counts as Counts
    from kiel_logging._accelerator import queue_up as queue_up
except ImportError:  # there was no C compiler
    Counts, queue_up = CountsInPython, queue_up_in_python  # type: ignore[assignment,misc]
