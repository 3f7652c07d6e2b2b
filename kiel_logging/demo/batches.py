"""The record batches as the brokers keep them: how many, how large, in which codec.

A consumer hands out records and hides the batches, so the raw ones are fetched here and the
headers read, with kio and a blocking socket: nothing of the code that wrote them.

Source: https://kafka.apache.org/documentation/#recordbatch
"""

import io
import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, NamedTuple

from kio.schema.fetch.v4.request import FetchPartition, FetchRequest, FetchTopic
from kio.schema.fetch.v4.response import FetchResponse, PartitionData
from kio.schema.types import TopicName
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i32, i32Timedelta, i64

from kiel_logging.demo.errors import DemoError
from kiel_logging.records import TopicPartition

_PATIENCE_S: Final = 30.0
_MAX_BYTES: Final = 16 * 1024 * 1024

_SIZE: Final = struct.Struct(">i")
# Base offset, length of what follows, leader epoch, magic, CRC, attributes, last offset delta,
# base and maximum timestamp, producer id, producer epoch, base sequence, number of records.
_BATCH_HEADER: Final = struct.Struct(">qiiBIhiqqqhii")
_BEFORE_LENGTH: Final = 12
_CODEC_BITS: Final = 0b111
_CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")


class BatchHeader(NamedTuple):
    """What the header of a stored record batch says. ``size`` is the whole batch, in bytes."""

    size: int
    next_offset: int
    records: int
    codec: str


@dataclass(slots=True)
class BatchTotals:
    """The batches of one topic, added up. ``codecs`` is name -> number of batches."""

    batches: int = 0
    records: int = 0
    size: int = 0
    codecs: Counter[str] = field(default_factory=Counter)

    def add(self, header: BatchHeader) -> None:
        """Count one batch."""
        self.batches += 1
        self.records += header.records
        self.size += header.size
        self.codecs[header.codec] += 1


def batch_totals(
    leaders: Mapping[TopicPartition, str], start_offsets: Mapping[TopicPartition, int]
) -> dict[str, BatchTotals]:
    """Return topic -> its batches, from ``start_offsets`` on.

    Raises:
        DemoError: a broker does not answer, or answers with an error.
    """
    by_address = defaultdict(list)
    for partition, address in leaders.items():
        by_address[address].append(partition)
    totals: dict[str, BatchTotals] = defaultdict(BatchTotals)
    for address, partitions in by_address.items():
        for partition, header in _batches_at(address, partitions, start_offsets):
            totals[partition.topic].add(header)
    return dict(totals)


def read_headers(records: bytes) -> Iterator[BatchHeader]:
    """Yield the header of each whole batch in the records field of a fetch response."""
    position = 0
    while position + _BATCH_HEADER.size <= len(records):
        parts = _BATCH_HEADER.unpack_from(records, position)
        size = _BEFORE_LENGTH + parts[1]
        if position + size > len(records):
            return  # the broker cuts where max_bytes is reached
        codec = _CODECS[parts[5] & _CODEC_BITS]
        yield BatchHeader(size, parts[0] + parts[6] + 1, parts[12], codec)
        position += size


def _batches_at(
    address: str,
    partitions: Iterable[TopicPartition],
    start_offsets: Mapping[TopicPartition, int],
) -> Iterator[tuple[TopicPartition, BatchHeader]]:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _PATIENCE_S) as connection:
            for partition in partitions:
                for header in _batches_of(connection, partition, start_offsets[partition]):
                    yield partition, header
    except OSError as cause:
        raise DemoError(f"can't fetch the batches from {address}: {cause}") from cause


def _batches_of(
    connection: socket.socket, partition: TopicPartition, offset: int
) -> Iterator[BatchHeader]:
    while True:
        data = _fetch(connection, partition, offset)
        headers = list(read_headers(data.records or b""))
        if not headers:
            return
        yield from headers
        offset = headers[-1].next_offset
        if offset >= data.high_watermark:
            return


def _fetch(connection: socket.socket, partition: TopicPartition, offset: int) -> PartitionData:
    connection.sendall(_request(partition, offset))
    (size,) = _SIZE.unpack(_exactly(connection, _SIZE.size))
    frame = _exactly(connection, size)
    _, position = entity_reader(FetchResponse.__header_schema__)(frame, 0)
    response, _ = entity_reader(FetchResponse)(frame, position)
    data = response.responses[0].partitions[0]
    if data.error_code:
        raise DemoError(f"can't fetch {partition} at {offset}: {data.error_code!r}")
    return data


def _request(partition: TopicPartition, offset: int) -> bytes:
    request = FetchRequest(
        max_wait=i32Timedelta.parse(timedelta(0)),
        min_bytes=i32(0),
        topics=(
            FetchTopic(
                topic=TopicName(partition.topic),
                partitions=(
                    FetchPartition(
                        partition=i32(partition.partition),
                        fetch_offset=i64(offset),
                        partition_max_bytes=i32(_MAX_BYTES),
                    ),
                ),
            ),
        ),
    )
    header = FetchRequest.__header_schema__(
        request_api_key=FetchRequest.__api_key__,
        request_api_version=FetchRequest.__version__,
        correlation_id=i32(0),
        client_id="kiel-demo",
    )
    buffer = io.BytesIO()
    entity_writer(type(header))(buffer, header)
    entity_writer(FetchRequest)(buffer, request)
    return _SIZE.pack(buffer.tell()) + buffer.getvalue()


def _exactly(connection: socket.socket, size: int) -> bytes:
    chunks = bytearray()
    while len(chunks) < size:
        chunk = connection.recv(size - len(chunks))
        if not chunk:
            raise DemoError("the broker hung up")
        chunks += chunk
    return bytes(chunks)
