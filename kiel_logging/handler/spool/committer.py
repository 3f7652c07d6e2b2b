"""Records that are on disk before whoever logs them goes on: one transaction for all who wait.

The law: a record's place and its stamp are given together, in one order, and a record that was
given a place is written by whoever holds the writing lock next, its own thread or another.

Signal handlers and ``__del__`` may log on top of any frame here, this thread's. Nothing waits for
what is beneath it:

- Both locks are re-entrant.
- A stamp changes nothing; it is asked once more when somebody on top of it took the place.
- Whoever comes on top of the frame that writes writes its own record itself, as a transaction of
  its own: one call of C, which nothing comes on top of (``schema.py``).
- Nobody is told to write. All who wait try for the lock, so a thread that a signal handler keeps
  away holds nobody up.
- What a writer took and did not write, because an exception of a signal handler (KeyboardInterrupt)
  tore it away, is written by the thread whose it is.
- Whoever is torn away itself writes what has its place before the exception goes on.
- Whoever waits on top, for a flush, writes what is beneath and lets go of its locks meanwhile.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, TypeAlias

from kiel_logging.errors import SpoolError
from kiel_logging.handler.spool.letting_go import let_go
from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spool.statements import MOST_ROWS

Stamp: TypeAlias = Callable[[int, bytes | None], tuple[bytes, bytes | None]]
"""``stamp(place, state)`` returns the payload of the record at ``place``, and its stream's new
state, or None where there is none to keep. It may be called more than once: it changes nothing."""


class File(Protocol):
    """Where rows go: a Store, or a SpoolFile, which makes one when it is needed."""

    @property
    def last_place(self) -> int:
        """The highest place so far."""

    def streams(self) -> dict[str, bytes]:
        """Return the last state of each stream."""

    def append(self, rows: Sequence[Row], streams: Mapping[str, bytes]) -> None:
        """Add rows, all or none; raise SpoolError."""

    def holds(self, place: int) -> bool:
        """Whether there is a row at ``place``."""


_MOST: Final = MOST_ROWS // 2
"""Records in a transaction, each of which may have a stream of its own."""


_NOWHERE: Final = Row(0, "", b"")


class Entry:
    """A record on its way to disk.

    Attributes:
        row: with the place that it was given; 0 as long as it has none.
        state: of its stream, behind it.
        settled: whether it is on disk, or surely is not.
        error: why it is not.
    """

    __slots__ = ("error", "row", "settled", "state")

    def __init__(self) -> None:
        self.row = _NOWHERE
        self.state: bytes | None = None
        self.error: SpoolError | None = None
        self.settled = False

    @property
    def has_place(self) -> bool:
        """Whether nobody else gets its place any more."""
        return self.row.place > 0

    @property
    def on_disk(self) -> bool:
        """Whether it surely is."""
        return self.settled and self.error is None


class Committer:
    """Gives places and stamps, and commits. Nobody else may append to ``store``."""

    def __init__(self, store: File) -> None:
        self._store = store
        self._ordering = threading.RLock()
        self._last_place = store.last_place
        self._states: dict[str, bytes | None] = dict(store.streams())
        self._writing = threading.RLock()
        self._pending: deque[Entry] = deque()

    def __repr__(self) -> str:
        return f"<Committer place={self._last_place} pending={len(self._pending)}>"

    @property
    def last_place(self) -> int:
        """The place that was given last; not all up to it need be on disk."""
        return self._last_place

    def states(self) -> dict[str, bytes]:
        """Return where each stream stands, by topic."""
        return {topic: state for topic, state in self._states.copy().items() if state is not None}

    def commit(self, topic: str, stamp: Stamp, entry: Entry | None = None) -> Row:
        """Give a record of ``topic`` its place and return its row as soon as it is on disk.

        Args:
            topic: of the record.
            stamp: makes its payload.
            entry: a new one, which tells what became of it whatever is raised.

        Raises:
            SpoolFull: there is no room for it; what ``stamp`` returned last is not on disk.
            SpoolError: nor is it here; the disk failed.
        """
        entry = Entry() if entry is None else entry
        try:
            self._enter(entry, topic, stamp)
            self.settle(entry)
        except BaseException:  # stamp()'s, or a signal handler's
            self.settle(entry)
            raise
        if entry.error is not None:
            raise entry.error
        return entry.row

    def _enter(self, entry: Entry, topic: str, stamp: Stamp) -> None:
        with self._ordering:
            while True:
                place = self._last_place + 1
                payload, state = stamp(place, self._states.get(topic))
                row = Row(place, topic, payload)
                # No call from here to append(): somebody on top was here before, or comes after.
                if self._last_place == place - 1:
                    entry.row, entry.state = row, state
                    self._last_place = place
                    if state is not None:
                        self._states[topic] = state
                    self._pending.append(entry)
                    return

    def settle(self, entry: Entry) -> None:
        """Write it, if it has a place and nobody did; perhaps on top of who is about to."""
        if entry.has_place and not entry.settled:
            with self._writing:
                if not entry.settled:
                    self._write(self._take(entry))

    def let_go(self) -> AbstractContextManager[None]:
        """Let others commit for a block, though a frame beneath may be about to."""
        return let_go(self._ordering, self._writing)

    def _take(self, own: Entry) -> list[Entry]:
        """Return what is to be written now, ``own`` with it: nobody else takes any of it."""
        taken: list[Entry] = []
        with contextlib.suppress(IndexError):  # for somebody on top may take the rest
            while True:
                taken.append(self._pending.popleft())
        if own.settled or own in taken:
            return taken
        # Whoever took it was torn away, perhaps after it was written.
        if self._is_there(own):
            own.settled = True
            return taken
        return [own, *taken]

    def _write(self, entries: Sequence[Entry]) -> None:
        for start in range(0, len(entries), _MOST):
            self._write_together(entries[start : start + _MOST])

    def _write_together(self, entries: Sequence[Entry]) -> None:
        # Somebody on top may have written some of what was taken beneath.
        entries = [one for one in entries if not one.settled]
        try:
            states = {one.row.topic: one.state for one in entries if one.state is not None}
            self._store.append([one.row for one in entries], states)
        except SpoolError as error:
            if len(entries) > 1:  # what one can't do the others may
                for one in entries:
                    self._write_together([one])
                return
            for one in entries:
                one.error = None if one.settled else error
        for one in entries:
            one.settled = True

    def _is_there(self, entry: Entry) -> bool:
        try:
            return self._store.holds(entry.row.place)
        except SpoolError:
            return False
