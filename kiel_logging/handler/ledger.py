"""The ledger: what became of every record, which losses are still to be reported, and when.

The law: a record is counted in ``emitted``, and from then on in exactly one of delivered, dropped,
left out, failed, buffered, in flight and spooled.

Logging threads change their counters under the lock, for a few instructions; the loop thread has
other counters and never waits for the lock. A signal handler may wait for the loop thread on
top of a frame that holds the lock, so the loop thread would wait for ever. The lock is re-entrant:
signal handlers and ``__del__`` may log on top of any line.
"""

import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final, TypeAlias

from kiel_logging import native
from kiel_logging.delivery_stats import DeliveryStats
from kiel_logging.record.fields import rfc3339
from kiel_logging.record.item import Item

BUFFER_FULL: Final = "buffer_full"
CLOSED: Final = "closed"
OUT_OF_MEMORY: Final = "out_of_memory"

RATE_LIMIT: Final = "rate_limit"
SAMPLE: Final = "sample"
DEDUPE: Final = "dedupe"
BEFORE_SEND: Final = "before_send"
ON_PURPOSE: Final = frozenset((RATE_LIMIT, SAMPLE, DEDUPE, BEFORE_SEND))
"""Reasons for which options leave records out. Such an omission is no loss: the stream reports it,
and nothing else does."""

MOST_RANGES: Final = 32
"""Ranges of numbers in one record of the handler's own."""

PERIOD: Final = 10.0
"""Seconds between two reports, and between two summaries in a stream."""

GATHERING: Final = 1.0
"""Seconds from a loss to its report: losses seldom come alone."""

_MOST_TOPICS: Final = 1_000
"""Topics with a count of their own. A template may make any number of topics; further ones share
the empty name."""

