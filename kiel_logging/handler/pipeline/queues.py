"""What waits to be taken, and who has to go when there is no room: one class for each policy.

The law: the reader takes from the left without any lock; whoever logs appends and sheds under the
hand-off's. What can be shed is only what is still queued here.
"""

from collections import deque
from typing import Final, Protocol

from kiel_logging.handler.pipeline.item import Item
from kiel_logging.handler.pipeline.slices import take


class Kept(Protocol):
    """Who counts what is queued: see ``counts.py``."""

    emitted: int
    kept: int
    bytes_kept: int


class Queue(Protocol):
    """A queue of items with one reader, in the order in which they came."""

    def __len__(self) -> int:
        """How many are queued."""

    def append(self, item: Item, counts: Kept) -> int:
        """Queue ``item`` behind all others, and count it; return how many are queued.

        Whatever is raised by a signal handler, it is counted and there, or neither.
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
        # Before: nobody who comes in between makes it two.
        queued, memory = len(self.items) + 1, item.memory
        # No call from here to append().
        counts.emitted += 1
        counts.kept += 1
        counts.bytes_kept += memory
        self.items.append(item)
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
        # No call from here to append().
        counts.emitted += 1
        counts.kept += 1
        counts.bytes_kept += memory
        self._memory_in += memory
        self._appended += 1
        self.items.append(item)
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
            self._shed += 1
            self._memory_shed += oldest.memory
            shed.append(oldest)
            records -= 1
            memory -= oldest.memory
        return shed

    def mark(self) -> int:
        return self._appended

    def passed(self, mark: int) -> bool:
        return self._taken + self._shed >= mark


class _Level:
    """The items of one level, each with its place in the order of all."""

    __slots__ = ("items", "level", "memory_in", "memory_out", "memory_shed")

    def __init__(self, level: int) -> None:
        self.level = level
        self.items: deque[tuple[int, Item]] = deque()
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
        level, memory = self._level(item.level), item.memory
        # No call from here to append().
        counts.emitted += 1
        counts.kept += 1
        counts.bytes_kept += memory
        level.memory_in += memory
        self._appended += 1
        level.items.append((self._appended, item))
        return len(self)

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
        return level.items[0][0]
    except IndexError:
        return _END
