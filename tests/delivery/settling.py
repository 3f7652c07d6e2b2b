"""A Settlement with all that it decides about, for the tests of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kiel_logging.delivery.accumulator import Accumulator
from kiel_logging.delivery.batch import Batch, Identity
from kiel_logging.delivery.idempotence import Idempotence
from kiel_logging.delivery.settlement import Settlement
from kiel_logging.delivery.topology import Topology
from kiel_logging.records import Record, TopicPartition
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.metadata import Broker, Leader, Metadata, Topic

TIMEOUT = 120.0
BACKOFF = 2.0
"""Seconds for each attempt so far."""

LOGS_0, LOGS_1 = TopicPartition("logs", 0), TopicPartition("logs", 1)


class Ends:
    """The owner of the records: notes all that is reported to it."""

    keeps = False
    backlog = 0
    time_to_store: int | None = None

    def __init__(self, *, defers: bool = False) -> None:
        self.defers = defers
        self.deferred_topics: list[tuple[str, Exception]] = []
        self.delivered_at: dict[Any, int] = {}
        self.errors: dict[Any, Exception] = {}
        self.ended: list[Any] = []

    def delivered(self, batch: Batch, base_offset: int, log_append_time: int | None) -> None:
        """Each record at its own offset; -1 where that is unknown."""
        for delta, token in enumerate(batch.tokens):
            self.delivered_at[token] = -1 if base_offset == -1 else base_offset + delta
            self.ended.append(token)

    def key_of(self, token: Any) -> Any:
        """Keys are of no interest."""
        return None

    def deferred(self, topic: str, error: Exception) -> None:
        """In the order of the reports."""
        self.deferred_topics.append((topic, error))

    def present_time(self) -> int | None:
        """It is given in `time_to_store`."""
        return self.time_to_store

    def troubled(self, error: Exception) -> None:
        """It is logged."""

    def resume(self) -> None:
        """Nothing waits outside of the engine."""

    def failed(self, tokens: Sequence[Any], error: Exception) -> None:
        """Each with the error."""
        for token in tokens:
            self.errors[token] = error
            self.ended.append(token)


class Parts:
    """The parts, put together as the Producer does it; two partitions, led by broker 1."""

    def __init__(
        self,
        batch_size: int = 100,
        max_batch_bytes: int = 1_000_000,
        *,
        defers: bool = False,
        linger: float = 5.0,
        timeout: float = TIMEOUT,
        backoff: float = BACKOFF,
    ) -> None:
        self.ends = Ends(defers=defers)
        self.idempotence = Idempotence()
        self.idempotence.identity = Identity(1000, 0)
        self.topology = Topology()
        self.topology.update(
            Metadata(
                brokers={node: Broker(node, f"kafka-{node}", 9092) for node in (1, 2)},
                topics={
                    "logs": Topic(
                        name="logs",
                        error=ErrorCode.none,
                        leaders={partition: Leader(1, 5) for partition in (0, 1)},
                    )
                },
            ),
            0.0,
        )
        self.accumulator = Accumulator(
            batch_size=batch_size,
            linger=linger,
            max_batch_bytes=max_batch_bytes,
            delivery_timeout=timeout,
        )
        self.settlement = Settlement(
            accumulator=self.accumulator,
            idempotence=self.idempotence,
            topology=self.topology,
            deliveries=self.ends,
            backoff=lambda attempts: backoff * attempts,
            delivery_timeout=timeout,
            wall_clock=lambda: 0.0,
        )

    def append(self, *tokens: Any, to: TopicPartition = LOGS_0, now: float = 0.0) -> None:
        """Queue a record for each token, and seal them."""
        for token in tokens:
            self.accumulator.append(to, Record(None, b"value", (), 0), token, now)
        self.accumulator.seal()

    def sendable(self, now: float) -> list[TopicPartition]:
        """The partitions of which a batch may be sent."""
        blocks = self.settlement.deferrals.blocks
        return [where for where in self.accumulator.ready(now) if not blocks(where.topic, now)]

    def send(self, topic_partition: TopicPartition = LOGS_0, now: float = 0.0) -> Batch:
        """Drain a batch that is ready, and stamp it."""
        assert topic_partition in self.sendable(now)
        batch = self.accumulator.drain(topic_partition)
        self.settlement.deferrals.sent(batch)
        self.idempotence.stamp(batch)
        return batch
