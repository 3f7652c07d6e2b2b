"""Record batches, read back by kio and by a decoder of the tests' own."""

from __future__ import annotations

import io
import struct

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from kio.records.readers import read_batch
from kio.serial.writers import write_signed_varlong

from kiel_logging import constants
from kiel_logging.records import Header, Record
from kiel_logging.testing.batches import RejectedBatch, StoredRecord, decode_batch
from kiel_logging.wire.compression import codec
from kiel_logging.wire.record_batch import encode_batch, encode_records, encode_records_in_python
from kiel_logging.wire.record_body import compute_varint, encode_body, encode_varint
from kiel_logging.wire.sizes import BATCH_OVERHEAD, record_size
from tests.support.examples import examples

NOW = 1_700_000_000_123
CODECS = [constants.GZIP, constants.SNAPPY, constants.LZ4, constants.ZSTD]
HEADER = struct.Struct(">qiibIhiqqqhii")

blobs = st.none() | st.binary(max_size=40) | st.binary(min_size=60, max_size=200)
headers = st.lists(st.tuples(st.text(max_size=10), blobs), max_size=4).map(tuple)
timestamps = st.integers(0, 2**41)
records = st.builds(Record, key=blobs, value=blobs, headers=headers, timestamp=timestamps)
batches = st.lists(records, min_size=1, max_size=20)


def record(
    key: bytes | None = b"key",
    value: bytes | None = b"value",
    headers: tuple[Header, ...] = (),
    timestamp: int = NOW,
) -> Record:
    """A record of which a test names what it is about."""
    return Record(key, value, headers, timestamp)


def stored(records: list[Record]) -> tuple[StoredRecord, ...]:
    """The records as a consumer must see them."""
    return tuple(
        StoredRecord(offset, r.timestamp, r.key, r.value, r.headers)
        for offset, r in enumerate(records)
    )


def read_back(records: list[Record]) -> tuple[StoredRecord, ...]:
    """The records of their batch, as our decoder reads it, and kio does; but kio's drops the
    milliseconds of timestamps."""
    raw = encode_batch(records)
    ours = decode_batch(raw, 0).records
    theirs = read_batch(raw, 0)[0].records
    assert [(r.key, r.value, [(h.key.decode(), h.value) for h in r.headers]) for r in theirs] == [
        (r.key, r.value, list(r.headers)) for r in ours
    ]
    return ours


# -- what is in it comes out again -----------------------------------------------------------------


@examples(60)
@given(batches)
def test_every_record_is_read_back(batch: list[Record]) -> None:
    """Keys, values, headers and timestamps of any kind, in order."""
    assert read_back(batch) == stored(batch)


@examples(30)
@given(batches, st.sampled_from(CODECS))
def test_every_codec_is_read_back(batch: list[Record], name: str) -> None:
    """Compressed records are those that went in, under the codec's own attribute bits."""
    decoded = decode_batch(encode_batch(batch, codec=codec(name)), 0)
    assert decoded.codec == name
    assert decoded.records == stored(batch)


@pytest.mark.parametrize(
    ("key", "value", "headers", "expected"),
    [
        (None, None, (), "01 01 00"),
        (b"", b"", (), "00 00 00"),
        (b"k", b"vw", (), "02 6b 04 7677 00"),
        (None, b"v", (("h", None),), "01 02 76 02 02 68 01"),
        (None, b"v", (("h", b""),), "01 02 76 02 02 68 00"),
        (None, b"v", (("ü", b"1"), ("b", b"2")), "01 02 76 04 04 c3bc 02 31 02 62 02 32"),
        (None, b"v", (("b", b"1"), ("b", b"2")), "01 02 76 04 02 62 02 31 02 62 02 32"),
        (b"k" * 64, None, (), "8001" + "6b" * 64 + "01 00"),
        (None, b"v" * 20_000, (), "01 c0b802" + "76" * 20_000 + "00"),
    ],
    ids=lambda given: repr(given)[:30],
)
def test_a_batch_ends_with_the_body_of_its_last_record(
    key: bytes | None, value: bytes | None, headers: tuple[Header, ...], expected: str
) -> None:
    """The body, which is digested, is stored byte by byte, behind a length, attributes and two
    deltas. Null is -1 and not 0; lengths are zigzag varints; a header's name is UTF-8."""
    body = encode_body(key, value, headers)
    assert body == bytes.fromhex(expected)
    raw = encode_batch([Record(key, value, headers, NOW)])
    assert raw.endswith(b"\x00\x00\x00" + body)
    assert read_back([record(), record(key, value, headers)])[1:] == (
        StoredRecord(1, NOW, key, value, headers),
    )


def varint_by_kio(value: int) -> bytes:
    """The signed varint of 64 bits as kio writes it."""
    buffer = io.BytesIO()
    write_signed_varlong(buffer, value)  # type: ignore[arg-type]
    return buffer.getvalue()


@examples(300)
@given(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 2000))
def test_signed_varints_are_those_that_kio_writes(value: int) -> None:
    """Computed or from the table of small ones; short where the magnitude is small."""
    assert compute_varint(value) == encode_varint(value) == varint_by_kio(value)


