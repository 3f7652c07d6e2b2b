"""The ledger's numbers, and their sums."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from kiel_logging.handler.ledger import Stats

STATS = Stats(
    emitted=20,
    delivered=5,
    dropped={"buffer_full": {"DEBUG": 3, "INFO": 2}, "closed": {"INFO": 1}},
    failed=4,
    buffered=3,
    in_flight=2,
    memory=500,
)


def test_dropped_total() -> None:
    """Over all reasons and levels."""
    assert STATS.dropped_total == 6


def test_undelivered() -> None:
    """Lost, or still on the way."""
    assert STATS.undelivered == 15


def test_numbers_of_what_not_every_handler_has() -> None:
    """No fallback took anything, nothing was diverted."""
    assert (STATS.fallback, STATS.diverted) == (0, 0)


def test_stats_are_of_one_moment() -> None:
    """They don't change."""
    with pytest.raises(FrozenInstanceError):
        STATS.emitted = 1  # type: ignore[misc]