OnError: TypeAlias = Callable[[Exception, int], object]
"""The program's callback: gets an error, and how many records it cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that keeps records from being delivered for longer than a few seconds.

    Attributes:
        subject: "topic 'logs'", "broker kafka-1:9092" or another.
        kind: the name of Kafka's error if brokers reject records, else of the exception's class.
        error: the whole text, with advice.
        since: when it began, in seconds of the epoch.
        records: how many records wait because of it, of those that were handed to the producer.
    """

    subject: str
    kind: str
    error: str
    since: float
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A handler's ledger at one moment, in records.

    ``emitted == delivered + dropped_total + left_out_total + failed + buffered + in_flight +
    spooled``, always.

    Attributes:
        emitted: given to the handler.
        delivered: acknowledged by the brokers.
        dropped: never handed to the producer: reason -> name of the level -> how many.
        failed: given up by the producer, or left over when the handler was closed; each was
            logged with its reason. Records of dead processes that the brokers refused count here
            and in ``emitted``.
        buffered: waiting to be sent.
        in_flight: sent and not yet acknowledged.
        spooled: on disk alone, with ``spool_dir``.
        recovered: delivered here for processes that died and for handlers that were closed; not
            counted in ``emitted``.
        left_out: by the options ``rate_limit``, ``sample``, ``dedupe`` and ``before_send``, on
            purpose: reason -> name of the level -> how many.
        memory: bytes that buffered records and those in flight take.
        fallback: how many of the dropped and failed records the fallback handler took.
        diverted: made while shipping, and shown elsewhere; not counted in ``emitted``.
        troubles: what keeps records from being delivered just now.
        delivery: what became of batches: latency, sizes, retries, errors, throttling. Records that
            are recovered and those of the handler's own are among them.
        spool_bytes: bytes in ``spool_dir`` that are not acknowledged: this handler's, and those of
            dead processes that it sends. 0 for a SpoolHandler, as another process sends its.
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
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    delivery: DeliveryStats = field(default_factory=DeliveryStats, repr=False, compare=False)
    spool_bytes: int = field(default=0, repr=False)

    @property
    def dropped_total(self) -> int:
        """How many were dropped, for all reasons together."""
        return _total(self.dropped)

    @property
    def left_out_total(self) -> int:
        """How many were left out on purpose, for all reasons together."""
        return _total(self.left_out)

    @property
    def undelivered(self) -> int:
        """How many are not (yet) with the brokers, of those that were not left out on purpose."""
        return self.emitted - self.delivered - self.left_out_total

    def __add__(self, other: "Stats") -> "Stats":
        """Return the ledger of two pipelines that a handler had, ``other`` after this one."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _NUMBERS}
        return Stats(
            dropped=_sum(self.dropped, other.dropped),
            left_out=_sum(self.left_out, other.left_out),
            troubles=self.troubles + other.troubles,
            delivery=self.delivery + other.delivery,
            spool_bytes=other.spool_bytes,  # it sends what the first one left
            **sums,
        )

    def with_delivered(self, records: int) -> "Stats":
        """Return the ledger with ``records`` moved to ``delivered``: a closed pipeline left them
        on disk, and a later one recovered them."""
        return replace(
            self,
            delivered=self.delivered + records,
            spooled=self.spooled - records,
            recovered=self.recovered - records,
        )


_NUMBERS: Final = [one.name for one in fields(Stats) if one.type is int and one.repr]


def _total(counts: Mapping[str, Mapping[str, int]]) -> int:
    return sum(sum(levels.values()) for levels in counts.values())


def _sum(
    one: Mapping[str, Mapping[str, int]], other: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    return {
        reason: dict(Counter(one.get(reason, {})) + Counter(other.get(reason, {})))
        for reason in dict.fromkeys((*one, *other))
    }


class Traffic:
    """Counts of a process that ships for others, by topic; any thread may read them.

    Attributes:
        sent: how many records the brokers acknowledged.
        batches: in how many batches.
        given_up: how many records were given up, by topic and kind of error.
        rejections: how many times the brokers rejected the topic for now, by topic and kind of
            error.
    """

    def __init__(self) -> None:
        self.sent = Counter[str]()
        self.batches = Counter[str]()
        self.given_up = Counter[tuple[str, str]]()
        self.rejections = Counter[tuple[str, str]]()

    def __repr__(self) -> str:
        return f"<Traffic sent={self.sent.total()} given_up={self.given_up.total()}>"

    def __add__(self, other: "Traffic") -> "Traffic":
        """Return the sums of two pipelines that followed each other."""
        both = Traffic()
        for name, counter in vars(both).items():
            counter.update(dict(getattr(self, name)))
            counter.update(dict(getattr(other, name)))
        return both

    def delivered(self, topic: str, records: int) -> None:
        """Count a batch."""
        topic = self._counted(topic)
        self.batches[topic] += 1
        self.sent[topic] += records

    def failed(self, topic: str, error: str, records: int) -> None:
        """Count records that are given up."""
        self.given_up[self._counted(topic), error] += records

    def deferred(self, topic: str, error: str) -> None:
        """Count a rejection that may end."""
        self.rejections[self._counted(topic), error] += 1

    def _counted(self, topic: str) -> str:
        is_known = topic in self.sent or len(self.sent) < _MOST_TOPICS
        if is_known:
            self.sent[topic] += 0
        return topic if is_known else ""


# Losses.


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Return the first and the last of each run of consecutive numbers, in ascending order."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def by_reason(counts: Mapping[tuple[str, int], int]) -> dict[str, dict[str, int]]:
    """Return reason -> name of the level -> records, lowest level first."""
    found: dict[str, dict[str, int]] = {}
    for (reason, level), count in sorted(counts.items()):
        levels, name = found.setdefault(reason, {}), logging.getLevelName(level)
        levels[name] = levels.get(name, 0) + count
    return found


@dataclass(slots=True)
class Loss:
    """The records that a topic's stream lacks: (reason, level) -> how many.

    ``begin`` and ``end`` are in epoch seconds.

    ``numbers`` are the sequence numbers of those records that had one. ``counts`` is no Counter:
    one makes a tuple for each change, for which there may be no memory.
    """

    begin: float
    end: float
    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)

    @property
    def records(self) -> int:
        """How many were lost."""
        return sum(self.counts.values())

    @property
    def is_on_purpose(self) -> bool:
        """Whether options left these records out. A loss has either such counts or others."""
        return any(reason in ON_PURPOSE for reason, _ in self.counts)

    def copy(self) -> "Loss":
        """Return one that counts on its own."""
        return Loss(self.begin, self.end, self.counts.copy(), self.numbers.copy())

    def add(self, other: "Loss") -> None:
        """Count ``other`` too."""
        self.begin, self.end = min(self.begin, other.begin), max(self.end, other.end)
        for key, records in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + records
        self.numbers |= other.numbers

    def parts(self) -> "list[Loss]":
        """Return losses that add up to this one, each with so few ranges of numbers that a record
        can name them."""
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
        return by_reason(self.counts)

    def __str__(self) -> str:
        if not self.counts:
            return f"dropped: {len(self.numbers)} more numbers of records that were reported"
        parts = [
            ", ".join(f"{level} {count}" for level, count in levels.items()) + f", {reason}"
            for reason, levels in self.by_reason().items()
        ]
        span = f"from {rfc3339(self.begin)} to {rfc3339(self.end)}"
        verb = "left out" if self.is_on_purpose else "dropped"
        return f"{verb} {self.records}: {'; '.join(parts)}, {span}"


def add_all(losses: dict[str, Loss], more: Mapping[str, Loss]) -> None:
    """Count ``more`` among ``losses``, by topic."""
    for topic, loss in more.items():
        if topic in losses:
            losses[topic].add(loss)
        elif len(losses) < _MOST_TOPICS:
            losses[topic] = loss
        else:
            losses.setdefault("", Loss(loss.begin, loss.end)).add(loss)


# Counts.


class CountsInPython:
    """The counters of one buffer that compiled code changes as well.

    Logging threads change ``emitted``, ``kept`` and ``bytes_kept``, the loop thread ``ended`` and
    ``bytes_ended``.

    Args:
        many_records: from so many outstanding records on, ``put()`` looks closely for room.
        many_bytes: from so many outstanding bytes on.
        batch_size: this many queued records are worth waking the reader at once.

    Attributes:
        emitted: records that were put, or dropped.
        kept: those that were not dropped.
        bytes_kept: the memory that these take.
        ended: of these, the records that ended; also those that live on disk alone.
        bytes_ended: the memory that these took.
        out_of_memory: records that were dropped when there was no memory even to count them with
            the others; not in ``emitted``.
        crowded: whether the buffer may be full soon, or is.
        closed: whether the buffer takes no more records.
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
        """Count a record for which there was no memory. In C this takes none itself."""
        with contextlib.suppress(MemoryError):
            self.out_of_memory += 1


