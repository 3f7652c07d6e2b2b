"""Numbers that are missing, and those that come again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.proof.instances import new_instance
from kiel_logging.tail.entries import Mark
from kiel_logging.tail.gaps import GRACE_S, Gap, Gaps

TOPIC = "shop.app"
OLD = new_instance(1_000, bytes(10))
"""An instance that began a second after the epoch."""
LATER = 10**9


def take(gaps: Gaps, *numbers: int, timestamp: int = 10_000, now: float = 10.0) -> list[int]:
    """Take records; return the numbers of those that were there before."""
    marks = [Mark(OLD, number) for number in numbers]
    return [one.number for one in marks if gaps.take(TOPIC, one, timestamp, now)]


def reported(gaps: Gaps, now: float = LATER) -> list[tuple[int, int]]:
    """The numbers that are reported as missing."""
    return [(gap.first, gap.last) for gap in gaps.due(now)]


@st.composite
def partitioned(draw: st.DrawFn) -> tuple[list[int], set[int]]:
    """Numbers in an order in which partitions may show them, and those that were taken out."""
    count = draw(st.integers(2, 40))
    lost = draw(st.sets(st.integers(1, count - 1)))
    places = {number: draw(st.integers(0, 2)) for number in range(1, count + 1)}
    parts = [[n for n in places if places[n] == part and n not in lost] for part in range(3)]
    order = []
    while any(parts):
        order.append(draw(st.sampled_from([part for part in parts if part])).pop(0))
    return order, lost


@given(partitioned())
def test_what_is_missing_is_reported_and_nothing_else(case: tuple[list[int], set[int]]) -> None:
    """Each number once, in whatever order partitions show the others; none twice is a repeat."""
    order, lost = case
    gaps = Gaps()
    assert take(gaps, *order) == []
    found = reported(gaps)
    assert sorted(n for first, last in found for n in range(first, last + 1)) == sorted(lost)
    assert reported(gaps) == []
    assert take(gaps, *order) == order


def test_a_number_has_time_to_come() -> None:
    """Partitions are read side by side; it may be late by ten seconds."""
    gaps = Gaps()
    take(gaps, 1, 2, 5)
    assert reported(gaps, 10.0 + GRACE_S - 0.1) == []
    assert take(gaps, 3) == []
    assert reported(gaps, 10.0 + GRACE_S) == [(4, 4)]
    assert take(gaps, 4) == []  # it was only late


def test_the_gap_names_its_stream() -> None:
    """Topic and instance, for ``verify``."""
    gaps = Gaps()
    take(gaps, 1, 3)
    assert gaps.due(LATER) == [Gap(TOPIC, OLD, 2, 2)]


@pytest.mark.parametrize(
    ("horizon", "missing"), [(-1, [(1, 4), (6, 6)]), (999, [(1, 4), (6, 6)]), (1_000, [(6, 6)])]
)
def test_numbers_that_were_not_read_are_not_missing(
    horizon: int, missing: list[tuple[int, int]]
) -> None:
    """The first ones can be missed only of an instance that began when all was read already."""
    gaps = Gaps()
    gaps.begin(TOPIC, horizon)
    take(gaps, 5, 7)
    assert reported(gaps) == missing


def test_numbers_up_to_the_horizon_are_not_judged() -> None:
    """One partition is read from an earlier record on than another."""
    gaps = Gaps()
    gaps.begin(TOPIC, 5_000)
    take(gaps, 3, 9, 20, timestamp=5_000)
    take(gaps, 23, timestamp=5_001)
    assert reported(gaps) == [(21, 22)]


@pytest.mark.parametrize(
    ("event", "details"),
    [
        ("drops", {"records": 2, "numbers": [[3, 4]]}),
        ("recovery", {"instance": OLD, "records": 1, "last": 5, "lost": [[3, 4]]}),
    ],
)
def test_what_the_handler_reports_itself_is_no_gap(event: str, details: dict[str, Any]) -> None:
    """Its own record is shown."""
    gaps = Gaps()
    take(gaps, 1, 2, 5)
    instance, number = (OLD, 6) if event == "drops" else ("b" * 32, 1)
    mark = Mark(instance, number, event, json.dumps(details).encode())
    gaps.take(TOPIC, mark, 10_000, 10.0)
    assert reported(gaps) == []


@pytest.mark.parametrize(
    "details",
    [
        b"",
        b"[" * 100_000,
        b"[]",
        b'{"numbers": 1}',
        b'{"numbers": [1, [2], [1, "2"], [5, 1], [-5, 1]]}',
        b'{"numbers": [[1, 1000000000000000000]]}',
    ],
)
def test_details_of_anybody(details: bytes) -> None:
    """Those that make no sense explain nothing."""
    gaps = Gaps()
    take(gaps, 1, 3)
    gaps.take(TOPIC, Mark(OLD, 4, "drops", details), 10_000, 10.0)
    assert reported(gaps) == [(2, 2)]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may write records of any instance with any number."""
    monkeypatch.setattr("kiel_logging.tail.gaps._MOST_STREAMS", 10)
    monkeypatch.setattr("kiel_logging.tail.gaps._MOST_RANGES", 20)
    gaps = Gaps()
    for number in range(1, 100):
        gaps.take(TOPIC, Mark(f"{number:032x}", number * 2), 10_000, 10.0)
        take(gaps, number * 2)
    assert len(gaps._streams) == 10
    assert len(gaps._streams[TOPIC, OLD].ranges) == 20
