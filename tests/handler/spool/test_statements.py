"""Places as runs: ranges without a gap, in order."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.handler.spool.statements import MOST_ROWS, cut, gaps, merged, runs_of

PLACES = st.sets(st.integers(1, 60))


def in_runs(runs: list[range]) -> list[int]:
    """All places."""
    return [place for run in runs for place in run]


@given(st.lists(st.integers(1, 60)))
def test_runs_are_the_places(places: list[int]) -> None:
    """Each once and in order, however they come; and no two runs touch."""
    runs = runs_of(places)
    assert in_runs(runs) == sorted(set(places))
    assert all(one.stop < other.start for one, other in pairwise(runs))
    assert all(runs)


@given(PLACES, PLACES)
def test_merged_runs_are_those_of_both(some: set[int], others: set[int]) -> None:
    """Each place once."""
    assert merged(runs_of(some), runs_of(others)) == runs_of(some | others)


@given(PLACES)
def test_gaps_are_all_else(places: set[int]) -> None:
    """Before, between and behind them."""
    found = [place for place in range(1, 100) for a, b in gaps(runs_of(places)) if a < place < b]
    assert found == [place for place in range(1, 100) if place not in places]


def test_a_long_run_is_cut() -> None:
    """So that nobody has to wait for all of it."""
    assert list(cut([range(5, 6), range(10, 10 + 2 * MOST_ROWS + 1)])) == [
        range(5, 6),
        range(10, 10 + MOST_ROWS),
        range(10 + MOST_ROWS, 10 + 2 * MOST_ROWS),
        range(10 + 2 * MOST_ROWS, 11 + 2 * MOST_ROWS),
    ]
