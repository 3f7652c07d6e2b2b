"""From Kafka to the screen: records that are there, in the order of their times, then new ones.

Partitions are assigned, and nothing is committed. With ``lines`` the search for the newest records
that pass the filters goes back in steps, each of which reads again what the one before has read.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, Final, Generic, Protocol, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Assignment

from kiel_logging.confluent import (
    consumer_config,
    is_end,
    no_answer,
    offsets_at,
    partitions_of,
    reason,
    watermarks,
)
from kiel_logging.output import CannotRun, check_reader
from kiel_logging.printable import printable
from kiel_logging.records import TopicPartition
from kiel_logging.tail.entries import Arrival
from kiel_logging.tail.filters import TailOptions
from kiel_logging.tail.merge import Merge
from kiel_logging.tail.screen import Screen, Shown, T, Writer

FURTHEST: Final = 100_000
"""Records of a partition among which the newest that pass the filters are looked for."""

_STEP: Final = 8
_MESSAGES: Final = 500
_WAIT_S: Final = 0.2
_CLOCKS_DIFFER_MS: Final = 2_000
_SAY_AGAIN_S: Final = 60.0
_LOOK_AGAIN_S: Final = 30.0

_CONSUMER: Final = {
    "group.id": "kiel-tail",
    "client.id": "kiel-tail",
    "auto.offset.reset": "earliest",  # retention may overtake a slow terminal
    "fetch.wait.max.ms": 100,
}


Progress: TypeAlias = Callable[[], dict[TopicPartition, tuple[int, int]]]


class Display(Protocol[T]):
    """Where records are shown."""

    def show(self, all_shown: Iterator[Shown[T]]) -> None:
        """Show these at once."""

    def rest(self, progress: Progress) -> None:
        """Do what has to be done some times a second; called when all is shown that was there.

        ``progress`` has the next offset of each partition, and where the partition ends.
        """

    def report(self, trouble: str) -> None:
        """Report an error that the client gets over by itself."""


class Terminal:
    """Standard output."""

    def show(self, all_shown: Iterator[Shown[str]]) -> None:
        """Write texts."""
        for shown in all_shown:
            sys.stdout.write(shown.content + "\n")
        sys.stdout.flush()

    def rest(self, _progress: Progress) -> None:
        """Raise ReaderGone if standard output is read no more."""
        check_reader()

    def report(self, trouble: str) -> None:
        """Write it to standard error."""
        sys.stderr.write(f"kiel-logging tail: {trouble}\n")


def tail(options: TailOptions, writer: Writer[T], display: Display[T]) -> None:
    """Show records; return when all are shown, or never.

    Raises:
        CannotRun: no broker answers, or a topic is not there.
        ConfigurationError: the options of the connection make no sense.
    """
    config = {**consumer_config(options.config, options.brokers), **_CONSUMER}
    troubles = _Troubles(display.report)
    reading = None
    try:
        with closing(Consumer({**config, "error_cb": troubles.note})) as consumer:
            reading = _Reading(consumer, options, writer)
            display.show(reading.backlog())
            if options.follow:
                troubles.are_shown = True
                reading.follow(display)
    except KafkaException as error:
        is_silent = reading is None and error.args and isinstance(error.args[0], KafkaError)
        cause = no_answer(config["bootstrap.servers"], error) if is_silent else reason(error)
        raise CannotRun("; ".join(dict.fromkeys([cause, *troubles.texts]))) from error


class _Troubles:
    """Errors that the client gets over by itself; each is reported once a minute."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self.are_shown = False
        self.texts: deque[str] = deque(maxlen=2)
        self._shown_at: dict[str, float] = {}

    def note(self, error: Any) -> None:
        text = printable(error.str())
        self.texts.append(text)
        now = time.monotonic()
        if self.are_shown and now > self._shown_at.get(text, 0.0):
            self._shown_at = {text: now + _SAY_AGAIN_S}
            self._report(text)


