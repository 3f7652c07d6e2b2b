"""Puts results into the documentation: JSON, pictures, and tables between two marks."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.report import errors, tables
from benchmarks.results import Results
from benchmarks.targets import targets

PAGE: Final = "benchmarks.rst"
"""Beside the directory with the results; its text is written by hand."""

BEGIN: Final = ".. results begin: written by python -m benchmarks --docs"
END: Final = ".. results end"


class NoMarks(Exception):
    """The page has no place for the results."""


def document(results: Results, directory: Path) -> Sequence[Path]:
    """Write the results into ``directory`` and into the page beside it; return what was written."""
    from benchmarks.plots import plot  # the extra is needed for pictures only

    page = directory.parent / PAGE
    text = page.read_text(encoding="utf-8")
    written = [write_json(results, directory), *plot(results, directory)]
    page.write_text(renewed(text, list(as_rst(results))), encoding="utf-8")
    return [*written, page]


def write_json(results: Results, directory: Path) -> Path:
    """Write the results as JSON, under their date."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{results.about['date']}.json"
    path.write_text(json.dumps(results.to_dict(), indent=1) + "\n", encoding="utf-8")
    return path


def renewed(page: str, lines: Sequence[str]) -> str:
    """Return the page with ``lines`` in the place of what is between the marks.

    Raises:
        NoMarks: it has not both of them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarks(f"the page needs a line {BEGIN!r} and, below, a line {END!r}")
    return "\n".join([before + BEGIN, "", *lines, "", END + after])


def as_rst(results: Results) -> Iterator[str]:
    """Yield the lines of where and when, of all tables and of the targets."""
    yield from _origin(results)
    for title, rows in tables(results):
        yield from ("", title, "~" * len(title), "")
        yield from rst_table(rows)
    if reasons := errors(results):
        yield from _listed("Not measured", reasons)
    yield from _listed("Targets", [str(target) for target in targets(results)])


def _origin(results: Results) -> Iterator[str]:
    about = results.about
    yield f"Measured on {about['date']} against {about['broker']} ({about['plan']})."
    yield ""
    for group in ("machine", "versions", "records"):
        values = ", ".join(f"{name} {value}" for name, value in about.get(group, {}).items())
        yield f"- {group}: {values}"


def _listed(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield from ("", title, "~" * len(title), "", "::", "")
    yield from (f"    {line}" for line in lines)


def rst_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a list-table: it takes cells of any length."""
    columns = len(rows[0])
    yield from (".. list-table::", "   :header-rows: 1", "")
    for row in rows:
        padded = [*row, *[""] * (columns - len(row))]
        yield f"   * - {padded[0]}".rstrip()
        yield from (f"     - {cell}".rstrip() for cell in padded[1:])
