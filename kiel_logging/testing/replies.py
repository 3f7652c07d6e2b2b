"""The answers of a healthy broker: decisions on the shared state, without sockets."""

from __future__ import annotations

import enum
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from kiel_logging.testing.frames import (
    API_VERSIONS,
    DESCRIBE_CONFIGS,
    DESCRIBE_QUORUM,
    FETCH,
    INIT_PRODUCER_ID,
    METADATA,
    PRODUCE,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    ReceivedRequest,
)
from kiel_logging.testing.state import (
    Appended,
    ClusterState,
    Node,
    Partition,
    ProduceFault,
    Topic,
)
from kiel_logging.wire.codec import Message
from kiel_logging.wire.error_codes import ErrorCode


class Signal(enum.Enum):
    """Answers that are not bytes."""

    HANG_UP = enum.auto()
    STALL = enum.auto()


HANG_UP, STALL = Signal.HANG_UP, Signal.STALL
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
_NOT_THROTTLED = {"throttle_time_ms": 0}
_UNKNOWN_OPERATIONS = -(2**31)
_NO_ID = uuid.UUID(int=0)
_LEGAL_NAME = re.compile(r"(?!\.\.?$)[a-zA-Z0-9._-]{1,249}")


def default_reply(state: ClusterState, node: Node, request: ReceivedRequest) -> Any:
    """Return the fields of a response, None when none is due (acks=0), or HANG_UP."""
    if state.sasl is not None and not state.sasl.lets_in(request):
        return HANG_UP
    reply = _REPLIES.get(request.api_key)
    return HANG_UP if reply is None else reply(state, node, request)


def _api_versions(_state: ClusterState, node: Node, request: ReceivedRequest) -> Any:
    """A version that we do not know is answered in version 0 (KIP-511)."""
    known = request.payload is not None
    if known and not _is_well_named(request.payload):
        return {"error_code": ErrorCode.invalid_request, "api_keys": (), **_NOT_THROTTLED}
    return {
        "error_code": ErrorCode.none if known else ErrorCode.unsupported_version,
        "api_keys": tuple(
            {"api_key": key, "min_version": lowest, "max_version": highest}
            for key, (lowest, highest) in sorted(node.versions.items())
            if known or key == API_VERSIONS
        ),
        **_NOT_THROTTLED,
    }


def _sasl_handshake(state: ClusterState, _node: Node, request: ReceivedRequest) -> Any:
    mechanism = request.payload["mechanism"]
    error = ErrorCode.illegal_sasl_state
    offered: tuple[str, ...] = ()
    if state.sasl is not None:
        error, offered = state.sasl.begin(request, mechanism), state.sasl.mechanisms
    return {"error_code": error, "mechanisms": offered}


def _sasl_authenticate(state: ClusterState, _node: Node, request: ReceivedRequest) -> Any:
    if state.sasl is None:
        return HANG_UP
    turn = state.sasl.authenticate(request, request.payload["auth_bytes"])
    return {
        "error_code": turn.error,
        "error_message": turn.message,
        "auth_bytes": turn.data,
        "session_lifetime_ms": turn.lifetime_ms,
    }


def _is_well_named(payload: Message) -> bool:
    """Whether Kafka accepts what the client calls its software (ApiVersionsRequest.isValid)."""
    names = (
        payload.get("client_software_name", "x"),
        payload.get("client_software_version", "1"),
    )
    return all(_SOFTWARE.fullmatch(name) for name in names)


def _metadata(state: ClusterState, _node: Node, request: ReceivedRequest) -> Any:
    nodes = [node for node in state.nodes.values() if not node.fenced]
    return {
        **_NOT_THROTTLED,
        "brokers": tuple(map(_address, nodes)),
        "cluster_id": "fake-cluster",
        "controller_id": nodes[0].node_id if nodes else -1,
        "topics": tuple(_described_topics(state, request)),
        "cluster_authorized_operations": _UNKNOWN_OPERATIONS,
        "error_code": ErrorCode.none,
    }


def _address(node: Node) -> Message:
    return {"node_id": node.node_id, "host": node.host, "port": node.port}


def _described_topics(state: ClusterState, request: ReceivedRequest) -> list[Message]:
    asked = request.payload["topics"]
    # Version 0 has no null array: there an empty one asks for all topics.
    if asked is None or (request.version == 0 and not asked):
        return [_described(topic) for topic in list(state.topics.values())]
    may_create = state.auto_create and request.payload.get("allow_auto_topic_creation", True)
    return [
        _asked_topic(state, topic["name"], topic.get("topic_id", _NO_ID), may_create)
        for topic in asked
    ]


