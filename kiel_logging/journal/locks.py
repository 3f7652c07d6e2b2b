"""Locks between processes: the files whose lock says that an instance has an owner, or a shipper.

They are POSIX record locks (``fcntl.lockf``), not ``flock``: a record lock belongs to one process
and ends with it. An ``flock`` is shared with forked children, so a child that outlives its parent
would keep the parent's records from being sent.

Record locks have two traps. They do not exclude the process that holds them, and closing *any*
descriptor of the file gives them up. So a registry of this module says which locks this process
holds, and a file in it is never opened again here.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from kiel_logging.journal.segments import Descriptor, failure

UNPUBLISHED: Final = ".new"
"""What the name of an instance's directory ends with while it is being made."""

_MOST: Final = 64 * 1024
"""Bytes that are read of a lock's file."""

_held: Final[dict[tuple[int, str, str], object]] = {}
"""Process id, instance, name of the lock -> whoever holds it. A forked child holds none.

Instances are unique, so neither symbolic links nor renamed directories make two keys of a lock.
"""


class Claim:
    """A lock that this process holds until ``release()``, or until it ends."""

    def __init__(self, path: Path, descriptor: Descriptor) -> None:
        self.path = path
        self.descriptor: Descriptor | None = descriptor
        self._key: Final = _key_of(path)

    def __repr__(self) -> str:
        return f"<Claim {self.path.parent.name}/{self.path.name}>"

    @property
    def is_held(self) -> bool:
        """Whether the lock is still there for other processes to see.

        It is not after the program closed all descriptors, or removed the file.
        """
        return self.descriptor is not None and _is_at(self.path, self.descriptor)

    def read(self) -> bytes:
        """Return what is in the lock's file."""
        assert self.descriptor is not None, "it is released"
        return self.descriptor.read(_MOST, 0)

    def write(self, content: bytes) -> None:
        """Put ``content`` into the lock's file; raise OSError."""
        assert self.descriptor is not None, "it is released"
        os.ftruncate(self.descriptor.number, 0)
        os.pwrite(self.descriptor.number, content, 0)

    def release(self) -> None:
        """Let other processes have the lock."""
        self.descriptor = None
        _held.pop(self._key, None)


def claim(path: Path) -> Claim | None:
    """Return the lock whose file is ``path``, made if need be; None while it is held, here too.

    Raises:
        SpoolError: there are no files, or no locks, to be had there.
    """
    key, holder = _key_of(path), object()
    if _held.setdefault(key, holder) is not holder:
        return None
    claimed = descriptor = None
    try:
        descriptor = Descriptor(path, os.O_RDWR | os.O_CREAT)
        # Its last owner may have removed the file before it was locked here.
        if _lock(descriptor) and _is_at(path, descriptor):
            _held[key] = claimed = Claim(path, descriptor)
    except OSError as error:
        raise failure(path, error) from error
    finally:
        if claimed is None:
            descriptor = None  # closed while the registry still keeps other threads away
            del _held[key]
    return claimed


def _lock(descriptor: Descriptor) -> bool:
    try:
        fcntl.lockf(descriptor.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows both for a lock that is held
        return False
    return True


def is_locked(path: Path) -> bool:
    """Return whether a process, this one included, holds the lock whose file is ``path``."""
    if not path.exists():
        return False
    found = claim(path)
    if found is None:
        return True
    found.release()
    return False


def content(path: Path) -> bytes:
    """Return what is in the file of a lock; nothing if it can't be read."""
    held = _held.get(_key_of(path))
    try:
        return (
            held.read() if isinstance(held, Claim) else Descriptor(path, os.O_RDONLY).read(_MOST, 0)
        )
    except OSError:
        return b""


def _key_of(path: Path) -> tuple[int, str, str]:
    return os.getpid(), path.parent.name.removesuffix(UNPUBLISHED), path.name


def _is_at(path: Path, descriptor: Descriptor) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor.number), path.lstat())
    except OSError:
        return False
