"""A spool file for who uses it: made when it is first needed, replaced when it turns out damaged.

The law: whatever is wrong is a SpoolError of the one call, and what follows tries again. One thread
at a time reads and removes; any may append.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from kiel_logging.errors import SpoolDamaged, SpoolError
from kiel_logging.handler.spool.directory import SpoolDirectory
from kiel_logging.handler.spool.faults import system_fault
from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spool.store import Store

_AGAIN: Final = 1.0
"""Seconds after which it is tried once more to make a file, or looked whether it is still there."""


class SpoolFile:
    """One file of ``directory``, which nobody else uses meanwhile.

    Args:
        directory: makes, saves and releases it.
        store: what was adopted; None for a file of this process's own, which is yet to be made.
    """

    def __init__(self, directory: SpoolDirectory, store: Store | None = None) -> None:
        self._directory = directory
        self._store = store
        self._lock = threading.RLock()
        self._making = False
        self._failure = ""
        self._look_at = 0.0
        self._held: Store | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<SpoolFile {self._store!r}>"

    @property
    def instance(self) -> str:
        """Whose file it is; "" while there is none."""
        return "" if self._store is None else self._store.instance

    @property
    def last_place(self) -> int:
        """The highest place that it has seen."""
        return 0 if self._store is None else self._store.last_place

    def streams(self) -> dict[str, bytes]:
        """Return the last state of each stream, by topic."""
        return {} if self._store is None else self._store.streams()

    def holds(self, place: int) -> bool:
        """Whether there is a row at ``place``."""
        return self._store is not None and self._store.holds(place)

    def append(self, rows: Sequence[Row], streams: Mapping[str, bytes]) -> None:
        """Add ``rows`` and the states of ``streams``; all or nothing.

        Raises:
            SpoolFull: there is no room.
            SpoolError: there is no file, or the disk failed.
        """
        store = self._store
        try:
            if store is None or time.monotonic() >= self._look_at:
                store = self._present(store)
            store.append(rows, streams)
        except OSError as error:
            raise self._fault(error) from error

    def _fault(self, error: OSError) -> SpoolError:
        return system_fault(self._directory.path, error)

    def _present(self, store: Store | None) -> Store:
        """Return the store, or one in its place when nothing of it is there."""
        if store is not None and store.path.exists():
            self._look_at = time.monotonic() + _AGAIN
            return store
        if store is not None and store.rows:
            # SQLite goes on writing to a file that has no name any more.
            raise SpoolError(
                f"the spool {store.path} was removed while it was in use: what is in it will be "
                "sent as long as this process runs; leave the files of spool_dir"
            )
        return self._make(store)

    def _make(self, gone: Store | None) -> Store:
        if self._closed:
            raise SpoolError("the spool is closed: log before the handler is closed")
        if self._making:  # a signal handler logs on top of it
            raise SpoolError("the spool is just being made: this record has to wait in memory")
        if self._failure and time.monotonic() < self._look_at:
            raise SpoolError(self._failure)
        with self._lock:
            if self._store is not None and self._store is not gone:
                return self._store
            self._making = True
            try:
                if gone is not None:
                    self._store = None
                    self._directory.release(gone)
                self._store = self._directory.make()
                self._failure = ""
            except OSError as error:
                self._failure = str(fault := self._fault(error))
                raise fault from error
            except SpoolError as error:
                self._failure = str(error)
                raise
            finally:
                self._making = False
                self._look_at = time.monotonic() + _AGAIN
            return self._store

    def read(self, after: int, most: int, most_bytes: int) -> list[Row]:
        """Return the rows behind the place ``after``, in order; see Store."""
        store = self._store
        if store is None:
            return []
        try:
            return store.read(after, most, most_bytes)
        except SpoolDamaged as error:
            self._save(store, error)
            return self.read(after, most, most_bytes)

    def remove(self, places: Sequence[int]) -> None:
        """Remove the rows at ``places``; those that are not there don't matter."""
        store = self._store
        if store is None:
            return
        try:
            store.remove(places)
        except SpoolDamaged as error:
            self._save(store, error)
            self.remove(places)

    def _save(self, store: Store, error: SpoolDamaged) -> None:
        """Go on with what can be saved of a file that is damaged."""
        with self._lock:
            self._store = None
            try:
                self._store = self._directory.save(store, error)
            except OSError as failure:
                raise self._fault(failure) from failure

    def count_by_topic(self) -> dict[str, int]:
        """Return how many rows there are of each topic."""
        return {} if self._store is None else self._store.count_by_topic()

    def set_aside(self, row: Row) -> Path | None:
        """Take out a row that is damaged; return the file that has it now."""
        return None if self._store is None else self._directory.set_aside(self._store, row)

    def close(self) -> None:
        """Release it: others may adopt it if there is anything in it."""
        self._closed = True
        store, self._store = self._store, None
        if store is not None:
            try:
                self._directory.release(store)
            except OSError as error:
                raise self._fault(error) from error

    # At a fork.

    def pause(self, timeout: float) -> bool:
        """Wait, at most ``timeout`` seconds, until nobody is in SQLite, and keep it so.

        Returns:
            True: ``go_on()`` has to be called, by this thread.

        Raises:
            TimeoutError: others work all the time.
        """
        if not self._lock.acquire(timeout=timeout):
            raise TimeoutError(f"the spool was not made within {timeout} s")
        try:
            self._held = self._store
            if self._held is not None:
                self._held.pause(timeout)
        except BaseException:
            self._lock.release()
            raise
        return True

    def go_on(self) -> None:
        """Let it work again."""
        if self._held is not None:
            self._held.go_on()
        self._lock.release()

    def abandon(self) -> None:
        """Leave it to the parent, of which this process is a forked child."""
        self._directory.abandon()
