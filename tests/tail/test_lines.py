"""How records look, and what can't reach the terminal."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kiel_logging.records import TopicPartition
from kiel_logging.tail.entries import Arrival, entries
from kiel_logging.tail.filters import Filters
from kiel_logging.tail.gaps import Gap
from kiel_logging.tail.lines import COLOURS, Documents, Lines
from kiel_logging.tail.screen import Screen, Writer
from tests.tail.sample import AT, FORMATS, INSTANCE, TIME, arrival, formatted
from tests.tail.test_entries import ANYTHING

PLAIN = Lines(is_coloured=False, names_topics=False)
WITH_TOPICS = Lines(is_coloured=False, names_topics=True)
COLOURED = Lines(is_coloured=True, names_topics=True)


def lines(value: bytes, writer: Writer[str] = PLAIN, **headers: str) -> list[str]:
    """The lines that are shown of a record."""
    came = arrival(value, **headers)
    shown = [writer.record(came, one, is_repeat=False) for one in entries(came)]
    return "\n".join(shown).split("\n")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_record_is_one_line(kind: str) -> None:
    """Time, level, logger, message and extras; the surroundings are left out."""
    came = formatted(kind, "order %d placed", 17, user_id="ada", total=9.9)
    [entry] = entries(came)
    assert PLAIN.record(came, entry, is_repeat=False) == (
        f"{TIME} WARNING  shop.cart order 17 placed user_id=ada total=9.9"
    )


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ({"message": "a\nb"}, ["a", "    b"]),
        ({"message": "m", "exception": {"traceback": "T:\n  x\n"}}, ["m", "    T:", "      x"]),
        (
            {"message": "m", "exception": {"type": "E", "message": "no"}},
            ["m exception.type=E exception.message=no"],
        ),
        ({"message": "m", "sql": "SELECT\n1"}, ["m", "    sql:", "    SELECT", "    1"]),
        ({"message": "m", "a": [1, None, {"b": True}]}, ['m a=[1,null,{"b":true}]']),
        ({"message": "m", "a": {"b": {"c": "é"}}}, ["m a.b.c=é"]),
        ({"message": "m\x1b[2J", "a\x07": "\u202e"}, [r"m\x1b[2J a\x07=\u202e"]),
    ],
    ids=str,
)
def test_how_fields_are_shown(document: dict[str, Any], shown: list[str]) -> None:
    """Beside the message, or beneath it where they have lines of their own."""
    first, *others = lines(json.dumps(document).encode())
    indented = [line[4:] if line.startswith("        ") else line for line in others]
    assert [first, *indented] == [f"{TIME}          {shown[0]}", *shown[1:]]


def test_a_topic_is_named_if_there_are_several() -> None:
    """Behind the level."""
    assert lines(b"INFO:shop:up", WITH_TOPICS) == [f"{TIME} INFO     shop.app shop up"]


def test_events_and_repeats_are_tagged() -> None:
    """In front of the message."""
    mark = {"instance": INSTANCE, "sequence": "4", "event": "drops"}
    came = arrival(b"WARNING:kiel_logging:dropped 412", **mark)
    assert PLAIN.record(came, entries(came)[0], is_repeat=True) == (
        f"{TIME} WARNING  kiel_logging [drops] [repeat] dropped 412"
    )


@pytest.mark.parametrize(
    ("last", "text"), [(17, "1 record missing in shop.app: number 17"), (19, "3 records missing")]
)
def test_a_gap_says_what_is_missing(last: int, text: str) -> None:
    """Of which topic and instance."""
    gap = Gap("shop.app", INSTANCE, 17, last)
    assert text in PLAIN.gap(gap)
    assert INSTANCE in PLAIN.gap(gap)
    assert json.loads(Documents().gap(gap)) == {
        "gap": {"topic": "shop.app", "instance": INSTANCE, "first": 17, "last": last}
    }


def test_levels_have_colours() -> None:
    """Each of logging's another one, and none of them without a terminal."""
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    codes = {
        next(code for code in COLOURS if f"{code}{level.ljust(8)}" in shown)
        for level in levels
        for shown in lines(f"{level}:a:b".encode(), COLOURED)
    }
    assert len(codes) == len(levels)


