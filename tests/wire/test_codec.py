"""Messages to bytes and back: equal to kio's on what is right, an error on what is not."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader as kio_reader

from kiel_logging.errors import ProtocolError
from kiel_logging.wire.codec import (
    Codec,
    read_unsigned_varint,
    request_codec,
    response_codec,
    unsigned_varint,
)
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.schemas import Api
from tests.support.examples import examples
from tests.wire.kio_messages import SPOKEN, as_ours, to_bytes

PRODUCE_13 = response_codec(Api.PRODUCE, 13)
METADATA_7, METADATA_9 = (response_codec(Api.METADATA, version) for version in (7, 9))
SASL_AUTHENTICATE_0 = response_codec(Api.SASL_AUTHENTICATE, 0)

# Errors of the reader before a frame's boundary translates it.
BROKEN = (ProtocolError, IndexError, struct.error)


every_message = pytest.mark.parametrize(("api", "version"), SPOKEN)


def written(api: Api, version: int, fields: Any) -> bytes:
    """A request's bytes, without header, as we write them."""
    parts: list[bytes] = []
    request_codec(api, version).write(fields, parts.append)
    return b"".join(parts)


# -- requests --------------------------------------------------------------------------------------


@every_message
def test_any_request_is_written_as_kio_writes_it(api: Api, version: int) -> None:
    """Nulls, empty texts and arrays, the largest numbers: byte by byte."""
    request_type: Any = load_request_schema(api, version)

    @examples(8)
    @given(st.from_type(request_type))
    def check(entity: Any) -> None:
        assert written(api, version, as_ours(entity)) == to_bytes(entity)

    check()


@pytest.mark.parametrize("version", [0, 2])
def test_a_null_is_written_only_where_the_protocol_allows_it(version: int) -> None:
    """A broker would hang up."""
    with pytest.raises(ValueError, match="a null where the protocol allows none"):
        written(Api.SASL_AUTHENTICATE, version, {"auth_bytes": None})


def test_a_field_that_the_version_lacks_is_left_out() -> None:
    """So a request needs no cases for versions."""
    fields = {"client_software_name": "n", "client_software_version": "v"}
    assert written(Api.API_VERSIONS, 2, fields) == b""
    assert written(Api.API_VERSIONS, 3, fields) == b"\x02n\x02v\x00"


# -- responses -------------------------------------------------------------------------------------


@every_message
def test_any_message_is_read_as_kio_reads_it(api: Api, version: int) -> None:
    """Whatever the fields hold, and wherever in the bytes the message stands."""
    response_type: Any = load_response_schema(api, version)
    theirs, ours = kio_reader(response_type), response_codec(api, version)

    @examples(8)
    @given(st.from_type(response_type), st.binary(max_size=3))
    def check(entity: Any, before: bytes) -> None:
        raw = before + to_bytes(entity)
        try:
            expected, size = theirs(raw, len(before))
        except ValueError:
            reject()  # kio writes durations of 290,000 years that it can't read
        value, end = ours.read(raw + b"behind", len(before))
        assert value == as_ours(expected)
        assert end == len(before) + size == len(raw)

    check()


def test_an_error_code_of_the_future_stays_a_number() -> None:
    """A broker may be newer than this client."""
    raw = struct.pack(">hiii", 32_000, 0, 0, 0)[:2] + struct.pack(">hi", -1, 0)
    response, _ = SASL_AUTHENTICATE_0.read(raw, 0)
    assert response == {"error_code": 32_000, "error_message": None, "auth_bytes": b""}
    assert not isinstance(response["error_code"], ErrorCode)


# -- tagged fields (KIP-482) -----------------------------------------------------------------------

EMPTY_METADATA_9 = struct.pack(">i", 0) + b"\x01\x00" + struct.pack(">i", -1) + b"\x01"
"""Throttle time, no brokers, null cluster id, controller, no topics; then authorized operations."""
OPERATIONS = struct.pack(">i", -(2**31))
UP_TO_THE_TAGS = EMPTY_METADATA_9 + OPERATIONS


def metadata_9(tagged: bytes) -> tuple[Any, int]:
    """Read an empty response of Metadata v9 with these tagged fields."""
    return METADATA_9.read(UP_TO_THE_TAGS + tagged, 0)


