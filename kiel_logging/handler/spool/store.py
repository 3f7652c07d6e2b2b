"""One spool file: rows in the order of their places, and the last state of each stream.

The law: one statement is one transaction, and one call of C (``schema.py``). So whatever runs on
top of a frame of this module, a signal handler that logs for one, may append to the same store: the
lock is re-entrant, and between two calls the counts are right or about to be.

The lock is held for one statement at a time. A fork takes it (``pause()``), for a child must not
inherit SQLite's own locks from a thread that it does not have.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from kiel_logging.errors import SpoolDamaged, SpoolFull
from kiel_logging.handler.spool.faults import fault
from kiel_logging.handler.spool.leaking import leak
from kiel_logging.handler.spool.letting_go import let_go
from kiel_logging.handler.spool.row import ROW_OVERHEAD, Row, size_of
from kiel_logging.handler.spool.schema import CHECKPOINT, NORMAL, make, open_checked, remove
from kiel_logging.handler.spool.statements import (
    ANY_IN_BETWEEN,
    MOST_ROWS,
    READ,
    TOTALS,
    as_many_as_fit,
    choices,
    gaps,
    insertion,
    runs_of,
)

_SPARE_PAGES: Final = 8192
"""Unused pages, of 2 KB, that are worth giving back to the file system."""

_FEW_PAGES: Final = 2048
"""Used pages that are quickly written anew meanwhile."""

_NO_STREAMS: Final[Mapping[str, bytes]] = MappingProxyType({})


class Store:
    """An open spool file. Any thread may call anything.

    Args:
        path: of the file.
        connection: to it, as ``schema.py`` makes them; the store closes it.
        max_bytes: most that rows may take, by ``size_of()``; None for no bound.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, *, max_bytes: int | None = None
    ) -> None:
        self.path: Final = path
        self._connection = connection
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._rows = self._size = self._last_place = 0
        self._doubtful = True
        """Whether the counts may be wrong: an exception of a signal handler came in between."""
        try:
            self._count()
            self.instance: Final = self._instance()
        except BaseException:
            connection.close()
            raise

    @classmethod
    def make(
        cls, path: Path, instance: str, *, max_bytes: int | None = None, synchronous: str = NORMAL
    ) -> "Store":
        """Make a new file."""
        return cls(path, make(path, instance, synchronous), max_bytes=max_bytes)

    @classmethod
    def open(
        cls, path: Path, *, max_bytes: int | None = None, synchronous: str = NORMAL
    ) -> "Store":
        """Open a file that is there, after a check of all of it (0.4 s for a million rows)."""
        return cls(path, open_checked(path, synchronous), max_bytes=max_bytes)

    def __repr__(self) -> str:
        return f"<Store {self.path.name} rows={self._rows} size={self._size}>"

    @property
    def rows(self) -> int:
        """How many rows there are."""
        self._count()
        return self._rows

    @property
    def size(self) -> int:
        """Bytes that they take: the sum of their ``size_of()``."""
        self._count()
        return self._size

    @property
    def last_place(self) -> int:
        """The highest place of a row since the file was opened; 0 when there was none."""
        self._count()
        return self._last_place

    def streams(self) -> dict[str, bytes]:
        """Return the last state of each stream, by topic; they outlive their rows."""
        return dict(self._ask("SELECT topic, state FROM streams"))

    def count_by_topic(self) -> dict[str, int]:
        """Return how many rows there are of each topic."""
        return dict(self._ask("SELECT topic, count(*) FROM rows GROUP BY topic"))

    # Rows come in.

    def append(self, rows: Sequence[Row], streams: Mapping[str, bytes] = _NO_STREAMS) -> None:
        """Add ``rows``, up to MOST_ROWS, and replace the states of ``streams``; all or nothing.

        A state is as new as the highest place among its topic's ``rows``, or else as
        ``last_place``. It replaces none that is newer.

        Raises:
            SpoolFull: they would take more than ``max_bytes``.
            SpoolError: the disk failed, or a place is taken.
        """
        if not rows and not streams:
            return
        if len(rows) + len(streams) > MOST_ROWS:
            raise ValueError(f"{len(rows)} rows at once: at most {MOST_ROWS} go together")
        count, size = len(rows), sum(map(size_of, rows))
        highest = max((row.place for row in rows), default=0)
        with self._lock:
            self._count()
            statement, values = insertion(rows, streams, self._last_place)
            self._reserve(size)
            try:
                self._connection.execute(statement, values)
                # No call from here on: a signal handler finds all counts changed, or none.
                self._rows += count
                if highest > self._last_place:
                    self._last_place = highest
            except sqlite3.Error as error:
                self._size -= size
                raise fault(self.path, error) from error
            except BaseException:
                self._doubtful = True
                raise

    def _reserve(self, size: int) -> None:
        most = self._max_bytes
        # No call between the question and its consequence, as above.
        if most is None or not size or self._size + size <= most:
            self._size += size
            return
        raise SpoolFull(
            f"the spool {self.path} holds {self._size} of {most} bytes and {size} more don't "
            "fit: the brokers don't take records fast enough, or spool_max_bytes is too small"
        )

    # Rows go out.

    def read(self, after: int, most: int, most_bytes: int) -> list[Row]:
        """Return the rows behind the place ``after``, in order: at most ``most`` of them.

        They take at most ``most_bytes``, unless the first alone takes more.
        """
        with self._lock:
            try:
                # Closed at once: a reader keeps the write-ahead log from going into the file.
                with contextlib.closing(self._connection.execute(READ, (after, most))) as found:
                    return list(as_many_as_fit(map(Row._make, found), most_bytes))
            except sqlite3.Error as error:
                raise fault(self.path, error) from error

    def holds(self, place: int) -> bool:
        """Whether there is a row at ``place``."""
        return bool(self._ask("SELECT 1 FROM rows WHERE place = ?", place))

    def remove(self, places: Iterable[int]) -> None:
        """Remove the rows at ``places``; those that are not there don't matter."""
        self.remove_runs(runs_of(places))

    def remove_runs(self, runs: Iterable[range]) -> None:
        """Remove the rows at ``runs``, one after the other.

        Raises:
            NoRoom: the write-ahead log can't grow, as it has to for this as well.
            SpoolError: the disk failed.
        """
        for which, some in choices(runs):
            self._remove(which, some)
        self._give_back()

    def _remove(self, which: str, places: Sequence[int]) -> None:
        with self._lock:
            self._count()
            count, size = self._totals(f" WHERE {which}", places)
            try:
                self._connection.execute(f"DELETE FROM rows WHERE {which}", places)  # noqa: S608
                # No call from here on.
                self._rows -= count
                self._size -= size
            except sqlite3.Error as error:
                raise fault(self.path, error) from error
            except BaseException:
                self._doubtful = True
                raise

    def _give_back(self) -> None:
        """Make the file small again after a long backlog; in between its pages are used again.

        VACUUM writes what is used anew, which is little then. auto_vacuum instead takes as long
        for each page as adding rows to it did (2.9 s for 340 MB, this 0.4 s; SQLite 3.40).
        """
        with self._lock:
            ((unused,),), ((pages,),) = (
                self._ask("PRAGMA freelist_count"),
                self._ask("PRAGMA page_count"),
            )
            if unused > _SPARE_PAGES and pages - unused <= _FEW_PAGES:
                try:
                    self._connection.execute("VACUUM")
                except sqlite3.OperationalError:
                    return  # no room for it: next time
                except sqlite3.Error as error:
                    raise fault(self.path, error) from error

    # The end of it.

    def checkpoint(self) -> None:
        """Have all that there is in the one file, which may be given another name when closed.

        Raises:
            SpoolError: it does not take it.
        """
        self._ask(CHECKPOINT)

    def drop(self, runs: Iterable[range]) -> bool:
        """Close and remove the file if it has no rows but those at ``runs``: this takes no room.

        Returns:
            Whether it is gone.
        """
        with self._lock:
            if any(self._ask(ANY_IN_BETWEEN, *gap) for gap in gaps(runs)):
                return False
            # First: what raises leaves all as it is, and SQLite moves nothing into it any more.
            self.path.unlink(missing_ok=True)
            self._connection.close()
            remove(self.path)
            self._rows = self._size = 0
            return True

    def close(self, *, delete_if_empty: bool = False) -> None:
        """Close the file; remove it if there is no row in it, when asked to."""
        with self._lock:
            try:
                self._connection.close()
            except sqlite3.Error as error:
                raise fault(self.path, error) from error
            if delete_if_empty and not self._rows and not self._doubtful:
                remove(self.path)

    def pause(self, timeout: float) -> bool:
        """Wait, at most ``timeout`` seconds, until no thread is in SQLite, and keep it so.

        Returns:
            True: ``go_on()`` has to be called, by this thread.

        Raises:
            TimeoutError: others work all the time.
        """
        if not self._lock.acquire(timeout=timeout):
            raise TimeoutError(f"the spool did not come to rest within {timeout} s")
        return True

    def go_on(self) -> None:
        """Let it work again."""
        self._lock.release()

    def let_go(self) -> AbstractContextManager[None]:
        """Let others work on it for a block, though a frame beneath may have it."""
        return let_go(self._lock)

    def abandon(self) -> None:
        """Leave it to the parent, of which this process is a forked child: not even close it."""
        leak(self._connection)

    # Whatever is asked.

    def _ask(self, question: str, *values: Any) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(question, values).fetchall()
            except sqlite3.Error as error:
                raise fault(self.path, error) from error

    def _instance(self) -> str:
        for (value,) in self._ask("SELECT value FROM meta WHERE key = 'instance'"):
            return str(value)
        raise SpoolDamaged(f"the spool {self.path} does not say whose it was: see to the disk")

    def _count(self) -> None:
        if not self._doubtful:
            return
        rows, size = self._totals()
        ((last,),) = self._ask("SELECT coalesce(max(place), 0) FROM rows")
        self._rows, self._size = rows, size
        self._last_place = max(self._last_place, last)
        self._doubtful = False

    def _totals(self, where: str = "", values: Sequence[int] = ()) -> tuple[int, int]:
        ((rows, size),) = self._ask(TOTALS + where, *values)
        return rows, size + rows * ROW_OVERHEAD
