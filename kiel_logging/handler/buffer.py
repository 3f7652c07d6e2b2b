"""Where the threads meet: from those that log to the one that ships. Bounded, and the ledger.

The law: every record that a handler was given is counted in ``emitted``, and from then on in
exactly one of delivered, dropped, failed, buffered, in flight and spooled.

Whoever logs holds the lock, for an instant. The loop thread never takes it: it has counters of its
own, which nobody else writes. So it goes on working whoever is held up, a signal handler included
that waits for a flush on top of a frame that holds the lock. The lock is re-entrant, for signal
handlers and ``__del__`` may log wherever Python code is.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any, Final, Protocol, TypeAlias

from kiel_logging import native
from kiel_logging.handler.ledger import DiskLedger, Stats
from kiel_logging.handler.process import is_forking
from kiel_logging.handler.slices import take
from kiel_logging.native import monotonic
from kiel_logging.record.item import Item
from kiel_logging.records import RECORD_MEMORY_OVERHEAD


class Kept(Protocol):
    """Counts what is queued."""

    emitted: int
    kept: int
    bytes_kept: int


class CountsInPython:
    """Counts of one buffer.

    Args:
        many_records: from so many outstanding records on, it looks closely whether there is room.
        many_bytes: from so many bytes on.
        batch_size: as many queued records are worth waking the reader.

    Attributes:
        emitted: records that were put, or dropped.
        kept: those that were not dropped.
        bytes_kept: the memory that these take.
        ended: records of these that ended, as the buffer counts them.
        bytes_ended: the memory that these took.
        out_of_memory: records that were dropped because there was no memory, not even to count them
            where others are counted; not in ``emitted``.
        crowded: as the buffer has it.
        closed: as the buffer has it.
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


def queue_up(counts: Any, queue: Sized, append: Callable[[Item], None], item: Item) -> int:
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
except ImportError:  # there was no C compiler
    Counts = CountsInPython  # type: ignore[assignment,misc]


class Queue(Protocol):
    """A queue of items with one reader, in the order in which they came."""

    def __len__(self) -> int:
        """How many are queued."""

    def append(self, item: Item, counts: Kept) -> int:
        """Queue ``item`` behind all others, and count it; return how many are queued.

        Whatever is raised by a signal handler, or for want of memory, it is counted and there, or
        neither.
        """

    def take(self, most: int) -> list[Item]:
        """Return up to ``most`` items, oldest first, no longer queued; for the one reader."""

    def shed(self, item: Item, records: int, memory: int) -> list[Item]:
        """Return items that were taken out to make room for ``item``.

        Either enough to free ``records`` and ``memory`` bytes, or none at all.
        """

    def has_topic(self, topic: str) -> bool:
        """Whether any queued item is for ``topic``; takes long."""

    def mark(self) -> int:
        """Return a mark behind all that is queued now."""

    def passed(self, mark: int) -> bool:
        """Whether all that was queued at ``mark`` has left."""


class Newest:
    """``drop_newest``, and ``block``: sheds nothing; who comes too late does not get in.

    Attributes:
        items: those that wait. Whoever appends to them does what ``append()`` does.
    """

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self._taken = 0

    def __len__(self) -> int:
        return len(self.items)

    def append(self, item: Item, counts: Kept) -> int:
        queued = len(self.items) + 1  # before: nobody who comes in between makes it two
        count_and_append(counts, item.memory, self.items.append, item)
        return queued

    def take(self, most: int) -> list[Item]:
        taken = take(self.items.popleft, most)
        self._taken += len(taken)
        return taken

    def shed(self, item: Item, records: int, memory: int) -> list[Item]:
        del item, records, memory
        return []

    def has_topic(self, topic: str) -> bool:
        return any(one.topic == topic for one in tuple(self.items))

    def mark(self) -> int:
        return self._taken + len(self.items)  # the reader is who asks

    def passed(self, mark: int) -> bool:
        return self._taken >= mark


