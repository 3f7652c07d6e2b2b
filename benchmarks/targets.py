"""The aims, and by how much they are reached or missed. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.case import MIB
from benchmarks.peers import BEST, NULL, OURS
from benchmarks.percentiles import PERCENTS
from benchmarks.plan import OUTAGE_MEMORY
from benchmarks.results import Results

_BEST: Final = "the best confluent's"
_JUST_LOGGING: Final = (NULL, "queue-handler", "otlp-agent")
_SPARE: Final = 32 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One aim: a ratio that is to be at least, or at most, some number.

    ``measured`` is None where the run lacks the figures.
    """

    aim: str
    measured: float | None
    limit: float
    at_least: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether it is."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        words = "at least" if self.at_least else "at most"
        aim = f"{self.aim}: {words} {self.limit:g}"
        if self.measured is None:
            return f"not measured  {aim}"
        if self.reached:
            return f"reached       {aim}, is {self.measured:.2f}"
        missed = abs(self.measured / self.limit - 1)
        return f"NOT reached   {aim}, is {self.measured:.2f}: misses by {missed:.1%}"


def targets(results: Results) -> Sequence[Target]:
    """Return all of them, as the medians of the rounds have them."""
    return [target for group in _GROUPS for target in group(results)]


def _throughput(results: Results) -> Iterator[Target]:
    for measure, limit in (
        ("throughput", 1.5),
        ("distinct keys", 1.4),
        ("web access", 1.5),
        ("audit", 1.5),
    ):
        yield Target(
            aim=f"records/s, {measure} / {_BEST}",
            measured=_ratio(
                _median(results, measure, OURS, "records_per_s"),
                _best(results, measure, "records_per_s", most=True),
            ),
            limit=limit,
            at_least=True,
        )
    for peer, limit in (("aiokafka", 6), ("kafka-python", 8)):
        yield Target(
            aim=f"records/s / {peer}'s",
            measured=_ratio(
                _median(results, "throughput", OURS, "records_per_s"),
                _median(results, "throughput", peer, "records_per_s"),
            ),
            limit=limit,
            at_least=True,
        )


def _cpu(results: Results) -> Iterator[Target]:
    for measure, limit in (("throughput", 0.4), ("distinct keys", 0.5)):
        ours, null = (_median(results, measure, peer, "cpu_us") for peer in (OURS, NULL))
        yield Target(
            aim=f"CPU a record above NullHandler, {measure} / what {_BEST} adds",
            measured=_ratio(_less(ours, null), _less(_best(results, measure, "cpu_us"), null)),
            limit=limit,
        )


def _callers(results: Results) -> Iterator[Target]:
    for measure in ("burst", "steady"):
        yield Target(
            aim=f"p50 of a call, {measure} / NullHandler's",
            measured=_ratio(*(_median(results, measure, peer, "p50") for peer in (OURS, NULL))),
            limit=1.3,
        )
    for measure, names in (("burst", ("p99.9", "max")), ("steady", tuple(PERCENTS))):
        for name in names:
            yield Target(
                aim=f"{name} of a call, {measure} / that of the best which ships",
                measured=_ratio(
                    _median(results, measure, OURS, name), _least_of_others(results, measure, name)
                ),
                limit=1,
            )


def _growth(results: Results) -> Iterator[Target]:
    yield Target(
        aim="CPU a record, 1,000 partitions / 1",
        measured=_grown(results, "cpu_us", "partitions", 1_000),
        limit=1.3,
    )
    yield Target(
        aim="records/s, 32 threads / 1",
        measured=_grown(results, "records_per_s", "threads", 32),
        limit=1,
        at_least=True,
    )


def _memory(results: Results) -> Iterator[Target]:
    yield Target(
        aim="memory with the broker away / (buffer_memory + 32 MiB)",
        measured=_ratio(_median(results, "outage", OURS, "added"), OUTAGE_MEMORY + _SPARE),
        limit=1,
    )


_GROUPS: Final[Sequence[Callable[[Results], Iterator[Target]]]] = (
    _throughput,
    _cpu,
    _callers,
    _growth,
    _memory,
)


def _median(results: Results, measure: str, peer: str, name: str) -> float | None:
    found = results.figure(measure, peer, name)
    return None if found is None else found.median


def _best(results: Results, measure: str, name: str, *, most: bool = False) -> float | None:
    """Return the better figure of the forms of the hand-tuned one; None unless both have it."""
    figures = [_median(results, measure, peer, name) for peer in BEST]
    found = [each for each in figures if each is not None]
    return None if len(found) < len(BEST) else max(found) if most else min(found)


def _least_of_others(results: Results, measure: str, name: str) -> float | None:
    others = (peer for peer in results.peers(measure) if peer not in (*_JUST_LOGGING, OURS))
    figures = (_median(results, measure, peer, name) for peer in others)
    return min((each for each in figures if each is not None), default=None)


def _grown(results: Results, name: str, aspect: str, at: int) -> float | None:
    much, one = (results.figure("growth", OURS, name, aspect, size) for size in (at, 1))
    return None if much is None or one is None else _ratio(much.median, one.median)


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _ratio(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other
