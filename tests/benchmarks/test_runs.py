"""All ways to log get the same records and write the same fields; tiny runs have every figure."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import loading, spooled
from benchmarks.__main__ import main, measured
from benchmarks.case import Case
from benchmarks.case_process import reason, result_of, run
from benchmarks.cluster import cluster
from benchmarks.peers import BEST, GUARANTEES, OURS, PEERS
from benchmarks.peers.fields import with_json, with_orjson
from benchmarks.peers.waiting import Waiting
from benchmarks.plan import FULL, MEASURES, QUICK, SHAPED, Plan, measures_named, rounds_of
from benchmarks.results import Results
from benchmarks.spooled_report import ROWS, compared
from benchmarks.workload import SHAPES, Workload, in_threads
from kiel_logging.record.fields import to_fields

# -- the workload ----------------------------------------------------------------------------------


class Keeping(logging.Handler):
    """Keeps the records that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)


def logged(records: int = 3, **sizes: Any) -> list[logging.LogRecord]:
    """The records of a workload."""
    keeping = Keeping()
    case = Case(measure="throughput", peer="", topic="shop", **sizes)
    Workload(case, keeping).log(0, records)
    return keeping.records


@pytest.mark.parametrize("serialise", [with_json, with_orjson])
@pytest.mark.parametrize("shape", SHAPES)
def test_peers_write_the_fields_that_the_handler_writes(serialise, shape: str) -> None:
    """Else they would be compared at different work."""
    for record in logged(extras=5, shape=shape):
        record.created = 1_700_000_000.25
        assert json.loads(serialise(record)) == to_fields(record, None)


def test_a_workload_varies_keys_topics_and_sizes_as_it_is_asked_to() -> None:
    """With several topics the logger names the topic, in turn."""
    records = logged(1_001)
    assert len({record.user_id for record in records}) == 1_000
    assert len({record.user_id for record in logged(1_001, keys=0)}) == 1_001
    assert {record.name for record in records} == {"shop.cart"}
    assert [one.name for one in logged(4, topics=3)] == ["shop-0", "shop-1", "shop-2", "shop-0"]
    for size in (100, 10_000):
        (record,) = logged(1, message_size=size)
        assert size <= len(record.getMessage()) <= size + 20
    for threads, count in ((1, 10), (3, 10), (32, 33)):
        seen: list[int] = []
        in_threads(threads, count, lambda first, last, seen=seen: seen.extend(range(first, last)))
        assert sorted(seen) == list(range(count))


def test_a_peer_whose_buffer_is_full_waits_for_room() -> None:
    """A record that is larger than the whole buffer is sent alone."""
    waiting = Waiting(100)
    waiting.add(80)
    entered = threading.Event()

    def log() -> None:
        entered.set()
        waiting.add(40)

    thread = threading.Thread(target=log)
    thread.start()
    entered.wait()
    assert waiting.drain(0) == 0
    waiting.done(80, acknowledged=True)
    thread.join()
    waiting.done(40, acknowledged=False)
    assert (waiting.drain(1), waiting.failed) == (1, 1)
    small = Waiting(10)
    small.add(1_000)
    small.done(1_000, acknowledged=True)
    assert small.drain(0) == 1


# -- the plan --------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [QUICK, FULL], ids=["quick", "full"])
def test_every_way_to_log_is_measured_in_every_round(plan: Plan) -> None:
    """Shapes, growth and outages look at some; three at a time share an outage, for two cores."""
    for measure, _, cases in rounds_of(plan):
        if measure in ("throughput", "burst", "steady", "startup"):
            assert Counter(each.peer for each in cases) == Counter(list(PEERS))
        elif measure in SHAPED:
            assert Counter(each.peer for each in cases) == Counter(plan.shape_peers)
    outages = [cases for _, _, cases in rounds_of(replace(FULL, measures=["outage"]))]
    assert sorted(case.peer for cases in outages for case in cases) == sorted(PEERS)
    assert max(len(cases) for cases in outages) == 3


def test_each_round_begins_with_another_way_to_log() -> None:
    """So that none always runs first, on a cold machine, or last, on a hot one."""
    firsts = [cases[0].peer for _, _, cases in rounds_of(replace(FULL, measures=["throughput"]))]
    assert len(set(firsts)) == len(firsts) == FULL.rounds


def test_growth_changes_one_thing_at_a_time() -> None:
    """All else is as in every other case."""
    ((_, _, cases),) = rounds_of(replace(FULL, measures=["growth"], growth_rounds=1))
    usual = Case(measure="growth", peer="", records=0)
    for case in cases:
        assert getattr(case, case.aspect) == case.at
        changed = {case.aspect: getattr(usual, case.aspect)}
        plain = {"peer": "", "aspect": "", "at": 0, "records": 0}
        assert replace(case, **{**changed, **plain}) == usual
    assert {case.aspect for case in cases} == set(FULL.growth)


@pytest.mark.parametrize(
    ("names", "measures"),
    [
        (["latency"], ["burst", "steady"]),
        (["outage", "throughput"], ["throughput", "outage"]),
        (["memory", "throughput"], ["throughput", "outage"]),
        (list(MEASURES), list(MEASURES)),
    ],
)
def test_names_stand_for_measures_in_the_order_in_which_they_run(
    names: list[str], measures: list[str]
) -> None:
    """Each once, also if it was asked for twice."""
    assert measures_named(names) == measures


def test_a_case_is_the_same_on_the_other_side_of_a_pipe() -> None:
    """Its process gets nothing else. Several topics have a number each behind the name."""
    case = Case(measure="growth", peer="null", aspect="topics", at=2, topics=2, topic="t", rate=7)
    assert Case.from_json(case.to_json()) == case
    assert case.topic_names == ("t-0", "t-1")
    assert replace(case, topics=1).topic_names == ("t",)


