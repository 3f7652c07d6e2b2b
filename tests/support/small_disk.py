"""A file system of a few megabytes, for programs that fill it: a tmpfs in a private namespace.

Root may have a namespace of mounts, and on most systems any other user by `unshare -r`.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest

_MOUNT: Final = 'mount -t tmpfs -o size={size},mode=0700 tmpfs "$0" && exec "$@"'


@cache
def _unshare() -> tuple[str, ...]:
    """Return the command that works here, empty if none does."""
    for switch in ("-m", "-rm"):
        command = ("unshare", switch)
        try:
            done = subprocess.run(
                [*command, "sh", "-c", _MOUNT.format(size="64k"), "/tmp", "true"],
                capture_output=True,
                check=False,
            )
        except OSError:
            return ()
        if done.returncode == 0:
            return command
    return ()


def on_small_disk(path: Path, size: str) -> tuple[str, ...]:
    """Return the start of a command, whose program finds one at `path`."""
    return (*_unshare(), "sh", "-c", _MOUNT.format(size=size), os.fspath(path))


NEEDS_SMALL_DISK: Final = pytest.mark.skipif(
    not _unshare(), reason="no file system can be mounted here: neither as root nor by unshare -r"
)

FILL_UP: Final = """
import os

def fill_up(directory):
    with open(os.path.join(directory, "filling"), "ab", buffering=0) as file:
        size = 65536
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
"""
"""Code of a function that takes the last byte of a file system."""
