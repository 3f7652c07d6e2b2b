"""Frames to append, and what was found of them."""

from __future__ import annotations

from typing import Any, Final

from kiel_logging.journal.frames import RECORD, Damage, Frame

INSTANCE: Final = "0123456789abcdef" * 2
TOPIC: Final = "logs"


def frame(value: bytes | None = b"value", **other: Any) -> Frame:
    """Return a record's frame, ordinary but for what is given."""
    ordinary: dict[str, Any] = {
        "kind": RECORD,
        "key": None,
        "data": None,
        "headers": (),
        "timestamp": 1_700_000_000_000,
        "level": 20,
    }
    return Frame(value=value, **{**ordinary, **other})


def numbered(number: int) -> Frame:
    """Return a record's frame that is known by its value."""
    return frame(b"record %d" % number)


def values(entries: list[Frame | Damage]) -> list[bytes | None]:
    """Return the values of frames; ``b"?"`` for a damage."""
    return [b"?" if isinstance(entry, Damage) else entry.value for entry in entries]
