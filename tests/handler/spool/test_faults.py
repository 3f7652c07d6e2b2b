"""What the disk does not do is told in our words; and what was written before is still there."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from kiel_logging.errors import KielError, SpoolDamaged, SpoolError, SpoolFull
from kiel_logging.handler.spool.faults import NoRoom, fault, system_fault
from kiel_logging.handler.spool.store import Store
from tests.handler.spool.sample import row, run

SYSTEM = [
    (errno.ENOSPC, NoRoom, "no room left"),
    (errno.EDQUOT, NoRoom, "no room left"),
    (errno.EROFS, SpoolError, "is read-only"),
    (errno.EACCES, SpoolError, "this user may not write there"),
    (errno.ENOTDIR, SpoolError, "part of the path is a file"),
    (errno.EIO, SpoolError, "see the system's log"),
    (errno.EMFILE, SpoolError, "see what SQLite and the system say"),
]


@pytest.mark.parametrize(("number", "kind", "advice"), SYSTEM)
def test_the_system_s_errors_come_with_advice(number: int, kind: type, advice: str) -> None:
    """And say what they are."""
    error = system_fault(Path("/spool"), OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert str(error).startswith(f"can't spool to /spool ({os.strerror(number)}): ")
    assert advice in str(error)


SQLITE = [
    (sqlite3.SQLITE_FULL, NoRoom, "make room there"),
    (sqlite3.SQLITE_IOERR_WRITE, SpoolError, "see the system's log"),
    (sqlite3.SQLITE_CANTOPEN, SpoolError, "it was removed, or may not be opened"),
    (sqlite3.SQLITE_BUSY, SpoolError, "another program holds the file locked"),
    (sqlite3.SQLITE_READONLY_DBMOVED, SpoolError, "this user may not write there"),
    (sqlite3.SQLITE_CORRUPT_INDEX, SpoolDamaged, "see to the disk"),
    (sqlite3.SQLITE_NOTADB, SpoolDamaged, "see to the disk"),
    (sqlite3.SQLITE_TOOBIG, SpoolError, "see what SQLite and the system say"),
]


@pytest.mark.parametrize(("number", "kind", "advice"), SQLITE)
def test_sqlite_s_errors_come_with_advice(number: int, kind: type, advice: str) -> None:
    """By the kind of error, whatever SQLite knows beyond that."""
    raised = sqlite3.OperationalError("what it says")
    raised.sqlite_errorcode, raised.sqlite_errorname = number, "SQLITE_NAME"
    error = fault(Path("/x.spool"), raised)
    assert type(error) is kind
    assert "the spool /x.spool failed (what it says, SQLITE_NAME): " in str(error)
    assert advice in str(error)


def test_all_are_errors_of_the_spool() -> None:
    """One ``except`` catches them."""
    assert issubclass(SpoolFull, SpoolError)
    assert issubclass(NoRoom, SpoolError)
    assert issubclass(SpoolDamaged, SpoolError)
    assert issubclass(SpoolError, KielError)


def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """All or none of the rows; and when there is room again it goes on."""
    code = f"""
import json, resource
from pathlib import Path
from kiel_logging.errors import SpoolError
from kiel_logging.handler.spool.committer import Committer
from kiel_logging.handler.spool.store import Store
from tests.handler.spool.sample import counted, row

store = Store.make(Path({str(tmp_path / "one.spool")!r}), "one")
committer = Committer(store)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, most))
place, messages = 1000, []
for _ in range(3):
    try:
        while True:
            store.append([row(place, bytes(2000)), row(place + 1, bytes(2000))])
            place += 2
    except SpoolError as error:
        messages.append(str(error))
try:
    Committer(store).commit("audit", counted)
except SpoolError as error:
    messages.append(str(error))
full = [store.rows, place - 1000, [one.place for one in store.read(0, 10**4, 10**9)][-1]]
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
store.append([row(place, bytes(2000))])
row = Committer(store).commit("audit", counted)
counts = [store.rows, store.size]
store.close()
again = Store.open(store.path)
same = counts == [again.rows, again.size]
print(json.dumps([messages, full, place, row.place, same, counts[0]]))
again.close()
"""
    messages, (kept, given, last), place, committed, same, rows = run(code)
    assert kept == given > 20
    assert last == place - 1
    assert (same, rows, committed) == (True, given + 2, place + 1)
    assert len(messages) == 4
    assert all("see the system's log" in one or "no room left" in one for one in messages)


def test_somebody_else_writes_to_the_file(tmp_path: Path) -> None:
    """It is told soon, and goes on when they are done."""
    store = Store.make(tmp_path / "one.spool", "one")
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolError, match="another program holds the file locked"):
        store.append([row(1)])
    other.execute("ROLLBACK")
    other.close()
    store.append([row(1)])
    assert store.rows == 1
    store.close()


def test_people_may_look_at_it(tmp_path: Path) -> None:
    """With SQLite's own tools, while the program logs."""
    store = Store.make(tmp_path / "one.spool", "one")
    store.append([row(1)])
    other = sqlite3.connect(f"file:{store.path}?mode=ro", uri=True)
    assert other.execute("SELECT * FROM rows").fetchall() == [(1, "audit", b"payload")]
    other.close()
    store.close()
