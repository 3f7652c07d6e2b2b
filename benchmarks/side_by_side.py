"""Cases that run at the same time, while their one broker goes and comes back.

Memory is what is looked at: that others compete for the processor does not change it.
"""

import contextlib
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from benchmarks.case import Case, Figures
from benchmarks.case_process import ERROR, command_of, result_of
from benchmarks.cluster import Cluster
from benchmarks.measures.outage import READY
from benchmarks.plan import OUTAGE_SECONDS

_MOST_SECONDS: Final = 300.0


def without_broker(cases: Sequence[Case], cluster: Cluster) -> Sequence[Figures]:
    """Measure all of ``cases`` during one outage of ``cluster``."""
    if cluster.stop is None or cluster.start is None:
        return [{ERROR: f"{cluster.name} is not ours to stop"} for _ in cases]
    before, away, _ = OUTAGE_SECONDS
    with contextlib.ExitStack() as running, ThreadPoolExecutor(len(cases)) as waiting:
        processes = [running.enter_context(_started(case)) for case in cases]
        said = list(waiting.map(_first_line, processes))
        results = [waiting.submit(_finished, *each) for each in zip(processes, said, strict=True)]
        time.sleep(before)
        cluster.stop()
        time.sleep(away)
        cluster.start()
        return [each.result() for each in results]


def _started(case: Case) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603 # ourselves
        command_of(case), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def _first_line(process: subprocess.Popen[str]) -> str:
    """Return READY; or, of one that has ended, the error that is its result."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _finished(process: subprocess.Popen[str], said: str) -> Figures:
    """Say go, and return what the case came to."""
    ready = said == READY
    try:
        output, errors = process.communicate("go\n" if ready else None, timeout=_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return {ERROR: f"nothing after {_MOST_SECONDS:.0f} s"}
    return result_of(process.returncode, output if ready else said, errors)
