"""What is held, by topic: who waits for whom, how long, and how much of it there may be."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from operator import itemgetter

from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import BrokerRejected
from kiel_logging.handler.pipeline.awaited import Awaited
from kiel_logging.handler.pipeline.item import make_item
from kiel_logging.handler.pipeline.tallies import with_awaited
from kiel_logging.handler.spooling.held import FIRST, MOST, Held
from kiel_logging.handler.spooling.placed import Placed, placed
from kiel_logging.records import Record, Undelivered

REFUSED = BrokerRejected("the broker answered no", 29)
MUCH = 10**6


class _Timer:
    """One that may be called off."""

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Don't call."""
        self.cancelled = True


class Clock:
    """Time is a number that tests add to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.delays: list[float] = []
        self._timers: list[_Timer] = []

    def later(self, delay: float, callback: Callable[[], None]) -> _Timer:
        """As a loop's call_later."""
        self.delays.append(delay)
        self._timers.append(_Timer(self.now + delay, callback))
        return self._timers[-1]

    def advance(self, seconds: float) -> None:
        """Call those whose time comes."""
        self.now += seconds
        due = [timer for timer in self._timers if timer.at <= self.now]
        self._timers = [timer for timer in self._timers if timer.at > self.now]
        for timer in due:
            if not timer.cancelled:
                timer.callback()


class Case:
    """Held, its clock, and how often it said that some may be fed."""

    def __init__(self, most_records: int = MUCH, most_bytes: int = MUCH) -> None:
        self.clock = Clock()
        self.resumed = 0
        self.held = Held(
            lambda home: int(home),
            self._resume,
            most_records=most_records,
            most_bytes=most_bytes,
            later=self.clock.later,
        )

    def _resume(self) -> None:
        self.resumed += 1

    def hold(self, *items: Placed) -> None:
        """They were refused."""
        self.held.hold(items, REFUSED)

    def take(self, most: int = 100) -> list[tuple[str, int]]:
        """Take, and name what there is."""
        return [(item.topic, item.place) for item in self.held.take(most)]

    def all_of(self, topic: str) -> list[int]:
        """Wait, take one, for which it goes well, and then the others; return their places."""
        self.clock.advance(MOST)
        places = [item.place for item in self.held.take(1)]
        self.held.went_well(topic)
        return places + [place for other, place in self.take() if other == topic]

    def let_pass(self, *items: Placed) -> list[tuple[str, int]]:
        """Name those that pass."""
        return [(item.topic, item.place) for item in self.held.let_pass(list(items))]


def one(topic: str, place: int, home: int = 0, awaited: Awaited | None = None) -> Placed:
    """An item."""
    made = make_item(topic, None, Record(None, b"v", (), 0))
    if awaited is not None:
        made = with_awaited(made, awaited)
    return placed(made, place, home)


def some(topic: str, *places: int) -> list[Placed]:
    """Several."""
    return [one(topic, place) for place in places]


# -- who waits -----------------------------------------------------------------------------------


def test_nothing_waits_while_nothing_is_held() -> None:
    """It is not even looked at."""
    case, items = Case(), some("a", 1, 2)
    assert case.held.let_pass(items) is items
    assert not case.held


def test_what_is_held_is_fed_when_its_time_comes() -> None:
    """Not before, and whoever feeds is told."""
    case = Case()
    case.hold(*some("a", 1))
    case.clock.advance(FIRST - 0.1)
    assert (case.take(), case.resumed) == ([], 0)
    case.clock.advance(0.2)
    assert (case.take(), case.resumed) == ([("a", 1)], 1)
    assert not case.held


def test_other_topics_pass() -> None:
    """What is of a held topic stays."""
    case = Case()
    case.hold(*some("a", 1))
    assert case.let_pass(*some("b", 2), *some("a", 3), *some("b", 4)) == [("b", 2), ("b", 4)]
    assert case.all_of("a") == [1, 3]


def test_one_is_tried_first() -> None:
    """All wait for what becomes of it; who feeds is told when it went well."""
    case = Case()
    case.hold(*some("a", 1, 2))
    case.clock.advance(FIRST)
    assert case.take() == [("a", 1)]
    assert case.let_pass(*some("a", 3)) == []
    assert (case.take(), case.resumed) == ([], 1)
    case.held.went_well("a")
    assert (case.take(), case.resumed) == ([("a", 2), ("a", 3)], 2)


def test_nothing_passes_the_only_one_that_is_tried() -> None:
    """Though nothing is held meanwhile."""
    case = Case()
    case.hold(*some("a", 1))
    case.clock.advance(FIRST)
    assert case.take() == [("a", 1)]
    assert case.let_pass(*some("a", 2)) == []
    case.hold(*some("a", 1))
    assert case.all_of("a") == [1, 2]


