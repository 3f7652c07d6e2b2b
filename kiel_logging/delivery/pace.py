"""When a handler sends: how many log records are worth it, and how long they wait.

The law of an automatic linger:

- No record waits for others longer than the linger.
- After a pause of that length records are sent at once, so that at low rates none waits.
- There is at most one send in that time, besides those of full batches.

While a batch is in flight the records of its partition gather behind it in any case
(``accumulator.py``).
"""

from typing import Final

FULL: Final = 4_000
"""Records: larger batches save nothing more."""

_PART_OF_BUFFER: Final = 8
_MEMORY: Final = 1024
"""Bytes that a record takes, about."""


def due_at(linger: float, now: float, before: float, *, automatic: bool) -> float:
    """Return when the records that begin to come now are due, if those before them were ``before``.

    A linger that is given is theirs alone.
    """
    return max(now, before + linger) if automatic else now + linger


def full_batch(buffer_records: int, buffer_memory: int) -> int:
    """Return how many records are not to wait for others, of a buffer with these bounds."""
    part = min(buffer_records, buffer_memory // _MEMORY) // _PART_OF_BUFFER
    return min(FULL, max(1, part))