class Oldest(Newest):
    """``drop_oldest``: those that wait longest go first."""

    def __init__(self) -> None:
        super().__init__()
        self._appended = 0
        self._shed = 0
        self._memory_in = 0
        self._memory_taken = 0
        self._memory_shed = 0

    def append(self, item: Item, counts: Kept) -> int:
        queued, memory = len(self.items) + 1, item.memory
        # No call from here to append(), nor any memory but for numbers; see count_and_append().
        emitted, kept, held = counts.emitted, counts.kept, counts.bytes_kept
        memory_in, appended = self._memory_in, self._appended
        emitted_now, kept_now, held_now = emitted + 1, kept + 1, held + memory
        memory_now, appended_now = memory_in + memory, appended + 1
        counts.emitted, counts.kept, counts.bytes_kept = emitted_now, kept_now, held_now
        self._memory_in, self._appended = memory_now, appended_now
        try:
            self.items.append(item)
        except MemoryError:
            counts.emitted, counts.kept, counts.bytes_kept = emitted, kept, held
            self._memory_in, self._appended = memory_in, appended
            raise
        return queued

    def take(self, most: int) -> list[Item]:
        taken = super().take(most)
        self._memory_taken += sum(item.memory for item in taken)
        return taken

    def shed(self, item: Item, records: int, memory: int) -> list[Item]:
        del item
        if len(self) < records or self._memory_in - self._memory_taken - self._memory_shed < memory:
            return []
        shed: list[Item] = []
        while records > 0 or memory > 0:
            try:
                oldest = self.items.popleft()
            except IndexError:  # the reader took what was left
                break
            try:
                shed.append(oldest)
            except MemoryError:
                self.items.appendleft(oldest)
                break
            self._shed += 1
            self._memory_shed += oldest.memory
            records -= 1
            memory -= oldest.memory
        return shed

    def mark(self) -> int:
        return self._appended

    def passed(self, mark: int) -> bool:
        return self._taken + self._shed >= mark


_Entry: TypeAlias = list[Any]
"""An item's place in the order of all, and the item."""


class _Level:
    """The items of one level, each with its place in the order of all."""

    __slots__ = ("items", "level", "memory_in", "memory_out", "memory_shed")

    def __init__(self, level: int) -> None:
        self.level = level
        self.items: deque[_Entry] = deque()
        self.memory_in = 0
        self.memory_out = 0
        self.memory_shed = 0

    @property
    def memory(self) -> int:
        return self.memory_in - self.memory_out - self.memory_shed


_END: Final = 2**63


class Lowest:
    """``drop_lowest``: DEBUG goes before INFO, INFO before WARNING; of one level, the newest.

    An item never drives out one of its own level or of a higher one.
    """

    def __init__(self) -> None:
        self._levels: tuple[_Level, ...] = ()
        self._appended = 0

    def __len__(self) -> int:
        return sum(len(level.items) for level in self._levels)

    def append(self, item: Item, counts: Kept) -> int:
        queued, level, memory = len(self) + 1, self._level(item.level), item.memory
        entry: _Entry = [0, item]
        # No call from here to append(), nor any memory but for numbers; see count_and_append().
        emitted, kept, held = counts.emitted, counts.kept, counts.bytes_kept
        memory_in, appended = level.memory_in, self._appended
        emitted_now, kept_now, held_now = emitted + 1, kept + 1, held + memory
        memory_now, appended_now = memory_in + memory, appended + 1
        counts.emitted, counts.kept, counts.bytes_kept = emitted_now, kept_now, held_now
        level.memory_in, self._appended = memory_now, appended_now
        entry[0] = appended_now
        try:
            level.items.append(entry)
        except MemoryError:
            counts.emitted, counts.kept, counts.bytes_kept = emitted, kept, held
            level.memory_in, self._appended = memory_in, appended
            raise
        return queued

    def _level(self, number: int) -> _Level:
        while True:
            levels = self._levels
            for level in levels:
                if level.level == number:
                    return level
            new = _Level(number)
            more = tuple(sorted((*levels, new), key=lambda level: level.level))
            # Replaced, not changed: the reader may be going through it. A signal handler may have
            # added one of its own on top of this.
            if self._levels is levels:
                self._levels = more
                return new

    def has_topic(self, topic: str) -> bool:
        return any(one.topic == topic for level in self._levels for _, one in tuple(level.items))

    def take(self, most: int) -> list[Item]:
        taken: list[Item] = []
        while len(taken) < most:
            place, level = min(
                ((_head(level), level) for level in self._levels),
                key=lambda pair: pair[0],
                default=(_END, None),
            )
            if level is None or place == _END:
                break
            try:
                found = level.items.popleft()
            except IndexError:
                continue  # shed a moment ago
            if found[0] != place:
                level.items.appendleft(found)  # so was this one; others may come before the next
                continue
            level.memory_out += found[1].memory
            taken.append(found[1])
        return taken

    def shed(self, item: Item, records: int, memory: int) -> list[Item]:
        lower = [level for level in self._levels if level.level < item.level]
        if (
            sum(len(level.items) for level in lower) < records
            or sum(level.memory for level in lower) < memory
        ):
            return []
        shed: list[Item] = []
        for level in lower:
            while (records > 0 or memory > 0) and level.items:
                try:
                    _, newest = level.items.pop()
                except IndexError:  # the reader took it
                    break
                level.memory_shed += newest.memory
                shed.append(newest)
                records -= 1
                memory -= newest.memory
        return shed

    def mark(self) -> int:
        return self._appended

    def passed(self, mark: int) -> bool:
        return all(_head(level) > mark for level in self._levels)


def _head(level: _Level) -> int:
    try:
        return int(level.items[0][0])
    except IndexError:
        return _END


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


class Buffer:
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
        return f"<Buffer queued={len(self)} outstanding={self.outstanding} bytes={self.memory}>"

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
