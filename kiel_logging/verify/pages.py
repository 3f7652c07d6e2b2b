"""What is kept of each number of a stream: 33 bytes, in pages of 64 numbers.

For each: the first 64 bits of its digest (without a chain: a hash of the record) and of its
predecessor's, where it is, its timestamp, and flags. So a million records need about 45 MB, in
whatever order they come, and a page is looked through by a few operations on bytes.

64 bits are enough here. Each record's whole digest is compared when it is read; what the bits are
for is to tell copies apart and to link neighbours. Who lacks the key can't choose them; where there
is no key, anybody can compute a whole chain of his own anyway.
"""

from array import array
from collections.abc import Iterator
from typing import Final

BITS: Final = 6
SIZE: Final = 1 << BITS
MASK: Final = SIZE - 1

INTACT: Final = 1
"""There is a copy that is as it was sent, as far as can be told."""
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
