"""The answers of a healthy broker: decisions on the shared state, without sockets."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from kio.schema.errors import ErrorCode

from tests.support.fake_topics import (
    Appended,
    ClusterState,
    Node,
    Partition,
    ProduceFault,
    Topic,
)
from tests.support.kafka_frames import (
    API_VERSIONS,
    INIT_PRODUCER_ID,
    METADATA,
    PRODUCE,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    ReceivedRequest,
    make,
    response_module,
)


class Signal(enum.Enum):
    """Answers that are not bytes."""

    HANG_UP = enum.auto()
    STALL = enum.auto()


HANG_UP, STALL = Signal.HANG_UP, Signal.STALL
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
_NOT_THROTTLED = timedelta(0)
_LEGAL_NAME = re.compile(r"(?!\.\.?$)[a-zA-Z0-9._-]{1,249}")


def default_reply(state: ClusterState, node: Node, request: ReceivedRequest) -> Any:
    """A response entity, None when none is due (acks=0), or HANG_UP."""
    if state.sasl is not None and not state.sasl.lets_in(request):
        return HANG_UP
    reply = _REPLIES.get(request.api_key)
    return HANG_UP if reply is None else reply(state, node, request)


def _api_versions(state: ClusterState, node: Node, request: ReceivedRequest) -> Any:
    """A version that we do not know is answered in version 0 (KIP-511)."""
    known = request.payload is not None
    module = response_module(API_VERSIONS, request.version if known else 0)
    if known and not _is_well_named(request.payload):
        return make(
            module.ApiVersionsResponse,
            error_code=ErrorCode.invalid_request,
            api_keys=(),
            throttle_time=_NOT_THROTTLED,
        )
    return make(
        module.ApiVersionsResponse,
        error_code=ErrorCode.none if known else ErrorCode.unsupported_version,
        api_keys=tuple(
            make(module.ApiVersion, api_key=key, min_version=lowest, max_version=highest)
            for key, (lowest, highest) in sorted(node.versions.items())
            if known or key == API_VERSIONS
        ),
        throttle_time=_NOT_THROTTLED,
    )


def _sasl_handshake(state: ClusterState, node: Node, request: ReceivedRequest) -> Any:
    module = response_module(SASL_HANDSHAKE, request.version)
    mechanism = request.payload.mechanism
    error = ErrorCode.illegal_sasl_state
    offered: tuple[str, ...] = ()
    if state.sasl is not None:
        error, offered = state.sasl.begin(request, mechanism), state.sasl.mechanisms
    return make(module.SaslHandshakeResponse, error_code=error, mechanisms=offered)


def _sasl_authenticate(state: ClusterState, node: Node, request: ReceivedRequest) -> Any:
    module = response_module(SASL_AUTHENTICATE, request.version)
    if state.sasl is None:
        return HANG_UP
    turn = state.sasl.authenticate(request, request.payload.auth_bytes)
    return make(
        module.SaslAuthenticateResponse,
        error_code=turn.error,
        error_message=turn.message,
        auth_bytes=turn.data,
        session_lifetime=timedelta(milliseconds=turn.lifetime_ms),
    )


def _is_well_named(payload: Any) -> bool:
    """Whether Kafka accepts what the client calls its software (ApiVersionsRequest.isValid)."""
    names = (
        getattr(payload, "client_software_name", "x"),
        getattr(payload, "client_software_version", "1"),
    )
    return all(_SOFTWARE.fullmatch(name) for name in names)


def _metadata(state: ClusterState, node: Node, request: ReceivedRequest) -> Any:
    module = response_module(METADATA, request.version)
    nodes = [node for node in state.nodes.values() if not node.fenced]
    return make(
        module.MetadataResponse,
        throttle_time=_NOT_THROTTLED,
        brokers=tuple(
            make(module.MetadataResponseBroker, node_id=n.node_id, host=n.host, port=n.port)
            for n in nodes
        ),
        cluster_id="fake-cluster",
        controller_id=nodes[0].node_id if nodes else -1,
        topics=tuple(_described_topics(state, module, request)),
        error_code=ErrorCode.none,
    )


def _described_topics(state: ClusterState, module: Any, request: ReceivedRequest) -> list[Any]:
    asked = request.payload.topics
    # Version 0 has no null array: there an empty one asks for all topics.
    if asked is None or (request.version == 0 and not asked):
        return [_described(module, topic) for topic in list(state.topics.values())]
    may_create = state.auto_create and getattr(request.payload, "allow_auto_topic_creation", True)
    return [
        _asked_topic(state, module, topic.name, getattr(topic, "topic_id", None), may_create)
        for topic in asked
    ]


def _asked_topic(
    state: ClusterState, module: Any, name: str | None, topic_id: Any, may_create: bool
) -> Any:
    topic = state.topic_of(name, topic_id)
    if topic is not None:
        return _described(module, topic)
    error = ErrorCode.leader_not_available
    if name is None:
        error = ErrorCode.unknown_topic_id
    elif not _LEGAL_NAME.fullmatch(name):
        error = ErrorCode.invalid_topic_exception
    elif not may_create:
        error = ErrorCode.unknown_topic_or_partition
    else:
        state.add_topic(name, state.auto_create_partitions)
    return make(
        module.MetadataResponseTopic, error_code=error, name=name, topic_id=topic_id, partitions=()
    )


def _described(module: Any, topic: Topic) -> Any:
    return make(
        module.MetadataResponseTopic,
        error_code=ErrorCode.none,
        name=topic.name,
        topic_id=topic.topic_id,
        partitions=tuple(_described_partition(module, p) for p in topic.partitions),
    )


def _described_partition(module: Any, partition: Partition) -> Any:
    led = partition.leader is not None
    replicas = (partition.leader,) if led else ()
    return make(
        module.MetadataResponsePartition,
        error_code=ErrorCode.none if led else ErrorCode.leader_not_available,
        partition_index=partition.index,
        leader_id=partition.leader if led else -1,
        leader_epoch=partition.leader_epoch,
        replica_nodes=replicas,
        isr_nodes=replicas,
    )


def _init_producer_id(state: ClusterState, node: Node, request: ReceivedRequest) -> Any:
    module = response_module(INIT_PRODUCER_ID, request.version)
    known_id = getattr(request.payload, "producer_id", -1)
    if known_id >= 0 and state.bump_epochs:
        granted = state.bump_epoch(known_id, request.payload.producer_epoch)
    else:
        granted = state.new_producer_id()
    error = ErrorCode.none if granted else ErrorCode.invalid_producer_epoch
    producer_id, epoch = granted or (-1, -1)
    return make(
        module.InitProducerIdResponse,
        throttle_time=_NOT_THROTTLED,
        error_code=error,
        producer_id=producer_id,
        producer_epoch=epoch,
    )


def _produce(state: ClusterState, node: Node, request: ReceivedRequest) -> Any:
    module = response_module(PRODUCE, request.version)
    topics = [
        (state.topic_of(getattr(sent, "name", None), getattr(sent, "topic_id", None)), sent)
        for sent in request.payload.topic_data
    ]
    faults = _due_faults(node, topics)
    responses = tuple(
        make(
            module.TopicProduceResponse,
            name=getattr(sent, "name", None),
            topic_id=getattr(sent, "topic_id", None),
            partition_responses=tuple(
                _produced(state, node, request, topic, part, faults) for part in sent.partition_data
            ),
        )
        for topic, sent in topics
    )
    if request.payload.acks == 0:
        # Without a response, closing the connection is how a broker reports an error.
        failed = any(p.error_code for r in responses for p in r.partition_responses)
        return HANG_UP if failed else None
    return make(
        module.ProduceResponse,
        responses=responses,
        throttle_time=_NOT_THROTTLED,
        node_endpoints=_endpoints(state, module, responses),
    )


def _due_faults(node: Node, topics: list[tuple[Topic | None, Any]]) -> list[ProduceFault]:
    """The faults that this request runs into; each counts the request once."""
    node.produce_faults = [fault for fault in node.produce_faults if fault.times > 0]
    touched = [(t.name, p.index) for t, sent in topics if t for p in sent.partition_data]
    due = [f for f in node.produce_faults if any(f.hits(*where) for where in touched)]
    for fault in due:
        fault.times -= 1
    return due


def _produced(
    state: ClusterState,
    node: Node,
    request: ReceivedRequest,
    topic: Topic | None,
    sent: Any,
    faults: list[ProduceFault],
) -> Any:
    module = response_module(PRODUCE, request.version)
    partition = topic.partition(sent.index) if topic else None
    outcome = _outcome(state, node, request, topic, sent, faults)
    optional: dict[str, Any] = {}
    if outcome.error is ErrorCode.not_leader_or_follower and request.version >= 10 and partition:
        optional["current_leader"] = make(
            module.LeaderIdAndEpoch,
            leader_id=-1 if partition.leader is None else partition.leader,
            leader_epoch=partition.leader_epoch,
        )
    return make(
        module.PartitionProduceResponse,
        index=sent.index,
        error_code=outcome.error,
        base_offset=outcome.base_offset,
        log_start_offset=-1 if outcome.error else 0,
        record_errors=(),
        error_message=outcome.message,
        **optional,
    )


def _outcome(
    state: ClusterState,
    node: Node,
    request: ReceivedRequest,
    topic: Topic | None,
    sent: Any,
    faults: list[ProduceFault],
) -> Appended:
    partition = topic.partition(sent.index) if topic else None
    if topic is None or partition is None:
        by_id = request.version >= 13 and topic is None
        unknown = ErrorCode.unknown_topic_id if by_id else ErrorCode.unknown_topic_or_partition
        return Appended(unknown)
    if request.payload.acks not in (-1, 0, 1):
        return Appended(ErrorCode.invalid_required_acks)
    fault = next((f for f in faults if f.hits(topic.name, sent.index)), None)
    if fault and not fault.stored:
        return Appended(fault.error)
    if partition.leader != node.node_id:
        return Appended(ErrorCode.not_leader_or_follower)
    zstd = request.version >= 7
    appended = partition.append(sent.records, state.max_message_bytes, zstd=zstd)
    return Appended(fault.error) if fault else appended


def _endpoints(state: ClusterState, module: Any, responses: tuple[Any, ...]) -> tuple[Any, ...]:
    """The addresses of the leaders that the partition responses name (KIP-951)."""
    named = {
        p.current_leader.leader_id
        for r in responses
        for p in r.partition_responses
        if hasattr(p, "current_leader")
    }
    nodes = [state.nodes[node_id] for node_id in sorted(named) if node_id in state.nodes]
    return tuple(
        make(module.NodeEndpoint, node_id=n.node_id, host=n.host, port=n.port) for n in nodes
    )


_REPLIES: dict[int, Callable[[ClusterState, Node, ReceivedRequest], Any]] = {
    PRODUCE: _produce,
    METADATA: _metadata,
    API_VERSIONS: _api_versions,
    INIT_PRODUCER_ID: _init_producer_id,
    SASL_HANDSHAKE: _sasl_handshake,
    SASL_AUTHENTICATE: _sasl_authenticate,
}