def _asked_topic(
    state: ClusterState, name: str | None, topic_id: uuid.UUID, may_create: bool
) -> Message:
    topic = state.topic_of(name, topic_id)
    if topic is not None:
        return _described(topic)
    error = ErrorCode.leader_not_available
    if name is None:
        error = ErrorCode.unknown_topic_id
    elif not _LEGAL_NAME.fullmatch(name):
        error = ErrorCode.invalid_topic_exception
    elif not may_create:
        error = ErrorCode.unknown_topic_or_partition
    else:
        state.add_topic(name, state.auto_create_partitions)
    return _topic(error, name, topic_id, ())


def _described(topic: Topic) -> Message:
    partitions = tuple(map(_described_partition, topic.partitions))
    return _topic(ErrorCode.none, topic.name, topic.topic_id, partitions)


def _topic(
    error: ErrorCode, name: str | None, topic_id: uuid.UUID, partitions: tuple[Message, ...]
) -> Message:
    return {
        "error_code": error,
        "name": name,
        "topic_id": topic_id,
        "is_internal": False,
        "partitions": partitions,
        "topic_authorized_operations": _UNKNOWN_OPERATIONS,
    }


def _described_partition(partition: Partition) -> Message:
    replicas = () if partition.leader is None else (partition.leader,)
    return {
        "error_code": ErrorCode.none if replicas else ErrorCode.leader_not_available,
        "partition_index": partition.index,
        "leader_id": -1 if partition.leader is None else partition.leader,
        "leader_epoch": partition.leader_epoch,
        "replica_nodes": replicas,
        "isr_nodes": replicas,
        "offline_replicas": (),
    }


def _init_producer_id(state: ClusterState, _node: Node, request: ReceivedRequest) -> Any:
    known_id = request.payload.get("producer_id", -1)
    if known_id >= 0 and state.bump_epochs:
        granted = state.bump_epoch(known_id, request.payload["producer_epoch"])
    else:
        granted = state.new_producer_id()
    producer_id, epoch = granted or (-1, -1)
    return {
        **_NOT_THROTTLED,
        "error_code": ErrorCode.none if granted else ErrorCode.invalid_producer_epoch,
        "producer_id": producer_id,
        "producer_epoch": epoch,
    }


def _produce(state: ClusterState, node: Node, request: ReceivedRequest) -> Any:
    topics = [
        (state.topic_of(sent.get("name"), sent.get("topic_id")), sent)
        for sent in request.payload["topic_data"]
    ]
    faults = _due_faults(node, topics)
    responses = tuple(
        {
            "name": sent.get("name"),
            "topic_id": sent.get("topic_id"),
            "partition_responses": tuple(
                _produced(state, node, request, topic, part, faults)
                for part in sent["partition_data"]
            ),
        }
        for topic, sent in topics
    )
    if request.payload["acks"] == 0:
        # Without a response, closing the connection is how a broker reports an error.
        failed = any(p["error_code"] for r in responses for p in r["partition_responses"])
        return HANG_UP if failed else None
    endpoints = _endpoints(state, responses)
    return {"responses": responses, **_NOT_THROTTLED, "node_endpoints": endpoints}


def _due_faults(node: Node, topics: list[tuple[Topic | None, Message]]) -> list[ProduceFault]:
    """The faults that this request runs into; each counts the request once."""
    node.produce_faults = [fault for fault in node.produce_faults if fault.times > 0]
    touched = [(t.name, p["index"]) for t, sent in topics if t for p in sent["partition_data"]]
    due = [f for f in node.produce_faults if any(f.hits(*where) for where in touched)]
    for fault in due:
        fault.times -= 1
    return due


def _produced(
    state: ClusterState,
    node: Node,
    request: ReceivedRequest,
    topic: Topic | None,
    sent: Message,
    faults: list[ProduceFault],
) -> Message:
    partition = topic.partition(sent["index"]) if topic else None
    outcome = _outcome(state, node, request, topic, sent, faults)
    response = {
        "index": sent["index"],
        "error_code": outcome.error,
        "base_offset": outcome.base_offset,
        "log_append_time_ms": -1,
        "log_start_offset": -1 if outcome.error else 0,
        "record_errors": (),
        "error_message": outcome.message,
    }
    if outcome.error is ErrorCode.not_leader_or_follower and request.version >= 10 and partition:
        leader_id = -1 if partition.leader is None else partition.leader
        leader = {"leader_id": leader_id, "leader_epoch": partition.leader_epoch}
        response["current_leader"] = leader
    return response


