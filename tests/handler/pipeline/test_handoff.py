"""Where the threads meet: bounds, wakes, waiting, and a ledger that always adds up."""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from kiel_logging.handler import buffer as buffer_module
from kiel_logging.handler.buffer import OVERFLOW, Buffer
from kiel_logging.handler.ledger import Stats
from kiel_logging.record.item import Item
from kiel_logging.records import RECORD_MEMORY_OVERHEAD
from tests.handler.pipeline.interruption import Trial, interrupt, interrupt_everywhere
from tests.handler.pipeline.sample import DEBUG, ERROR, INFO, POLICIES, WARNING, item, keys, total

PATIENCE = 20.0
"""Seconds that a test waits for what comes at once, unless something is broken."""

every_policy = pytest.mark.parametrize("overflow", POLICIES)


def buffer(
    max_records: int = 100,
    max_bytes: int = 1_000_000,
    batch_size: int = 10,
    wake: Callable[[bool], object] = bool,
    overflow: str = "drop_newest",
    block_timeout: float = 1_000.0,
) -> Buffer:
    """A buffer; wakes go nowhere unless a test wants to see them."""
    return Buffer(
        max_records=max_records,
        max_bytes=max_bytes,
        batch_size=batch_size,
        wake=lambda full: (wake(full), None)[1],
        overflow=overflow,
        block_timeout=block_timeout,
    )


def put_all(queue: Buffer, *items: Item) -> list[Sequence[Item]]:
    """Put one after the other; what each one cost."""
    return [queue.put(one) for one in items]


def settle(queue: Buffer, most: int = 10**6, end: str = "delivered") -> list[Item]:
    """What the loop thread does: take some, and see to their end."""
    taken = queue.take(most)
    getattr(queue, end)(len(taken), sum(one.memory for one in taken))
    return taken


def test_the_policies_are_these() -> None:
    """What is specified here for each of them."""
    assert set(OVERFLOW) == set(POLICIES)


# -- the queue -------------------------------------------------------------------------------------


@every_policy
def test_items_are_taken_in_order(overflow: str) -> None:
    """Up to as many as are asked for, whatever their levels."""
    queue = buffer(overflow=overflow)
    for number, level in enumerate([INFO, DEBUG, ERROR, INFO, DEBUG]):
        assert queue.put(item(number, level=level)) == []
    assert keys(queue.take(3)) == [0, 1, 2]
    assert keys(queue.take(99)) == [3, 4]
    assert queue.take(1) == []


@every_policy
def test_taking_none(overflow: str) -> None:
    """A reader that has no room takes nothing."""
    queue = buffer(overflow=overflow)
    queue.put(item())
    assert queue.take(0) == []
    assert len(queue) == 1


def test_repr_tells_what_is_there() -> None:
    """Queued, outstanding, and bytes."""
    queue = buffer()
    put_all(queue, item(), item())
    queue.take(1)
    assert repr(queue) == "<Buffer queued=1 outstanding=2 bytes=200>"


# -- bounds ----------------------------------------------------------------------------------------


def test_records_are_bounded() -> None:
    """More are dropped: who puts one gets it back."""
    queue = buffer(max_records=3)
    numbers = [keys(dropped) for dropped in put_all(queue, *map(item, range(5)))]
    assert numbers == [[], [], [], [3], [4]]
    assert queue.stats(0).dropped == {"buffer_full": {"INFO": 2}}
    assert len(queue) == 3


def test_memory_is_bounded() -> None:
    """To the byte; a smaller one may still fit."""
    queue = buffer(max_bytes=250)
    sizes = [100, 151, 150, 1]
    numbers = [keys(dropped) for dropped in put_all(queue, *(item(m, memory=m) for m in sizes))]
    assert numbers == [[], [151], [], [1]]
    assert queue.memory == 250


@pytest.mark.parametrize("end", ["delivered", "failed"])
@every_policy
def test_room_comes_back_with_the_end_of_a_record(overflow: str, end: str) -> None:
    """Not when it is taken: a producer that is stuck still holds it, and it can't be shed."""
    queue = buffer(max_records=1, max_bytes=100, overflow=overflow, block_timeout=0.0)
    queue.put(item(0))
    queue.take(1)
    assert keys(queue.put(item(1, level=ERROR))) == [1]
    getattr(queue, end)(1, 100)
    assert queue.put(item(2)) == []


