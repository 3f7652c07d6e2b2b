"""The notes on each number of a stream, 33 bytes in pages of 64 numbers, and room for them.

For each: the first 64 bits of its digest (without a chain: a hash of the record) and of its
predecessor's, where it is, its timestamp, and flags. So a million records need about 45 MB, in
whatever order they come, and a page is looked through by a few operations on bytes.

64 bits are enough here. Each record's whole digest is compared when it is read; the bits
distinguish copies and link neighbours. People without the key can't choose them; where there is no
key, anybody can compute a whole other chain anyway.
"""

from array import array
from collections.abc import Iterator
from typing import Final

BITS: Final = 6
SIZE: Final = 1 << BITS
MASK: Final = SIZE - 1

INTACT: Final = 1
"""There is a copy that is as it was sent, as far as its digest shows."""
ORDERED: Final = 2
"""There is an intact copy behind lower numbers only."""
LATE: Final = 4
"""There is an intact copy behind a higher number of the same partition."""

_EMPTY: Final = bytes(SIZE)
_NOTHING: Final = bytes(8 * SIZE)


class Page:
    """64 numbers in a row. A place is a partition and an offset in one integer."""

    __slots__ = ("digests", "flags", "places", "prevs", "times")

    def __init__(self) -> None:
        self.flags = bytearray(_EMPTY)
        self.digests = array("Q", _NOTHING)
        self.prevs = array("Q", _NOTHING)
        self.places = array("Q", _NOTHING)
        self.times = array("q", _NOTHING)


PLACE_BITS: Final = 48
"""How many bits of a place are the offset; above them is the partition."""


def _table(*wanted: int) -> bytes:
    """Return a table for ``bytes.translate`` that makes 1 of these flags, and 0 of others."""
    return bytes(int(flags in wanted) for flags in range(256))


_ALL: Final = range(8)
WHOLE: Final = _table(*(flags for flags in _ALL if flags & INTACT))
SWAPPED: Final = _table(*(flags for flags in _ALL if flags & (ORDERED | LATE) == LATE))


def runs(marks: bytes | bytearray, wanted: bytes) -> Iterator[tuple[int, int]]:
    """Yield where runs of the byte ``wanted`` begin and end (exclusive); others are of one kind."""
    other = b"\1" if wanted == b"\0" else b"\0"
    start = marks.find(wanted)
    while start >= 0:
        end = marks.find(other, start)
        if end < 0:
            yield start, len(marks)
            return
        yield start, end
        start = marks.find(wanted, end)


PAGE: Final = 3_000
"""Bytes, about, that 64 numbers take."""
STREAM: Final = 3_000
"""And a stream without its pages."""
NOTE: Final = 400
"""And each fact beside that: a copy that differs, a loss, an end."""

DEFAULT: Final = 2 * 1024**3
FOR_STRANGERS: Final = 64 * 1024**2
"""Bytes for records whose digests don't match: people without the key can write millions."""


class Room:
    """Memory that is given out, until there is no more.

    Attributes:
        exceeded: how often it did not suffice.
    """

    __slots__ = ("_left", "exceeded")

    def __init__(self, size: int = DEFAULT) -> None:
        self._left = size
        self.exceeded = 0

    def take(self, size: int) -> bool:
        """Return whether there is room for ``size`` bytes, which is taken then."""
        if size > self._left:
            self.exceeded += 1
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        """Take room back."""
        self._left += size
