"""Figures count only if they are true, and are compared and shown for what they are."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from operator import sub
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import loading
from benchmarks.case import MIB
from benchmarks.documentation import BEGIN, END, NoMarks, as_rst, renewed, rst_table
from benchmarks.load import busy_ticks, is_disturbed, is_loaded
from benchmarks.measures.confirmed import NotDelivered, confirm
from benchmarks.percentiles import PERCENTS, percentile, percentiles, spread
from benchmarks.report import as_text, errors, tables
from benchmarks.results import Found, NotAlike, Results, merged
from benchmarks.running import checked
from benchmarks.spooled_report import Round, Row, compared, table
from benchmarks.targets import Target, targets

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
    """The figures of a case, round by round."""
    return [
        Found(measure, peer, aspect, at, number, figures) for number, figures in enumerate(rounds)
    ]


def results(*cases: list[Found]) -> Results:
    """The results of several cases."""
    return Results(about=ABOUT, found=[each for case in cases for each in case])


# -- true figures ----------------------------------------------------------------------------------


class Acknowledging:
    """A way to log of which so many records are acknowledged, however many are logged."""

    handler = logging.NullHandler()

    def __init__(self, acknowledged: int, *, ships: bool = True) -> None:
        self.acknowledged = acknowledged
        self.ships = ships

    def drain(self, seconds: float) -> int:
        """Return it without waiting."""
        return self.acknowledged


def test_a_measurement_ends_with_an_error_unless_all_records_are_acknowledged() -> None:
    """The error has both numbers. A way to log that ships nothing has nothing to wait for."""
    for acknowledged in (0, 9, 11):
        with pytest.raises(NotDelivered, match=f"{acknowledged} of 10 records"):
            confirm(Acknowledging(acknowledged), 10)
    confirm(Acknowledging(10), 10)
    confirm(Acknowledging(0, ships=False), 10)


def test_figures_count_only_if_the_broker_stores_each_acknowledged_record_once() -> None:
    """A way to log that ships nothing has no topic to ask for."""
    for stored in (0, 9, 11):
        assert checked({"p50": 1.0, "stored": 10}, lambda stored=stored: stored) == {
            "error": f"10 records were acknowledged, {stored} are stored"
        }
    assert checked({"p50": 1.0, "stored": 10}, lambda: 10) == {"p50": 1.0}
    assert checked({"p50": 1.0, "stored": 0}, lambda: pytest.fail("asked")) == {"p50": 1.0}


FLOATS = st.lists(st.floats(0, 1e6), min_size=1)


@given(FLOATS, st.floats(0.1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    values: list[float], percent: float
) -> None:
    """Nearest rank: a value that was measured. Those shown rise up to the greatest value."""
    result = percentile(sorted(values), percent)
    share = len(values) * percent / 100
    assert sum(value <= result for value in values) >= share - 1e-9
    assert sum(value < result for value in values) < share + 1e-9
    shown = percentiles(values)
    assert list(shown) == list(PERCENTS)
    assert [*shown.values()] == sorted(shown.values())
    assert shown["max"] == max(values)
    assert spread(values)[1:] == (min(values), max(values))


def test_a_machine_is_loaded_by_the_number_of_its_cores() -> None:
    """A quarter of each may be busy before a run, and a tenth with other programs during one."""
    cases = [(0.0, 2), (0.5, 2), (0.6, 2), (0.6, 8)]
    assert [is_loaded(load, cores) for load, cores in cases] == [False, False, True, False]
    assert [is_disturbed(others, 2) for others in (0.2, 0.21)] == [False, True]


def test_ticks_that_are_idle_or_waiting_are_not_busy() -> None:
    """Stolen ones are: they are those of other machines on the same processor."""
    stat = (
        "cpu  1 20 300 4000 50000 600000 7000000 80000000 900000000 0\ncpu0 9 9 9 9 9 9 9 9 9 9\n"
    )
    assert busy_ticks(stat) == 87_600_321


# -- tables ----------------------------------------------------------------------------------------

SPEEDS = found(
    "throughput",
    "ours",
    *({"records_per_s": each, "cpu_us": 12.5, "peak_memory": 2**20} for each in (1e5, 2e5, 1.5e5)),
)
BROKEN = found("throughput", "kafka-python", {"error": "KafkaTimeoutError: no broker"})


def test_a_cell_has_the_median_and_the_spread_where_the_rounds_differ() -> None:
    """A way to log that does not run has its error there."""
    ((_, rows),) = tables(results(SPEEDS, BROKEN))
    assert rows == [
        ["", "records/s", "CPU us/record", "peak MiB"],
        ["ours", "150,000 (100,000-200,000)", "12.5", "1"],
        ["kafka-python", "does not run: KafkaTimeoutError: no broker"],
    ]


def test_an_error_in_one_round_is_reported_though_others_succeeded() -> None:
    """The table has the figures of the others."""
    mixed = results(SPEEDS, found("throughput", "ours", {"error": "NotDelivered: 9 of 10"}))
    ((_, rows),) = tables(mixed)
    assert rows[1][2] == "12.5"
    assert errors(mixed) == ["throughput, ours: NotDelivered: 9 of 10"]


def test_growth_has_a_column_for_each_size_in_order() -> None:
    """And a mark where a way to log was not measured at that size."""
    grown = [
        found("growth", "ours", {"records_per_s": at, "cpu_us": 1}, aspect="threads", at=at)
        for at in (32, 1)
    ]
    other = found("growth", "aiokafka", {"records_per_s": 7, "cpu_us": 1}, aspect="threads", at=1)
    (_, rows), _ = tables(results(*grown, other))
    assert rows == [["", "1", "32"], ["ours", "1", "32"], ["aiokafka", "7", "-"]]


def test_columns_of_text_are_aligned_and_an_error_spans_all_of_them() -> None:
    """One long error does not make the columns wide."""
    rows = [["", "a", "bb"], ["ours", "100", "2"], ["other", "does not run: for a long reason"]]
    assert list(as_text(rows)) == [
        "         a  bb",
        "ours   100   2",
        "other  does not run: for a long reason",
    ]


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


def test_documented_results_have_date_broker_machine_and_versions() -> None:
    """Without them figures are worth nothing."""
    text = "\n".join(as_rst(results(SPEEDS)))
    for each in ("2026-01-02", "a broker", "a processor", "orjson 3.13.0", "quick, 2 rounds"):
        assert each in text


def test_only_the_part_of_a_page_between_its_marks_is_replaced() -> None:
    """A page without the marks is not overwritten: the error says which lines are missing."""
    page = f"by hand\n\n{BEGIN}\nold\n{END}\n\nalso by hand\n"
    once = renewed(page, ["new"])
    assert once == f"by hand\n\n{BEGIN}\n\nnew\n\n{END}\n\nalso by hand\n"
    assert renewed(once, ["new"]) == once
    for broken in ("", BEGIN, END, f"{END}\n{BEGIN}"):
        with pytest.raises(NoMarks, match="results begin"):
            renewed(broken, ["new"])


# -- results ---------------------------------------------------------------------------------------


def test_results_survive_being_written() -> None:
    """Results read from JSON show the same tables."""
    before = results(SPEEDS, BROKEN)
    after = Results.from_dict(json.loads(json.dumps(before.to_dict())))
    assert list(tables(after)) == list(tables(before))
    assert after.about == before.about


def test_a_run_in_parts_is_shown_as_one() -> None:
    """The machine's load may differ from part to part; nothing else may."""
    busy = {**ABOUT, "machine": {**ABOUT["machine"], "load": "9.9"}}
    assert merged([results(SPEEDS), Results(about=busy, found=BROKEN)]) == results(SPEEDS, BROKEN)
    for name in ("machine", "versions"):
        with pytest.raises(NotAlike):
            merged([results(SPEEDS), Results(about={**ABOUT, name: {"x": "y"}}, found=BROKEN)])
    for name in ("broker", "plan"):
        with pytest.raises(NotAlike):
            merged([results(SPEEDS), Results(about={**ABOUT, name: "other"}, found=BROKEN)])


