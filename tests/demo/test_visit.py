"""The shop's events."""

import logging
from itertools import chain
from random import Random

import pytest

from kiel_logging.demo.shop import PaymentError, charge, visit

_RESERVED = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_HANDLERS_OWN = {"time", "level", "logger", "function", "line", "path", "host", "exception"}


@pytest.fixture(scope="module")
def events():
    """Return the events of a thousand visits."""
    return list(chain.from_iterable(visit(Random(seed)) for seed in range(1_000)))


def test_the_same_seed_gives_the_same_events():
    """Two visits of one seed are equal, and those of two seeds are not."""
    one, other, third = (list(visit(Random(seed))) for seed in (7, 7, 8))
    assert one == other
    assert one != third


def test_a_visit_is_of_one_visitor():
    """All events of a visit have one user and one session."""
    for number in range(50):
        events = list(visit(Random(number)))
        assert len({(one.extra["user_id"], one.extra["session"]) for one in events}) == 1


def test_the_shop_has_good_and_bad_days(events):
    """Every logger, every level and failures come up in a thousand visits."""
    names = ("access", "audit", "cart", "catalog", "checkout", "payments")
    assert {event.logger for event in events} == {f"shop.{name}" for name in names}
    assert {event.level for event in events} == {logging.INFO, logging.WARNING, logging.ERROR}
    assert any(event.fails for event in events)


def test_fields_collide_with_nothing(events):
    """No field is one that logging refuses or that the handler writes itself."""
    for event in events:
        assert not event.extra.keys() & (_RESERVED | _HANDLERS_OWN | {"record_id"})


def test_messages_fit_their_arguments(events):
    """Each message can be formatted."""
    assert all(event.message % event.args for event in events)


def test_failures_are_exceptions_with_causes():
    """A payment that fails names its order, and has a cause."""
    with pytest.raises(PaymentError, match="o-17: no answer") as caught:
        charge("o-17")
    assert isinstance(caught.value.__cause__, TimeoutError)
