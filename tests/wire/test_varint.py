"""Signed varints are those that kio writes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.serial.readers import read_signed_varlong
from kio.serial.writers import write_signed_varint, write_signed_varlong

from kiel_logging.wire import varint
from tests.support.examples import examples

EDGES = sorted(
    {
        sign * (2**bits + nudge)
        for bits in range(63)
        for nudge in (-1, 0, 1)
        for sign in (1, -1)
        if 2**bits + nudge < 2**63
    }
    | {2**63 - 1, -(2**63)}
)


def by_kio(value: int) -> bytes:
    """The varint as kio writes it."""
    buffer = io.BytesIO()
    write_signed_varlong(buffer, value)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "00"),
        (-1, "01"),
        (1, "02"),
        (-64, "7f"),
        (64, "8001"),
        (8191, "fe7f"),
        (8192, "808001"),
        (2**31 - 1, "feffffff0f"),
        (-(2**63), "ffffffffffffffffff01"),
    ],
)
def test_known_varints(value: int, expected: str) -> None:
    """Small magnitudes are short, whatever their sign."""
    assert varint.encode(value).hex() == expected


@pytest.mark.parametrize("value", EDGES)
def test_every_length_is_written_as_kio_does(value: int) -> None:
    """At every power of two, where the length changes, both write the same."""
    assert varint.encode(value) == by_kio(value)


@examples(200)
@given(st.integers(-(2**31), 2**31 - 1))
def test_an_int32_is_written_as_kio_does(value: int) -> None:
    """Lengths and offset deltas: 32 bits."""
    buffer = io.BytesIO()
    write_signed_varint(buffer, value)  # type: ignore[arg-type]
    assert varint.encode(value) == buffer.getvalue()


@examples(200)
@given(st.integers(-(2**63), 2**63 - 1))
def test_an_int64_is_read_back_by_kio(value: int) -> None:
    """Timestamp deltas: 64 bits, in at most ten bytes."""
    encoded = varint.encode(value)
    assert read_signed_varlong(encoded, 0) == (value, len(encoded))
    assert len(encoded) <= 10


def test_the_table_holds_what_encode_returns() -> None:
    """A table look-up and a computation never differ."""
    assert len(varint.TABLE) == varint.TABLE_SIZE
    assert list(varint.TABLE) == [by_kio(value) for value in range(varint.TABLE_SIZE)]


def test_minus_one_is_the_length_of_a_null() -> None:
    """Kafka writes null as a length of -1."""
    assert by_kio(-1) == varint.MINUS_ONE
