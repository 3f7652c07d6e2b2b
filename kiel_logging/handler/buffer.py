"""The buffer: bounded, between the threads that log and the one that ships.

The law: the reader takes from the left of a queue without any lock; logging threads append and
shed under the ledger's lock. Only items that are still queued here can be shed.

An overflow policy is a queue that says which items make room for a new one.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from kiel_logging import native
from kiel_logging.handler.events import EventItem
from kiel_logging.handler.forks import is_forking
from kiel_logging.handler.ledger import BUFFER_FULL, Counts, Ledger
from kiel_logging.native import monotonic
from kiel_logging.record.item import Item
from kiel_logging.records import RECORD_MEMORY_OVERHEAD

_END: Final = 2**63


class Fifo:
    """The queue of ``drop_newest`` and ``block``: in the order of arrival, and shedding nothing.

    ``take()``, ``mark()`` and ``passed()`` are for the one reader.

    Attributes:
        items: those that wait. Compiled code appends to them, and counts, as ``append()`` does.
    """

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self._taken = 0

    def __len__(self) -> int:
        return len(self.items)

    def append(self, item: Item, counts: Counts) -> int:
        """Queue ``item`` behind all others, and count it; return how many are queued.

        If a signal handler raises, or memory runs out, the item is counted and queued, or neither.
        """
        queued, memory, append = len(self.items) + 1, item.memory, self.items.append
        # CPython runs signal handlers, and lets other threads run, at calls and at loops. There is
        # none from here to append(), and none from its MemoryError to the end. All memory is taken
        # before the first change. A tuple would call the garbage collector, and so any __del__.
        emitted, kept, held = counts.emitted, counts.kept, counts.bytes_kept
        emitted_now, kept_now, held_now = emitted + 1, kept + 1, held + memory
        counts.emitted, counts.kept, counts.bytes_kept = emitted_now, kept_now, held_now
        try:
            append(item)
        except MemoryError:
            counts.emitted, counts.kept, counts.bytes_kept = emitted, kept, held
            raise
        return queued

    def take(self, most: int) -> list[Item]:
        """Return up to ``most`` items, oldest first, no longer queued.

        Raises:
            MemoryError: there is none even for one; all are still queued.
        """
        taken: list[Item] = []
        items, append, popleft = self.items, taken.append, self.items.popleft
        try:
            for number in range(self._taken + 1, self._taken + most + 1):
                append(items[0])
                popleft()  # takes no memory
                self._taken = number
        except IndexError:
            pass
        except MemoryError:
            if not taken:
                raise
        return taken

    def shed(
        self, item: Item, records: int, memory: int, shed: list[Item], count: Callable[[Item], None]
    ) -> None:
        """Take items out to make room for ``item``, count each, and add it to ``shed``.

        There are enough to free ``records`` and ``memory`` bytes, or none at all; fewer if there is
        no memory to count another one, which stays.
        """

    def has_topic(self, topic: str) -> bool:
        """Return whether any queued item is for ``topic``; looks at all of them."""
        return any(one.topic == topic for one in tuple(self.items))

    def oldest(self) -> Item | None:
        """Return the item that has been queued longest; any thread may ask."""
        try:
            return self.items[0]
        except IndexError:
            return None

    def mark(self) -> int:
        """Return a mark behind all that is queued now."""
        return self._taken + len(self.items)

    def passed(self, mark: int) -> bool:
        """Return whether all that was queued at ``mark`` has left."""
        return self._taken >= mark


class _Lane:
    """Items of one level, or of all; each with its place in the order of the whole queue."""

    __slots__ = ("entries", "level", "memory_in", "memory_out", "memory_shed")

    def __init__(self, level: int) -> None:
        self.level = level
        self.entries: deque[list[Any]] = deque()
        self.memory_in = 0
        self.memory_out = 0
        self.memory_shed = 0

    @property
    def memory(self) -> int:
        return self.memory_in - self.memory_out - self.memory_shed

    @property
    def head(self) -> int:
        """The place of its oldest item; behind all places if it is empty."""
        try:
            return int(self.entries[0][0])
        except IndexError:
            return _END


class SheddingQueue:
    """The queue of ``drop_oldest`` and ``drop_lowest``; its methods do what those of Fifo do.

    Args:
        by_level: whether items of lower levels make room, the lowest level first, and of one level
            the newest first: an item never drives out one of the same or a higher level. Else
            the oldest items make room.
    """

    def __init__(self, *, by_level: bool) -> None:
        self._by_level = by_level
        self._lanes: tuple[_Lane, ...] = ()
        self._appended = 0

    def __len__(self) -> int:
        return sum(len(lane.entries) for lane in self._lanes)

    def append(self, item: Item, counts: Counts) -> int:
        lane = self._lane(item.level if self._by_level else 0)
        queued, memory, append = len(self) + 1, item.memory, lane.entries.append
        entry: list[Any] = [0, item]
        # As in Fifo.append(). The place is given here as well, or a signal handler might append
        # an item with a later place in front of this one.
        emitted, kept, held = counts.emitted, counts.kept, counts.bytes_kept
        memory_in, appended = lane.memory_in, self._appended
        emitted_now, kept_now, held_now = emitted + 1, kept + 1, held + memory
        memory_now, appended_now = memory_in + memory, appended + 1
        counts.emitted, counts.kept, counts.bytes_kept = emitted_now, kept_now, held_now
        lane.memory_in, self._appended = memory_now, appended_now
        entry[0] = appended_now
        try:
            append(entry)
        except MemoryError:
            counts.emitted, counts.kept, counts.bytes_kept = emitted, kept, held
            lane.memory_in, self._appended = memory_in, appended
            raise
        return queued

    def _lane(self, level: int) -> _Lane:
        while True:
            lanes = self._lanes
            for lane in lanes:
                if lane.level == level:
                    return lane
            new = _Lane(level)
            more = tuple(sorted((*lanes, new), key=lambda lane: lane.level))
            # The tuple is replaced, not changed: the reader may be going through it. A signal
            # handler on top of this may have added a lane as well.
            if self._lanes is lanes:
                self._lanes = more
                return new

    def take(self, most: int) -> list[Item]:
        taken: list[Item] = []
        try:
            while len(taken) < most and self._take_one(taken):
                pass
        except MemoryError:
            if not taken:
                raise
        return taken

    def _take_one(self, taken: list[Item]) -> bool:
        """Move the oldest item to ``taken``; return whether there is more to look at."""
        place, lane = min(
            ((lane.head, lane) for lane in self._lanes),
            key=lambda pair: pair[0],
            default=(_END, None),
        )
        if lane is None or place == _END:
            return False
        try:
            found: list[Any] | None = lane.entries.popleft()
            assert found is not None
        except IndexError:
            return True  # it was shed a moment ago
        try:
            # If the head was shed, items of other lanes may come before its successor.
            if found[0] == place or len(self._lanes) == 1:
                memory = lane.memory_out + found[1].memory
                taken.append(found[1])
                lane.memory_out, found = memory, None
        finally:
            if found is not None:
                lane.entries.appendleft(found)
        return True

    def shed(
        self, item: Item, records: int, memory: int, shed: list[Item], count: Callable[[Item], None]
    ) -> None:
        lanes = [one for one in self._lanes if not self._by_level or one.level < item.level]
        if (
            sum(len(lane.entries) for lane in lanes) < records
            or sum(lane.memory for lane in lanes) < memory
        ):
            return
        for lane in lanes:
            entries = lane.entries
            pop = entries.pop if self._by_level else entries.popleft
            back = entries.append if self._by_level else entries.appendleft
            while records > 0 or memory > 0:
                had = len(shed)
                try:
                    entry = pop()
                except IndexError:  # the lane is empty: the reader is taking too
                    break
                try:
                    shed.append(entry[1])
                    count(entry[1])
                except MemoryError:  # it is not counted
                    del shed[had:]
                    back(entry)
                    return
                lane.memory_shed += entry[1].memory
                records -= 1
                memory -= entry[1].memory

    def oldest(self) -> Item | None:
        heads: list[Any] = []
        for lane in self._lanes:
            with contextlib.suppress(IndexError):
                heads.append(lane.entries[0])
        return min(heads, key=lambda entry: int(entry[0]), default=(0, None))[1]

    def has_topic(self, topic: str) -> bool:
        return any(one.topic == topic for lane in self._lanes for _, one in tuple(lane.entries))

    def mark(self) -> int:
        return self._appended

    def passed(self, mark: int) -> bool:
        return all(lane.head > mark for lane in self._lanes)


BLOCK: Final = "block"
DROP_NEWEST: Final = "drop_newest"
DROP_OLDEST: Final = "drop_oldest"
OVERFLOW: Final[Mapping[str, Callable[[], Fifo | SheddingQueue]]] = {
    DROP_NEWEST: Fifo,
    DROP_OLDEST: lambda: SheddingQueue(by_level=False),
    "drop_lowest": lambda: SheddingQueue(by_level=True),
    BLOCK: Fifo,
}
"""Overflow policies: what makes room when the buffer is full."""


class _Closed(Exception):
    """The buffer takes no more records."""


class Buffer:
    """A bounded queue with one reader.

    Args:
        max_records: most records that are not yet delivered or given up.
        max_bytes: most memory that they take, in bytes.
        batch_size: how many queued records are worth waking the reader at once.
        wake: called, outside the lock, with False when the queue stops being empty and with True
            when a batch is full; never for each record, which would cost a system call each.
        overflow: one of OVERFLOW.
        block_timeout: seconds that ``put()`` waits for room, with "block".
        spools_all: whether records come here only when they can't be spooled.
        spills: whether the reader moves them to disk when they take much of the buffer.

    Attributes:
        ledger: what became of each record.
        counts: the ledger's. If ``counts.crowded``, ask ``will_drop()`` before ``put()``.
        quick_queue: where compiled code may append as ``put()`` does; None with policies that
            shed.
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
        self.ledger = Ledger(self.counts, self._notify_of_room)
        self._wake = wake
        self._spills = spills
        self._queue = OVERFLOW[overflow]()
        self.quick_queue: deque[Item] | None = None
        if isinstance(self._queue, Fifo) and not spools_all:
            self.quick_queue = self._queue.items
        self._drops_newest = overflow == DROP_NEWEST and not spools_all
        self._block_timeout = block_timeout if overflow == BLOCK else 0.0
        self._waiting: deque[threading.Lock] = deque()

    def __repr__(self) -> str:
        return f"<Buffer queued={len(self)} {self.ledger!r}>"

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def closed(self) -> bool:
        """Whether no record is taken any more."""
        return self.counts.closed

    @property
    def is_half_full(self) -> bool:
        """Whether the records that wait here take half of the buffer, or more."""
        return len(self) * 2 >= self._max_records or self.ledger.memory * 2 >= self._max_bytes

    @property
    def is_half_empty(self) -> bool:
        """Whether all records that have not ended take half of the buffer, or less."""
        ledger = self.ledger
        return ledger.outstanding * 2 <= self._max_records and ledger.memory * 2 <= self._max_bytes

    def has_topic(self, topic: str) -> bool:
        """Return whether any queued item is for ``topic``; looks at all of them."""
        return self._queue.has_topic(topic)

    # On logging threads.

    def will_drop(self) -> bool:
        """Return whether any record would be dropped now, so that its conversion can be spared."""
        counts = self.counts
        if self._drops_newest and (
            counts.kept - counts.ended >= self._max_records
            or counts.bytes_kept - counts.bytes_ended + RECORD_MEMORY_OVERHEAD > self._max_bytes
        ):
            return True
        counts.crowded = not self.is_half_empty
        return False

    def put(self, item: Item, dropped: list[Item]) -> bool:
        """Queue ``item``; add to ``dropped`` the items that are dropped for want of room, perhaps
        ``item``. They are counted, whatever is raised.

        Returns:
            False if the buffer is closed: ``item`` is not counted, and is for another buffer.

        Raises:
            MemoryError: the item is not queued, and not counted.
        """
        try:
            try:
                queued = self._admit(item, dropped)
                if queued is None:
                    queued = self._wait_and_admit(item, dropped)
            except _Closed:
                return False
            if not dropped or queued == 1:  # a full buffer wakes the reader no more
                self.wake_for(queued)
        except MemoryError:
            raise
        except BaseException:  # a signal handler's: the item may be queued without a wake
            self._wake(True)
            raise
        return True

    def wake_for(self, queued: int) -> None:
        """Wake the reader if it matters that now ``queued`` items are queued.

        If an exception of a signal handler leaves this, call ``wake`` as ``put()`` does. Without
        memory to wake the reader, the next record does.
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
        """Queue ``item``, or add items to ``dropped``.

        Returns:
            How many are queued with it, 0 if it was dropped; None if it has to wait for room.
        """
        counts, memory = self.counts, item.memory
        with self.ledger.lock:
            if counts.closed:
                raise _Closed
            if (
                counts.kept - counts.ended < counts.many_records
                and counts.bytes_kept - counts.bytes_ended + memory <= counts.many_bytes
            ):
                return self._queue.append(item, counts)
        if self._spills and not counts.crowded:
            self._wake(True)  # the loop thread can make room
        with self.ledger.lock:
            counts.crowded = True
            if counts.closed:
                raise _Closed
            if self._lacks_room(item):
                self._queue.shed(item, *self._missing(item), dropped, self._count_shed)
            if not self._lacks_room(item):
                return self._queue.append(item, counts)
            if may_wait and self._block_timeout and memory <= self._max_bytes:
                return None
            self._drop(item, dropped)
            return 0

    def _drop(self, item: Item, dropped: list[Item]) -> None:
        dropped.insert(0, item)
        try:
            self.ledger.drop(BUFFER_FULL, item.level, item.topic)
        except MemoryError:  # it is not counted
            del dropped[0]
            raise

    def _count_shed(self, item: Item) -> None:
        # A summary of the handler's own is made again: nothing is missing from its stream.
        self.ledger.shed(item, is_missing=not isinstance(item, EventItem))

    def _lacks_room(self, item: Item) -> bool:
        records, memory = self._missing(item)
        return records > 0 or memory > 0

    def _missing(self, item: Item) -> tuple[int, int]:
        return (
            self.ledger.outstanding + 1 - self._max_records,
            self.ledger.memory + item.memory - self._max_bytes,
        )

    def _wait_and_admit(self, item: Item, dropped: list[Item]) -> int:
        deadline = monotonic() + (0.0 if is_forking() else self._block_timeout)
        queued = None
        while queued is None:
            room = native.Lock()
            room.acquire()
            self._waiting.append(room)
            # Room may have come before this thread was in line.
            queued = self._admit(item, dropped)
            if queued is None and not native.acquire(room, max(0.0, deadline - monotonic())):
                queued = self._admit(item, dropped, may_wait=False)
            try:  # noqa: SIM105 # suppress() takes memory
                self._waiting.remove(room)
            except ValueError:  # it was released
                pass
        return queued

    def close(self) -> bool:
        """Take no more records and release all threads that wait; return whether it was open."""
        with self.ledger.lock:
            closed, self.counts.closed = self.counts.closed, True
        self._notify_of_room()
        return not closed

    def oldest(self) -> Item | None:
        """Return the item that has been queued longest; any thread may ask."""
        return self._queue.oldest()

    # On the loop thread.

    def take(self, most: int) -> list[Item]:
        """Return up to ``most`` items, oldest first."""
        return self._queue.take(most)

    def put_own(self, item: Item) -> bool:
        """Queue a record of the handler's own, beyond all bounds, closed or not.

        Returns:
            False if a logging thread holds the lock: try again later.
        """
        if not self.ledger.lock.acquire(blocking=False):
            return False
        try:
            self._queue.append(item, self.counts)
        finally:
            self.ledger.lock.release()
        return True

    def mark(self) -> int:
        """Return a mark behind all that is queued now."""
        return self._queue.mark()

    def passed(self, mark: int) -> bool:
        """Return whether all that was queued at ``mark`` was taken, or dropped."""
        return self._queue.passed(mark)

    def _notify_of_room(self) -> None:
        for _ in range(len(self._waiting)):  # a thread that waits again is not among these
            try:
                self._waiting.popleft().release()
            except IndexError:  # another thread released it
                return
