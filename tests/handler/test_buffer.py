"""The buffer: bounds, overflow policies, wakes and waits, and a ledger that always adds up."""

from __future__ import annotations

import contextlib
import gc
import itertools
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kiel_logging.handler import buffer as buffer_module
from kiel_logging.handler.buffer import OVERFLOW, Buffer, Fifo, SheddingQueue
from kiel_logging.handler.ledger import Counts, Stats
from kiel_logging.record.item import Item
from kiel_logging.records import RECORD_MEMORY_OVERHEAD
from tests.handler.interruption import Trial, interrupt, interrupt_everywhere
from tests.handler.sample import DEBUG, ERROR, INFO, POLICIES, WARNING, item, keys, total
from tests.support.examples import examples

PATIENCE = 20.0
"""Seconds that a test waits for an event that comes at once, unless something is broken."""

every_policy = pytest.mark.parametrize("overflow", POLICIES)


def buffer(
    max_records: int = 100,
    max_bytes: int = 1_000_000,
    batch_size: int = 10,
    wake: Callable[[bool], object] = bool,
    overflow: str = "drop_newest",
    block_timeout: float = 1_000.0,
) -> Buffer:
    """Return a buffer whose wakes go nowhere unless a test wants to see them."""
    return Buffer(
        max_records=max_records,
        max_bytes=max_bytes,
        batch_size=batch_size,
        wake=lambda full: (wake(full), None)[1],
        overflow=overflow,
        block_timeout=block_timeout,
    )


def put(target: Buffer, one: Item) -> Sequence[Item] | None:
    """Put it; return what was dropped, None if the buffer is closed."""
    dropped: list[Item] = []
    return dropped if target.put(one, dropped) else None


def put_all(target: Buffer, *items: Item) -> list[Sequence[Item]]:
    """Put one after the other; return what each of them drove out."""
    return [put(target, one) for one in items]


def settle(target: Buffer, most: int = 10**6) -> list[Item]:
    """Take some items and deliver them, as the loop thread does."""
    taken = target.take(most)
    target.ledger.delivered(len(taken), sum(one.memory for one in taken))
    return taken


def drop(target: Buffer, reason: str = "closed", level: int = INFO) -> None:
    """Count a record that never became an item."""
    target.ledger.drop(reason, level, "logs")


# -- the policies, against lists -------------------------------------------------------------------


def none(queued: list[Item], new: Item) -> list[Item]:
    """Return the items that may make room for ``new``: none."""
    return []


def oldest_first(queued: list[Item], new: Item) -> list[Item]:
    """Return all items, in the order in which they came."""
    return queued


def lowest_first(queued: list[Item], new: Item) -> list[Item]:
    """Return items of lower levels than the new one's; of each level the newest first."""
    lower = [one for one in reversed(queued) if one.level < new.level]
    return sorted(lower, key=lambda one: one.level)


def enough(candidates: list[Item], records: int, memory: int) -> list[Item]:
    """Return as few of the first candidates as will do; none, if all would not do."""
    for count in range(len(candidates) + 1):
        chosen = candidates[:count]
        if count >= records and sum(one.memory for one in chosen) >= memory:
            return chosen
    return []