class _Reading(Generic[T]):
    """The partitions of the topics, as they are when the reading begins.

    Raises:
        KafkaException: no broker answers, or a topic is not there.
    """

    def __init__(self, consumer: Consumer, options: TailOptions, writer: Writer[T]) -> None:
        self._consumer = consumer
        self._options = options
        self._writer = writer
        self._timeout = options.timeout
        partitions = list(partitions_of(consumer, options.topics, self._timeout))
        self._bounds = {at: watermarks(consumer, at, self._timeout) for at in partitions}
        since = offsets_at(consumer, partitions, options.since, self._timeout)
        self._oldest = {
            at: min(max(low, since.get(at, low)), high) for at, (low, high) in self._bounds.items()
        }
        self._screen = Screen(options.filters, writer)
        self._early: list[Arrival] = []

    # -- what is there already ---------------------------------------------------------------------

    def backlog(self) -> Iterator[Shown[T]]:
        """Yield the records that are there already, as far as they are asked for."""
        if self._options.lines is None:
            yield from self._between(self._oldest)
        elif self._options.lines == 0:
            yield from self._between({at: high for at, (_, high) in self._bounds.items()})
        else:
            yield from self._newest(self._options.lines)

    def _newest(self, lines: int) -> deque[Shown[T]]:
        """Return the newest records that pass the filters, with the notes between them."""
        span = lines
        while True:
            starts = {
                at: max(oldest, self._bounds[at][1] - span) for at, oldest in self._oldest.items()
            }
            kept: deque[Shown[T]] = deque()
            count = 0
            for shown in self._between(starts):
                kept.append(shown)
                count += shown.is_record
                while count > lines:
                    count -= kept.popleft().is_record
            if count >= lines or starts == self._oldest or span >= FURTHEST:
                return kept
            span = min(span * _STEP, FURTHEST)
            self._screen = Screen(self._options.filters, self._writer)

    def _between(self, starts: Mapping[TopicPartition, int]) -> Iterator[Shown[T]]:
        """Yield what is shown of the records from ``starts`` up to the ends."""
        ends = {at: high for at, (_, high) in self._bounds.items()}
        merge: Merge[TopicPartition, Arrival] = Merge(at for at in ends if starts[at] < ends[at])
        self._early = []
        self._assign(starts)
        horizons = self._horizons(starts)
        last_news = time.monotonic()
        waiting: set[TopicPartition] = set()
        while merge.unfinished:
            messages = self._consume()
            for message in messages:
                self._put(message, ends, merge, starts, horizons)
            yield from self._released(merge, horizons)
            waiting = self._pause(waiting, merge, ends)
            if messages:
                last_news = time.monotonic()
            elif time.monotonic() > last_news + self._timeout:
                at = min(merge.unfinished)
                raise CannotRun(f"nothing came of {at} for {self._timeout:g} s")
        yield from self._released(merge, horizons)
        yield from self._screen.due(time.time())
        self._resume(waiting)

    def _horizons(self, starts: Mapping[TopicPartition, int]) -> dict[str, int]:
        """Return from when on all partitions are read, for those that nothing is read of yet."""
        horizons = dict.fromkeys((at.topic for at in starts), -1)
        now = round(time.time() * 1000) + _CLOCKS_DIFFER_MS
        for at, start in starts.items():
            if start and start >= self._bounds[at][1]:
                horizons[at.topic] = now
        return horizons

    def _put(
        self,
        message: Any,
        ends: Mapping[TopicPartition, int],
        merge: Merge[TopicPartition, Arrival],
        starts: Mapping[TopicPartition, int],
        horizons: dict[str, int],
    ) -> None:
        at = TopicPartition(message.topic(), message.partition())
        if is_end(message):
            merge.finish(at)
            return
        arrival = _arrival(at, message)
        if arrival.offset >= ends[at]:
            merge.finish(at)
            self._early.append(arrival)
            return
        if at in self._unread:
            self._unread.discard(at)
            if starts[at]:  # what is in front of it is not read
                horizons[at.topic] = max(horizons[at.topic], arrival.timestamp)
        merge.add(at, arrival.when, arrival)
        if arrival.offset + 1 >= ends[at]:
            merge.finish(at)

    def _released(
        self, merge: Merge[TopicPartition, Arrival], horizons: Mapping[str, int]
    ) -> Iterator[Shown[T]]:
        """Yield what is shown of the records whose turn it is; by then each partition has one."""
        for topic, horizon in horizons.items():
            self._screen.begin(topic, horizon)
        for arrival in merge.released():
            now = arrival.timestamp / 1000
            yield from self._screen.due(now)
            yield from self._screen.take(arrival, now)

    # -- what comes --------------------------------------------------------------------------------

    def follow(self, display: Display[T]) -> None:
        """Show what comes, until an exception ends it."""
        arrivals, look_at = self._early, time.monotonic() + _LOOK_AGAIN_S
        while True:
            display.show(self._live(arrivals))
            display.rest(self._progress)
            if time.monotonic() > look_at:
                self._add_partitions()
                look_at = time.monotonic() + _LOOK_AGAIN_S
            messages = [one for one in self._consume() if not is_end(one)]
            arrivals = [
                _arrival(TopicPartition(one.topic(), one.partition()), one) for one in messages
            ]

    def _live(self, arrivals: list[Arrival]) -> Iterator[Shown[T]]:
        now = time.time()
        merge: Merge[TopicPartition, Arrival] = Merge({one.at for one in arrivals})
        for arrival in arrivals:
            merge.add(arrival.at, arrival.when, arrival)
        for at in list(merge.unfinished):
            merge.finish(at)
        for arrival in merge.released():
            yield from self._screen.take(arrival, now)
        yield from self._screen.due(now)

    def _progress(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return the next offset of each partition, and where it ends as far as it is known."""
        found = {}
        for one in self._consumer.position([Assignment(*at) for at in self._bounds]):
            at = TopicPartition(one.topic, one.partition)
            low, high = self._bounds[at]
            known = self._consumer.get_watermark_offsets(one, cached=True)
            high = max(high, known[1] if known else 0)
            found[at] = one.offset if one.offset >= 0 else self._starts.get(at, low), high
        return found

    def _add_partitions(self) -> None:
        """Read partitions from their beginnings that the topics got meanwhile."""
        try:
            there = set(partitions_of(self._consumer, self._options.topics, self._timeout))
        except KafkaException:
            return  # the client tries again by itself, and reports it
        if added := there - self._bounds.keys():
            self._bounds |= dict.fromkeys(added, (0, 0))
            self._consumer.incremental_assign([Assignment(*at, 0) for at in sorted(added)])

    # -- the client --------------------------------------------------------------------------------

    def _assign(self, starts: Mapping[TopicPartition, int]) -> None:
        self._unread, self._starts = set(starts), dict(starts)
        self._consumer.assign([Assignment(*at, start) for at, start in starts.items()])
        self._resume(starts)

    def _consume(self) -> list[Any]:
        # Untyped messages: what may be None by their type are the offsets of those not yet sent.
        messages: list[Any] = self._consumer.consume(_MESSAGES, _WAIT_S)
        return messages

    def _pause(
        self,
        waiting: set[TopicPartition],
        merge: Merge[TopicPartition, Arrival],
        ends: Mapping[TopicPartition, int],
    ) -> set[TopicPartition]:
        """Let partitions wait that are ahead of others, or read to their ends; return them."""
        ahead = merge.crowded() | (ends.keys() - merge.unfinished)
        if new := ahead - waiting:
            self._consumer.pause([Assignment(*at) for at in new])
        self._resume(waiting - ahead)
        return ahead

    def _resume(self, partitions: Any) -> None:
        if partitions:
            self._consumer.resume([Assignment(*at) for at in partitions])


def _arrival(at: TopicPartition, message: Any) -> Arrival:
    try:
        headers = tuple(message.headers() or ())
    except UnicodeDecodeError:  # none of our clients wrote that
        headers = ()
    return Arrival(
        at, message.offset(), message.key(), message.value(), headers, message.timestamp()[1]
    )
