"""Segment files: names, descriptors, and errors of the disk with advice."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from kiel_logging.errors import NoRoom, SpoolError

try:
    from kiel_logging._accelerator import write_to
except ImportError:  # there was no C compiler

    def write_to(number: int, data: bytes, device: int, inode: int, offset: int = -1, /) -> int:
        """Append to a file, or write at the offset, if the number is still that of the file.

        In C there is nothing between the look and the write. Here another thread may come in
        between, which closes the number and opens another file.
        """
        status = os.fstat(number)
        if (status.st_dev, status.st_ino) != (device, inode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return os.write(number, data) if offset < 0 else os.pwrite(number, data, offset)


_SUFFIX: Final = ".log"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_RIGHTS: Final = "this user may not write there: allow it, or choose another spool_dir"
_ADVICE: Final[Mapping[int, str]] = {
    errno.ENOSPC: "its file system has no room left: make room there, or choose another spool_dir",
    errno.EDQUOT: "the user's quota is used up: raise it, or choose another spool_dir",
    errno.EROFS: "its file system is read-only: choose another spool_dir",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOTDIR: "part of the path is a file: choose another spool_dir",
    errno.EEXIST: "it is a file, not a directory: choose another spool_dir",
    errno.ELOOP: "it is a symbolic link: choose another spool_dir",
    errno.ENOENT: "it was removed, or can't be made: leave the files of spool_dir alone",
    errno.ENOLCK: "its file system has no locks: choose a spool_dir on a local one",
    errno.EFBIG: "there is a limit on the size of files: raise it (ulimit -f)",
    errno.EMFILE: "the process has too many files open: raise its limit (ulimit -n)",
}


def failure(path: Path, error: OSError) -> SpoolError:
    """Return an error of the system, about ``path``, with advice: NoRoom if the disk is full."""
    kind = NoRoom if error.errno in _NO_ROOM else SpoolError
    advice = _ADVICE.get(error.errno or 0, "see the system's log for what is wrong with its disk")
    return kind(f"can't spool to {path} ({error.strerror or error}): {advice}")


@contextlib.contextmanager
def failing_at(path: Path) -> Iterator[None]:
    """Raise errors of the system, about ``path``, as SpoolError."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a TimeoutError of a signal handler's, not the system's
            raise
        raise failure(path, error) from error


def segment_path(directory: Path, number: int) -> Path:
    """Return the path of a segment of the stream in ``directory``."""
    return directory / f"{number:08}{_SUFFIX}"


def segments_in(directory: Path) -> dict[int, int]:
    """Return the numbers of the segments in ``directory``, ascending, and their sizes in bytes."""
    found = {}
    for path in directory.glob(f"*{_SUFFIX}"):
        if path.stem.isdecimal() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):  # another process has just released it
                found[int(path.stem)] = path.stat().st_size
    return dict(sorted(found.items()))


def share(directory: Path) -> None:
    """Let the group of a directory, and of what is made in it, do what its owner may."""
    directory.chmod(stat.S_IMODE(directory.stat().st_mode) | stat.S_ISGID | stat.S_IRWXG)


def sync_directory(path: Path) -> None:
    """Have the names in a directory survive a power cut; raise OSError."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class Access(NamedTuple):
    """Whose files a process works with, and who else may.

    Attributes:
        owner: the user whose they have to be, if another one may have put anything there: links,
            pipes, and files of a third; None for this process's own.
        group: whether the group may do what the owner may.
    """

    owner: int | None = None
    group: bool = False


OWN: Final = Access()


@contextlib.contextmanager
def _directory(path: Path, owner: int) -> Iterator[int]:
    """Open the directory ``path``, and make sure that it is ``owner``'s; raise OSError.

    Of the names in it, reached by its descriptor, no other user has made any: so no
    other user can have this process change, read or remove what is not the owner's anyway.
    """
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(number).st_uid != owner:
            raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
        yield number
    finally:
        os.close(number)


def unlink(path: Path, access: Access = OWN) -> None:
    """Remove a file, if it is there; raise OSError."""
    with contextlib.suppress(FileNotFoundError):
        if access.owner is None:
            path.unlink()
        else:
            with _directory(path.parent, access.owner) as number:
                os.unlink(path.name, dir_fd=number)


def _open(path: Path, flags: int, access: Access) -> int:
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    mode = 0o660 if access.group else 0o600
    if access.owner is None:
        number = os.open(path, flags, mode)
    else:
        with _directory(path.parent, access.owner) as parent:
            number = os.open(path.name, flags | os.O_NONBLOCK, mode, dir_fd=parent)
    status = os.fstat(number)
    if access.owner is not None and not (
        stat.S_ISREG(status.st_mode) and status.st_uid in (access.owner, os.geteuid())
    ):
        os.close(number)
        raise PermissionError(errno.EPERM, "it is no file of its directory's owner", str(path))
    if access.group and flags & os.O_CREAT and status.st_uid == os.geteuid():
        os.fchmod(number, mode)  # whatever the umask is
    return number


class Descriptor:
    """One open file. It is closed when the last reference to this object goes.

    So another thread may drop it while ``write()`` is going on, without a lock.

    Programs may close descriptors that they don't know, as daemons do. The number may then be that
    of a file of the program: this object knows its own file, and leaves any other one alone.

    Attributes:
        number: the system's; -1 once it is known to be closed.
        file: device and inode.
    """

    __slots__ = ("file", "number", "path")

    def __init__(self, path: Path, flags: int, access: Access = OWN) -> None:
        self.path: Final = path
        number, self.number = _open(path, flags, access), -1
        # The file is known by its path: its number may be that of another one by now.
        status = path.lstat()
        self.file: Final = (status.st_dev, status.st_ino)
        self.number = number
        if self.status() is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def append(self, data: bytes) -> int:
        """Append ``data``; return how many bytes the disk took.

        Raise OSError: EBADF if the number is closed, or another file's.
        """
        return write_to(self.number, data, *self.file)

    def write(self, data: bytes, offset: int) -> int:
        """As ``append()``, at ``offset``."""
        return write_to(self.number, data, *self.file, offset)

    def status(self) -> os.stat_result | None:
        """Return the file's status; None if the number is closed, or another file's."""
        try:
            status = os.fstat(self.number)
            if (status.st_dev, status.st_ino) == self.file:
                return status
        except OSError:
            pass
        self.number = -1  # for good: the same file may be opened under the number again
        return None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # it was never opened, or Python is at its end
            if self.status() is not None:
                os.close(self.number)
