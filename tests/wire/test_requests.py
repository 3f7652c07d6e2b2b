"""Each request as a broker reads it, and its response, in every version that is spoken."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import struct
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.index import load_response_schema

from kiel_logging.errors import ProtocolError
from kiel_logging.records import TopicPartition
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import decode_response, encode_request
from kiel_logging.wire.metadata import (
    MOST_BROKERS,
    MOST_PARTITIONS,
    Broker,
    Leader,
    Metadata,
    metadata_request,
    read_metadata,
)
from kiel_logging.wire.produce import (
    FIRST_WITH_TOPIC_IDS,
    PartitionResult,
    ProduceResult,
    produce_request,
    read_produce,
)
from kiel_logging.wire.requests import (
    HANDSHAKE_VERSION,
    init_producer_id_request,
    max_message_bytes_request,
    read_max_message_bytes,
    read_producer_id,
    read_sasl_authenticate,
    sasl_authenticate_request,
    sasl_handshake_request,
)
from kiel_logging.wire.schemas import Api
from kiel_logging.wire.versions import SUPPORTED, api_versions_request, read_api_versions
from tests.wire.kio_messages import make, read_by_kio, response_module, to_frame


def in_versions(api: Api, since: int = 0) -> pytest.MarkDecorator:
    """Run a test in every version of ``api`` that is spoken, from ``since`` on."""
    lowest, highest = SUPPORTED[api]
    return pytest.mark.parametrize("version", range(max(since, lowest), highest + 1))


class by_kio:  # noqa: N801 - reads as a function
    """Makes the structs of a response, by their names; what a version lacks is left out."""

    def __init__(self, api: Api, version: int) -> None:
        self._module = response_module(api, version)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(make, getattr(self._module, name, _Nothing))


@dataclasses.dataclass
class _Nothing:
    """Stands for a struct that the version lacks."""


def answered(api: Api, version: int, **values: Any) -> Any:
    """A response that was written by kio and read by us."""
    defaults = {"throttle_time": datetime.timedelta(0), "error_code": ErrorCode.none}
    schema = load_response_schema(api, version)
    return decode_response(to_frame(make(schema, **{**defaults, **values})), api, version)


# -- Metadata --------------------------------------------------------------------------------------

TOPIC_ID = uuid.UUID(int=77)


@in_versions(Api.METADATA)
@pytest.mark.parametrize("topics", [[], ["logs"], ["logs", "audit", "errors"]])
def test_topics_are_asked_for_by_name_and_may_be_created(version: int, topics: list[str]) -> None:
    """No topics ask for none (null would ask for all); the operations that a client may do, which
    cost brokers time, are not asked for."""
    read = read_by_kio(metadata_request(version, topics))
    assert [topic.name for topic in read.topics] == topics
    assert {getattr(topic, "topic_id", None) for topic in read.topics} <= {None}
    assert read.allow_auto_topic_creation is True
    assert not any(getattr(read, name) for name in dir(read) if name.startswith("include_"))


def metadata(version: int, brokers: Any = (), topics: Any = (), **values: Any) -> Metadata:
    """A broker's answer to a question about four topics; brokers are (node id, host, port)."""
    response = answered(
        Api.METADATA,
        version,
        brokers=tuple(
            by_kio(Api.METADATA, version).MetadataResponseBroker(
                node_id=node_id, host=host, port=port, rack="rack"
            )
            for node_id, host, port in brokers
        ),
        cluster_id="cluster",
        controller_id=1,
        topics=tuple(topics),
        **values,
    )
    return read_metadata(response, {"logs", "missing", "a", "b"})


def topic(version: int, name: str | None, *leaders: tuple[int, int, int], **values: Any) -> Any:
    """A topic as kio has it; each leader is (partition, node id, epoch)."""
    partitions = tuple(
        by_kio(Api.METADATA, version).MetadataResponsePartition(
            error_code=ErrorCode.none,
            partition_index=index,
            leader_id=node_id,
            leader_epoch=epoch,
            replica_nodes=(node_id,),
            isr_nodes=(node_id,),
            offline_replicas=(),
        )
        for index, node_id, epoch in leaders
    )
    defaults = {"error_code": ErrorCode.none, "topic_id": TOPIC_ID, "is_internal": False}
    return by_kio(Api.METADATA, version).MetadataResponseTopic(
        name=name, partitions=partitions, **{**defaults, **values}
    )