class AnyOrder(RuleBasedStateMachine):
    """A buffer does in any order of calls what lists do: bounds, order, wakes, marks, sums."""

    overflow: str
    candidates: Callable[[list[Item], Item], list[Item]]

    @initialize(max_records=st.integers(0, 8), max_bytes=st.integers(0, 1000))
    def start(self, max_records: int, max_bytes: int) -> None:
        """Begin with bounds so small that they are met."""
        self.max_records, self.max_bytes = max_records, max_bytes
        self.wakes: list[bool] = []
        self.buffer = Buffer(
            max_records=max_records,
            max_bytes=max_bytes,
            batch_size=3,
            wake=self.wakes.append,
            overflow=self.overflow,
        )
        self.queued: list[Item] = []
        self.taken: list[Item] = []
        self.emitted = self.ended = self.dropped = 0
        self.marks: list[tuple[int, list[Item]]] = []

    def missing(self, new: Item) -> tuple[int, int]:
        """Return how many records and bytes are in its way."""
        outstanding = self.queued + self.taken
        memory = sum(one.memory for one in outstanding)
        return len(outstanding) + 1 - self.max_records, memory + new.memory - self.max_bytes

    @rule(memory=st.integers(0, 400), level=st.sampled_from([DEBUG, INFO, WARNING, ERROR, 25]))
    def put(self, memory: int, level: int) -> None:
        """An item fits, or others make room for it, or it is dropped itself."""
        new = item(self.emitted, memory, level)
        shed: list[Item] = []
        if max(self.missing(new)) > 0:
            shed = enough(type(self).candidates(self.queued, new), *self.missing(new))
        self.queued = [one for one in self.queued if one not in shed]
        fits = max(self.missing(new)) <= 0
        self.wakes.clear()
        assert list(put(self.buffer, new)) == (shed if fits else [new])
        self.emitted += 1
        self.dropped += len(shed) if fits else 1
        if fits:
            self.queued.append(new)
        assert self.wakes == self.expected_wakes(fits, bool(shed))

    def expected_wakes(self, fits: bool, shed: bool) -> list[bool]:
        """The reader is woken by the first item, and by one that fills a batch; else never."""
        if fits and len(self.queued) == 3 and not shed:
            return [True]
        return [False] if fits and len(self.queued) == 1 else []

    @rule(memory=st.integers(0, 400))
    def put_own(self, memory: int) -> None:
        """The handler's own records get in beyond all bounds."""
        new = item(self.emitted, memory, WARNING)
        assert self.buffer.put_own(new)
        self.emitted += 1
        self.queued.append(new)

    @rule()
    def drop(self) -> None:
        """A record that never became an item is counted."""
        drop(self.buffer, "unserialisable")
        self.emitted += 1
        self.dropped += 1

    @rule(most=st.integers(0, 5))
    def take(self, most: int) -> None:
        """The reader gets the oldest items, of whatever level."""
        taken = self.buffer.take(most)
        assert taken == self.queued[:most]
        self.taken += taken
        del self.queued[:most]

    @precondition(lambda self: self.taken)
    @rule(delivered=st.booleans())
    def end(self, delivered: bool) -> None:
        """Room comes back when a record ends, not when it is taken."""
        one = self.taken.pop()
        ledger = self.buffer.ledger
        (ledger.delivered if delivered else ledger.failed)(1, one.memory)
        self.ended += 1

    @rule()
    def mark(self) -> None:
        """A flush begins."""
        self.marks.append((self.buffer.mark(), list(self.queued)))

    @invariant()
    def marks_are_passed_when_all_before_them_left(self) -> None:
        """A mark is passed when all before it was taken or shed."""
        for mark, before in self.marks:
            assert self.buffer.passed(mark) == (not any(one in self.queued for one in before))

    @invariant()
    def the_sum_holds(self) -> None:
        """The counts are those of the lists."""
        stats = self.buffer.ledger.stats(in_flight=len(self.taken))
        assert total(stats) == stats.emitted == self.emitted
        assert stats.dropped_total == self.dropped
        assert stats.delivered + stats.failed == self.ended
        assert (stats.buffered, stats.in_flight) == (len(self.queued), len(self.taken))
        memory = sum(one.memory for one in self.queued + self.taken)
        assert stats.memory == memory
        outstanding = len(self.queued + self.taken)
        half = outstanding * 2 <= self.max_records and memory * 2 <= self.max_bytes
        assert self.buffer.is_half_empty == half
        assert self.buffer.has_topic("logs") == bool(self.queued)
        assert not self.buffer.has_topic("audit")


def case(overflow: str, candidates: Callable[[list[Item], Item], Sequence[Item]]) -> Any:
    """Return the machine for one policy."""
    machine = type(
        f"AnyOrder_{overflow}",
        (AnyOrder,),
        {"overflow": overflow, "candidates": staticmethod(candidates)},
    )
    machine.TestCase.settings = examples(60, stateful_step_count=30)
    return machine.TestCase


class TestNewest(case("drop_newest", none)):  # type: ignore[misc]
    """With drop_newest no item makes room."""


