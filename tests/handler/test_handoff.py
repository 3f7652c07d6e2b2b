"""Where the threads meet: bounds, wakes, and a ledger that always adds up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kiel_logging.delivery.batch import memory_of
from kiel_logging.handler.handoff import Handoff, Item, Stats, make_item
from kiel_logging.records import Record


def handoff(
    max_records: int = 100,
    max_bytes: int = 1_000_000,
    batch_size: int = 10,
    wake: Callable[[bool], object] = bool,
) -> Handoff:
    """A hand-off; wakes go nowhere unless a test wants to see them."""
    return Handoff(
        max_records=max_records,
        max_bytes=max_bytes,
        batch_size=batch_size,
        wake=lambda full: (wake(full), None)[1],
    )


def item(number: int = 0, memory: int = 100) -> Item:
    """An item that can be told from others."""
    return Item("logs", number, Record(None, b"%d" % number, (), 0), memory)


def adds_up(stats: Stats) -> bool:
    """The law."""
    return stats.emitted == (
        stats.delivered
        + sum(stats.dropped.values())
        + stats.failed
        + stats.buffered
        + stats.in_flight
    )


# -- the queue -------------------------------------------------------------------------------------


def test_items_are_taken_in_order() -> None:
    """Up to as many as are asked for."""
    queue = handoff()
    for number in range(5):
        assert queue.put(item(number))
    assert [one.key for one in queue.take(3)] == [0, 1, 2]
    assert [one.key for one in queue.take(99)] == [3, 4]
    assert queue.take(1) == []


def test_an_item_knows_its_memory() -> None:
    """What its record takes, Python's overhead included."""
    record = Record(b"key", b"v" * 1000, (), 0)
    assert make_item("logs", 7, record) == Item("logs", 7, record, memory_of(record))


# -- bounds ----------------------------------------------------------------------------------------


def test_records_are_bounded() -> None:
    """More are dropped, and counted with the reason."""
    queue = handoff(max_records=3)
    assert [queue.put(item()) for _ in range(5)] == [True, True, True, False, False]
    assert queue.stats(0).dropped == {"buffer_full": 2}
    assert len(queue) == 3


def test_memory_is_bounded() -> None:
    """To the byte; a smaller one may still fit."""
    queue = handoff(max_bytes=250)
    assert queue.put(item(memory=100))
    assert not queue.put(item(memory=151))
    assert queue.put(item(memory=150))
    assert not queue.put(item(memory=1))
    assert queue.stats(0).dropped == {"buffer_full": 2}


@pytest.mark.parametrize("end", ["delivered", "failed"])
def test_room_comes_back_with_the_end_of_a_record(end: str) -> None:
    """Not when it is taken: a producer that is stuck still holds it."""
    queue = handoff(max_records=1, max_bytes=100)
    queue.put(item())
    queue.take(1)
    assert not queue.put(item())
    getattr(queue, end)(1, 100)
    assert queue.put(item())


# -- wakes -----------------------------------------------------------------------------------------


def test_the_reader_is_woken_when_the_queue_stops_being_empty() -> None:
    """And when a batch is full; never for each record."""
    wakes: list[bool] = []
    queue = handoff(batch_size=3, wake=wakes.append)
    for number in range(6):
        queue.put(item(number))
    assert wakes == [False, True]


def test_the_reader_is_woken_again_once_it_has_taken_all() -> None:
    """Not while something is left, which it knows of."""
    wakes: list[bool] = []
    queue = handoff(batch_size=3, wake=wakes.append)
    queue.put(item(0))
    queue.put(item(1))
    queue.take(1)
    queue.put(item(2))
    assert wakes == [False]
    queue.take(2)
    queue.put(item(3))
    assert wakes == [False, False]


def test_nobody_is_woken_for_what_was_dropped() -> None:
    """There is nothing to do."""
    wakes: list[bool] = []
    queue = handoff(max_records=0, wake=wakes.append)
    queue.put(item())
    queue.drop("closed")
    assert wakes == []


def test_the_wake_is_outside_of_the_lock() -> None:
    """Whoever is woken may look, and take."""
    seen: list[tuple[int, int]] = []
    queue = handoff(wake=lambda _full: seen.append((queue.stats(0).buffered, len(queue.take(1)))))
    queue.put(item())
    assert seen == [(1, 1)]


# -- the ledger ------------------------------------------------------------------------------------


def test_every_record_is_in_one_column() -> None:
    """From its arrival to its end."""
    queue = handoff(max_records=4)
    for number in range(5):
        queue.put(item(number))
    queue.drop("invalid_topic")
    queue.drop("invalid_topic")
    queue.drop("closed")
    queue.take(4)
    queue.delivered(1, 100)
    queue.failed(1, 100)
    assert queue.stats(1) == Stats(
        emitted=8,
        delivered=1,
        dropped={"buffer_full": 1, "invalid_topic": 2, "closed": 1},
        failed=1,
        buffered=1,
        in_flight=1,
    )
    assert queue.outstanding == 2


def test_an_old_count_of_what_is_in_flight_does_not_break_the_sum() -> None:
    """The producer counts on its own thread, and may lag behind."""
    queue = handoff()
    queue.put(item())
    queue.take(1)
    queue.delivered(1, 100)
    stats = queue.stats(in_flight=1)
    assert (stats.delivered, stats.in_flight, stats.buffered) == (1, 0, 0)
    assert adds_up(stats)


