"""Percentiles are values that were measured; a spread tells its extremes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.percentiles import PERCENTS, percentile, percentiles, spread

FLOATS = st.lists(st.floats(0, 1e6), min_size=1)


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1), (50, 50), (99, 99), (99.1, 100), (99.9, 100), (100, 100)]
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    percent: float, expected: int
) -> None:
    """Nearest rank, of the numbers 1 to 100."""
    assert percentile(range(1, 101), percent) == expected


@given(FLOATS, st.floats(0.1, 100))
def test_so_many_values_do_not_exceed_a_percentile(values: list[float], percent: float) -> None:
    """The law that defines it."""
    found = percentile(sorted(values), percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9


@given(FLOATS)
def test_the_percentiles_rise_up_to_the_greatest_value(values: list[float]) -> None:
    """In the order in which they are shown."""
    found = list(percentiles(values).values())
    assert list(percentiles(values)) == list(PERCENTS)
    assert found == sorted(found)
    assert found[-1] == max(values)


def test_a_spread_has_the_median_and_the_extremes() -> None:
    """Whatever the order of the rounds."""
    assert spread([3.0, 1.0, 8.0]) == (3.0, 1.0, 8.0)
