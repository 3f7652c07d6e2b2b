"""What a record on disk is packed into, and that it comes out of it."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import SpoolDamaged
from kiel_logging.handler.spool.payload import Unpacked, pack, unpack
from kiel_logging.records import Record

BLOBS = st.none() | st.binary(max_size=300)
KEYS = st.none() | st.binary() | st.text(st.characters(exclude_categories=["Cs"])) | st.integers()
HEADERS = st.lists(
    st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), BLOBS), max_size=8
)
TIMES = st.integers(0, 2**63 - 1)
LEVELS = st.integers(-(2**31), 2**31 - 1)


def stored(key: Any) -> bytes | None:
    """A key as Kafka stores it."""
    if key is None or isinstance(key, bytes):
        return key
    return key.encode() if isinstance(key, str) else b"%d" % key


@given(KEYS, BLOBS, HEADERS, TIMES, LEVELS, st.booleans(), st.integers(0, 2**64 - 1))
def test_what_is_packed_comes_out(
    key: Any,
    value: bytes | None,
    headers: list[tuple[str, bytes | None]],
    timestamp: int,
    level: int,
    own: bool,
    ticket: int,
) -> None:
    """All of it, and the key as the partitioner has to get it."""
    record = Record(stored(key), value, tuple(headers), timestamp)
    found = unpack(pack(record, key, level, own=own, ticket=ticket))
    assert found == Unpacked(record, key, level, own, ticket)
    assert type(found.key) is type(key)


@given(st.binary(min_size=1), st.integers(0), st.integers(1, 255))
def test_a_byte_that_changed_is_noticed(value: bytes, where: int, change: int) -> None:
    """Whichever it is."""
    payload = bytearray(pack(Record(b"k", value, (), 7), "k", 20))
    payload[where % len(payload)] ^= change
    with pytest.raises(SpoolDamaged, match="not what was written"):
        unpack(bytes(payload))


@given(st.binary(max_size=200))
def test_what_makes_no_sense_is_damage(content: bytes) -> None:
    """Though its sum is right: no other error comes of it."""
    whole = b"\1" + content
    with pytest.raises(SpoolDamaged):
        unpack(whole + crc32(whole).to_bytes(4, "big"))


def test_another_format_says_so() -> None:
    """Its release can read it."""
    whole = b"\2" + pack(Record(None, None, (), 0), None, 0)[1:-4]
    with pytest.raises(SpoolDamaged, match="format 2 and this release of kiel_logging reads"):
        unpack(whole + crc32(whole).to_bytes(4, "big"))


def test_nothing_at_all_is_damage() -> None:
    """As of a file that was cut short."""
    with pytest.raises(SpoolDamaged):
        unpack(b"")


class Key:
    """A key of the user's."""


@pytest.mark.parametrize("key", [Key(), True, 1.5, "another"], ids=repr)
def test_a_key_of_another_type_becomes_its_bytes(key: Any) -> None:
    """What the partitioner made of it before can't be kept."""
    assert unpack(pack(Record(b"k", b"v", (), 0), key, 20)).key == b"k"


def test_a_level_beyond_measure_becomes_none() -> None:
    """It decides nothing any more."""
    assert unpack(pack(Record(None, b"v", (), 0), None, 2**40)).level == 0
