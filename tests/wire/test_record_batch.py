"""Record batches, read back by kio and by a decoder of the tests' own."""

from __future__ import annotations

import struct

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st
from kio.records.readers import read_batch

from kiel_logging import constants
from kiel_logging.records import Record
from kiel_logging.wire.compression import codec
from kiel_logging.wire.record_batch import encode_batch, encode_records, encode_records_in_python
from kiel_logging.wire.sizes import BATCH_OVERHEAD, record_size
from tests.support.examples import examples
from tests.support.stored_records import RejectedBatch, StoredRecord, decode_batch, split_batches

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
    headers: tuple[tuple[str, bytes | None], ...] = (),
    timestamp: int = NOW,
) -> Record:
    """A record of which a test names what it is about."""
    return Record(key, value, headers, timestamp)


def stored(records: list[Record]) -> tuple[StoredRecord, ...]:
    """What a consumer must see."""
    return tuple(
        StoredRecord(offset, r.timestamp, r.key, r.value, r.headers)
        for offset, r in enumerate(records)
    )


def read_back(records: list[Record]) -> tuple[StoredRecord, ...]:
    """The records of their batch, as the tests' decoder (and kio, which it asks) reads it."""
    return decode_batch(encode_batch(records), 0).records


# -- what is in it comes out again -----------------------------------------------------------------


@examples(60)
@given(batches)
def test_every_record_is_read_back(batch: list[Record]) -> None:
    """Keys, values, headers and timestamps of any kind, in order."""
    assert read_back(batch) == stored(batch)


@examples(60)
@given(batches)
def test_kio_reads_the_batch(batch: list[Record]) -> None:
    """All of it, to the last byte; timestamps aside, whose milliseconds kio drops."""
    raw = encode_batch(batch)
    theirs, size = read_batch(raw, 0)
    assert size == len(raw)
    assert [(r.key, r.value, r.offset) for r in theirs.records] == [
        (r.key, r.value, offset) for offset, r in enumerate(batch)
    ]
    assert [[(h.key, h.value) for h in r.headers] for r in theirs.records] == [
        [(key.encode(), value) for key, value in r.headers] for r in batch
    ]


@examples(30)
@given(batches, st.sampled_from(CODECS))
def test_every_codec_is_read_back(batch: list[Record], name: str) -> None:
    """Compressed records are those that went in, under the codec's own attribute bits."""
    decoded = decode_batch(encode_batch(batch, codec=codec(name)), 0)
    assert decoded.codec == name
    assert decoded.records == stored(batch)


@pytest.mark.parametrize(
    "odd",
    [
        record(key=None),
        record(key=b""),
        record(value=None),
        record(value=b""),
        record(key=None, value=None),
        record(headers=(("", b""),)),
        record(headers=(("null", None), ("empty", b""))),
        record(headers=(("again", b"1"), ("again", b"2"))),
        record(headers=(("schlüssel", b"\x00\xff"), ("鍵", None), ("🔑", b"key"))),
        record(headers=tuple((f"h{number}", b"%d" % number) for number in range(70))),
        record(value=b"v" * 20_000),
        record(key=b"k" * 20_000),
    ],
    ids=lambda odd: repr(odd)[:60],
)
def test_nulls_empties_and_extremes_are_kept_apart(odd: Record) -> None:
    """Null is not empty, header keys are UTF-8 and may repeat, lengths pass every varint size."""
    assert read_back([record(), odd, record()]) == stored([record(), odd, record()])


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
    """What idempotence needs stands in the header."""
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


def test_batches_can_be_told_apart() -> None:
    """The length in the header leads from one batch to the next."""
    raws = [encode_batch([record(value=b"v" * size)]) for size in (0, 1, 100)]
    assert split_batches(b"".join(raws)) == raws


@pytest.mark.parametrize("name", [None, *CODECS])
def test_the_same_records_make_the_same_bytes(name: str | None) -> None:
    """What is sent again is what was sent before, to the byte."""
    batch = [record(value=b"v" * size) for size in range(50)]
    assert encode_batch(batch, codec=codec(name)) == encode_batch(batch, codec=codec(name))


# -- the size --------------------------------------------------------------------------------------


@examples(100)
@given(batches)
def test_record_size_is_an_upper_bound(batch: list[Record]) -> None:
    """An uncompressed batch takes at most the sum of its records and its own overhead."""
    assert len(encode_batch(batch)) <= BATCH_OVERHEAD + sum(map(record_size, batch))


@pytest.mark.parametrize("name", ["h", "ü", "鍵", "🔑"])
def test_record_size_knows_that_header_keys_are_utf8(name: str) -> None:
    """One character takes up to four bytes."""
    one = record(headers=tuple((name * 50, b"") for _ in range(20)))
    assert len(encode_batch([one])) <= BATCH_OVERHEAD + record_size(one)


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
