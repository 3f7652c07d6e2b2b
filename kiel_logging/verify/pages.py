"""The notes on each number of a stream, 33 bytes in pages of 64 numbers, and room for them.

For each: the first 64 bits of its digest (without a chain: a hash of the record) and of its
predecessor's, where it is, its timestamp, and flags. So a million records need about 40 MB, in
whatever order they come, and a page is looked through by a few operations on bytes.

64 bits are enough here. Each record's whole digest is compared when it is read; the bits
distinguish copies and link neighbours. People without the key can't choose them; where there is no
key, anybody can compute a whole other chain anyway.
"""

import struct
from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

BITS: Final = 6
SIZE: Final = 1 << BITS
MASK: Final = SIZE - 1

INTACT: Final = 1
"""There is a copy that is as it was sent, as far as its digest shows."""
ORDERED: Final = 2
"""There is an intact copy behind lower numbers only."""
LATE: Final = 4
"""There is an intact copy behind a higher number of the same partition."""

_ENTRY: Final = struct.Struct("=4q")
_ENTRIES: Final = _ENTRY.size * SIZE


class Entry(NamedTuple):
    """The notes on one number; a place is a partition and an offset in one integer."""

    prev: int
    digest: int
    place: int
    time: int

    @property
    def link(self) -> tuple[int, int]:
        """The first bits of both digests."""
        return self.prev, self.digest


class Page:
    """64 numbers in a row, with an entry for each that has flags."""

    __slots__ = ("entries", "flags")

    def __init__(self) -> None:
        self.flags = bytearray(SIZE)
        self.entries = bytearray(_ENTRIES)

    def entry(self, slot: int) -> Entry:
        """Return the entry of a number."""
        return Entry._make(_ENTRY.unpack_from(self.entries, slot * _ENTRY.size))

    def write(self, slot: int, prev: int, digest: int, place: int, time: int) -> None:
        """Set the entry of a number."""
        _ENTRY.pack_into(self.entries, slot * _ENTRY.size, prev, digest, place, time)

    def links_hold(self, first: int = 0) -> bool:
        """Whether each entry behind ``first`` continues the one before."""
        words = array("q", self.entries)
        return words[4 * first + 4 :: 4] == words[4 * first + 1 : -4 : 4]


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


PAGE: Final = 2_500
"""Bytes, about, that 64 numbers take."""
STREAM: Final = 3_000
"""And a stream without its pages."""
NOTE: Final = 400
"""And each fact beside that: a copy that differs, a loss, an end."""

DEFAULT: Final = 2 * 1024**3
FOR_STRANGERS: Final = 64 * 1024**2
"""Bytes for records whose digests don't match: people without the key can write millions."""


class Room:
    """Memory that is given out, until there is no more."""

    __slots__ = ("_left",)

    def __init__(self, size: int = DEFAULT) -> None:
        self._left = size

    def take(self, size: int) -> bool:
        """Return whether there is room for ``size`` bytes, which is taken then."""
        suffices = size <= self._left
        self._left -= size * suffices
        return suffices

    def give(self, size: int) -> None:
        """Take room back."""
        self._left += size