def test_stats_do_not_change_afterwards() -> None:
    """They are of one moment."""
    queue = handoff()
    queue.drop("closed")
    stats = queue.stats(0)
    queue.drop("closed")
    assert stats.dropped == {"closed": 1}
    assert queue.stats(0).dropped == {"closed": 2}


def test_repr_tells_what_is_there() -> None:
    """Queued, outstanding, and bytes."""
    queue = handoff()
    queue.put(item())
    queue.put(item())
    queue.take(1)
    assert repr(queue) == "<Handoff queued=1 outstanding=2 bytes=200>"


class AnyOrder(RuleBasedStateMachine):
    """Whatever the threads do, in any order."""

    @initialize(max_records=st.integers(0, 8), max_bytes=st.integers(0, 1000))
    def start(self, max_records: int, max_bytes: int) -> None:
        """Small bounds, so that they are met."""
        self.max_records, self.max_bytes = max_records, max_bytes
        self.wakes: list[bool] = []
        self.handoff = handoff(max_records, max_bytes, batch_size=3, wake=self.wakes.append)
        self.queued: list[Item] = []
        self.taken: list[Item] = []
        self.emitted = self.ended = self.dropped = 0

    @rule(memory=st.integers(0, 400))
    def put(self, memory: int) -> None:
        """There is room, or there is not."""
        one = item(self.emitted, memory)
        outstanding = self.queued + self.taken
        room = (
            len(outstanding) < self.max_records
            and sum(other.memory for other in outstanding) + memory <= self.max_bytes
        )
        self.wakes.clear()
        assert self.handoff.put(one) == room
        self.emitted += 1
        if room:
            self.queued.append(one)
        else:
            self.dropped += 1
        expected = {1: [False], 3: [True]}.get(len(self.queued), []) if room else []
        assert self.wakes == expected

    @rule()
    def drop(self) -> None:
        """It never became an item."""
        self.handoff.drop("unserialisable")
        self.emitted += 1
        self.dropped += 1

    @rule(most=st.integers(0, 5))
    def take(self, most: int) -> None:
        """The oldest."""
        taken = self.handoff.take(most)
        assert taken == self.queued[:most]
        self.taken += taken
        del self.queued[:most]

    @precondition(lambda self: self.taken)
    @rule(delivered=st.booleans())
    def end(self, delivered: bool) -> None:
        """One way or the other."""
        one = self.taken.pop()
        (self.handoff.delivered if delivered else self.handoff.failed)(1, one.memory)
        self.ended += 1

    @invariant()
    def the_sum_holds(self) -> None:
        """And the bounds do."""
        stats = self.handoff.stats(in_flight=len(self.taken))
        assert adds_up(stats)
        assert (stats.emitted, sum(stats.dropped.values())) == (self.emitted, self.dropped)
        assert stats.delivered + stats.failed == self.ended
        assert (stats.buffered, stats.in_flight) == (len(self.queued), len(self.taken))
        assert self.handoff.outstanding <= self.max_records


AnyOrder.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


class TestAnyOrder(AnyOrder.TestCase):  # type: ignore[misc]
    """Bounds, wakes and sums, against a model made of lists."""


def log(queue: Handoff, records: int) -> None:
    """What a thread that logs does; some records can't be sent at all."""
    for number in range(records):
        if number % 50 == 0:
            queue.drop("invalid_topic")
        else:
            queue.put(item(number))


def ship(queue: Handoff) -> Iterator[Stats]:
    """Take what is there, settle half of it either way, and look in between."""
    while taken := queue.take(7):
        yield queue.stats(len(taken))
        failed = len(taken) // 2
        queue.delivered(len(taken) - failed, 100 * (len(taken) - failed))
        yield queue.stats(failed)
        queue.failed(failed, 100 * failed)
        yield queue.stats(0)


def test_the_sum_holds_under_threads() -> None:
    """Whenever anybody looks, while eight threads put and one takes and settles."""
    threads, each = 8, 500
    queue = handoff(max_records=200, max_bytes=15_000)
    looks: list[Stats] = []
    loggers = [threading.Thread(target=log, args=(queue, each)) for _ in range(threads)]
    for thread in loggers:
        thread.start()
    while any(thread.is_alive() for thread in loggers):
        looks += ship(queue)
    looks += ship(queue)
    last = queue.stats(0)
    assert all(adds_up(stats) for stats in [*looks, last])
    assert last.emitted == threads * each
    assert last.dropped["invalid_topic"] == threads * each // 50
    assert last.delivered > 0
    assert repr(queue) == "<Handoff queued=0 outstanding=0 bytes=0>"


def test_a_batch_of_one_is_full_at_once() -> None:
    """With batch_size=1 nobody lingers: the first item wakes as a full batch."""
    wakes: list[bool] = []
    queue = handoff(batch_size=1, wake=wakes.append)
    queue.put(item())
    assert wakes == [True]


def test_a_closed_hand_off_drops_and_counts() -> None:
    """What comes too late is in the ledger like everything else."""
    queue = handoff()
    assert queue.put(item())
    queue.close()
    assert not queue.put(item())
    assert queue.stats(0).dropped == {"closed": 1}
    assert adds_up(queue.stats(0))