def test_when_what_is_tried_is_given_up_the_next_is_tried() -> None:
    """Nobody says that it went well, nor that it was refused."""
    case = Case()
    case.hold(*some("a", 1, 2, 3))
    case.clock.advance(FIRST)
    assert case.take() == [("a", 1)]
    case.held.ended("a")
    assert (case.take(), case.resumed) == ([("a", 2)], 2)
    case.held.ended("a")
    assert (case.take(), case.resumed) == ([("a", 3)], 3)
    case.held.ended("a")
    assert case.let_pass(*some("a", 4)) == [("a", 4)]


def test_a_topic_that_was_taken_again_passes() -> None:
    """Behind what was held of it."""
    case = Case()
    case.hold(*some("a", 1), *some("b", 2))
    assert case.all_of("a") == [1]
    assert case.let_pass(*some("a", 3), *some("b", 4)) == [("a", 3)]


def test_what_goes_well_while_it_waits() -> None:
    """Is another partition: it goes on to wait."""
    case = Case()
    case.hold(*some("a", 1))
    case.held.went_well("a")
    case.held.ended("a")
    assert (case.take(), case.let_pass(*some("a", 2))) == ([], [])


def test_it_may_be_refused_after_it_went_well() -> None:
    """Then all that is left waits again, and one is tried again."""
    case = Case()
    case.hold(*some("a", 1, 2, 3))
    case.clock.advance(FIRST)
    case.take()
    case.held.went_well("a")
    assert case.take(1) == [("a", 2)]
    case.hold(*some("a", 2))
    assert case.take() == []
    case.clock.advance(FIRST)
    assert case.take() == [("a", 2)]


def test_what_did_not_fit_comes_next() -> None:
    """It is still in front of whatever is newer."""
    case = Case()
    case.hold(*some("a", 1, 2, 3))
    case.clock.advance(FIRST)
    assert case.take(0) == []
    assert case.take(1) == [("a", 1)]
    case.held.went_well("a")
    assert case.take(1) == [("a", 2)]
    assert case.let_pass(*some("a", 4)) == []
    assert case.take() == [("a", 3), ("a", 4)]


def test_what_is_refused_again_comes_in_front_of_what_stands_behind() -> None:
    """However it comes back."""
    case = Case()
    case.hold(*some("a", 2))
    case.let_pass(*some("a", 3))
    case.hold(*some("a", 1))
    assert case.all_of("a") == [1, 2, 3]


def test_the_dead_come_first() -> None:
    """Places are those of a file: homes have an order, too."""
    case = Case()
    case.hold(one("a", 1, home=2), one("a", 7, home=1), one("a", 9, home=0))
    assert case.all_of("a") == [9, 7, 1]


# -- how long ------------------------------------------------------------------------------------


def test_each_time_it_waits_longer() -> None:
    """Up to a minute; a success is a new beginning."""
    case = Case()
    for _ in range(7):
        case.hold(*some("a", 1))
        case.clock.advance(MOST)
        assert case.take() == [("a", 1)]
    assert case.clock.delays == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    case.held.went_well("a")
    case.hold(*some("a", 1))
    assert case.clock.delays[-1] == FIRST


def test_what_was_under_way_at_the_same_time_does_not_prolong_it() -> None:
    """Two batches that are refused are one time."""
    case = Case()
    case.hold(*some("a", 1))
    case.hold(*some("a", 2))
    assert case.clock.delays == [FIRST]


def test_each_topic_has_its_own_delay() -> None:
    """What goes well for one says nothing of another."""
    case = Case()
    for _ in range(3):
        case.hold(*some("a", 1), *some("b", 2))
        case.clock.advance(MOST)
        case.take()
        case.held.went_well("b")
    assert case.clock.delays == [2.0, 2.0, 4.0, 2.0, 8.0, 2.0]


def test_each_topic_has_its_own_timer() -> None:
    """One that is refused later waits longer."""
    case = Case()
    case.hold(*some("a", 1))
    case.clock.advance(FIRST / 2)
    case.hold(*some("b", 2))
    case.clock.advance(FIRST / 2)
    assert case.take() == [("a", 1)]
    case.clock.advance(FIRST / 2)
    assert case.take() == [("b", 2)]


# -- how much ------------------------------------------------------------------------------------


