"""Locks between processes: one says that an instance has an owner, one that it has a shipper.

They are POSIX record locks (``fcntl.lockf``): one belongs to a process and ends with it. An
``flock`` is shared with forked children, so a child that outlives its parent would keep the
parent's records from being sent.

Record locks have two traps. They do not exclude the process that has them, and closing *any*
descriptor of the file gives them up. So a registry says which locks this process has, and a file
that is in it is never opened again here.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from kiel_logging.journal.segments import Descriptor, failing_at

_MOST: Final = 64 * 1024

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
        return os.pread(self._descriptor.number, _MOST, 0)

    def write(self, content: bytes) -> None:
        """Write over the content of the lock's file; raise OSError."""
        assert self._descriptor is not None
        os.pwrite(self._descriptor.number, content, 0)

    def release(self) -> None:
        """Let others have the lock; so does dropping the claim."""
        if self._descriptor is not None:
            self._descriptor = None
            _taken.pop(self._key, None)

    __del__ = release


def claim(path: Path) -> Claim | None:
    """Return the lock whose file is ``path``, made if need be; None while it is held; raise
    SpoolError if no file, or no lock, can be had there."""
    key, mark = _key_of(path), object()
    taken = descriptor = None
    try:
        if _taken.setdefault(key, mark) is mark:
            with failing_at(path):
                descriptor = Descriptor(path, os.O_RDWR | os.O_CREAT)
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


def peek(path: Path) -> tuple[bool, bytes]:
    """Return whether any process holds a lock, and its content; nothing if it is held here."""
    if _key_of(path) in _taken or not path.exists():
        return path.exists(), b""
    if (free := claim(path)) is not None:
        free.release()
    with failing_at(path):
        return free is None, path.read_bytes()


def _key_of(path: Path) -> tuple[int, str, str]:
    return os.getpid(), path.parent.name, path.name


def _is_at(descriptor: Descriptor) -> bool:
    status = descriptor.status()
    try:
        return status is not None and os.path.samestat(status, descriptor.path.lstat())
    except OSError:
        return False