class TestOldest(case("drop_oldest", oldest_first)):  # type: ignore[misc]
    """With drop_oldest the items that wait longest make room."""


class TestLowest(case("drop_lowest", lowest_first)):  # type: ignore[misc]
    """With drop_lowest lower levels make room; of one level the newest."""


class TestBlock(case("block", none)):  # type: ignore[misc]
    """Without any patience, block does as drop_newest."""


def test_the_policies_are_these() -> None:
    """Each overflow policy has a specification above."""
    assert set(OVERFLOW) == set(POLICIES)


@every_policy
def test_a_closed_buffer_takes_and_counts_nothing(overflow: str) -> None:
    """A record that comes after the close is for another buffer, and drives out none here."""
    closed = buffer(max_records=2, overflow=overflow)
    put(closed, item(0, level=DEBUG))
    assert closed.close()
    assert not closed.close()
    assert put(closed, item(1, level=ERROR)) is None
    stats = closed.ledger.stats(0)
    assert (stats.emitted, stats.dropped) == (1, {})
    assert keys(closed.take(9)) == [0]
    assert closed.put_own(item("own"))  # it says what the closed buffer lacks


@pytest.mark.parametrize(
    ("max_records", "max_bytes", "drops"),
    [
        pytest.param(3, 10_000, False, id="room"),
        pytest.param(2, 10_000, True, id="no record more"),
        pytest.param(3, 200 + RECORD_MEMORY_OVERHEAD, False, id="room for an empty record"),
        pytest.param(3, 199 + RECORD_MEMORY_OVERHEAD, True, id="not even for that"),
    ],
)
@every_policy
def test_conversions_are_spared_if_any_record_would_be_dropped(
    overflow: str, max_records: int, max_bytes: int, drops: bool
) -> None:
    """Only with drop_newest is that known before the record is converted."""
    full = buffer(max_records, max_bytes, overflow=overflow, block_timeout=0.0)
    put_all(full, item(), item())
    assert full.will_drop() == (drops and overflow == "drop_newest")


def test_the_reader_is_woken_outside_of_the_lock() -> None:
    """A thread that is woken may look, and take."""
    seen: list[tuple[int, int]] = []

    def wake(full: bool) -> None:
        def look() -> None:
            seen.append((target.ledger.stats(0).buffered, len(target.take(1))))

        reader = threading.Thread(target=look)
        reader.start()
        reader.join(PATIENCE)

    target = buffer(wake=wake)
    put(target, item())
    assert seen == [(1, 1)]


def test_own_records_that_are_not_queued_take_room_as_others_do() -> None:
    """They are counted although a logging thread holds the lock, and drive out nothing."""
    target = buffer(max_records=3, max_bytes=1_000)
    put(target, item(0))
    with held(target):  # by a thread that puts another one
        target.ledger.count_own(500)
    ledger = target.ledger
    assert (ledger.outstanding, ledger.memory) == (3, 700)
    assert (ledger.emitted, ledger.stats(1).emitted, len(target)) == (2, 3, 2)
    assert target.will_drop()
    assert keys(put(target, item("late"))) == ["late"]
    target.take(2)
    ledger.delivered(2, 600)
    ledger.failed(1, 100)
    stats = ledger.stats(0)
    assert (stats.emitted, stats.delivered, stats.failed, stats.dropped_total) == (4, 2, 1, 1)
    assert (total(stats), ledger.outstanding, stats.memory) == (4, 0, 0)


# -- block -----------------------------------------------------------------------------------------


class Clock:
    """The buffer's clock; reports when a thread begins to wait, which then looks again."""

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
    """Return the clock of threads that wait for room."""
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
        dropped = put(self._target, one)
        self.done.put(None if dropped is None else keys(dropped))

    def next(self) -> list[Any] | None:
        """Return what the next one that is done got back."""
        return self.done.get(timeout=PATIENCE)


def blocking(block_timeout: float = 1_000.0, **options: Any) -> Buffer:
    """Return a buffer that is full of one record, which the producer has."""
    full = buffer(**{"max_records": 1, **options}, overflow="block", block_timeout=block_timeout)
    put(full, item("first"))
    assert keys(full.take(1)) == ["first"]
    return full


