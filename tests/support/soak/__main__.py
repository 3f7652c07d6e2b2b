"""Threads, forks, and brokers that come and go, for as long as one likes.

`python -m tests.support.soak --minutes 10 --seed 7`: a program logs and forks while brokers are
killed, frozen and restarted. Signal handlers and finalisers log on top of it. The records go
through a spool, or with `--spool none` through memory. `--forks 20`: so many rounds of forks with
nothing in their way. Exit status 1 when a process's ledger does not agree with what is stored, when
`kiel-logging verify` finds anything, or when a process doesn't end.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.console_consumer import confluent_consume
from tests.support.kafka import DEFAULT_VERSION, VERSIONS, KafkaCluster, kafka_unavailable_reason

from .faults import FAULTS, strike
from .ledgers import Report, check, read_ledgers, read_stored
from .rounds import CHILDREN, run_round
from .running_program import RunningProgram

_TOPIC: Final = "soak"
_NAME: Final = "p"
_PARTITIONS: Final = 6
_BUFFER_RECORDS: Final = 5_000
"""Little enough to be full while brokers are away."""

_CLOSE_TIMEOUT_MS: Final = 300_000
_TO_THE_END: Final = 360.0
"""Seconds for all processes to deliver what they have, once the cluster is whole for good."""

# The journal is not open yet for a signal handler on top of the call that opens it: the record of
# that handler waits in memory.
_EXPECTED: Final = re.compile(
    r"kiel_logging: (dropped |\d+ log records? did not reach Kafka"
    r"|the journal \S+ is closed, or not open yet)"
    r"|Kafka can't be reached: |no producer id: |broker \S+: |topic \S+: |over, after "
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and say whether all ledgers hold."""
    arguments = _parser().parse_args(argv)
    reason = kafka_unavailable_reason(arguments.version)
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    print(f"seed {arguments.seed}, Apache Kafka {arguments.version}", flush=True)
    with KafkaCluster(arguments.version) as cluster:
        if arguments.forks:
            return _forks(cluster, arguments.forks, arguments.records)
        with tempfile.TemporaryDirectory() as spool_dir:
            return _soak(cluster, arguments, spool_dir)


def _forks(cluster: KafkaCluster, rounds: int, records: int) -> int:
    print(f"{CHILDREN} children of {records} records, {rounds} times", flush=True)
    flawed = 0
    for number in range(1, rounds + 1):
        topic = f"forks-{uuid.uuid4().hex[:8]}"
        cluster.create_topic(topic, partitions=_PARTITIONS)
        result = run_round(cluster.bootstrap, topic, records)
        flawed += not result.flawless
        print(f"{number:4} {result}", flush=True)
    print(f"{flawed} of {rounds} rounds with defects")
    return 1 if flawed else 0


def _soak(cluster: KafkaCluster, arguments: argparse.Namespace, spool_dir: str) -> int:
    rng = random.Random(arguments.seed)
    options = _options(cluster)
    if arguments.spool != "none":
        options |= {"spool_dir": spool_dir, "spool": arguments.spool}
    cluster.create_topic(_TOPIC, partitions=_PARTITIONS)
    with RunningProgram(_NAME, options, rng.getrandbits(32)) as program:
        _strike(cluster, rng, time.monotonic() + arguments.minutes * 60)
        print("waiting for the processes to end", flush=True)
        status = program.end(_TO_THE_END)
    print("reading the records back", flush=True)
    stored = read_stored(r.value for r in confluent_consume(cluster.bootstrap, _TOPIC, timeout=300))
    report = check([_NAME], read_ledgers(program.output), stored)
    print(report)
    left = [path.name for path in Path(spool_dir).iterdir()]
    print(f"{len(left)} journals are left: {left}")
    sound = _verify(cluster, dropped=report.dropped > 0)
    return max(_judge(report, status, program.said), not sound or left != [])


def _verify(cluster: KafkaCluster, *, dropped: bool) -> bool:
    """Return whether `kiel-logging verify` finds what it should: all but what was dropped."""
    command = ["verify", "--topic", _TOPIC, "--brokers", ",".join(cluster.bootstrap)]
    done = subprocess.run(
        [sys.executable, "-m", "kiel_logging", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"verify ended with {done.returncode}\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}")
    return done.returncode == int(dropped)


def _options(cluster: KafkaCluster) -> dict[str, Any]:
    return {
        "brokers": cluster.bootstrap,
        "topic": _TOPIC,
        "chain": True,
        "buffer_records": _BUFFER_RECORDS,
        "close_timeout_ms": _CLOSE_TIMEOUT_MS,
        "request_timeout_ms": 5_000,
    }


def _strike(cluster: KafkaCluster, rng: random.Random, ends_at: float) -> None:
    count = 0
    # By the clock: the duration is what was asked for.
    while time.monotonic() < ends_at:
        count += 1
        fault = rng.choice(FAULTS)
        began = time.monotonic()
        print(f"{count:4} {fault.__name__:15}", end="", flush=True)
        strike(cluster, _TOPIC, fault, rng)
        print(f"{time.monotonic() - began:6.1f} s", flush=True)


def _judge(report: Report, status: int | None, said: list[str]) -> int:
    """Return the exit status; what the handler says of drops and of brokers is in order."""
    unexpected = [line for line in said if not _EXPECTED.match(line)]
    ended = f"did not end in {_TO_THE_END:.0f} s" if status is None else f"ended with {status}"
    print(f"the program {ended}, {len(unexpected)} lines on stderr that should not be there")
    for line in unexpected[:20]:
        print(f"  {line}")
    return 0 if report.flawless and status == 0 and not unexpected else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10, help="for so long something happens")
    parser.add_argument("--spool", choices=["always", "overflow", "none"], default="always")
    parser.add_argument("--forks", type=int, default=0, help="so many rounds of forks instead")
    parser.add_argument("--records", type=int, default=10_000, help="of each child of a round")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--version", default=DEFAULT_VERSION, help=f"such as {', '.join(VERSIONS)}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
