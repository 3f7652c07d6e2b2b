"""The state that the brokers of a fake cluster share: topics, logs, producers. No sockets."""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from dataclasses import dataclass, field

from kiel_logging.testing.batches import (
    RejectedBatch,
    StoredBatch,
    StoredRecord,
    decode_batch,
    split_batches,
)
from kiel_logging.testing.frames import Versions
from kiel_logging.testing.sasl import Sasl
from kiel_logging.wire.error_codes import ErrorCode

DEFAULT_VERSIONS: Versions = {
    0: (0, 13),  # Produce: Kafka 4 advertises 0 and rejects all below 3 (KAFKA-18659)
    1: (4, 16),  # FindCoordinator is not served, only advertised: librdkafka infers magic 2 and
    10: (0, 5),  # lz4 from them
    3: (0, 13),
    18: (0, 4),
    22: (0, 5),
}
_REMEMBERED_BATCHES = 5
_LARGEST_EPOCH = 2**15 - 1


@dataclass(frozen=True, slots=True)
class Appended:
    """The fate of one batch."""

    error: int
    base_offset: int = -1
    message: str | None = None


@dataclass(slots=True)
class ProducerState:
    """The batches of one producer id that a partition remembers."""

    epoch: int
    batches: deque[StoredBatch] = field(
        default_factory=lambda: deque(maxlen=_REMEMBERED_BATCHES), repr=False
    )

    def duplicate_of(self, batch: StoredBatch) -> StoredBatch | None:
        """A batch with the same sequences among the last five, as Kafka looks for it."""
        wanted = (batch.producer_epoch, batch.base_sequence, batch.last_sequence)
        for known in self.batches:
            if (known.producer_epoch, known.base_sequence, known.last_sequence) == wanted:
                return known
        return None

    def check(self, batch: StoredBatch) -> None:
        """Raises when the batch is not the next one of its producer."""
        if batch.producer_epoch < self.epoch:
            reason = f"epoch {batch.producer_epoch} is older than {self.epoch}"
            raise RejectedBatch(ErrorCode.invalid_producer_epoch, reason)
        expected = (self.batches[-1].last_sequence + 1) % 2**31 if self.batches else 0
        if batch.producer_epoch > self.epoch:
            expected = 0
        if batch.base_sequence != expected:
            reason = f"sequence {batch.base_sequence} instead of {expected}"
            raise RejectedBatch(ErrorCode.out_of_order_sequence_number, reason)


@dataclass(slots=True)
class Partition:
    """The log of one partition, and the broker that leads it; None if there is no leader."""

    index: int
    leader: int | None
    leader_epoch: int = 0
    batches: list[StoredBatch] = field(default_factory=list, repr=False)
    producers: dict[int, ProducerState] = field(default_factory=dict, repr=False)

    @property
    def next_offset(self) -> int:
        """How many records are stored."""
        return self.batches[-1].next_offset if self.batches else 0

    def append(self, data: bytes | None, max_bytes: int, *, zstd: bool = True) -> Appended:
        """Stores the one batch in `data`, or says why not; Kafka takes zstd from Produce v7 on."""
        try:
            batch = decode_batch(_only_batch(data or b"", max_bytes), self.next_offset)
            if batch.codec == "zstd" and not zstd:
                return Appended(ErrorCode.unsupported_compression_type)
            return self._store(batch)
        except RejectedBatch as rejected:
            return Appended(rejected.code, message=str(rejected))

    def _store(self, batch: StoredBatch) -> Appended:
        if batch.producer_id >= 0:
            # A producer that the log has never seen may start at any sequence, as in Kafka.
            state = self.producers.get(batch.producer_id)
            if state and (original := state.duplicate_of(batch)):
                return Appended(ErrorCode.none, original.base_offset)
            if state:
                state.check(batch)
            if state is None or batch.producer_epoch > state.epoch:
                state = ProducerState(batch.producer_epoch)
            state.batches.append(batch)
            self.producers[batch.producer_id] = state
        self.batches.append(batch)
        return Appended(ErrorCode.none, batch.base_offset)


