"""The Metadata request and response, whatever their version.

Source: https://kafka.apache.org/protocol#The_Messages_Metadata
"""

import uuid
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from kiel_logging.errors import ProtocolError
from kiel_logging.wire.codec import Message
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api

NO_LEADER: Final = -1

MOST_BROKERS: Final = 1_024
"""Brokers of a cluster that are believed. The largest clusters have some hundreds."""

MOST_PARTITIONS: Final = 20_000
"""Partitions of a topic that are believed: higher numbers are ignored. With twice as many, a single
collection of Python's garbage holds up all threads for longer than 50 ms."""

_NO_TOPIC_ID: Final = uuid.UUID(int=0)
_NOT_SAID: Final = -(2**31)
"""In place of the operations that a client may do: it did not ask, or may not know."""


class Broker(NamedTuple):
    """A broker as it advertises itself."""

    node_id: int
    host: str
    port: int


class Leader(NamedTuple):
    """The leader of a partition, and its election; ``NO_LEADER`` while there is none."""

    node_id: int
    epoch: int


class Topic(NamedTuple):
    """A topic as a broker describes it: an error, or its partitions' leaders."""

    name: str
    error: ErrorCode | int
    leaders: Mapping[int, Leader]
    topic_id: uuid.UUID | None = None


class Metadata(NamedTuple):
    """One broker's answer: the brokers, and the topics it was asked for.

    ``cluster_id`` is None where the broker names no cluster. An ``error`` leaves nothing else to
    believe (from version 13 on, KIP-1102).
    """

    brokers: Mapping[int, Broker]
    topics: Mapping[str, Topic] = MappingProxyType({})
    cluster_id: str | None = None
    error: ErrorCode | int = ErrorCode.none


def metadata_request(version: int, topics: Iterable[str]) -> Request:
    """Return the request for ``topics``, which asks for their creation too; empty: for none."""
    named = [{"name": topic, "topic_id": _NO_TOPIC_ID} for topic in topics]
    fields = {"topics": named, "allow_auto_topic_creation": True}
    return Request(Api.METADATA, version, fields)


def describe_topic_request(version: int, topic: str) -> Request:
    """Return the request for all that a broker says of ``topic``: replicas, and what this client
    may do. It asks for no creation."""
    fields = {
        "topics": [{"name": topic, "topic_id": _NO_TOPIC_ID}],
        "allow_auto_topic_creation": False,
        "include_topic_authorized_operations": True,
    }
    return Request(Api.METADATA, version, fields, whole=True)


class Partition(NamedTuple):
    """A partition as a broker describes it: node ids."""

    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


class TopicDescription(NamedTuple):
    """All that a broker says of a topic.

    ``operations`` are bits, by Kafka's numbers of operations; None where it does not say.
    """

    error: ErrorCode | int
    partitions: Mapping[int, Partition]
    operations: int | None
    topic_id: uuid.UUID | None


def read_description(response: Message, topic: str) -> TopicDescription:
    """Return what the response to ``describe_topic_request()`` says.

    Raises:
        ProtocolError: it does not mention the topic.
    """
    for found in response["topics"]:
        if found["name"] == topic:
            operations = found.get("topic_authorized_operations", _NOT_SAID)
            topic_id = found.get("topic_id")
            return TopicDescription(
                error=found["error_code"],
                partitions={
                    one["partition_index"]: Partition(
                        one["leader_id"], one["replica_nodes"], one["isr_nodes"]
                    )
                    for one in found["partitions"]
                },
                operations=None if operations == _NOT_SAID else operations,
                topic_id=None if topic_id == _NO_TOPIC_ID else topic_id,
            )
    raise ProtocolError(f"a broker was asked for topic {topic!r}, and answered without it")


def read_metadata(response: Message, asked: Collection[str] = ()) -> Metadata:
    """Return what a Metadata response of any version says of the topics that were ``asked`` for.

    Other topics, and numbers that no partition can have, are ignored.
    """
    topics = {
        topic["name"]: _read_topic(topic) for topic in response["topics"] if topic["name"] in asked
    }
    return Metadata(
        brokers=_read_brokers(response, topics.values()),
        topics=topics,
        cluster_id=response["cluster_id"],
        error=response.get("error_code", ErrorCode.none),
    )


def _read_brokers(response: Message, topics: Iterable[Topic]) -> Mapping[int, Broker]:
    """Return at most ``MOST_BROKERS`` of the brokers, those that lead partitions first."""
    leading = {leader.node_id for topic in topics for leader in topic.leaders.values()}
    brokers = [broker for broker in response["brokers"] if broker[0] >= 0]
    brokers.sort(key=lambda broker: broker[0] not in leading)
    return {broker[0]: Broker(*broker) for broker in brokers[:MOST_BROKERS]}


def _read_topic(topic: Message) -> Topic:
    topic_id = topic.get("topic_id")
    return Topic(
        name=topic["name"],
        error=topic["error_code"],
        topic_id=None if topic_id == _NO_TOPIC_ID else topic_id,
        leaders={
            partition: Leader(node_id, epoch)
            for partition, node_id, epoch in topic["partitions"]
            if 0 <= partition < MOST_PARTITIONS
        },
    )
