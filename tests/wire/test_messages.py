"""Frames: what we write kio reads, what kio writes we read, and nothing else."""

from __future__ import annotations

import gc
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader as kio_reader

from kiel_logging.errors import ProtocolError
from kiel_logging.wire.messages import (
    Api,
    correlation_id_of,
    decode_response,
    encode_request,
    request_module,
)
from kiel_logging.wire.versions import SUPPORTED
from tests.support.examples import examples
from tests.wire.kio_messages import filled, plain, to_frame

SPOKEN = [
    pytest.param(api, version, id=f"{api.name} v{version}")
    for api, versions in SUPPORTED.items()
    for version in range(versions.lowest, versions.highest + 1)
]
"""Every message that the client can be brought to speak."""


def request(api: Api, version: int) -> Any:
    """A request with a value in every field."""
    return filled(load_request_schema(api, version))


def response(api: Api, version: int) -> Any:
    """A response with a value in every field."""
    return filled(load_response_schema(api, version))


# -- requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("api", "version"), SPOKEN)
def test_kio_reads_the_whole_frame(api: Api, version: int) -> None:
    """Size, header and message, and not a byte more."""
    sent = request(api, version)
    frame = encode_request(sent, 77, "the client")
    header, header_size = kio_reader(sent.__header_schema__)(frame, 4)
    read, size = kio_reader(type(sent))(frame, 4 + header_size)
    assert struct.unpack_from(">i", frame) == (len(frame) - 4,)
    assert 4 + header_size + size == len(frame)
    assert plain(read) == plain(sent)
    assert (header.request_api_key, header.request_api_version) == (api, version)
    assert (header.correlation_id, header.client_id) == (77, "the client")


@pytest.mark.parametrize("client_id", ["", "kiel_logging", "grüße"])
def test_any_client_id_is_sent(client_id: str) -> None:
    """As UTF-8."""
    frame = encode_request(request_module(Api.API_VERSIONS, 0).ApiVersionsRequest(), 1, client_id)
    name = client_id.encode()
    assert frame[4:] == struct.pack(">hhih", 18, 0, 1, len(name)) + name


# -- responses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("api", "version"), SPOKEN)
def test_what_a_broker_writes_is_read(api: Api, version: int) -> None:
    """Header and message, in every version that is spoken."""
    sent = response(api, version)
    assert plain(decode_response(to_frame(sent), api, version)) == as_kept(plain(sent))


def as_kept(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with no more of metadata's brokers and partitions than is of use."""
    if {"brokers", "topics"} <= message.keys():
        message["brokers"] = only(message["brokers"], "node_id", "host", "port")
        for topic in message["topics"]:
            names = ("partition_index", "leader_id", "leader_epoch")
            topic["partitions"] = only(topic["partitions"], *names)
    return message


def only(entities: tuple[dict[str, Any], ...], *names: str) -> tuple[Any, ...]:
    """Return some fields of each."""
    return tuple(tuple(entity[name] for name in names) for entity in entities)


def test_metadata_is_no_load_for_the_garbage_collector() -> None:
    """Brokers and partitions, of which there are thousands, are not among what it visits."""
    message = decode_response(to_frame(response(Api.METADATA, 13)), Api.METADATA, 13)
    gc.collect()
    kept = [*message.brokers, *message.topics[0].partitions]
    assert len(kept) == 4
    assert not any(gc.is_tracked(each) for each in kept)


@pytest.mark.parametrize(("api", "version"), SPOKEN)
def test_a_response_cut_anywhere_is_a_protocol_error(api: Api, version: int) -> None:
    """The error names the request, its version and how much came."""
    frame = to_frame(response(api, version))
    for length in range(len(frame)):
        with pytest.raises(ProtocolError) as refused:
            decode_response(frame[:length], api, version)
        assert f"a {api.name} v{version} response of {length} bytes" in str(refused.value)


def test_the_error_tells_what_to_check() -> None:
    """Mostly it is no Kafka at all that answers."""
    with pytest.raises(ProtocolError, match=r"is this really a Kafka broker's port\?"):
        decode_response(b"HTTP/1.1 400 Bad Request", Api.METADATA, 13)


def test_text_that_is_no_utf8_is_a_protocol_error() -> None:
    """A host name of bytes that are no text."""
    frame = to_frame(response(Api.METADATA, 12)).replace(
        "grüße".encode(), b"\xff\xfe\xfd\xfc\xfb\xfa\xf9"
    )
    with pytest.raises(ProtocolError):
        decode_response(frame, Api.METADATA, 12)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_a_refused_api_versions_comes_in_version_0(version: int) -> None:
    """UNSUPPORTED_VERSION is answered in the one version that every client reads (KIP-511)."""
    schema: Any = load_response_schema(Api.API_VERSIONS, 0)
    refusal = schema(error_code=ErrorCode.unsupported_version, api_keys=())
    assert decode_response(to_frame(refusal), Api.API_VERSIONS, version) == refusal


@pytest.mark.parametrize(
    ("frame", "expected"),
    [(b"\x00\x00\x00\x07", 7), (b"\x7f\xff\xff\xff and more", 2**31 - 1), (b"\xff" * 4, -1)],
)
def test_a_response_starts_with_its_correlation_id(frame: bytes, expected: int) -> None:
    """In every version of every response."""
    assert correlation_id_of(frame) == expected


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_too_short_for_a_correlation_id(length: int) -> None:
    """The error tells how short."""
    with pytest.raises(ProtocolError, match=f"{length} bytes has no correlation id"):
        correlation_id_of(bytes(length))


# -- fuzz ------------------------------------------------------------------------------------------


def is_read_or_refused(frame: bytes, api: Api, version: int) -> bool:
    """Whether the outcome is a response, or a ProtocolError; all else is raised."""
    try:
        decoded = decode_response(frame, api, version)
    except ProtocolError:
        return True
    return type(decoded).__name__ == f"{load_response_schema(api, version).__name__}"


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
    frame = bytearray(to_frame(response(*which)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(frame)))
        frame[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    assert is_read_or_refused(bytes(frame), *which)