def _only_batch(data: bytes, max_bytes: int) -> bytes:
    batches = split_batches(data)
    if len(batches) != 1:
        reason = f"{len(batches)} batches where Produce v3+ takes exactly one"
        raise RejectedBatch(ErrorCode.invalid_record, reason)
    if len(batches[0]) > max_bytes:
        reason = f"{len(batches[0])} bytes, {max_bytes} allowed"
        raise RejectedBatch(ErrorCode.message_too_large, reason)
    return batches[0]


@dataclass(slots=True)
class Topic:
    """A topic; a re-created one is another topic with another id."""

    name: str
    partitions: list[Partition]
    topic_id: uuid.UUID = field(default_factory=uuid.uuid4)
    configs: dict[str, str] = field(default_factory=dict)

    def partition(self, index: int) -> Partition | None:
        """None when there is no such partition."""
        return self.partitions[index] if 0 <= index < len(self.partitions) else None


@dataclass(slots=True)
class ProduceFault:
    """An error for the next Produce requests; brokers may share one and its count."""

    error: int
    times: float
    only: str | tuple[str, int] | None = None
    stored: bool = False

    def hits(self, topic: str, partition: int) -> bool:
        """Whether it is meant for this partition."""
        return self.only in (None, topic, (topic, partition))


@dataclass(slots=True)
class Node:
    """A broker as Metadata and ApiVersions describe it."""

    node_id: int
    port: int = 0
    host: str = "127.0.0.1"
    fenced: bool = False
    """Left out of Metadata, like a broker that the controller has given up."""
    versions: Versions = field(default_factory=lambda: dict(DEFAULT_VERSIONS))
    produce_faults: list[ProduceFault] = field(default_factory=list)


@dataclass(slots=True)
class ClusterState:
    """Everything that survives the restart of one broker."""

    nodes: dict[int, Node] = field(default_factory=dict)
    topics: dict[str, Topic] = field(default_factory=dict)
    auto_create: bool = True
    auto_create_partitions: int = 3
    max_message_bytes: int = 1048588
    clock_ahead: float = 0.0
    """Seconds by which the controller's clock is ahead of this machine's."""
    sasl: Sasl | None = None
    """The clients that may come in; all may when it is None."""
    bump_epochs: bool = True
    """Whether InitProducerId bumps the epoch of an id it is given. Kafka itself does so only for
    transactional producers: others get a new id and epoch 0, as they do here when it is False."""
    producer_epochs: dict[int, int] = field(default_factory=dict)
    _producer_ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1000))

    def add_topic(self, name: str, partitions: int, leaders: list[int] | None = None) -> Topic:
        """Leaders go round robin over the brokers unless they are given."""
        if name in self.topics:
            raise ValueError(f"topic {name!r} exists")
        topic = Topic(name, [])
        self.topics[name] = topic
        self.add_partitions(name, partitions, leaders)
        return topic

    def add_partitions(self, name: str, count: int, leaders: list[int] | None = None) -> None:
        """Adds `count` more partitions."""
        nodes, partitions = leaders or list(self.nodes), self.topics[name].partitions
        for index in range(len(partitions), len(partitions) + count):
            partitions.append(Partition(index, nodes[index % len(nodes)]))

    def topic_of(self, name: str | None, topic_id: uuid.UUID | None) -> Topic | None:
        """By name where the request has one, else by id."""
        if name is not None:
            return self.topics.get(name)
        return next((t for t in self.topics.values() if t.topic_id == topic_id), None)

    def new_producer_id(self) -> tuple[int, int]:
        """A producer id that was never used, and its first epoch."""
        producer_id = next(self._producer_ids)
        self.producer_epochs[producer_id] = 0
        return producer_id, 0

    def bump_epoch(self, producer_id: int, epoch: int) -> tuple[int, int] | None:
        """The next epoch, a new id when epochs ran out, or None for an old epoch."""
        known = self.producer_epochs.get(producer_id, epoch)
        if epoch < known:
            return None
        if known >= _LARGEST_EPOCH:
            return self.new_producer_id()
        self.producer_epochs[producer_id] = known + 1
        return producer_id, known + 1

    def records(self, topic: str) -> dict[int, list[StoredRecord]]:
        """Every stored record, by partition."""
        return {
            partition.index: [record for batch in partition.batches for record in batch.records]
            for partition in self.topics[topic].partitions
        }
