"""Rows to append, stamps to commit with, and directories to keep them in."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from kiel_logging.handler.spool.directory import SpoolDirectory
from kiel_logging.handler.spool.row import Row

ROOT: Final = Path(__file__).parents[3]
PATIENCE: Final = 60.0


def row(place: int, payload: bytes = b"payload", topic: str = "audit") -> Row:
    """A row that can be told from others by its place."""
    return Row(place, topic, payload)


def rows(*places: int) -> list[Row]:
    """Rows that can be told from each other by their places."""
    return [row(place) for place in places]


def counted(place: int, state: bytes | None) -> tuple[bytes, bytes]:
    """A stamp that numbers the records of a stream, and says at which place it did."""
    number = int(state or b"0") + 1
    return b"%d at %d" % (number, place), b"%d" % number


class Told(list[str]):
    """A directory's reports."""

    def directory(self, path: Path, **options: Any) -> SpoolDirectory:
        """One that reports to this."""
        return SpoolDirectory(path, report=self.append, **options)


def program(code: str, *prefix: str) -> subprocess.Popen[str]:
    """Start `code`, which has `path` and `say()`, in a process of its own."""
    switches = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")
    return subprocess.Popen(
        [*prefix, sys.executable, *switches, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code: str, *prefix: str) -> Any:
    """Run `code` to its end, by another program; return what it printed, which is JSON."""
    with program(code, *prefix) as running:
        out, errors = running.communicate(timeout=PATIENCE)
    assert (running.returncode, errors) == (0, "")
    return json.loads(out)


def killed(running: subprocess.Popen[str]) -> None:
    """End a program as nothing but the kernel can."""
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=PATIENCE)