try:
    from kiel_logging._accelerator import Counts as Counts
except ImportError:  # there was no C compiler
    Counts = CountsInPython  # type: ignore[assignment,misc]


class Ledger:
    """Counts what became of the records of one pipeline.

    Args:
        counts: what compiled code counts as well.
        on_room: called when records ended, so that there may be room for others.

    Attributes:
        lock: held by logging threads for a few instructions.
        counts: see CountsInPython.
        count_appended: returns how many records logging threads appended to files.
        copies: records that are on disk and in memory.
        recovered: records of dead processes that were delivered here.
        has_news: whether losses or omissions came that the loop thread was not called for yet.
        lost_at: when a record was dropped or given up, in monotonic seconds; minus infinity before.
        omitted_at: when the first of the omissions was counted that were not taken yet.
    """

    def __init__(self, counts: Counts, on_room: Callable[[], None] = lambda: None) -> None:
        self.lock = native.RLock()
        self.counts = counts
        self.count_appended: Callable[[], int] = int
        self.has_news = False
        self.lost_at = self.omitted_at = -math.inf
        self._on_room = on_room
        # Written by logging threads, under the lock.
        self._dropped: dict[tuple[str, int], int] = {}
        self._losses: dict[str, Loss] = {}
        self._omissions: dict[str, Loss] = {}
        # Written by the loop thread alone.
        self._delivered = 0
        self._failed = 0
        self._own = 0
        self._spilled = self._removed = self.copies = self.recovered = 0

    def __repr__(self) -> str:
        return f"<Ledger outstanding={self.outstanding} bytes={self.memory}>"

    @property
    def outstanding(self) -> int:
        """How many records in memory have not been delivered, dropped or given up."""
        return self.counts.kept - self.counts.ended

    @property
    def memory(self) -> int:
        """Bytes that they take."""
        return self.counts.bytes_kept - self.counts.bytes_ended

    @property
    def emitted(self) -> int:
        """How many records the handler was given, or made and queued itself."""
        return self.counts.emitted + self.counts.out_of_memory + self.count_appended()

    @property
    def undelivered(self) -> int:
        """How many records the brokers do not have yet."""
        return self.outstanding + self.spooled

    @property
    def on_disk(self) -> int:
        """How many of this process's records are on disk."""
        return self.count_appended() + self._spilled - self._removed

    @property
    def spooled(self) -> int:
        """How many of these are on disk alone."""
        return self.on_disk - self.copies

    # On logging threads.

    def drop(self, reason: str, level: int, topic: str) -> None:
        """Count a record of ``topic`` that was never queued; its topic is "" if it has none.

        Raises:
            MemoryError: the record is not counted.
        """
        key = reason, level
        with self.lock:
            loss = self._loss(topic, key)
            # Each of these lines adds to what a signal handler on top of the one before may have
            # changed. There is no call from here on: a handler finds all counts changed, or none.
            emitted, dropped = self.counts.emitted + 1, self._dropped[key] + 1
            records = loss.counts[key] + 1
            self.counts.emitted = emitted
            self._dropped[key] = dropped
            loss.counts[key] = records

    def shed(self, item: Item, *, is_missing: bool) -> None:
        """Count ``item`` as dropped, which was taken out of the queue to make room for another one.

        Args:
            is_missing: whether its stream lacks it then.

        Raises:
            MemoryError: the item is not counted.
        """
        key, memory = (BUFFER_FULL, item.level), item.memory
        self.lost_at = native.monotonic()
        loss = self._loss(item.topic, key) if is_missing else None
        self._dropped.setdefault(key, 0)
        # As above.
        dropped, kept = self._dropped[key] + 1, self.counts.kept - 1
        bytes_kept = self.counts.bytes_kept - memory
        records = 0 if loss is None else loss.counts[key] + 1
        self._dropped[key] = dropped
        self.counts.kept, self.counts.bytes_kept = kept, bytes_kept
        if loss is not None:
            loss.counts[key] = records

    def _loss(self, topic: str, key: tuple[str, int]) -> Loss:
        """Return the count for ``topic``, with an entry for ``key``; the lock is held."""
        now = time.time()
        losses = self._losses
        if key[0] not in ON_PURPOSE:
            self.lost_at = native.monotonic()
        else:
            losses = self._omissions
            if not losses:
                self.omitted_at = native.monotonic()
        if not losses:
            self.has_news = True
        self._dropped.setdefault(key, 0)
        if (loss := losses.get(topic)) is None:
            topic = topic if len(losses) < _MOST_TOPICS else ""
            loss = losses.setdefault(topic, Loss(now, now))
        loss.begin, loss.end = min(loss.begin, now), max(loss.end, now)
        loss.counts.setdefault(key, 0)
        return loss

    # On the loop thread.

    def count_own(self, memory: int) -> None:
        """Count a record of the handler's own that does not go through the queue."""
        self._own += 1
        self.counts.ended -= 1
        self.counts.bytes_ended -= memory

    def delivered(self, records: int, memory: int) -> None:
        """Count records that the brokers acknowledged; none if there is a MemoryError."""
        delivered = self._delivered + records
        self.leave(records, memory)
        self._delivered = delivered

    def failed(self, records: int, memory: int) -> None:
        """Count records that were given up; none if there is a MemoryError."""
        failed, self.lost_at = self._failed + records, native.monotonic()
        self.leave(records, memory)
        self._failed = failed

    def failed_for_others(self, records: int) -> None:
        """Count records of processes that died, as if they had been logged here."""
        self._own += records
        self._failed += records
        self.lost_at = native.monotonic()

    def lost_on_disk(self, records: int) -> None:
        """Count records that were on disk alone and can't be read any more."""
        self._failed += records
        self.lost_at = native.monotonic()
        self._removed += records

    def leave(self, records: int, memory: int) -> None:
        """Count records that leave memory; those that have not ended are on disk alone."""
        ended, bytes_ended = self.counts.ended + records, self.counts.bytes_ended + memory
        self.counts.ended, self.counts.bytes_ended = ended, bytes_ended
        try:
            self._on_room()
        except MemoryError:  # the next end notifies
            return

    def spill(self, records: int) -> None:
        """Count records that were appended to files from memory, which they may leave now."""
        self._spilled += records

    def read_back(self, records: int, memory: int) -> None:
        """Count records that were on disk alone and are in memory as well."""
        self.copies += records
        self.counts.ended -= records
        self.counts.bytes_ended -= memory

    def forget_copy(self, memory: int) -> None:
        """Count a record that was in memory as well and is on disk alone."""
        self.copies -= 1
        self.leave(1, memory)

    def end_on_disk(self, records: int) -> None:
        """Count records that ended and were in memory and on disk, which they leave."""
        self._removed += records
        self.copies -= records

    @property
    def has_losses(self) -> bool:
        """Whether drops were counted that the loop thread has not taken."""
        return bool(self._losses)

    @property
    def has_omissions(self) -> bool:
        """Whether records were left out on purpose that the loop thread has not taken."""
        return bool(self._omissions)

    def take_losses(self, *, on_purpose: bool = False) -> dict[str, Loss]:
        """Return drops by topic, or what was left out ``on_purpose``, and forget them; nothing
        while a logging thread counts one."""
        if not self.lock.acquire(blocking=False):
            return {}
        try:
            if on_purpose:
                taken, self._omissions = self._omissions, {}
            else:
                taken, self._losses = self._losses, {}
        finally:
            self.lock.release()
        return taken

    # On any thread.

    def stats(self, in_flight: int) -> Stats:
        """Return all counts; ``in_flight`` is the producer's count of a moment ago."""
        with self.lock:
            memory, emitted = self.memory, -1
            # The loop thread continues to count: ends are read before the counts that they are
            # subtracted from.
            delivered, failed, own = self._delivered, self._failed, self._own
            while emitted != self.counts.emitted:  # again, if a signal handler logged on top
                emitted, dropped = self.counts.emitted, self._dropped.copy()
                kept = self.counts.kept
            appended, spooled = self.count_appended(), self.spooled
            uncounted = self.counts.out_of_memory
            if uncounted:
                key = (OUT_OF_MEMORY, logging.NOTSET)
                dropped[key] = dropped.get(key, 0) + uncounted
            outstanding = kept + appended + own - delivered - failed
            # Both may lag behind the ends.
            spooled = max(0, min(spooled, outstanding))
            in_flight = min(in_flight, outstanding - spooled)
            return Stats(
                emitted=emitted + uncounted + appended + own,
                delivered=delivered,
                dropped=by_reason({k: n for k, n in dropped.items() if k[0] not in ON_PURPOSE}),
                left_out=by_reason({k: n for k, n in dropped.items() if k[0] in ON_PURPOSE}),
                failed=failed,
                buffered=outstanding - in_flight - spooled,
                in_flight=in_flight,
                spooled=spooled,
                recovered=self.recovered,
                memory=memory,
            )