@every_policy
def test_an_item_larger_than_the_buffer_is_dropped_itself(overflow: str) -> None:
    """It drives nobody out, and nobody waits for room that there will never be."""
    queue = buffer(max_bytes=1_000, overflow=overflow)
    put_all(queue, item(0, level=DEBUG), item(1, level=DEBUG))
    assert keys(queue.put(item("large", memory=1_001, level=ERROR))) == ["large"]
    assert queue.stats(0).dropped == {"buffer_full": {"ERROR": 1}}
    assert keys(queue.take(9)) == [0, 1]


@every_policy
def test_an_item_as_large_as_the_buffer_fits(overflow: str) -> None:
    """When there is nothing else."""
    queue = buffer(max_bytes=1_000, overflow=overflow)
    assert queue.put(item(memory=1_000)) == []
    assert queue.memory == 1_000


@pytest.mark.parametrize(
    ("max_records", "max_bytes", "drops"),
    [
        pytest.param(3, 10_000, False, id="room"),
        pytest.param(2, 10_000, True, id="no record more"),
        pytest.param(3, 200 + RECORD_MEMORY_OVERHEAD, False, id="room for an empty record"),
        pytest.param(3, 199 + RECORD_MEMORY_OVERHEAD, True, id="not even for that"),
    ],
)
def test_some_records_need_not_be_made_items_of(
    max_records: int, max_bytes: int, drops: bool
) -> None:
    """Any would be dropped: the conversion can be spared."""
    queue = buffer(max_records, max_bytes)
    put_all(queue, item(), item())
    assert queue.will_drop() == drops


@pytest.mark.parametrize("overflow", [name for name in POLICIES if name != "drop_newest"])
def test_where_room_can_be_made_nothing_is_dropped_unseen(overflow: str) -> None:
    """Whether there will be room depends on the item."""
    queue = buffer(max_records=1, overflow=overflow)
    queue.put(item())
    assert not queue.will_drop()


@pytest.mark.parametrize(
    ("records", "memory", "half_empty"),
    [(0, 0, True), (5, 100, True), (6, 100, False), (2, 250, True), (2, 251, False)],
)
def test_half_empty(records: int, memory: int, half_empty: bool) -> None:
    """At most half of the records and half of the bytes, what is being sent included."""
    queue = buffer(max_records=10, max_bytes=1_000)
    put_all(queue, *(item(memory=memory) for _ in range(records)))
    queue.take(3)
    assert queue.half_empty == half_empty


# -- wakes -----------------------------------------------------------------------------------------


def test_the_reader_is_woken_when_the_queue_stops_being_empty() -> None:
    """And when a batch is full; never for each record."""
    wakes: list[bool] = []
    queue = buffer(batch_size=3, wake=wakes.append)
    put_all(queue, *map(item, range(6)))
    assert wakes == [False, True]


def test_the_reader_is_woken_again_once_it_has_taken_all() -> None:
    """Not while something is left, which it knows of."""
    wakes: list[bool] = []
    queue = buffer(batch_size=3, wake=wakes.append)
    put_all(queue, item(0), item(1))
    queue.take(1)
    queue.put(item(2))
    assert wakes == [False]
    queue.take(2)
    queue.put(item(3))
    assert wakes == [False, False]


def test_a_batch_of_one_is_full_at_once() -> None:
    """With batch_size=1 nobody lingers: the first item wakes as a full batch."""
    wakes: list[bool] = []
    queue = buffer(batch_size=1, wake=wakes.append)
    queue.put(item())
    assert wakes == [True]


def test_nobody_is_woken_for_what_was_dropped() -> None:
    """There is nothing to do."""
    wakes: list[bool] = []
    queue = buffer(max_records=0, wake=wakes.append)
    queue.put(item())
    queue.drop("closed", INFO)
    assert wakes == []


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_lowest"])
def test_a_full_buffer_wakes_nobody_for_each_record(overflow: str) -> None:
    """While the brokers are away a batch is full all the time."""
    wakes: list[bool] = []
    queue = buffer(max_records=3, batch_size=3, wake=wakes.append, overflow=overflow)
    put_all(queue, *(item(number, level=DEBUG) for number in range(3)))
    put_all(queue, *(item(number, level=ERROR) for number in range(3)))
    assert queue.stats(0).dropped == {"buffer_full": {"DEBUG": 3}}
    assert wakes == [False, True]


