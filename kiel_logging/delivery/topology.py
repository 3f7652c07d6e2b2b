"""What is known of the cluster: brokers, topics, partitions and who leads them.

Merges the answers of brokers, which may be older than what is known already. No clock: ``now``
comes in.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence

from kio.schema.errors import ErrorCode

from kiel_logging.records import TopicPartition
from kiel_logging.wire.metadata import NO_LEADER, Broker, Leader, Metadata, Topic


class Topology:
    """The cluster as the brokers last described it.

    Attributes:
        brokers: node id -> where it listens.
    """

    def __init__(self) -> None:
        self.brokers: Mapping[int, Broker] = {}
        self._topics: dict[str, Topic] = {}
        self._partitions: dict[str, Sequence[int]] = {}
        self._leaders: dict[TopicPartition, Leader] = {}
        self._unknown_since: dict[str, float] = {}
        self._errors: dict[str, ErrorCode | int] = {}

    def __repr__(self) -> str:
        return f"<Topology brokers={sorted(self.brokers)} topics={sorted(self._topics)}>"

    def update(self, metadata: Metadata, now: float) -> None:
        """Take in what a broker says at ``now``."""
        if metadata.brokers:
            self.brokers = metadata.brokers
        for topic in metadata.topics.values():
            if topic.leaders:
                self._learn(topic)
            else:
                self._unknown_since.setdefault(topic.name, now)
                self._errors[topic.name] = topic.error

    def _learn(self, topic: Topic) -> None:
        known = self._topics.get(topic.name)
        if known is None or known.topic_id != topic.topic_id:
            # Another topic of the same name: its leader epochs start again.
            self._forget_leaders(topic.name)
        self._topics[topic.name] = topic
        self._partitions[topic.name] = sorted(topic.leaders)
        self._unknown_since.pop(topic.name, None)
        self._errors.pop(topic.name, None)
        for partition, leader in topic.leaders.items():
            self.learn_leader(TopicPartition(topic.name, partition), leader)

    def _forget_leaders(self, topic: str) -> None:
        for partition in self._partitions.get(topic, ()):
            self._leaders.pop(TopicPartition(topic, partition), None)

    def learn_leader(self, topic_partition: TopicPartition, leader: Leader) -> None:
        """Take ``leader`` in, unless a later election is known already."""
        known = self._leaders.get(topic_partition)
        if known is None or leader.epoch >= known.epoch:
            self._leaders[topic_partition] = leader

    def learn_brokers(self, brokers: Iterable[Broker]) -> None:
        """Take in brokers that came with a leader hint (KIP-951)."""
        self.brokers = {**self.brokers, **{broker.node_id: broker for broker in brokers}}

    def forget_leader(self, topic_partition: TopicPartition) -> None:
        """The broker that was said to lead the partition doesn't, or can't be reached."""
        known = self._leaders.get(topic_partition)
        if known is not None:
            self._leaders[topic_partition] = Leader(NO_LEADER, known.epoch)

    def partitions(self, topic: str) -> Sequence[int] | None:
        """Return the partition numbers of ``topic``, in order; None while they aren't known."""
        return self._partitions.get(topic)

    def leader(self, topic_partition: TopicPartition) -> int | None:
        """Return the node id of the leader; None while there is none that is known."""
        leader = self._leaders.get(topic_partition)
        if leader is None or leader.node_id not in self.brokers:
            return None
        return leader.node_id

    def topic_id(self, topic: str) -> uuid.UUID | None:
        """Return the id of ``topic``; None where brokers have none (before Kafka 2.8)."""
        known = self._topics.get(topic)
        return None if known is None else known.topic_id

    def unknown_since(self, topic: str) -> float | None:
        """Return since when brokers have been saying that they don't have ``topic``."""
        return self._unknown_since.get(topic)

    def error(self, topic: str) -> ErrorCode | int | None:
        """Return the error that brokers gave for ``topic`` when last asked; None for none."""
        return self._errors.get(topic)
