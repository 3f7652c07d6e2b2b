"""Logging through a spool beside a file: figures are compared round by round, or not at all."""

from __future__ import annotations

import os
from operator import sub
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.case import MIB
from benchmarks.cluster import cluster
from benchmarks.load import busy_ticks, is_disturbed, is_loaded
from benchmarks.spooled import main, make_backlog, measured, needed
from benchmarks.spooled_report import ROWS, Round, Row, compared, table

RATIO = Row(name="call", title="a call", figure="mean", case="a", beside="b", limit=1.5)
ABOVE = Row(
    name="memory", title="memory", figure="mean", case="a", beside="b", compare=sub, unit=MIB
)
FIGURES = st.floats(0.001, 1e6)


def rounds(*pairs: tuple[float | None, float | None]) -> list[Round]:
    """Return rounds with these means of the cases a and b; None stands for an error."""
    return [
        {
            name: {"error": "no broker"} if mean is None else {"mean": mean}
            for name, mean in zip("ab", pair, strict=True)
        }
        for pair in pairs
    ]


def test_a_ratio_is_that_of_the_medians_and_its_extremes_are_those_of_the_rounds() -> None:
    """The machine may slow down between two rounds, and then both of a round are slow."""
    assert compared(RATIO, rounds((10, 5), (30, 20), (40, 10))) == (
        (30, 10, 40),
        (10, 5, 20),
        (3, 1.5, 4),
    )


def test_a_difference_is_in_the_unit_of_its_figures() -> None:
    """Memory is shown in MiB."""
    assert compared(ABOVE, rounds((50 * MIB, 40 * MIB))) == ((50,) * 3, (40,) * 3, (10,) * 3)


@pytest.mark.parametrize("broken", [(None, 1), (1, None), (None, None)])
def test_a_round_counts_only_with_both_of_its_figures(
    broken: tuple[float | None, float | None],
) -> None:
    """Otherwise the medians would be those of different rounds."""
    assert compared(RATIO, rounds(broken, (4, 2))) == ((4,) * 3, (2,) * 3, (2,) * 3)
    assert compared(RATIO, rounds(broken)) is None
    assert compared(RATIO, []) is None


@given(st.lists(st.tuples(FIGURES, FIGURES), min_size=1))
def test_the_ratio_of_the_medians_lies_between_those_of_the_rounds(
    pairs: list[tuple[float, float]],
) -> None:
    """So the extremes beside it are its spread."""
    found = compared(RATIO, rounds(*pairs))
    assert found is not None
    median, least, most = found.result
    assert least * (1 - 1e-9) <= median <= most * (1 + 1e-9)


@pytest.mark.parametrize(
    ("row", "pair", "cells"),
    [
        (RATIO, (3, 2), ["3.0", "b", "2.0", "1.50", "at most 1.5", "yes"]),
        (RATIO, (3.1, 2), ["3.1", "b", "2.0", "1.55", "at most 1.5", "NO"]),
        (RATIO, (None, 2), ["-", "b", "-", "-", "at most 1.5", "not measured"]),
        (
            Row(name="", title="", figure="mean", case="a", beside="b", limit=3, at_least=True),
            (23_456, 10_000),
            ["23,456", "b", "10,000", "2.35", "at least 3", "NO"],
        ),
        (ABOVE, (3 * MIB, 2 * MIB), ["3.0", "b", "2.0", "1.00", "", ""]),
    ],
)
def test_a_row_says_whether_its_limit_is_reached(
    row: Row, pair: tuple[float | None, float | None], cells: list[str]
) -> None:
    """A row without a limit says nothing of that."""
    _, found = table([row], rounds(pair))
    assert found == [row.title, *cells]


def test_a_cell_has_the_extremes_of_the_rounds() -> None:
    """In brackets, behind the median."""
    _, (_, ours, _, beside, ratio, *_) = table([RATIO], rounds((10, 5), (30, 20), (40, 10)))
    assert (ours, beside, ratio) == ("30.0 (10.0-40.0)", "10.0 (5.0-20.0)", "3.00 (1.50-4.00)")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_only_the_cases_of_a_row_are_measured(row: Row) -> None:
    """Both of them, and nothing else."""
    assert set(needed([row], 1_000, 2_000)) == {row.case, row.beside}


def test_both_cases_of_a_row_log_equally_many_records_on_equally_many_threads() -> None:
    """But for the memory of an idle process, which has nothing to log."""
    for row in ROWS:
        if row.name != "memory":
            cases = needed([row], 1_000, 2_000).values()
            assert len({(case.records, case.threads, case.extras) for case in cases}) == 1


def test_every_figure_is_measured(tmp_path: Path) -> None:
    """By the public API alone, in processes of their own; the backlog is replayed each time."""
    cases = needed(ROWS, 100, 300)
    replayed = needed([row for row in ROWS if row.name == "memory"], 100, 300)
    with cluster("mock") as found:
        make_backlog(cases["replay"], tmp_path / "backlog")
        (first,) = measured(cases, found, tmp_path, 1)
        (second,) = measured(replayed, found, tmp_path, 1)
    for row in ROWS:
        assert compared(row, [first]) is not None, (row.name, first)
    assert not [name for name, figures in second.items() if "error" in figures], second
    assert [each.name for each in tmp_path.iterdir()] == ["backlog"]


def test_a_loaded_machine_measures_nothing_unless_told_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures would be those of the other programs."""
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0 * (os.cpu_count() or 1), 0.0, 0.0))
    assert main([]) == 2
    assert "not to be quoted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("load", "cores", "loaded"), [(0.0, 2, False), (0.5, 2, False), (0.6, 2, True), (0.6, 8, False)]
)
def test_a_machine_is_loaded_by_the_number_of_its_cores(
    load: float, cores: int, loaded: bool
) -> None:
    """A quarter of each may be busy."""
    assert is_loaded(load, cores) is loaded


@pytest.mark.parametrize(("others", "cores", "disturbed"), [(0.2, 2, False), (0.21, 2, True)])
def test_a_measurement_is_disturbed_by_the_number_of_cores(
    others: float, cores: int, disturbed: bool
) -> None:
    """A tenth of each may be busy with other programs."""
    assert is_disturbed(others, cores) is disturbed


def test_ticks_that_are_idle_or_waiting_are_not_busy() -> None:
    """Stolen ones are: they are those of other machines on the same processor."""
    stat = (
        "cpu  1 20 300 4000 50000 600000 7000000 80000000 900000000 0\ncpu0 9 9 9 9 9 9 9 9 9 9\n"
    )
    assert busy_ticks(stat) == 87_600_321