def test_the_wake_is_outside_of_the_lock() -> None:
    """Whoever is woken may look, and take, on whatever thread."""
    seen: list[tuple[int, int]] = []

    def look() -> None:
        seen.append((queue.stats(0).buffered, len(queue.take(1))))

    def wake(full: bool) -> None:
        reader = threading.Thread(target=look)
        reader.start()
        reader.join(PATIENCE)

    queue = buffer(wake=wake)
    queue.put(item())
    assert seen == [(1, 1)]


# -- closed ----------------------------------------------------------------------------------------


@every_policy
def test_a_closed_hand_off_takes_and_counts_nothing(overflow: str) -> None:
    """A record that comes too late is for another one; it drives out none that is there."""
    queue = buffer(max_records=2, overflow=overflow)
    queue.put(item(0, level=DEBUG))
    assert queue.close()
    assert not queue.close()  # it was
    assert queue.put(item(1, level=ERROR)) is None
    stats = queue.stats(0)
    assert (stats.emitted, stats.dropped) == (1, {})
    assert keys(queue.take(9)) == [0]


# -- what the handler itself has to say ------------------------------------------------------------


def test_its_own_words_get_in_whatever_the_bounds() -> None:
    """Also when it is closed: they tell of what else did not get in. They are counted."""
    queue = buffer(max_records=1, max_bytes=100)
    queue.put(item(0))
    assert queue.put_own(item("full", memory=500))
    queue.close()
    assert queue.put_own(item("closed"))
    stats = queue.stats(0)
    assert (stats.emitted, stats.buffered, stats.memory) == (3, 3, 700)
    assert keys(queue.take(9)) == [0, "full", "closed"]


def test_words_that_are_not_queued_count_as_well() -> None:
    """Whoever holds the lock; nothing else gives way for them, and they take room as others do."""
    queue = buffer(max_records=2, max_bytes=1_000)
    queue.put(item(0))
    with held(queue):  # which puts one
        queue.count_own(500)
    assert (queue.outstanding, queue.memory) == (3, 700)
    assert (queue.emitted, queue.stats(1).emitted, len(queue)) == (2, 3, 2)
    assert queue.will_drop()
    assert keys(queue.put(item("late"))) == ["late"]
    queue.take(2)
    queue.delivered(2, 600)
    queue.failed(1, 100)
    stats = queue.stats(0)
    assert (stats.emitted, stats.delivered, stats.failed, stats.dropped_total) == (4, 2, 1, 1)
    assert (total(stats), queue.outstanding, stats.memory) == (4, 0, 0)


# -- marks -----------------------------------------------------------------------------------------


@every_policy
def test_a_mark_is_passed_when_all_before_it_was_taken(overflow: str) -> None:
    """What comes later does not matter."""
    queue = buffer(overflow=overflow)
    put_all(queue, item(0, level=ERROR), item(1, level=DEBUG), item(2))
    mark = queue.mark()
    put_all(queue, item(3, level=DEBUG), item(4))
    passed = []
    for _ in range(4):
        passed.append(queue.passed(mark))
        queue.take(1)
    assert passed == [False, False, False, True]


@pytest.mark.parametrize(
    ("overflow", "passed"), [("drop_oldest", [False, True]), ("drop_lowest", [False, True])]
)
def test_what_was_shed_is_passed_too(overflow: str, passed: list[bool]) -> None:
    """Nobody waits for it."""
    queue = buffer(max_records=2, overflow=overflow)
    put_all(queue, item(0, level=DEBUG), item(1, level=DEBUG))
    mark = queue.mark()
    seen = []
    for number in (2, 3):
        queue.put(item(number, level=WARNING))
        seen.append(queue.passed(mark))
    assert seen == passed


@every_policy
def test_nothing_has_to_pass_an_empty_queue(overflow: str) -> None:
    """A flush of nothing is over at once, also when there was something once."""
    queue = buffer(overflow=overflow)
    assert queue.passed(queue.mark())
    put_all(queue, item(), item())
    queue.take(2)
    assert queue.passed(queue.mark())


# -- block -----------------------------------------------------------------------------------------


