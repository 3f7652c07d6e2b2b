"""Counts of what was lost since it was last told, and the words for it.

Pure but for the lock. Those who log note their drops under it; the loop thread has a count of its
own, so that it waits for nobody.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from kiel_logging import native
from kiel_logging.record.fields import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that keeps records from being delivered, and that does not pass in a few seconds.

    Attributes:
        subject: "topic 'logs'", "broker kafka-1:9092" or another.
        kind: the name of Kafka's error if brokers reject records, else of the exception's class.
        error: the whole text, with advice.
        since: when it began, in seconds of the epoch.
        records: how many wait because of it, of those that were handed to the producer.
    """

    subject: str
    kind: str
    error: str
    since: float
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A handler's ledger at one moment, in records.

    ``emitted == delivered + dropped_total + failed + buffered + in_flight + spooled``, always.

    Attributes:
        emitted: given to the handler.
        delivered: acknowledged by the brokers.
        dropped: never handed to the producer: reason -> name of the level -> how many.
        failed: given up by the producer, or left over when the handler was closed; each was
            logged with its reason. Those of processes that died, which the brokers refused, are
            among them, and in ``emitted``.
        buffered: waiting to be sent.
        in_flight: sent and not yet acknowledged.
        spooled: on disk alone, with ``spool_dir``.
        recovered: of processes that died, or of other handlers that were closed, delivered by this
            one; not counted in ``emitted``.
        memory: bytes that those in the buffer and in flight take.
        fallback: how many of the dropped and failed ones the fallback handler took.
        diverted: made while shipping, and shown elsewhere; not counted in ``emitted``.
        troubles: what keeps records from being delivered just now.
    """

    emitted: int
    delivered: int
    dropped: Mapping[str, Mapping[str, int]]
    failed: int
    buffered: int
    in_flight: int
    memory: int
    fallback: int = 0
    diverted: int = 0
    spooled: int = 0
    recovered: int = 0
    troubles: tuple[Trouble, ...] = ()

    @property
    def dropped_total(self) -> int:
        """How many were dropped, for whatever reason."""
        return sum(sum(levels.values()) for levels in self.dropped.values())

    @property
    def undelivered(self) -> int:
        """How many are not (yet) with the brokers."""
        return self.emitted - self.delivered

    def __add__(self, other: "Stats") -> "Stats":
        """Return the ledger of two pipelines that a handler had one after the other."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _NUMBERS}
        reasons = [*self.dropped, *(one for one in other.dropped if one not in self.dropped)]
        dropped = {
            reason: _sum(self.dropped.get(reason, {}), other.dropped.get(reason, {}))
            for reason in reasons
        }
        return Stats(dropped=dropped, troubles=self.troubles + other.troubles, **sums)

    def with_delivered(self, records: int) -> "Stats":
        """Return the ledger, where so many that a closed pipeline left on disk, and a later one
        recovered, are delivered instead."""
        return replace(
            self,
            delivered=self.delivered + records,
            spooled=self.spooled - records,
            recovered=self.recovered - records,
        )


_NUMBERS: Final = (
    "emitted",
    "delivered",
    "failed",
    "buffered",
    "in_flight",
    "memory",
    "fallback",
    "diverted",
    "spooled",
    "recovered",
)


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {level: one.get(level, 0) + other.get(level, 0) for level in {**one, **other}}


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


PERIOD: Final = 10.0
"""Seconds between two tellings of the same kind."""


GATHERING: Final = 1.0
"""Seconds until the first telling: a loss seldom comes alone."""