def test_a_huge_record_does_not_fill_the_screen() -> None:
    """Its texts and fields are cut."""
    document = {f"f{n}": "x" * 10_000 for n in range(300)} | {"message": "y" * 10**6}
    (shown,) = lines(json.dumps(document).encode())
    assert len(shown) < 200_000
    assert shown.endswith("… 200 more fields")


def test_a_document_has_all_of_a_record() -> None:
    """The surroundings too, and where it is stored."""
    came = formatted("json", "up", user_id="ada")._replace(
        headers=(("kiel-instance", INSTANCE.encode()), ("kiel-sequence", b"5"))
    )
    document = json.loads(Documents().record(came, entries(came)[0], is_repeat=True))
    assert document["fields"]["thread_name"] == "MainThread"
    del document["fields"]
    assert document == {
        "topic": "shop.app",
        "partition": 2,
        "offset": 17,
        "key": "ada",
        "time": TIME,
        "level": "WARNING",
        "logger": "shop.cart",
        "message": "up",
        "instance": INSTANCE,
        "number": 5,
        "repeat": True,
    }


ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["kiel-instance", "kiel-sequence", "kiel-event", "kiel-details", "x"])
        | ANY_TEXT,
        st.none()
        | st.binary(max_size=40)
        | st.sampled_from([INSTANCE.encode(), b"1", b"7", b"drops", b"\x1b[2J"]),
    ),
    max_size=6,
).map(tuple)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["message", "level", "logger", "time", "exception", "trace_id"]) | ANY_TEXT,
    ANY_TEXT | st.lists(ANY_TEXT, max_size=2) | st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2),
    max_size=5,
).map(lambda document: json.dumps(document).encode())
TEXTS = ANY_TEXT.map(lambda text: text.encode("utf-8", "surrogatepass"))
ARRIVALS = st.builds(
    Arrival,
    st.just(AT) | st.builds(TopicPartition, ANY_TEXT, st.integers(0, 3)),
    st.integers(0, 2**63 - 1),
    st.none() | st.binary(max_size=20),
    st.none() | ANYTHING | DOCUMENTS | TEXTS,
    HEADERS,
    st.integers(-1, 2**63 - 1),
)


@pytest.mark.parametrize(
    "writer", [PLAIN, COLOURED, Documents()], ids=["plain", "coloured", "json"]
)
@given(arrivals=st.lists(ARRIVALS, max_size=4))
@example([arrival(b"\x7f\x1b\x9b", instance=INSTANCE, sequence="1", event="\x1b[2J")])
def test_no_control_character_reaches_the_terminal(
    writer: Writer[str], arrivals: list[Arrival]
) -> None:
    """Whatever is in records: lines have printable characters only, and our own colours."""
    screen = Screen(Filters(), writer)
    shown = [one.content for each in arrivals for one in screen.take(each, 1.0)]
    shown += [one.content for one in screen.due(10**12)]
    assert len(shown) >= len(arrivals)
    for text in shown:
        left = text
        for code in COLOURS:
            left = left.replace(code, "")
        assert left.replace("\n", "").isprintable()
        assert not {unicodedata.category(each) for each in left} & {"Cf", "Cs", "Zl", "Zp", "Co"}
        if isinstance(writer, Documents):
            assert json.loads(text)
            assert text.isascii()
            assert text == left


def test_losses_are_shown_whatever_is_filtered() -> None:
    """Filters choose among records only."""
    screen = Screen(Filters(level=50), PLAIN)
    screen.begin("shop.app", -1)
    marks = [("1", ""), ("3", "drops")]
    shown = [
        one.content
        for number, event in marks
        for one in screen.take(
            arrival(b"INFO:a:b", instance=INSTANCE, sequence=number, event=event), 1.0
        )
    ]
    assert shown == [f"{TIME} INFO     a [drops] b"]
    assert [one.is_record for one in screen.due(100.0)] == [False]
