"""Which place comes next, and what is given up in front of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.handler.spooling.places import Places


def test_places_come_one_after_the_other() -> None:
    """From 1."""
    places = Places()
    assert places.next == 1
    assert not places.feed(1)
    assert (places.fed, places.next) == (1, 2)


def test_what_stays_empty_is_stepped_over() -> None:
    """Whether it was known before it was its turn or not."""
    places = Places()
    places.stays_empty(2)
    places.stays_empty(3)
    assert places.next == 1
    places.feed(1)
    assert places.next == 4


def test_what_is_skipped_is_given_up() -> None:
    """But what stays empty: that is counted elsewhere."""
    places = Places()
    places.stays_empty(2)
    assert places.skip_to(5) == 3
    assert places.next == 5


def test_nothing_in_front() -> None:
    """Nothing to give up."""
    places = Places()
    places.feed(1)
    assert places.skip_to(2) == 0
    assert places.next == 2


def test_what_was_given_up_and_turns_up() -> None:
    """Is told by what is fed, which goes no step back."""
    places = Places()
    places.skip_to(4)
    assert places.feed(4) is False
    assert places.feed(2) is True
    assert places.fed == 4


_SOME = st.sets(st.integers(1, 60))


@given(empty=_SOME, lost=_SOME, late=_SOME)
def test_each_place_has_one_end(empty: set[int], lost: set[int], late: set[int]) -> None:
    """Fed, empty or given up; what was given up and is fed after all is told each time."""
    places, given_up, told = Places(), 0, 0
    lost -= empty
    late &= lost
    for place in empty:
        places.stays_empty(place)
    fed = [place for place in range(1, 62) if place not in empty | lost]
    for place in fed:
        if place > places.next:
            given_up += places.skip_to(place)
        assert places.next == place
        told += places.feed(place)
    assert (given_up, told) == (len(lost), 0)
    assert [places.feed(place) for place in sorted(late)] == [True] * len(late)