class LossReport:
    """Gathers what was lost, for the loop thread.

    Args:
        drops: what those who log note.
    """

    def __init__(self, drops: Losses) -> None:
        self._drops = drops
        self._untold: dict[str, Loss] = {}
        self._missing: dict[str, Loss] = {}
        self._tell_at = 0.0
        self._gathering = False
        self._summarise_at = 0.0

    def __bool__(self) -> bool:
        """Whether anything is to be told of in a stream."""
        return bool(self._missing) or bool(self._drops)

    def add_failures(self, failures: Mapping[tuple[str, int], int], reason: str, at: float) -> None:
        """Count what the producer gave up: (topic, level) -> records, ``at`` in epoch seconds.

        It was logged with its reason when it happened, so that only the streams lack it.
        """
        for (topic, level), records in failures.items():
            loss = Loss(at, at)
            loss.counts[reason, level] = records
            add_all(self._missing, {topic: loss})

    def add_number(self, topic: str, number: int) -> None:
        """Note that a record among the failures of ``topic`` had ``number``."""
        if (loss := self._missing.get(topic)) is not None:
            loss.numbers.add(number)

    def _collect(self) -> None:
        for topic, loss in self._drops.collect().items():
            add_all(self._untold, {topic: loss.copy()})
            add_all(self._missing, {topic: loss})

    def to_tell(self, now: float) -> Loss | None:
        """Return all drops since the last time, unless that was a moment ago."""
        self._collect()
        if self._untold and not self._gathering:
            self._gathering = True
            self._tell_at = max(self._tell_at, now + GATHERING)
        if not self._untold or now < self._tell_at:
            return None
        self._tell_at = now + PERIOD
        return self._take_untold()

    def _take_untold(self) -> Loss | None:
        untold, self._untold, self._gathering = self._untold, {}, False
        return total(untold) if untold else None

    def tell_at(self) -> float | None:
        """Return when there will be something to tell; None while there is nothing.

        In the past, when somebody else is just counting it.
        """
        return self._tell_at if self._untold or self._drops else None

    def rest(self) -> Loss | None:
        """Return all drops that were not told yet, whenever the last time was."""
        self._collect()
        return self._take_untold()

    def to_summarise(self, now: float, *, at_once: bool = False) -> dict[str, Loss]:
        """Return what each stream lacks since the last summary, unless that was a moment ago."""
        self._collect()
        if not self._missing or (now < self._summarise_at and not at_once):
            return {}
        missing, self._missing = self._missing, {}
        missing.pop("", None)  # of topics beyond counting
        self._summarise_at = now + PERIOD
        return missing

    def put_back(self, topic: str, loss: Loss) -> None:
        """The summary of ``loss`` could not be made yet."""
        add_all(self._missing, {topic: loss})

    def lacks(self, topic: str) -> bool:
        """Whether the stream of ``topic`` is yet to be told what it lacks."""
        return topic in self._missing

    def summarise_at(self) -> float | None:
        """Return when a summary may be made; None while there is nothing to say."""
        return self._summarise_at if self else None


def summary_record(loss: Loss) -> logging.LogRecord:
    """Return the record that tells the readers of a stream what it lacks."""
    record = logging.LogRecord(
        "kiel_logging", logging.WARNING, __file__, 0, "%s", (loss,), None, "summary_record"
    )
    record.dropped = loss.by_reason()
    return record


class DiskLedger:
    """Counts of records.

    Attributes:
        count_appended: returns how many records logging threads appended by themselves.
        written: records that the loop thread appended.
        removed: of both, those that are there no more, or soon will not be.
        copies: of both, those that are in memory as well.
        recovered: records of dead processes that were delivered here.
    """

    __slots__ = ("copies", "count_appended", "recovered", "removed", "written")

    def __init__(self) -> None:
        self.count_appended: Callable[[], int] = int
        self.written = self.removed = self.copies = self.recovered = 0

    def __repr__(self) -> str:
        return f"<DiskLedger on_disk={self.on_disk} spooled={self.spooled}>"

    @property
    def on_disk(self) -> int:
        """How many of this process's records are on disk."""
        return self.count_appended() + self.written - self.removed

    @property
    def spooled(self) -> int:
        """How many are there alone."""
        return self.on_disk - self.copies
