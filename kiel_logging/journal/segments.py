"""Segment files: their names, the descriptors to them, and errors of the disk in words."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kiel_logging.errors import SpoolError, SpoolFull

_SUFFIX: Final = ".log"

FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_REFUSED: Final = (
    "its file system does not take the bytes (a quota, a limit on the size of files, or a failing "
    "disk): see the system's log"
)
_ADVICE: Final[Mapping[int, str]] = {
    errno.ENOSPC: "its file system is full: make room there, or choose another spool_dir",
    errno.EDQUOT: "the user's quota is used up: raise it, or choose another spool_dir",
    errno.EROFS: "its file system is read-only: choose another spool_dir",
    errno.EACCES: "this user may not write there: allow it, or choose another spool_dir",
    errno.EPERM: "this user may not write there: allow it, or choose another spool_dir",
    errno.ENOTDIR: "part of the path is a file: choose another spool_dir",
    errno.EEXIST: "it is a file, not a directory: choose another spool_dir",
    errno.ELOOP: "it is a symbolic link: remove the link, or choose another spool_dir",
    errno.ENOENT: "it was removed, or can't be made: leave the files of spool_dir alone",
    errno.ENOLCK: "its file system has no locks: choose a spool_dir on a local one",
    errno.EMFILE: "the process has too many files open: raise its limit (ulimit -n)",
    errno.EIO: _REFUSED,
    errno.EFBIG: _REFUSED,
}


def failure(path: Path, error: OSError) -> SpoolError:
    """Return ``error``, which the system raised for ``path``, with advice; SpoolFull if full."""
    kind = SpoolFull if error.errno in FULL else SpoolError
    advice = _ADVICE.get(error.errno or 0, "see what the system says of it")
    return kind(f"can't spool to {path} ({error.strerror or error}): {advice}")


def segment_path(directory: Path, number: int) -> Path:
    """Return the path of a segment of the stream in ``directory``."""
    return directory / f"{number:08}{_SUFFIX}"


def segments_in(directory: Path) -> dict[int, int]:
    """Return the segments that are there, in order, with their sizes in bytes."""
    found = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a name, not a path
            if suffix == _SUFFIX and stem.isdecimal() and entry.is_file(follow_symlinks=False):
                found[int(stem)] = entry.stat(follow_symlinks=False).st_size
    return dict(sorted(found.items()))


def sync_directory(path: Path) -> None:
    """Have the disk keep the names that are in a directory; raise OSError."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class Descriptor:
    """One open file, closed when the last reference to this object goes.

    So a thread in the middle of ``write()`` keeps the file open, without a lock, while another
    thread drops it.

    A program may close descriptors that it does not know, as daemons do; the number may then
    belong to a file or socket of the program. The descriptor remembers which file it opened, and
    neither writes to another one nor closes it.

    Raises:
        OSError: the file can't be opened.
    """

    __slots__ = ("_identity", "number", "path")

    def __init__(self, path: Path, flags: int) -> None:
        self.number = -1
        self.path: Final = path
        self.number = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        status = os.fstat(self.number)
        self._identity: Final = (status.st_dev, status.st_ino)

    def __repr__(self) -> str:
        return f"<Descriptor {self.number} {self.path}>"

    def status(self) -> os.stat_result:
        """Return what ``os.fstat`` says of the file.

        Raises:
            SpoolError: the number is closed, or belongs to another file.
        """
        try:
            status = os.fstat(self.number)
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._identity:
            raise SpoolError(
                f"the descriptor of {self.path} was closed: close only descriptors that the "
                "program opened itself"
            )
        return status

    def write(self, data: bytes) -> int:
        """Call ``write(2)`` once; return how many bytes were taken.

        Raises:
            SpoolError: see ``status()``; nothing was written.
            OSError: the system refused; nothing was written.
        """
        self.status()
        return os.write(self.number, data)

    def read(self, size: int, offset: int) -> bytes:
        """Return at most ``size`` bytes from ``offset`` on."""
        return os.pread(self.number, size, offset)

    def __del__(self, close=os.close, fstat=os.fstat) -> None:  # type: ignore[no-untyped-def]
        # Bound early: at the interpreter's end the module `os` may be empty already.
        if self.number >= 0:
            try:
                status = fstat(self.number)
                if (status.st_dev, status.st_ino) == self._identity:
                    close(self.number)
            except (OSError, AttributeError):  # closed by the program; or torn away while opening
                pass