class Clock:
    """Tells when somebody begins to wait: who looks at it again is about to."""

    def __init__(self) -> None:
        self._looks: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._waiting: queue.Queue[int] = queue.Queue()

    def __call__(self) -> float:
        with self._lock:
            self._looks[threading.get_ident()] += 1
            if self._looks[threading.get_ident()] > 1:
                self._waiting.put(threading.get_ident())
        return time.monotonic()

    def wait_for_waiters(self, count: int = 1) -> None:
        """Wait until so many more have begun to wait."""
        for _ in range(count):
            self._waiting.get(timeout=PATIENCE)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of those that wait for room."""
    clock = Clock()
    monkeypatch.setattr(buffer_module, "monotonic", clock)
    return clock


class Putters:
    """Threads that put one item each; `done` has what each got back, in the order of the ends."""

    def __init__(self, target: Buffer, *items: Item) -> None:
        self.done: queue.Queue[list[Any] | None] = queue.Queue()
        self._target = target
        for one in items:
            threading.Thread(target=self._put, args=(one,), daemon=True).start()

    def _put(self, one: Item) -> None:
        dropped = self._target.put(one)
        self.done.put(None if dropped is None else keys(dropped))

    def next(self) -> list[Any] | None:
        """What the next one that is done got back."""
        return self.done.get(timeout=PATIENCE)


def blocking(block_timeout: float = 1_000.0, **options: Any) -> Buffer:
    """One that is full of one record, which the producer has."""
    full = buffer(**{"max_records": 1, **options}, overflow="block", block_timeout=block_timeout)
    full.put(item("first"))
    assert keys(full.take(1)) == ["first"]
    return full


@pytest.mark.parametrize("end", ["delivered", "failed"])
@pytest.mark.parametrize("bounds", [{}, {"max_records": 9, "max_bytes": 150}], ids=str)
def test_who_waits_gets_in_when_room_comes(clock: Clock, end: str, bounds: dict[str, int]) -> None:
    """Whatever it was that lacked."""
    full = blocking(**bounds)
    putters = Putters(full, item("second"))
    clock.wait_for_waiters()
    assert putters.done.empty()
    assert len(full) == 0
    getattr(full, end)(1, 100)
    assert putters.next() == []
    assert keys(full.take(9)) == ["second"]


def test_who_waits_is_not_counted_yet(clock: Clock) -> None:
    """The ledger has what was admitted or dropped."""
    full = blocking()
    putters = Putters(full, item("second"))
    clock.wait_for_waiters()
    assert (full.stats(1).emitted, total(full.stats(1))) == (1, 1)
    full.delivered(1, 100)
    putters.next()
    assert (full.stats(0).emitted, total(full.stats(0))) == (2, 2)


def test_who_waits_in_vain_is_dropped() -> None:
    """After the timeout, and is counted."""
    full = blocking(block_timeout=0.01)
    assert keys(full.put(item("second"))) == ["second"]
    assert full.stats(1).dropped == {"buffer_full": {"INFO": 1}}
    assert full.outstanding == 1


def test_room_for_less_than_is_needed_lets_nobody_in(clock: Clock) -> None:
    """He goes on waiting."""
    full = buffer(max_bytes=300, overflow="block")
    put_all(full, *map(item, range(3)))
    full.take(9)
    putters = Putters(full, item("large", memory=200))
    clock.wait_for_waiters()
    full.delivered(1, 100)
    clock.wait_for_waiters()
    assert putters.done.empty()
    full.delivered(1, 100)
    assert putters.next() == []


def test_many_wait_and_as_many_get_in_as_there_is_room(clock: Clock) -> None:
    """The others go on waiting, until there is room for them."""
    full, waiters = blocking(), 8
    putters = Putters(full, *map(item, range(waiters)))
    clock.wait_for_waiters(waiters)
    arrived = []
    full.delivered(1, 100)
    for _ in range(waiters):
        assert putters.next() == []
        assert putters.done.empty()
        assert full.outstanding == 1
        arrived += keys(settle(full))
    assert sorted(arrived) == list(range(waiters))
    assert full.stats(0).dropped == {}


def test_close_releases_all_who_wait(clock: Clock) -> None:
    """Their records are for another buffer; no thread waits for this one from now on."""
    full = blocking()
    putters = Putters(full, *map(item, range(3)))
    clock.wait_for_waiters(3)
    full.close()
    assert [putters.next() for _ in range(3)] == [None, None, None]
    assert full.put(item("late")) is None
    assert (full.stats(1).emitted, full.stats(1).dropped) == (1, {})


def test_a_signal_handler_may_put_while_another_put_waits(clock: Clock) -> None:
    """On top of a wait it waits too; both get in."""
    full = blocking()
    got: list[Sequence[Item]] = []

    def on_signal(number: int, frame: object) -> None:
        got.append(full.put(item("on top")))

    def ship() -> None:
        clock.wait_for_waiters()
        signal.raise_signal(signal.SIGUSR1)  # handled by the main thread
        full.delivered(1, 100)
        while full.emitted < 3:
            settle(full)

    before = signal.signal(signal.SIGUSR1, on_signal)
    reader = threading.Thread(target=ship)
    reader.start()
    try:
        got.append(full.put(item("below")))
    finally:
        reader.join()
        signal.signal(signal.SIGUSR1, before)
    settle(full)
    assert got == [[], []]
    assert (full.stats(0).delivered, full.stats(0).emitted) == (3, 3)


class Acting(Item):
    """An item that does something when its memory is asked for: with the lock held."""

    act: Callable[[], object]

    @property
    def memory(self) -> int:  # type: ignore[override]
        self.act()
        return 100


def acting(key: Any, act: Callable[[], object]) -> Acting:
    """One that calls `act`, once."""
    made = Acting(*item(key))
    remaining = [act]
    made.act = lambda: remaining.pop()() if remaining else None
    return made


def test_a_put_may_wait_on_top_of_one_that_holds_the_lock(clock: Clock) -> None:
    """The loop thread needs no lock to make room."""
    full = blocking()
    got: list[Any] = []

    def ship() -> None:
        clock.wait_for_waiters()
        full.delivered(1, 100)
        while full.emitted < 3:
            settle(full)

    reader = threading.Thread(target=ship)
    reader.start()
    got.append(full.put(acting("below", lambda: got.append(full.put(item("on top"))))))
    reader.join()
    settle(full)
    assert got == [[], []]
    assert full.stats(0).delivered == 3


# -- the loop thread waits for nobody --------------------------------------------------------------


@contextlib.contextmanager
def held(target: Buffer) -> Iterator[None]:
    """While the body runs, another thread is in the middle of a put."""
    reached, let_go, in_time = threading.Event(), threading.Event(), []

    def hold() -> None:
        reached.set()
        in_time.append(let_go.wait(PATIENCE))

    target.quick_queue = None  # in C nobody is ever in the middle
    thread = threading.Thread(target=target.put, args=(acting("held", hold),))
    thread.start()
    assert reached.wait(PATIENCE)
    try:
        yield
    finally:
        let_go.set()
        thread.join()
    assert in_time == [True], "somebody waited for the lock"


LOOP_SIDE: dict[str, Callable[[Buffer], object]] = {
    "take": lambda queue: queue.take(1),
    "delivered": lambda queue: queue.delivered(1, 100),
    "failed": lambda queue: queue.failed(1, 100),
    "mark": lambda queue: queue.mark(),
    "passed": lambda queue: queue.passed(2),
    "len": len,
    "outstanding": lambda queue: queue.outstanding,
    "memory": lambda queue: queue.memory,
    "half_empty": lambda queue: queue.half_empty,
    "emitted": lambda queue: queue.emitted,
    "put_own": lambda queue: queue.put_own(item()),
}


@every_policy
@pytest.mark.parametrize("call", LOOP_SIDE.values(), ids=LOOP_SIDE)
def test_the_loop_thread_does_not_wait_for_the_lock(
    overflow: str, call: Callable[[Buffer], object]
) -> None:
    """Whoever holds it is held up himself, maybe by the loop thread."""
    queue = buffer(overflow=overflow)
    put_all(queue, item(0), item(1), item(2))
    queue.take(1)
    with held(queue):
        call(queue)
    assert total(queue.stats(0)) == queue.emitted == 4


def test_its_own_words_have_to_come_again_when_the_lock_is_held() -> None:
    """Nothing is queued, nothing counted."""
    queue = buffer()
    with held(queue):
        assert not queue.put_own(item("own"))
    assert queue.emitted == 1
    assert queue.put_own(item("own"))
    assert keys(queue.take(9)) == ["held", "own"]


# -- the ledger ------------------------------------------------------------------------------------


def test_every_record_is_in_one_column() -> None:
    """From its arrival to its end."""
    queue = buffer(max_records=4)
    put_all(queue, *map(item, range(5)))
    queue.drop("invalid_topic", INFO)
    queue.drop("invalid_topic", ERROR)
    queue.drop("closed", 25)
    queue.take(4)
    queue.delivered(1, 100)
    queue.failed(1, 100)
    assert queue.stats(1) == Stats(
        emitted=8,
        delivered=1,
        dropped={
            "buffer_full": {"INFO": 1},
            "invalid_topic": {"INFO": 1, "ERROR": 1},
            "closed": {"Level 25": 1},
        },
        failed=1,
        buffered=1,
        in_flight=1,
        memory=200,
    )
    assert queue.outstanding == 2


def test_an_old_count_of_what_is_in_flight_does_not_break_the_sum() -> None:
    """The producer counts on its own thread, and may lag behind."""
    queue = buffer()
    queue.put(item())
    queue.take(1)
    queue.delivered(1, 100)
    stats = queue.stats(in_flight=1)
    assert (stats.delivered, stats.in_flight, stats.buffered) == (1, 0, 0)


def test_levels_that_share_a_name_do_not_break_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """logging lets a program call two of them the same."""
    monkeypatch.setitem(logging._levelToName, 21, "INFO")
    queue = buffer()
    queue.drop("closed", 20)
    queue.drop("closed", 21)
    assert queue.stats(0).dropped == {"closed": {"INFO": 2}}


def test_stats_do_not_change_afterwards() -> None:
    """They are of one moment."""
    queue = buffer()
    queue.drop("closed", INFO)
    stats = queue.stats(0)
    queue.drop("closed", INFO)
    assert stats.dropped == {"closed": {"INFO": 1}}
    assert queue.stats(0).dropped == {"closed": {"INFO": 2}}


# -- one on top of the other -----------------------------------------------------------------------


class Bookkeeper:
    """Puts items and takes them, and knows at the end what must have become of each."""

    def __init__(self, overflow: str, queued: int) -> None:
        self.buffer = buffer(max_records=4, overflow=overflow, block_timeout=0.0)
        self._made = 0
        self._dropped: list[int] = []
        self._taken: list[int] = []
        self._said = 0
        for _ in range(queued):
            self.put(DEBUG)

    def put(self, level: int) -> None:
        """One more; its number is its key."""
        number, self._made = self._made, self._made + 1
        self._dropped += keys(self.buffer.put(item(number, 100 + number, level)))

    def put_own(self) -> None:
        """The lock is free, or ours."""
        number, self._made = self._made, self._made + 1
        assert self.buffer.put_own(item(number, 100 + number, WARNING))

    def say(self) -> None:
        """As the loop thread does; it is not queued, and settled right away."""
        self._said += 1
        self.buffer.count_own(1_000)
        self.look()
        self.buffer.delivered(1, 1_000)

    def look(self) -> None:
        """Anybody may look at any time."""
        stats = self.buffer.stats(0)
        assert total(stats) == stats.emitted

    def take(self) -> None:
        """As the loop thread does."""
        self._taken += keys(settle(self.buffer, 2))

    def close_the_books(self) -> None:
        """Each item went one way, the sums agree, and nothing is left over."""
        self.look()
        mark = self.buffer.mark()
        for _ in range(self._made):
            self.take()
        assert sorted(self._taken + self._dropped) == list(range(self._made))
        assert repr(self.buffer) == "<Buffer queued=0 outstanding=0 bytes=0>"
        assert self.buffer.passed(mark)
        stats = self.buffer.stats(0)
        delivered = len(self._taken) + self._said
        assert (stats.delivered, stats.dropped_total) == (delivered, len(self._dropped))
        assert (total(stats), stats.memory) == (self._made + self._said, 0)


Deed = Callable[[Bookkeeper], None]
DEEDS: dict[str, Deed] = {
    "put": lambda books: books.put(WARNING),
    "put another level": lambda books: books.put(ERROR),
    "take": lambda books: books.take(),
    "look": lambda books: books.look(),
    "put_own": lambda books: books.put_own(),
    "say": lambda books: books.say(),
}


PAIRS = [
    pytest.param(below, on_top, id=f"{name_on_top} on top of {name}")
    for (name, below), (name_on_top, on_top) in itertools.product(DEEDS.items(), repeat=2)
    if {name, name_on_top} - {"take", "say"}  # there is one loop thread
]


@every_policy
@pytest.mark.parametrize("queued", [0, 3, 4], ids=["empty", "one is missing", "full"])
@pytest.mark.parametrize(("below", "on_top"), PAIRS)
def test_what_comes_on_top_of_anything_leaves_the_books_in_order(
    overflow: str, queued: int, below: Deed, on_top: Deed
) -> None:
    """A signal handler, a `__del__`, and the loop thread may come at any moment."""

    def make() -> Trial:
        books = Bookkeeper(overflow, queued)
        return Trial(lambda: below(books), lambda: on_top(books), books.close_the_books)

    assert interrupt_everywhere(make) >= 5


@every_policy
def test_a_drop_on_top_of_a_drop_is_counted(overflow: str) -> None:
    """Each of the two."""

    def make() -> Trial:
        queue = buffer(overflow=overflow)

        def drop() -> None:
            queue.drop("closed", INFO)

        def check() -> None:
            assert queue.stats(0).dropped == {"closed": {"INFO": 2}}
            assert queue.emitted == 2

        return Trial(drop, drop, check)

    assert interrupt_everywhere(make) >= 2


def test_an_interruption_is_where_it_should_be() -> None:
    """The tests above would notice a count that is read, and written back after a call."""

    class Careless:
        count = 0

        def add(self) -> None:
            self.count += len("x")

    moments = []
    for moment in range(1, 5):
        careless = Careless()
        if interrupt(careless.add, careless.add, moment):
            moments.append(careless.count)
    assert moments[:2] == [2, 1]


# -- threads ---------------------------------------------------------------------------------------


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Threads take turns a hundred times as often as usual."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 100)
    yield
    sys.setswitchinterval(interval)


THREADS, EACH = 8, 300


class Loggers:
    """Threads that log at all levels; some of their records can't be sent at all."""

    def __init__(self, target: Buffer) -> None:
        self._target = target
        self._threads = [threading.Thread(target=self._log, args=(n,)) for n in range(THREADS)]
        self.dropped: list[Any] = []
        for thread in self._threads:
            thread.start()

    def _log(self, thread: int) -> None:
        levels = (DEBUG, INFO, WARNING, ERROR)
        for number in range(EACH):
            if number % 50 == 0:
                self._target.drop("invalid_topic", INFO)
            else:
                one = item((thread, number), level=levels[number % 4])
                self.dropped += keys(self._target.put(one))

    @property
    def are_at_it(self) -> bool:
        """Whether any of them is still logging."""
        return any(thread.is_alive() for thread in self._threads)


