"""The body of a record: the bytes that a batch has of it, read back by kio's reader too."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiel_logging.records import Header, Record
from kiel_logging.wire.record_batch import encode_batch
from kiel_logging.wire.record_body import encode_body
from kiel_logging.wire.sizes import BATCH_OVERHEAD

blobs = st.none() | st.binary(max_size=40) | st.binary(min_size=60, max_size=200)
headers = st.lists(st.tuples(st.text(max_size=10), blobs), max_size=4).map(tuple)


@settings(max_examples=100, deadline=None)
@given(blobs, blobs, headers)
def test_a_batch_ends_with_the_body_of_its_last_record(
    key: bytes | None, value: bytes | None, headers: tuple[Header, ...]
) -> None:
    """What is digested is what is stored, byte by byte."""
    record = Record(key, value, headers, 1_700_000_000_123)
    stored = encode_batch([record])[BATCH_OVERHEAD:]
    body = encode_body(key, value, headers)
    # In front of it: a length, attributes and two deltas that are 0.
    front = stored[: -len(body)]
    assert stored.endswith(body)
    assert front[-3:] == b"\x00\x00\x00"


@pytest.mark.parametrize(
    ("key", "value", "headers", "expected"),
    [
        (None, None, (), "01 01 00"),
        (b"", b"", (), "00 00 00"),
        (b"k", b"vw", (), "02 6b 04 7677 00"),
        (None, b"v", (("h", None),), "01 02 76 02 02 68 01"),
        (None, b"v", [("h", b"")], "01 02 76 02 02 68 00"),
        (None, b"v", (("ü", b"1"), ("b", b"2")), "01 02 76 04 04 c3bc 02 31 02 62 02 32"),
        (b"k" * 64, None, (), "8001" + "6b" * 64 + "01 00"),
        (None, b"v" * 20_000, (), "01 c0b802" + "76" * 20_000 + "00"),
    ],
    ids=lambda given: repr(given)[:30],
)
def test_the_bytes_of_a_body(
    key: bytes | None, value: bytes | None, headers: list[Header], expected: str
) -> None:
    """Null is -1 and not 0; lengths are zigzag varints; a header's name is UTF-8."""
    assert encode_body(key, value, headers) == bytes.fromhex(expected)
