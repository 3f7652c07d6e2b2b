"""A topic that is made again with other partitions: each record ends once, each key keeps order."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kiel_logging.delivery.batch import Batch, Identity
from kiel_logging.records import Record, TopicPartition
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.metadata import Broker, Leader, Metadata, Topic
from kiel_logging.wire.produce import PartitionResult
from tests.delivery.settling import Parts
from tests.support.examples import examples

LOST = ConnectionError("the request was lost")
GONE = PartitionResult(error=ErrorCode.unknown_topic_or_partition, base_offset=-1)
TAKEN = PartitionResult(error=ErrorCode.none, base_offset=0)
LOGS_2 = TopicPartition("logs", 2)


def made(partitions: int, number: int) -> Metadata:
    """The topic when it was made for the so many-th time, all of it led by broker 1."""
    topic = Topic(
        name="logs",
        error=ErrorCode.none,
        topic_id=uuid.UUID(int=number + 1),
        leaders={partition: Leader(1, 0) for partition in range(partitions)},
    )
    return Metadata(brokers={1: Broker(1, "kafka", 9092)}, topics={"logs": topic})


class Case(Parts):
    """A topic of three partitions, of which the first record's goes."""

    def __init__(self) -> None:
        super().__init__()
        self.topology.update(made(3, 0), 0.0)

    def shrink(self) -> None:
        """Make it again with one partition."""
        self.topology.update(made(1, 1), 1.0)
        self.settlement.relocate()

    def release(self) -> None:
        """Queue what is held, at the one partition."""
        assert self.accumulator.blocked == self.topology.remade == set()
        assert self.accumulator.release("logs", lambda _key: 0) == []


def test_a_batch_in_flight_is_waited_for() -> None:
    """New records are held behind it; it gets new numbers when it comes back."""
    case = Case()
    case.append("a", to=LOGS_2)
    batch = case.send(LOGS_2)
    case.append("b", to=LOGS_2)
    case.shrink()
    assert case.accumulator.blocked == {"logs"}
    case.accumulator.hold("logs", None, Record(None, b"", (), 0), "c", 1.0)
    case.settlement.answered(batch, GONE, 1.0)
    case.settlement.relocate()
    case.release()
    again = case.send(now=60.0)
    assert again.tokens == ["a", "b", "c"]
    assert again.stamp == (Identity(1000, 0), 0)
    assert case.ends.ended == []


def test_a_batch_of_unknown_fate_is_sent_again() -> None:
    """The log that it may be in is gone; its old numbers are not used again."""
    case = Case()
    case.append("a", to=LOGS_2)
    case.settlement.unanswered(case.send(LOGS_2), LOST, 0.5)
    case.shrink()
    case.release()
    assert case.send(now=1.0).stamp == (Identity(1000, 1), 0)


def test_a_batch_that_is_delivered_after_all_has_ended() -> None:
    """It was answered before the topic was deleted."""
    case = Case()
    case.append("a", to=LOGS_2)
    batch = case.send(LOGS_2)
    case.shrink()
    case.settlement.answered(batch, TAKEN, 1.0)
    case.settlement.relocate()
    assert case.accumulator.blocked == set()
    assert case.accumulator.outstanding == 0


def test_a_hint_does_not_bring_a_partition_back() -> None:
    """It comes from a broker that has not heard of the deletion."""
    case = Case()
    case.append("a", to=LOGS_2)
    batch = case.send(LOGS_2)
    case.shrink()
    moved = PartitionResult(
        error=ErrorCode.not_leader_or_follower, base_offset=-1, leader=Leader(1, 9)
    )
    case.settlement.answered(batch, moved, 1.0)
    assert not case.topology.has(LOGS_2)


class AnyPartitions(RuleBasedStateMachine):
    """A topic is made again and again while records of few keys come and go."""

    @initialize(partitions=st.integers(1, 4))
    def start(self, partitions: int) -> None:
        """Small batches, so that there are many."""
        self.now, self.times = 0.0, 0
        parts = Parts(4, 300, linger=1.0, timeout=10.0**6, backoff=0.5)
        parts.ends.key_of = lambda token: token[0]  # type: ignore[method-assign]
        self.accumulator, self.settlement = parts.accumulator, parts.settlement
        self.idempotence, self.topology = parts.idempotence, parts.topology
        self.ends = parts.ends
        self.topology.forget_topic("logs")
        self.sent: list[Batch] = []
        self.counts = [0] * 5
        self.make_again(partitions)

    @rule(partitions=st.integers(1, 4))
    def make_again(self, partitions: int) -> None:
        """Delete the topic and make another of its name; the metadata shows it."""
        self.times += 1
        self.topology.update(made(partitions, self.times), self.now)
        self.settlement.relocate()

    @rule(key=st.integers(0, 4), count=st.integers(1, 5))
    def log(self, key: int, count: int) -> None:
        """Append records of a key, as the engine does."""
        for _ in range(count):
            self.counts[key] += 1
            token, record = (key, self.counts[key]), Record(None, b"x" * 50, (), 0)
            if self.accumulator.is_held("logs"):
                self.accumulator.hold("logs", key, record, token, self.now)
            else:
                where = TopicPartition("logs", self.choose(key))
                self.accumulator.append(where, record, token, self.now)

    def choose(self, key: int) -> int:
        """The partition of a key."""
        partitions: Sequence[Any] = self.topology.partitions("logs") or ()
        return int(partitions[key % len(partitions)])

    @rule()
    def turn(self) -> None:
        """Do what the sender does."""
        self.now += 1.0
        self.accumulator.seal()
        if self.accumulator.blocked:
            self.settlement.relocate()
        if "logs" not in self.accumulator.blocked:
            assert self.accumulator.release("logs", self.choose) == []
        for where in self.accumulator.ready(self.now):
            if self.topology.leader(where) is not None:
                self.sent.append(self.accumulator.drain(where))
                self.idempotence.stamp(self.sent[-1])

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), lost=st.booleans())
    def answer(self, data: st.DataObject, lost: bool) -> None:
        """A broker takes a batch, if it has the partition; or the request is lost."""
        batch = self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))
        if lost:
            self.settlement.unanswered(batch, LOST, self.now)
        else:
            there = self.topology.has(batch.topic_partition)
            self.settlement.answered(batch, TAKEN if there else GONE, self.now)

    @invariant()
    def each_key_is_delivered_in_order(self) -> None:
        """Once."""
        for key in range(5):
            numbers = [number for other, number in self.ends.ended if other == key]
            assert numbers == list(range(1, len(numbers) + 1))

    def teardown(self) -> None:
        """Once the topic stays, all arrives."""
        if not hasattr(self, "sent"):
            return
        while self.accumulator.outstanding:
            self.turn()
            for batch in self.sent:
                there = self.topology.has(batch.topic_partition)
                self.settlement.answered(batch, TAKEN if there else GONE, self.now)
            self.sent = []
        self.each_key_is_delivered_in_order()
        assert len(self.ends.ended) == sum(self.counts)
        assert self.accumulator.memory == 0
        assert self.ends.errors == {}


AnyPartitions.TestCase.settings = examples(150, stateful_step_count=40)
TestAnyPartitions = AnyPartitions.TestCase