@pytest.mark.parametrize("end", ["delivered", "failed"])
@pytest.mark.parametrize("bounds", [{}, {"max_records": 9, "max_bytes": 150}], ids=str)
def test_a_thread_waits_until_there_is_room(clock: Clock, end: str, bounds: dict[str, int]) -> None:
    """Its record is counted when it is admitted, not while it waits."""
    full = blocking(**bounds)
    putters = Putters(full, item("second"))
    clock.wait_for_waiters()
    assert (putters.done.empty(), len(full), full.ledger.stats(1).emitted) == (True, 0, 1)
    getattr(full.ledger, end)(1, 100)
    assert putters.next() == []
    assert keys(full.take(9)) == ["second"]
    assert full.ledger.stats(1).emitted == 2


def test_a_thread_that_waits_in_vain_loses_its_record() -> None:
    """After the timeout the record is dropped, and counted."""
    full = blocking(block_timeout=0.01)
    assert keys(put(full, item("second"))) == ["second"]
    assert full.ledger.stats(1).dropped == {"buffer_full": {"INFO": 1}}
    assert full.ledger.outstanding == 1


def test_a_record_larger_than_the_buffer_does_not_wait() -> None:
    """There will never be room for it."""
    full = blocking(max_records=9, max_bytes=1_000)
    assert keys(put(full, item("large", memory=1_001))) == ["large"]


def test_a_thread_waits_on_when_there_is_too_little_room(clock: Clock) -> None:
    """Room for a smaller record than its own does not end its wait."""
    full = buffer(max_bytes=300, overflow="block")
    put_all(full, *map(item, range(3)))
    full.take(9)
    putters = Putters(full, item("large", memory=200))
    clock.wait_for_waiters()
    full.ledger.delivered(1, 100)
    clock.wait_for_waiters()
    assert putters.done.empty()
    full.ledger.delivered(1, 100)
    assert putters.next() == []


def test_as_many_threads_get_in_as_there_is_room(clock: Clock) -> None:
    """Each end of a record admits one of many that wait, and none is dropped."""
    full, waiters = blocking(), 8
    putters = Putters(full, *map(item, range(waiters)))
    clock.wait_for_waiters(waiters)
    arrived = []
    full.ledger.delivered(1, 100)
    for _ in range(waiters):
        assert putters.next() == []
        assert putters.done.empty()
        assert full.ledger.outstanding == 1
        arrived += keys(settle(full))
    assert sorted(arrived) == list(range(waiters))
    assert full.ledger.stats(0).dropped == {}


def test_close_releases_all_threads_that_wait(clock: Clock) -> None:
    """Their records are for another buffer."""
    full = blocking()
    putters = Putters(full, *map(item, range(3)))
    clock.wait_for_waiters(3)
    full.close()
    assert [putters.next() for _ in range(3)] == [None, None, None]
    assert (full.ledger.stats(1).emitted, full.ledger.stats(1).dropped) == (1, {})


class Acting(Item):
    """An item that does something when its memory is asked for."""

    act: Callable[[], object]

    @property
    def memory(self) -> int:  # type: ignore[override]
        self.act()
        return 100


def acting(key: Any, act: Callable[[], object]) -> Acting:
    """Return an item that calls `act` once, the second time its memory is asked for: with the
    lock held."""
    made = Acting(*item(key))
    remaining = [act, lambda: None]
    made.act = lambda: remaining.pop()() if remaining else None
    return made


@pytest.mark.parametrize("below", ["a wait", "a frame that holds the lock"])
def test_a_signal_handler_may_wait_on_top_of(below: str, clock: Clock) -> None:
    """The loop thread needs no lock to make room, so both records get in."""
    full = blocking()
    got: list[Any] = []

    def on_top(*_signal: object) -> None:
        got.append(put(full, item("on top")))

    def ship() -> None:
        clock.wait_for_waiters()
        if below == "a wait":
            signal.raise_signal(signal.SIGUSR1)  # handled by the main thread
        full.ledger.delivered(1, 100)
        while full.ledger.emitted < 3:
            settle(full)

    before = signal.signal(signal.SIGUSR1, on_top)
    reader = threading.Thread(target=ship)
    reader.start()
    try:
        got.append(put(full, item("below") if below == "a wait" else acting("below", on_top)))
    finally:
        reader.join()
        signal.signal(signal.SIGUSR1, before)
    settle(full)
    assert got == [[], []]
    assert (full.ledger.stats(0).delivered, full.ledger.stats(0).emitted) == (3, 3)


