"""Which cases a run has. Pure: names and sizes, no clock and no broker."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from benchmarks.case import MIB, Case
from benchmarks.peers import BEST, NULL, OURS, PEERS

SHAPED: Final[Mapping[str, Mapping[str, Any]]] = {
    "throughput": {"shape": "short"},
    "distinct keys": {"shape": "short", "keys": 0},
    "web access": {"shape": "web access"},
    "audit": {"shape": "audit"},
}
"""Measures of records per second, and the records that they log."""

MEASURES: Final = (*SHAPED, "burst", "steady", "startup", "growth", "outage")

ALIASES: Final[Mapping[str, Sequence[str]]] = {
    "latency": ("burst", "steady"),
    "memory": ("throughput", "outage"),
    "shapes": tuple(SHAPED),
}
"""Other names that the command line takes for some of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured: which measures, which ways to log, how many rounds and records.

    Attributes:
        name: what it is called in the results.
        shape_peers: the ways to log that get records of every shape.
        growth: aspect -> how far it grows.
        growth_peers: the ways to log that are looked at while something grows.
        outage_peers: those that are looked at while the broker is away.
    """

    name: str
    measures: Sequence[str] = MEASURES
    peers: Sequence[str] = tuple(PEERS)
    shape_peers: Sequence[str] = (NULL, *BEST, OURS)
    rounds: int
    records: int
    burst: int
    steady_seconds: int
    growth: Mapping[str, Sequence[int]]
    growth_records: int
    growth_peers: Sequence[str]
    growth_rounds: int = 1
    outage_peers: Sequence[str] = tuple(PEERS)


QUICK: Final = Plan(
    name="quick",
    rounds=2,
    records=30_000,
    burst=10_000,
    steady_seconds=3,
    growth={"threads": (1, 32), "partitions": (1, 1_000)},
    growth_records=20_000,
    growth_peers=(*BEST, OURS),
    outage_peers=(NULL, BEST[0], OURS),
)

FULL: Final = Plan(
    name="full",
    rounds=3,
    records=200_000,
    burst=50_000,
    steady_seconds=10,
    growth={
        "threads": (1, 2, 4, 8, 32),
        "partitions": (1, 10, 100, 1_000),
        "topics": (1, 10, 100),
        "message_size": (100, 1_000, 10_000, 100_000),
        "extras": (0, 5, 50),
    },
    growth_records=30_000,
    growth_peers=(NULL, *BEST, "kafka-python", "aiokafka", OURS),
    growth_rounds=2,
)

_STEADY_RATE: Final = 2_000
_MOST_BYTES: Final = 200 * MIB
"""Of messages in one case: large ones are fewer."""

_SIDE_BY_SIDE: Final = 3
"""Cases during one outage: more would want more than two cores, and lag behind the clock."""

OUTAGE_RATE: Final = 4_000
OUTAGE_MEMORY: Final = 32 * MIB
OUTAGE_SECONDS: Final = (5, 30, 15)
"""Before, without the broker, and after."""


def rounds_of(plan: Plan) -> Iterator[tuple[str, int, Sequence[Case]]]:
    """Yield measure, round and its cases, each round beginning with another way to log.

    Cases of an outage run side by side: one broker is away for all of them.
    """
    for measure in plan.measures:
        cases = _cases(plan, measure)
        if measure == "outage":
            for first in range(0, len(cases), _SIDE_BY_SIDE):
                yield measure, 0, cases[first : first + _SIDE_BY_SIDE]
            continue
        rounds = plan.growth_rounds if measure == "growth" else plan.rounds
        for number in range(rounds):
            first = number * len(cases) // rounds
            yield measure, number, [*cases[first:], *cases[:first]]


def _cases(plan: Plan, measure: str) -> Sequence[Case]:
    if measure == "growth":
        return _growth(plan)
    some = {"outage": plan.outage_peers, **dict.fromkeys(tuple(SHAPED)[1:], plan.shape_peers)}
    peers = [each for each in plan.peers if each in some.get(measure, plan.peers)]
    return [Case(measure=measure, peer=peer, **_sizes(plan, measure)) for peer in peers]


def _sizes(plan: Plan, measure: str) -> dict[str, Any]:
    if measure in SHAPED:
        return {"records": plan.records, **SHAPED[measure]}
    return {
        "burst": {"records": plan.burst},
        "steady": {"records": plan.steady_seconds * _STEADY_RATE, "rate": _STEADY_RATE},
        "startup": {"records": 1},
        "outage": {
            "records": sum(OUTAGE_SECONDS) * OUTAGE_RATE,
            "rate": OUTAGE_RATE,
            "memory": OUTAGE_MEMORY,
        },
    }[measure]


def _growth(plan: Plan) -> Sequence[Case]:
    return [
        Case(
            measure="growth",
            peer=peer,
            aspect=aspect,
            at=at,
            **_grown(aspect, at, plan.growth_records),
        )
        for aspect, sizes in plan.growth.items()
        for at in sizes
        for peer in plan.growth_peers
        if peer in plan.peers
    ]


def _grown(aspect: str, at: int, records: int) -> dict[str, Any]:
    if aspect == "message_size":
        return {"records": min(records, _MOST_BYTES // at), aspect: at}
    return {"records": records, aspect: at}


def measures_named(names: Sequence[str]) -> Sequence[str]:
    """Return the measures that names stand for, in the order in which they run."""
    meant = set(chain.from_iterable(ALIASES.get(name, (name,)) for name in names))
    return [measure for measure in MEASURES if measure in meant]
