"""The Produce request and response, whatever their version.

From v13 on topics go by their id (KIP-516); before that by name. From v10 on an error names the
new leader (KIP-951).

Source: https://kafka.apache.org/protocol#The_Messages_Produce
"""

import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from kiel_logging.records import TopicPartition
from kiel_logging.wire.codec import Message
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import Request
from kiel_logging.wire.metadata import Broker, Leader
from kiel_logging.wire.schemas import Api

FIRST_WITH_TOPIC_IDS: Final = 13

_UNKNOWN_LEADER: Final = -1
_NO_OFFSET: Final = -1


class PartitionResult(NamedTuple):
    """The broker's answer for one batch.

    ``log_append_time`` is in milliseconds since the epoch, None unless the topic is set to
    LogAppendTime. ``leader`` is the broker's hint at the new leader, where it gives one.
    """

    error: ErrorCode | int
    base_offset: int
    log_append_time: int | None = None
    message: str | None = None
    leader: Leader | None = None


class ProduceResult(NamedTuple):
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
) -> Request:
    """Return the request that carries one encoded record batch for each partition.

    ``topic_ids`` has the ids of the topics where the version asks for them.
    """
    by_topic: dict[str, list[Message]] = {}
    for (topic, partition), records in batches.items():
        by_topic.setdefault(topic, []).append({"index": partition, "records": records})
    topic_data = [
        {"name": topic, "topic_id": topic_ids.get(topic), "partition_data": partitions}
        for topic, partitions in by_topic.items()
    ]
    fields = {"acks": acks, "timeout_ms": timeout_ms, "topic_data": topic_data}
    return Request(Api.PRODUCE, version, fields)


def read_produce(response: Message, topic_ids: Mapping[str, uuid.UUID]) -> ProduceResult:
    """Return what a Produce response of any version says.

    ``topic_ids`` must be those that the request was made with. Of the hinted brokers those are
    taken that a result names as a leader.
    """
    names: dict[Any, str] = {topic_id: name for name, topic_id in topic_ids.items()}
    results = {}
    for topic in response["responses"]:
        name = topic.get("name") or names.get(topic.get("topic_id"))
        if name is None:
            continue  # the request did not have it
        for partition in topic["partition_responses"]:
            results[TopicPartition(name, partition["index"])] = _read_partition(partition)
    leading = {result.leader.node_id for result in results.values() if result.leader is not None}
    return ProduceResult(
        partitions=results,
        brokers=tuple(
            Broker(node["node_id"], node["host"], node["port"])
            for node in response.get("node_endpoints", ())
            if node["node_id"] in leading
        ),
        throttle_time_ms=response["throttle_time_ms"],
    )


def _read_partition(partition: Message) -> PartitionResult:
    appended = partition["log_append_time_ms"]
    return PartitionResult(
        error=partition["error_code"],
        base_offset=max(_NO_OFFSET, partition["base_offset"]),
        log_append_time=None if appended < 0 else appended,
        message=partition.get("error_message"),
        leader=_read_leader(partition.get("current_leader")),
    )


def _read_leader(hint: Message | None) -> Leader | None:
    if hint is None or hint["leader_id"] <= _UNKNOWN_LEADER:
        return None
    return Leader(hint["leader_id"], hint["leader_epoch"])