def test_there_is_room_for_so_many_records() -> None:
    """Refused or behind them; and again when they are fed."""
    case = Case(most_records=4)
    assert case.held.room == 4
    case.hold(*some("a", 1, 2))
    case.let_pass(*some("a", 3))
    assert case.held.room == 1
    case.hold(*some("b", 4, 5))
    assert case.held.room == 0
    case.all_of("a")
    assert case.held.room == 3  # one of b is tried as well
    case.held.rest()
    assert case.held.room == 4


def test_there_is_room_for_so_many_bytes() -> None:
    """Whichever is reached first."""
    each = one("a", 1).memory
    case = Case(most_bytes=2 * each)
    case.hold(*some("a", 1))
    assert case.held.room == MUCH - 1
    case.let_pass(*some("a", 2))
    assert case.held.room == 0
    case.clock.advance(FIRST)
    case.take(1)
    assert case.held.room == MUCH - 1


# -- who is told ---------------------------------------------------------------------------------


def test_whoever_awaits_it_is_told_why() -> None:
    """What was refused, and what stands behind it; the last reason counts."""
    record = logging.makeLogRecord({"msg": "paid"})
    front, behind, other = (Awaited(record, ()) for _ in range(3))
    case = Case()
    case.hold(one("a", 1, awaited=front))
    case.held.let_pass([one("a", 2, awaited=behind), one("b", 3, awaited=other)])
    for each in (front, behind):
        assert "BrokerRejected: the broker answered no" in _reason(each)
    assert "slow or away" in _reason(other)
    case.held.hold([one("a", 0)], BrokerRejected("not any more", 29))
    for each in (front, behind):
        assert "not any more" in _reason(each)


def _reason(awaited: Awaited) -> str:
    end = awaited.end(1.0)
    assert isinstance(end, Undelivered)
    return end.reason


# -- the end -------------------------------------------------------------------------------------


def test_the_rest() -> None:
    """All of it, whether its time has come or not, and once."""
    case = Case()
    case.hold(*some("a", 1))
    case.clock.advance(FIRST)
    case.hold(*some("b", 2))
    case.let_pass(*some("a", 3))
    assert [item.place for item in case.held.rest()] == [1, 3, 2]
    assert (case.held.rest(), bool(case.held)) == ([], False)


def test_when_it_is_closed_nobody_is_told_any_more() -> None:
    """Of any topic."""
    case = Case()
    case.hold(*some("a", 1), *some("b", 2))
    case.held.close()
    case.clock.advance(MOST)
    assert case.resumed == 0


# -- the law -------------------------------------------------------------------------------------

topics = st.sampled_from("abc")
steps = st.one_of(
    st.tuples(st.just("feed"), st.integers(1, 5)),
    st.tuples(st.just("refuse"), topics),
    st.tuples(st.just("deliver"), topics),
    st.tuples(st.just("wait"), st.sampled_from([1, 2, 70])),
)


class Feed:
    """Takes from a source, and is refused or not."""

    def __init__(self, case: Case, source: list[Placed]) -> None:
        self.case = case
        self.source = deque(source)
        self.items: list[Placed] = []
        self.arrived: list[Placed] = []

    def __bool__(self) -> bool:
        return bool(self.source or self.items or self.case.held)

    def feed(self, most: int) -> None:
        """Take what comes next."""
        held = self.case.held
        self.items += held.take(most)
        room = min(most, held.room, len(self.source))
        self.items += held.let_pass([self.source.popleft() for _ in range(room)])

    def refuse(self, topic: str) -> None:
        """All of it comes back."""
        self.case.hold(*(item for item in self.items if item.topic == topic))
        self.items = [item for item in self.items if item.topic != topic]

    def deliver(self, topic: str) -> None:
        """One of it arrives."""
        found = next((item for item in self.items if item.topic == topic), None)
        if found is not None:
            self.items.remove(found)
            self.arrived.append(found)
            self.case.held.went_well(topic)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.case.clock.advance(seconds)


@given(st.lists(topics, max_size=30), st.lists(steps, max_size=40), st.integers(1, 8))
def test_the_order_of_each_topic_holds(
    logged: list[str], happened: list[tuple[str, int | str]], most: int
) -> None:
    """Whatever is refused, and when; and nothing is lost."""
    feed = Feed(Case(most_records=most), [one(topic, n) for n, topic in enumerate(logged)])
    for name, argument in happened:
        getattr(feed, name)(argument)
    while feed:
        feed.wait(MOST)
        feed.feed(5)
        for topic in "abc":
            feed.deliver(topic)
    arrived = [(item.topic, item.place) for item in feed.arrived]
    in_order = sorted(zip(logged, range(len(logged)), strict=True))
    assert sorted(arrived, key=itemgetter(0)) == in_order
