"""The cluster as far as it is known: brokers, topics, partitions and their leaders.

Merges the answers of brokers, which may be older than what is known already. No clock: ``now``
comes in.
"""

import itertools
import operator
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kiel_logging.records import TopicPartition
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.metadata import MOST_BROKERS, NO_LEADER, Broker, Leader, Metadata, Topic


class Topology:
    """The cluster as the brokers last described it.

    Attributes:
        brokers: node id -> where it listens.
        revision: another number whenever the partitions of a topic may have changed.
        remade: topics that were deleted and made again with other partitions: their queued
            records have to be partitioned anew. The settlement removes them when that is done.
        missing: topics that brokers, when last asked, did not have: their last error, and since
            when. The sender removes one to have it looked for as if it was never heard of.
    """

    def __init__(self) -> None:
        self.brokers: Mapping[int, Broker] = {}
        self.revision = 0
        self.remade: set[str] = set()
        self._topics: dict[str, Topic] = {}
        self._partitions: dict[str, Sequence[int]] = {}
        self._leaders: dict[TopicPartition, Leader] = {}
        self._leaderless: set[TopicPartition] = set()
        self.missing: dict[str, tuple[ErrorCode | int, float]] = {}

    def __repr__(self) -> str:
        return f"<Topology brokers={sorted(self.brokers)} topics={sorted(self._topics)}>"

    def update(self, metadata: Metadata, now: float) -> None:
        """Merge the answer of a broker at ``now``."""
        if metadata.brokers:
            self.brokers = metadata.brokers
        for topic in metadata.topics.values():
            if topic.leaders:
                self._learn(topic)
            else:
                _, since = self.missing.get(topic.name, (topic.error, now))
                self.missing[topic.name] = (topic.error, since)

    def _learn(self, topic: Topic) -> None:
        self.revision += 1
        known = self._topics.get(topic.name)
        another = known is None or known.topic_id != topic.topic_id
        if another:
            # Another topic of the same name: its leader epochs start again.
            self._forget_leaders(topic.name)
        elif topic.topic_id is None:
            self._forget_doubted(topic)
        # An answer without a partition that is known is older than what is known: topics never
        # lose any.
        before = self._partitions.get(topic.name, ())
        still = [one for one in before if self.has(TopicPartition(topic.name, one))]
        now = sorted({*still, *topic.leaders})
        if known is not None and now != before and (another or still != before):
            self.remade.add(topic.name)
        self._topics[topic.name] = topic
        self._partitions[topic.name] = now
        self.missing.pop(topic.name, None)
        for partition, leader in topic.leaders.items():
            self.learn_leader(TopicPartition(topic.name, partition), leader)

    def _forget_doubted(self, topic: Topic) -> None:
        """Forget partitions that are not listed and that no broker leads.

        Without topic ids (before Kafka 2.8) there is no other sign that a topic was made again
        with fewer partitions, rather than that the answer is older than what is known.
        """
        for where in list(self._leaderless):
            if where.topic == topic.name and where.partition not in topic.leaders:
                del self._leaders[where]
                self._leaderless.discard(where)

    def _forget_leaders(self, topic: str) -> None:
        for partition in self._partitions.get(topic, ()):
            self._leaders.pop(TopicPartition(topic, partition), None)
            self._leaderless.discard(TopicPartition(topic, partition))

    def learn_leader(self, topic_partition: TopicPartition, leader: Leader) -> None:
        """Take ``leader`` in, unless a later election is known already.

        A leader that was doubted may be replaced by an older one: a topic that was deleted and
        made again counts its elections anew, and before Kafka 2.8 there is no other
        difference between the two (KAFKA-12257).
        """
        known = self._leaders.get(topic_partition)
        if known is None or known.node_id == NO_LEADER or leader.epoch >= known.epoch:
            self._set_leader(topic_partition, leader)

    def _set_leader(self, topic_partition: TopicPartition, leader: Leader) -> None:
        self._leaders[topic_partition] = leader
        if leader.node_id == NO_LEADER:
            self._leaderless.add(topic_partition)
        else:
            self._leaderless.discard(topic_partition)

    def learn_brokers(self, brokers: Iterable[Broker]) -> None:
        """Take in brokers that came with a leader hint (KIP-951)."""
        known = {**self.brokers, **{broker.node_id: broker for broker in brokers}}
        self.brokers = dict(itertools.islice(known.items(), MOST_BROKERS))

    def forget_leader(self, topic_partition: TopicPartition) -> None:
        """Forget the leader of a partition: it does not lead it, or can't be reached."""
        known = self._leaders.get(topic_partition)
        if known is not None:
            self._set_leader(topic_partition, Leader(NO_LEADER, known.epoch))

    def forget_topic(self, topic: str) -> None:
        """Forget ``topic``, which is gone; should it come back, it is another."""
        self.revision += 1
        self._forget_leaders(topic)
        self._topics.pop(topic, None)
        self._partitions.pop(topic, None)
        self.missing.pop(topic, None)

    def partitions(self, topic: str) -> Sequence[int] | None:
        """Return the partition numbers of ``topic``, in order; None while they aren't known."""
        return self._partitions.get(topic)

    def find(self, topic: str, partition: Any) -> int | None:
        """Return ``partition`` as an int if ``topic`` has it; any integer type will do."""
        if isinstance(partition, bool):
            return None
        try:
            number = operator.index(partition)
        except TypeError:
            return None
        return number if TopicPartition(topic, number) in self._leaders else None

    def available_partitions(self, topic: str) -> Sequence[int]:
        """Return the partitions of ``topic`` that have a leader; all, where none has."""
        partitions = self._partitions[topic]
        if not self._leaderless:
            return partitions
        available = [
            partition
            for partition in partitions
            if TopicPartition(topic, partition) not in self._leaderless
        ]
        return available or partitions

    def leader(self, topic_partition: TopicPartition) -> int | None:
        """Return the node id of the leader; None while there is none that is known."""
        leader = self._leaders.get(topic_partition)
        if leader is None or leader.node_id not in self.brokers:
            return None
        return leader.node_id

    def has(self, topic_partition: TopicPartition) -> bool:
        """Whether there is such a partition, as far as is known."""
        return topic_partition in self._leaders

    def topic_id(self, topic: str) -> uuid.UUID | None:
        """Return the id of ``topic``; None where brokers have none (before Kafka 2.8)."""
        known = self._topics.get(topic)
        return None if known is None else known.topic_id
