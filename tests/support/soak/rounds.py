"""Rounds of forks: children that log as fast as they can, beside a parent whose thread logs.

Each round is a separate process, with a topic that no other has.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.support.console_consumer import confluent_consume

from .ledgers import Report, check, read_ledgers, read_stored

CHILDREN: Final = 8
_TIMEOUT: Final = 240.0
_STRICT: Final = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The result of a round.

    Attributes:
        said: what the processes wrote to stderr.
        seconds: how long they took.
    """

    report: Report
    said: str
    status: int
    seconds: float

    @property
    def flawless(self) -> bool:
        """Whether nothing was lost, stored twice, or complained of."""
        return self.report.flawless and not self.report.dropped and not (self.said or self.status)

    def __str__(self) -> str:
        rest = f"\nstatus {self.status}, stderr:\n{self.said}" if self.said or self.status else ""
        return f"{self.seconds:5.1f} s, {self.report}{rest}"


def run_round(bootstrap: Sequence[str], topic: str, records: int) -> Round:
    """Let forked children log `records` each, and compare."""
    given = {"brokers": list(bootstrap), "topic": topic, "records": records, "children": CHILDREN}
    began = time.monotonic()
    program = subprocess.run(
        [sys.executable, *_STRICT, "-m", f"{__package__}.parent", json.dumps(given)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    seconds = time.monotonic() - began
    stored = read_stored(record.value for record in confluent_consume(bootstrap, topic))
    ledgers = read_ledgers(program.stdout.splitlines())
    return Round(
        report=check(["parent"], ledgers, stored),
        said=program.stderr,
        status=program.returncode,
        seconds=seconds,
    )
