"""Records as they come from Kafka."""

from __future__ import annotations

from typing import Any

from kiel_logging.record.fields import to_fields
from kiel_logging.record.value import value_choice
from kiel_logging.records import TopicPartition
from kiel_logging.tail.entries import Arrival
from tests.record.formats.records import logged

AT = TopicPartition("shop.app", 2)
TIMESTAMP = 1_700_000_000_123
TIME = "2023-11-14T22:13:20.123Z"
INSTANCE = "a" * 32
FORMATS = ("json", "ecs", "otel", "gelf")


def arrival(value: bytes | None, **headers: str) -> Arrival:
    """A record at offset 17; headers are named without ``kiel-``."""
    named = tuple((f"kiel-{name}", text.encode()) for name, text in headers.items())
    return Arrival(AT, 17, b"ada", value, named, TIMESTAMP)


def formatted(kind: str, message: object = "hello", *args: object, **attributes: Any) -> Arrival:
    """A log record as a handler with this format sends it."""
    record = logged(message, *args, **attributes)
    return arrival(value_choice(kind, None)(to_fields(record, None), record, None, 10**6))
