"""Where the threads meet: from those that log to the one that ships. Bounded, and the ledger.

The law: every record that a handler was given is counted in ``emitted``, and from then on in
exactly one of delivered, dropped, failed, buffered and in flight. All of it changes under one
lock, so that the sum holds whenever anybody looks.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from kiel_logging.delivery.batch import memory_of
from kiel_logging.records import Record

BUFFER_FULL: Final = "buffer_full"
CLOSED: Final = "closed"


class Item(NamedTuple):
    """One log record, ready to be sent: nothing in it can change any more.

    ``key`` is what the partitioner gets; ``record`` has it as bytes. ``memory`` in bytes.
    """

    topic: str
    key: Any
    record: Record
    memory: int


def make_item(topic: str, key: Any, record: Record) -> Item:
    """Return the item, with the memory that it takes."""
    return Item(topic, key, record, memory_of(record))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A handler's ledger at one moment, in records.

    ``emitted == delivered + sum(dropped.values()) + failed + buffered + in_flight``, always.

    Attributes:
        emitted: given to the handler.
        delivered: acknowledged by the brokers.
        dropped: never handed to the producer, by reason.
        failed: given up by the producer; each was logged with its reason.
        buffered: waiting to be sent.
        in_flight: sent and not yet acknowledged.
    """

    emitted: int
    delivered: int
    dropped: Mapping[str, int]
    failed: int
    buffered: int
    in_flight: int


class Handoff:
    """A bounded queue with one reader, and the counts of what went through it.

    Args:
        max_records: most records that are not yet delivered or given up.
        max_bytes: most memory that they take, in bytes.
        batch_size: how many queued records are worth waking the reader at once.
        wake: called, outside the lock, with False when the queue stops being empty and with True
            when a batch is full; never for each record, for that would be a system call each.
    """

    def __init__(
        self, *, max_records: int, max_bytes: int, batch_size: int, wake: Callable[[bool], None]
    ) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._batch_size = batch_size
        self._wake = wake
        self._lock = threading.Lock()
        self._queue: deque[Item] = deque()
        self._emitted = 0
        self._delivered = 0
        self._failed = 0
        self._dropped: Counter[str] = Counter()
        self._outstanding = 0
        self._bytes = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<Handoff queued={len(self)} outstanding={self.outstanding} bytes={self._bytes}>"

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def outstanding(self) -> int:
        """How many records are neither delivered, nor dropped, nor failed."""
        return self._outstanding

    def put(self, item: Item) -> bool:
        """Queue ``item``; return False when it was dropped: no room, or closed."""
        with self._lock:
            self._emitted += 1
            if self._closed:
                self._dropped[CLOSED] += 1
                return False
            if (
                self._outstanding >= self._max_records
                or self._bytes + item.memory > self._max_bytes
            ):
                self._dropped[BUFFER_FULL] += 1
                return False
            self._outstanding += 1
            self._bytes += item.memory
            self._queue.append(item)
            queued = len(self._queue)
        if queued == self._batch_size:
            self._wake(True)
        elif queued == 1:
            self._wake(False)
        return True

    def close(self) -> None:
        """Drop, and count, all that comes from now on."""
        with self._lock:
            self._closed = True

    def take(self, most: int) -> list[Item]:
        """Return up to ``most`` items, oldest first; for the one reader."""
        queue = self._queue
        with self._lock:
            return [queue.popleft() for _ in range(min(most, len(queue)))]

    def drop(self, reason: str) -> None:
        """Count a record that never became an item."""
        with self._lock:
            self._emitted += 1
            self._dropped[reason] += 1

    def delivered(self, records: int, memory: int) -> None:
        """Count records that the brokers acknowledged."""
        with self._lock:
            self._delivered += records
            self._settle(records, memory)

    def failed(self, records: int, memory: int) -> None:
        """Count records that were given up."""
        with self._lock:
            self._failed += records
            self._settle(records, memory)

    def _settle(self, records: int, memory: int) -> None:
        self._outstanding -= records
        self._bytes -= memory

    def stats(self, in_flight: int) -> Stats:
        """Return the ledger; ``in_flight`` is the producer's count of a moment ago."""
        with self._lock:
            # The producer counts on its own thread: it may lag behind what was settled here.
            in_flight = min(in_flight, self._outstanding)
            return Stats(
                emitted=self._emitted,
                delivered=self._delivered,
                dropped=dict(self._dropped),
                failed=self._failed,
                buffered=self._outstanding - in_flight,
                in_flight=in_flight,
            )
