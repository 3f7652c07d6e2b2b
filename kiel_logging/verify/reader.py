"""From Kafka to the audits: every record of some topics, from end to end.

The ends are those of when the reading begins: a topic that is written all the time has no other.
Where something is absent that may be on its way, it reads on for a while.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Assignment
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from kiel_logging import confluent
from kiel_logging.confluent import (
    connection_config,
    is_end,
    offsets_at,
    partitions_of,
    reason,
    watermarks,
)
from kiel_logging.output import CannotRun
from kiel_logging.records import Record, TopicPartition
from kiel_logging.verify.window import Retention

_MESSAGES: Final = 500
"""At once: few calls, and no more than processors keep in their caches."""
_SELDOM: Final = 200_000
"""Objects more than before."""
_WAIT_S: Final = 0.2
_LOOK_AGAIN_S: Final = 0.5
_COMMITTED: Final = "read_committed"


_CONSUMER: Final = {
    "group.id": "kiel-verify",
    "client.id": "kiel-verify",
    # Records that are deleted while they are read must not be skipped in silence.
    "auto.offset.reset": "error",
    "check.crcs": True,
    # Ahead of the checker, for each partition; by default it would be 100,000 records of each.
    "queued.min.messages": 10_000,
    # Other partitions are asked for when this answer is there; by default that may take 500.
    "fetch.wait.max.ms": 50,
}


def consumer_config(
    config: str | None, brokers: str | None, *, uncommitted: bool = False
) -> dict[str, Any]:
    """Return the configuration of a consumer; ``brokers`` win over those of the file ``config``.

    Raises:
        ConfigurationError: the file can't be read or makes no sense, or no brokers are named.
    """
    return {**confluent.consumer_config(config, brokers, uncommitted=uncommitted), **_CONSUMER}


_MOST_S: Final = 10.0
_FOR_EVER: Final = -1


def retention(config: Mapping[str, Any], topic: str, timeout: float) -> Retention | None:
    """Return the retention of ``topic``; None if the brokers don't say.

    Args:
        config: the consumer's.
        topic: its name.
        timeout: seconds to wait.
    """
    settings: dict[str, Any] = {**connection_config(config), "error_cb": lambda _: None}
    admin = AdminClient(settings)
    asked = ConfigResource(ResourceType.TOPIC, topic)
    seconds = min(timeout, _MOST_S)
    try:
        answers = admin.describe_configs([asked], request_timeout=seconds)
        found = answers[asked].result(seconds)
        ms, size = (int(found[name].value) for name in ("retention.ms", "retention.bytes"))
        deletes = "delete" in found["cleanup.policy"].value
    except (KafkaException, KeyError, TypeError, ValueError, TimeoutError):
        return None
    if not deletes:
        return Retention(None)
    return Retention(None if ms == _FOR_EVER else ms, by_size=size != _FOR_EVER)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Which records to read, by their timestamps in milliseconds; None for all."""

    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """The part of a partition that was read: from ``start`` up to, and without, ``end``.

    This run begins at ``begin``, behind what earlier runs have read; ``rewound`` is how many of
    their offsets are gone from the end, or are of other records. It has records up to ``high``.
    When the reading began it had records up to ``written``, if those of open transactions and those
    behind them count.
    """

    start: int
    end: int
    high: int
    written: int
    begin: int
    rewound: int = 0

    @property
    def unstable(self) -> int:
        """How many offsets can't be read, because a transaction is open."""
        return max(0, self.written - self.high)


class Sink(Protocol):
    """Takes the records of one topic, as Audit does."""

    def take(
        self, messages: list[Any], at: int, ends: dict[int, int], newest: dict[int, Any], /
    ) -> int:
        """Take messages from the index ``at`` on; return the index of the first that has to be
        given to one of the other methods.

        Args:
            messages: of confluent-kafka.
            at: the index of the first.
            ends: for each partition that is read, the offset at which it ends.
            newest: where the last message of each partition is kept.
        """

    def add(self, partition: int, offset: int, record: Record) -> None:
        """Take one."""

    def add_unreadable(self, partition: int, offset: int) -> None:
        """Take one whose headers can't be read."""


class Newest(NamedTuple):
    """The last record that was read of a partition: its offset, and a hash of it.

    ``start`` is the first offset that was read of the partition, by any run, and ``end`` the next
    one to be read.
    """

    start: int
    end: int
    offset: int
    hash: str


Extents = dict[TopicPartition, Extent]
Read = dict[TopicPartition, Newest]
Progress = Callable[[int, int], None]
"""Called with how many offsets are behind, and how many there are."""


