"""Ways to log to Kafka from Python, side by side: ``python -m benchmarks``.

``--only ours,confluent-orjson,null --measure throughput,latency --rounds 2`` is for working on the
hot path; ``--full`` is what the documentation shows.
"""

import argparse
import json
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.cluster import KAFKA, MOCK, cluster
from benchmarks.documentation import document, write_json
from benchmarks.load import Others, is_quotable
from benchmarks.peers import BEST, GUARANTEES, NULL, OURS, PEERS
from benchmarks.plan import ALIASES, FULL, MEASURES, QUICK, Plan, measures_named
from benchmarks.report import as_text, errors, tables
from benchmarks.results import Results, merged
from benchmarks.running import run_plan
from benchmarks.surroundings import surroundings
from benchmarks.targets import targets
from benchmarks.workload import descriptions


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, or read what was measured; show it; return the exit status."""
    options = _parser().parse_args(argv)
    if options.results:
        results = merged([_read(path) for path in options.results])
    elif not is_quotable(loaded=options.loaded):
        return 2
    else:
        results = measured(_plan(options), options.brokers)
    for line in _shown(results):
        print(line)
    if options.out:
        write_json(results, options.out)
    if options.docs:
        document(results, options.docs)
    return 1 if options.check and any(each.reached is False for each in targets(results)) else 0


def measured(plan: Plan, brokers: str | None) -> Results:
    """Run a plan; return what came of it."""
    now, others = datetime.now(UTC), Others()
    with cluster(brokers) as found:
        about: dict[str, Any] = {
            "date": f"{now:%Y-%m-%d}",
            "broker": found.name,
            "plan": f"{plan.name}, {plan.rounds} rounds",
            "records": descriptions(),
            **surroundings(),
        }
        print(f"{found.name}; {plan.rounds} rounds", file=sys.stderr, flush=True)
        results = Results(about=about, found=list(run_plan(plan, found)))
    about["machine"] = {**about["machine"], "others": f"{others.cores():.2f} cores"}
    return results


def _read(path: Path) -> Results:
    return Results.from_dict(json.loads(path.read_text(encoding="utf-8")))


def _shown(results: Results) -> Sequence[str]:
    lines = [f"{name}: {text}" for name, text in results.about.get("records", {}).items()]
    for title, rows in tables(results):
        lines += ["", title, *as_text(rows)]
    if told := errors(results):
        lines += ["", "Not measured", *told]
    return [*lines, "", "Targets", *map(str, targets(results))]


def _plan(options: argparse.Namespace) -> Plan:
    plan = FULL if options.full else QUICK
    chosen = {
        "rounds": options.rounds,
        "growth_rounds": options.rounds,
        "records": options.records,
        "peers": options.only,
        "measures": options.measure and measures_named(options.measure),
    }
    return replace(plan, **{name: value for name, value in chosen.items() if value})


def _names(known: Collection[str]) -> Callable[[str], Sequence[str]]:
    """Return what reads a comma-separated list of known names."""

    def names(text: str) -> Sequence[str]:
        given = text.split(",")
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return given

    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--full", action="store_true", help="everything: three quarters of an hour")
    parser.add_argument("--rounds", type=int, help="how often each case is measured")
    parser.add_argument("--records", type=int, help="how many records a throughput case logs")
    known = [*PEERS, *GUARANTEES]
    parser.add_argument("--only", type=_names(known), help=f"some of {', '.join(known)}")
    parser.add_argument(
        "--guarantees",
        dest="only",
        action="store_const",
        const=[NULL, *BEST, OURS, *GUARANTEES],
        help="what spool, chain and receipts cost: each beside the plain handler and the best peer",
    )
    parser.add_argument(
        "--measure", type=_names([*MEASURES, *ALIASES]), help=f"some of {', '.join(MEASURES)}"
    )
    parser.add_argument("--brokers", help=f"{KAFKA}, {MOCK}, or host:port of a cluster of yours")
    parser.add_argument("--out", type=Path, help="a directory for the results as JSON")
    parser.add_argument("--docs", type=Path, help="a directory for JSON and pictures; see its page")
    parser.add_argument("--results", type=Path, nargs="+", help="show these, measure nothing")
    parser.add_argument("--loaded", action="store_true", help="measure on a loaded machine as well")
    parser.add_argument("--check", action="store_true", help="status 1 where a target is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
