"""Counting what came back: it has to find what is planted."""

import math

import pytest

from kiel_logging.demo.reader import Arrival, Tally, percentile
from kiel_logging.records import TopicPartition

_P0, _P1 = TopicPartition("shop.app", 0), TopicPartition("shop.app", 1)


def _arrival(record_id, *, partition=_P0, offset=0, key=None, session="s"):
    return Arrival(partition, offset, key, record_id, session, 100, 0.1, b"")


def _logged(*ids, topic="shop.app"):
    return [(topic, number) for number in ids]


@pytest.mark.parametrize(
    ("logged", "came", "lost", "extra"),
    [
        (range(10), range(10), 0, 0),
        (range(10), [1, 2, 3, 4, 6, 7, 8], 3, 0),
        (range(3), [0, 1, 1, 1, 2], 0, 2),
        ([1, 2], [1, 1], 1, 1),  # as many as were logged
    ],
    ids=["exactly once", "losses", "repeats", "a loss and a repeat"],
)
def test_what_is_planted_is_found(logged, came, lost, extra):
    """Records that never came are lost, those that came again are too many; neither cancels."""
    tally = Tally(_logged(*logged), [_arrival(number) for number in came])
    assert (tally.lost, tally.extra, tally.is_exactly_once) == (lost, extra, not lost + extra)
    assert (tally.expected, tally.records[_P0]) == (len(logged), len(came))


def test_the_wrong_topic_is_noticed():
    """A record in another topic is lost from its own and too many in the other."""
    tally = Tally(_logged(1, topic="shop.errors"), [_arrival(1)])
    assert (tally.lost, tally.extra) == (1, 1)


def test_removed_offsets_are_counted():
    """A gap in the offsets is what the brokers removed before it was read."""
    came = [_arrival(number, offset=offset) for number, offset in enumerate((4, 5, 8))]
    assert Tally([], came).skipped == 4 + 2


def test_order_is_checked_by_visit():
    """Within a partition only the records of one visit have an order."""
    in_order = [_arrival(4, session="a"), _arrival(1, session="b"), _arrival(8, session="a")]
    assert Tally([], in_order).out_of_order == 0
    assert Tally([], [*in_order, _arrival(5, session="a")]).out_of_order == 1
    assert Tally([], [*in_order, _arrival(5, session="a", partition=_P1)]).out_of_order == 0


def test_a_key_in_two_partitions_is_noticed():
    """Keys are counted, and those that were in more than one partition."""
    keyed = [(b"u1", _P0), (b"u1", _P0), (b"u2", _P0), (b"u2", _P1), (None, _P0)]
    tally = Tally([], [_arrival(0, key=key, partition=partition) for key, partition in keyed])
    assert (tally.keys["shop.app"], tally.split_keys) == (2, 1)


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (95, 95), (99, 99), (99.5, 100), (100, 100)]
)
def test_percentiles_are_of_the_nearest_rank(percent, expected):
    """Of 1 to 100, the p-th percentile is p."""
    assert percentile(range(1, 101), percent) == expected


def test_percentiles_of_one_and_of_none():
    """One value is every percentile; none has none."""
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0
    assert math.isnan(percentile([], 50))