def read_topics(
    config: Mapping[str, Any],
    audits: Mapping[str, Sink],
    span: Span,
    timeout: float,
    progress: Progress,
    *,
    read: Read,
    grace: float = 0.0,
    waits: Callable[[Extents], bool] = lambda _: False,
) -> Extents:
    """Read the topics that ``audits`` name, behind what was read before; return what was read.

    Args:
        config: the consumer's.
        audits: where the records of each topic go.
        span: which records.
        timeout: seconds to wait for brokers.
        progress: called now and then.
        read: the last record of each partition that was read before; it is kept up to date.
        grace: seconds to read on for as long as ``waits()`` returns True.

    Raises:
        CannotRun: no broker answers, a topic is not there, or nothing comes for ``timeout``
            seconds.
    """
    troubles: list[str] = []

    def take(extents: Extents) -> None:
        for topic, audit in audits.items():
            reading = _Reading(consumer, topic, audit, extents, timeout, progress)
            with _seldom_collected():
                reading.run()
            for partition, message in reading.newest.items():
                at = TopicPartition(topic, partition)
                start = read[at].start if at in read else extents[at].start
                read[at] = Newest(start, 0, message.offset(), hash_of(message))

    try:
        # Messages of librdkafka while it waits are the cause of the error that it raises later.
        consumer = Consumer({**config, "error_cb": lambda error: troubles.append(error.str())})
        with closing(consumer):
            partitions = list(partitions_of(consumer, list(audits), timeout))
            written = _written(config, partitions, timeout)
            extents = _extents(consumer, partitions, span, timeout, written)
            extents = _continued(consumer, extents, read, timeout)
            take(extents)
            deadline = time.monotonic() + grace
            while waits(extents) and (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, _LOOK_AGAIN_S))
                news = _grown(consumer, extents, timeout)
                take(news)
                extents = {
                    at: replace(one, end=news[at].end, high=news[at].end)
                    for at, one in extents.items()
                }
            for at, one in extents.items():
                if at in read:
                    read[at] = read[at]._replace(end=one.end)
    except KafkaException as error:
        raise CannotRun("; ".join(dict.fromkeys([reason(error), *troubles[-2:]]))) from error
    return extents


def _written(
    config: Mapping[str, Any], partitions: Sequence[TopicPartition], timeout: float
) -> dict[TopicPartition, int]:
    """Return where partitions end, if records of open transactions count.

    They have to be looked at before the other ends: what is between the two was not stable then.
    """
    if config.get("isolation.level") != _COMMITTED:
        return {}
    with closing(Consumer({**config, "isolation.level": "read_uncommitted"})) as consumer:
        return {at: watermarks(consumer, at, timeout)[1] for at in partitions}


def _grown(consumer: Consumer, extents: Extents, timeout: float) -> Extents:
    """Return what came behind ``extents`` since."""
    grown = {}
    for at, one in extents.items():
        end = max(one.end, watermarks(consumer, at, timeout)[1])
        grown[at] = Extent(start=one.end, end=end, high=end, written=end, begin=one.end)
    return grown


def _continued(consumer: Consumer, extents: Extents, read: Read, timeout: float) -> Extents:
    """Return ``extents`` with what was read before left out, and what of that has changed."""
    there = {
        at: read[at]
        for at, one in extents.items()
        if at in read and one.start <= read[at].offset and read[at].end <= one.end
    }
    found = _messages_at(consumer, {at: one.offset for at, one in there.items()}, timeout)
    continued = dict(extents)
    for at in extents.keys() & read.keys():
        one, newest = extents[at], read[at]
        is_other = at in there and (found[at] is None or hash_of(found[at]) != newest.hash)
        continued[at] = replace(
            one,
            start=newest.start,
            begin=min(one.end, max(newest.end, one.start)),
            rewound=max(0, newest.end - one.end) or int(is_other),
        )
    return continued


def _messages_at(
    consumer: Consumer, offsets: Mapping[TopicPartition, int], timeout: float
) -> dict[TopicPartition, Any]:
    """Return the records at these offsets; None where there is none any more."""
    found: dict[TopicPartition, Any] = {}
    consumer.assign([Assignment(*at, offset) for at, offset in offsets.items()])
    deadline = time.monotonic() + timeout
    while missing := offsets.keys() - found.keys():
        if time.monotonic() > deadline:
            at = min(missing)
            raise CannotRun(f"nothing came of {at} at {offsets[at]} for {timeout:g} s")
        messages: list[Any] = consumer.consume(_MESSAGES, _WAIT_S)
        for message in messages:
            at = TopicPartition(message.topic(), message.partition())
            is_there = not is_end(message) and message.offset() == offsets[at]
            found.setdefault(at, message if is_there else None)
    return found


