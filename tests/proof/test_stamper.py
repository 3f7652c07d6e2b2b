"""Numbers and seals of records are the same in Python, in C, and record by record for the spool."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.handler.events import EventItem
from kiel_logging.handler.ledger import Loss
from kiel_logging.proof.chain import FIRST, Chain
from kiel_logging.proof.stamper import (
    MOST_DIGITS,
    Stamper,
    State,
    sequence_of,
    stamp,
    stamp_in_python,
    stamp_size,
)
from kiel_logging.record.item import Item, make_item
from kiel_logging.records import Record
from kiel_logging.wire.sizes import record_size
from tests.support import stamper as book

INSTANCE = "0123456789abcdef0123456789abcdef"
HEADER = ("kiel-instance", INSTANCE.encode())
KEY = b"secret"

ways = pytest.mark.parametrize("way", [stamp_in_python, stamp], ids=["Python", "installed"])
seals = pytest.mark.parametrize("key", [None, b"", KEY], ids=["no chain", "no key", "a key"])


def chain_of(key: bytes | None) -> Chain | None:
    """None for no chain, and an empty key for a chain without one."""
    return None if key is None else Chain.of(key or None)


blobs = st.none() | st.binary(max_size=30)
all_headers = st.lists(st.tuples(st.text(max_size=5), blobs), max_size=3).map(tuple)
records = st.builds(Record, blobs, blobs, all_headers, st.integers(0, 2**62))
topics = st.sampled_from(["logs", "shop", "ä"])
items = st.builds(make_item, topics, st.none() | st.text(), records)
streams = st.lists(items, max_size=12)


def item(text: str = "x", topic: str = "logs", headers: Any = (), **more: Any) -> Item:
    """An item with a text for its value."""
    return make_item(topic, None, Record(None, text.encode(), headers, 7), **more)


# -- numbers ---------------------------------------------------------------------------------------


@ways
def test_two_headers_behind_those_that_are_there(way: Callable[..., Any]) -> None:
    """Whose it is, and which one; all else is as it was, but for the bytes that they take."""
    one = make_item("logs", 7, Record(b"k", b"v", (("h", None),), 9), logging.INFO)
    sequences = {"logs": 9_999, "other": 3}
    (made,) = way([one], HEADER, "kiel-sequence", sequences)
    headers = (("h", None), HEADER, ("kiel-sequence", b"10000"))
    assert made == one._replace(record=Record(b"k", b"v", headers, 9), size=made.size)
    assert (type(made), type(made.record)) == (Item, Record)
    assert sequences == {"logs": 10_000, "other": 3}
    assert one.record.headers == (("h", None),)


@ways
def test_each_topic_has_numbers_of_its_own(way: Callable[..., Any]) -> None:
    """From 1 on, in the order of the items, from one call to the next."""
    sequences: dict[str, int] = {}
    slices = [["a", "b", "b", "a"], [], ["c", "a"], ["b"]]
    made = [
        (one.topic, one.record.headers[-1][1])
        for names in slices
        for one in way([item(topic=name) for name in names], HEADER, "s", sequences)
    ]
    assert made == [
        *[("a", b"1"), ("b", b"1"), ("b", b"2"), ("a", b"2")],
        *[("c", b"1"), ("a", b"3"), ("b", b"3")],
    ]
    assert sequences == {"a": 3, "b": 3, "c": 1}


@given(streams, st.dictionaries(topics, st.integers(0, 10**18 - 100)))
def test_both_ways_agree(given_items: list[Item], sequences: dict[str, int]) -> None:
    """Whatever the records are."""
    others = dict(sequences)
    by_python = stamp_in_python(given_items, HEADER, "kiel-sequence", sequences)
    assert stamp(given_items, HEADER, "kiel-sequence", others) == by_python
    assert others == sequences


@ways
def test_an_event_keeps_its_loss(way: Callable[..., Any]) -> None:
    """If it does not arrive, another event reports that loss."""
    event = EventItem(*item())
    event.loss = Loss(1.0, 2.0)
    (made,) = way([event], HEADER, "kiel-sequence", {})
    assert type(made) is EventItem
    assert made.loss is event.loss
    assert made.record.headers[0] == HEADER


# -- the room that they take -----------------------------------------------------------------------


@seals
@given(stream=streams)
def test_the_size_is_that_of_the_record(key: bytes | None, stream: list[Item]) -> None:
    """To the byte, as the split of a batch counts it; the memory is as it was."""
    made = Stamper(INSTANCE, chain_of(key)).stamp(stream)
    assert [one.size for one in made] == [record_size(one.record) for one in made]
    assert [one.memory for one in made] == [one.memory for one in stream]


@pytest.mark.parametrize("chain", [False, True])
def test_the_most_that_a_stamp_takes(chain: bool) -> None:
    """The room that the conversion leaves is enough, and no more, for the largest number."""
    made = Stamper(INSTANCE, Chain.of() if chain else None)
    made.restore("logs", State(10**MOST_DIGITS - 2, FIRST).to_bytes())
    before = item()
    (after,) = made.stamp([before])
    assert after.record.headers[1][1] == b"9" * MOST_DIGITS
    assert after.size - before.size == stamp_size(chain=chain)


# -- the chain -------------------------------------------------------------------------------------


@seals
@given(stream=st.lists(st.tuples(blobs, blobs, st.none() | blobs), max_size=6))
def test_it_is_as_the_book_has_it(
    key: bytes | None, stream: list[tuple[bytes | None, bytes | None, bytes | None]]
) -> None:
    """A second opinion, on all of a stream."""
    ours = Stamper(INSTANCE, chain_of(key))
    theirs = book.Stamper(INSTANCE, chain=key is not None, secret=key or None, topic="logs")
    given_items = [
        make_item("logs", None, Record(record_key, value, (("h", header),), 7))
        for record_key, value, header in stream
    ]
    made = [one.record for one in ours.stamp(given_items)]
    expected = [
        theirs.stamp(value, record_key, (("h", header),)) for record_key, value, header in stream
    ]
    assert [book.Stamped(*record[:3]) for record in made] == expected


def test_each_topic_has_digests_of_its_own() -> None:
    """The same records in two topics: neither can take the other's place."""
    made = Stamper(INSTANCE, Chain.of(KEY))
    one, other = made.stamp([item(topic="logs"), item(topic="shop")])
    assert one.record.headers[:-1] == other.record.headers[:-1]
    assert one.record.headers[-1] != other.record.headers[-1]


