"""Percentiles and medians of what was measured. Pure."""

from collections.abc import Iterable, Sequence
from math import ceil
from statistics import median
from typing import Final, NamedTuple

PERCENTS: Final = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
"""The names of the percentiles shown."""


class Spread(NamedTuple):
    """The median of several rounds, and their least and most."""

    median: float
    least: float
    most: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that ``percent`` of all values do not exceed (nearest rank)."""
    rank = ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return those in PERCENTS, by name."""
    ordered = sorted(values)
    return {name: percentile(ordered, percent) for name, percent in PERCENTS.items()}


def spread(values: Sequence[float]) -> Spread:
    """Return median, least and most of the rounds."""
    return Spread(median(values), min(values), max(values))
