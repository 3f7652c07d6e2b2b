"""The results as tables of text: for a terminal, and for the documentation. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from benchmarks.case import MIB
from benchmarks.percentiles import PERCENTS, Spread
from benchmarks.results import Results

_Column = tuple[str, str, Callable[[float], str]]
"""A heading, the figure beneath it, and how a value of it is written."""


def _thousands(value: float) -> str:
    return f"{value:,.0f}"


def _tenths(value: float) -> str:
    return f"{value:,.1f}"


def _mebibytes(value: float) -> str:
    return f"{value / MIB:,.0f}"


_CALLS: Final[Sequence[_Column]] = [(f"{name} us", name, _tenths) for name in PERCENTS]

_SPEEDS: Final[Sequence[_Column]] = [
    ("records/s", "records_per_s", _thousands),
    ("CPU us/record", "cpu_us", _tenths),
    ("peak MiB", "peak_memory", _mebibytes),
]

_TABLES: Final[Mapping[str, tuple[str, Sequence[_Column]]]] = {
    "throughput": (
        "From the first call to the last acknowledgement, short records",
        _SPEEDS,
    ),
    "distinct keys": ("The same, where each record has another key", _SPEEDS),
    "web access": ("The same for a line of a web server's access log", _SPEEDS),
    "audit": ("The same for audit records with nested extras", _SPEEDS),
    "burst": ("How long a call takes, in a burst", _CALLS),
    "steady": ("How long a call takes, at 2,000 a second", _CALLS),
    "startup": (
        "Start-up, in milliseconds",
        [
            ("import", "import_ms", _tenths),
            ("dictConfig", "configure_ms", _tenths),
            ("first delivery", "delivery_ms", _tenths),
            ("together", "together_ms", _tenths),
        ],
    ),
    "outage": (
        "Half a minute without the broker, 4,000 records a second, 32 MiB of buffer",
        [
            ("added MiB", "added", _mebibytes),
            ("longest call ms", "longest_ms", _thousands),
            ("lost", "lost", _thousands),
        ],
    ),
}

_GROWTH: Final[Sequence[_Column]] = [
    ("records/s", "records_per_s", _thousands),
    ("CPU us/record", "cpu_us", _tenths),
]

_NAMES: Final = {"message_size": "characters of the message", "extras": "fields beside the key"}


def tables(results: Results) -> Iterator[tuple[str, Sequence[Sequence[str]]]]:
    """Yield a title and rows for each table; the first row is the heading."""
    for measure, (title, columns) in _TABLES.items():
        if peers := results.peers(measure):
            names = ["", *(name for name, _, _ in columns)]
            yield title, [names, *(_row(results, measure, each, columns) for each in peers)]
    for aspect in dict.fromkeys(each.aspect for each in results.found if each.aspect):
        for heading, figure, written in _GROWTH:
            title = f"{heading} as the {_NAMES.get(aspect, aspect)} grow"
            yield title, _grown(results, aspect, figure, written)


def _row(results: Results, measure: str, peer: str, columns: Sequence[_Column]) -> Sequence[str]:
    figures = [(results.figure(measure, peer, name), written) for _, name, written in columns]
    if all(found is None for found, _ in figures):
        return [peer, f"does not run: {results.error(measure, peer)}"]
    return [peer, *(cell(found, written) for found, written in figures)]


def _grown(
    results: Results, aspect: str, figure: str, written: Callable[[float], str]
) -> Sequence[Sequence[str]]:
    sizes = results.sizes(aspect)
    return [
        ["", *(f"{size:,}" for size in sizes)],
        *(
            [
                peer,
                *(
                    cell(results.figure("growth", peer, figure, aspect, size), written)
                    for size in sizes
                ),
            ]
            for peer in results.peers("growth", aspect)
        ),
    ]


def cell(found: Spread | None, written: Callable[[float], str]) -> str:
    """Return the median, and the extremes where the rounds differ."""
    if found is None:
        return "-"
    median, least, most = map(written, found)
    return median if least == most else f"{median} ({least}-{most})"


def errors(results: Results) -> Sequence[str]:
    """Return what could not be measured, each with what was said then."""
    return list(
        dict.fromkeys(
            f"{each.measure}{f' {each.aspect} {each.at}' if each.aspect else ''},"
            f" {each.peer}: {each.figures['error']}"
            for each in results.found
            if "error" in each.figures
        )
    )


def as_text(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table for a terminal."""
    widths = _widths(rows)
    for name, *cells in rows:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=False))
        yield "  ".join([name.ljust(widths[0]), *aligned]).rstrip()


def _widths(rows: Sequence[Sequence[str]]) -> Sequence[int]:
    """Return how wide the columns are. A row of two cells spans all of them."""
    columns = len(rows[0])
    whole = [row for row in rows if len(row) == columns]
    widths = [max(len(row[number]) for row in whole) for number in range(columns)]
    return [max(widths[0], *(len(row[0]) for row in rows)), *widths[1:]]