# -- the loop thread waits for no logging thread ---------------------------------------------------


@contextlib.contextmanager
def held(target: Buffer) -> Iterator[None]:
    """While the body runs, another thread is in the middle of a put, with the lock held."""
    reached, released, in_time = threading.Event(), threading.Event(), []

    def hold() -> None:
        reached.set()
        in_time.append(released.wait(PATIENCE))

    thread = threading.Thread(
        target=put,
        args=(
            target,
            acting("held", hold),
        ),
    )
    thread.start()
    assert reached.wait(PATIENCE)
    try:
        yield
    finally:
        released.set()
        thread.join()
    assert in_time == [True], "the loop thread waited for the lock"


LOOP_SIDE: dict[str, Callable[[Buffer], object]] = {
    "take": lambda target: target.take(1),
    "delivered": lambda target: target.ledger.delivered(1, 100),
    "failed": lambda target: target.ledger.failed(1, 100),
    "mark": lambda target: target.mark(),
    "passed": lambda target: target.passed(2),
    "len": len,
    "outstanding": lambda target: target.ledger.outstanding,
    "memory": lambda target: target.ledger.memory,
    "is_half_empty": lambda target: target.is_half_empty,
    "emitted": lambda target: target.ledger.emitted,
    "put_own": lambda target: target.put_own(item()),
    "take_losses": lambda target: target.ledger.take_losses(),
}


@every_policy
@pytest.mark.parametrize("call", LOOP_SIDE.values(), ids=LOOP_SIDE)
def test_the_loop_thread_does_not_wait_for_the_lock(
    overflow: str, call: Callable[[Buffer], object]
) -> None:
    """A thread that holds it may be waiting for the loop thread."""
    target = buffer(overflow=overflow)
    put_all(target, item(0), item(1), item(2))
    target.take(1)
    with held(target):
        call(target)
    assert total(target.ledger.stats(0)) == target.ledger.emitted == 4


def test_own_records_have_to_come_again_when_the_lock_is_held() -> None:
    """If put_own() returns False, nothing is queued and nothing counted."""
    target = buffer()
    with held(target):
        assert not target.put_own(item("own"))
    assert target.ledger.emitted == 1
    assert target.put_own(item("own"))
    assert keys(target.take(9)) == ["held", "own"]


# -- one call on top of another --------------------------------------------------------------------


class Bookkeeper:
    """Puts items and takes them, and knows at the end what must have become of each."""

    def __init__(self, overflow: str, queued: int) -> None:
        self.buffer = buffer(max_records=4, overflow=overflow, block_timeout=0.0)
        self._made = 0
        self._dropped: list[int] = []
        self._taken: list[int] = []
        self._said = self._unmade = 0
        for _ in range(queued):
            self.put(DEBUG)

    def put(self, level: int) -> None:
        """Put one more; its number is its key."""
        number, self._made = self._made, self._made + 1
        self._dropped += keys(put(self.buffer, item(number, 100 + number, level)))

    def put_own(self) -> None:
        """Put a record of the handler's own; the lock is free, or this thread's."""
        number, self._made = self._made, self._made + 1
        assert self.buffer.put_own(item(number, 100 + number, WARNING))

    def say(self) -> None:
        """Count a record of the handler's own that is not queued, and settle it."""
        self._said += 1
        self.buffer.ledger.count_own(1_000)
        self.look()
        self.buffer.ledger.delivered(1, 1_000)

    def drop(self) -> None:
        """Drop a record that never became an item."""
        self._unmade += 1
        drop(self.buffer)

    def look(self) -> None:
        """The sum holds at any time."""
        stats = self.buffer.ledger.stats(0)
        assert total(stats) == stats.emitted

    def take(self) -> None:
        """Ship two."""
        self._taken += keys(settle(self.buffer, 2))

    def close_the_books(self) -> None:
        """Each item went one way, the sums agree, and nothing is left over."""
        self.look()
        mark = self.buffer.mark()
        for _ in range(self._made):
            self.take()
        assert sorted(self._taken + self._dropped) == list(range(self._made))
        assert repr(self.buffer) == "<Buffer queued=0 <Ledger outstanding=0 bytes=0>>"
        assert self.buffer.passed(mark)
        ledger = self.buffer.ledger
        stats = ledger.stats(0)
        assert stats.delivered == len(self._taken) + self._said
        lost = sum(loss.records for loss in ledger.take_losses().values())
        assert stats.dropped_total == len(self._dropped) + self._unmade == lost
        assert (total(stats), stats.memory) == (self._made + self._said + self._unmade, 0)


