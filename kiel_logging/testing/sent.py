"""SentRecord: a record as a consumer sees it, for tests to compare."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Self

from kiel_logging.record.item import Item
from kiel_logging.records import Header
from kiel_logging.testing.batches import StoredRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRecord:
    """One record as it is, or would be, in Kafka.

    Attributes:
        topic: its topic.
        key: its key in bytes.
        headers: name and bytes of each; of a name that repeats, the last.
        value: what its JSON says, a dict; text, or bytes, where it is no JSON.
        timestamp: milliseconds since 1970.
        data: the value in bytes; None is a tombstone.
        partition: None if it was captured, and never sent.
        offset: of a record that was captured, how many were before it.
    """

    topic: str
    key: bytes | None
    headers: dict[str, bytes | None]
    value: Any
    timestamp: int
    data: bytes | None = field(repr=False)
    partition: int | None
    offset: int

    @classmethod
    def stored(cls, topic: str, partition: int, record: StoredRecord) -> Self:
        """Return a record that a broker has."""
        return cls._made(topic, record, partition, record.offset)

    @classmethod
    def captured(cls, item: Item, offset: int) -> Self:
        """Return what a handler made of a log record."""
        return cls._made(item.topic, item.record, None, offset)

    @classmethod
    def _made(cls, topic: str, record: Any, partition: int | None, offset: int) -> Self:
        headers: tuple[Header, ...] = record.headers
        return cls(
            topic=topic,
            key=record.key,
            headers=dict(headers),
            value=_read(record.value),
            timestamp=record.timestamp,
            data=record.value,
            partition=partition,
            offset=offset,
        )


def _read(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return json.loads(data)
    except ValueError:
        pass
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
