"""Records of several partitions in the order of their times. Pure."""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from heapq import heappop, heappush
from typing import Final, Generic, TypeAlias, TypeVar

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)

When: TypeAlias = tuple[int, ...]
"""A time, and the order among items of that time."""

CROWDED: Final = 5_000
"""Items of one source that wait for those of others."""


class Merge(Generic[_K, _T]):
    """Sources that are read side by side; each keeps its own order.

    An item is released when every source that is not finished has one to compare it with.
    """

    def __init__(self, sources: Iterable[_K]) -> None:
        self._queues: dict[_K, deque[tuple[When, _T]]] = {source: deque() for source in sources}
        self.unfinished: set[_K] = set(self._queues)
        self._starved = len(self._queues)
        self._heads: list[tuple[When, int, _K]] = []
        self._order = {source: number for number, source in enumerate(self._queues)}

    def add(self, source: _K, when: When, item: _T) -> None:
        """Put an item behind those of its source."""
        queue = self._queues[source]
        if not queue:
            self._starved -= source in self.unfinished
            heappush(self._heads, (when, self._order[source], source))
        queue.append((when, item))

    def finish(self, source: _K) -> None:
        """Note that nothing more comes of a source."""
        if source in self.unfinished:
            self.unfinished.remove(source)
            self._starved -= not self._queues[source]

    def released(self) -> Iterator[_T]:
        """Yield, and remove, the items whose turn it is."""
        while self._heads and not self._starved:
            _, _, source = heappop(self._heads)
            queue = self._queues[source]
            _, item = queue.popleft()
            if queue:
                heappush(self._heads, (queue[0][0], self._order[source], source))
            else:
                self._starved += source in self.unfinished
            yield item

    def crowded(self) -> set[_K]:
        """Return the sources that should wait for others."""
        return {source for source, queue in self._queues.items() if len(queue) > CROWDED}
