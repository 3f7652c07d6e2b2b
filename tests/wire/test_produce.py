"""The Produce request and response in every version that is spoken."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest

from kiel_logging.records import TopicPartition
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import decode_response
from kiel_logging.wire.metadata import Broker, Leader
from kiel_logging.wire.produce import (
    FIRST_WITH_TOPIC_IDS,
    PartitionResult,
    ProduceResult,
    produce_request,
    read_produce,
)
from kiel_logging.wire.schemas import Api
from kiel_logging.wire.versions import SUPPORTED
from tests.support.kafka_frames import make, response_module
from tests.wire.kio_messages import read_by_kio, to_frame

VERSIONS = range(SUPPORTED[Api.PRODUCE].lowest, SUPPORTED[Api.PRODUCE].highest + 1)
IDS = {"logs": uuid.UUID(int=1), "audit": uuid.UUID(int=2)}
APPENDED_AT = 1_700_000_000_000

every_version = pytest.mark.parametrize("version", VERSIONS)
with_leader_hints = pytest.mark.parametrize("version", [v for v in VERSIONS if v >= 10])


# -- requests --------------------------------------------------------------------------------------


def sent(version: int, batches: dict[TopicPartition, bytes], acks: int = -1) -> Any:
    """The request as a broker reads it."""
    request = produce_request(version, batches, acks=acks, timeout_ms=1500, topic_ids=IDS)
    return read_by_kio(request)


@every_version
def test_a_batch_for_each_partition_grouped_by_topic(version: int) -> None:
    """A topic stands once in a request, in whatever order its partitions came."""
    request = sent(
        version,
        {
            TopicPartition("logs", 2): b"two",
            TopicPartition("audit", 0): b"zero",
            TopicPartition("logs", 1): b"one",
        },
    )
    by_id = {topic_id: name for name, topic_id in IDS.items()}
    seen = [
        (by_id[topic.topic_id] if version >= FIRST_WITH_TOPIC_IDS else topic.name, partitions)
        for topic in request.topic_data
        for partitions in [[(p.index, p.records) for p in topic.partition_data]]
    ]
    assert seen == [("logs", [(2, b"two"), (1, b"one")]), ("audit", [(0, b"zero")])]


@every_version
@pytest.mark.parametrize("acks", [-1, 0, 1])
def test_acks_and_timeout(version: int, acks: int) -> None:
    """Outside of transactions."""
    request = sent(version, {TopicPartition("logs", 0): b""}, acks)
    assert request.acks == acks
    assert request.timeout == datetime.timedelta(milliseconds=1500)
    assert request.transactional_id is None


@pytest.mark.parametrize("version", [v for v in VERSIONS if v < FIRST_WITH_TOPIC_IDS])
def test_topic_ids_are_not_needed_before_version_13(version: int) -> None:
    """Brokers before 2.8 have none."""
    request = produce_request(
        version, {TopicPartition("logs", 0): b""}, acks=1, timeout_ms=1, topic_ids={}
    )
    assert read_by_kio(request).topic_data[0].name == "logs"


# -- responses -------------------------------------------------------------------------------------


def partition(version: int, index: int, **values: Any) -> Any:
    """A partition's answer as kio has it; what the version lacks is left out."""
    module = response_module(Api.PRODUCE, version)
    if leader := values.pop("leader", None):
        values["current_leader"] = make(
            getattr(module, "LeaderIdAndEpoch", dict), leader_id=leader[0], leader_epoch=leader[1]
        )
    defaults = {"error_code": ErrorCode.none, "base_offset": 0, "record_errors": ()}
    return make(module.PartitionProduceResponse, index=index, **{**defaults, **values})


def answer(version: int, topics: dict[str, tuple[Any, ...]], **values: Any) -> ProduceResult:
    """A broker's answer, written by kio and read by us."""
    module = response_module(Api.PRODUCE, version)
    responses = tuple(
        make(
            module.TopicProduceResponse,
            name=name,
            topic_id=IDS.get(name, uuid.UUID(int=99)),
            partition_responses=partitions,
        )
        for name, partitions in topics.items()
    )
    values.setdefault("throttle_time", datetime.timedelta(0))
    response = make(module.ProduceResponse, responses=responses, **values)
    return read_produce(decode_response(to_frame(response), Api.PRODUCE, version), IDS)


