"""Byte for byte against another client: record batches that librdkafka wrote."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import confluent_kafka
import pytest
import snappy

from kiel_logging.records import Record
from kiel_logging.wire.compression import codec
from kiel_logging.wire.record_batch import encode_batch
from kiel_logging.wire.sizes import BATCH_OVERHEAD
from tests.support.stored_records import StoredBatch, decode_batch
from tests.support.threaded_fake_cluster import ThreadedFakeCluster

NOW = 1_700_000_000_123
RECORDS = [
    Record(b"key-0", b"value-0", (("trace", b"\x00\xff"), ("empty", b""), ("null", None)), NOW),
    Record(None, b"no key", (), NOW + 5),
    Record(b"", b"", (), NOW - 7),
    Record(b"tombstone", None, (), NOW + 70_000),
    Record("schlüssel".encode(), b"again " * 12, (("straße", "grüße".encode()),), NOW + 1),
]

# By librdkafka 2.16.0: RECORDS in one batch, to the fake cluster in tests/support, as in
# `captured()` below, which makes new ones.
CAPTURED = {
    "none": (
        "0000000000000000000000eb0000000002a9f24a2a0000000000040000018bcfe5687b0000018bcfe679ebff"
        "ffffffffffffffffffffffffff00000005500000000a6b65792d300e76616c75652d30060a74726163650400"
        "ff0a656d70747900086e756c6c0118000a02010c6e6f206b6579000c000d040000002200e0c5080612746f6d"
        "6273746f6e650100d201000208147363686cc3bc7373656c9001616761696e20616761696e20616761696e20"
        "616761696e20616761696e20616761696e20616761696e20616761696e20616761696e20616761696e206167"
        "61696e20616761696e20020e73747261c39f650e6772c3bcc39f65"
    ),
    "none, idempotent": (
        "0000000000000000000000eb000000000295276ff40000000000040000018bcfe5687b0000018bcfe679eb00"
        "000000000003e800000000000000000005500000000a6b65792d300e76616c75652d30060a74726163650400"
        "ff0a656d70747900086e756c6c0118000a02010c6e6f206b6579000c000d040000002200e0c5080612746f6d"
        "6273746f6e650100d201000208147363686cc3bc7373656c9001616761696e20616761696e20616761696e20"
        "616761696e20616761696e20616761696e20616761696e20616761696e20616761696e20616761696e206167"
        "61696e20616761696e20020e73747261c39f650e6772c3bcc39f65"
    ),
    "gzip": (
        "0000000000000000000000bc0000000002f7e7590d0001000000040000018bcfe5687b0000018bcfe679ebff"
        "ffffffffffffffffffffffffff000000051f8b08000000000000030b606060e0ca4eadd435e02b4bcc294dd5"
        "3560e32a294a4c4e6561f8cf959a5b5052c9c091579a93c328c1c0c5c4c89397af0054ccc0c3c0cb02d4a8c4"
        "f0e028079b50497e6e5271497e5e2a23c3254606260e91e2e48c9cc37b8a8b5373263026a62766e629504e32"
        "f11503dd75787e2a5f7ad1e13d401a00270eb44cba000000"
    ),
    "gzip, idempotent": (
        "0000000000000000000000bc00000000029a7b06ea0001000000040000018bcfe5687b0000018bcfe679eb00"
        "000000000003e9000000000000000000051f8b08000000000000030b606060e0ca4eadd435e02b4bcc294dd5"
        "3560e32a294a4c4e6561f8cf959a5b5052c9c091579a93c328c1c0c5c4c89397af0054ccc0c3c0cb02d4a8c4"
        "f0e028079b50497e6e5271497e5e2a23c3254606260e91e2e48c9cc37b8a8b5373263026a62766e629504e32"
        "f11503dd75787e2a5f7ad1e13d401a00270eb44cba000000"
    ),
    "snappy": (
        "0000000000000000000000b30000000002043692eb0002000000040000018bcfe5687b0000018bcfe679ebff"
        "ffffffffffffffffffffffffff00000005ba01f066500000000a6b65792d300e76616c75652d30060a747261"
        "63650400ff0a656d70747900086e756c6c0118000a02010c6e6f206b6579000c000d040000002200e0c50806"
        "12746f6d6273746f6e650100d201000208147363686cc3bc7373656c9001616761696e20ee0600090640020e"
        "73747261c39f650e6772c3bcc39f65"
    ),
    "snappy, idempotent": (
        "0000000000000000000000b3000000000293b3a4f20002000000040000018bcfe5687b0000018bcfe679eb00"
        "000000000003ea00000000000000000005ba01f066500000000a6b65792d300e76616c75652d30060a747261"
        "63650400ff0a656d70747900086e756c6c0118000a02010c6e6f206b6579000c000d040000002200e0c50806"
        "12746f6d6273746f6e650100d201000208147363686cc3bc7373656c9001616761696e20ee0600090640020e"
        "73747261c39f650e6772c3bcc39f65"
    ),
}

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


def as_records(batch: StoredBatch) -> list[Record]:
    """What the tests' decoder reads from it."""
    return [Record(r.key, r.value, r.headers, r.timestamp) for r in batch.records]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ThreadedFakeCluster]:
    """One broker that keeps what it is sent."""
    with ThreadedFakeCluster(brokers=1) as threaded:
        yield threaded


