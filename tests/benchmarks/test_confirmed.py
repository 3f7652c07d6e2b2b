"""What is not delivered, or not stored, does not count."""

from __future__ import annotations

import logging

import pytest

from benchmarks.measures.confirmed import NotDelivered, confirm
from benchmarks.running import checked


class Acknowledging:
    """A way to log of which so many records are acknowledged, whatever is logged."""

    handler = logging.NullHandler()

    def __init__(self, acknowledged: int, *, ships: bool = True) -> None:
        self.acknowledged = acknowledged
        self.ships = ships

    def drain(self, seconds: float) -> int:
        """Return it at once."""
        return self.acknowledged


@pytest.mark.parametrize("acknowledged", [0, 9, 11])
def test_a_record_too_few_or_too_many_ends_the_measurement(acknowledged: int) -> None:
    """The error has both numbers."""
    with pytest.raises(NotDelivered, match=f"{acknowledged} of 10 records"):
        confirm(Acknowledging(acknowledged), 10)


@pytest.mark.parametrize("peer", [Acknowledging(10), Acknowledging(0, ships=False)])
def test_all_acknowledged_or_none_shipped_is_fine(peer: Acknowledging) -> None:
    """NullHandler has nothing to wait for."""
    confirm(peer, 10)


@pytest.mark.parametrize("stored", [0, 9, 11])
def test_figures_do_not_count_where_the_broker_stores_something_else(stored: int) -> None:
    """Not even more: a record stored twice is no better."""
    figures = checked({"p50": 1.0, "stored": 10}, lambda: stored)
    assert figures == {"error": f"10 records were acknowledged, {stored} are stored"}


def test_figures_count_where_the_broker_agrees() -> None:
    """The number of records is no figure."""
    assert checked({"p50": 1.0, "stored": 10}, lambda: 10) == {"p50": 1.0}


def test_the_broker_is_not_asked_for_what_is_not_shipped() -> None:
    """There may be no topic."""

    def stored() -> int:
        raise AssertionError("asked")

    assert checked({"p50": 1.0, "stored": 0}, stored) == {"p50": 1.0}
