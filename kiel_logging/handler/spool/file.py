"""A spool file for who uses it: made when it is first needed, replaced when it turns out damaged.

The law: whatever is wrong is a SpoolError of the one call, and what follows tries again. One thread
at a time reads and removes; any may append.

Removing rows takes room, in SQLite's write-ahead log. Where there is none they are owed: the file
as a whole goes as soon as it has no other row, which takes none.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from kiel_logging.errors import SpoolDamaged, SpoolError
from kiel_logging.handler.spool.directory import SpoolDirectory
from kiel_logging.handler.spool.faults import NoRoom, system_fault
from kiel_logging.handler.spool.letting_go import let_go
from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spool.statements import cut, in_parts, merged, runs_of
from kiel_logging.handler.spool.store import Store

_AGAIN: Final = 1.0
"""Seconds after which it is tried once more to make a file, or to remove what could not be, or
looked whether it is still there."""


class SpoolFile:
    """One file of ``directory``, which nobody else uses meanwhile.

    Args:
        directory: makes, saves and releases it.
        store: what was adopted; None for a file of this process's own, which is yet to be made.
    """

    def __init__(self, directory: SpoolDirectory, store: Store | None = None) -> None:
        self._directory = directory
        self._store = store
        self._is_own = store is None
        self._lock = threading.RLock()
        self._maker = 0
        self._failure: Callable[[], SpoolError] | None = None
        self._look_at = 0.0
        self._owed: list[range] = []
        self._settle_at = 0.0
        self._states: dict[str, bytes] = {}
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
        while True:
            store = self._store
            try:
                if store is None or time.monotonic() >= self._look_at:
                    store = self._present(store)
                store.append(rows, streams)
            except SpoolError:
                if store is None or store is self._store:
                    raise
            else:
                return  # if not, another came in its place meanwhile

    def _fault(self, error: OSError) -> SpoolError:
        return system_fault(self._directory.path, error)

    def _present(self, store: Store | None) -> Store:
        """Return the store, or one in its place when nothing of it is there."""
        if store is not None and self._is_at(store.path):
            self._look_at = time.monotonic() + _AGAIN
            return store
        if store is not None and store.rows:
            # SQLite goes on writing to a file that has no name any more.
            raise SpoolError(
                f"the spool {store.path} was removed while it was in use: what is in it will be "
                "sent as long as this process runs; leave the files of spool_dir"
            )
        return self._make(store)

    def _is_at(self, path: Path) -> bool:
        try:
            return path.exists()
        except OSError as error:
            raise self._fault(error) from error

    def _make(self, gone: Store | None) -> Store:
        if self._closed:
            raise SpoolError("the spool is closed: log before the handler is closed")
        this_thread = threading.get_ident()
        if self._maker == this_thread:  # a signal handler logs on top of it
            raise SpoolError("the spool is just being made: this record has to wait in memory")
        with self._lock:
            if self._failure is not None and time.monotonic() < self._look_at:
                raise self._failure()
            if self._store is not None and self._store is not gone:
                return self._store
            self._maker = this_thread  # no call since it was looked who made it
            try:
                if gone is not None:
                    self._store = None
                    self._directory.release(gone)
                self._store = self._made()
                self._failure = None
            except SpoolError as error:
                self._failure = partial(type(error), *error.args)  # itself would keep its frames
                raise
            except OSError as error:
                fault = self._fault(error)
                self._failure = partial(type(fault), *fault.args)
                raise fault from error
            finally:
                self._maker = 0
                self._look_at = time.monotonic() + _AGAIN
            return self._store

    def _made(self) -> Store:
        """Return a new store, with what the one before it knew of the streams."""
        made = self._directory.make()
        try:
            for states in in_parts(self._states):
                made.append((), states)
        except SpoolError:
            self._directory.release(made)
            raise
        self._states = {}
        return made

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
        """Remove the rows at ``places``, or owe it; those that are not there don't matter."""
        store = self._store
        if store is None:
            return
        self._owed = merged(self._owed, runs_of(places))
        try:
            self._settle(store)
        except SpoolDamaged as error:
            self._save(store, error)
            self.remove(())
        except OSError as error:
            raise self._fault(error) from error

    def _settle(self, store: Store) -> None:
        """Remove what is owed, one way or the other."""
        failure: SpoolError | None = None
        if time.monotonic() >= self._settle_at:
            try:
                store.remove_runs(cut(self._owed))
            except SpoolDamaged:
                raise
            except SpoolError as error:
                failure = error
                self._settle_at = time.monotonic() + _AGAIN
            else:
                self._owed = []
        if not self._owed or self._drop(store) or failure is None:
            return
        if not isinstance(failure, NoRoom):
            raise failure
        self._directory.report_once(
            store.path,
            f"{failure}. What is delivered stays in it until there is, or until all of it is",
        )

    def _drop(self, store: Store) -> bool:
        """Do without the file, if all that is in it is owed; return whether it is gone."""
        dropped = False
        with self._lock:
            states = store.streams() if self._is_own else {}
            self._maker, self._store = threading.get_ident(), None
            try:
                dropped = store.drop(self._owed)
            finally:
                self._maker, self._store = 0, None if dropped else store
            if dropped:
                self._owed, self._states = [], states
                self._directory.release(store)
        if dropped and states:
            with contextlib.suppress(SpoolError):  # whoever appends tries again
                self._make(None)
        return dropped

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
            with contextlib.suppress(SpoolError):  # perhaps there is room for it by now
                store.remove_runs(cut(self._owed))
            try:
                self._directory.release(store)
            except OSError as error:
                raise self._fault(error) from error

    @contextlib.contextmanager
    def let_go(self) -> Iterator[None]:
        """Let others work on it for a block, though a frame beneath may have it."""
        store = self._store
        with let_go(self._lock), contextlib.nullcontext() if store is None else store.let_go():
            yield

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