@pytest.mark.parametrize("bits", range(63))
def test_a_varint_grows_at_the_right_powers_of_two(bits: int) -> None:
    """One more byte each seven bits, for both signs."""
    for value in (2**bits - 1, 2**bits, -(2**bits), -(2**bits) - 1):
        assert encode_varint(value) == varint_by_kio(value)


def test_offset_deltas_count_beyond_the_table() -> None:
    """More records than there are precomputed varints."""
    many = [record(key=None, value=b"")] * 16_390
    decoded = decode_batch(encode_batch(many), 0)
    assert [r.offset for r in decoded.records] == list(range(16_390))


# -- the header ------------------------------------------------------------------------------------


def fields_of(raw: bytes) -> dict[str, int]:
    """The batch's header by the names in Kafka's documentation."""
    names = (
        "baseOffset batchLength partitionLeaderEpoch magic crc attributes lastOffsetDelta "
        "baseTimestamp maxTimestamp producerId producerEpoch baseSequence count"
    )
    return dict(zip(names.split(), HEADER.unpack_from(raw), strict=True))


def test_the_header_of_a_plain_batch() -> None:
    """Nothing is left to chance: every field, for two records."""
    raw = encode_batch([record(timestamp=NOW), record(timestamp=NOW + 5)])
    assert fields_of(raw) == {
        "baseOffset": 0,
        "batchLength": len(raw) - 12,
        "partitionLeaderEpoch": -1,
        "magic": 2,
        "crc": crc32c(raw[21:]),
        "attributes": 0,
        "lastOffsetDelta": 1,
        "baseTimestamp": NOW,
        "maxTimestamp": NOW + 5,
        "producerId": -1,
        "producerEpoch": -1,
        "baseSequence": -1,
        "count": 2,
    }


@pytest.mark.parametrize(
    ("offsets", "base", "largest"),
    [
        ([0], 0, 0),
        ([0, 10, 20], 0, 20),
        ([0, -10, -20], 0, 0),
        ([0, 99_999, -99_999], 0, 99_999),
        ([-7, 3, -9], -7, 3),
    ],
)
def test_timestamps_out_of_order(offsets: list[int], base: int, largest: int) -> None:
    """The base is the first record's, the maximum the largest, whatever their order."""
    batch = [record(timestamp=NOW + offset) for offset in offsets]
    header = fields_of(encode_batch(batch))
    assert (header["baseTimestamp"], header["maxTimestamp"]) == (NOW + base, NOW + largest)
    assert [r.timestamp for r in read_back(batch)] == [NOW + offset for offset in offsets]


@pytest.mark.parametrize(
    ("producer_id", "epoch", "sequence"),
    [(0, 0, 0), (1000, 3, 17), (2**63 - 1, 2**15 - 1, 2**31 - 1), (-1, -1, -1)],
)
def test_producer_id_epoch_and_sequence(producer_id: int, epoch: int, sequence: int) -> None:
    """They stand in the header."""
    raw = encode_batch(
        [record()], producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence
    )
    decoded = decode_batch(raw, 0)
    assert (decoded.producer_id, decoded.producer_epoch) == (producer_id, epoch)
    assert decoded.base_sequence == sequence


@pytest.mark.parametrize("name", [None, *CODECS])
def test_the_crc_covers_all_that_stands_behind_it(name: str | None) -> None:
    """A change of any single byte behind the CRC, and of the CRC, is found."""
    raw = encode_batch([record(), record(key=None)], codec=codec(name))
    for at in range(17, len(raw)):
        damaged = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(RejectedBatch):
            decode_batch(damaged, 0)


@pytest.mark.parametrize("name", [None, *CODECS])
def test_the_same_records_make_the_same_bytes(name: str | None) -> None:
    """A batch that is sent again is the same to the byte."""
    batch = [record(value=b"v" * size) for size in range(50)]
    assert encode_batch(batch, codec=codec(name)) == encode_batch(batch, codec=codec(name))


# -- the size --------------------------------------------------------------------------------------


@examples(100)
@given(batches)
def test_record_size_is_an_upper_bound(batch: list[Record]) -> None:
    """An uncompressed batch takes at most the sum of its records and its own overhead, header keys
    being UTF-8 with up to four bytes a character."""
    batch = [*batch, record(headers=(("🔑" * 50, b""),) * 20)]
    assert len(encode_batch(batch)) <= BATCH_OVERHEAD + sum(map(record_size, batch))


@examples(100)
@given(records)
def test_record_size_is_not_far_off(one: Record) -> None:
    """Memory and requests are filled: at most the varints, and header keys, are overestimated."""
    slack = 36 + sum(10 + 3 * len(key) for key, _ in one.headers)
    assert record_size(one) - (len(encode_batch([one])) - BATCH_OVERHEAD) <= slack


def test_an_empty_batch_would_be_the_overhead() -> None:
    """61 bytes: the header, as Kafka documents it."""
    assert HEADER.size == BATCH_OVERHEAD == 61


# -- in C ------------------------------------------------------------------------------------------


@given(batches, timestamps, st.integers(0, 2**31 - 1))
def test_both_encoders_write_the_same(batch: list[Record], base: int, first: int) -> None:
    """That in Python, and whatever is installed: in C, where it could be compiled."""
    assert encode_records(batch, base, first) == encode_records_in_python(batch, base, first)
