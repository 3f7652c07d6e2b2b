"""`program.py` in a separate process, and the output of all of its processes.

Into files: pipes that are read at the end would fill before that.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, Any, Final, Self

from .program import STACKS

_TO_SHOW: Final = 2.0
"""Seconds in which processes write the stacks of their threads."""


class RunningProgram:
    """Runs within its `with`, and is killed, with all that it forked, when that ends.

    Args:
        who: its name.
        options: its handler's.
        seed: what it does by chance comes from this.

    Attributes:
        output: the lines of its stdout, when it ended.
        said: those of its stderr.
    """

    def __init__(self, who: str, options: dict[str, Any], seed: int) -> None:
        self._given = {"who": who, "seed": seed, "options": options}
        self.output: list[str] = []
        self.said: list[str] = []

    def __enter__(self) -> Self:
        self._out, self._errors = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.program", json.dumps(self._given)],
            stdin=subprocess.PIPE,
            stdout=self._out,
            stderr=self._errors,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._out.close()
        self._errors.close()

    def end(self, timeout: float) -> int | None:
        """Let it, and all that it forked, come to an end within `timeout` seconds.

        Returns:
            Its status, None if it did not end: then `said` has the stacks of all processes.
        """
        try:
            self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, STACKS)
            time.sleep(_TO_SHOW)
        self.output, self.said = map(_lines, (self._out, self._errors))
        return self._process.returncode


def _lines(file: IO[str]) -> list[str]:
    file.seek(0)
    return file.read().splitlines()