@in_versions(Api.METADATA)
def test_brokers_leaders_errors_and_topic_ids(version: int) -> None:
    """Topics have an id from version 10 on, unless the broker sends zeros; leader -1 is none."""
    read = metadata(
        version,
        brokers=[(3, "kafka-3", 9092), (1, "::1", 29092)],
        topics=[
            topic(version, "logs", (0, 3, 7), (2, 1, 0), (1, -1, 9)),
            topic(version, "missing", error_code=ErrorCode.unknown_topic_or_partition),
            topic(version, "b", topic_id=None),
        ],
    )
    assert read.brokers == {3: Broker(3, "kafka-3", 9092), 1: Broker(1, "::1", 29092)}
    logs, missing = read.topics["logs"], read.topics["missing"]
    assert logs.leaders == {0: Leader(3, 7), 2: Leader(1, 0), 1: Leader(-1, 9)}
    assert (logs.error, logs.topic_id) == (ErrorCode.none, TOPIC_ID if version >= 10 else None)
    assert (missing.error, missing.leaders) == (ErrorCode.unknown_topic_or_partition, {})
    assert read.topics["b"].topic_id is None


@in_versions(Api.METADATA)
def test_an_answer_may_be_empty(version: int) -> None:
    """A broker that has just started knows no other."""
    assert metadata(version) == Metadata(brokers={}, topics={}, cluster_id="cluster")


@in_versions(Api.METADATA)
def test_topics_partitions_and_brokers_beyond_belief_are_ignored(version: int) -> None:
    """Topics that were not asked for or have no name, numbers that no partition can have, and more
    brokers than a cluster has. Brokers that lead a partition are kept before others."""
    last, leader = MOST_PARTITIONS - 1, MOST_BROKERS + 50
    partitions = (-7, 0, last, MOST_PARTITIONS, 2**31 - 1)
    nameless = [topic(version, None)] if version >= 12 else []
    read = metadata(
        version,
        brokers=[(n, "kafka", 9092) for n in range(-2, MOST_BROKERS + 100)],
        topics=[
            topic(version, "stranger", (0, 1, 0)),
            *nameless,
            topic(version, "logs", *((n, leader, 0) for n in partitions)),
        ],
    )
    assert list(read.topics) == ["logs"]
    assert list(read.topics["logs"].leaders) == [0, last]
    assert len(read.brokers) == MOST_BROKERS
    assert leader in read.brokers
    assert min(read.brokers) == 0


# -- Produce ---------------------------------------------------------------------------------------

IDS = {"logs": uuid.UUID(int=1), "audit": uuid.UUID(int=2)}
LOGS_0 = TopicPartition("logs", 0)
APPENDED_AT = 1_700_000_000_000


@in_versions(Api.PRODUCE)
@pytest.mark.parametrize("acks", [-1, 0, 1])
def test_a_batch_for_each_partition_grouped_by_topic(version: int, acks: int) -> None:
    """A topic stands once in a request, by its name before version 13; there is no transaction."""
    batches = {
        TopicPartition("logs", 2): b"two",
        TopicPartition("audit", 0): b"zero",
        TopicPartition("logs", 1): b"one",
    }
    has_ids = version >= FIRST_WITH_TOPIC_IDS
    request = read_by_kio(
        produce_request(
            version, batches, acks=acks, timeout_ms=1500, topic_ids=IDS if has_ids else {}
        )
    )
    names = {topic_id: name for name, topic_id in IDS.items()}
    seen = [
        (names[one.topic_id] if has_ids else one.name, [(p.index, p.records) for p in batches])
        for one in request.topic_data
        for batches in [one.partition_data]
    ]
    assert seen == [("logs", [(2, b"two"), (1, b"one")]), ("audit", [(0, b"zero")])]
    assert (request.acks, request.transactional_id) == (acks, None)
    assert request.timeout == datetime.timedelta(milliseconds=1500)


def produced(version: int, nodes: Any = (), **topics: list[dict[str, Any]]) -> ProduceResult:
    """A broker's answer: each topic's fields of partitions 0, 1...; nodes that it hints at."""

    def partition(index: int, leader: tuple[int, int] = (-1, -1), **values: Any) -> Any:
        hint = by_kio(Api.PRODUCE, version).LeaderIdAndEpoch(
            leader_id=leader[0], leader_epoch=leader[1]
        )
        defaults = {"error_code": ErrorCode.none, "base_offset": 0, "record_errors": ()}
        return by_kio(Api.PRODUCE, version).PartitionProduceResponse(
            index=index, current_leader=hint, **{**defaults, **values}
        )

    response = answered(
        Api.PRODUCE,
        version,
        responses=tuple(
            by_kio(Api.PRODUCE, version).TopicProduceResponse(
                name=name,
                topic_id=IDS.get(name, uuid.UUID(int=99)),
                partition_responses=tuple(partition(n, **one) for n, one in enumerate(partitions)),
            )
            for name, partitions in topics.items()
        ),
        node_endpoints=tuple(
            by_kio(Api.PRODUCE, version).NodeEndpoint(
                node_id=node_id, host=f"kafka-{node_id}", port=9093, rack=None
            )
            for node_id in nodes
        ),
        throttle_time=datetime.timedelta(milliseconds=1234),
    )
    return read_produce(response, IDS)


