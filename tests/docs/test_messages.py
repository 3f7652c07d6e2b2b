"""The page about trouble knows each message that users may see, and no other ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kiel_logging
from tests.docs.pages import ELLIPSIS, ROOT, messages

PACKAGE = Path(kiel_logging.__file__).parent
PAGE = ROOT / "docs" / "troubleshooting.rst"
PARTS_OF_THE_COMMAND = ("cli.py", "check/", "demo/", "spool_command/", "verify/")
REPORTING = {"report", "_report", "_report_once", "complain", "say", "_say", "write_to_stderr"}
_PLACEHOLDER = re.compile(r"%\.?\d*[sdrf]|%%")
_LEAST = 12  # characters of a fragment that says something


def texts_in(node: ast.AST) -> Iterator[str]:
    """Yield all texts in a piece of source, with an ellipsis for each value that is filled in."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(
            str(value.value) if isinstance(value, ast.Constant) else ELLIPSIS
            for value in node.values
        )
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield _PLACEHOLDER.sub(ELLIPSIS, node.value)
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # a docstring
        for child in ast.iter_child_nodes(node):
            yield from texts_in(child)


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield the modules that run in the programs of users."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(PARTS_OF_THE_COMMAND):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


ALL_TEXTS = "\n".join(text for _, tree in sources() for text in texts_in(tree))


def fragments(message: str) -> list[str]:
    """Return the fixed parts of a message that are long enough to find it by."""
    parts = (part.strip(" :;,()") for part in message.split(ELLIPSIS))
    return [part for part in parts if len(part) >= _LEAST]


def reported() -> Iterator[tuple[str, str]]:
    """Yield where a message is reported, and its text."""
    for name, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            function = getattr(called, "attr", getattr(called, "id", None))
            level = ast.unparse(node.args[0]) if node.args else ""
            if function not in REPORTING or level == "logging.DEBUG":
                continue
            text = max((text for one in node.args for text in texts_in(one)), key=len, default="")
            if fragments(text) and name != "handler/internal_log.py":  # which adds a prefix only
                yield f"{name}:{node.lineno}", text


@pytest.mark.parametrize("message", messages(PAGE))
def test_a_message_that_is_explained_exists(message: str) -> None:
    """Each of its fixed parts is in the code, so that users find theirs by a search."""
    for fragment in fragments(message.partition(" TOPIC_")[0].partition(" NOT_")[0]):
        assert fragment in ALL_TEXTS


def test_each_message_that_is_reported_is_explained() -> None:
    """A new message gets its explanation and its advice."""
    explained = [parts for message in messages(PAGE) if (parts := fragments(message))]
    unexplained = [
        (where, text)
        for where, text in reported()
        if not any(all(part in text for part in parts) for parts in explained)
    ]
    assert unexplained == []