def ship(queue: Buffer, taken: list[Any]) -> Iterator[Stats]:
    """Take what is there, settle half of it either way, and look in between."""
    while some := queue.take(7):
        taken += keys(some)
        yield queue.stats(len(some))
        failed = len(some) // 2
        queue.delivered(len(some) - failed, 100 * (len(some) - failed))
        yield queue.stats(failed)
        queue.failed(failed, 100 * failed)
        yield queue.stats(0)


@every_policy
@pytest.mark.usefixtures("busy_threads")
def test_the_sum_holds_under_threads(overflow: str) -> None:
    """Whenever anybody looks, while eight threads put and one takes and settles."""
    queue = buffer(max_records=40, max_bytes=3_000, overflow=overflow)
    taken: list[Any] = []
    looks: list[Stats] = []
    loggers = Loggers(queue)
    while loggers.are_at_it:
        looks += ship(queue, taken)
    looks += ship(queue, taken)
    last = queue.stats(0)
    assert all(total(stats) == stats.emitted for stats in [*looks, last])
    assert all(stats.memory <= 3_000 for stats in looks)
    assert last.emitted == THREADS * EACH
    assert last.dropped["invalid_topic"] == {"INFO": THREADS * EACH // 50}
    assert last.delivered + last.failed == len(taken)
    assert last.dropped_total == len(loggers.dropped) + THREADS * EACH // 50
    assert len({*taken, *loggers.dropped}) == len(taken) + len(loggers.dropped)
    assert repr(queue) == "<Buffer queued=0 outstanding=0 bytes=0>"


@pytest.mark.parametrize("overflow", list(OVERFLOW))
def test_a_call_that_is_torn_away_leaves_no_ghost(overflow: str) -> None:
    """Where there is little room: what is counted is queued, or was dropped."""

    def tear() -> None:
        raise KeyboardInterrupt

    moment, came = 0, True
    while came:
        moment += 1
        queue = buffer(overflow=overflow, max_records=8)
        put_all(queue, *(item(number, 100, INFO) for number in range(7)))
        with contextlib.suppress(KeyboardInterrupt):
            came = interrupt(lambda: queue.put(item("x", 100, INFO)), tear, moment)  # noqa: B023
        assert queue.outstanding == len(queue)
        assert queue.memory == len(queue) * 100
    assert moment > 10
