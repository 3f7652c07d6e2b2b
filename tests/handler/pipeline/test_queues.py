"""Who has to go when there is no room: each policy, against a model made of lists."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kiel_logging.handler.buffer import Buffer, Counts, Lowest, Newest, Oldest, Queue
from kiel_logging.record.item import Item
from tests.handler.pipeline.interruption import Trial, interrupt_everywhere
from tests.handler.pipeline.sample import DEBUG, ERROR, INFO, WARNING, item, keys, total
from tests.support.examples import examples

every_queue = pytest.mark.parametrize("make", [Newest, Oldest, Lowest])


def counts() -> Any:
    """Somebody who counts."""
    return Counts(10**9, 10**9, 1)


def filled(make: Callable[[], Queue], *items: tuple[str, int, int]) -> Queue:
    """A queue of (key, level, memory)."""
    queue = make()
    for key, level, memory in items:
        queue.append(item(key, memory, level), counts())
    return queue


def rest(queue: Queue) -> list[Any]:
    """What is still there."""
    return keys(queue.take(99))


# -- drop_newest -----------------------------------------------------------------------------------


def test_newest_sheds_nothing() -> None:
    """Who comes too late does not get in, whatever his level."""
    queue = filled(Newest, ("a", DEBUG, 100))
    assert queue.shed(item("new", 100, ERROR), 1, 100) == []
    assert rest(queue) == ["a"]


# -- drop_oldest -----------------------------------------------------------------------------------

FOUR = [("a", ERROR, 100), ("b", DEBUG, 50), ("c", INFO, 10), ("d", INFO, 300)]


@pytest.mark.parametrize(
    ("records", "memory", "shed"),
    [
        pytest.param(1, -500, "a", id="one record"),
        pytest.param(3, 0, "abc", id="three records"),
        pytest.param(0, 100, "a", id="just as many bytes"),
        pytest.param(0, 101, "ab", id="one byte more"),
        pytest.param(3, 120, "abc", id="more records than bytes"),
        pytest.param(1, 155, "abc", id="more bytes than records"),
        pytest.param(4, 460, "abcd", id="all"),
        pytest.param(5, 0, "", id="more records than there are"),
        pytest.param(1, 461, "", id="more bytes than there are"),
    ],
)
def test_oldest_sheds_just_enough(records: int, memory: int, shed: str) -> None:
    """Those that came first, whatever their level; or none, when that would not be enough."""
    queue = filled(Oldest, *FOUR)
    assert keys(queue.shed(item("new", level=DEBUG), records, memory)) == list(shed)
    assert rest(queue) == [key for key in "abcd" if key not in shed]


def test_oldest_counts_only_what_is_still_queued() -> None:
    """Bytes that the reader took are beyond its reach, and so is what was shed before."""
    queue = filled(Oldest, *FOUR)
    queue.take(1)
    queue.shed(item(), 1, 0)
    assert queue.shed(item(), 0, 311) == []
    assert keys(queue.shed(item(), 0, 310)) == ["c", "d"]


# -- drop_lowest -----------------------------------------------------------------------------------

EIGHT = [
    ("d1", DEBUG, 100),
    ("i1", INFO, 100),
    ("w1", WARNING, 100),
    ("d2", DEBUG, 50),
    ("e1", ERROR, 100),
    ("i2", INFO, 30),
    ("d3", DEBUG, 20),
    ("w2", WARNING, 100),
]


@pytest.mark.parametrize(
    ("level", "records", "memory", "shed"),
    [
        pytest.param(ERROR, 1, 0, "d3", id="the newest of the lowest level"),
        pytest.param(INFO, 3, 0, "d3 d2 d1", id="one level"),
        pytest.param(WARNING, 4, 0, "d3 d2 d1 i2", id="then the next level"),
        pytest.param(ERROR, 6, 0, "d3 d2 d1 i2 i1 w2", id="and the next"),
        pytest.param(ERROR, 0, 70, "d3 d2", id="just as many bytes"),
        pytest.param(ERROR, 0, 71, "d3 d2 d1", id="one byte more"),
        pytest.param(ERROR, 2, 171, "d3 d2 d1 i2", id="bytes over levels"),
        pytest.param(DEBUG, 1, 0, "", id="not its own level"),
        pytest.param(INFO, 4, 0, "", id="not its own level, nor only a part of what is needed"),
        pytest.param(WARNING, 1, 301, "", id="fewer bytes than are needed"),
        pytest.param(25, 5, 0, "d3 d2 d1 i2 i1", id="a level of the program's own, in between"),
        pytest.param(ERROR, 8, 0, "", id="never an ERROR"),
        pytest.param(ERROR + 1, 8, 0, "d3 d2 d1 i2 i1 w2 w1 e1", id="but for what is higher"),
    ],
)
def test_lowest_sheds_just_enough(level: int, records: int, memory: int, shed: str) -> None:
    """Lower levels than its own, the lowest first, of each the newest first."""
    queue = filled(Lowest, *EIGHT)
    assert keys(queue.shed(item("new", level=level), records, memory)) == shed.split()
    assert rest(queue) == [key for key, *_ in EIGHT if key not in shed.split()]


def test_lowest_counts_only_what_is_still_queued() -> None:
    """Bytes that the reader took are beyond its reach, and so is what was shed before."""
    queue = filled(Lowest, *EIGHT)
    queue.take(2)
    queue.shed(item(level=ERROR), 1, 0)
    assert queue.shed(item(level=WARNING), 0, 81) == []
    assert keys(queue.shed(item(level=WARNING), 0, 80)) == ["d2", "i2"]


# -- the reader and those that log, at the same time -----------------------------------------------


class Notes:
    """What was appended, taken and shed, in the order of each."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.appended: list[int] = []
        self.taken: list[Item] = []
        self.shed: list[Item] = []

    def append(self, level: int) -> None:
        """Its key is its place among all."""
        number = len(self.appended)
        self.appended.append(number)
        self.queue.append(item(number, 100, level), counts())

    def make_room(self) -> None:
        """Two go for an ERROR, if the policy lets them."""
        self.shed += self.queue.shed(item(level=ERROR), 2, 200)

    def take(self, most: int) -> None:
        """As the reader does."""
        self.taken += self.queue.take(most)

    def check(self) -> None:
        """Nothing was lost or doubled, and each level left in its order."""
        self.take(len(self.appended))
        assert sorted(keys([*self.taken, *self.shed])) == self.appended
        assert len(self.queue) == 0
        assert self.queue.passed(self.queue.mark())
        for level in (DEBUG, INFO, WARNING, ERROR):
            numbers = keys([one for one in self.taken if one.level == level])
            assert numbers == sorted(numbers)


