"""Texts of others: whatever is in them, a terminal only shows them, and not for long."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.config.options import Address
from kiel_logging.errors import BrokerRejected, ConfigurationError, KielError, ProtocolError
from kiel_logging.printable import MOST, counted, printable, printable_lines

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


@given(ANY_TEXT, st.integers(1, 60))
def test_a_printable_text_is_one_short_line(text: str, most: int) -> None:
    """No control character, mark, surrogate or line separator is in it, whatever there was."""
    shown = printable(text, most)
    assert len(shown) <= most
    assert shown.isprintable()
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=60))
def test_what_is_printable_stays(text: str) -> None:
    """In any language."""
    assert printable(text, 60) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202ename", r"\u202ename"),
        ("\u2028", r"\u2028"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("é 漢 👍", "é 漢 👍"),
        (ValueError("no\0"), r"no\x00"),
        (b"\x1b", r"b'\x1b'"),
    ],
)
def test_how_it_is_shown(text: object, shown: str) -> None:
    """As Python would write it in a string."""
    assert printable(text) == shown


@pytest.mark.parametrize("mark", BIDI)
def test_the_reading_direction_can_not_be_turned(mark: str) -> None:
    """Each mark that could is shown by its number."""
    assert mark not in printable(f"abc{mark}def")


def test_a_long_text_is_cut() -> None:
    """And says so; one that just fits is whole."""
    assert printable("x" * 10, 10) == "x" * 10
    assert printable("x" * 11, 10) == "x" * 9 + "…"
    assert len(printable("\x1b" * 10**6)) == MOST


@given(ANY_TEXT, st.integers(1, 200))
def test_lines_stay_lines(text: str, most: int) -> None:
    """All but the first are indented; there is nothing else in them that one line has not."""
    shown = printable_lines(text, most)
    first, *others = shown.split("\n")
    assert len(shown) <= most
    assert first.isprintable()
    assert all(other.isprintable() for other in others)
    assert all(other.startswith(("    ", "…", " ")) or not other for other in others)


def test_a_traceback_is_still_one() -> None:
    """Its lines are where they were."""
    assert printable_lines("Traceback:\r\n\tx\x1b\nError", 100) == "\n    ".join(
        ["Traceback:", "    x\\x1b", "Error"]
    )


@pytest.mark.parametrize(
    "error",
    [
        KielError("\x1b]0;x\x07\n" + "x" * 10**5),
        ConfigurationError("\x1b]0;x\x07\n" + "x" * 10**5),
        ProtocolError("\x1b]0;x\x07\n" + "x" * 10**5),
        BrokerRejected("\x1b]0;x\x07\n" + "x" * 10**5, 44),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_printed(error: Exception) -> None:
    """A program may show the text of any of them, though a broker wrote parts of it."""
    assert str(error).isprintable()
    assert len(str(error)) == MOST


def test_an_address_can_be_printed() -> None:
    """Brokers advertise what they like as their host."""
    assert str(Address("a\x1b\n", 1)) == r"a\x1b\n:1"
    assert len(str(Address("a" * 10**5, 1))) < 300


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 records"), (1, "1 record"), (2, "2 records"), (2_000, "2,000 records")],
)
def test_a_count_is_in_the_singular_or_the_plural(count: int, shown: str) -> None:
    """As people would say it."""
    assert counted(count, "records") == shown
