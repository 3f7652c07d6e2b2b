"""Records of any size and shape: the memory that one takes is bounded by what it may be."""

from __future__ import annotations

import json
import logging
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from tests.record.test_conversion import conversion, record

LIMIT = 50_000
HUGE = 4_000_000
MOST_MEMORY = 3_000_000


class Verbose:
    """Shown by a long text that is there already."""

    text = "long " * (HUGE // 5)

    def __str__(self) -> str:
        return self.text


def deep(value: Any) -> Any:
    """Inside of many containers."""
    for _ in range(40):
        value = {"a": [value]}
    return value


EXTRAS: dict[str, Callable[[], dict[str, Any]]] = {
    "text": lambda: {"v": "x" * HUGE},
    "text in escapes": lambda: {"v": "\x01" * HUGE},
    "text of four bytes": lambda: {"v": "\U0001f600" * HUGE},
    "lone surrogates": lambda: {"v": "\ud800" * HUGE},
    "bytes": lambda: {"v": b"x" * HUGE},
    "bytes that are no text": lambda: {"v": b"\xff" * HUGE},
    "bytearray": lambda: {"v": bytearray(HUGE)},
    "memoryview": lambda: {"v": memoryview(b"x" * HUGE)},
    "an integer": lambda: {"v": 1 << 8 * HUGE},
    "an exception": lambda: {"v": ValueError(Verbose.text)},
    "an object": lambda: {"v": Verbose()},
    "a key": lambda: {"v": {"k" * HUGE: 1, "\ud800" * HUGE: 2}},
    "a name": lambda: {"k" * HUGE: 1, "v": 2},
    "deep inside": lambda: {"v": deep("x" * HUGE)},
    "many fields": lambda: {f"v{n}": "\x01" * (HUGE // 100) for n in range(100)},
    "many items": lambda: {"v": ["é" * 1_000] * (HUGE // 1_000)},
    "many bytes": lambda: {"v": [b"x" * 40_000] * 1_000},
    "many values": lambda: {"v": [None] * HUGE},
}


@pytest.mark.parametrize("make", EXTRAS.values(), ids=EXTRAS)
@pytest.mark.parametrize(
    "options", [{}, {"redact": ["password"]}, {"format": "ecs"}], ids=["json", "redact", "layout"]
)
def test_a_record_takes_no_more_memory_than_it_may_be_large(
    make: Callable[[], dict[str, Any]], options: dict[str, Any]
) -> None:
    """A value is cut before it is decoded, escaped and measured; the record says that it was."""
    made, extras = conversion(max_size=LIMIT, **options), make()
    given = record(**extras)
    tracemalloc.start()
    try:
        item = made.convert(given, None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert item.size <= LIMIT
    document = json.loads(item.record.value or b"")
    assert document["message"] == "sold tea"
    notes = document.get("kiel_logging", {})
    assert notes.get("cut") or notes.get("replaced") or document["v"] == "<Verbose>"
    assert peak < MOST_MEMORY


def test_what_is_cut_is_named_with_the_size_that_there_was_at_least() -> None:
    """Also where the text was not made in full."""
    for value in ("x" * HUGE, b"x" * HUGE, "é" * HUGE, Verbose()):
        item = conversion(max_size=LIMIT).convert(record(v=value), None)
        document = json.loads(item.record.value or b"")
        assert document["kiel_logging"]["cut"] == ["v"]
        assert document["kiel_logging"]["original_size"] >= HUGE
        assert document["v"].endswith("…[cut]")
        assert len(document["v"].encode()) > 0.9 * LIMIT


def test_many_texts_that_are_made_share_what_there_is_room_for() -> None:
    """The first ones have most of it; the others have their beginnings, and are named."""
    extras = {f"v{number}": b"x" * LIMIT for number in range(10)}
    item = conversion(max_size=LIMIT).convert(record(**extras), None)
    document = json.loads(item.record.value or b"")
    assert all(document[name].startswith("x" * 50) for name in extras)
    assert all(document[name].endswith("…[cut]") for name in extras)


def test_an_integer_that_is_cut_keeps_its_first_digits() -> None:
    """Of sixteen; decimal digits take time with the square of their number."""
    item = conversion(max_size=1_000).convert(record(v=0xABC << 100_000), None)
    assert json.loads(item.record.value or b"")["v"].startswith("0xabc000")


def chained(count: int) -> BaseException:
    """An exception with so many causes."""
    error: BaseException = ValueError("the first")
    for number in range(count):
        following = ValueError(f"number {number}")
        following.__cause__ = error
        error = following
    return error


def with_notes(count: int) -> BaseException:
    """An exception with so many notes."""
    error = ValueError("noted")
    for number in range(count):
        error.add_note(f"note {number}")
    return error


def groups(depth: int, width: int) -> BaseException:
    """A group of groups of groups."""
    if not depth:
        return ValueError("a member")
    inner = groups(depth - 1, width)
    return ExceptionGroup("a group", [inner, *[groups(depth - 1, width)] * (width - 1)])  # type: ignore[list-item]


MANY: dict[str, BaseException] = {
    "causes": chained(5_000),
    "members": ExceptionGroup("all", [ValueError(n) for n in range(5_000)]),
    "groups": groups(6, 5),
    "notes": with_notes(5_000),
}


@pytest.mark.parametrize("error", MANY.values(), ids=MANY)
def test_of_too_many_exceptions_the_last_is_shown(error: BaseException) -> None:
    """With its own traceback, and the word that others are left out."""
    try:
        raise error
    except type(error):
        given = logging.LogRecord("shop", 40, "shop.py", 7, "no", (), sys.exc_info())
    document = json.loads(conversion().convert(given, None).record.value or b"")
    trace = document["exception"]["traceback"]
    assert trace.startswith("Traceback (most recent call last):\n")
    assert f"{type(error).__name__}: {error}\n" in trace
    assert "in test_of_too_many_exceptions" in trace
    assert trace.endswith("causes, members and notes are left out]\n")
    assert len(trace) < 2_000


def test_of_some_exceptions_all_are_shown() -> None:
    """A hundred causes, say."""
    error = chained(100)
    given = logging.LogRecord("shop", 40, "shop.py", 7, "no", (), (type(error), error, None))
    document = json.loads(conversion().convert(given, None).record.value or b"")
    assert "ValueError: the first" in document["exception"]["traceback"]
