"""Locks between processes: one says that an instance has an owner, one that it has a shipper.

They are POSIX record locks (``fcntl.lockf``): one belongs to a process and ends with it. An
``flock`` is shared with forked children, so a child that outlives its parent would keep the
parent's records from being sent.

Record locks have two traps. They do not exclude the process that has them, and closing *any*
descriptor of the file gives them up. So a registry says which locks this process has, and a file
that is in it is never opened again here.
"""

import os
import struct
import sys
from pathlib import Path
from typing import Final

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from kiel_logging.journal.segments import OWN, Access, Descriptor, failing_at

CAN_LOCK: Final = fcntl is not None
"""Whether there can be journals here at all."""

MOST_ABOUT: Final = 64 * 1024
"""Bytes that are read of the file of a lock."""

_taken: Final[dict[tuple[int, str, str], object]] = {}
"""Process id, instance and name of each lock that is held, or just being asked for.

An instance has one directory, so a symbolic link does not make another key. The process id makes
a forked child hold none.
"""


class Claim:
    """A lock that this process holds until ``release()``, or until it ends."""

    def __init__(self, path: Path, descriptor: Descriptor) -> None:
        self.path: Final = path
        self._descriptor: Descriptor | None = descriptor
        self._key: Final = _key_of(path)

    @property
    def is_held(self) -> bool:
        """Whether other processes see the lock: its descriptor is open, its file still there."""
        return self._descriptor is not None and _is_at(self._descriptor)

    def read(self) -> bytes:
        """Return the content of the lock's file; raise OSError."""
        assert self._descriptor is not None
        return os.pread(self._descriptor.number, MOST_ABOUT, 0)

    def write(self, content: bytes) -> None:
        """Write over the content of the lock's file; raise OSError."""
        assert self._descriptor is not None
        self._descriptor.write(content, 0)

    def release(self) -> None:
        """Let others have the lock; so does dropping the claim."""
        if self._descriptor is not None:
            self._descriptor = None
            _taken.pop(self._key, None)

    __del__ = release


def claim(path: Path, access: Access = OWN) -> Claim | None:
    """Return the lock whose file is ``path``, made if need be; None while it is held; raise
    SpoolError if no file, or no lock, can be had there."""
    key, mark = _key_of(path), object()
    taken = descriptor = None
    try:
        if _taken.setdefault(key, mark) is mark:
            with failing_at(path):
                descriptor = Descriptor(path, os.O_RDWR | os.O_CREAT, access)
                # Its last owner may have removed the file before it was locked here.
                if _lock(descriptor) and _is_at(descriptor):
                    taken = Claim(path, descriptor)
    finally:
        if taken is None and _taken.get(key) is mark:
            descriptor = None  # closed first: it must not give up a lock that comes later
            del _taken[key]
    return taken


def _lock(descriptor: Descriptor) -> bool:
    try:
        fcntl.lockf(descriptor.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows both for a lock that is held
        return False
    return True


def _key_of(path: Path) -> tuple[int, str, str]:
    return os.getpid(), path.parent.name, path.name


def _is_at(descriptor: Descriptor) -> bool:
    status = descriptor.status()
    try:
        return status is not None and os.path.samestat(status, descriptor.path.lstat())
    except OSError:
        return False


def is_held_here(path: Path) -> bool:
    """Whether this process has the lock whose file is ``path``. It must not open the file again."""
    return _key_of(path) in _taken


# For commands, which look and take nothing.

_IS_LINUX: Final = sys.platform.startswith("linux")
_FLOCK: Final = struct.Struct("hhqqi" if _IS_LINUX else "qqihh")
"""The system's ``struct flock``: type, whence, start, length, pid; BSD and macOS have the first two
at the end."""


def holder(path: Path) -> int | None:
    """Return the id of the process that holds the lock whose file is ``path``; None if none does.

    This takes no lock, makes no file and needs no right but to read, unlike ``claim()``. The id is
    0 if the process can't be seen from here, as one in another container; raise OSError.
    """
    if is_held_here(path):
        return os.getpid()
    try:
        descriptor = Descriptor(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    asked = (fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    if not _IS_LINUX:
        asked = (*asked[2:], *asked[:2])
    answer = fcntl.fcntl(descriptor.number, fcntl.F_GETLK, _FLOCK.pack(*asked))
    fields = _FLOCK.unpack(answer)
    kind, pid = (fields[0], fields[4]) if _IS_LINUX else (fields[3], fields[2])
    return None if kind == fcntl.F_UNLCK else max(0, pid)


def birth(pid: int) -> int | None:
    """Return when a process started, in the kernel's clock ticks; None where that is not known.

    A process id alone does not identify a process: in containers they all have the same few.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
