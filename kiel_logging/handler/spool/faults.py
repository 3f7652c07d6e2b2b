"""What SQLite and the system say when the disk does not do its part, in our words: tables."""

import errno
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kiel_logging.errors import SpoolDamaged, SpoolError

_FULL: Final = "its file system has no room left: make room there, or choose another spool_dir"
_NOT_ALLOWED: Final = (
    "this user may not write there: give it the right to, or choose another spool_dir"
)
_READ_ONLY: Final = "its file system is read-only: choose another spool_dir"
_REFUSED: Final = (
    "its file system does not take what is written to it (a quota, a limit on the size of "
    "files, or a failing disk): see the system's log"
)
_LOCKED: Final = (
    "another program holds the file locked: nobody but the program that logs may write to it"
)
_DAMAGED: Final = "what is in the file is not what was written to it: see to the disk"
_OTHER: Final = "see what SQLite and the system say of it"

_OF_SQLITE: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _REFUSED,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: _NOT_ALLOWED,
    sqlite3.SQLITE_PERM: _NOT_ALLOWED,
    sqlite3.SQLITE_CANTOPEN: "it was removed, or may not be opened: leave the files of spool_dir",
    sqlite3.SQLITE_CONSTRAINT: "each place is given once: whoever appended the rows is wrong",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}

_OF_THE_SYSTEM: Final[Mapping[int, str]] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.ENOTDIR: "part of the path is a file: choose another spool_dir",
    errno.EEXIST: "it is a file, not a directory: choose another spool_dir",
    errno.ENOENT: "nothing can be made there: choose another spool_dir",
    errno.ENOLCK: "its file system has no locks: choose a spool_dir on a local one",
    errno.EIO: _REFUSED,
    errno.EFBIG: _REFUSED,
}

_PRIMARY: Final = 0xFF
"""The part of SQLite's extended result codes that says which kind of error it is."""


def fault(path: Path, error: sqlite3.Error) -> SpoolError:
    """Return what went wrong with the spool file ``path``."""
    number = getattr(error, "sqlite_errorcode", None)
    if number is None:  # not SQLite's, but of Python's module around it: no connection any more
        return SpoolError(f"the spool {path} is closed ({error}): log before the handler is closed")
    kind = number & _PRIMARY
    made = SpoolDamaged if _OF_SQLITE.get(kind) is _DAMAGED else SpoolError
    name = getattr(error, "sqlite_errorname", number)
    return made(f"the spool {path} failed ({error}, {name}): {_OF_SQLITE.get(kind, _OTHER)}")


def system_fault(path: Path, error: OSError) -> SpoolError:
    """Return what went wrong with ``path``, a spool's directory or a file in it."""
    advice = _OF_THE_SYSTEM.get(error.errno or 0, _OTHER)
    return SpoolError(f"can't spool to {path} ({error.strerror or error}): {advice}")
