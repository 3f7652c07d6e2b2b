"""What waits to be taken, and who has to go when there is no room: one class for each policy.

The law: the reader takes from the left without any lock; whoever logs appends and sheds under the
hand-off's. What can be shed is only what is still queued here.
"""

from collections import deque
from typing import Any, Final, Protocol, TypeAlias

from kiel_logging.handler.pipeline.counts import Kept, count_and_append
from kiel_logging.handler.pipeline.slices import take
from kiel_logging.record.item import Item


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
