"""The tables of a spool file: made, and looked at before they are trusted.

The law: rows and the states of their streams come in through the view ``incoming``, as ONE
statement. SQLite runs a statement whole or not at all, and CPython runs nothing else on its thread
meanwhile: no signal handler and no ``__del__`` finds a transaction half done.
"""

import errno
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from kiel_logging.errors import SpoolDamaged, SpoolError
from kiel_logging.handler.spool.faults import NoRoom, fault, system_fault

NORMAL: Final = "normal"
FULL: Final = "full"
SYNCHRONOUS: Final[Mapping[str, str]] = {NORMAL: "NORMAL", FULL: "FULL"}
"""What a commit survives: the end of the process, or a power cut as well."""

MAKING: Final = ".making"
"""What the name of a file ends with that is not whole yet."""

APPLICATION_ID: Final = int.from_bytes(b"kisp", "big")
VERSION: Final = 1

_OLDEST_SQLITE: Final = (3, 32)
"""The first that takes 32,766 parameters in a statement."""

_PATIENCE: Final = 1.0
"""Seconds that a statement waits for somebody who should not have locked the file."""

# A commit writes whole pages: small ones make it a fifth faster (93 us instead of 115), though a
# thousand rows together a tenth slower; with still smaller ones rows of 500 bytes would take twice
# their place. About 4 MB of write-ahead log before it goes into the file, as with SQLite's own page
# size. What made it longer is cut off. secure_delete, which Debian turns on, writes zeros over all
# removed rows: twice the work; FAST does so only where that costs nothing.
_SETTINGS: Final = """
PRAGMA page_size = 2048;
PRAGMA wal_autocheckpoint = 2000;
PRAGMA synchronous = {synchronous};
PRAGMA secure_delete = FAST;
PRAGMA temp_store = MEMORY;
PRAGMA journal_size_limit = 8388608;
"""

CHECKPOINT: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
"""Moves all of the write-ahead log into the file: without it the file alone is worth nothing."""

ALONE: Final = "PRAGMA locking_mode = EXCLUSIVE;"
"""Lets SQLite do without a -shm, for want of room: then nobody else can look at the file."""

# An older state never replaces a newer one: a signal handler may have committed on top of a frame
# that is about to.
_TABLES: Final = """
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE rows (place INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE streams (topic TEXT PRIMARY KEY, place INTEGER NOT NULL, state BLOB NOT NULL)
    WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE VIEW incoming AS SELECT 0 AS place, '' AS topic, x'' AS payload, x'' AS state;
CREATE TRIGGER come_in INSTEAD OF INSERT ON incoming BEGIN
    INSERT INTO rows SELECT NEW.place, NEW.topic, NEW.payload WHERE NEW.payload IS NOT NULL;
    INSERT INTO streams SELECT NEW.topic, NEW.place, NEW.state WHERE NEW.state IS NOT NULL
        ON CONFLICT (topic) DO UPDATE SET place = excluded.place, state = excluded.state
        WHERE excluded.place >= place;
END;
PRAGMA application_id = {application_id};
PRAGMA user_version = {version};
INSERT INTO meta VALUES ('instance', '{instance}');
COMMIT;
"""


class OtherVersion(SpoolError):
    """The file was made by another release of this package, which alone can read it."""


def make(path: Path, instance: str, synchronous: str = NORMAL) -> sqlite3.Connection:
    """Make the file ``path``, which must not be there, for nobody's eyes but this user's.

    Under another name first: whoever dies meanwhile leaves no file that looks damaged.

    Args:
        instance: of the process, letters and figures.

    Raises:
        SpoolError: it can't be made; nothing is left of it.
    """
    unfinished = path.with_name(path.name + MAKING)
    connection = None
    try:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = _connect(unfinished, synchronous)
        connection.executescript(
            _TABLES.format(application_id=APPLICATION_ID, version=VERSION, instance=instance)
        )
        connection.execute(CHECKPOINT)  # closing does it too, but tells of no failure
        connection.close()
        unfinished.rename(path)
        connection = _connect(path, synchronous)
    except sqlite3.Error as error:
        failure = fault(path, error)  # first: it asks whether there is room
        _close(connection)
        remove_unfinished(path)
        raise failure from error
    except OSError as error:
        remove_unfinished(path)
        raise system_fault(path, error) from error
    return connection


def open_checked(path: Path, synchronous: str = NORMAL) -> sqlite3.Connection:
    """Open the file ``path`` that somebody has made before.

    Raises:
        SpoolDamaged: it is not what was made.
        OtherVersion: another release made it.
        SpoolError: it can't be opened.
    """
    try:
        return _opened(path, synchronous)
    except NoRoom:
        return _opened(path, synchronous, ALONE)


def _opened(path: Path, synchronous: str, mode: str = "") -> sqlite3.Connection:
    connection = None
    try:
        connection = _connect(path, synchronous, mode)
        _check(path, connection)
    except sqlite3.Error as error:
        failure = fault(path, error)  # as above
        _close(connection)
        raise failure from error
    except SpoolError:
        _close(connection)
        raise
    return connection


def files_of(path: Path) -> list[Path]:
    """Return the names of all files that SQLite has for ``path``."""
    return [path.with_name(path.name + ending) for ending in ("", "-wal", "-shm")]


def remove(path: Path) -> None:
    """Remove the file ``path``, and SQLite's beside it, which nobody has open."""
    for one in files_of(path):
        one.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Remove what is left of making the file ``path``."""
    unfinished = path.with_name(path.name + MAKING)
    for one in (*files_of(unfinished), unfinished.with_name(unfinished.name + "-journal")):
        one.unlink(missing_ok=True)


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()


def _connect(path: Path, synchronous: str, mode: str = "") -> sqlite3.Connection:
    connection = connect(path)
    try:
        connection.executescript(mode + _SETTINGS.format(synchronous=SYNCHRONOUS[synchronous]))
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """Connect to the file ``path``, which must be there; for all threads, one at a time."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise SpoolError(
            f"the spool needs SQLite 3.32 or newer and this Python has {sqlite3.sqlite_version}: "
            "see to a newer one, or log without spool_dir"
        )
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=_PATIENCE,
        isolation_level=None,
        check_same_thread=False,
    )


def _check(path: Path, connection: sqlite3.Connection) -> None:
    if _number(connection, "application_id") != APPLICATION_ID:
        raise SpoolDamaged(f"{path} is no spool file, or only the beginning of one")
    if (version := _number(connection, "user_version")) != VERSION:
        raise OtherVersion(
            f"the spool {path} has format {version} and this release of kiel_logging reads "
            f"format {VERSION}: the release that made it can send what is in it"
        )
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise SpoolDamaged(f"the spool {path} is damaged ({found}): see to the disk")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    (number,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(number)
