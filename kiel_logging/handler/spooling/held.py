"""What the brokers refuse though nothing is wrong with it: kept, and fed again after a while.

The law: a row leaves the disk when it is acknowledged, or when its record itself can't be stored.
Whatever somebody may put right (a permission, a topic, a broker's trouble) is waited for. What is
of the same topic waits behind it, so that the order of each key holds; other topics go on.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, Protocol

from kiel_logging.delivery.retry import is_for_good
from kiel_logging.errors import BrokerError, BrokerRejected, DeliveryError, ProducerStateError
from kiel_logging.handler.spooling.placed import Placed

FIRST: Final = 2.0
"""Seconds until what was refused is sent again; twice as many each time."""

MOST: Final = 60.0

PART: Final = 2
"""One part in so many of what the handler may buffer leaves no room for more.

The window of the feed, a quarter, may be refused all at once: others need room to go on then. What
others have there may be refused as well, so that three quarters are held at most.
"""

_topic_of: Final = attrgetter("topic")
_memory_of: Final = attrgetter("memory")


def is_of_the_record(error: Exception) -> bool:
    """Whether it would be refused for ever, whatever anybody does about the brokers."""
    if isinstance(error, BrokerRejected):
        return is_for_good(error.error_code)
    return not isinstance(error, DeliveryError | BrokerError | ProducerStateError)


class Timer(Protocol):
    """What can be called off."""

    def cancel(self) -> object:
        """Don't call."""


Later = Callable[[float, Callable[[], None]], Timer]


def _later(delay: float, callback: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(delay, callback)


class _Line:
    """What is held of one topic, and what stands behind it.

    Its first is tried alone: the others would only be in the way of other topics, were it refused.

    Attributes:
        delay: seconds that it waited the last time; 0 after the brokers took something.
        timer: runs while nothing may be fed; None otherwise.
        trial: whether one may be fed, to see what becomes of it.
        well: whether all may be fed.
    """

    __slots__ = ("delay", "error", "items", "timer", "trial", "well")

    def __init__(self) -> None:
        self.items: deque[Placed] = deque()
        self.delay = 0.0
        self.timer: Timer | None = None
        self.trial = self.well = False
        self.error: Exception | None = None

    def take(self, most: int) -> list[Placed]:
        """Return up to ``most`` of those that may be fed."""
        may = len(self.items) if self.well else int(self.trial)
        found = [self.items.popleft() for _ in range(min(most, may, len(self.items)))]
        self.trial = self.trial and not found
        return found

    def tell(self, items: Iterable[Placed]) -> None:
        """Let those who await ``items`` know why they have to wait."""
        assert self.error is not None, "something was refused"
        for item in items:
            if item.awaited is not None:
                item.awaited.held(self.error, on_disk=item.on_disk)


class Held:
    """Items that wait to be fed again, by topic: what comes later stands behind its topic's.

    What is refused is held in any case, and is at most what was with the feed. What merely stands
    behind it must have ``room``.

    Args:
        rank: in which order their homes come.
        resume: called when some may be fed.
        most_records: as many leave no room for others.
        most_bytes: of memory; as many leave no room either.
        later: calls after so many seconds.
    """

    def __init__(
        self,
        rank: Callable[[Any], int],
        resume: Callable[[], None],
        *,
        most_records: int,
        most_bytes: int,
        later: Later = _later,
    ) -> None:
        self._rank = rank
        self._resume = resume
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._later = later
        self._lines: dict[str, _Line] = {}
        self._records = self._bytes = 0

    def __repr__(self) -> str:
        return f"<Held {self._records}>"

    def __bool__(self) -> bool:
        return self._records > 0

    @property
    def room(self) -> int:
        """How many more may be taken that perhaps have to stand behind others."""
        if self._bytes >= self._most_bytes:
            return 0
        return max(0, self._most_records - self._records)

    def _count(self, items: Sequence[Placed], sign: int) -> None:
        self._records += sign * len(items)
        self._bytes += sign * sum(map(_memory_of, items))

    def hold(self, items: Sequence[Placed], error: Exception) -> None:
        """They were refused: their topics wait, longer each time."""
        self._count(items, 1)
        for topic, alike in groupby(items, _topic_of):
            self._hold(self._lines.setdefault(topic, _Line()), alike, error)

    def _hold(self, line: _Line, items: Iterable[Placed], error: Exception) -> None:
        line.items = deque(sorted((*line.items, *items), key=self._order))
        line.error = error
        line.tell(line.items)
        line.trial = line.well = False
        if line.timer is not None:
            return  # they were under way together with those that were refused before
        line.delay = min(MOST, line.delay * 2 or FIRST)
        line.timer = self._later(line.delay, partial(self._go_on, line))

    def _order(self, item: Placed) -> tuple[int, int]:
        return self._rank(item.home), item.place

    def _go_on(self, line: _Line) -> None:
        line.timer, line.trial = None, True
        self._resume()

    def let_pass(self, items: list[Placed]) -> list[Placed]:
        """Return those that need not wait; the others stand behind what is held of their topics."""
        if not self._lines:
            return items
        passing, behind = [], []
        for item in items:
            line = self._lines.get(item.topic)
            if line is None or (line.well and not line.items):
                passing.append(item)
                continue
            line.items.append(item)
            line.tell((item,))
            behind.append(item)
        self._count(behind, 1)
        return passing

    def take(self, most: int) -> list[Placed]:
        """Return up to ``most`` of those whose time has come."""
        found: list[Placed] = []
        for line in self._lines.values():
            found += line.take(most - len(found))
        self._count(found, -1)
        return found

    def went_well(self, topic: str) -> None:
        """The brokers took something of ``topic``: all of it may be fed, unless it waits."""
        line = self._lines.get(topic)
        if line is None:
            return
        line.delay = 0.0
        if line.timer is None:
            line.well = True
            self._go_on_or_forget(topic, line)

    def ended(self, topic: str) -> None:
        """Something of ``topic`` is given up, which may be what was tried: try the next."""
        line = self._lines.get(topic)
        if line is not None and line.timer is None:
            line.trial = True
            self._go_on_or_forget(topic, line)

    def _go_on_or_forget(self, topic: str, line: _Line) -> None:
        if line.items:
            self._resume()
        else:
            del self._lines[topic]

    def rest(self) -> list[Placed]:
        """Return all of them: nobody feeds them any more."""
        found = [item for line in self._lines.values() for item in line.items]
        for line in self._lines.values():
            line.items.clear()
        self._count(found, -1)
        return found

    def close(self) -> None:
        """Resume nothing."""
        for line in self._lines.values():
            if line.timer is not None:
                line.timer.cancel()
                line.timer = None
