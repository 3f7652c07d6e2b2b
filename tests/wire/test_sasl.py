"""SaslHandshake and SaslAuthenticate in every version that is spoken."""

from __future__ import annotations

import struct
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.index import load_response_schema

from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import decode_response
from kiel_logging.wire.sasl import (
    HANDSHAKE_VERSION,
    read_sasl_authenticate,
    sasl_authenticate_request,
    sasl_handshake_request,
)
from kiel_logging.wire.schemas import Api
from kiel_logging.wire.versions import SUPPORTED
from tests.wire.kio_messages import read_by_kio, to_frame

KNOWN = SUPPORTED[Api.SASL_AUTHENTICATE]
VERSIONS = range(KNOWN.lowest, KNOWN.highest + 1)
FIRST_WITH_LIFETIME = 1


def answer(version: int, **fields: Any) -> Any:
    """What a broker answers, read back."""
    if version >= FIRST_WITH_LIFETIME:
        fields.setdefault("session_lifetime", timedelta(0))
    entity = load_response_schema(Api.SASL_AUTHENTICATE, version)(
        **{"error_code": ErrorCode.none, "error_message": None, "auth_bytes": b"", **fields}
    )
    frame = to_frame(entity)
    return read_sasl_authenticate(decode_response(frame, Api.SASL_AUTHENTICATE, version))


def test_the_handshake_names_the_mechanism() -> None:
    """In version 1, behind which SaslAuthenticate follows; after 0 the bytes would go bare."""
    request = sasl_handshake_request("SCRAM-SHA-512")
    assert HANDSHAKE_VERSION == request.version == 1
    assert read_by_kio(request).mechanism == "SCRAM-SHA-512"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_clients_bytes_are_carried_as_they_are(version: int) -> None:
    """NULs and all."""
    request = sasl_authenticate_request(version, b"\0alice\0\xff")
    assert read_by_kio(request).auth_bytes == b"\0alice\0\xff"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_answer(version: int) -> None:
    """The broker's bytes, and no error."""
    read = answer(version, auth_bytes=b"r=1,s=2")
    assert (read.error, read.message, read.auth_bytes) == (ErrorCode.none, None, b"r=1,s=2")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refusal(version: int) -> None:
    """The broker's code and its words."""
    error = ErrorCode.sasl_authentication_failed
    read = answer(version, error_code=error, error_message="who is that?")
    assert (read.error, read.message, read.auth_bytes) == (error, "who is that?", b"")


@pytest.mark.parametrize("version", VERSIONS)
def test_how_long_the_session_is(version: int) -> None:
    """In seconds; version 0 does not say."""
    if version < FIRST_WITH_LIFETIME:
        assert answer(version).lifetime == 0
    else:
        assert answer(version, session_lifetime=timedelta(milliseconds=2500)).lifetime == 2.5


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_lifetime_is_a_number_of_seconds(milliseconds: int) -> None:
    """Negative ones count as none."""
    frame = struct.pack(">ihhiq", 7, 0, -1, 0, milliseconds)
    response = decode_response(frame, Api.SASL_AUTHENTICATE, 1)
    assert read_sasl_authenticate(response).lifetime == max(0, milliseconds) / 1000


def test_a_broker_s_reason_for_a_refusal_is_one_short_line() -> None:
    """It goes into an error, and from there to a terminal."""
    said = answer(2, error_message="no\n\x1b[2J" + "x" * 32_000).message
    assert said is not None
    assert said.isprintable()
    assert said.startswith(r"no\n\x1b[2Jxxx")
    assert len(said) <= 300
