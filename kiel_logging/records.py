"""The values that travel through the package: frozen, without behaviour beyond their own parts.

Named tuples rather than dataclasses: one of each is made per message, and a named tuple costs a
third of a frozen dataclass to make.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

Header: TypeAlias = tuple[str, bytes | None]
"""A record header: its key and its value, as Kafka stores it (KIP-82)."""

Headers: TypeAlias = Mapping[str, bytes | str | None] | Iterable[tuple[str, bytes | str | None]]
"""Headers as callers give them; pairs allow a key to repeat."""


NO_OFFSET: Final = -1
"""The offset of a message whose offset is not known."""

RECORD_MEMORY_OVERHEAD: Final = 330
"""Bytes of the Python objects around a record's bytes, its token included (tracemalloc, CPython
3.11): a Producer's token is a pair of its key and a future."""


class TopicPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Record(NamedTuple):
    """One message as the brokers will store it.

    ``timestamp`` is in milliseconds since the epoch. ``value=None`` is a tombstone.
    """

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    timestamp: int


class RecordMetadata(NamedTuple):
    """Where a delivered message stands.

    ``offset`` is -1 when the broker did not report it: it was asked for no acknowledgement
    (``required_acks=0``), or knew the message as a repeat of long ago.
    ``timestamp`` is in milliseconds since the epoch: the broker's own when the topic is set to
    LogAppendTime, else the message's.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int


class Receipt(NamedTuple):
    """Where an acknowledged log record stands, and what it said.

    ``offset`` is -1 when the broker knew it as a repeat of long ago, and so did not report it.
    Both ``partition`` and ``offset`` are -1 when another process sent it. ``level`` is logging's
    number.
    """

    topic: str
    partition: int
    offset: int
    message: str
    level: int


class Undelivered(NamedTuple):
    """A log record that is perhaps not stored.

    ``reason`` is one of those in the handler's statistics (``"buffer_full"``), the name of an
    error, or a sentence; ``error`` is there when there was one.
    """

    message: str
    level: int
    reason: str
    error: BaseException | None = None
