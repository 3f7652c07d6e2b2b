"""The Metadata request and response in every version that is spoken."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest

from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.limits import MOST_BROKERS, MOST_PARTITIONS
from kiel_logging.wire.messages import decode_response
from kiel_logging.wire.metadata import Broker, Leader, Metadata, metadata_request, read_metadata
from kiel_logging.wire.schemas import Api
from kiel_logging.wire.versions import SUPPORTED
from tests.support.kafka_frames import make, response_module
from tests.wire.kio_messages import read_by_kio, to_frame

VERSIONS = range(SUPPORTED[Api.METADATA].lowest, SUPPORTED[Api.METADATA].highest + 1)
WITH_TOPIC_IDS = [version for version in VERSIONS if version >= 10]
TOPIC_ID = uuid.UUID(int=77)

every_version = pytest.mark.parametrize("version", VERSIONS)


# -- requests --------------------------------------------------------------------------------------


@every_version
@pytest.mark.parametrize("topics", [[], ["logs"], ["logs", "audit", "errors"]])
def test_a_broker_reads_which_topics_are_asked_for(version: int, topics: list[str]) -> None:
    """No topics ask for none, not for all: that would be null."""
    read = read_by_kio(metadata_request(version, topics))
    assert [topic.name for topic in read.topics] == topics


@every_version
def test_topics_may_be_created(version: int) -> None:
    """Brokers create unknown topics where they are set up to."""
    assert read_by_kio(metadata_request(version, ["logs"])).allow_auto_topic_creation is True


@every_version
def test_operations_are_not_asked_for(version: int) -> None:
    """They would cost the brokers time."""
    read = read_by_kio(metadata_request(version, ["logs"]))
    asked = [getattr(read, name) for name in dir(read) if name.startswith("include_")]
    assert not any(asked)


@pytest.mark.parametrize("version", WITH_TOPIC_IDS)
def test_topics_are_asked_for_by_name(version: int) -> None:
    """The id is what one wants to know."""
    (topic,) = read_by_kio(metadata_request(version, ["logs"])).topics
    assert (topic.name, topic.topic_id) == ("logs", None)


# -- responses -------------------------------------------------------------------------------------


def answer(version: int, brokers: tuple[Any, ...] = (), topics: tuple[Any, ...] = ()) -> Metadata:
    """A broker's answer, written by kio and read by us."""
    schema = response_module(Api.METADATA, version).MetadataResponse
    response = make(
        schema,
        throttle_time=datetime.timedelta(0),
        brokers=brokers,
        cluster_id="cluster",
        controller_id=1,
        topics=topics,
        error_code=ErrorCode.none,
    )
    asked = {"logs", "missing", "a", "b"}
    return read_metadata(decode_response(to_frame(response), Api.METADATA, version), asked)


def broker(version: int, node_id: int, host: str, port: int) -> Any:
    """A broker as kio has it."""
    schema = response_module(Api.METADATA, version).MetadataResponseBroker
    return schema(node_id=node_id, host=host, port=port, rack="rack")


def topic(
    version: int,
    name: str | None,
    *leaders: tuple[int, int, int],
    error: ErrorCode = ErrorCode.none,
    topic_id: uuid.UUID | None = TOPIC_ID,
) -> Any:
    """A topic as kio has it; each leader is (partition, node id, epoch)."""
    module = response_module(Api.METADATA, version)
    partitions = tuple(
        make(
            module.MetadataResponsePartition,
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
    return make(
        module.MetadataResponseTopic,
        error_code=error,
        name=name,
        topic_id=topic_id,
        is_internal=False,
        partitions=partitions,
    )


@every_version
def test_brokers_by_their_node_ids(version: int) -> None:
    """Host and port as the brokers advertise them."""
    brokers = (broker(version, 3, "kafka-3", 9092), broker(version, 1, "::1", 29092))
    assert answer(version, brokers).brokers == {
        3: Broker(3, "kafka-3", 9092),
        1: Broker(1, "::1", 29092),
    }


@every_version
def test_leaders_and_their_epochs(version: int) -> None:
    """By partition; -1 is a partition that has no leader for the moment."""
    read = answer(version, topics=(topic(version, "logs", (0, 3, 7), (2, 1, 0), (1, -1, 9)),))
    assert read.topics["logs"].leaders == {0: Leader(3, 7), 2: Leader(1, 0), 1: Leader(-1, 9)}
    assert read.topics["logs"].error is ErrorCode.none


@every_version
def test_an_error_belongs_to_its_topic(version: int) -> None:
    """Others of the same answer are as they are."""
    missing = topic(version, "missing", error=ErrorCode.unknown_topic_or_partition)
    read = answer(version, topics=(missing, topic(version, "logs", (0, 1, 0))))
    assert read.topics["missing"].error is ErrorCode.unknown_topic_or_partition
    assert read.topics["missing"].leaders == {}
    assert read.topics["logs"].error is ErrorCode.none


@every_version
def test_topic_ids_where_brokers_have_them(version: int) -> None:
    """From version 10 on; before, and where a broker sends zeros, there is none."""
    read = answer(version, topics=(topic(version, "a"), topic(version, "b", topic_id=None)))
    assert read.topics["a"].topic_id == (TOPIC_ID if version in WITH_TOPIC_IDS else None)
    assert read.topics["b"].topic_id is None


@pytest.mark.parametrize("version", [12, 13])
def test_a_topic_without_a_name_is_left_out(version: int) -> None:
    """It is the answer to a question by id, which is never asked."""
    assert answer(version, topics=(topic(version, None),)).topics == {}


@every_version
def test_an_answer_may_be_empty(version: int) -> None:
    """A broker that has just started knows of nobody."""
    assert answer(version) == Metadata(brokers={}, topics={}, cluster_id="cluster")


@every_version
def test_a_topic_that_was_not_asked_for_is_ignored(version: int) -> None:
    """A broker could name millions, and each would be kept."""
    read = answer(version, topics=(topic(version, "stranger", (0, 1, 0)), topic(version, "logs")))
    assert list(read.topics) == ["logs"]


@every_version
def test_numbers_that_no_partition_has_are_ignored(version: int) -> None:
    """Those of an honest topic count from 0; the last one here is the largest that is taken."""
    last = MOST_PARTITIONS - 1
    numbers = (-7, 0, last, MOST_PARTITIONS, 2**31 - 1)
    read = answer(version, topics=(topic(version, "logs", *((n, 1, 0) for n in numbers)),))
    assert list(read.topics["logs"].leaders) == [0, last]


@every_version
def test_no_more_brokers_than_a_cluster_can_have(version: int) -> None:
    """Those that lead partitions we asked for are among the ones that are kept."""
    brokers = tuple(broker(version, n, "kafka", 9092) for n in range(-2, MOST_BROKERS + 100))
    leader = MOST_BROKERS + 50
    read = answer(version, brokers, topics=(topic(version, "logs", (0, leader, 1)),))
    assert len(read.brokers) == MOST_BROKERS
    assert leader in read.brokers
    assert min(read.brokers) == 0
