"""Waiters get one outcome each, and wake their blocks when all have one."""

from __future__ import annotations

import logging
import tracemalloc

import pytest

from kiel_logging.handler.receipts import Block, OpenBlocks, ReceiptWaiter, with_waiter
from kiel_logging.record.item import make_item
from kiel_logging.records import Receipt, Record, TopicPartition, Undelivered

PLACE = TopicPartition("logs", 3)
RECEIPT = Receipt("logs", 3, 17, "paid", logging.INFO)
LOST = Undelivered("paid", logging.INFO, "closed")


def waiter(*blocks: Block, text: str = "paid") -> ReceiptWaiter:
    """A record that these wait for."""
    record = logging.makeLogRecord({"msg": text, "levelno": logging.INFO})
    made = ReceiptWaiter(record, blocks)
    made.begin()
    return made


@pytest.mark.parametrize("first", ["delivered", "lost"])
def test_the_first_outcome_stays(first: str) -> None:
    """A record that was cut short may be settled twice."""
    one = waiter(Block())
    steps = [lambda: one.delivered(PLACE, 17), lambda: one.lost("closed")]
    for step in steps if first == "delivered" else reversed(steps):
        step()
    assert one.outcome == (RECEIPT if first == "delivered" else LOST)
    assert repr(one) == f"<ReceiptWaiter 'paid' {one.outcome}>"


def test_a_tally_wakes_when_the_last_one_is_settled() -> None:
    """Whatever their outcomes."""
    block, woken = Block(), []
    one, other = waiter(block), waiter(block)
    block.close(lambda: woken.append("woken"))
    assert repr(block) == "<Block closed all=2 waiting=2>"
    one.lost("closed")
    assert (woken, block.is_settled) == ([], False)
    other.delivered(PLACE, 17)
    assert (woken, block.is_settled) == (["woken"], True)
    assert [each.outcome for each in block.all()] == [LOST, RECEIPT]


def test_a_tally_that_is_settled_wakes_at_once() -> None:
    """No other call would."""
    block, woken = Block(), []
    waiter(block).lost("closed")
    block.close(lambda: woken.append("woken"))
    assert woken == ["woken"]


def test_a_tally_that_starts_over_keeps_nobody_waiting() -> None:
    """In a forked child, whatever the thread that forks is on top of."""
    block, woken = Block(), []
    waiter(block)
    block.close(lambda: woken.append("woken"))
    block.reset()
    assert (woken, block.all(), block.is_settled) == (["woken"], [], True)


def test_blocks_leave_nothing_in_their_context() -> None:
    """However many there were, nested or not: a server's task may have a million."""
    blocks = OpenBlocks()
    record = logging.makeLogRecord({"msg": "paid"})
    outer = Block()
    blocks.begin(outer)
    for _ in range(3):
        blocks.begin(inner := Block())
        assert [*_those_of(blocks, record)] == [outer, inner]
        blocks.end(inner)
    assert [*_those_of(blocks, record)] == [outer]
    blocks.end(outer)
    assert blocks.waiter(record) is None
    blocks[outer] = None
    assert blocks.waiter(record) is None


def _those_of(blocks: OpenBlocks, record: logging.LogRecord) -> tuple[Block, ...]:
    found = blocks.waiter(record)
    assert found is not None
    return tuple(found._blocks)


def test_offsets_within_a_batch() -> None:
    """They count from its base; where that isn't known none is."""
    blocks, block = OpenBlocks(), Block()
    for base, offsets in ((40, [40, 42]), (-1, [-1, -1])):
        waiting = [waiter(block), waiter(block)]
        plain = make_item("logs", None, Record(None, b"v", (), 0))
        items = [with_waiter(plain, waiting[0]), plain, with_waiter(plain, waiting[1])]
        blocks.delivered(items, PLACE, base)
        outcomes = [one.outcome for one in waiting]
        assert [one.offset for one in outcomes if isinstance(one, Receipt)] == offsets


def test_the_handler_s_bound_on_memory_holds_for_what_is_awaited() -> None:
    """The memory of an item includes its waiter and that one's text."""
    block = Block()
    records = [logging.makeLogRecord({"msg": "%s", "args": (f"{n}" * 20,)}) for n in range(1000)]
    tracemalloc.start()
    try:
        kept = [ReceiptWaiter(record, (block,)) for record in records]
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
    assert with_waiter(plain, kept[0]).memory == plain.memory + kept[0].memory