@in_versions(Api.PRODUCE)
def test_a_result_for_each_partition(version: int) -> None:
    """By topic name in every version, with the time that a topic with LogAppendTime gave, and from
    version 8 on with the broker's text (KIP-467). A negative offset is none."""
    result = produced(
        version,
        logs=[
            {
                "base_offset": 17,
                "log_append_time": datetime.datetime.fromtimestamp(
                    APPENDED_AT // 1000, datetime.UTC
                ),
            },
            {"error_code": ErrorCode.invalid_record, "base_offset": -1, "error_message": "no key"},
            {"base_offset": -(2**63)},
        ],
        audit=[{"base_offset": 2**40}],
    )
    text = "no key" if version >= 8 else None
    assert result == ProduceResult(
        partitions={
            LOGS_0: PartitionResult(ErrorCode.none, 17, APPENDED_AT),
            TopicPartition("logs", 1): PartitionResult(ErrorCode.invalid_record, -1, message=text),
            TopicPartition("logs", 2): PartitionResult(ErrorCode.none, -1),
            TopicPartition("audit", 0): PartitionResult(ErrorCode.none, 2**40),
        },
        brokers=(),
        throttle_time_ms=1234,
    )


@in_versions(Api.PRODUCE, since=10)
def test_a_hint_at_the_new_leader(version: int) -> None:
    """With the epoch of its election, and its address (KIP-951). Hinted brokers that lead nothing,
    of which a broker could name thousands, are no hint; leader -1 is none."""
    moved = {"error_code": ErrorCode.not_leader_or_follower}
    result = produced(
        version, range(1, 100), logs=[{**moved, "leader": (3, 8)}, {**moved, "leader": (-1, 8)}]
    )
    assert result.partitions[LOGS_0].leader == Leader(3, 8)
    assert result.partitions[TopicPartition("logs", 1)].leader is None
    assert result.brokers == (Broker(3, "kafka-3", 9093),)


@in_versions(Api.PRODUCE, since=FIRST_WITH_TOPIC_IDS)
def test_a_topic_id_that_was_not_in_the_request_is_left_out(version: int) -> None:
    """Its name isn't known, and no batch waits for it."""
    assert list(produced(version, stranger=[{}], logs=[{}]).partitions) == [LOGS_0]


# -- InitProducerId --------------------------------------------------------------------------------


@in_versions(Api.INIT_PRODUCER_ID)
def test_a_new_id_without_a_transaction_is_asked_for(version: int) -> None:
    """Null is no transactional id; -1 says that there is no producer id yet (KIP-360)."""
    read = read_by_kio(init_producer_id_request(version))
    assert read.transactional_id is None
    assert read.transaction_timeout.total_seconds() > 0
    assert getattr(read, "producer_id", -1) == getattr(read, "producer_epoch", -1) == -1


@in_versions(Api.INIT_PRODUCER_ID)
def test_a_producer_id_must_make_sense(version: int) -> None:
    """Batches with a negative one would be without idempotence. An error comes without any."""

    def granted(producer_id: int, epoch: int, error: ErrorCode = ErrorCode.none) -> Any:
        response = answered(
            Api.INIT_PRODUCER_ID,
            version,
            error_code=error,
            producer_id=producer_id,
            producer_epoch=epoch,
        )
        return read_producer_id(response)

    loading = ErrorCode.coordinator_load_in_progress
    assert granted(0, 0) == (ErrorCode.none, 0, 0)
    assert granted(-1, -1, loading) == (loading, -1, -1)
    for producer_id, epoch in ((-1, 0), (7, -1), (-(2**63), -(2**15))):
        with pytest.raises(ProtocolError, match="negative"):
            granted(producer_id, epoch)


# -- DescribeConfigs -------------------------------------------------------------------------------


@in_versions(Api.DESCRIBE_CONFIGS)
def test_one_value_of_one_topic_is_asked_for(version: int) -> None:
    """2 is a topic, as Kafka numbers its resources."""
    (resource,) = read_by_kio(max_message_bytes_request(version, "logs")).resources
    assert (resource.resource_type, resource.resource_name) == (2, "logs")
    assert resource.configuration_keys == ("max.message.bytes",)


