"""What SQLite and the system say when the disk does not do its part, in our words: tables."""

import errno
import sqlite3
import tempfile
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
_TAKEN: Final = "each place is given once: whoever appended the rows is wrong"
_OTHER: Final = "see what SQLite and the system say of it"

_OF_SQLITE: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _REFUSED,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: _NOT_ALLOWED,
    sqlite3.SQLITE_PERM: _NOT_ALLOWED,
    sqlite3.SQLITE_CANTOPEN: "it was removed, or may not be opened: leave the files of spool_dir",
    sqlite3.SQLITE_CONSTRAINT: _TAKEN,
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

_WITHOUT_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)

_PERHAPS_FULL: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
"""What SQLite says where a file beside the spool can't be made or grow, and of a quota."""

_A_LITTLE: Final = 64 * 1024
"""More bytes than what SQLite has beside a file takes at first (32 KB)."""

_PRIMARY: Final = 0xFF
"""The part of SQLite's extended result codes that says which kind of error it is."""


class NoRoom(SpoolError):
    """The file system is full, or this user may not have more of it: it may be another time."""


class PlaceTaken(SpoolError):
    """There is a row in that place: whoever came on top wrote it."""


def fault(path: Path, error: sqlite3.Error) -> SpoolError:
    """Return what went wrong with the spool file ``path``."""
    number = getattr(error, "sqlite_errorcode", None)
    if number is None:  # not SQLite's, but of Python's module around it: no connection any more
        return SpoolError(f"the spool {path} is closed ({error}): log before the handler is closed")
    kind = number & _PRIMARY
    advice = _OF_SQLITE.get(kind, _OTHER)
    if kind in _PERHAPS_FULL and _is_full(path.parent):
        advice = _FULL
    name = getattr(error, "sqlite_errorname", number)
    return _made(f"the spool {path} failed ({error}, {name})", advice)


def system_fault(path: Path, error: OSError) -> SpoolError:
    """Return what went wrong with ``path``, a spool's directory or a file in it."""
    advice = _OF_THE_SYSTEM.get(error.errno or 0, _OTHER)
    return _made(f"can't spool to {path} ({error.strerror or error})", advice)


def _made(what: str, advice: str) -> SpoolError:
    return _KINDS.get(advice, SpoolError)(f"{what}: {advice}")


_KINDS: Final[Mapping[str, type[SpoolError]]] = {
    _DAMAGED: SpoolDamaged,
    _FULL: NoRoom,
    _TAKEN: PlaceTaken,
}


def _is_full(directory: Path) -> bool:
    """Ask the file system itself, for SQLite keeps to itself what the system said to it."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            file.write(bytes(_A_LITTLE))
    except OSError as error:
        return error.errno in _WITHOUT_ROOM
    return False
