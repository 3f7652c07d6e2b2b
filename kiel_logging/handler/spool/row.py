"""One record on disk, and what it counts for."""

from typing import Final, NamedTuple

ROW_OVERHEAD: Final = 32
"""Bytes that a row takes beside its topic and payload (about 31 to 45, in SQLite 3.40)."""


class Row(NamedTuple):
    """One record that waits on disk.

    ``place``, from 1 on, is its position in the order of its process. ``topic`` is a name that
    Kafka takes. ``payload`` is whatever it is sent from.
    """

    place: int
    topic: str
    payload: bytes


def size_of(row: Row) -> int:
    """Return the bytes that a row counts for against ``max_bytes``."""
    return ROW_OVERHEAD + len(row.topic) + len(row.payload)
