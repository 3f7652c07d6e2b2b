"""Reads record batches (magic 2) without any code that writes them: an oracle.

Stricter than Kafka where Kafka repairs silently (offset deltas, the batch's largest timestamp),
because a client that leans on those repairs is wrong.
"""

from __future__ import annotations

import gzip
import importlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

from crc32c import crc32c

from kiel_logging.wire.error_codes import ErrorCode

_HEADER = struct.Struct(">qiibIhiqqqhii")
_CRC_ENDS_AT = 21
_CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_CONTROL_BATCH = 0x20


class RejectedBatch(Exception):
    """The batch breaks a rule; `code` is what a broker answers."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record as a consumer would see it; the timestamp is in milliseconds."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBatch:
    """A record batch with its records decoded; `raw` is what came over the wire."""

    base_offset: int
    codec: str
    attributes: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    max_timestamp: int
    records: tuple[StoredRecord, ...]
    raw: bytes

    @property
    def next_offset(self) -> int:
        """Offset of the record that would follow this batch."""
        return self.base_offset + len(self.records)

    @property
    def last_sequence(self) -> int:
        """Sequence numbers wrap from 2**31-1 to 0."""
        return (self.base_sequence + len(self.records) - 1) % 2**31


def split_batches(data: bytes) -> list[bytes]:
    """Cuts the records field of a Produce request into its batches."""
    batches = []
    while data:
        if len(data) < _HEADER.size:
            raise RejectedBatch(ErrorCode.corrupt_message, "shorter than a batch header")
        end = 12 + int.from_bytes(data[8:12], "big", signed=True)
        if not _HEADER.size <= end <= len(data):
            raise RejectedBatch(ErrorCode.corrupt_message, f"batch of {end} bytes in {len(data)}")
        batches.append(data[:end])
        data = data[end:]
    return batches


def decode_batch(raw: bytes, base_offset: int) -> StoredBatch:
    """Decodes a whole batch as if it were appended at `base_offset`."""
    fields = _HEADER.unpack_from(raw)
    magic, crc, attributes, last_delta, base_timestamp, max_timestamp = fields[3:9]
    producer_id, producer_epoch, base_sequence, count = fields[9:]
    _check_envelope(raw, magic, crc, attributes)
    codec = _CODECS.get(attributes & 7, "unknown")
    records = _decode_records(_decompress(codec, raw[_HEADER.size :]), count, base_timestamp)
    _check_records(records, last_delta, max_timestamp)
    return StoredBatch(
        base_offset=base_offset,
        codec=codec,
        attributes=attributes,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        max_timestamp=max_timestamp,
        records=tuple(_shifted(record, base_offset) for record in records),
        raw=raw,
    )


def _check_envelope(raw: bytes, magic: int, crc: int, attributes: int) -> None:
    if magic != 2:
        raise RejectedBatch(ErrorCode.invalid_record, f"magic {magic}, Produce v3+ takes only 2")
    if crc32c(raw[_CRC_ENDS_AT:]) != crc:
        raise RejectedBatch(ErrorCode.corrupt_message, "the CRC-32C does not match")
    if attributes & _CONTROL_BATCH:
        raise RejectedBatch(ErrorCode.invalid_record, "clients may not write control batches")


def _check_records(records: list[StoredRecord], last_delta: int, max_timestamp: int) -> None:
    if not records or last_delta != len(records) - 1:
        _invalid(f"{len(records)} records, but the last offset delta is {last_delta}")
    if [record.offset for record in records] != list(range(len(records))):
        _invalid("the offset deltas do not count up from 0")
    if max(record.timestamp for record in records) != max_timestamp:
        _invalid(f"max timestamp {max_timestamp} is not the largest of the records")


def _invalid(reason: str) -> None:
    raise RejectedBatch(ErrorCode.invalid_record, reason)


def _shifted(record: StoredRecord, base_offset: int) -> StoredRecord:
    return StoredRecord(
        base_offset + record.offset, record.timestamp, record.key, record.value, record.headers
    )


class _Cursor:
    """Walks over bytes; reading past the end is the batch's fault."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.data):
            _invalid(f"{size} bytes wanted, {len(self.data) - self.at} left")
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        """Zigzag varint of up to ten bytes: int32 and int64 are written alike."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7

    def nullable(self) -> bytes | None:
        size = self.varint()
        return None if size == -1 else self.take(size)


def _decode_records(data: bytes, count: int, base_timestamp: int) -> list[StoredRecord]:
    """The offsets are still deltas: the caller checks them before it shifts them."""
    cursor = _Cursor(data)
    records = [_decode_record(cursor, base_timestamp) for _ in range(count)]
    if cursor.at != len(data):
        _invalid(f"{len(data) - cursor.at} bytes behind the last of {count} records")
    return records


def _decode_record(cursor: _Cursor, base_timestamp: int) -> StoredRecord:
    end = cursor.varint()
    end += cursor.at
    cursor.take(1)
    timestamp = base_timestamp + cursor.varint()
    delta, key, value = cursor.varint(), cursor.nullable(), cursor.nullable()
    headers = tuple(_decode_header(cursor) for _ in range(cursor.varint()))
    if cursor.at != end:
        _invalid(f"a record ends at {cursor.at}, its length says {end}")
    return StoredRecord(delta, timestamp, key, value, headers)


def _decode_header(cursor: _Cursor) -> tuple[str, bytes | None]:
    key = cursor.nullable()
    if key is None:
        raise RejectedBatch(ErrorCode.invalid_record, "a record header needs a key")
    return key.decode(), cursor.nullable()


def _decompress(codec: str, data: bytes) -> bytes:
    try:
        return _DECOMPRESSORS[codec](data)
    except KeyError:
        reason = f"compression codec {codec!r}"
        raise RejectedBatch(ErrorCode.unsupported_compression_type, reason) from None
    except ImportError:
        raise
    except Exception as error:
        reason = f"does not decompress as {codec}: {error!r}"
        raise RejectedBatch(ErrorCode.corrupt_message, reason) from error


def _unsnappy(data: bytes) -> bytes:
    """Raw (librdkafka) and xerial-framed (Java) snappy are both legal."""
    uncompress = importlib.import_module("snappy").uncompress
    if not data.startswith(_XERIAL_MAGIC):
        return bytes(uncompress(data))
    cursor, blocks = _Cursor(data), []
    cursor.take(len(_XERIAL_MAGIC) + 8)
    while cursor.at < len(data):
        blocks.append(uncompress(cursor.take(int.from_bytes(cursor.take(4), "big"))))
    return b"".join(blocks)


def _unlz4(data: bytes) -> bytes:
    return bytes(importlib.import_module("lz4.frame").decompress(data))


def _unzstd(data: bytes) -> bytes:
    """By stream, because a frame need not say how long its content is."""
    zstandard = importlib.import_module("zstandard")
    return bytes(zstandard.ZstdDecompressor().decompressobj().decompress(data))


_DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.decompress,
    "snappy": _unsnappy,
    "lz4": _unlz4,
    "zstd": _unzstd,
}
