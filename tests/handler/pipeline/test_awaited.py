"""Records that somebody awaits: one outcome each, and blocks that are told when all have one."""

from __future__ import annotations

import logging
import tracemalloc

import pytest

from kiel_logging.handler.receipts import Awaited, Tallies, Tally, with_awaited
from kiel_logging.record.item import make_item
from kiel_logging.records import Receipt, Record, TopicPartition, Undelivered

PLACE = TopicPartition("logs", 3)
RECEIPT = Receipt("logs", 3, 17, "paid", logging.INFO)
LOST = Undelivered("paid", logging.INFO, "closed")


def awaited(*tallies: Tally, text: str = "paid") -> Awaited:
    """A record that these wait for."""
    record = logging.makeLogRecord({"msg": text, "levelno": logging.INFO})
    made = Awaited(record, tallies)
    made.begin()
    return made


@pytest.mark.parametrize("first", ["delivered", "lost"])
def test_the_first_outcome_stays(first: str) -> None:
    """A record that was cut short may be told of twice."""
    one = awaited(Tally())
    steps = [lambda: one.delivered(PLACE, 17), lambda: one.lost("closed")]
    for step in steps if first == "delivered" else reversed(steps):
        step()
    assert one.outcome == (RECEIPT if first == "delivered" else LOST)
    assert repr(one) == f"<Awaited 'paid' {one.outcome}>"


def test_a_tally_wakes_when_the_last_one_is_settled() -> None:
    """Whatever their outcomes."""
    tally, woken = Tally(), []
    one, other = awaited(tally), awaited(tally)
    tally.close(lambda: woken.append("woken"))
    assert repr(tally) == "<Tally closed all=2 waiting=2>"
    one.lost("closed")
    assert (woken, tally.is_settled) == ([], False)
    other.delivered(PLACE, 17)
    assert (woken, tally.is_settled) == (["woken"], True)
    assert [each.outcome for each in tally.all()] == [LOST, RECEIPT]


def test_a_tally_that_is_settled_wakes_at_once() -> None:
    """Nobody else would."""
    tally, woken = Tally(), []
    awaited(tally).lost("closed")
    tally.close(lambda: woken.append("woken"))
    assert woken == ["woken"]


def test_a_tally_that_starts_over_keeps_nobody_waiting() -> None:
    """In a forked child, whatever the thread that forks is on top of."""
    tally, woken = Tally(), []
    awaited(tally)
    tally.close(lambda: woken.append("woken"))
    tally.start_over()
    assert (woken, tally.all(), tally.is_settled) == (["woken"], [], True)


def test_blocks_leave_nothing_in_their_context() -> None:
    """However many there were, nested or not: a server's task may have a million."""
    tallies = Tallies()
    record = logging.makeLogRecord({"msg": "paid"})
    outer = Tally()
    tallies.begin(outer)
    for _ in range(3):
        tallies.begin(inner := Tally())
        assert [*_those_of(tallies, record)] == [outer, inner]
        tallies.end(inner)
    assert [*_those_of(tallies, record)] == [outer]
    tallies.end(outer)
    assert tallies.awaited(record) is None
    tallies[outer] = None
    assert tallies.awaited(record) is None


def _those_of(tallies: Tallies, record: logging.LogRecord) -> tuple[Tally, ...]:
    found = tallies.awaited(record)
    assert found is not None
    return tuple(found._tallies)


def test_offsets_within_a_batch() -> None:
    """They count from its base; where that isn't known none is."""
    tallies, tally = Tallies(), Tally()
    for base, offsets in ((40, [40, 42]), (-1, [-1, -1])):
        waiting = [awaited(tally), awaited(tally)]
        plain = make_item("logs", None, Record(None, b"v", (), 0))
        items = [with_awaited(plain, waiting[0]), plain, with_awaited(plain, waiting[1])]
        tallies.delivered(items, PLACE, base)
        outcomes = [one.outcome for one in waiting]
        assert [one.offset for one in outcomes if isinstance(one, Receipt)] == offsets


def test_the_handler_s_bound_on_memory_holds_for_what_is_awaited() -> None:
    """An item tells what it takes, its text included."""
    tally = Tally()
    records = [logging.makeLogRecord({"msg": "%s", "args": (f"{n}" * 20,)}) for n in range(1000)]
    tracemalloc.start()
    try:
        kept = [Awaited(record, (tally,)) for record in records]
        for one in kept:
            one.begin()
        for offset, one in enumerate(kept, 1000):
            one.delivered(PLACE, offset)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    told = sum(one.memory for one in kept)
    assert told / 2 < taken <= told
    plain = make_item("logs", None, Record(None, b"v", (), 0))
    assert with_awaited(plain, kept[0]).memory == plain.memory + kept[0].memory
