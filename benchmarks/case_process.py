"""One case in a separate process: ``python -m benchmarks.case_process CASE`` prints figures.

Nothing of another case is in its memory, its threads or its interpreter's caches.
"""

import json
import os
import subprocess
import sys
from typing import Final

from benchmarks.case import Case, Figures
from benchmarks.measures import MEASURES

_MOST_SECONDS: Final = 300.0
_LEAST_RATE: Final = 1_000
"""Records a second: a case of a million has more time."""

_MOST_OF_AN_ERROR: Final = 300

ERROR: Final = "error"
"""The one figure of a case that could not be measured: its error."""


def run(case: Case) -> Figures:
    """Measure a case in a new process; an error is returned as a figure named ERROR."""
    seconds = _MOST_SECONDS + case.records / _LEAST_RATE
    try:
        finished = subprocess.run(  # noqa: S603 # ourselves
            command_of(case), capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return {ERROR: f"nothing after {seconds:.0f} s"}
    return result_of(finished.returncode, finished.stdout, finished.stderr)


def command_of(case: Case) -> list[str]:
    """Return the command that measures a case."""
    return [sys.executable, "-m", "benchmarks.case_process", case.to_json()]


def result_of(status: int, output: str, errors: str) -> Figures:
    """Return the figures that a case's process printed, or how it ended."""
    if status == 0 and output:
        figures: Figures = json.loads(output.splitlines()[-1])
        return figures
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return {ERROR: (lines[-1] if lines else f"exit status {status}")[:_MOST_OF_AN_ERROR]}


def main() -> None:
    """Measure the case that the command line has, print its figures, and end at once."""
    case = Case.from_json(sys.argv[1])
    try:
        figures = MEASURES[case.measure](case)
    except Exception as error:
        figures = {ERROR: reason(error)}
    print(json.dumps(figures), flush=True)
    os._exit(0)  # the exit is not measured


def reason(error: BaseException) -> str:
    """Return the first error, which caused the others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"[:_MOST_OF_AN_ERROR]


if __name__ == "__main__":
    main()
