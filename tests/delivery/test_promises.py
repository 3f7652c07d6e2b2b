"""Nothing lost, nothing twice, nothing out of order: the pure parts against a model of a broker.

The model stores what reaches it by Kafka's own rules for sequences (ProducerAppendInfo): an older
epoch is refused, a batch among the last five is a duplicate, any other must follow on. The network
between may lose a request, lose its answer, or deliver it late, after it was long given up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kiel_logging.delivery.batch import Batch, Stamp
from kiel_logging.errors import ConnectionLost
from kiel_logging.records import Record, TopicPartition
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.produce import PartitionResult
from tests.delivery.settling import Parts
from tests.support.examples import examples

PARTITIONS = [TopicPartition("t", n) for n in range(2)]
MOST_RECORDS = 3
"""The model's max.message.bytes: batches of more records are too large."""

REFUSED_FOR_NOW = [
    ErrorCode.not_leader_or_follower,
    ErrorCode.not_enough_replicas,
    ErrorCode.corrupt_message,
]
REFUSED_FOR_GOOD = [ErrorCode.invalid_record, ErrorCode.policy_violation]
FORBIDDEN = [ErrorCode.topic_authorization_failed]


@dataclass
class ModelPartition:
    """A partition's log, and what Kafka remembers of the one producer."""

    log: list[int] = field(default_factory=list)
    epoch: int = -1
    next_sequence: int = 0
    recent: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=5))

    def append(self, stamp: Stamp, tokens: Sequence[int]) -> PartitionResult:
        """Store a batch, or say why not."""
        epoch, sequence = stamp.identity.epoch, stamp.base_sequence
        if epoch < self.epoch:
            return PartitionResult(error=ErrorCode.invalid_producer_epoch, base_offset=-1)
        if len(tokens) > MOST_RECORDS:
            return PartitionResult(error=ErrorCode.message_too_large, base_offset=-1)
        for known_epoch, known_sequence, offset in self.recent:
            if (known_epoch, known_sequence) == (epoch, sequence):
                return PartitionResult(error=ErrorCode.none, base_offset=offset)
        if self.epoch >= 0 and sequence != (self.next_sequence if epoch == self.epoch else 0):
            code = ErrorCode.out_of_order_sequence_number
            return PartitionResult(error=code, base_offset=-1)
        offset = len(self.log)
        self.log += tokens
        self.epoch, self.next_sequence = epoch, sequence + len(tokens)
        self.recent.append((epoch, sequence, offset))
        return PartitionResult(error=ErrorCode.none, base_offset=offset)


@dataclass(frozen=True)
class Request:
    """A batch as it left: what the batch is later does not change it."""

    batch: Batch
    stamp: Stamp
    tokens: tuple[int, ...]