def test_nothing_shows_the_key() -> None:
    """No attribute of the object that makes the digests or of its owner has it, and no variable."""
    made = Stamper(INSTANCE, Chain.of(KEY))
    made.stamp([item()])
    shown = [made, *vars(made).values()]
    assert not any(KEY.decode() in repr(one) for one in shown)


def test_the_number_of_a_record_is_in_its_stamp() -> None:
    """Where it has one: a program may use any other header as it likes."""
    headers = (("kiel-sequence", b"7"), ("x", b"1"))
    assert sequence_of(Record(None, None, headers, 0)) is None
    assert sequence_of(Record(None, None, (), 0)) is None
    for chain in (None, Chain.of()):
        (made,) = Stamper(INSTANCE, chain).stamp([item(headers=headers)])
        assert sequence_of(made.record) == 1


# -- where a stream stands -------------------------------------------------------------------------


@seals
@given(stream=streams, cut=st.integers(0, 12))
def test_another_goes_on_behind_a_state(key: bytes | None, stream: list[Item], cut: int) -> None:
    """As if it had stamped all of it."""
    first, second = (Stamper(INSTANCE, chain_of(key)) for _ in range(2))
    begun = first.stamp(stream[:cut])
    for topic in first.topics:
        state = first.state(topic)
        assert state is not None
        second.restore(topic, state)
    whole = Stamper(INSTANCE, chain_of(key))
    assert begun + second.stamp(stream[cut:]) == whole.stamp(stream)
    assert {topic: second.state(topic) for topic in whole.topics} == {
        topic: whole.state(topic) for topic in whole.topics
    }


@seals
@given(stream=streams, cut=st.integers(0, 20))
def test_a_restored_state_continues_the_stream(
    key: bytes | None, stream: list[Item], cut: int
) -> None:
    """A stamper that is given the states of another one numbers and seals as that one would."""
    whole, first, second = (Stamper(INSTANCE, chain_of(key)) for _ in range(3))
    front = first.stamp(stream[:cut])
    for topic in first.topics:
        second.restore(topic, first.state(topic))
    assert front + second.stamp(stream[cut:]) == whole.stamp(stream)
    second.restore("logs", None)
    assert ("logs" in second, second.sequence("logs")) == (False, 0)


def test_a_skipped_number_is_given_to_no_record() -> None:
    """The record that it belongs to is lost."""
    made = Stamper(INSTANCE)
    made.stamp([item()])
    made.skip("logs")
    (third,) = made.stamp([item()])
    assert ("kiel-sequence", b"3") in third.record.headers


def test_what_a_state_tells() -> None:
    """The last number, for the process that finds it on the disk of one that died."""
    made = Stamper(INSTANCE, Chain.of())
    assert (made.state("logs"), made.sequence("logs"), "logs" in made) == (None, 0, False)
    stamped = made.stamp([item(), item()])
    state = State.of(made.state("logs"))
    assert (state.sequence, made.sequence("logs"), "logs" in made) == (2, 2, True)
    assert (stamped[-1].record.headers[-1][1] or b"")[32:] == state.digest
    assert State.of(None) == State(0, FIRST)
    assert repr(made) == "<Stamper of 1 topics with a chain>"
