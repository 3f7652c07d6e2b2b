"""Tables show medians with their spread, and what could not be measured with its reason."""

from __future__ import annotations

import json

import pytest

from benchmarks.documentation import BEGIN, END, NoMarks, as_rst, renewed, rst_table
from benchmarks.report import as_text, errors, tables
from benchmarks.results import NotAlike, Results, merged

from .found import ABOUT, found, results

SPEEDS = found(
    "throughput",
    "ours",
    *({"records_per_s": each, "cpu_us": 12.5, "peak_memory": 2**20} for each in (1e5, 2e5, 1.5e5)),
)
BROKEN = found("throughput", "kafka-python", {"error": "KafkaTimeoutError: nobody there"})


def test_a_cell_has_the_median_and_the_spread() -> None:
    """The spread only where the rounds differ."""
    ((_, (heading, row)),) = tables(results(SPEEDS))
    assert heading == ["", "records/s", "CPU us/record", "peak MiB"]
    assert row == ["ours", "150,000 (100,000-200,000)", "12.5", "1"]


def test_a_way_to_log_that_does_not_run_is_in_the_table_with_its_error() -> None:
    """As it was told in this very run."""
    ((_, rows),) = tables(results(SPEEDS, BROKEN))
    assert rows[-1] == ["kafka-python", "does not run: KafkaTimeoutError: nobody there"]
    assert errors(results(SPEEDS, BROKEN)) == [
        "throughput, kafka-python: KafkaTimeoutError: nobody there"
    ]


def test_an_error_in_one_round_is_told_though_others_succeeded() -> None:
    """The table has what the others found; the error does not vanish."""
    mixed = [*SPEEDS, *found("throughput", "ours", {"error": "NotDelivered: 9 of 10"})]
    ((_, rows),) = tables(results(mixed))
    assert rows[1][2] == "12.5"
    assert errors(results(mixed)) == ["throughput, ours: NotDelivered: 9 of 10"]


def test_growth_has_a_column_for_each_size_in_order() -> None:
    """And a mark where a way to log was not measured at that size."""
    grown = [
        found("growth", "ours", {"records_per_s": at, "cpu_us": 1}, aspect="threads", at=at)
        for at in (32, 1)
    ]
    other = found("growth", "aiokafka", {"records_per_s": 7, "cpu_us": 1}, aspect="threads", at=1)
    (_, rows), _ = tables(results(*grown, other))
    assert rows == [["", "1", "32"], ["ours", "1", "32"], ["aiokafka", "7", "-"]]


def test_columns_of_text_are_aligned_and_an_error_runs_over_all_of_them() -> None:
    """One long error does not make the columns wide."""
    rows = [["", "a", "bb"], ["ours", "100", "2"], ["other", "does not run: for a long reason"]]
    assert list(as_text(rows)) == [
        "         a  bb",
        "ours   100   2",
        "other  does not run: for a long reason",
    ]


def test_results_survive_being_written() -> None:
    """What is read from JSON shows the same tables."""
    before = results(SPEEDS, BROKEN)
    after = Results.from_dict(json.loads(json.dumps(before.to_dict())))
    assert list(tables(after)) == list(tables(before))
    assert after.about == before.about


def test_a_run_in_parts_is_shown_as_one() -> None:
    """How busy the machine was may differ from part to part."""
    busy = {**ABOUT, "machine": {**ABOUT["machine"], "load": "9.9"}}
    whole = merged([results(SPEEDS), Results(about=busy, found=BROKEN)])
    assert whole == results(SPEEDS, BROKEN)


@pytest.mark.parametrize("name", ["machine", "versions", "broker", "plan"])
def test_parts_from_elsewhere_are_refused(name: str) -> None:
    """Their ratios would mean nothing."""
    other = {**ABOUT, name: {"python": "another"} if name in ("machine", "versions") else "other"}
    with pytest.raises(NotAlike):
        merged([results(SPEEDS), Results(about=other, found=BROKEN)])


def test_a_page_keeps_what_is_written_by_hand() -> None:
    """Only what is between the marks is replaced, as often as one likes."""
    page = f"by hand\n\n{BEGIN}\nold\n{END}\n\nalso by hand\n"
    once = renewed(page, ["new"])
    assert once == f"by hand\n\n{BEGIN}\n\nnew\n\n{END}\n\nalso by hand\n"
    assert renewed(once, ["new"]) == once


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}\n{BEGIN}"])
def test_a_page_without_its_marks_is_not_written_over(page: str) -> None:
    """The error says which lines are missing."""
    with pytest.raises(NoMarks, match="results begin"):
        renewed(page, ["new"])


def test_rows_of_a_documented_table_have_as_many_cells_as_the_heading() -> None:
    """Docutils refuses a list-table otherwise."""
    lines = list(rst_table([["", "a", "b"], ["other", "does not run"]]))
    assert lines[3:] == [
        "   * -",
        "     - a",
        "     - b",
        "   * - other",
        "     - does not run",
        "     -",
    ]


def test_the_documentation_tells_date_broker_machine_and_versions() -> None:
    """Figures without them are worth nothing."""
    text = "\n".join(as_rst(results(SPEEDS)))
    for each in ("2026-01-02", "a broker", "a processor", "orjson 3.13.0", "quick, 2 rounds"):
        assert each in text
