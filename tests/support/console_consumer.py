"""Reads a topic back with independent consumers: Kafka's console consumer and librdkafka.

The console consumer prints raw bytes, so anything could look like a separator. Each run makes its
separators from a random token, which no record written before it can have. One ambiguity is left:
it prints a header as key, colon, value, so a colon in a header's key ends up in the value.
`confluent_consume` has no such limit.
"""

import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from .kafka import KafkaCluster
from .kafka.properties import render

_CONSOLE_CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
_Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
_START_ALLOWANCE = 60.0  # seconds beyond the silence timeout until a stuck consumer is ended


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumedRecord:
    """One record as a consumer saw it; the timestamp is in milliseconds."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class ReadBackError(RuntimeError):
    """A consumer failed or was cut off; the message has its output."""


def java_console_consumer(
    cluster: KafkaCluster, topic: str, *, count: int = 0, timeout_ms: int = 10_000
) -> list[ConsumedRecord]:
    """Read `topic` to its present end, and wait for more while there are fewer than `count`.

    More than `count` are read too, so that duplicates show. If too few come, the list is returned
    after `timeout_ms` of silence.
    """
    wanted = max(count, available(cluster.bootstrap, topic))
    if wanted == 0:
        return []
    with tempfile.TemporaryDirectory() as scratch:
        marks = _Marks()
        formatter = Path(scratch) / "formatter.properties"
        formatter.write_text(render(marks.formatter_properties()))
        arguments = ["--bootstrap-server", ",".join(cluster.bootstrap), "--topic", topic]
        arguments += ["--from-beginning", "--max-messages", str(wanted)]
        arguments += ["--timeout-ms", str(timeout_ms), "--formatter-config", str(formatter)]
        command = cluster.distribution.command(_CONSOLE_CONSUMER, *arguments)
        output = _run(command, Path(scratch), timeout_ms / 1000 + _START_ALLOWANCE)
    return list(marks.parse(output))


def confluent_consume(
    bootstrap: Sequence[str], topic: str, *, timeout: float = 30.0
) -> list[ConsumedRecord]:
    """Read every partition of `topic` to its end with librdkafka, which checks every CRC."""
    consumer = _consumer(bootstrap)
    try:
        partitions = _partitions(consumer, topic, timeout)
        consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in partitions])
        return list(_until_all_end(consumer, set(partitions), timeout))
    finally:
        consumer.close()


def available(bootstrap: Sequence[str], topic: str, *, timeout: float = 30.0) -> int:
    """Return how many records `topic` holds now, by its offsets."""
    consumer = _consumer(bootstrap)
    try:
        return sum(
            high - low
            for low, high in (
                _watermarks(consumer, TopicPartition(topic, each), timeout)
                for each in _partitions(consumer, topic, timeout)
            )
        )
    finally:
        consumer.close()


def _watermarks(consumer: Consumer, partition: TopicPartition, timeout: float) -> tuple[int, int]:
    """Return the first and the next offset; a leader may not know yet that it is one."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            low, high = consumer.get_watermark_offsets(partition, timeout=timeout)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
        else:
            return low, high


class _Marks:
    """The separators of one run of the console consumer, and the parser that knows them."""

    def __init__(self) -> None:
        token = uuid.uuid4().hex[:16]
        self.field, self.header, self.line, self.null = (
            f"<{token}:{mark}>".encode() for mark in "fhl0"
        )

    def formatter_properties(self) -> dict[str, str]:
        shown = ("timestamp", "partition", "offset", "headers", "key", "value")
        return {
            **{f"print.{each}": "true" for each in shown},
            "key.separator": self.field.decode(),
            "headers.separator": self.header.decode(),
            "line.separator": self.line.decode(),
            "null.literal": self.null.decode(),
        }

    def parse(self, output: bytes) -> Iterator[ConsumedRecord]:
        *lines, rest = output.split(self.line)
        if rest:
            raise ReadBackError(f"the console consumer stopped within a record: {rest[:200]!r}")
        return map(self._record, lines)

    def _record(self, line: bytes) -> ConsumedRecord:
        timestamp, partition, offset, headers, key, value = line.split(self.field)
        return ConsumedRecord(
            timestamp=_number(timestamp),  # CreateTime:N or LogAppendTime:N
            partition=_number(partition),
            offset=_number(offset),
            headers=self._headers(headers),
            key=self._nullable(key),
            value=self._nullable(value),
        )

    def _headers(self, text: bytes) -> tuple[tuple[str, bytes | None], ...]:
        if text == b"NO_HEADERS":
            return ()
        pairs = (each.partition(b":") for each in text.split(self.header))
        return tuple((key.decode(), self._nullable(value)) for key, _, value in pairs)

    def _nullable(self, text: bytes) -> bytes | None:
        return None if text == self.null else text


def _number(labelled: bytes) -> int:
    return int(labelled.partition(b":")[2])


def _run(command: list[str], scratch: Path, timeout: float) -> bytes:
    output, errors = scratch / "output", scratch / "errors"
    with output.open("wb") as out, errors.open("wb") as err:
        try:
            subprocess.run(command, stdout=out, stderr=err, timeout=timeout, check=True)
        except subprocess.SubprocessError as error:
            said = errors.read_text(errors="replace")[-4000:]
            raise ReadBackError(f"{error}\n{said}") from error
    return output.read_bytes()


def _consumer(bootstrap: Sequence[str]) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": ",".join(bootstrap),
            "group.id": "unused",  # librdkafka insists on one; assign() joins no group
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "check.crcs": True,
            "fetch.wait.max.ms": 50,  # until a broker reports that a partition ends
            "socket.timeout.ms": 5000,
            "log_level": 0,
            "error_cb": lambda error: None,
        }
    )


def _partitions(consumer: Consumer, topic: str, timeout: float) -> list[int]:
    return list(consumer.list_topics(topic, timeout=timeout).topics[topic].partitions)


def _until_all_end(
    consumer: Consumer, unfinished: set[int], timeout: float
) -> Iterator[ConsumedRecord]:
    deadline = time.monotonic() + timeout
    while unfinished:
        message = consumer.poll(max(0.0, deadline - time.monotonic()))
        if message is None:
            raise ReadBackError(f"no end of partitions {sorted(unfinished)} within {timeout} s")
        if _is_end(message):
            unfinished.discard(_given(message.partition()))
        else:
            yield _consumed(message)


def _is_end(message: Message) -> bool:
    error = message.error()
    if error is None:
        return False
    if error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    return True


def _consumed(message: Message) -> ConsumedRecord:
    return ConsumedRecord(
        partition=_given(message.partition()),
        offset=_given(message.offset()),
        timestamp=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=tuple(cast(_Headers, message.headers() or ())),
    )


def _given(number: int | None) -> int:
    assert number is not None  # only messages that were never sent lack it
    return number