@every_version
def test_a_result_for_each_partition(version: int) -> None:
    """By topic name, also where the version has ids."""
    result = answer(
        version,
        {
            "logs": (
                partition(version, 0, base_offset=17),
                partition(version, 5, error_code=ErrorCode.message_too_large, base_offset=-1),
            ),
            "audit": (partition(version, 0, base_offset=2**40),),
        },
    )
    assert result.partitions == {
        TopicPartition("logs", 0): PartitionResult(error=ErrorCode.none, base_offset=17),
        TopicPartition("logs", 5): PartitionResult(
            error=ErrorCode.message_too_large, base_offset=-1
        ),
        TopicPartition("audit", 0): PartitionResult(error=ErrorCode.none, base_offset=2**40),
    }


@every_version
def test_the_time_of_a_topic_with_log_append_time(version: int) -> None:
    """In milliseconds; None where the producer's own time was kept."""
    appended = datetime.datetime.fromtimestamp(APPENDED_AT // 1000, datetime.UTC)
    result = answer(
        version,
        {"logs": (partition(version, 0, log_append_time=appended), partition(version, 1))},
    )
    assert result.partitions[TopicPartition("logs", 0)].log_append_time == APPENDED_AT
    assert result.partitions[TopicPartition("logs", 1)].log_append_time is None


@every_version
def test_what_the_broker_says_of_an_error(version: int) -> None:
    """A text from version 8 on (KIP-467)."""
    refused = partition(
        version, 0, error_code=ErrorCode.invalid_record, error_message="no key, compacted topic"
    )
    result = answer(version, {"logs": (refused,)}).partitions[TopicPartition("logs", 0)]
    assert result.error is ErrorCode.invalid_record
    assert result.message == ("no key, compacted topic" if version >= 8 else None)


@with_leader_hints
def test_a_hint_at_the_new_leader(version: int) -> None:
    """With the epoch of its election, and where it listens (KIP-951)."""
    module = response_module(Api.PRODUCE, version)
    moved = partition(version, 0, error_code=ErrorCode.not_leader_or_follower, leader=(3, 8))
    node = module.NodeEndpoint(node_id=3, host="kafka-3", port=9093, rack=None)
    result = answer(version, {"logs": (moved,)}, node_endpoints=(node,))
    assert result.partitions[TopicPartition("logs", 0)].leader == Leader(3, 8)
    assert result.brokers == (Broker(3, "kafka-3", 9093),)


@with_leader_hints
def test_a_broker_that_leads_nothing_is_no_hint(version: int) -> None:
    """One could name thousands in each answer."""
    module = response_module(Api.PRODUCE, version)
    nodes = tuple(
        module.NodeEndpoint(node_id=n, host="kafka", port=9093, rack=None) for n in range(1, 100)
    )
    moved = partition(version, 0, error_code=ErrorCode.not_leader_or_follower, leader=(3, 8))
    result = answer(version, {"logs": (moved,)}, node_endpoints=nodes)
    assert [one.node_id for one in result.brokers] == [3]


@every_version
def test_an_offset_that_there_can_not_be(version: int) -> None:
    """It is one that the broker did not tell."""
    result = answer(version, {"logs": (partition(version, 0, base_offset=-(2**63)),)})
    assert result.partitions[TopicPartition("logs", 0)].base_offset == -1


@with_leader_hints
def test_no_hint_when_the_broker_does_not_know_the_leader(version: int) -> None:
    """It says -1 then."""
    moved = partition(version, 0, error_code=ErrorCode.not_leader_or_follower, leader=(-1, 8))
    assert answer(version, {"logs": (moved,)}).partitions[TopicPartition("logs", 0)].leader is None


@every_version
def test_no_hint_without_an_error(version: int) -> None:
    """Nor brokers, in versions with and without hints."""
    result = answer(version, {"logs": (partition(version, 0),)})
    assert result.partitions[TopicPartition("logs", 0)].leader is None
    assert result.brokers == ()


@every_version
def test_throttle_time(version: int) -> None:
    """In milliseconds, as it is on the wire."""
    throttled = answer(version, {}, throttle_time=datetime.timedelta(milliseconds=1234))
    assert throttled == ProduceResult(partitions={}, brokers=(), throttle_time_ms=1234)


@pytest.mark.parametrize("version", [v for v in VERSIONS if v >= FIRST_WITH_TOPIC_IDS])
def test_a_topic_id_that_nobody_asked_for_is_left_out(version: int) -> None:
    """Its name isn't known, and nothing waits for it."""
    result = answer(
        version, {"a stranger": (partition(version, 0),), "logs": (partition(version, 0),)}
    )
    assert list(result.partitions) == [TopicPartition("logs", 0)]
