"""Who a spool file belongs to: the one process that holds a lock beside it.

The law: a claim is an ``flock`` on a file of its own, ``<instance>.lock``. The kernel lets it go
when the process ends, however it ends, and knows it by no number that another process may get.

Not on the spool file: whoever closes any descriptor of it lets go the locks that SQLite has there
(POSIX). A forked child has the lock too, for it is the open file's, and must ``abandon()`` it.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from kiel_logging.handler.spool.faults import system_fault

_CLOSED: Final = -1


class Claim:
    """The right to a spool file."""

    def __init__(self, path: Path, file: int) -> None:
        self._path: Final = path
        self._file = file

    def __repr__(self) -> str:
        return f"<Claim {self._path.name}>"

    @classmethod
    def take(cls, path: Path) -> "Claim | None":
        """Return the claim whose lock is the file ``path``; None while a live process has it.

        Raises:
            SpoolError: there are no files, or no locks, to be had there.
        """
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise system_fault(path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, file):
                return cls(path, file)
        except BlockingIOError:
            pass
        except OSError as error:
            os.close(file)
            raise system_fault(path, error) from error
        os.close(file)
        return None

    def release(self, *, remove: bool = False) -> None:
        """Let another process have it; ``remove`` the lock's file when there is nothing to have.

        Raises:
            SpoolError: the lock's file can't be removed; it is let go all the same.
        """
        try:
            if remove:
                # First: whoever opens it from now on makes a new one; who did before will see that.
                self._path.unlink(missing_ok=True)
        except NotADirectoryError:
            pass  # it is gone, and its directory with it
        except OSError as error:
            raise system_fault(self._path, error) from error
        finally:
            self._close()

    def abandon(self) -> None:
        """Leave it to the parent, of which this process is a forked child.

        Closed and not unlocked, for that would unlock the parent's as well.
        """
        self._close()

    def _close(self) -> None:
        """Close it once: a second time the number may be that of another file, or of a socket."""
        file, self._file = self._file, _CLOSED
        if file != _CLOSED:
            os.close(file)


def _is_at(path: Path, file: int) -> bool:
    """Whether the lock is the one that others see: its owner may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
