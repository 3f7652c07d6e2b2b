"""The Produce request and response, whatever their version.

From v13 on topics go by their id (KIP-516); before that by name. From v10 on an error names the
new leader (KIP-951).

Source: https://kafka.apache.org/protocol#The_Messages_Produce
"""

import datetime
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kio.schema.errors import ErrorCode

from kiel_logging.records import TopicPartition
from kiel_logging.wire.messages import Api, request_module
from kiel_logging.wire.metadata import Broker, Leader

FIRST_WITH_TOPIC_IDS: Final = 13

_UNKNOWN_LEADER: Final = -1
_NO_OFFSET: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionResult:
    """What became of one batch.

    ``log_append_time`` is in milliseconds since the epoch, None unless the topic is set to
    LogAppendTime. ``leader`` is the broker's hint at the new leader, where it gives one.
    """

    error: ErrorCode | int
    base_offset: int
    log_append_time: int | None = None
    message: str | None = None
    leader: Leader | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProduceResult:
    """One Produce response: a result per partition, hinted brokers, throttle time in ms."""

    partitions: Mapping[TopicPartition, PartitionResult]
    brokers: tuple[Broker, ...]
    throttle_time_ms: int


def produce_request(
    version: int,
    batches: Mapping[TopicPartition, bytes],
    *,
    acks: int,
    timeout_ms: int,
    topic_ids: Mapping[str, uuid.UUID],
) -> Any:
    """Return the request that carries one encoded record batch for each partition.

    ``topic_ids`` has the ids of the topics where the version asks for them.
    """
    module = request_module(Api.PRODUCE, version)
    by_topic: dict[str, list[Any]] = {}
    for (topic, partition), records in batches.items():
        data = module.PartitionProduceData(index=partition, records=records)
        by_topic.setdefault(topic, []).append(data)

    by_id = version >= FIRST_WITH_TOPIC_IDS

    def topic_data(topic: str, partitions: list[Any]) -> Any:
        named = {"topic_id": topic_ids[topic]} if by_id else {"name": topic}
        return module.TopicProduceData(partition_data=tuple(partitions), **named)

    return module.ProduceRequest(
        acks=acks,
        timeout=datetime.timedelta(milliseconds=timeout_ms),
        topic_data=tuple(topic_data(*item) for item in by_topic.items()),
    )


def read_produce(response: Any, topic_ids: Mapping[str, uuid.UUID]) -> ProduceResult:
    """Return what a Produce response of any version says.

    ``topic_ids`` must be those that the request was made with. Of the hinted brokers those are
    taken that a result names as a leader.
    """
    names: dict[Any, str] = {topic_id: name for name, topic_id in topic_ids.items()}
    results = {}
    for topic in response.responses:
        name = getattr(topic, "name", None) or names.get(getattr(topic, "topic_id", None))
        if name is None:
            continue  # nobody asked for it
        for partition in topic.partition_responses:
            results[TopicPartition(name, partition.index)] = _read_partition(partition)
    leading = {result.leader.node_id for result in results.values() if result.leader is not None}
    return ProduceResult(
        partitions=results,
        brokers=tuple(
            Broker(node.node_id, node.host, node.port)
            for node in getattr(response, "node_endpoints", ())
            if node.node_id in leading
        ),
        throttle_time_ms=response.throttle_time,
    )


def _read_partition(partition: Any) -> PartitionResult:
    return PartitionResult(
        error=partition.error_code,
        base_offset=max(_NO_OFFSET, partition.base_offset),
        log_append_time=None if partition.log_append_time < 0 else partition.log_append_time,
        message=getattr(partition, "error_message", None),
        leader=_read_leader(getattr(partition, "current_leader", None)),
    )


def _read_leader(hint: Any) -> Leader | None:
    if hint is None or hint.leader_id <= _UNKNOWN_LEADER:
        return None
    return Leader(hint.leader_id, hint.leader_epoch)
