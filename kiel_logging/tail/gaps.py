"""Numbers that are absent from streams, and those that come again. Pure.

Each record of a handler has a number: 1, 2, 3 ... for each instance and topic, across partitions.
A number is missing when higher ones were read, and it did not come for a while. That can be said
only of numbers which were given behind the *horizon*, the time from which on all partitions of the
topic are read; numbers up to a stream's *floor* are not judged. ``kiel-logging verify`` knows more.
"""

import json
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kiel_logging.proof import headers as names
from kiel_logging.proof.instances import began_at
from kiel_logging.tail.entries import Mark

GRACE_S: Final = 10.0
"""Seconds that a number may be on its way, when a later one has arrived."""

_MOST_STREAMS: Final = 10_000
_MOST_RANGES: Final = 1_000
_MOST_REPORTED: Final = 1_000
_MOST_DETAILS: Final = 8_192


class Gap(NamedTuple):
    """Numbers of an instance in a topic, from ``first`` to ``last``, that were not read."""

    topic: str
    instance: str
    first: int
    last: int


class _Stream:
    """The numbers that were read of one instance in one topic."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.ranges: list[tuple[int, int]] = []  # in order, apart from each other, above the floor
        self.checks: deque[tuple[float, int]] = deque()
        self.reported: deque[tuple[int, int]] = deque(maxlen=_MOST_REPORTED)

    @property
    def highest(self) -> int:
        return self.ranges[-1][1] if self.ranges else self.floor

    def has(self, number: int) -> bool:
        index = bisect_right(self.ranges, number, key=lambda one: one[0]) - 1
        return index >= 0 and number <= self.ranges[index][1]

    def add(self, first: int, last: int) -> None:
        if last <= self.floor:
            return
        first = max(first, self.floor + 1)
        begin = bisect_left(self.ranges, first - 1, key=lambda one: one[1])
        end = bisect_right(self.ranges, last + 1, key=lambda one: one[0])
        if touched := self.ranges[begin:end]:
            first, last = min(first, touched[0][0]), max(last, touched[-1][1])
        self.ranges[begin:end] = [(first, last)]
        if len(self.ranges) > _MOST_RANGES:
            self.raise_floor(self.ranges[0][1])

    def raise_floor(self, number: int) -> None:
        if number > self.floor:
            self.floor = number
            cut = [(max(first, number + 1), last) for first, last in self.ranges]
            self.ranges = [one for one in cut if one[0] <= one[1]]

    def holes(self, below: int) -> Iterator[tuple[int, int]]:
        expected = self.floor + 1
        for first, last in self.ranges:
            if first > below:
                break
            if first > expected:
                yield expected, first - 1
            expected = last + 1


class Gaps:
    """All streams. ``now`` is in seconds since the epoch, as the records' own times are."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._waiting: dict[tuple[str, str], _Stream] = {}
        self._horizons: dict[str, int] = {}

    def begin(self, topic: str, horizon: int) -> None:
        """From this time on, in milliseconds, all partitions of the topic are read."""
        self._horizons[topic] = horizon

    def take(self, topic: str, mark: Mark, timestamp: int, now: float) -> bool:
        """Note a record; return whether one with its number was there before."""
        horizon = self._horizons.get(topic, -1)
        stream = self._stream(topic, mark, horizon)
        number = mark.number
        if stream.has(number):
            return not any(first <= number <= last for first, last in stream.reported)
        if timestamp <= horizon:
            stream.raise_floor(number)
        elif number > stream.floor:
            if number > stream.highest + 1:
                stream.checks.append((now + GRACE_S, number))
                self._waiting[topic, mark.instance] = stream
            stream.add(number, number)
        self._explain(topic, mark)
        return False

    def due(self, now: float) -> list[Gap]:
        """Return the gaps that are certain by now; each is returned once."""
        gaps = []
        for (topic, instance), stream in list(self._waiting.items()):
            while stream.checks and stream.checks[0][0] <= now:
                _, number = stream.checks.popleft()
                for hole in list(stream.holes(number)):
                    stream.add(*hole)
                    stream.reported.append(hole)
                    gaps.append(Gap(topic, instance, *hole))
            if not stream.checks:
                del self._waiting[topic, instance]
        return gaps

    def _stream(self, topic: str, mark: Mark, horizon: int) -> _Stream:
        key = topic, mark.instance
        stream = self._streams.pop(key, None)
        if stream is None:
            began = began_at(mark.instance)
            is_whole = began is not None and began > horizon
            stream = _Stream(0 if is_whole else mark.number - 1)
            if len(self._streams) >= _MOST_STREAMS:
                oldest = next(iter(self._streams))
                del self._streams[oldest]
                self._waiting.pop(oldest, None)
        self._streams[key] = stream
        return stream

    def _explain(self, topic: str, mark: Mark) -> None:
        """Note the numbers that a record of the handler's own says are lost: it is shown itself."""
        if mark.event == names.DROPS:
            instance, ranges = mark.instance, _ranges(mark.details, "numbers")
        elif mark.event == names.RECOVERY:
            instance, ranges = _dead(mark.details), _ranges(mark.details, "lost")
        else:
            return
        stream = self._streams.get((topic, instance))
        for first, last in ranges if stream is not None else ():
            if stream is not None and last <= stream.highest:
                stream.add(first, last)


def details_of(details: bytes) -> dict[str, Any]:
    """Return the content of ``kiel-details``; empty if it makes no sense."""
    try:
        found = json.loads(details) if len(details) <= _MOST_DETAILS else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _dead(details: bytes) -> str:
    found = details_of(details).get("instance")
    return found if isinstance(found, str) else ""


def _ranges(details: bytes, name: str) -> list[tuple[int, int]]:
    found = details_of(details).get(name)
    ranges = []
    for one in found if isinstance(found, list) else ():
        if isinstance(one, list) and len(one) == 2 and all(type(each) is int for each in one):
            first, last = one
            if 0 < first <= last:
                ranges.append((first, last))
    return ranges
