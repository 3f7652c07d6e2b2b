"""The rows of ``benchmarks.spooled``: figures that are compared, and limits to reach. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import sub, truediv
from typing import Final, NamedTuple

from benchmarks.case import MIB, Figures
from benchmarks.percentiles import Spread, spread
from benchmarks.report import cell
from benchmarks.targets import Target

Round = Mapping[str, Figures]
"""The figures of each case in one round, by the case's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of two cases, and how they are to compare.

    Attributes:
        name: what ``--only`` calls it.
        title: the words for what is compared.
        figure: the name of the figure.
        case: the case that is looked at.
        beside: the case that it is compared with.
        limit: the number to reach; None for a row that only informs.
        at_least: whether the limit is a lower one.
        compare: makes one number of both figures: their ratio, or their difference.
        unit: divides the figures before they are compared and shown.
    """

    name: str
    title: str
    figure: str
    case: str
    beside: str
    limit: float | None = None
    at_least: bool = False
    compare: Callable[[float, float], float] = truediv
    unit: float = 1


ROWS: Final = (
    Row(
        name="call",
        title="always: mean of a call, us",
        figure="mean",
        case="always: calls",
        beside="file: calls",
        limit=1.2,
    ),
    Row(
        name="p99",
        title="always: p99 of a call, us",
        figure="p99",
        case="always: calls",
        beside="file: calls",
        limit=3,
    ),
    Row(
        name="cpu",
        title="always: CPU of the process, us/record",
        figure="cpu_us",
        case="always",
        beside="file",
        limit=1.6,
    ),
    Row(
        name="threads",
        title="always: 8 threads, records/s",
        figure="logged_per_s",
        case="always: 8 threads",
        beside="file: 8 threads",
        limit=1,
        at_least=True,
    ),
    Row(
        name="delivered",
        title="always: delivered records/s",
        figure="records_per_s",
        case="always",
        beside="no spool",
        limit=0.7,
        at_least=True,
    ),
    Row(
        name="full",
        title="full: mean of a call, us",
        figure="mean",
        case="full: calls",
        beside="file with fsync: calls",
        limit=1.1,
    ),
    Row(
        name="full-threads",
        title="full: 8 threads, records/s",
        figure="logged_per_s",
        case="full: 8 threads",
        beside="file with fsync: 8 threads",
        limit=3,
        at_least=True,
    ),
    Row(
        name="replay",
        title="replay: records/s",
        figure="records_per_s",
        case="replay",
        beside="no spool: as many",
        limit=1,
        at_least=True,
    ),
    Row(
        name="memory",
        title="replay: peak memory above idle, MiB",
        figure="memory",
        case="replay",
        beside="idle",
        limit=64,
        compare=sub,
        unit=MIB,
    ),
    Row(
        name="no-spool",
        title="no spool: mean of a call, us",
        figure="mean",
        case="no spool: calls",
        beside="file: calls",
    ),
    Row(
        name="overflow",
        title="overflow: mean of a call, us",
        figure="mean",
        case="overflow: calls",
        beside="file: calls",
    ),
)


class Comparison(NamedTuple):
    """A row's figures over the rounds, and the result: the medians compared.

    The extremes of the result are those of single rounds. Its median lies between them.
    """

    ours: Spread
    beside: Spread
    result: Spread


def compared(row: Row, rounds: Sequence[Round]) -> Comparison | None:
    """Return a row's figures and their comparison; None where no round has both figures."""
    pairs = [
        (one / row.unit, other / row.unit)
        for each in rounds
        if (one := each.get(row.case, {}).get(row.figure)) is not None
        and (other := each.get(row.beside, {}).get(row.figure)) is not None
    ]
    if not pairs:
        return None
    ours, beside = (spread(side) for side in zip(*pairs, strict=True))
    single = [row.compare(*pair) for pair in pairs]
    median = row.compare(ours.median, beside.median)
    return Comparison(ours, beside, Spread(median, min(single), max(single)))


def table(rows: Sequence[Row], rounds: Sequence[Round]) -> Iterator[Sequence[str]]:
    """Yield the heading and the cells of each row; the extremes of the rounds are in brackets."""
    yield ["", "median", "beside", "median", "compared", "to reach", "reached"]
    for row in rows:
        ours, beside, result = compared(row, rounds) or (None, None, None)
        yield [
            row.title,
            cell(ours, _written),
            row.beside,
            cell(beside, _written),
            cell(result, _compared),
            *_verdict(row, result and result.median),
        ]


def _verdict(row: Row, measured: float | None) -> Sequence[str]:
    if row.limit is None:
        return "", ""
    target = Target(aim=row.title, measured=measured, limit=row.limit, at_least=row.at_least)
    words = "at least" if row.at_least else "at most"
    reached = {None: "not measured", True: "yes", False: "NO"}[target.reached]
    return f"{words} {row.limit:g}", reached


def _written(value: float) -> str:
    return f"{value:,.1f}" if abs(value) < 1_000 else f"{value:,.0f}"


def _compared(value: float) -> str:
    return f"{value:.2f}"
