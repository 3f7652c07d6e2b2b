"""Notices of what changes in directories: Linux's inotify, one descriptor for all of them.

A notice is a hint. Some may be missing, where the system has no inotify or no more watches: look
at the directories now and then all the same.
"""

import contextlib
import ctypes
import os
import struct
import sys
from pathlib import Path
from typing import Any, Final

_MODIFIED: Final = 0x2
_MOVED_HERE: Final = 0x80
_CREATED: Final = 0x100
_IGNORED: Final = 0x8000
_ONLY_DIRECTORIES: Final = 0x0100_0000
_NO_LINKS: Final = 0x0200_0000
_ONCE: Final = 0x8000_0000

_EVENT: Final = struct.Struct("iIII")
_BLOCK: Final = 64 * 1024


class Notices:
    """Watches directories.

    Attributes:
        number: a descriptor that can be read when there are notices; None where they never come.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._libc: Any = None
        if sys.platform == "linux":
            with contextlib.suppress(OSError, AttributeError):
                self._libc = ctypes.CDLL(None)
                number = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
                self.number = number if number >= 0 else None

    def __repr__(self) -> str:
        return f"<Notices {self.number}>"

    def watch_names(self, path: Path) -> None:
        """Give notice of each file and directory that appears in ``path``."""
        self._watch(path, _CREATED | _MOVED_HERE)

    def watch_once(self, path: Path) -> int | None:
        """Give notice when a file in ``path`` is written, or made, for the first time from now on.

        Returns:
            The number of that notice; None if none will come.
        """
        return self._watch(path, _CREATED | _MODIFIED | _ONCE)

    def _watch(self, path: Path, events: int) -> int | None:
        if self.number is None:
            return None
        flags = ctypes.c_uint32(events | _ONLY_DIRECTORIES | _NO_LINKS)
        found: int = self._libc.inotify_add_watch(self.number, os.fsencode(path), flags)
        return found if found >= 0 else None

    def take(self) -> tuple[set[int], set[int]]:
        """Return the numbers of the notices that came since the last call, and of those that will
        not come any more: they came, or their directory is gone."""
        found, over = set[int](), set[int]()
        with contextlib.suppress(OSError):  # there are no more
            while self.number is not None:
                block, at = os.read(self.number, _BLOCK), 0
                while at < len(block):
                    number, events, _, size = _EVENT.unpack_from(block, at)
                    at += _EVENT.size + size
                    (over if events & _IGNORED else found).add(number)
        return found, over

    def close(self) -> None:
        """Watch nothing any more."""
        if self.number is not None:
            os.close(self.number)
            self.number = None