@in_versions(Api.DESCRIBE_CONFIGS)
@pytest.mark.parametrize(
    ("configs", "error", "expected"),
    [
        ({"retention.ms": "1", "max.message.bytes": "1048588"}, ErrorCode.none, 1_048_588),
        ({"max.message.bytes": "7"}, ErrorCode.topic_authorization_failed, None),
        ({"retention.ms": "1"}, ErrorCode.none, None),
        ({"max.message.bytes": None}, ErrorCode.none, None),
    ],
)
def test_the_value_is_read_where_the_broker_gives_it(
    version: int, configs: dict[str, str | None], error: ErrorCode, expected: int | None
) -> None:
    """It gives none with an error, or where this client may not ask."""
    values = tuple(
        by_kio(Api.DESCRIBE_CONFIGS, version).DescribeConfigsResourceResult(
            name=name,
            value=value,
            read_only=False,
            is_sensitive=False,
            synonyms=(),
            documentation=None,
        )
        for name, value in configs.items()
    )
    result = by_kio(Api.DESCRIBE_CONFIGS, version).DescribeConfigsResult(
        error_code=error, error_message=None, resource_type=2, resource_name="logs", configs=values
    )
    response = answered(Api.DESCRIBE_CONFIGS, version, results=(result,))
    assert read_max_message_bytes(response) == expected


# -- SASL ------------------------------------------------------------------------------------------


def test_the_handshake_names_the_mechanism() -> None:
    """In version 1, behind which SaslAuthenticate follows; after 0 the bytes would go bare."""
    request = sasl_handshake_request("SCRAM-SHA-512")
    assert HANDSHAKE_VERSION == request.version == 1
    assert read_by_kio(request).mechanism == "SCRAM-SHA-512"


@in_versions(Api.SASL_AUTHENTICATE)
def test_the_bytes_of_both_sides_and_a_refusal(version: int) -> None:
    """Bytes are carried as they are. The session's lifetime, in seconds, is said from version 1."""
    request = sasl_authenticate_request(version, b"\0alice\0\xff")
    assert read_by_kio(request).auth_bytes == b"\0alice\0\xff"
    said: dict[str, Any] = {"error_message": None, "auth_bytes": b"r=1,s=2"}
    lifetime = datetime.timedelta(milliseconds=2500)
    response = answered(Api.SASL_AUTHENTICATE, version, session_lifetime=lifetime, **said)
    seconds = 2.5 if version else 0
    assert read_sasl_authenticate(response) == (ErrorCode.none, None, b"r=1,s=2", seconds)
    refused = answered(
        Api.SASL_AUTHENTICATE,
        version,
        error_code=ErrorCode.sasl_authentication_failed,
        error_message="no\n\x1b[2J" + "x" * 32_000,
        auth_bytes=b"",
        session_lifetime=datetime.timedelta(0),
    )
    read = read_sasl_authenticate(refused)
    assert read.error is ErrorCode.sasl_authentication_failed
    assert read.message is not None
    assert read.message.startswith(r"no\n\x1b[2Jxxx")
    assert len(read.message) <= 300, "a reason goes into an error, and from there to a terminal"


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_lifetime_is_a_number_of_seconds(milliseconds: int) -> None:
    """Negative ones count as none."""
    frame = struct.pack(">ihhiq", 7, 0, -1, 0, milliseconds)
    response = decode_response(frame, Api.SASL_AUTHENTICATE, 1)
    assert read_sasl_authenticate(response).lifetime == max(0, milliseconds) / 1000


# -- ApiVersions -----------------------------------------------------------------------------------


def test_the_client_names_itself_from_version_3_on() -> None:
    """Brokers show it in their metrics (KIP-511); they take letters, digits, '-' and '.'."""
    request = read_by_kio(api_versions_request(3, "1.2.3"))
    assert request.client_software_name == "kiel-logging"
    assert request.client_software_version == "1.2.3"
    for version in range(3):
        assert len(encode_request(api_versions_request(version, "1.2.3"), 1, "")) == 4 + 10


def api_versions(version: int, ranges: dict[int, tuple[int, int]]) -> Any:
    """The versions that are read from a broker's answer."""
    keys = tuple(
        by_kio(Api.API_VERSIONS, version).ApiVersion(
            api_key=key, min_version=lowest, max_version=highest
        )
        for key, (lowest, highest) in ranges.items()
    )
    return read_api_versions(answered(Api.API_VERSIONS, version, api_keys=keys))


@in_versions(Api.API_VERSIONS)
def test_the_versions_that_a_broker_knows(version: int) -> None:
    """Requests that are never sent are left out: a broker knows ninety, one that lies thousands."""
    known = {0: (3, 12), 3: (0, 13)}
    assert api_versions(version, known) == known
    assert set(api_versions(version, dict.fromkeys(range(1000), (0, 9)))) == set(SUPPORTED)
    with pytest.raises(ProtocolError, match="no versions"):
        api_versions(version, {})
