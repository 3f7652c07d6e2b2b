"""Frames: what we write kio reads, what kio writes we read, and nothing else."""

from __future__ import annotations

import dataclasses
import gc
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import ProtocolError
from kiel_logging.records import Record, TopicPartition
from kiel_logging.testing.frames import decode_request
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import (
    MOST_BYTES,
    Request,
    correlation_id_of,
    decode_response,
    encode_request,
    most_bytes,
)
from kiel_logging.wire.metadata import MOST_PARTITIONS, metadata_request
from kiel_logging.wire.produce import produce_request
from kiel_logging.wire.record_batch import encode_batch
from kiel_logging.wire.requests import (
    init_producer_id_request,
    max_message_bytes_request,
    sasl_authenticate_request,
    sasl_handshake_request,
)
from kiel_logging.wire.schemas import SCHEMAS, Api
from kiel_logging.wire.versions import SUPPORTED, api_versions_request
from tests.support.examples import examples
from tests.wire.kio_messages import (
    SPOKEN,
    as_ours,
    frame_by_kio,
    kio_request,
    kio_response,
    read_by_kio,
    to_frame,
)

# -- requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("api", "version"), SPOKEN)
def test_a_frame_is_the_one_that_kio_writes(api: Api, version: int) -> None:
    """Size, header and message; and kio reads all of it, and not a byte more."""
    theirs = kio_request(api, version)
    ours = Request(api, version, as_ours(theirs))
    assert encode_request(ours, 77, "client") == frame_by_kio(theirs, 77, "client")
    assert as_ours(read_by_kio(ours)) == as_ours(theirs)


@pytest.mark.parametrize("client_id", ["", "kiel_logging", "grüße"])
def test_any_client_id_is_sent(client_id: str) -> None:
    """As UTF-8."""
    frame = encode_request(Request(Api.API_VERSIONS, 0, {}), 1, client_id)
    name = client_id.encode()
    assert frame[4:] == struct.pack(">hhih", 18, 0, 1, len(name)) + name


# -- responses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("api", "version"), SPOKEN)
def test_what_a_broker_writes_is_read(api: Api, version: int) -> None:
    """Header and message, in every version that is spoken."""
    sent = kio_response(api, version)
    assert decode_response(to_frame(sent), api, version) == as_ours(sent)


@pytest.mark.parametrize(("api", "version"), SPOKEN)
def test_the_fake_broker_s_half(api: Api, version: int) -> None:
    """The fake broker reads the requests that kio writes, and writes the responses that kio writes,
    but for the fields that our tables leave out."""
    asked, answer = kio_request(api, version), kio_response(api, version)
    frame = frame_by_kio(asked, 77, "client")[4:]
    request = decode_request(frame, SUPPORTED, node_id=0, connection=0)
    assert (request.client_id, request.correlation_id, request.trailing) == ("client", 77, 0)
    assert request.payload == as_ours(asked)
    ours = request.encode(as_ours(answer, kept=False))
    assert decode_response(ours[4:], api, version) == as_ours(answer)
    if api is not Api.API_VERSIONS or version < SCHEMAS[api].flexible:
        assert ours == len(ours[4:]).to_bytes(4, "big") + to_frame(answer, 77)


def test_metadata_is_no_load_for_the_garbage_collector() -> None:
    """Brokers and partitions, of which there are thousands, are not among what it visits."""
    message = decode_response(to_frame(kio_response(Api.METADATA, 13)), Api.METADATA, 13)
    gc.collect()
    kept = [*message["brokers"], *message["topics"][0]["partitions"]]
    assert len(kept) == 4
    assert not any(gc.is_tracked(each) for each in kept)


@pytest.mark.parametrize(("api", "version"), SPOKEN)
def test_a_response_cut_anywhere_is_a_protocol_error(api: Api, version: int) -> None:
    """The error names the request, its version and how much came."""
    frame = to_frame(kio_response(api, version))
    for length in range(len(frame)):
        with pytest.raises(ProtocolError) as refused:
            decode_response(frame[:length], api, version)
        assert f"a {api.name} v{version} response of {length} bytes" in str(refused.value)


def test_the_error_says_which_port_to_check() -> None:
    """Mostly it is no Kafka at all that answers."""
    with pytest.raises(ProtocolError, match=r"is this really a Kafka broker's port\?"):
        decode_response(b"HTTP/1.1 400 Bad Request", Api.METADATA, 13)


def test_text_that_is_no_utf8_is_a_protocol_error() -> None:
    """A host name of bytes that are no text."""
    frame = to_frame(kio_response(Api.METADATA, 12)).replace(
        "grüße".encode(), b"\xff\xfe\xfd\xfc\xfb\xfa\xf9"
    )
    with pytest.raises(ProtocolError):
        decode_response(frame, Api.METADATA, 12)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_a_refused_api_versions_comes_in_version_0(version: int) -> None:
    """UNSUPPORTED_VERSION is answered in the one version that every client reads (KIP-511)."""
    code = ErrorCode.unsupported_version
    frame = struct.pack(">ihi", 7, code, 0)
    refusal = {"error_code": code, "api_keys": ()}
    assert decode_response(frame, Api.API_VERSIONS, version) == refusal


