"""Cleans up after a test run that could not: kills its brokers, removes their directory.

Runs as a separate process, with the directory as argument. The owner writes `+pid` and `-pid` to
its stdin as brokers come and go; the end of stdin means that the owner is gone, however that came.
(PR_SET_PDEATHSIG would not do: it fires when the thread that started a broker ends, and tests
restart brokers from worker threads.)
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress


def guard(directory: str, lines: Iterable[str]) -> None:
    """Follow `lines` to their end, then kill those left and remove `directory`."""
    alive: set[int] = set()
    for line in lines:
        pid = int(line[1:])
        (alive.add if line[0] == "+" else alive.discard)(pid)
    for pid in alive:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    guard(sys.argv[1], sys.stdin)
