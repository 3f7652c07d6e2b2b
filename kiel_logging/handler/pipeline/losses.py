"""Counts of what was lost since it was last told, and the words for it.

Pure but for the lock. Those who log note their drops under it; the loop thread has a count of its
own, so that it waits for nobody.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from kiel_logging import native
from kiel_logging.record.log_record import rfc3339

_MOST_TOPICS: Final = 1_000
"""Topics that are told apart; a template over an unbounded field must not grow this for ever."""

MOST_RANGES: Final = 32
"""Ranges of numbers in one record of the handler's own."""

Counts = Mapping[tuple[str, int], int]

OnError: TypeAlias = Callable[[Exception, int], object]
"""The program's own, called with an error and how many records are lost by it."""


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Return the first and the last of numbers in a row, in ascending order."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


@dataclass(slots=True)
class Loss:
    """What a topic's stream lacks: (reason, level) -> records, from and to in epoch seconds.

    ``numbers`` are those of the records that had one.
    """

    begin: float
    end: float
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    numbers: set[int] = field(default_factory=set)

    @property
    def records(self) -> int:
        """How many were lost."""
        return self.counts.total()

    def copy(self) -> "Loss":
        """Return one that counts on its own."""
        return Loss(self.begin, self.end, self.counts.copy(), self.numbers.copy())

    def add(self, other: "Loss") -> None:
        """Count ``other`` too."""
        self.begin, self.end = min(self.begin, other.begin), max(self.end, other.end)
        self.counts.update(other.counts)
        self.numbers |= other.numbers

    def parts(self) -> "list[Loss]":
        """Return losses that add up to this one, each with so few numbers that a record can name
        them."""
        found = ranges(self.numbers)
        groups = [found[at : at + MOST_RANGES] for at in range(0, len(found), MOST_RANGES)] or [[]]
        parts = [
            Loss(self.begin, self.end, numbers={n for a, b in group for n in range(a, b + 1)})
            for group in groups
        ]
        parts[0].counts = self.counts.copy()
        return parts

    def by_reason(self) -> dict[str, dict[str, int]]:
        """Return reason -> name of the level -> records, lowest level first."""
        found: dict[str, dict[str, int]] = {}
        for (reason, level), count in sorted(self.counts.items()):
            levels, name = found.setdefault(reason, {}), logging.getLevelName(level)
            levels[name] = levels.get(name, 0) + count
        return found

    def __str__(self) -> str:
        if not self.counts:
            return f"dropped: {len(self.numbers)} more numbers of records that were reported"
        parts = [
            ", ".join(f"{level} {count}" for level, count in levels.items()) + f", {reason}"
            for reason, levels in self.by_reason().items()
        ]
        span = f"from {rfc3339(self.begin)} to {rfc3339(self.end)}"
        return f"dropped {self.records}: {'; '.join(parts)}, {span}"


class Losses:
    """What was lost, by topic, since it was last collected."""

    def __init__(self) -> None:
        self._lock = native.RLock()
        self._by_topic: dict[str, Loss] = {}

    def note(self, topic: str, reason: str, level: int, now: float, records: int = 1) -> bool:
        """Count a loss at ``now``, in epoch seconds; return whether it is the first."""
        with self._lock:
            first = not self._by_topic
            if topic not in self._by_topic and len(self._by_topic) >= _MOST_TOPICS:
                topic = ""
            loss = self._by_topic.setdefault(topic, Loss(now, now))
            loss.begin, loss.end = min(loss.begin, now), max(loss.end, now)
            key = reason, level
            loss.counts.setdefault(key, 0)  # a signal handler may note on top of it,
            loss.counts[key] += records  # but not in the middle of this
        return first

    def collect(self) -> dict[str, Loss]:
        """Return what was lost and forget it; nothing while somebody else counts."""
        if not self._lock.acquire(blocking=False):
            return {}
        try:
            found, self._by_topic = self._by_topic, {}
        finally:
            self._lock.release()
        return found

    def __bool__(self) -> bool:
        return bool(self._by_topic)


def add_all(losses: dict[str, Loss], more: Mapping[str, Loss]) -> None:
    """Count ``more`` among ``losses``."""
    for topic, loss in more.items():
        if topic in losses:
            losses[topic].add(loss)
        elif len(losses) < _MOST_TOPICS:
            losses[topic] = loss
        else:
            losses.setdefault("", Loss(loss.begin, loss.end)).add(loss)


def total(losses: Mapping[str, Loss]) -> Loss:
    """Return the losses of all topics as one."""
    whole: Loss | None = None
    for loss in losses.values():
        if whole is None:
            whole = Loss(loss.begin, loss.end)
        whole.add(loss)
    assert whole is not None
    return whole