def time_of(config: Mapping[str, Any], place: tuple[str, int, int], timeout: float) -> int:
    """Return the timestamp of the record at a topic, partition and offset.

    Raises:
        CannotRun: there is none, or no broker answers.
    """
    at, offset = TopicPartition(*place[:2]), place[2]
    try:
        with closing(Consumer({**config, "error_cb": lambda _: None})) as consumer:
            low, high = watermarks(consumer, at, timeout)
            if low <= offset < high:
                message = _messages_at(consumer, {at: offset}, timeout)[at]
                if message is not None:
                    timestamp: int = message.timestamp()[1]
                    return timestamp
    except KafkaException as error:
        raise CannotRun(reason(error)) from error
    raise CannotRun(
        f"there is no record at offset {offset} of partition {at.partition} of {at.topic}"
    )


def hash_of(message: Any) -> str:
    """Return a hash of a record."""
    content = repr((message.key(), message.value(), message.headers(), message.timestamp()))
    return sha256(content.encode()).hexdigest()


def _extents(
    consumer: Consumer,
    partitions: Sequence[TopicPartition],
    span: Span,
    timeout: float,
    written: Mapping[TopicPartition, int],
) -> Extents:
    bounds = {at: watermarks(consumer, at, timeout) for at in partitions}
    since = offsets_at(consumer, partitions, span.since, timeout)
    until = offsets_at(consumer, partitions, span.until, timeout)
    extents = {}
    for at, (low, high) in bounds.items():
        start = min(max(since.get(at, low), low), high)
        end = min(until.get(at, high), high)
        extents[at] = Extent(
            start=start,
            end=max(start, end),
            high=high,
            written=max(high, written.get(at, high)),
            begin=start,
        )
    return extents


class _Reading:
    """One run over the partitions of a topic. A partition is left when its end is behind."""

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        audit: Sink,
        extents: Extents,
        timeout: float,
        progress: Progress,
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._audit = audit
        self._timeout = timeout
        self._progress = progress
        left = {
            at.partition: one
            for at, one in extents.items()
            if at.topic == topic and one.end > one.begin
        }
        self._at = {partition: one.begin for partition, one in left.items()}
        self._ends = {partition: one.end for partition, one in left.items()}
        self._total = sum(one.end - one.begin for one in left.values())
        self.newest: dict[int, Any] = {}

    def run(self) -> None:
        """Read until nothing is left."""
        self._consumer.assign([Assignment(self._topic, *at) for at in self._at.items()])
        last_news = time.monotonic()
        while self._ends:
            messages = self._consumer.consume(_MESSAGES, _WAIT_S)
            self._take(messages)
            self._leave()
            self._progress(self._behind(), self._total)
            if messages:
                last_news = time.monotonic()
            elif time.monotonic() > last_news + self._timeout:
                raise CannotRun(self._stuck())

    def _take(self, messages: list[Any]) -> None:
        # Untyped messages: what may be None by their type are the offsets of those not yet sent.
        at = 0
        while (at := self._audit.take(messages, at, self._ends, self.newest)) < len(messages):
            self._take_one(messages[at])
            at += 1
        for partition, message in self.newest.items():
            self._at[partition] = max(self._at[partition], message.offset() + 1)

    def _take_one(self, message: Any) -> None:
        partition, offset = message.partition(), message.offset()
        if is_end(message) or offset >= self._ends.get(partition, 0):
            self._at[partition] = offset
            return
        self.newest[partition] = message
        try:
            headers = message.headers()
        except UnicodeDecodeError:  # none of our clients wrote that
            self._audit.add_unreadable(partition, offset)
            return
        content = message.key(), message.value(), tuple(headers or ())
        self._audit.add(partition, offset, Record(*content, message.timestamp()[1]))

    def _leave(self) -> None:
        done = [at for at, end in self._ends.items() if self._at[at] >= end]
        for at in done:
            del self._ends[at]
        if done and self._ends:
            self._consumer.pause([Assignment(self._topic, at) for at in done])

    def _behind(self) -> int:
        return self._total - sum(end - self._at[at] for at, end in self._ends.items())

    def _stuck(self) -> str:
        partition = next(iter(self._ends))
        at = TopicPartition(self._topic, partition)
        return (
            f"nothing came for {self._timeout:g} s, and {self._total - self._behind()} of "
            f"{self._total} offsets are left, from {at} at {self._at[partition]} on; is its leader "
            "away, or a transaction open (then --uncommitted reads on)?"
        )


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Let the garbage collector run less often: it would look at the notes on millions of records
    again and again, which are in no cycles."""
    before = gc.get_threshold()
    gc.set_threshold(_SELDOM, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