# -- tiny runs -------------------------------------------------------------------------------------

TINY = replace(
    QUICK,
    peers=["null", "ours"],
    rounds=1,
    records=300,
    burst=300,
    measures=["throughput", "distinct keys", "audit", "burst"],
)


@pytest.fixture(scope="module")
def tiny() -> Results:
    """The results of a tiny run against the mock cluster."""
    return measured(TINY, "mock")


def test_a_run_has_every_figure_of_every_way_to_log(tiny: Results) -> None:
    """None of them is zero."""
    speeds = ["records_per_s", "logged_per_s", "cpu_us", "peak_memory"]
    figures = {
        "throughput": speeds,
        "distinct keys": speeds,
        "audit": speeds,
        "burst": ["p50", "p99", "p99.9", "max"],
    }
    for peer in TINY.peers:
        for measure, names in figures.items():
            assert tiny.error(measure, peer) is None
            for name in names:
                spread = tiny.figure(measure, peer, name)
                assert spread is not None
                assert spread.median > 0


@pytest.mark.slow
def test_guarantees_stand_beside_what_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Each acknowledges as many records as were logged."""
    size = ["--measure", "throughput", "--rounds", "1", "--records", "300"]
    assert main(["--guarantees", "--loaded", "--brokers", "mock", *size]) == 0
    shown = capsys.readouterr().out
    assert "does not run" not in shown
    for name in (*BEST, OURS, *GUARANTEES):
        assert name in shown


def test_the_memory_of_a_small_process_is_not_that_of_its_parent() -> None:
    """ru_maxrss survives exec; logging to a NullHandler takes no 200 MiB."""
    ballast = bytearray(200 * 2**20)
    figures = run(Case(measure="throughput", peer="null", records=10))
    assert figures["peak_memory"] < len(ballast) / 2


@pytest.mark.parametrize(
    ("status", "output", "errors", "expected"),
    [
        (0, 'noise\n{"p50": 1.5}\n', "warning", {"p50": 1.5}),
        (-11, "", "", {"error": "exit status -11"}),
        (1, "", "Traceback\nImportError: no kafka\n\n", {"error": "ImportError: no kafka"}),
    ],
)
def test_the_end_of_a_process_is_its_result(
    status: int, output: str, errors: str, expected: dict[str, object]
) -> None:
    """Figures, or the last line of its errors."""
    assert result_of(status, output, errors) == expected


def test_a_way_to_log_that_can_not_run_has_the_first_cause_as_its_result() -> None:
    """dictConfig says only that it can't configure a handler."""
    assert run(Case(measure="throughput", peer="unknown")) == {"error": "KeyError: 'unknown'"}
    first, second = OSError("refused"), ValueError("Unable to configure handler")
    second.__cause__ = first
    assert reason(second) == "OSError: refused"


def test_results_can_be_shown_again_without_measuring(
    tiny: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With ``--check`` a run that misses a target ends with status 1."""
    path = tmp_path / "results.json"
    figures = {"records_per_s": 1.0, "cpu_us": 1.0, "peak_memory": 1}
    row = {"measure": "throughput", "aspect": "", "at": 0, "round": 0}
    values = tiny.to_dict()
    values["results"] = [
        {**row, "peer": "ours", "figures": figures},
        {**row, "peer": "aiokafka", "figures": {**figures, "records_per_s": 9.0}},
    ]
    path.write_text(json.dumps(values))
    assert main(["--results", str(path)]) == 0
    assert main(["--results", str(path), "--check"]) == 1
    assert "NOT reached   records/s / aiokafka's" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--only", "--measure"])
def test_an_unknown_name_is_refused_with_the_known_ones(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit):
        main([option, "ours,nonsense" if option == "--only" else "nonsense"])
    assert "nonsense: not one of" in capsys.readouterr().err


def test_loading_against_the_mock_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    """Every program ends well, and a record arrives both ways."""
    assert loading.main(["--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("import, ms", "configured, MB", "first delivery, ms"))


def test_both_cases_of_a_row_log_equally_many_records_on_equally_many_threads() -> None:
    """But for the memory of an idle process, which has nothing to log; no other case is run."""
    for row in ROWS:
        cases = spooled.needed([row], 1_000, 2_000)
        assert set(cases) == {row.case, row.beside}
        if row.name != "memory":
            assert len({(one.records, one.threads, one.extras) for one in cases.values()}) == 1


@pytest.mark.slow
def test_every_figure_of_a_spool_is_measured(tmp_path: Path) -> None:
    """By the public API alone, in separate processes; the backlog is replayed each time."""
    cases = spooled.needed(ROWS, 100, 300)
    replayed = spooled.needed([row for row in ROWS if row.name == "memory"], 100, 300)
    with cluster("mock") as mock:
        spooled.make_backlog(cases["replay"], tmp_path / "backlog")
        (first,) = spooled.measured(cases, mock, tmp_path, 1)
        (second,) = spooled.measured(replayed, mock, tmp_path, 1)
    for row in ROWS:
        assert compared(row, [first]) is not None, (row.name, first)
    assert not [name for name, figures in second.items() if "error" in figures], second
    assert [each.name for each in tmp_path.iterdir()] == ["backlog"]


def test_a_loaded_machine_measures_nothing_unless_it_is_forced_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures would be those of the other programs."""
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0 * (os.cpu_count() or 1), 0.0, 0.0))
    for measure in (spooled.main, main):
        assert measure([]) == 2
        assert "not to be quoted" in capsys.readouterr().err
