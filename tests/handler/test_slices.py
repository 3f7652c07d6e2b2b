"""What C does to many items at once is what Python does, for items of either kind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.handler import slices
from kiel_logging.handler.ledger import Counts, CountsInPython
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.item import Item, make_item
from kiel_logging.records import Header, Record
from kiel_logging.wire.record_batch import (
    encode_records,
    encode_records_in_python,
)
from kiel_logging.wire.sizes import plain_record, record_size, size_in_batch
from tests.record.fast import needs_c
from tests.record.fast import quick_item as fast_item

KEYS: list[Any] = [None, "ada", b"bob", 7, "漢", ""]
HEADERS: list[tuple[Header, ...]] = [(), (("level", b"INFO"),)]


def plain_item(topic: str, key: Any, value: bytes, headers: tuple[Header, ...], when: int) -> Item:
    """As Python makes one."""
    data = key.encode() if isinstance(key, str) else b"7" if key == 7 else key
    return make_item(topic, key, Record(data, value, headers, when), logging.INFO)


def quick_item(message: str = "x", key: Any = None, when: float = 1.5) -> Any:
    """As compiled code makes one."""
    record = logging.LogRecord("shop", logging.INFO, "/a.py", 7, message, (), None)
    record.created = when
    record.user = key
    return fast_item(record, key_field="user", headers={"user": "user", "level": "level"})


plain_items = st.builds(
    plain_item,
    st.sampled_from(["logs", "audit"]),
    st.sampled_from(KEYS),
    st.binary(max_size=20),
    st.sampled_from(HEADERS),
    st.integers(0, 2**60),
)


@st.composite
def mixtures(draw: st.DrawFn) -> list[Any]:
    """Items of both kinds."""
    made = draw(st.lists(plain_items, max_size=8))
    if slices.group is not slices.group_in_python:
        shown = [key for key in KEYS if not isinstance(key, bytes)]  # JSON has no bytes
        for key in draw(st.lists(st.sampled_from(shown), max_size=8)):
            place = draw(st.integers(0, len(made)))
            made.insert(place, quick_item(draw(st.text(max_size=5)), key, draw(st.floats(0, 1e9))))
    return made


class Named(list[Any]):
    """A group."""

    __slots__ = ("name",)


def first_byte(data: bytes) -> int:
    """A hash that is easy to check."""
    return data[0]


def grouped(group: Callable[..., list[Any]], items: list[Any]) -> tuple[Any, ...]:
    """The groups, those that were filled, and the items that were looked up."""
    hashed, keyless, others = [Named(), Named(), Named()], Named(), Named()
    asked: list[Any] = []

    def find(item: Any) -> list[Any] | None:
        asked.append((item.topic, item.key))
        return None if item.key == b"bob" else others  # it is held, or refused

    filled = group(items, {"logs": (first_byte, hashed)}, {"logs": keyless}, find)
    return [hashed, keyless, others], filled, asked


@given(mixtures())
def test_group(items: list[Any]) -> None:
    """Each item is in the group of its topic and key, in order; unknown ones are looked up."""
    groups, filled, asked = grouped(slices.group, items)
    assert (groups, filled, asked) == grouped(slices.group_in_python, items)
    hashed, keyless, others = groups
    routed = {"ada": ord("a"), b"bob": ord("b"), "漢": "漢".encode()[0]}
    logs = [item for item in items if item.topic == "logs"]
    for index, found in enumerate(hashed):
        assert found == [
            item for item in logs if routed.get(item.key, -1) % 3 == index and item.key in routed
        ]
    assert keyless == [item for item in logs if item.key is None]
    looked_up = [
        item
        for item in items
        if item.topic != "logs" or not (item.key is None or item.key in routed)
    ]
    assert asked == [(item.topic, item.key) for item in looked_up]
    assert others == [item for item in looked_up if item.key != b"bob"]


def test_a_key_that_can_not_be_encoded_is_looked_up() -> None:
    """Which refuses it."""
    item = make_item("logs", "\ud800", Record(b"?", b"", (), 0), logging.INFO)
    for group in (slices.group, slices.group_in_python):
        _, filled, asked = grouped(group, [item])
        assert (len(filled), asked) == (1, [("logs", "\ud800")])


def test_group_does_not_hide_what_is_wrong() -> None:
    """An exception of the look-up."""
    items = [plain_item("logs", "ada", b"", (), 0)]
    for group in (slices.group, slices.group_in_python):
        with pytest.raises(ZeroDivisionError):
            group(items, {}, {}, lambda item: 1 // 0)  # type: ignore[arg-type,return-value]


@given(mixtures())
def test_what_is_asked_of_all(items: list[Any]) -> None:
    """Records, sizes and memory."""
    plain = slices.plain(items)
    assert list(map(plain_record, items)) == [item.record for item in plain]
    assert list(map(size_in_batch, items)) == [record_size(item.record) for item in plain]
    assert slices.totals(items) == slices.totals_in_python(plain)


@given(mixtures())
def test_marks(items: list[Any]) -> None:
    """Each item knows its run, and which entry of it it is; the entry may be no item."""
    run = object()
    entries = [None, *items]
    slices.mark_items(entries, run)
    assert [(item.run, item.entry) for item in items] == [
        (run, number) for number in range(1, len(entries))
    ]


@given(mixtures().filter(bool))
def test_what_is_encoded(items: list[Any]) -> None:
    """A QuickItem's bytes are those of its record, stamped or not."""
    for stamped in (False, True):
        if stamped:
            items = Stamper("0" * 32).stamp(items)
        plain = list(map(plain_record, items))
        expected = encode_records_in_python(plain, 0, 3)
        assert encode_records(items, 0, 3) == expected == encode_records_in_python(items, 0, 3)


# -- items in one piece ---------------------------------------------------------------------------


@needs_c
def test_a_stamp_is_what_python_gives() -> None:
    """The same headers and the same size, in the order of the items."""
    items = [quick_item("a"), quick_item("b"), quick_item("c")]
    expected = Stamper("0" * 32).stamp(slices.plain(items))
    assert slices.plain(Stamper("0" * 32).stamp(items)) == expected
    assert [item.record.headers[-1] for item in items] == [
        ("kiel-sequence", b"1"),
        ("kiel-sequence", b"2"),
        ("kiel-sequence", b"3"),
    ]


@needs_c
def test_an_item_is_stamped_once() -> None:
    """It would have two numbers."""
    items = [quick_item()]
    Stamper("0" * 32).stamp(items)
    with pytest.raises(ValueError, match="stamp"):
        Stamper("0" * 32).stamp(items)


@needs_c
def test_nobody_else_makes_one() -> None:
    """Not by its type, and what is in it does not change."""
    item = quick_item()
    with pytest.raises(TypeError):
        type(item)()
    for name in ("key", "size", "memory", "level", "timestamp", "topic", "record"):
        with pytest.raises(AttributeError):
            setattr(item, name, 1)


# -- counts ---------------------------------------------------------------------------------------


def test_counts_are_the_same_in_python() -> None:
    """Attributes, and what they begin with."""
    names = CountsInPython.__slots__
    both = [kind(7, 9, 3) for kind in (Counts, CountsInPython)]
    first, second = [[getattr(counts, name) for name in names] for counts in both]
    assert first == second
    for counts in both:
        counts.kept += 5
        counts.crowded = True
        assert (counts.kept, counts.crowded, counts.many_records) == (5, True, 7)
