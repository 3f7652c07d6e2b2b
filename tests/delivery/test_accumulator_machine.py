"""Any order of everything that can happen to the accumulator, against a model made of lists."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kiel_logging.delivery.accumulator import UNKNOWN, Accumulator
from kiel_logging.delivery.batch import Batch, memory_of
from kiel_logging.records import Record, TopicPartition
from kiel_logging.wire.sizes import BATCH_OVERHEAD
from tests.support.examples import examples

TOPICS = ["logs", "audit"]
PARTITIONS = [0, 1]
LINGER, TIMEOUT = 5.0, 60.0
ERROR = ConnectionError("the broker went away")
NO_PARTITION = 9
"""A key for which the partitioner raises."""

topics = st.sampled_from(TOPICS)
picks = st.integers(0, 10)


def choose(key: int) -> int:
    """A partitioner that does not know what to do with one of the keys."""
    if key == NO_PARTITION:
        raise ValueError(key)
    return key


class AnyOrder(RuleBasedStateMachine):
    """Tokens are the numbers of the records' arrivals, from 1 on."""

    @initialize(batch_size=st.integers(1, 6), records_a_batch=st.integers(1, 4), held=st.booleans())
    def start(self, batch_size: int, records_a_batch: int, held: bool) -> None:
        """Small batches, so that there are many."""
        self.now = 0.0
        self.accumulator = Accumulator(
            batch_size=batch_size,
            linger=LINGER,
            max_batch_bytes=BATCH_OVERHEAD + records_a_batch * 45,
            delivery_timeout=TIMEOUT,
        )
        self.unknown = set(TOPICS) if held else set()
        self.memory: dict[int, int] = {}
        self.deadlines: dict[int, float] = {}
        self.held: dict[str, list[tuple[int, int]]] = {topic: [] for topic in TOPICS}
        self.waiting: dict[TopicPartition, list[int]] = {
            TopicPartition(topic, partition): [] for topic in TOPICS for partition in PARTITIONS
        }
        self.out: dict[TopicPartition, Batch] = {}
        self.delivered: dict[TopicPartition, list[int]] = {one: [] for one in self.waiting}
        self.ended: list[int] = []
        self.kept: set[int] = set()
        self.arrival: dict[int, int] = {}

    # Records come in.

    @rule(topic=topics, key=st.sampled_from([*PARTITIONS, NO_PARTITION]), size=st.integers(0, 60))
    def a_record_comes(self, topic: str, key: int, size: int) -> None:
        """Held where its topic isn't known, or others wait for it; else queued."""
        record = Record(None, bytes(size), (), 0)
        token = len(self.memory) + 1
        if topic in self.unknown or self.accumulator.is_held(topic):
            self.accumulator.hold(topic, key, record, token, self.now)
            self.held[topic].append((key, token))
        elif key != NO_PARTITION:
            topic_partition = TopicPartition(topic, key)
            self.accumulator.append(topic_partition, record, token, self.now)
            self.waiting[topic_partition].append(token)
        else:
            return
        self.memory[token] = memory_of(record)
        self.deadlines[token] = self.now + TIMEOUT

    @rule(topic=topics)
    def a_topic_becomes_known(self, topic: str) -> None:
        """Its held records are queued, but for those that have no partition."""
        self.unknown.discard(topic)
        refused = self.accumulator.release(topic, choose)
        keys, self.held[topic] = self.held[topic], []
        for key, token in keys:
            if key != NO_PARTITION:
                self.waiting[TopicPartition(topic, key)].append(token)
        assert [one.token for one in refused] == [t for key, t in keys if key == NO_PARTITION]
        self.end(*(one.token for one in refused))

    @rule(topic=topics)
    def a_topic_is_lost(self, topic: str) -> None:
        """New records of it are held."""
        self.unknown.add(topic)

    @rule(topic=topics)
    def a_topic_is_given_up(self, topic: str) -> None:
        """All that is held or queued for it ends."""
        held = [token for _, token in self.held[topic]]
        assert [one.token for one in self.accumulator.give_up_held(topic, ERROR)] == held
        self.held[topic] = []
        self.end(*held)
        for batch in self.accumulator.take_queued(topic):
            self.fail_queued(batch)

    @rule(topic=topics, partition=st.sampled_from([*PARTITIONS, UNKNOWN]), most=st.integers(1, 9))
    def records_make_way(self, topic: str, partition: int, most: int) -> None:
        """The oldest that were never sent; those of a batch of unknown fate stay."""
        where = TopicPartition(topic, partition)
        if partition == UNKNOWN:
            expected = [token for _, token in self.held[topic]][:most]
            del self.held[topic][:most]
        else:
            fresh = [token for token in self.waiting[where] if token not in self.kept]
            expected = fresh[:most]
            self.waiting[where] = [t for t in self.waiting[where] if t not in expected]
        assert self.accumulator.shed(where, most) == expected
        self.end(*expected)

    @rule(topic=topics, partition=st.sampled_from(PARTITIONS))
    def a_partition_is_made_again(self, topic: str, partition: int) -> None:
        """Its queued records are held, by the age of the batches; the keys are the same."""
        where = TopicPartition(topic, partition)
        if where in self.out or not self.waiting[where]:
            return
        for batch in self.accumulator.queue(where).batches:
            batch.ambiguous = False
            self.kept.difference_update(batch.tokens)
            for token in batch.tokens:
                self.arrival[token], self.deadlines[token] = batch.arrival, batch.deadline
        self.accumulator.hold_again(where, lambda _token: partition)
        again = [(partition, token) for token in self.waiting[where]]
        self.waiting[where] = []
        both = [*again, *self.held[topic]]
        self.held[topic] = sorted(both, key=lambda one: self.arrival.get(one[1], one[1]))

    # Time passes.

    @rule()
    def a_flush_begins(self) -> None:
        """All that is queued becomes due."""
        self.accumulator.seal()

    @rule(seconds=st.sampled_from([0.5, LINGER, TIMEOUT / 2, TIMEOUT]))
    def time_passes(self, seconds: float) -> None:
        """Records that are too old end, and not a moment before."""
        self.now += seconds
        self.accumulator.seal_if_lingered(self.now)
        self.expire()

    def expire(self) -> None:
        """End what is too old, as the sender does on each of its turns."""
        for batch in self.accumulator.expire(self.now):
            assert batch.deadline <= self.now
            self.fail_queued(batch)
        for topic in self.accumulator.held_topics():
            for ended in self.accumulator.expire_held(topic, self.now, ERROR):
                assert self.deadlines[ended.token] <= self.now
                assert self.held[topic].pop(0)[1] == ended.token
                self.end(ended.token)

    # Batches go out, and come back.

    @precondition(lambda self: self.accumulator.ready(self.now))
    @rule(pick=picks)
    def a_batch_is_drained(self, pick: int) -> None:
        """It holds the oldest records of its partition, of which none is out."""
        ready = list(self.accumulator.ready(self.now))
        self.drain(ready[pick % len(ready)])

    def drain(self, topic_partition: TopicPartition) -> Batch:
        """Take the next batch of a partition."""
        assert topic_partition not in self.out
        batch = self.accumulator.drain(topic_partition)
        waiting = self.waiting[topic_partition]
        assert batch.tokens == waiting[: len(batch)]
        del waiting[: len(batch)]
        self.out[topic_partition] = batch
        return batch

    def landed(self, pick: int) -> Batch:
        """One of the batches in flight, which is out no longer."""
        return self.out.pop(list(self.out)[pick % len(self.out)])

    @precondition(lambda self: self.out)
    @rule(pick=picks)
    def a_batch_is_delivered(self, pick: int) -> None:
        """Behind all that its partition has got already."""
        batch = self.landed(pick)
        self.accumulator.complete(batch)
        self.delivered[batch.topic_partition] += batch.tokens
        self.end(*batch.tokens)

    @precondition(lambda self: self.out)
    @rule(pick=picks)
    def a_batch_is_refused(self, pick: int) -> None:
        """For good."""
        batch = self.landed(pick)
        self.accumulator.fail(batch)
        self.end(*batch.tokens)

    @precondition(lambda self: self.out)
    @rule(pick=picks, backoff=st.sampled_from([0.0, 1.0, 20.0]), ambiguous=st.booleans())
    def a_batch_comes_back(self, pick: int, backoff: float, ambiguous: bool) -> None:
        """To the front."""
        batch = self.landed(pick)
        if ambiguous:
            batch.ambiguous = True
            self.kept.update(batch.tokens)
        self.accumulator.reenqueue(batch, ERROR, self.now + backoff)
        self.waiting[batch.topic_partition][:0] = batch.tokens
        self.expire()

    @precondition(lambda self: any(len(batch) > 1 for batch in self.out.values()))
    @rule()
    def a_batch_is_too_large(self) -> None:
        """Its halves go to the front."""
        batch = next(batch for batch in self.out.values() if len(batch) > 1)
        del self.out[batch.topic_partition]
        self.accumulator.split(batch)
        self.waiting[batch.topic_partition][:0] = batch.tokens
        self.expire()

    def fail_queued(self, batch: Batch) -> None:
        """End a batch that is no longer queued."""
        self.accumulator.fail(batch)
        waiting = self.waiting[batch.topic_partition]
        for token in batch.tokens:
            waiting.remove(token)
        self.end(*batch.tokens)

    def end(self, *tokens: int) -> None:
        """Note an end: there is one for each record."""
        assert not set(tokens) & set(self.ended)
        self.ended += tokens

    # Invariants.

    @invariant()
    def the_counters_are_right(self) -> None:
        """Buffered, in flight and memory."""
        in_flight = sum(map(len, self.out.values()))
        outstanding = set(self.memory) - set(self.ended)
        assert self.accumulator.in_flight == in_flight
        assert self.accumulator.buffered == len(outstanding) - in_flight
        assert self.accumulator.outstanding == len(outstanding)
        assert self.accumulator.memory == sum(self.memory[token] for token in outstanding)
        assert self.accumulator.arrivals == len(self.memory)

    @invariant()
    def what_waits_is_known_by_partition(self) -> None:
        """Queued or held, in records and memory."""
        for where, waiting in self.waiting.items():
            memory = sum(self.memory[token] for token in waiting)
            assert self.accumulator.waiting(where) == (len(waiting), memory)
        for topic, held in self.held.items():
            memory = sum(self.memory[token] for _, token in held)
            assert self.accumulator.waiting(TopicPartition(topic, UNKNOWN)) == (len(held), memory)

    @invariant()
    def partitions_keep_their_order(self) -> None:
        """The tokens of a partition, delivered ones, the one batch in flight, and the rest."""
        for topic_partition, waiting in self.waiting.items():
            batch = self.out.get(topic_partition)
            order = self.delivered[topic_partition] + (batch.tokens if batch else []) + waiting
            assert order == sorted(order)

    @invariant()
    def only_what_is_not_out_is_ready(self) -> None:
        """And there is something to take."""
        for topic_partition in self.accumulator.ready(self.now):
            assert topic_partition not in self.out
            assert self.waiting[topic_partition]

    @invariant()
    def a_flush_does_not_end_early(self) -> None:
        """It does not end late either, where it waits for everything."""
        ended = set(self.ended)
        for arrival in range(len(self.memory) + 1):
            if self.accumulator.delivered_up_to(arrival):
                assert ended.issuperset(range(1, arrival + 1))
        everything = self.accumulator.delivered_up_to(len(self.memory))
        assert everything == (len(ended) == len(self.memory))

    @invariant()
    def a_deadline_wakes_in_time(self) -> None:
        """It is ahead, and not behind any record's own."""
        deadline = self.accumulator.next_deadline(self.now)
        queued: list[Any] = [token for waiting in self.waiting.values() for token in waiting]
        queued += [token for held in self.held.values() for _, token in held]
        assert deadline is None or deadline > self.now
        if queued:
            assert deadline is not None
            assert deadline <= min(self.deadlines[token] for token in queued)

    def teardown(self) -> None:
        """Deliver the rest: then every record has ended, and nothing is left."""
        if not hasattr(self, "accumulator"):
            return
        for topic in TOPICS:
            self.a_topic_becomes_known(topic)
        self.now += 30.0
        self.accumulator.seal()
        while self.out or self.accumulator.ready(self.now):
            if not self.out:
                self.drain(next(iter(self.accumulator.ready(self.now))))
            self.a_batch_is_delivered(0)
        assert sorted(self.ended) == list(range(1, len(self.memory) + 1))
        assert (self.accumulator.buffered, self.accumulator.in_flight) == (0, 0)
        assert self.accumulator.memory == 0
        assert self.accumulator.next_deadline(self.now) is None


AnyOrder.TestCase.settings = examples(60, stateful_step_count=40)


class TestAnyOrder(AnyOrder.TestCase):  # type: ignore[misc]
    """Nothing is lost, every record ends once, in order, and the counters are always right."""