class Promises(RuleBasedStateMachine):
    """Appends, sends and answers in any order, over a network that may do anything."""

    defers = False

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        parts = Parts(4, 700, defers=self.defers, linger=1.0, timeout=10.0, backoff=0.5)
        self.accumulator, self.settlement = parts.accumulator, parts.settlement
        self.idempotence, self.ends = parts.idempotence, parts.ends
        self.brokers = {partition: ModelPartition() for partition in PARTITIONS}
        self.in_flight: list[Request] = []
        self.late: list[Request] = []
        self.produced: dict[TopicPartition, list[int]] = {name: [] for name in PARTITIONS}
        self.tokens = 0

    # The program.

    @rule(partition=st.sampled_from(PARTITIONS), count=st.integers(1, 6))
    def produce(self, partition: TopicPartition, count: int) -> None:
        """Append messages."""
        for _ in range(count):
            self.tokens += 1
            self.produced[partition].append(self.tokens)
            record = Record(None, b"x" * 50, (), 0)
            self.accumulator.append(partition, record, self.tokens, self.now)

    @rule(seconds=st.sampled_from([0.6, 1.0, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass, and what is too old expire."""
        self.now += seconds
        self.accumulator.seal_if_lingered(self.now)
        self.settlement.expire(self.now)

    @rule(flush=st.booleans())
    def send(self, flush: bool) -> None:
        """Send all that is ready; after a flush, that is all there is."""
        if flush:
            self.accumulator.seal()
        for partition in self.accumulator.ready(self.now):
            if self.settlement.deferrals.blocks(partition.topic, self.now):
                continue
            batch = self.accumulator.drain(partition)
            self.settlement.deferrals.sent(batch)
            self.idempotence.stamp(batch)
            assert batch.stamp is not None
            self.in_flight.append(Request(batch, batch.stamp, tuple(batch.tokens)))

    # The network and the broker.

    def take(self, data: st.DataObject) -> Request:
        """Return one of the requests that are on their way."""
        return self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))

    def store(self, request: Request) -> PartitionResult:
        """Let a request reach its broker."""
        return self.brokers[request.batch.topic_partition].append(request.stamp, request.tokens)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """All goes well."""
        request = self.take(data)
        self.settlement.answered(request.batch, self.store(request), self.now)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def lose_the_request(self, data: st.DataObject) -> None:
        """It never arrives."""
        self.unanswered(self.take(data))

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def lose_the_answer(self, data: st.DataObject) -> None:
        """It is stored, and its answer vanishes."""
        request = self.take(data)
        self.store(request)
        self.unanswered(request)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def delay_the_request(self, data: st.DataObject) -> None:
        """It arrives when it was given up."""
        request = self.take(data)
        self.late.append(request)
        self.unanswered(request)

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def arrive_late(self, data: st.DataObject) -> None:
        """A delayed request reaches its broker; its answer vanishes."""
        self.store(self.late.pop(data.draw(st.integers(0, len(self.late) - 1))))

    def unanswered(self, request: Request) -> None:
        """The connection is lost."""
        self.settlement.unanswered(request.batch, ConnectionLost("cut"), self.now)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), error=st.sampled_from(REFUSED_FOR_NOW + FORBIDDEN))
    def refuse_for_now(self, data: st.DataObject, error: ErrorCode) -> None:
        """The broker refuses before it writes."""
        result = PartitionResult(error=error, base_offset=-1)
        self.settlement.answered(self.take(data).batch, result, self.now)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), error=st.sampled_from(REFUSED_FOR_GOOD))
    def refuse_for_good(self, data: st.DataObject, error: ErrorCode) -> None:
        """The broker refuses what is in a batch, and so every copy of it."""
        request = self.take(data)
        log = self.brokers[request.batch.topic_partition].log
        if set(log).isdisjoint(request.tokens):
            self.late = [one for one in self.late if one.batch is not request.batch]
            result = PartitionResult(error=error, base_offset=-1)
        else:
            result = self.store(request)
        self.settlement.answered(request.batch, result, self.now)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def store_and_time_out(self, data: st.DataObject) -> None:
        """The leader writes it, and the replicas don't in time."""
        request = self.take(data)
        result = self.store(request)
        if result.error is ErrorCode.none:
            result = PartitionResult(error=ErrorCode.request_timed_out, base_offset=-1)
        self.settlement.answered(request.batch, result, self.now)

    # Invariants.

    @invariant()
    def every_message_ends_at_most_once(self) -> None:
        """No token is reported as delivered or failed twice, or as both."""
        assert len(self.ends.ended) == len(set(self.ends.ended))

    @invariant()
    def nothing_is_stored_twice_or_out_of_order(self) -> None:
        """Each log holds messages once, in the order in which they were produced."""
        for partition, broker in self.brokers.items():
            assert broker.log == sorted(set(broker.log)), partition

    @invariant()
    def what_was_told_delivered_is_stored(self) -> None:
        """Delivered means that it is in the log."""
        stored = {token for broker in self.brokers.values() for token in broker.log}
        assert stored.issuperset(self.ends.delivered_at)

    @invariant()
    def the_counters_tell_what_is_outstanding(self) -> None:
        """Records that have not ended are buffered or in flight."""
        assert self.accumulator.outstanding == self.tokens - len(self.ends.ended)
        assert self.accumulator.in_flight == sum(len(sent.tokens) for sent in self.in_flight)

    def teardown(self) -> None:
        """Once the network is well again, everything ends, and in order."""
        for _ in range(20 * (self.tokens + 1)):
            self.wait(0.6)
            self.send(flush=True)
            while self.in_flight:
                request = self.in_flight.pop()
                self.settlement.answered(request.batch, self.store(request), self.now)
        self.every_message_ends_at_most_once()
        self.nothing_is_stored_twice_or_out_of_order()
        self.what_was_told_delivered_is_stored()
        self.the_counters_tell_what_is_outstanding()
        assert self.accumulator.outstanding == 0
        assert self.accumulator.memory == 0
        for partition, broker in self.brokers.items():
            failed = self.ends.errors
            kept = [token for token in self.produced[partition] if token not in failed]
            assert [token for token in broker.log if token not in failed] == kept


class PromisesToAnOwnerThatDefers(Promises):
    """The same, where a topic that is forbidden waits; its records fail when they are too old."""

    defers = True

    @rule(flush=st.booleans())
    def send(self, flush: bool) -> None:
        """Of a topic that was rejected, one batch is sent until that is delivered."""
        deferred = self.settlement.deferrals.error("t") is not None
        before = len(self.in_flight)
        super().send(flush)
        assert not deferred or len(self.in_flight) - before <= 1


Promises.TestCase.settings = examples(150, stateful_step_count=50, print_blob=True)
TestPromises = Promises.TestCase

PromisesToAnOwnerThatDefers.TestCase.settings = Promises.TestCase.settings
TestPromisesToAnOwnerThatDefers = PromisesToAnOwnerThatDefers.TestCase