@every_queue
def test_shedding_while_the_reader_takes(make: Callable[[], Queue]) -> None:
    """At any moment of its taking."""

    def trial() -> Trial:
        notes = Notes(make())
        for level in (INFO, DEBUG, DEBUG, INFO, WARNING):
            notes.append(level)

        def log() -> None:
            notes.make_room()
            notes.append(DEBUG)
            notes.append(ERROR)

        return Trial(lambda: notes.take(3), log, notes.check)

    assert interrupt_everywhere(trial) >= 4


@every_queue
def test_taking_while_somebody_sheds(make: Callable[[], Queue]) -> None:
    """At any moment of his shedding."""

    def trial() -> Trial:
        notes = Notes(make())
        for level in (INFO, DEBUG, DEBUG, INFO, WARNING):
            notes.append(level)
        return Trial(notes.make_room, lambda: notes.take(4), notes.check)

    assert interrupt_everywhere(trial) >= 2


@pytest.mark.parametrize("new", [0, 1, 2])
def test_a_head_that_changes_under_the_reader(new: int) -> None:
    """Others may be older than what it finds in the place of the one that it chose, if anything."""

    def trial() -> Trial:
        notes = Notes(Lowest())
        notes.append(DEBUG)
        notes.append(INFO)

        def replace_the_debug_one() -> None:
            notes.shed += notes.queue.shed(item(level=INFO), 1, 0)
            for _ in range(new):
                notes.append(DEBUG)

        def check() -> None:
            notes.check()
            assert keys(notes.taken) == sorted(keys(notes.taken))

        return Trial(lambda: notes.take(3), replace_the_debug_one, check)

    assert interrupt_everywhere(trial) >= 4


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Threads take turns a hundred times as often as usual."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 100)
    yield
    sys.setswitchinterval(interval)


