"""Record batches of format 2 (magic 2), the one that every broker since 0.11 stores.

Source: Kafka's message format (KIP-98 for the batch, KIP-82 for headers)::

    baseOffset int64 | batchLength int32 | partitionLeaderEpoch int32 | magic int8 | crc uint32
    attributes int16 | lastOffsetDelta int32 | baseTimestamp int64 | maxTimestamp int64
    producerId int64 | producerEpoch int16 | baseSequence int32 | count int32 | records

The CRC-32C covers everything behind itself. The records are compressed as one block.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from crc32c import crc32c

from kiel_logging.records import Record
from kiel_logging.wire.compression import NONE, Codec
from kiel_logging.wire.record_body import encode_body, encode_varint
from kiel_logging.wire.sizes import plain_record

NO_PRODUCER_ID: Final = -1
NO_PRODUCER_EPOCH: Final = -1
NO_SEQUENCE: Final = -1

_MAGIC: Final = 2
_BEFORE_CRC: Final = struct.Struct(">qiibI")
_AFTER_CRC: Final = struct.Struct(">hiqqqhii")
# batchLength counts what follows it: leader epoch, magic and CRC, then the rest.
_LENGTH_BEFORE_CRC: Final = 9

_QUICK: Final = 512 * 1024
"""Bytes whose checksum takes less than 0.1 ms."""


def encode_batch(
    records: Sequence[Record],
    *,
    codec: Codec = NONE,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
    base_sequence: int = NO_SEQUENCE,
) -> bytes:
    """Return ``records`` (at least one) as the bytes of one record batch."""
    return encode_and_measure(
        records,
        codec=codec,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )[0]


def encode_and_measure(
    records: Sequence[Record],
    *,
    codec: Codec,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
    base_sequence: int = NO_SEQUENCE,
) -> tuple[bytes, int]:
    """Return what ``encode_batch()`` does, and how many bytes it would be uncompressed.

    C gives up the GIL while it encodes many records, and so do codecs, and the checksum of many
    bytes: that of few takes less time than to get the GIL back from threads that log, up to 5 ms.
    """
    first = records[0].timestamp
    encoded, last = encode_records(records, first, 0)
    payload = codec.compress(encoded)
    after_crc = _AFTER_CRC.pack(
        codec.bits,
        len(records) - 1,
        first,
        last,
        producer_id,
        producer_epoch,
        base_sequence,
        len(records),
    )
    before_crc = _BEFORE_CRC.pack(
        0,
        _LENGTH_BEFORE_CRC + len(after_crc) + len(payload),
        -1,  # the partition leader epoch: the broker's to set
        _MAGIC,
        crc32c(payload, crc32c(after_crc), len(payload) > _QUICK),
    )
    fixed = before_crc + after_crc
    return fixed + payload, len(fixed) + len(encoded)


def encode_records_in_python(
    records: Sequence[Record], base_timestamp: int, first_offset_delta: int
) -> tuple[bytes, int]:
    """Return ``records`` one behind the other, uncompressed, and the last of their timestamps."""
    parts: list[bytes] = []
    last = records[0].timestamp if records else base_timestamp
    for offset_delta, record in enumerate(map(plain_record, records), first_offset_delta):
        key, value, headers, timestamp = record
        last = max(last, timestamp)
        deltas = encode_varint(timestamp - base_timestamp) + encode_varint(offset_delta)
        body = encode_body(key, value, headers)
        # In front of the deltas is a byte of attributes, which are unused.
        parts += (encode_varint(1 + len(deltas) + len(body)), b"\x00", deltas, body)
    return b"".join(parts), last


try:
    from kiel_logging._accelerator import encode_records as encode_records_in_c
except ImportError:  # there was no C compiler
    encode_records: Callable[[Any, int, int], tuple[bytes, int]] = encode_records_in_python
else:
    encode_records = encode_records_in_c
