"""How much memory an audit may take: anybody who can write to a topic chooses its records."""

from typing import Final

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
        exceeded: how often there was no room.
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