# -- targets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "reached", "text"),
    [
        (
            Target(aim="speed", measured=1.3, limit=1.3, at_least=True),
            True,
            "reached       speed: at least 1.3, is 1.30",
        ),
        (
            Target(aim="speed", measured=0.65, limit=1.3, at_least=True),
            False,
            "NOT reached   speed: at least 1.3, is 0.65: misses by 50.0%",
        ),
        (
            Target(aim="cost", measured=0.75, limit=0.75),
            True,
            "reached       cost: at most 0.75, is 0.75",
        ),
        (
            Target(aim="cost", measured=3.0, limit=0.75),
            False,
            "NOT reached   cost: at most 0.75, is 3.00: misses by 300.0%",
        ),
        (Target(aim="cost", measured=None, limit=0.75), None, "not measured  cost: at most 0.75"),
    ],
)
def test_a_target_is_reached_at_its_limit(target: Target, reached: bool | None, text: str) -> None:
    """And says by how many per cent of it it is missed."""
    assert (target.reached, str(target)) == (reached, text)


@pytest.mark.parametrize(
    ("aim", "cases", "measured"),
    [
        (
            "records/s, throughput / the best confluent's",
            [
                found("throughput", "ours", *({"records_per_s": each} for each in (10, 90, 30))),
                found("throughput", "confluent-orjson", {"records_per_s": 20}),
                found("throughput", "confluent-polling", {"records_per_s": 15}),
            ],
            1.5,
        ),
        (
            "records/s, audit / the best confluent's",
            [
                found("audit", "ours", {"records_per_s": 10}),
                found("audit", "confluent-orjson", {"records_per_s": 20}),
            ],
            None,
        ),
        (
            "CPU a record above NullHandler, throughput / what the best confluent's adds",
            [
                found("throughput", "null", {"cpu_us": 5}),
                found("throughput", "confluent-orjson", {"cpu_us": 15}),
                found("throughput", "confluent-polling", {"cpu_us": 17}),
                found("throughput", "ours", {"cpu_us": 11}),
            ],
            0.6,
        ),
        (
            "p50 of a call, burst / NullHandler's",
            [found("burst", "null", {"p50": 4}), found("burst", "ours", {"p50": 6})],
            1.5,
        ),
        (
            "p99 of a call, steady / that of the best which ships",
            [
                found("steady", "null", {"p99": 1}),
                found("steady", "queue-handler", {"p99": 2}),
                found("steady", "aiokafka", {"p99": 40}),
                found("steady", "kafka-python", {"p99": 10}),
                found("steady", "ours", {"p99": 20}),
            ],
            2.0,
        ),
        (
            "CPU a record, 1,000 partitions / 1",
            [
                found("growth", "ours", {"cpu_us": 10}, aspect="partitions", at=1),
                found("growth", "ours", {"cpu_us": 12}, aspect="partitions", at=1_000),
            ],
            1.2,
        ),
        (
            "records/s, 32 threads / 1",
            [
                found("growth", "ours", {"records_per_s": 8}, aspect="threads", at=1),
                found("growth", "ours", {"records_per_s": 4}, aspect="threads", at=32),
            ],
            0.5,
        ),
        (
            "memory with the broker away / (buffer_memory + 32 MiB)",
            [found("outage", "ours", {"added": 48 * MIB})],
            0.75,
        ),
        (
            "records/s / kafka-python's",
            [
                found("throughput", "ours", {"records_per_s": 10}),
                found("throughput", "kafka-python", {"error": "no broker"}),
            ],
            None,
        ),
    ],
)
def test_a_target_compares_the_medians(
    aim: str, cases: list[list[Found]], measured: float | None
) -> None:
    """Of those, and only those, that its words name; one that does not run is no standard."""
    (target,) = (each for each in targets(results(*cases)) if each.aim == aim)
    assert target.measured == (None if measured is None else pytest.approx(measured))