class LossReport:
    """Decides when losses are reported: on stderr now and then, in each stream once all is well.

    Pure: ``now`` is an argument, in seconds of a monotonic clock.

    Args:
        ledger: has the drops that logging threads counted.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._unreported: dict[str, Loss] = {}
        self._missing: dict[str, Loss] = {}
        self._omitted: dict[str, Loss] = {}
        self._report_at = 0.0
        self._gathering = False
        self._summarise_at = 0.0

    def __bool__(self) -> bool:
        """Whether any stream lacks something that it does not mention yet."""
        return self.summary_at() is not None

    def add_failures(self, failures: Mapping[tuple[str, int], int], reason: str, at: float) -> None:
        """Count what the producer gave up: (topic, level) -> records, ``at`` in epoch seconds.

        Such a failure was logged with its reason when it happened; only the streams lack it.
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
        for topic, loss in self._ledger.take_losses().items():
            add_all(self._unreported, {topic: loss.copy()})
            add_all(self._missing, {topic: loss})

    def due(self, now: float) -> Loss | None:
        """Return all drops since the last report if a report is due; else None."""
        self._collect()
        if self._unreported and not self._gathering:
            self._gathering = True
            self._report_at = max(self._report_at, now + GATHERING)
        if not self._unreported or now < self._report_at:
            return None
        self._report_at = now + PERIOD
        return self._take()

    def _take(self) -> Loss | None:
        losses, self._unreported, self._gathering = self._unreported, {}, False
        if not losses:
            return None
        first, *others = (loss.copy() for loss in losses.values())
        for loss in others:
            first.add(loss)
        return first

    def due_at(self) -> float | None:
        """Return when the next report is due; None while there is nothing to report.

        It may be in the past, if a logging thread was counting a drop at that moment.
        """
        return self._report_at if self._unreported or self._ledger.has_losses else None

    def remaining(self) -> Loss | None:
        """Return all drops that were not reported, due or not."""
        self._collect()
        return self._take()

    def take_missing(self, now: float, *, at_once: bool = False) -> list[tuple[str, Loss]]:
        """Return what each stream lacks since its last summary, if one is due or ``at_once``: by
        topic, and apart from that what was left out on purpose."""
        self._collect()
        moment = self.summary_at()
        if moment is None or (now < moment and not at_once):
            return []
        add_all(self._omitted, self._ledger.take_losses(on_purpose=True))
        taken = [*self._omitted.items(), *self._missing.items()]
        if taken:
            self._omitted, self._missing = {}, {}
            self._summarise_at = now + PERIOD
        return [(topic, loss) for topic, loss in taken if topic]  # "": of topics beyond counting

    def put_back(self, topic: str, loss: Loss) -> None:
        """Count ``loss`` as missing again: its summary did not get into the stream."""
        add_all(self._omitted if loss.is_on_purpose else self._missing, {topic: loss})

    def lacks(self, topic: str) -> bool:
        """Whether the stream of ``topic`` lacks something that it does not mention yet."""
        return topic in self._missing or topic in self._omitted

    def summary_at(self) -> float | None:
        """Return when the next summaries are due; None if no stream lacks anything."""
        if self._missing or self._ledger.has_losses:
            return self._summarise_at
        if self._omitted or self._ledger.has_omissions:
            return max(self._summarise_at, self._ledger.omitted_at + GATHERING)
        return None
