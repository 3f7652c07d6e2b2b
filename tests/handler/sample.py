"""Items to put, and what must be true of a ledger."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from kiel_logging.handler.ledger import Stats
from kiel_logging.record.item import Item
from kiel_logging.records import Record

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR

POLICIES = ("drop_newest", "drop_oldest", "drop_lowest", "block")


def item(number: Any = 0, memory: int = 100, level: int = INFO) -> Item:
    """An item that tests recognise by its key."""
    return Item("logs", number, Record(None, str(number).encode(), (), 0), 50, memory, level)


def keys(items: Sequence[Item]) -> list[Any]:
    """Return the keys of items."""
    return [one.key for one in items]


def total(stats: Stats) -> int:
    """What ``emitted`` must always be."""
    ended = stats.delivered + stats.dropped_total + stats.left_out_total + stats.failed
    return ended + stats.buffered + stats.in_flight