def _outcome(
    state: ClusterState,
    node: Node,
    request: ReceivedRequest,
    topic: Topic | None,
    sent: Message,
    faults: list[ProduceFault],
) -> Appended:
    partition = topic.partition(sent["index"]) if topic else None
    if topic is None or partition is None:
        by_id = request.version >= 13 and topic is None
        unknown = ErrorCode.unknown_topic_id if by_id else ErrorCode.unknown_topic_or_partition
        return Appended(unknown)
    if request.payload["acks"] not in (-1, 0, 1):
        return Appended(ErrorCode.invalid_required_acks)
    fault = next((f for f in faults if f.hits(topic.name, sent["index"])), None)
    if fault and not fault.stored:
        return Appended(fault.error)
    if partition.leader != node.node_id:
        return Appended(ErrorCode.not_leader_or_follower)
    zstd = request.version >= 7
    appended = partition.append(sent["records"], state.max_message_bytes, zstd=zstd)
    return Appended(fault.error) if fault else appended


def _endpoints(state: ClusterState, responses: tuple[Message, ...]) -> tuple[Message, ...]:
    """The addresses of the leaders that the partition responses name (KIP-951)."""
    named = {
        partition["current_leader"]["leader_id"]
        for response in responses
        for partition in response["partition_responses"]
        if "current_leader" in partition
    }
    return tuple(_address(state.nodes[n]) for n in sorted(named) if n in state.nodes)


def _fetch(state: ClusterState, _node: Node, request: ReceivedRequest) -> Any:
    """One whole batch of each partition at most; it never waits."""
    return {
        **_NOT_THROTTLED,
        "error_code": ErrorCode.none,
        "session_id": 0,
        "responses": tuple(
            {
                "topic": asked["topic"],
                "partitions": tuple(
                    _fetched(state.topics.get(asked["topic"]), one) for one in asked["partitions"]
                ),
            }
            for asked in request.payload["topics"]
        ),
    }


def _fetched(topic: Topic | None, asked: Message) -> Message:
    partition = topic.partition(asked["partition"]) if topic else None
    batches = partition.batches if partition else ()
    found = [one.raw for one in batches if one.base_offset >= asked["fetch_offset"]]
    end = partition.next_offset if partition else -1
    return {
        "partition_index": asked["partition"],
        "error_code": ErrorCode.none if partition else ErrorCode.unknown_topic_or_partition,
        "high_watermark": end,
        "last_stable_offset": end,
        "log_start_offset": 0,
        "aborted_transactions": None,
        "preferred_read_replica": -1,
        "records": found[0] if found else None,
    }


def _describe_configs(state: ClusterState, _node: Node, request: ReceivedRequest) -> Any:
    results = tuple(_described_configs(state, one) for one in request.payload["resources"])
    return {**_NOT_THROTTLED, "results": results}


def _described_configs(state: ClusterState, resource: Message) -> Message:
    topic = state.topics.get(resource["resource_name"])
    configs = topic.configs if topic else {}
    return {
        "error_code": ErrorCode.none if topic else ErrorCode.unknown_topic_or_partition,
        "error_message": None,
        "resource_type": resource["resource_type"],
        "resource_name": resource["resource_name"],
        "configs": tuple(
            {
                "name": name,
                "value": value,
                "read_only": False,
                "config_source": 1,
                "is_sensitive": False,
                "synonyms": (),
                "config_type": 0,
                "documentation": None,
            }
            for name, value in configs.items()
        ),
    }


def _describe_quorum(state: ClusterState, _node: Node, request: ReceivedRequest) -> Any:
    """The first node is the controller."""
    leader = next(iter(state.nodes))
    now = int((time.time() + state.clock_ahead) * 1000)
    voter = {
        "replica_id": leader,
        "log_end_offset": 1,
        "last_fetch_timestamp": -1,
        "last_caught_up_timestamp": now,
    }
    partition = {
        "partition_index": 0,
        "error_code": ErrorCode.none,
        "leader_id": leader,
        "leader_epoch": 1,
        "high_watermark": 1,
        "current_voters": (voter,),
        "observers": (),
    }
    topics = tuple(
        {"topic_name": one["topic_name"], "partitions": (partition,)}
        for one in request.payload["topics"]
    )
    return {"error_code": ErrorCode.none, "topics": topics}


_REPLIES: dict[int, Callable[[ClusterState, Node, ReceivedRequest], Any]] = {
    PRODUCE: _produce,
    METADATA: _metadata,
    API_VERSIONS: _api_versions,
    INIT_PRODUCER_ID: _init_producer_id,
    FETCH: _fetch,
    DESCRIBE_CONFIGS: _describe_configs,
    DESCRIBE_QUORUM: _describe_quorum,
    SASL_HANDSHAKE: _sasl_handshake,
    SASL_AUTHENTICATE: _sasl_authenticate,
}