Deed = Callable[[Bookkeeper], None]
DEEDS: dict[str, Deed] = {
    "put": lambda books: books.put(WARNING),
    "put another level": lambda books: books.put(ERROR),
    "take": lambda books: books.take(),
    "look": lambda books: books.look(),
    "put_own": lambda books: books.put_own(),
    "say": lambda books: books.say(),
    "drop": lambda books: books.drop(),
}


PAIRS = [
    pytest.param(below, on_top, id=f"{name_on_top} on top of {name}")
    for (name, below), (name_on_top, on_top) in itertools.product(DEEDS.items(), repeat=2)
    if {name, name_on_top} - {"take", "say"}  # there is one loop thread
]


@every_policy
@pytest.mark.parametrize("queued", [0, 3, 4], ids=["empty", "one is missing", "full"])
@pytest.mark.parametrize(("below", "on_top"), PAIRS)
def test_a_call_on_top_of_any_other_leaves_the_books_in_order(
    overflow: str, queued: int, below: Deed, on_top: Deed
) -> None:
    """A signal handler, a `__del__`, and the loop thread may come at any moment."""

    def make() -> Trial:
        books = Bookkeeper(overflow, queued)
        return Trial(lambda: below(books), lambda: on_top(books), books.close_the_books)

    assert interrupt_everywhere(make) >= 2