def test_a_run_without_figures_has_all_targets_and_no_result() -> None:
    """Nothing is guessed."""
    assert [each.reached for each in targets(results())] == [None] * 19


# -- a spool beside a file, and loading ------------------------------------------------------------

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


@given(st.lists(st.tuples(FIGURES, FIGURES), min_size=1))
def test_the_ratio_of_the_medians_lies_between_those_of_the_rounds(
    pairs: list[tuple[float, float]],
) -> None:
    """So the extremes beside it are its spread."""
    comparison = compared(RATIO, rounds(*pairs))
    assert comparison is not None
    median, least, most = comparison.result
    assert least * (1 - 1e-9) <= median <= most * (1 + 1e-9)


def test_a_round_counts_only_with_both_of_its_figures() -> None:
    """Otherwise the medians would be those of different rounds."""
    for broken in ((None, 1), (1, None), (None, None)):
        assert compared(RATIO, rounds(broken, (4, 2))) == ((4,) * 3, (2,) * 3, (2,) * 3)
        assert compared(RATIO, rounds(broken)) is None
    assert compared(ABOVE, rounds((50 * MIB, 40 * MIB))) == ((50,) * 3, (40,) * 3, (10,) * 3)


@pytest.mark.parametrize(
    ("row", "pairs", "cells"),
    [
        (RATIO, [(3, 2)], ["3.0", "b", "2.0", "1.50", "at most 1.5", "yes"]),
        (RATIO, [(3.1, 2)], ["3.1", "b", "2.0", "1.55", "at most 1.5", "NO"]),
        (RATIO, [(None, 2)], ["-", "b", "-", "-", "at most 1.5", "not measured"]),
        (
            RATIO,
            [(10, 5), (30, 20), (40, 10)],
            [
                "30.0 (10.0-40.0)",
                "b",
                "10.0 (5.0-20.0)",
                "3.00 (1.50-4.00)",
                "at most 1.5",
                "NO",
            ],
        ),
        (
            Row(name="", title="", figure="mean", case="a", beside="b", limit=3, at_least=True),
            [(23_456, 10_000)],
            ["23,456", "b", "10,000", "2.35", "at least 3", "NO"],
        ),
        (ABOVE, [(3 * MIB, 2 * MIB)], ["3.0", "b", "2.0", "1.00", "", ""]),
    ],
)
def test_a_row_has_medians_extremes_and_whether_its_limit_is_reached(
    row: Row, pairs: list[tuple[float | None, float | None]], cells: list[str]
) -> None:
    """A row without a limit says nothing of that."""
    _, result = table([row], rounds(*pairs))
    assert result == [row.title, *cells]


LOADING = {
    "nothing": 20.0,
    "import": 80.0,
    "import confluent_kafka": 60.0,
    "logging.config": 13.0,
    "configured": 18.0,
    "delivered": 130.0,
    "delivered by confluent_kafka": 100.0,
}


def test_imports_are_compared_less_a_bare_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory by its difference. A check fails if any one of the three is too much."""
    assert [(line.ours, line.beside, line.comes_to) for line in loading.compare(LOADING)] == [
        (60.0, 40.0, 1.5),
        (18.0, 13.0, 5.0),
        (130.0, 100.0, 1.3),
    ]
    for name in (None, "import", "configured", "delivered"):
        figures = {key: value + 20 * (key == name) for key, value in LOADING.items()}
        monkeypatch.setattr(loading, "measure", lambda *_, figures=figures: [figures])
        assert loading.main(["--check", "--cluster", "nowhere:1"]) == (name is not None)
