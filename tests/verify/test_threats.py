"""The table of who can do what: the help has it, and the documentation is made of it."""

from __future__ import annotations

import pytest

from kiel_logging.cli import main
from kiel_logging.verify.names import FINDINGS
from kiel_logging.verify.threats import COLUMNS, NOT_FOUND, THREATS, Threat, unfound


def squeezed(text: str) -> str:
    """A text whatever its lines are."""
    return " ".join(text.split())


def test_the_help_has_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    """With all of its cells."""
    with pytest.raises(SystemExit):
        main(["verify", "--help"])
    said = squeezed(capsys.readouterr().out)
    for who, does, *cells in THREATS:
        assert who in said
        row = [f"{head}: {cell}" for head, cell in zip(COLUMNS.values(), cells, strict=True)]
        assert squeezed(" ".join([does, *row])) in said


def test_the_deeds_that_are_not_found_are_listed() -> None:
    """Under each heading that does not help, and no other."""
    listed = {one.does: unfound(one) for one in THREATS}
    everywhere = list(COLUMNS.values())
    assert listed["shows other readers another topic"] == everywhere
    assert listed["keeps the program from logging"] == everywhere
    assert listed["repeats records"] == []
    assert listed["removes every record of an instance"] == everywhere[:3]
    assert listed["makes the topic anew with the end of a stream cut off"][:2] == [
        f"{heading} (in part)" if heading == "a key" else heading for heading in everywhere[:2]
    ]


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat.does)
def test_a_row_names_findings_or_says_that_there_are_none(threat: Threat) -> None:
    """No reader has to guess the meaning of an empty cell."""
    for cell in threat[2:]:
        words = set(cell.replace(",", " ").replace(";", " ").split())
        assert words & set(FINDINGS) or NOT_FOUND in cell
