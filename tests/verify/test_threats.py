"""The table of who can do what: the help has it, and the documentation is made of it."""

from __future__ import annotations

import pytest

from kiel_logging.cli import main
from kiel_logging.verify.names import FINDINGS
from kiel_logging.verify.threats import COLUMNS, NOT_FOUND, THREATS, Threat


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


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat.does)
def test_a_row_names_findings_or_says_that_there_are_none(threat: Threat) -> None:
    """No reader has to guess the meaning of an empty cell."""
    for cell in threat[2:]:
        words = set(cell.replace(",", " ").replace(";", " ").split())
        assert words & set(FINDINGS) or NOT_FOUND in cell
