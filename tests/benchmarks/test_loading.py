"""What loading costs, beside what it is compared with."""

from __future__ import annotations

import pytest

from benchmarks import loading

FIGURES = {
    "nothing": 20.0,
    "import": 80.0,
    "import confluent_kafka": 60.0,
    "logging.config": 13.0,
    "configured": 18.0,
    "delivered": 130.0,
    "delivered by confluent_kafka": 100.0,
}


def test_imports_are_compared_less_an_interpreter() -> None:
    """Which everybody pays; memory is compared by its difference."""
    lines = loading.compare(FIGURES)
    assert [(line.ours, line.beside, line.comes_to) for line in lines] == [
        (60.0, 40.0, 1.5),
        (18.0, 13.0, 5.0),
        (130.0, 100.0, 1.3),
    ]


@pytest.mark.parametrize("name", ["import", "configured", "delivered"])
def test_a_check_fails_for_each_line_that_is_too_much(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And for none that is not."""
    monkeypatch.setattr(loading, "measure", lambda *_: [FIGURES])
    assert loading.main(["--check", "--cluster", "nowhere:1"]) == 0
    monkeypatch.setattr(loading, "measure", lambda *_: [{**FIGURES, name: FIGURES[name] + 20}])
    assert loading.main(["--check", "--cluster", "nowhere:1"]) == 1


@pytest.mark.programs
def test_a_round_against_the_mock_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    """Every program ends well, and a record arrives both ways."""
    assert loading.main(["--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("import, ms", "configured, MB", "first delivery, ms"))