def captured(cluster: ThreadedFakeCluster, codec_name: str, *, idempotent: bool) -> bytes:
    """RECORDS in one batch, as the installed librdkafka writes it."""
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


@pytest.mark.parametrize("name", CAPTURED)
def test_the_captured_batches_hold_the_records(name: str) -> None:
    """The decoder of the tests reads from librdkafka's bytes what went in."""
    assert as_records(decode_batch(bytes.fromhex(CAPTURED[name]), 0)) == RECORDS


@pytest.mark.parametrize("name", [name for name in CAPTURED if name.startswith("none")])
def test_uncompressed_batches_are_the_same_bytes(name: str) -> None:
    """All but the partition leader epoch, the CRC included."""
    theirs = bytes.fromhex(CAPTURED[name])
    ours = encoded_like(decode_batch(theirs, 0))
    assert without_leader_epoch(ours) == without_leader_epoch(theirs)


@pytest.mark.parametrize("name", CAPTURED)
def test_compressed_batches_hold_the_same_bytes(name: str) -> None:
    """Compressors differ, what they compress does not: same attributes, same records section."""
    theirs = decode_batch(bytes.fromhex(CAPTURED[name]), 0)
    ours = decode_batch(encoded_like(theirs), 0)
    assert ours.attributes == theirs.attributes
    assert records_section(ours) == records_section(theirs)


DECOMPRESS = {"none": bytes, "gzip": gzip.decompress, "snappy": snappy.uncompress}


def records_section(batch: StoredBatch) -> bytes:
    """The bytes behind the header, decompressed."""
    return DECOMPRESS[batch.codec](batch.raw[BATCH_OVERHEAD:])


@pytest.mark.parametrize("idempotent", [False, True])
def test_the_installed_librdkafka_writes_the_same_bytes(
    cluster: ThreadedFakeCluster, idempotent: bool
) -> None:
    """Not only the one that wrote the batches above."""
    theirs = captured(cluster, "none", idempotent=idempotent)
    ours = encoded_like(decode_batch(theirs, 0))
    assert without_leader_epoch(ours) == without_leader_epoch(theirs)


@pytest.mark.parametrize("codec_name", ["gzip", "snappy"])
def test_the_installed_librdkafka_compresses_the_same_bytes(
    cluster: ThreadedFakeCluster, codec_name: str
) -> None:
    """The records section is the same once it is decompressed."""
    theirs = decode_batch(captured(cluster, codec_name, idempotent=False), 0)
    ours = decode_batch(encoded_like(theirs), 0)
    assert records_section(ours) == records_section(theirs)
