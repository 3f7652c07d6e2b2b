"""Byte for byte against another client: record batches that librdkafka wrote."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import confluent_kafka
import pytest
import snappy

from kiel_logging.records import Record
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.batches import StoredBatch, decode_batch
from kiel_logging.wire.compression import codec
from kiel_logging.wire.record_batch import encode_batch
from kiel_logging.wire.sizes import BATCH_OVERHEAD

NOW = 1_700_000_000_123
RECORDS = [
    Record(b"key-0", b"value-0", (("trace", b"\x00\xff"), ("empty", b""), ("null", None)), NOW),
    Record(None, b"no key", (), NOW + 5),
    Record(b"", b"", (), NOW - 7),
    Record(b"tombstone", None, (), NOW + 70_000),
    Record("schlüssel".encode(), b"again " * 12, (("straße", "grüße".encode()),), NOW + 1),
]

# librdkafka writes 0 as the partition leader epoch, we write -1, as Java does; it is the broker's
# to set, and stands outside of the CRC.
_LEADER_EPOCH = slice(12, 16)


def without_leader_epoch(raw: bytes) -> bytes:
    """The batch with zeros where clients may differ."""
    return raw[: _LEADER_EPOCH.start] + bytes(4) + raw[_LEADER_EPOCH.stop :]


def encoded_like(theirs: StoredBatch) -> bytes:
    """The same records by us, with the same codec, producer and sequence."""
    return encode_batch(
        RECORDS,
        codec=codec(theirs.codec),
        producer_id=theirs.producer_id,
        producer_epoch=theirs.producer_epoch,
        base_sequence=theirs.base_sequence,
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[FakeKafka]:
    """One broker that keeps what it is sent."""
    with FakeKafka() as threaded:
        yield threaded


def captured(cluster: FakeKafka, codec_name: str, *, idempotent: bool) -> bytes:
    """RECORDS in one batch, as librdkafka writes it."""
    topic = f"{codec_name}-{idempotent}"
    cluster.add_topic(topic, 1)
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": cluster.addresses[0],
            "linger.ms": 1000,
            "compression.type": codec_name,
            "enable.idempotence": idempotent,
            "log_level": 0,
        }
    )
    for key, value, headers, timestamp in RECORDS:
        producer.produce(topic, value, key, 0, timestamp=timestamp, headers=list(headers))
    assert producer.flush(20) == 0
    (batch,) = cluster.batches(topic)[0]
    return batch.raw


DECOMPRESS = {"none": bytes, "gzip": gzip.decompress, "snappy": snappy.uncompress}


def records_section(batch: StoredBatch) -> bytes:
    """The bytes behind the header, decompressed."""
    return DECOMPRESS[batch.codec](batch.raw[BATCH_OVERHEAD:])


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("codec_name", DECOMPRESS)
def test_librdkafka_writes_the_same_bytes(
    cluster: FakeKafka, codec_name: str, idempotent: bool
) -> None:
    """All but the partition leader epoch. Compressors differ, their input does not."""
    theirs = decode_batch(captured(cluster, codec_name, idempotent=idempotent), 0)
    ours = decode_batch(encoded_like(theirs), 0)
    assert [Record(r.key, r.value, r.headers, r.timestamp) for r in theirs.records] == RECORDS
    assert ours.attributes == theirs.attributes
    assert records_section(ours) == records_section(theirs)
    if codec_name == "none":
        assert without_leader_epoch(ours.raw) == without_leader_epoch(theirs.raw)
