"""Histograms: whatever is counted, the buckets add up."""

from __future__ import annotations

import math
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.delivery_stats import DeliveryStats, Histogram

BOUNDS = (0.0, 0.5, 2.0, 100.0)
VALUES = st.lists(st.one_of(st.sampled_from(BOUNDS), st.floats(0, 1000)))
NOW = 1_000_000
TIMES = st.lists(st.integers(NOW - 200_000, NOW + 1000), min_size=1)


def counted(values: list[float]) -> Histogram:
    """A histogram of these."""
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.observe(value)
    return histogram


@given(VALUES, VALUES)
def test_buckets(values: list[float], others: list[float]) -> None:
    """Each bound has the values that are not greater, infinity has all; sums of two have both."""
    one, another = counted(values), counted(others)
    both, kept = one + another, one.copy()
    one.observe(7.0)
    for histogram, expected in ((kept, values), (another, others), (both, values + others)):
        at_most = {bound: sum(value <= bound for value in expected) for bound in BOUNDS}
        assert dict(histogram.cumulative()) == {**at_most, math.inf: len(expected)}
        assert histogram.count == sum(histogram.counts) == len(expected)
        assert math.isclose(histogram.sum, sum(expected), abs_tol=1e-6)


@given(TIMES)
def test_ages(times: list[int]) -> None:
    """The ages of many times are counted as if they were observed one by one."""
    together, one_by_one = Histogram(BOUNDS), Histogram(BOUNDS)
    together.observe_ages(times, NOW)
    for time in times:
        one_by_one.observe(max(0, NOW - time) / 1000)
    assert together.counts == one_by_one.counts
    assert math.isclose(together.sum, one_by_one.sum, abs_tol=1e-6)


def test_bounds_cover_what_may_come() -> None:
    """A request of the default size, the largest batch of records, and an hour have a bucket."""
    stats = DeliveryStats()
    for histogram, large in (
        (stats.batch_bytes, 1024 * 1024),
        (stats.batch_records, 10_000),
        (stats.latency, 3600),
    ):
        assert bisect_left(histogram.bounds, large) < len(histogram.bounds)