@pytest.mark.parametrize(
    "tagged",
    [
        b"\x00",
        b"\x01\x63\x00",
        b"\x01\x63\x05hello",
        b"\x02\x63\x05hello\x64\x01!",
        b"\x01\xff\xff\xff\xff\x0f\x01!",
        b"\x01\x63\xc8\x01" + bytes(200),
    ],
    ids=["none", "empty", "one", "two", "the highest tag", "a long one"],
)
def test_unknown_tagged_fields_are_skipped(tagged: bytes) -> None:
    """A broker may know more than we do: what follows is still read from the right place."""
    response, end = metadata_9(tagged)
    assert (response["brokers"], response["cluster_id"], response["topics"]) == ((), None, ())
    assert end == len(UP_TO_THE_TAGS) + len(tagged)


def test_a_known_tagged_field_may_grow() -> None:
    """Bytes that a later version adds at the end of a tagged field are skipped."""
    endpoint = b"\x00\x00\x00\x05\x02h\x00\x00\x23\x84\x00\x00"  # node 5, "h", 9092, no rack
    endpoints = b"\x02" + endpoint + b"more"
    raw = b"\x01" + bytes(4) + b"\x02\x63\x02??\x00" + bytes([len(endpoints)]) + endpoints
    response, end = PRODUCE_13.read(raw, 0)
    assert response["node_endpoints"] == ({"node_id": 5, "host": "h", "port": 9092, "rack": None},)
    assert end == len(raw)


def test_a_known_tagged_field_stays_within_its_size() -> None:
    """Otherwise it would be read from the bytes of the next one."""
    endpoints = b"\x02" + b"\x00\x00\x00\x05\x02h\x00\x00\x23\x84\x00\x00"
    raw = b"\x01" + bytes(4) + b"\x01\x00" + bytes([len(endpoints) - 1]) + endpoints
    with pytest.raises(ProtocolError, match="a tagged field of 12 bytes takes 13"):
        PRODUCE_13.read(raw, 0)


# -- hostile lengths -------------------------------------------------------------------------------

HUGE_COMPACT = b"\xff\xff\xff\xff\x0f"
"""2**32 - 1, the largest length in the compact encoding."""

HOSTILE: dict[str, tuple[Codec, bytes]] = {
    "an array of 2**31 - 1 structs": (METADATA_7, bytes(4) + b"\x7f\xff\xff\xff"),
    "a compact array of 2**32 structs": (METADATA_9, bytes(4) + HUGE_COMPACT),
    "a string of 32767": (METADATA_7, bytes(4) + b"\x00\x00\x00\x01" + bytes(4) + b"\x7f\xff"),
    "a compact string of 2**32": (METADATA_9, bytes(4) + b"\x02" + bytes(4) + HUGE_COMPACT),
    "bytes of 2**31 - 1": (SASL_AUTHENTICATE_0, bytes(2) + b"\xff\xff" + b"\x7f\xff\xff\xff"),
    "2**32 tagged fields": (METADATA_9, UP_TO_THE_TAGS + HUGE_COMPACT),
    "a tagged field of 2**32": (
        METADATA_9,
        UP_TO_THE_TAGS + b"\x01\x63" + HUGE_COMPACT,
    ),
    "a known tagged field of 2**32": (PRODUCE_13, b"\x01" + bytes(4) + b"\x01\x00" + HUGE_COMPACT),
    "a varint without an end": (METADATA_9, bytes(4) + b"\xff" * 40),
}


def test_an_array_needs_room_for_the_least_that_its_elements_take() -> None:
    """A broker in Metadata v7 has twelve bytes at least: 35 are not enough for three."""
    raw = bytes(4) + b"\x00\x00\x00\x03" + bytes(35)
    with pytest.raises(ProtocolError, match="3 elements announced, 35 bytes left"):
        METADATA_7.read(raw, 0)


@pytest.mark.parametrize("padding", [0, 8, 200])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_length_is_an_error_and_takes_no_memory(name: str, padding: int) -> None:
    """Nothing is made for what is only announced; kio's own reader ends the process here."""
    reader, raw = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises((*BROKEN, UnicodeDecodeError)):
            reader.read(raw + b"\xff" * padding, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@given(st.integers(0, 2**32 - 1))
def test_an_unsigned_varint_that_is_written_is_read_back(value: int) -> None:
    """Seven bits a byte; the offset that is returned is the next one."""
    raw = unsigned_varint(value)
    assert read_unsigned_varint(b"??" + raw, 2) == (value, 2 + len(raw))
    assert len(raw) == max(1, -(-value.bit_length() // 7))


@pytest.mark.parametrize("raw", [b"\x80" * 5 + b"\x01", b"\x80" * 1000])
def test_an_unsigned_varint_has_five_bytes_at_most(raw: bytes) -> None:
    """Also when there are more that could be read."""
    with pytest.raises(ProtocolError, match="more than five bytes"):
        read_unsigned_varint(raw, 0)
