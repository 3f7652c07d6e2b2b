"""``spool_dir``: a file for each process, and those of processes that are no more.

::

    <instance>.spool            rows; SQLite's -wal and -shm beside it while it is open
    <instance>.lock             held by the process that the file belongs to (``claim.py``)
    <instance>.spool.damaged    what is left of a file that can't be trusted: for people
    <instance>.spool.making     one that is not whole yet: without any row
    <instance>.<place>.spool.damaged    a single record that can't be
    <instance>.spool.salvaged   what was read from one, for the moment before it takes its name

An instance's name begins with the time of its making, so names sort by age. A file of another
format is left where it is, for the release that made it.

The law: one process at a time touches a file, the one that has the claim. Several directories of
one process may have the same path.
"""

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from kiel_logging.errors import SpoolDamaged, SpoolError
from kiel_logging.handler.spool.claim import Claim
from kiel_logging.handler.spool.faults import system_fault
from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spool.salvage import salvage
from kiel_logging.handler.spool.schema import (
    MAKING,
    NORMAL,
    OtherVersion,
    files_of,
    remove,
    remove_unfinished,
)
from kiel_logging.handler.spool.store import Store

_SPOOL: Final = ".spool"
_SALVAGED: Final = ".spool.salvaged"
_DAMAGED: Final = ".spool.damaged"
_LOCK: Final = ".lock"

_INSTANCE: Final = re.compile(r"\d{8}T\d{12}Z[0-9a-f]{12}")
"""What ``new_instance()`` returns: a lock of another name is not ours to remove."""

Report = Callable[[str], object]


