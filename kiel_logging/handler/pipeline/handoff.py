"""Where the threads meet: from those that log to the one that ships. Bounded, and the ledger.

The law: every record that a handler was given is counted in ``emitted``, and from then on in
exactly one of delivered, dropped, failed, buffered, in flight and spooled.

Whoever logs holds the lock, for an instant. The loop thread never takes it: it has counters of its
own, which nobody else writes. So it goes on working whoever is held up, a signal handler included
that waits for a flush on top of a frame that holds the lock. The lock is re-entrant, for signal
handlers and ``__del__`` may log wherever Python code is.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kiel_logging import native
from kiel_logging.handler.pipeline.counts import Counts, queue_up
from kiel_logging.handler.pipeline.disk_ledger import DiskLedger
from kiel_logging.handler.pipeline.queues import Lowest, Newest, Oldest, Queue
from kiel_logging.handler.pipeline.stats import Stats
from kiel_logging.handler.process.forking import is_forking
from kiel_logging.native import monotonic
from kiel_logging.record.item import Item
from kiel_logging.records import RECORD_MEMORY_OVERHEAD

BUFFER_FULL: Final = "buffer_full"
CLOSED: Final = "closed"
OUT_OF_MEMORY: Final = "out_of_memory"

BLOCK: Final = "block"
DROP_NEWEST: Final = "drop_newest"
DROP_OLDEST: Final = "drop_oldest"
OVERFLOW: Final[Mapping[str, Callable[[], Queue]]] = {
    DROP_NEWEST: Newest,
    DROP_OLDEST: Oldest,
    "drop_lowest": Lowest,
    BLOCK: Newest,
}
"""What gives way when the buffer is full."""


class _Closed(Exception):
    """No record is admitted any more."""


class Handoff:
    """A bounded queue with one reader, and the counts of what went through it.

    Args:
        max_records: most records that are not yet delivered or given up.
        max_bytes: most memory that they take, in bytes.
        batch_size: how many queued records are worth waking the reader at once.
        wake: called, outside the lock, with False when the queue stops being empty and with True
            when a batch is full; never for each record, for that would be a system call each.
        overflow: one of OVERFLOW.
        block_timeout: seconds that ``put()`` waits for room, with "block".
        spools_all: whether records come here only when they can't be spooled.
        spills: whether the reader moves them to disk when they take much of the buffer.

    Attributes:
        counts: of what came and went; ``counts.crowded`` says whether it may soon be full, or is:
            whoever logs should ask ``will_drop()``.
        quick_queue: where C may queue items as ``put()`` does; None with other policies.
    """

    def __init__(
        self,
        *,
        max_records: int,
        max_bytes: int,
        batch_size: int,
        wake: Callable[[bool], None],
        overflow: str = DROP_NEWEST,
        block_timeout: float = 0.0,
        spools_all: bool = False,
        spills: bool = False,
    ) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self.counts = Counts(max_records * 7 // 8, max_bytes * 7 // 8, batch_size)
        self._wake = wake
        self._spills = spills
        self._queue = OVERFLOW[overflow]()
        self.quick_queue: deque[Item] | None = None
        if type(self._queue) is Newest and not spools_all:
            self.quick_queue = self._queue.items
        self._drops_newest = overflow == DROP_NEWEST and not spools_all
        self._block_timeout = block_timeout if overflow == BLOCK else 0.0
        self._lock = native.RLock()
        # Written by those who log, under the lock.
        self._dropped: dict[tuple[str, int], int] = {}
        self.disk = DiskLedger()
        # Written by the loop thread alone.
        self._delivered = 0
        self._failed = 0
        self._own = 0
        self._waiting: deque[threading.Lock] = deque()

    def __repr__(self) -> str:
        return f"<Handoff queued={len(self)} outstanding={self.outstanding} bytes={self.memory}>"

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def outstanding(self) -> int:
        """How many records are neither delivered, nor dropped, nor failed."""
        return self.counts.kept - self.counts.ended

    @property
    def memory(self) -> int:
        """Bytes that they take."""
        return self.counts.bytes_kept - self.counts.bytes_ended

    @property
    def emitted(self) -> int:
        """How many records the handler was given; with those of its own that were queued."""
        return self.counts.emitted + self.counts.out_of_memory + self.disk.count_appended()

    @property
    def closed(self) -> bool:
        """Whether no record is taken any more."""
        return self.counts.closed

    @property
    def is_half_full(self) -> bool:
        """Whether what waits here takes half of the buffer, or more."""
        return len(self) * 2 >= self._max_records or self.memory * 2 >= self._max_bytes

    def has_topic(self, topic: str) -> bool:
        """Whether any queued item is for ``topic``; takes long."""
        return self._queue.has_topic(topic)

    @property
    def half_empty(self) -> bool:
        """Whether there is room again for a good while."""
        return self.outstanding * 2 <= self._max_records and self.memory * 2 <= self._max_bytes

    # On the threads that log.

    def will_drop(self) -> bool:
        """Whether any record whatsoever would be dropped now: it need not be made an item of."""
        counts = self.counts
        if self._drops_newest and (
            counts.kept - counts.ended >= self._max_records
            or counts.bytes_kept - counts.bytes_ended + RECORD_MEMORY_OVERHEAD > self._max_bytes
        ):
            return True
        counts.crowded = not self.half_empty
        return False

    def put(self, item: Item) -> Sequence[Item] | None:
        """Queue ``item``; return what was dropped for want of room: it, others, or nothing.

        Returns:
            None if this is closed: ``item`` is not counted, and is for another one.

        Raises:
            MemoryError: the item is neither queued nor counted.
        """
        dropped: list[Item] = []
        try:
            with self._lock:
                queued: int | None = self._admit_at_once(item)
            try:
                if not queued:
                    queued = self._admit(item, dropped)
                if queued is None:
                    queued = self._wait_and_admit(item, dropped)
            except _Closed:
                return None
            if not dropped or queued == 1:  # a full buffer wakes the reader no more
                self.tell(queued)
        except MemoryError:
            raise
        except BaseException:  # a signal handler's, perhaps when it was queued and not told of
            self._wake(True)
            raise
        return dropped

    def _admit_at_once(self, item: Item) -> int:
        """Queue ``item`` where there is plenty of room; return 0 where that takes a closer look."""
        queue = self.quick_queue
        if queue is not None:
            return queue_up(self.counts, queue, queue.append, item)
        counts = self.counts
        if (
            counts.kept - counts.ended < counts.many_records
            and counts.bytes_kept - counts.bytes_ended + item.memory <= counts.many_bytes
            and not counts.closed
        ):
            return self._accept(item)
        return 0

    def tell(self, queued: int) -> None:
        """Wake the reader if this many, with the one that came last, are a reason to.

        Whoever calls it sees to what is raised meanwhile, as ``put()`` does. Without memory for
        it, the next record wakes the reader.
        """
        try:
            if queued == self.counts.batch_size or self.counts.unwoken:
                self._wake_reader(True)
            elif queued == 1:
                self._wake_reader(False)
        except MemoryError:
            self.counts.unwoken = True

    def _wake_reader(self, full: bool) -> None:
        self.counts.unwoken = False
        self._wake(full)

    def _admit(self, item: Item, dropped: list[Item], *, may_wait: bool = True) -> int | None:
        """Queue ``item`` or add something to ``dropped``.

        Returns:
            How many are queued with it, 0 when it was dropped; None when it has to wait for room.
        """
        if self._spills and not self.counts.crowded:
            self._wake(True)  # the loop thread can make room
        with self._lock:
            self.counts.crowded = True
            if self.counts.closed:
                raise _Closed
            records, memory = self._missing(item)
            if records > 0 or memory > 0:
                shed = self._queue.shed(item, records, memory)
                self._forget(shed)
                dropped.extend(shed)
                records, memory = self._missing(item)
            if records > 0 or memory > 0:
                if may_wait and self._block_timeout and item.memory <= self._max_bytes:
                    return None
                return self._refuse(item, dropped)
            return self._accept(item)

    def _missing(self, item: Item) -> tuple[int, int]:
        return (
            self.outstanding + 1 - self._max_records,
            self.memory + item.memory - self._max_bytes,
        )

    def _accept(self, item: Item) -> int:
        return self._queue.append(item, self.counts)

    def _refuse(self, item: Item, dropped: list[Item]) -> int:
        dropped.insert(0, item)
        self._count_drop(BUFFER_FULL, item.level)
        return 0

    def _count_drop(self, reason: str, level: int) -> None:
        key = (reason, level)
        self._dropped.setdefault(key, 0)
        # No call from here on, nor any memory for what is changed: a signal handler finds both
        # counts changed, or none, and so does a MemoryError.
        emitted, dropped = self.counts.emitted + 1, self._dropped[key] + 1
        self.counts.emitted = emitted
        self._dropped[key] = dropped

    def _forget(self, shed: Sequence[Item]) -> None:
        for item in shed:
            key, memory = (BUFFER_FULL, item.level), item.memory
            self._dropped.setdefault(key, 0)
            # As above: what a signal handler sheds on top of this must not be overwritten.
            self._dropped[key] += 1
            self.counts.kept -= 1
            self.counts.bytes_kept -= memory

    def _wait_and_admit(self, item: Item, dropped: list[Item]) -> int:
        deadline = monotonic() + (0.0 if is_forking() else self._block_timeout)
        queued = None
        while queued is None:
            room = native.Lock()
            room.acquire()
            self._waiting.append(room)
            # Room may have come before there was anybody to tell of it.
            queued = self._admit(item, dropped)
            if queued is None and not native.acquire(room, max(0.0, deadline - monotonic())):
                queued = self._admit(item, dropped, may_wait=False)
            try:  # noqa: SIM105 # suppress() takes memory
                self._waiting.remove(room)
            except ValueError:  # told already
                pass
        return queued

    def drop(self, reason: str, level: int) -> None:
        """Count a record that never became an item."""
        with self._lock:
            self._count_drop(reason, level)

    def close(self) -> bool:
        """Take no more records, let no thread wait any longer; return whether this was open."""
        with self._lock:
            closed, self.counts.closed = self.counts.closed, True
        self._tell_of_room()
        return not closed

    # On the loop thread.

    def take(self, most: int) -> list[Item]:
        """Return up to ``most`` items, oldest first."""
        return self._queue.take(most)

    def put_own(self, item: Item) -> bool:
        """Queue what the handler itself has to say, whatever the bounds, closed or not.

        Returns:
            False when somebody holds the lock just now: try again.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._accept(item)
        finally:
            self._lock.release()
        return True

    def count_own(self, memory: int) -> None:
        """Count what the handler itself says without queueing it, whatever the bounds."""
        self._own += 1
        self.counts.ended -= 1
        self.counts.bytes_ended -= memory

    def mark(self) -> int:
        """Return a mark behind all that is queued now."""
        return self._queue.mark()

    def passed(self, mark: int) -> bool:
        """Whether all that was queued at ``mark`` was taken, or dropped."""
        return self._queue.passed(mark)

    def delivered(self, records: int, memory: int) -> None:
        """Count records that the brokers acknowledged."""
        self._delivered += records
        self.counts.ended += records
        self.counts.bytes_ended += memory
        self._tell_of_room()

    def failed(self, records: int, memory: int) -> None:
        """Count records that were given up."""
        self._failed += records
        self.counts.ended += records
        self.counts.bytes_ended += memory
        self._tell_of_room()

    def failed_for_others(self, records: int) -> None:
        """Count records of processes that died, as if they had been logged here."""
        self._own += records
        self._failed += records

    def lost_on_disk(self, records: int) -> None:
        """Count records that were on disk alone, and are there no more."""
        self._failed += records
        self.disk.removed += records

    def leave(self, records: int, memory: int) -> None:
        """Count records that are on disk alone from now on."""
        self.counts.ended += records
        self.counts.bytes_ended += memory
        self._tell_of_room()

    def come_back(self, records: int, memory: int) -> None:
        """Count records that were on disk alone and are in memory as well."""
        self.counts.ended -= records
        self.counts.bytes_ended -= memory

    def _tell_of_room(self) -> None:
        for _ in range(len(self._waiting)):  # not who comes back to wait again
            try:
                self._waiting.popleft().release()
            except IndexError:  # somebody else told them
                return

    # On any thread.

    def stats(self, in_flight: int) -> Stats:
        """Return the ledger; ``in_flight`` is the producer's count of a moment ago."""
        with self._lock:
            memory, emitted = self.memory, -1
            # The loop thread goes on counting: what it ended is read before what it began with.
            delivered, failed, own = self._delivered, self._failed, self._own
            while emitted != self.counts.emitted:  # again, when a signal handler logged on top
                emitted, dropped = self.counts.emitted, self._dropped.copy()
                kept = self.counts.kept
            appended, spooled = self.disk.count_appended(), self.disk.spooled
            uncounted = self.counts.out_of_memory
            if uncounted:
                key = (OUT_OF_MEMORY, logging.NOTSET)
                dropped[key] = dropped.get(key, 0) + uncounted
            outstanding = kept + appended + own - delivered - failed
            # It may be behind what was settled here.
            spooled = max(0, min(spooled, outstanding))
            in_flight = min(in_flight, outstanding - spooled)
            return Stats(
                emitted=emitted + uncounted + appended + own,
                delivered=delivered,
                dropped=_by_reason(dropped),
                failed=failed,
                buffered=outstanding - in_flight - spooled,
                in_flight=in_flight,
                spooled=spooled,
                recovered=self.disk.recovered,
                memory=memory,
            )


def _by_reason(dropped: Mapping[tuple[str, int], int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (reason, level), count in dropped.items():
        levels, name = found.setdefault(reason, {}), logging.getLevelName(level)
        levels[name] = levels.get(name, 0) + count
    return found
