"""The shop's events."""

import logging
from collections import Counter
from itertools import islice
from random import Random

import pytest

from kiel_logging.demo.payments import CardDeclined, PaymentError, ProviderTimeout
from kiel_logging.demo.traffic import visit, visits

_RESERVED = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_HANDLERS_OWN = {"time", "level", "logger", "function", "line", "path", "host", "exception"}


def test_the_same_seed_gives_the_same_events():
    """Two generators of one seed yield equal events."""
    one, other = (list(islice(visits(Random("7/0")), 2_000)) for _ in range(2))
    assert one == other


def test_another_seed_gives_other_events():
    """Threads, whose seeds differ, don't log the same visitors."""
    one, other = (list(islice(visits(Random(seed)), 50)) for seed in ("7/0", "7/1"))
    assert one != other


def test_a_visit_is_of_one_visitor():
    """All events of a visit carry one user and one session."""
    for number in range(50):
        events = list(visit(Random(number)))
        assert len({(event.extra["user_id"], event.extra["session"]) for event in events}) == 1


def test_the_shop_has_good_and_bad_days():
    """Every logger, every level and both kinds of failure come up in a few thousand events."""
    events = list(islice(visits(Random(1)), 20_000))
    loggers = Counter(event.logger for event in events)
    assert set(loggers) == {
        "shop.access",
        "shop.audit",
        "shop.cart",
        "shop.catalog",
        "shop.checkout",
        "shop.payments",
    }
    assert {event.level for event in events} == {logging.INFO, logging.WARNING, logging.ERROR}
    assert len({event.fails for event in events}) == 3


def test_fields_collide_with_nothing():
    """No extra field is one that logging refuses or that the handler writes itself."""
    for event in islice(visits(Random(1)), 5_000):
        assert not event.extra.keys() & (_RESERVED | _HANDLERS_OWN | {"record_id"})


def test_messages_fit_their_arguments():
    """Each message can be formatted."""
    for event in islice(visits(Random(1)), 5_000):
        assert event.message % event.args


def test_failures_are_exceptions_with_causes():
    """The payments that fail raise, and a time-out tells the one beneath it."""
    failing = [event for event in islice(visits(Random(1)), 20_000) if event.fails is not None]
    raised = set()
    for event in failing:
        with pytest.raises(PaymentError) as caught:
            event.fails(event.extra["order_id"], event.extra["amount"])
        assert event.extra["order_id"] in str(caught.value)
        raised.add((caught.type, type(caught.value.__cause__)))
    assert raised == {(CardDeclined, type(None)), (ProviderTimeout, TimeoutError)}
