"""Reads the pages of the documentation: their code blocks, and messages that they explain."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.rst", ROOT / "DESIGN.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
ELLIPSIS = "…"

_BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<language>\w+)\n\n(?P<body>(?:(?P=indent) +.*\n|\n)+)",
    re.MULTILINE,
)
_NOT_RUN = re.compile(r"^ *\.\. not run: (?P<reason>\S.*)\n\n\Z", re.MULTILINE)
_TERM = re.compile(r"^``(.+)``\n(?= +\S)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block. ``not_run`` is why it can't be run; empty if it can."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8") + "\n"
    for match in _BLOCK.finditer(text):
        before = text[: match.start()]
        reason = _NOT_RUN.search(before)
        line = text.count("\n", 0, match.start("body")) + 1
        body = textwrap.dedent(match["body"]).rstrip() + "\n"
        yield Block(page, line, match["language"], body, reason["reason"] if reason else "")


def messages(page: Path) -> list[str]:
    """Return the terms of a page's definition lists that are literal texts."""
    return _TERM.findall(page.read_text(encoding="utf-8"))