class SpoolDirectory:
    """Makes, adopts and releases stores. One thread at a time may use it.

    Args:
        path: the directory; made, for this user alone, when it is not there.
        max_bytes: most that the rows of the process's own file may take; None for no bound.
        synchronous: one of ``schema.SYNCHRONOUS``.
        report: takes a sentence for people.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int | None = None,
        synchronous: str = NORMAL,
        report: Report,
    ) -> None:
        self.path: Final = Path(path)
        self._max_bytes = max_bytes
        self._synchronous = synchronous
        self._report = report
        self._claims: dict[Store, Claim] = {}
        self._reported: set[Path] = set()

    def __repr__(self) -> str:
        return f"<SpoolDirectory {self.path} stores={len(self._claims)}>"

    def check(self) -> None:
        """See whether a spool can be made here; nothing is left of it.

        Raises:
            SpoolError: it can't.
        """
        self.release(self.make())

    @property
    def has_files(self) -> bool:
        """Whether anything is here, which may be a living process's."""
        return bool(self._instances())

    def set_aside(self, store: Store, row: Row) -> Path:
        """Keep the payload of a damaged ``row`` for people, and take it out of ``store``.

        Returns:
            The file that has it.
        """
        aside = store.path.with_suffix(f".{row.place}{_DAMAGED}")
        try:
            aside.write_bytes(row.payload)
        except OSError as failure:
            raise system_fault(aside, failure) from failure
        store.remove([row.place])
        return aside

    def make(self) -> Store:
        """Return a new store, this process's own.

        Raises:
            SpoolError: the directory can't be made or written to.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise system_fault(self.path, error) from error
        instance, claim = self._claim_new()
        try:
            store = Store.make(
                self._file_of(instance),
                instance,
                max_bytes=self._max_bytes,
                synchronous=self._synchronous,
            )
        except BaseException:
            claim.release(remove=True)
            raise
        self._claims[store] = claim
        return store

    def _claim_new(self) -> tuple[str, Claim]:
        """Return the name of a new instance, and the claim to it."""
        while True:
            instance = new_instance()
            # Whoever sweeps may take a lock that was made a moment ago and is not held yet.
            if (claim := Claim.take(self._lock_of(instance))) is not None:
                return instance, claim

    def adopt(self) -> Iterator[Store]:
        """Yield the stores of processes that are no more, oldest first; to be released.

        What is wrong with one is reported, and the next one comes. A lock without a file, of a
        process that was killed before it made one, is removed.
        """
        for instance in self._instances():
            try:
                store = self._adopt(instance)
            except SpoolError as error:
                self.report_once(self._file_of(instance), str(error))
                continue
            if store is not None:
                yield store

    def _instances(self) -> list[str]:
        found = set()
        try:
            for path in self.path.iterdir():
                for ending in (_SPOOL, _SALVAGED, _SPOOL + MAKING, _SALVAGED + MAKING):
                    if path.name.endswith(ending):
                        found.add(path.name.removesuffix(ending))
                if path.suffix == _LOCK and _INSTANCE.fullmatch(path.stem):
                    found.add(path.stem)
        except FileNotFoundError:  # nothing was ever spooled
            return []
        except OSError as error:
            self.report_once(self.path, str(system_fault(self.path, error)))
        return sorted(found)

    def _adopt(self, instance: str) -> Store | None:
        claim = Claim.take(self._lock_of(instance))
        if claim is None:
            return None
        path = self._file_of(instance)
        return self._keep(claim, path, lambda: self._open(path))

    def _keep(self, claim: Claim, path: Path, get: Callable[[], Store | None]) -> Store | None:
        """Return the store that ``get()`` returns, claimed; or let others have the file."""
        store = None
        try:
            store = get()
        except OSError as error:
            raise system_fault(path, error) from error
        finally:
            if store is None:
                claim.release(remove=_is_gone(path))
            else:
                self._claims[store] = claim
        return store

    def _open(self, path: Path) -> Store | None:
        """Open a file of ours; set it aside and open what can be saved of it, if it is damaged."""
        for unfinished in (path, path.with_suffix(_SALVAGED)):
            remove_unfinished(unfinished)
        self._finish_salvage(path)
        if not path.exists():
            remove(path)  # what its owner had no time for
            return None
        try:
            return Store.open(path, synchronous=self._synchronous)
        except SpoolDamaged as error:
            return self._save(path, error)
        except OtherVersion as error:
            self.report_once(path, str(error))
            return None

    def _save(self, path: Path, error: SpoolDamaged) -> Store | None:
        copy = path.with_suffix(_SALVAGED)
        try:
            saved = salvage(path, copy)
        except BaseException:
            remove(copy)
            raise
        aside = path.with_suffix(_DAMAGED)
        for one, other in zip(files_of(path), files_of(aside), strict=True):
            if one.exists():
                one.replace(other)
        self._report(f"{error}. {saved} records were read from it; what is left is in {aside}")
        if not saved:
            remove(copy)
            return None
        self._finish_salvage(path)
        return Store.open(path, synchronous=self._synchronous)

    def _finish_salvage(self, path: Path) -> None:
        """Give what was saved its name, as soon as the damaged file is out of the way."""
        copy = path.with_suffix(_SALVAGED)
        if not copy.exists():
            return
        if path.exists():  # the process ended before it had saved all
            remove(copy)
        else:
            remove(path)  # a -wal that was not moved would be taken for the copy's
            copy.replace(path)

    def save(self, store: Store, error: SpoolDamaged) -> Store | None:
        """Set a file aside that turned out to be damaged; return what could be saved of it.

        ``store``, which raised ``error``, is closed and no longer there.
        """
        claim = self._claims.pop(store)
        store.close()
        return self._keep(claim, store.path, lambda: self._save(store.path, error))

    def release(self, store: Store) -> None:
        """Close a store; remove its file if no row is in it, else let others adopt it.

        Raises:
            SpoolError: something of it can't be removed; it is let go all the same.
        """
        claim = self._claims.pop(store)
        try:
            store.close(delete_if_empty=True)
        except NotADirectoryError:
            pass  # it is gone, and the directory with it
        except OSError as error:
            raise system_fault(store.path, error) from error
        finally:
            claim.release(remove=_is_gone(store.path))

    def abandon(self) -> None:
        """Leave all stores to the parent, of which this process is a forked child."""
        for store, claim in self._claims.items():
            store.abandon()
            claim.abandon()
        self._claims.clear()

    def report_once(self, path: Path, message: str) -> None:
        """Tell what is wrong with ``path``, unless it was told before."""
        if path not in self._reported:
            self._reported.add(path)
            self._report(message)

    def _file_of(self, instance: str) -> Path:
        return self.path / f"{instance}{_SPOOL}"

    def _lock_of(self, instance: str) -> Path:
        return self.path / f"{instance}{_LOCK}"


def _is_gone(path: Path) -> bool:
    """Whether ``path`` is surely not there: a directory may be closed to us."""
    try:
        return not path.exists()
    except OSError:
        return False


def new_instance() -> str:
    """Return a name that no other process has; an older one's comes first."""
    now = time.time_ns()
    second = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9))
    return f"{second}{now // 1000 % 10**6:06}Z{secrets.token_hex(6)}"