def test_an_interruption_is_where_it_should_be() -> None:
    """The test above would notice a count that is read, and written back after a call."""

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


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No garbage collection: Python only reports what is raised in its callbacks."""
    gc.disable()
    yield
    gc.enable()


@every_policy
@pytest.mark.usefixtures("no_collection")
def test_a_call_that_is_torn_away_leaves_no_ghost(overflow: str) -> None:
    """An exception of a signal handler leaves each item counted and queued, or neither."""

    def tear() -> None:
        raise KeyboardInterrupt

    moment, came = 0, True
    while came:
        moment += 1
        target = buffer(overflow=overflow, max_records=8)
        put_all(target, *(item(number, 100, INFO) for number in range(7)))
        with contextlib.suppress(KeyboardInterrupt):
            came = interrupt(lambda: put(target, item("x", 100, INFO)), tear, moment)  # noqa: B023
        assert target.ledger.outstanding == len(target)
        assert target.ledger.memory == len(target) * 100
    assert moment > 10


# -- the reader and logging threads at the same time -----------------------------------------------

Queue: TypeAlias = Fifo | SheddingQueue
QUEUES: dict[str, Callable[[], Queue]] = {
    "fifo": Fifo,
    "oldest": lambda: SheddingQueue(by_level=False),
    "by level": lambda: SheddingQueue(by_level=True),
}
every_queue = pytest.mark.parametrize("make", QUEUES.values(), ids=QUEUES)


class Notes:
    """The items that were appended, taken and shed, in the order of each."""

    def __init__(self, target: Queue) -> None:
        self.queue = target
        self.appended: list[int] = []
        self.taken: list[Item] = []
        self.shed: list[Item] = []

    def append(self, level: int) -> None:
        """Append an item whose key is its place among all."""
        number = len(self.appended)
        self.appended.append(number)
        self.queue.append(item(number, 100, level), Counts(10**9, 10**9, 1))

    def make_room(self) -> None:
        """Shed two for an ERROR, if the policy does that."""
        self.queue.shed(item(level=ERROR), 2, 200, self.shed, id)

    def take(self, most: int) -> None:
        """Take as the reader does."""
        self.taken += self.queue.take(most)

    def check(self) -> None:
        """No item was lost or doubled, and each level left in its order."""
        self.take(len(self.appended))
        assert sorted(keys([*self.taken, *self.shed])) == self.appended
        assert len(self.queue) == 0
        assert self.queue.passed(self.queue.mark())
        for level in (DEBUG, INFO, WARNING, ERROR):
            numbers = keys([one for one in self.taken if one.level == level])
            assert numbers == sorted(numbers)


@every_queue
@pytest.mark.parametrize("below", ["taking", "shedding"])
def test_the_reader_and_a_logging_thread_may_interrupt_each_other(
    make: Callable[[], Queue], below: str
) -> None:
    """No item is lost or doubled, at whatever moment one comes on top of the other."""

    def trial() -> Trial:
        notes = Notes(make())
        for level in (INFO, DEBUG, DEBUG, INFO, WARNING):
            notes.append(level)

        def log() -> None:
            notes.make_room()
            notes.append(DEBUG)
            notes.append(ERROR)

        def take() -> None:
            notes.take(3)

        return Trial(*((take, log) if below == "taking" else (log, take)), notes.check)

    assert interrupt_everywhere(trial) >= 4


@pytest.mark.parametrize("new", [0, 1, 2])
def test_items_stay_in_order_when_the_reader_s_next_one_is_shed(new: int) -> None:
    """Items of another level may be older than the one behind it."""

    def trial() -> Trial:
        notes = Notes(SheddingQueue(by_level=True))
        notes.append(DEBUG)
        notes.append(INFO)

        def replace_the_debug_one() -> None:
            notes.queue.shed(item(level=INFO), 1, 0, notes.shed, id)
            for _ in range(new):
                notes.append(DEBUG)

        def check() -> None:
            notes.check()
            assert keys(notes.taken) == sorted(keys(notes.taken))

        return Trial(lambda: notes.take(3), replace_the_debug_one, check)

    assert interrupt_everywhere(trial) >= 4


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Have threads take turns a hundred times as often as usual."""
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
                drop(self._target, "invalid_topic")
            else:
                one = item((thread, number), level=levels[number % 4])
                self.dropped += keys(put(self._target, one))

    @property
    def are_at_it(self) -> bool:
        """Whether any of them is still logging."""
        return any(thread.is_alive() for thread in self._threads)


def ship(target: Buffer, taken: list[Any]) -> Iterator[Stats]:
    """Take what is there, settle half of it either way, and look in between."""
    ledger = target.ledger
    while some := target.take(7):
        taken += keys(some)
        yield ledger.stats(len(some))
        failed = len(some) // 2
        ledger.delivered(len(some) - failed, 100 * (len(some) - failed))
        yield ledger.stats(failed)
        ledger.failed(failed, 100 * failed)
        yield ledger.stats(0)


@every_policy
@pytest.mark.usefixtures("busy_threads")
def test_the_sum_holds_under_threads(overflow: str) -> None:
    """At every look, while eight threads put and one takes and settles."""
    target = buffer(max_records=40, max_bytes=3_000, overflow=overflow)
    taken: list[Any] = []
    looks: list[Stats] = []
    loggers = Loggers(target)
    while loggers.are_at_it:
        looks += ship(target, taken)
    looks += ship(target, taken)
    last = target.ledger.stats(0)
    assert all(total(stats) == stats.emitted for stats in [*looks, last])
    assert all(stats.memory <= 3_000 for stats in looks)
    assert last.emitted == THREADS * EACH
    assert last.dropped["invalid_topic"] == {"INFO": THREADS * EACH // 50}
    assert last.delivered + last.failed == len(taken)
    assert last.dropped_total == len(loggers.dropped) + THREADS * EACH // 50
    assert len({*taken, *loggers.dropped}) == len(taken) + len(loggers.dropped)
    assert target.ledger.outstanding == target.ledger.memory == 0
