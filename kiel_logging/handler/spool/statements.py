"""SQL for any number of rows and places, each as one statement. Pure.

Many places are kept as runs: ranges without a gap, in order.

The law: numbers are rounded up to a power of two, with parameters that do nothing. SQLite's module
keeps what it has compiled, and a statement for each number would take megabytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from kiel_logging.handler.spool.row import Row

MOST_ROWS: Final = 4096
"""Rows in one statement, or places: SQLite takes 32,766 parameters."""

TOTALS: Final = "SELECT count(*), coalesce(sum(length(topic) + length(payload)), 0) FROM rows"
READ: Final = "SELECT place, topic, payload FROM rows WHERE place > ? ORDER BY place LIMIT ?"
IN_BETWEEN: Final = "place BETWEEN ? AND ?"
ANY_IN_BETWEEN: Final = "SELECT 1 FROM rows WHERE place > ? AND place < ? LIMIT 1"

_NO_PLACE: Final = 2**63 - 1
"""Behind all places."""

_A_RUN: Final = 16
"""So many places in a row are removed as a range."""

_PADDING: Final = (None, None, None, None)


def insertion(
    rows: Sequence[Row], streams: Mapping[str, bytes], last_place: int
) -> tuple[str, list[Any]]:
    """Return the statement that adds ``rows`` and the states of ``streams``, and its parameters.

    A state goes with its topic's last row; without one it is as new as ``last_place``.
    """
    newest: dict[str, int] = {}
    for place, topic, _ in rows:
        if topic in streams and place > newest.get(topic, 0):
            newest[topic] = place
    values: list[Any] = []
    for place, topic, payload in rows:
        goes_along = newest.get(topic) == place
        values += (place, topic, payload, streams[topic] if goes_along else None)
    for topic in streams.keys() - newest.keys():
        values += (last_place, topic, None, streams[topic])
    count = len(values) // len(_PADDING)
    padding = _power_of_two(count) - count
    values += _PADDING * padding
    return "INSERT INTO incoming VALUES (?,?,?,?)" + ",(?,?,?,?)" * (count + padding - 1), values


def in_parts(streams: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """Yield the states of ``streams``, as many at a time as one statement takes."""
    rest = list(streams.items())
    while rest:
        some, rest = rest[:MOST_ROWS], rest[MOST_ROWS:]
        yield dict(some)


def choices(runs: Iterable[range]) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield conditions, with their parameters, that together choose the rows at ``runs``."""
    singles: list[int] = []
    for run in runs:
        if len(run) >= _A_RUN:
            yield IN_BETWEEN, (run.start, run.stop - 1)
        else:
            singles += run
    for start in range(0, len(singles), MOST_ROWS):
        some = singles[start : start + MOST_ROWS]
        some += some[-1:] * (_power_of_two(len(some)) - len(some))
        yield f"place IN (?{',?' * (len(some) - 1)})", some


def runs_of(places: Iterable[int]) -> list[range]:
    """Return ``places``, in any order, as runs."""
    return merged((), [range(place, place + 1) for place in places])


def merged(runs: Iterable[range], more: Iterable[range]) -> list[range]:
    """Return both as runs."""
    found: list[range] = []
    for run in sorted([*runs, *more], key=attrgetter("start")):
        if found and run.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(found[-1].stop, run.stop))
        else:
            found.append(run)
    return found


def cut(runs: Iterable[range]) -> Iterator[range]:
    """Yield ``runs`` in parts of which none holds up for long who waits for its end."""
    for run in runs:
        for start in range(run.start, run.stop, MOST_ROWS):
            yield range(start, min(start + MOST_ROWS, run.stop))


def gaps(runs: Iterable[range]) -> Iterator[tuple[int, int]]:
    """Yield what lies between, before and behind ``runs``: after which place, before which."""
    after = 0
    for run in runs:
        yield after, run.start
        after = run.stop - 1
    yield after, _NO_PLACE


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def as_many_as_fit(rows: Iterable[Row], most_bytes: int) -> Iterator[Row]:
    """Yield the first ``rows`` whose payloads take ``most_bytes``, and one in any case."""
    taken = 0
    for row in rows:
        if taken and taken + len(row.payload) > most_bytes:
            return
        taken += len(row.payload) or 1
        yield row
