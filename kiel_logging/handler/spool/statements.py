"""SQL for any number of rows and places, each as one statement. Pure.

The law: numbers are rounded up to a power of two, with parameters that do nothing. SQLite's module
keeps what it has compiled, and a statement for each number would take megabytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from kiel_logging.handler.spool.row import Row

MOST_ROWS: Final = 4096
"""Rows in one statement, or places: SQLite takes 32,766 parameters."""

TOTALS: Final = "SELECT count(*), coalesce(sum(length(topic) + length(payload)), 0) FROM rows"
READ: Final = "SELECT place, topic, payload FROM rows WHERE place > ? ORDER BY place LIMIT ?"
IN_BETWEEN: Final = "place BETWEEN ? AND ?"

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


def choices(places: Iterable[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield conditions, with their parameters, that together choose the rows at ``places``."""
    singles: list[int] = []
    for run in _runs(sorted(set(places))):
        if len(run) >= _A_RUN:
            yield IN_BETWEEN, (run.start, run.stop - 1)
        else:
            singles += run
    for start in range(0, len(singles), MOST_ROWS):
        some = singles[start : start + MOST_ROWS]
        some += some[-1:] * (_power_of_two(len(some)) - len(some))
        yield f"place IN (?{',?' * (len(some) - 1)})", some


def _runs(places: Sequence[int]) -> Iterator[range]:
    """Yield the unbroken ranges in ``places``, which are sorted."""
    start = 0
    for end in range(1, len(places) + 1):
        if end == len(places) or places[end] != places[end - 1] + 1:
            yield range(places[start], places[end - 1] + 1)
            start = end


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
