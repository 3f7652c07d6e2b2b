"""How long an answer may be: long enough for any honest one, and no longer."""

from __future__ import annotations

import datetime

import pytest

from kiel_logging.records import Record, TopicPartition
from kiel_logging.wire.compression import codec
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.limits import MOST_BYTES, MOST_PARTITIONS, most_bytes
from kiel_logging.wire.messages import Request
from kiel_logging.wire.metadata import metadata_request
from kiel_logging.wire.produce import produce_request
from kiel_logging.wire.producer_id import init_producer_id_request
from kiel_logging.wire.record_batch import encode_batch
from kiel_logging.wire.sasl import sasl_authenticate_request, sasl_handshake_request
from kiel_logging.wire.schemas import Api
from kiel_logging.wire.topic_configs import max_message_bytes_request
from kiel_logging.wire.versions import SUPPORTED, api_versions_request
from tests.support.kafka_frames import make, response_module
from tests.wire.kio_messages import to_frame

KIB = 1024


@pytest.mark.parametrize(
    "request_",
    [
        api_versions_request(3, "1"),
        sasl_handshake_request("PLAIN"),
        sasl_authenticate_request(2, b""),
        init_producer_id_request(5),
        max_message_bytes_request(4, "logs"),
        metadata_request(13, []),
    ],
    ids=lambda request: request.api.name,
)
def test_what_asks_for_little(request_: Request) -> None:
    """An answer that names nothing of ours is a few kilobytes; a quarter of a megabyte is ample."""
    assert most_bytes(request_) == 256 * KIB


def produce(records: int, version: int = SUPPORTED[Api.PRODUCE].highest) -> Request:
    """A request with one batch of so many small records."""
    batch = encode_batch([Record(None, b"x", (), 0)] * records, codec=codec(None, None))
    where = TopicPartition("t" * 249, 0)
    return produce_request(version, {where: batch}, acks=-1, timeout_ms=1, topic_ids={})


def test_each_topic_and_record_adds_to_it() -> None:
    """A broker may speak of all that it was asked about."""
    assert most_bytes(metadata_request(13, ["a", "b"])) == 256 * KIB + 2 * 1024 * KIB
    assert most_bytes(produce(3)) == 256 * KIB + 3 * 512


def test_there_is_an_end() -> None:
    """However much is asked."""
    assert most_bytes(metadata_request(13, [f"t{n}" for n in range(500)])) == MOST_BYTES


@pytest.mark.parametrize(
    "version", [SUPPORTED[Api.METADATA].lowest, SUPPORTED[Api.METADATA].highest]
)
def test_a_large_cluster_and_a_large_topic(version: int) -> None:
    """A thousand brokers, and as many partitions as are taken, with three replicas, are no lie."""
    module = response_module(Api.METADATA, version)
    replicas = (1, 2, 3)
    response = make(
        module.MetadataResponse,
        throttle_time=datetime.timedelta(0),
        brokers=tuple(
            module.MetadataResponseBroker(node_id=n, host=f"{n}.kafka.example", port=9, rack="zone")
            for n in range(1000)
        ),
        cluster_id="c" * 22,
        controller_id=1,
        topics=(
            make(
                module.MetadataResponseTopic,
                error_code=ErrorCode.none,
                name="logs",
                topic_id=None,
                is_internal=False,
                partitions=tuple(
                    make(
                        module.MetadataResponsePartition,
                        error_code=ErrorCode.none,
                        partition_index=n,
                        leader_id=1,
                        leader_epoch=1,
                        replica_nodes=replicas,
                        isr_nodes=replicas,
                        offline_replicas=(),
                    )
                    for n in range(MOST_PARTITIONS)
                ),
            ),
        ),
        error_code=ErrorCode.none,
    )
    assert len(to_frame(response)) < most_bytes(metadata_request(version, ["logs"]))


def test_a_reason_for_each_record() -> None:
    """A broker may refuse every single record of a batch, in words, with the topic's name."""
    count = 2_000
    module = response_module(Api.PRODUCE, SUPPORTED[Api.PRODUCE].highest)
    why = "Compacted topic cannot accept message without key in topic partition " + "t" * 251
    partition = make(
        module.PartitionProduceResponse,
        index=0,
        error_code=ErrorCode.invalid_record,
        base_offset=-1,
        record_errors=tuple(
            module.BatchIndexAndErrorMessage(batch_index=n, batch_index_error_message=why)
            for n in range(count)
        ),
        error_message="One or more records have been rejected",
    )
    topic = make(module.TopicProduceResponse, topic_id=None, partition_responses=(partition,))
    response = make(module.ProduceResponse, responses=(topic,), throttle_time=datetime.timedelta(0))
    assert len(to_frame(response)) < most_bytes(produce(count))