def test_a_response_starts_with_its_correlation_id() -> None:
    """In every version of every response; one that is too short for it is refused."""
    assert correlation_id_of(b"\x7f\xff\xff\xff and more") == 2**31 - 1
    assert correlation_id_of(b"\xff" * 4) == -1
    for length in range(4):
        with pytest.raises(ProtocolError, match=f"{length} bytes has no correlation id"):
            correlation_id_of(bytes(length))


# -- fuzz ------------------------------------------------------------------------------------------


def is_read_or_refused(frame: bytes, api: Api, version: int) -> bool:
    """Whether the outcome is a response, or a ProtocolError; all else is raised."""
    try:
        decoded = decode_response(frame, api, version)
    except ProtocolError:
        return True
    refusal = {"error_code", "api_keys"}
    return decoded.keys() in (as_ours(kio_response(api, version)).keys(), refusal)


spoken = st.sampled_from([parameters.values for parameters in SPOKEN])


@examples(300)
@given(spoken, st.binary(max_size=300))
def test_random_bytes_are_read_or_refused(which: tuple[Api, int], frame: bytes) -> None:
    """Never any other error, a hang or a crash."""
    assert is_read_or_refused(frame, *which)


@examples(300)
@given(spoken, st.data())
def test_damaged_responses_are_read_or_refused(which: tuple[Api, int], data: st.DataObject) -> None:
    """Bytes of a true response replaced, put in or left out."""
    frame = bytearray(to_frame(kio_response(*which)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(frame)))
        frame[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    assert is_read_or_refused(bytes(frame), *which)


# -- how long an answer may be ---------------------------------------------------------------------

KIB = 1024


def produce(records: int) -> Request:
    """A request with one batch of so many small records."""
    batch = encode_batch([Record(None, b"x", (), 0)] * records)
    where = TopicPartition("t" * 249, 0)
    return produce_request(13, {where: batch}, acks=-1, timeout_ms=1, topic_ids={})


@pytest.mark.parametrize(
    ("request_", "most"),
    [
        (api_versions_request(3, "1"), 256 * KIB),
        (sasl_handshake_request("PLAIN"), 256 * KIB),
        (sasl_authenticate_request(2, b""), 256 * KIB),
        (init_producer_id_request(5), 256 * KIB),
        (max_message_bytes_request(4, "logs"), 256 * KIB),
        (metadata_request(13, []), 256 * KIB),
        (metadata_request(13, ["a", "b"]), 256 * KIB + 2 * 1024 * KIB),
        (metadata_request(13, [f"t{n}" for n in range(500)]), MOST_BYTES),
        (produce(3), 256 * KIB + 3 * 512),
    ],
)
def test_each_topic_and_record_makes_an_answer_longer(request_: Request, most: int) -> None:
    """An answer without any is a few kilobytes: a quarter of a megabyte is ample."""
    assert most_bytes(request_) == most


@pytest.mark.parametrize("version", [7, 13])
def test_a_large_cluster_and_a_large_topic_are_believed(version: int) -> None:
    """A thousand brokers, and as many partitions as are taken, with three replicas."""
    response = kio_response(Api.METADATA, version)
    broker, topic, host = response.brokers[0], response.topics[0], "kafka-0000.example"
    partition = dataclasses.replace(
        topic.partitions[0],
        replica_nodes=(1, 2, 3),
        isr_nodes=(1, 2, 3),
        offline_replicas=(),
    )
    large = dataclasses.replace(topic, name="logs", partitions=(partition,) * MOST_PARTITIONS)
    brokers = (dataclasses.replace(broker, host=host),) * 1000
    frame = to_frame(dataclasses.replace(response, brokers=brokers, topics=(large,)))
    assert len(frame) < most_bytes(metadata_request(version, ["logs"]))


def test_a_reason_for_each_record_is_believed() -> None:
    """A broker may refuse every single record of a batch, in words, with the topic's name."""
    why = "Compacted topic cannot accept message without key in topic partition " + "t" * 251
    response = kio_response(Api.PRODUCE, 13)
    topic = response.responses[0]
    partition = topic.partition_responses[0]
    one = dataclasses.replace(partition.record_errors[0], batch_index_error_message=why)
    refused = dataclasses.replace(partition, record_errors=(one,) * 2_000)
    topic = dataclasses.replace(topic, partition_responses=(refused,))
    frame = to_frame(dataclasses.replace(response, responses=(topic,)))
    assert len(frame) < most_bytes(produce(2_000))
