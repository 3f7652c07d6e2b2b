"""A tiny run against the mock cluster: every record confirmed, every figure there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main, measured
from benchmarks.case import Case
from benchmarks.case_process import result_of, run, told
from benchmarks.plan import QUICK
from benchmarks.results import Results

TINY = replace(
    QUICK,
    peers=["null", "ours"],
    rounds=1,
    records=300,
    burst=300,
    measures=["throughput", "burst"],
)


@pytest.fixture(scope="module")
def tiny() -> Results:
    """What a tiny run came to."""
    return measured(TINY, "mock")


@pytest.mark.parametrize("peer", ["null", "ours"])
@pytest.mark.parametrize(
    ("measure", "figures"),
    [
        ("throughput", ["records_per_s", "logged_per_s", "cpu_us", "peak_memory"]),
        ("burst", ["p50", "p99", "p99.9", "max"]),
    ],
)
def test_a_run_has_every_figure_of_every_way_to_log(
    tiny: Results, peer: str, measure: str, figures: list[str]
) -> None:
    """None of which is zero."""
    assert tiny.error(measure, peer) is None
    for name in figures:
        spread = tiny.figure(measure, peer, name)
        assert spread is not None
        assert spread.median > 0


def test_the_memory_of_a_small_process_is_not_that_of_who_started_it() -> None:
    """ru_maxrss survives exec; logging to a NullHandler takes no 200 MiB."""
    ballast = bytearray(200 * 2**20)
    figures = run(Case(measure="throughput", peer="null", records=10))
    assert figures["peak_memory"] < len(ballast) / 2


def test_a_way_to_log_that_can_not_run_says_why() -> None:
    """In the words of what went wrong there."""
    assert run(Case(measure="throughput", peer="nobody")) == {"error": "KeyError: 'nobody'"}


@pytest.mark.parametrize(
    ("status", "output", "errors", "expected"),
    [
        (0, 'noise\n{"p50": 1.5}\n', "warning", {"p50": 1.5}),
        (-11, "", "", {"error": "exit status -11"}),
        (1, "", "Traceback\nImportError: no kafka\n\n", {"error": "ImportError: no kafka"}),
    ],
)
def test_how_a_process_ended_is_its_result(
    status: int, output: str, errors: str, expected: dict[str, object]
) -> None:
    """Figures, or the last of what it said."""
    assert result_of(status, output, errors) == expected


def test_the_first_cause_of_an_error_is_told() -> None:
    """dictConfig says only that it can't configure a handler."""
    first, second = OSError("refused"), ValueError("Unable to configure handler")
    second.__cause__ = first
    assert told(second) == "OSError: refused"


def test_results_can_be_shown_again_without_measuring(
    tiny: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And checked: a run that misses a target ends with status 1 where that is asked for."""
    path = tmp_path / "results.json"
    slow = {"records_per_s": 1.0, "cpu_us": 1.0, "peak_memory": 1}
    fast = {**slow, "records_per_s": 9.0}
    values = tiny.to_dict()
    row = {"measure": "throughput", "aspect": "", "at": 0, "round": 0}
    values["results"] = [
        {**row, "peer": "ours", "figures": slow},
        {**row, "peer": "aiokafka", "figures": fast},
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
