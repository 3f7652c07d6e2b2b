"""Results as a run would have them, without a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.results import Found, Results

ABOUT: Mapping[str, Any] = {
    "date": "2026-01-02",
    "broker": "a broker",
    "plan": "quick, 2 rounds",
    "machine": {"processor": "a processor", "cores": "2"},
    "versions": {"python": "CPython 3.11.7", "orjson": "3.13.0"},
}


def found(
    measure: str, peer: str, *rounds: Mapping[str, Any], aspect: str = "", at: int = 0
) -> list[Found]:
    """Return what a case came to, round by round."""
    return [
        Found(measure, peer, aspect, at, number, figures) for number, figures in enumerate(rounds)
    ]


def results(*cases: list[Found]) -> Results:
    """Return the results of several cases."""
    return Results(about=ABOUT, found=[each for case in cases for each in case])
