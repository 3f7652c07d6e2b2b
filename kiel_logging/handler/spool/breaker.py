"""A disk that does not do its part holds up whoever logs for a moment each second, not each time.

The law: what failed fails again at once, for a second: nobody asks the disk. After that one asks.
Where it was room that was wanting, whatever is smaller is tried all the same, and only what is as
large, or larger, is not: of records that did not fit together each may fit alone.

``SpoolFull``, which asks no disk, is no failure of one, nor is ``PlaceTaken``. What the worker
writes does not come through here: it holds nobody up, and should try as long as it may.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from kiel_logging.errors import SpoolError, SpoolFull
from kiel_logging.handler.spool.committer import File
from kiel_logging.handler.spool.faults import NoRoom, PlaceTaken
from kiel_logging.handler.spool.row import Row, size_of

PERIOD: Final = 1.0
"""Seconds in which the disk is not asked again."""


class _Failure(NamedTuple):
    again: Callable[[], SpoolError]
    least: int
    """What takes less than so many bytes may go well."""
    until: float


class Breaker:
    """A file, for those who must not wait for a disk that fails.

    Args:
        file: where rows go.
        now: the time, in seconds.
    """

    def __init__(self, file: File, now: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._now = now
        self._failure: _Failure | None = None

    def __repr__(self) -> str:
        return f"<Breaker {self._file!r} {self._failure}>"

    @property
    def last_place(self) -> int:
        """The highest place so far."""
        return self._file.last_place

    def streams(self) -> dict[str, bytes]:
        """Return the last state of each stream."""
        return self._file.streams()

    def holds(self, place: int) -> bool:
        """Whether there is a row at ``place``."""
        return self._file.holds(place)

    def append(self, rows: Sequence[Row], streams: Mapping[str, bytes]) -> None:
        """Add rows, all or none, unless it is known that it would fail; raise SpoolError."""
        if (failure := self._failure) is not None and self._holds_for(failure, rows):
            raise failure.again()
        try:
            self._file.append(rows, streams)
        except (SpoolFull, PlaceTaken):
            raise
        except SpoolError as error:
            least = _size(rows) if isinstance(error, NoRoom) else 0
            again = partial(type(error), *error.args)  # itself would keep all of its frames
            self._failure = _Failure(again, least, self._now() + PERIOD)
            raise
        if (failure := self._failure) is not None and _size(rows) >= failure.least:
            self._failure = None

    def _holds_for(self, failure: _Failure, rows: Sequence[Row]) -> bool:
        return self._now() < failure.until and _size(rows) >= failure.least


def _size(rows: Sequence[Row]) -> int:
    return sum(map(size_of, rows))