@every_queue
@pytest.mark.usefixtures("busy_threads")
def test_the_reader_needs_no_lock(make: Callable[[], Queue]) -> None:
    """Four threads append and shed, one at a time; the reader takes whenever it likes."""
    notes, lock = Notes(make()), threading.Lock()

    def log() -> None:
        for number in range(1_000):
            with lock:
                notes.append((DEBUG, INFO, WARNING, ERROR)[number * 7 % 4])
                if len(notes.queue) > 20:
                    notes.make_room()

    threads = [threading.Thread(target=log) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        notes.take(7)
    notes.check()
    assert len(notes.appended) == 4_000


# -- the policies in the buffer, against lists ---------------------------------------------------


def none(queued: list[Item], new: Item) -> list[Item]:
    """Nobody goes."""
    return []


def oldest_first(queued: list[Item], new: Item) -> list[Item]:
    """In the order in which they came."""
    return queued


def lowest_first(queued: list[Item], new: Item) -> list[Item]:
    """Lower levels than the new one's; of each the newest first."""
    lower = [one for one in reversed(queued) if one.level < new.level]
    return sorted(lower, key=lambda one: one.level)


def enough(candidates: list[Item], records: int, memory: int) -> list[Item]:
    """As few of the first ones as will do; none, if all would not."""
    for count in range(len(candidates) + 1):
        chosen = candidates[:count]
        if count >= records and sum(one.memory for one in chosen) >= memory:
            return chosen
    return []


class AnyOrder(RuleBasedStateMachine):
    """Whatever the threads do, in any order, one at a time."""

    overflow: str
    candidates: Callable[[list[Item], Item], list[Item]]

    @initialize(max_records=st.integers(0, 8), max_bytes=st.integers(0, 1000))
    def start(self, max_records: int, max_bytes: int) -> None:
        """Small bounds, so that they are met."""
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
        self.emitted = self.ended = self.dropped = self.left = 0
        self.marks: list[tuple[int, list[Item]]] = []

    @property
    def outstanding(self) -> list[Item]:
        return self.queued + self.taken

    def missing(self, new: Item) -> tuple[int, int]:
        """Records and bytes that are in its way."""
        memory = sum(one.memory for one in self.outstanding)
        return (
            len(self.outstanding) + 1 - self.max_records,
            memory + new.memory - self.max_bytes,
        )

    @rule(memory=st.integers(0, 400), level=st.sampled_from([DEBUG, INFO, WARNING, ERROR]))
    def put(self, memory: int, level: int) -> None:
        """There is room, or it is made, or there is none."""
        new = item(self.emitted, memory, level)
        shed: list[Item] = []
        if max(self.missing(new)) > 0:
            shed = enough(type(self).candidates(self.queued, new), *self.missing(new))
        self.queued = [one for one in self.queued if one not in shed]
        fits = max(self.missing(new)) <= 0
        self.wakes.clear()
        assert list(self.buffer.put(new)) == (shed if fits else [new])
        self.emitted += 1
        self.dropped += len(shed) if fits else 1
        if fits:
            self.queued.append(new)
        assert self.wakes == self.expected_wakes(fits, bool(shed))

    def expected_wakes(self, fits: bool, shed: bool) -> list[bool]:
        """When it is the first, and when a batch is full that was not full before."""
        if fits and len(self.queued) == 3 and not shed:
            return [True]
        return [False] if fits and len(self.queued) == 1 else []

    @rule(memory=st.integers(0, 400))
    def put_own(self, memory: int) -> None:
        """Whatever the bounds."""
        new = item(self.emitted, memory, WARNING)
        assert self.buffer.put_own(new)
        self.emitted += 1
        self.queued.append(new)

    @rule()
    def drop(self) -> None:
        """It never became an item."""
        self.buffer.drop("unserialisable", INFO)
        self.emitted += 1
        self.dropped += 1

    @rule(most=st.integers(0, 5))
    def take(self, most: int) -> None:
        """The oldest."""
        taken = self.buffer.take(most)
        assert taken == self.queued[:most]
        self.taken += taken
        del self.queued[:most]

    @precondition(lambda self: self.taken)
    @rule(delivered=st.booleans())
    def end(self, delivered: bool) -> None:
        """One way or the other."""
        one = self.taken.pop()
        (self.buffer.delivered if delivered else self.buffer.failed)(1, one.memory)
        self.ended += 1

    @rule()
    def mark(self) -> None:
        """Somebody flushes."""
        self.marks.append((self.buffer.mark(), list(self.queued)))

    @invariant()
    def marks_are_passed_when_all_before_them_left(self) -> None:
        """Taken or shed."""
        for mark, before in self.marks:
            assert self.buffer.passed(mark) == (not any(one in self.queued for one in before))

    @invariant()
    def the_sum_holds(self) -> None:
        """And the counts are those of the lists."""
        stats = self.buffer.stats(in_flight=len(self.taken))
        assert total(stats) == stats.emitted == self.emitted
        assert stats.dropped_total == self.dropped
        assert stats.delivered + stats.failed == self.ended
        assert (stats.buffered, stats.in_flight) == (len(self.queued), len(self.taken))
        assert stats.memory == sum(one.memory for one in self.outstanding)


def case(overflow: str, candidates: Callable[[list[Item], Item], Sequence[Item]]) -> Any:
    """The machine for one policy."""
    machine = type(
        f"AnyOrder_{overflow}",
        (AnyOrder,),
        {"overflow": overflow, "candidates": staticmethod(candidates)},
    )
    machine.TestCase.settings = examples(60, stateful_step_count=30)
    return machine.TestCase


class TestNewest(case("drop_newest", none)):  # type: ignore[misc]
    """Nobody goes."""


class TestOldest(case("drop_oldest", oldest_first)):  # type: ignore[misc]
    """Those that wait longest go."""


class TestLowest(case("drop_lowest", lowest_first)):  # type: ignore[misc]
    """DEBUG goes first."""


class TestBlock(case("block", none)):  # type: ignore[misc]
    """With no patience at all: as drop_newest."""
