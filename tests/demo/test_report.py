"""The text that shows a run: it fits a narrow terminal, which records can't control."""

import json

import pytest

from kiel_logging.demo.cluster import Cluster
from kiel_logging.demo.day import Day
from kiel_logging.demo.reader import Arrival, Tally
from kiel_logging.demo.report import report
from kiel_logging.demo.shop import plan
from kiel_logging.records import TopicPartition

EVIL = "\x1b]0;title\x07\x1b[2J\u202e\x9b31m"


def _shown(logged, *arrivals):
    phases = plan(len(logged) * 20_000, rate=1_000)
    for phase in phases:
        phase.took += [12_345.6 + number % 10 for number in phase.ids]
    day = Day(Cluster("a:1"), phases, {}, Tally(logged, arrivals))
    return "\n".join(report(day))


def _arrival(key=None, **fields):
    value = json.dumps(fields).encode()
    at = TopicPartition("shop.app", 0)
    return Arrival(at, 0, key, 7, "s", len(value), 123.4567, value)


def test_a_record_is_shown_whole():
    """With its key and its place, and a traceback with its lines."""
    error = {"type": "E", "traceback": "Traceback:\n  line 1"}
    text = _shown([("shop.app", 7)], _arrival(b"key-1", message="grüße", exception=error))
    for part in ("shop.app[0], offset 0, key key-1:", "message", "grüße", "Traceback:\n", "line 1"):
        assert part in text


def test_a_record_can_not_control_the_terminal():
    """Its key, the names of its fields and their values are escaped."""
    text = _shown([], _arrival(EVIL.encode(), **{EVIL: EVIL, "list": [EVIL], "d": {EVIL: EVIL}}))
    assert not {"\x1b", "\u202e", "\x9b", "\x07"} & set(text)
    assert r"\x1b]0;title\x07" in text


def test_tables_fit_60_columns():
    """So do all other lines but those of the records, even with large numbers."""
    text = _shown([("shop.app", 7)] * 50, _arrival())
    assert max(map(len, text.split("\n"))) <= 60


@pytest.mark.parametrize(
    ("logged", "opening"),
    [([("shop.app", 7)], "Every record"), ([("shop.app", 7), ("shop.app", 8)], "NOT every record")],
)
def test_the_verdict_comes_last(logged, opening):
    """It begins with whether all is well."""
    last = _shown(logged, _arrival()).rpartition("\n\n")[2]
    assert last.startswith(f"{opening} arrived exactly once: ")
