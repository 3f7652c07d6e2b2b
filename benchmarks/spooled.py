"""Logging through a spool measured beside logging to a file: ``python -m benchmarks.spooled``.

All in one run, on one disk (``--path``) and with one broker, because disks differ more than
programs do. Each case runs in a separate process; the rounds take turns; the table has medians
and, in brackets, the extremes.

- A call is timed on the thread that logs.
- CPU is that of the whole process, user and system, from the first call until all is acknowledged.
  Delivered records/s are of the same time; those of 8 threads end when all calls have returned.
- A process without a broker logs the backlog once, and ends without closing its handler. In each
  round a new process replays a copy of it, from the page cache. Its time starts with the handler;
  the time of the case beside it starts with the first call.
- The idle process has delivered one record, so that it has imported all that the replay imports.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.case import Case, Figures
from benchmarks.case_process import ERROR, run
from benchmarks.cluster import Cluster, cluster
from benchmarks.load import Others, is_disturbed, is_loaded, is_quotable
from benchmarks.report import as_text
from benchmarks.running import alone, show
from benchmarks.spooled_report import ROWS, Round, Row, table
from benchmarks.surroundings import surroundings
from benchmarks.unreachable import closed_port

_EXTRAS: Final = 2
_THREADS: Final = 8
_SYNCED_SHARE: Final = 10
"""Of so many records one is logged where each waits for the disk."""

_REPLAY: Final = "replay"
_BACKLOG: Final = "backlog"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table; return the exit status, 1 where a case could not be measured."""
    options = _parser().parse_args(argv)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if not is_quotable(loaded=options.loaded):
        return 2
    about: dict[str, Any] = {**surroundings(), "records": options.records}
    others = Others()
    with cluster(options.cluster) as found, tempfile.TemporaryDirectory(dir=options.path) as path:
        about["broker"] = found.name
        cases = needed(options.only, options.records, options.backlog)
        if _REPLAY in cases:
            about[_BACKLOG] = {
                "records": options.backlog,
                **make_backlog(cases[_REPLAY], Path(path) / _BACKLOG),
            }
        rounds = list(measured(cases, found, Path(path), options.rounds))
    about["others"] = round(others.cores(), 2)
    print(json.dumps(about, indent=1))
    for line in as_text(list(table(options.only, rounds))):
        print(line)
    print(f"Load average before: {load:.2f}. Other programs kept {about['others']} cores busy.")
    if is_loaded(load, cores) or is_disturbed(about["others"], cores):
        print("WARNING: THE MACHINE WAS LOADED. These figures are not to be quoted.")
    if options.json:
        options.json.write_text(json.dumps({**about, "rounds": rounds}, indent=1) + "\n")
    errors = list(_errors(rounds))
    for error in errors:
        print(error)
    return 1 if errors else 0


def _cases(records: int, backlog: int) -> Mapping[str, Case]:
    synced = max(1, records // _SYNCED_SHARE)

    def case(measure: str, peer: str, count: int, threads: int = 1) -> Case:
        return Case(
            measure=measure,
            peer=peer,
            records=count,
            threads=threads,
            extras=_EXTRAS,
            partitions=1,
        )

    return {
        "file: calls": case("burst", "file", records),
        "always: calls": case("burst", "always", records),
        "no spool: calls": case("burst", "no-spool", records),
        "overflow: calls": case("burst", "overflow", records),
        "file with fsync: calls": case("burst", "file-fsync", synced),
        "full: calls": case("burst", "full", synced),
        "file": case("throughput", "file", records),
        "always": case("throughput", "always", records),
        "no spool": case("throughput", "no-spool", records),
        "file: 8 threads": case("throughput", "file", records, _THREADS),
        "always: 8 threads": case("throughput", "always", records, _THREADS),
        "file with fsync: 8 threads": case("throughput", "file-fsync", synced, _THREADS),
        "full: 8 threads": case("throughput", "full", synced, _THREADS),
        _REPLAY: case("replay", "always", backlog),
        "no spool: as many": case("throughput", "no-spool", backlog),
        "idle": case("idle", "always", 1),
    }


def needed(rows: Sequence[Row], records: int, backlog: int) -> Mapping[str, Case]:
    """Return the cases that have the figures of ``rows``, in the order in which they run."""
    names = {name for row in rows for name in (row.case, row.beside)}
    return {name: case for name, case in _cases(records, backlog).items() if name in names}


def make_backlog(replayed: Case, directory: Path) -> Figures:
    """Make the backlog that a case replays.

    Raises:
        RuntimeError: it could not be made; says why.
    """
    directory.mkdir()
    with closed_port() as nowhere:
        case = replayed.to(nowhere, _topic(_REPLAY, 0))
        figures = run(replace(case, measure="backlog", directory=str(directory)))
    show(_BACKLOG, figures)
    if ERROR in figures:
        raise RuntimeError(f"there is no backlog to replay: {figures[ERROR]}")
    return figures


def measured(cases: Mapping[str, Case], found: Cluster, path: Path, rounds: int) -> Iterator[Round]:
    """Yield the figures of the cases, round by round, each round beginning with another case."""
    names = list(cases)
    for number in range(rounds):
        first = number * len(names) // rounds
        results = {}
        for name in [*names[first:], *names[:first]]:
            directory = path / "case"
            if name == _REPLAY:
                shutil.copytree(path / _BACKLOG, directory)
            else:
                directory.mkdir()
            os.sync()  # or the disk would be busy with the case before
            case = cases[name].to(found.brokers, _topic(name, number))
            results[name] = alone(replace(case, directory=str(directory)), found)
            show(f"{number + 1} {name}", results[name])
            shutil.rmtree(directory)
        yield results


def _topic(name: str, number: int) -> str:
    """Return a case's topic in a round. The backlog's records name theirs: the same each round."""
    words = name.replace(":", "").replace(" ", "-")
    return f"spooled-{words}" if name == _REPLAY else f"spooled-{words}-{number}"


def _errors(rounds: Sequence[Round]) -> Iterator[str]:
    for number, results in enumerate(rounds, 1):
        for name, figures in results.items():
            if ERROR in figures:
                yield f"not measured, round {number}, {name}: {figures[ERROR]}"


def _rows(text: str) -> Sequence[Row]:
    names = text.split(",")
    known = [row.name for row in ROWS]
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
    return [row for row in ROWS if row.name in names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.spooled", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--records", type=int, default=50_000, help="of each case; a tenth with fsync"
    )
    parser.add_argument("--backlog", type=int, default=1_000_000, help="records that are replayed")
    names = ",".join(row.name for row in ROWS)
    parser.add_argument("--only", type=_rows, default=ROWS, help=f"some of {names}")
    parser.add_argument("--path", type=Path, help="a directory on the disk in question")
    parser.add_argument("--cluster", help="kafka, mock or host:port; the best there is by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--loaded", action="store_true", help="measure on a loaded machine as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
