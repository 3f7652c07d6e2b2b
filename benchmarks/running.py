"""Runs the cases of a plan against one cluster, in turn, and checks what arrived."""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from benchmarks.case import Case, Figures
from benchmarks.case_process import ERROR, run
from benchmarks.cluster import Cluster
from benchmarks.peers import OWN_RECORDS
from benchmarks.plan import Plan, rounds_of
from benchmarks.results import Found
from benchmarks.side_by_side import without_broker

STORED: Final = "stored"
"""The figure that says how many records a case had acknowledged; 0 where none are shipped."""

_OUTAGE: Final = "outage"


def run_plan(plan: Plan, cluster: Cluster) -> Iterator[Found]:
    """Yield what each case found, as it goes."""
    numbers = itertools.count(1)
    for measure, number, cases in rounds_of(plan):
        placed = [each.to(cluster.brokers, f"bench-{next(numbers)}") for each in cases]
        found: Iterable[Figures] = (
            _outage(placed, cluster)
            if measure == _OUTAGE
            else (alone(case, cluster) for case in placed)
        )
        for case, figures in zip(placed, found, strict=True):
            show(_named(case, number), figures)
            yield Found(measure, case.peer, case.aspect, case.at, number, figures)


def alone(case: Case, cluster: Cluster) -> Figures:
    """Measure a case in a separate process, with topics that no other case uses."""
    if cluster.fixed_partitions and case.aspect == "partitions":
        return {ERROR: f"any topic of {cluster.name} has {cluster.fixed_partitions} partitions"}
    cluster.create(case.topic_names, case.partitions)
    # The mock cluster keeps a topic for ever, and a case may have that of an earlier one.
    before = cluster.stored(case.topic_names, case.partitions)
    try:
        return _checked(case, run(case), cluster, before)
    finally:
        cluster.delete(case.topic_names)


def _outage(cases: Sequence[Case], cluster: Cluster) -> Sequence[Figures]:
    for case in cases:
        cluster.create(case.topic_names, case.partitions)
    measured = without_broker(cases, cluster)
    checked = [
        _checked(case, figures, cluster) for case, figures in zip(cases, measured, strict=True)
    ]
    for case in cases:
        cluster.delete(case.topic_names)
    return checked


def _checked(case: Case, figures: Figures, cluster: Cluster, before: int = 0) -> Figures:
    own = OWN_RECORDS.get(case.peer, 0)
    return checked(figures, lambda: cluster.stored(case.topic_names, case.partitions) - before, own)


def checked(figures: Figures, stored: Callable[[], int], own: int = 0) -> Figures:
    """Return the figures, unless the broker has not what it acknowledged, and at most ``own``
    records besides."""
    expected = figures.pop(STORED, 0)
    if expected and not expected <= (found := stored()) <= expected + own:
        return {ERROR: f"{expected} records were acknowledged, {found} are stored"}
    return figures


def _named(case: Case, number: int) -> str:
    grown = f" {case.aspect} {case.at}" if case.aspect else ""
    return f"{case.measure}{grown} {number + 1} {case.peer}"


def show(name: str, figures: Figures) -> None:
    """Print the figures of the case ``name`` on stderr, during the run."""
    shown = " ".join(
        f"{name}={value:.1f}" if isinstance(value, float) else f"{name}={value}"
        for name, value in figures.items()
        if not isinstance(value, list)
    )
    print(f"  {name}: {shown}", file=sys.stderr, flush=True)
