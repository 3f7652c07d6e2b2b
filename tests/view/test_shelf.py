"""The newest records, which of them pass, and how many are kept."""

from __future__ import annotations

import json

import pytest

from kiel_logging.tail.entries import entries
from kiel_logging.tail.filters import Filters
from kiel_logging.tail.gaps import Gap
from kiel_logging.view.shelf import MOST_AT_ONCE, Finds, Shelf
from tests.tail.sample import AT, INSTANCE, TIME, arrival

FINDS = Finds()
ALL = Filters()


def put(shelf: Shelf, *texts: str, **headers: str) -> None:
    """Put records on the shelf."""
    for text in texts:
        came = arrival(text.encode(), **headers)
        shelf.add(FINDS.record(came, entries(came)[0], is_repeat=False))


def messages(shelf: Shelf, filters: Filters = ALL, after: int = 0) -> list[str]:
    """The messages of the newest records."""
    return [one["message"] for one in shelf.newest(filters, after)["records"]]


def test_a_page_asks_for_what_is_new() -> None:
    """It names the id up to which it has all."""
    shelf = Shelf()
    put(shelf, "a", "b")
    assert messages(shelf) == ["a", "b"]
    after = shelf.newest(ALL, 0)["next"]
    assert messages(shelf, after=after) == []
    put(shelf, "c")
    assert messages(shelf, after=after) == ["c"]


def test_filters_choose_among_all_that_is_there() -> None:
    """A page that has not asked before gets the newest that pass."""
    shelf = Shelf()
    put(shelf, "ERROR:a:first", *["INFO:a:x"] * (MOST_AT_ONCE + 1))
    assert messages(shelf, Filters(level=40)) == ["first"]
    assert messages(shelf) == ["x"] * MOST_AT_ONCE


def test_gaps_pass_every_filter() -> None:
    """They are in the order in which they were found."""
    shelf = Shelf()
    shelf.add(FINDS.gap(Gap("shop.app", INSTANCE, 3, 4)))
    assert shelf.newest(Filters(level=50), 0)["records"] == [
        {"id": 1, "gap": {"topic": "shop.app", "instance": INSTANCE, "first": 3, "last": 4}}
    ]


def test_the_oldest_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by the number of records and by their size."""
    monkeypatch.setattr("kiel_logging.view.shelf.MOST_RECORDS", 2)
    shelf = Shelf()
    put(shelf, "a", "b", "c")
    assert messages(shelf) == ["b", "c"]
    monkeypatch.setattr("kiel_logging.view.shelf.MOST_BYTES", 6_000)
    put(shelf, "d" * 3_000)
    assert messages(shelf) == ["c", "d" * 2_000]
    put(shelf, "e" * 3_000)
    assert messages(shelf) == ["e" * 2_000]


def test_all_of_a_record() -> None:
    """Its headers, key and value too; None is left for a place where none is."""
    shelf = Shelf()
    document = {"message": "m", "order": {"id": 17}, "exception": {"traceback": "T"}}
    put(shelf, json.dumps(document), instance=INSTANCE, sequence="7")
    [whole] = shelf.at(AT, 17)
    assert whole == {
        "topic": "shop.app",
        "partition": 2,
        "offset": 17,
        "time": TIME,
        "level": "",
        "severity": None,
        "logger": "",
        "message": "m",
        "fields": [("order.id", "17"), ("exception.traceback", "T")],
        "key": "ada",
        "value": json.dumps(document),
        "timestamp": 1_700_000_000_123,
        "headers": [("kiel-instance", INSTANCE), ("kiel-sequence", "7")],
        "repeat": False,
    }
    assert shelf.at(AT, 18) == []
