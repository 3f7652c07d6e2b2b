"""Counting what came back: it has to find what is planted."""

import math
from collections import Counter

import orjson
import pytest

from kiel_logging.demo.phases import CONNECTING, FLAT_OUT, STEADY, plan
from kiel_logging.demo.tally import FOREIGN, Arrival, Tally, compare, percentile
from kiel_logging.records import TopicPartition

_PHASES = plan(100, rate=1_000)
_P0, _P1 = TopicPartition("shop.app", 0), TopicPartition("shop.app", 1)
_MIDNIGHT = 1_767_312_000.0
"""2026-01-02T00:00:00Z, in seconds since the epoch."""


def _arrival(record_id, *, partition=_P0, offset=0, key=None, after=0.0, thread="shop-0"):
    value = {
        "time": "2026-01-02T00:00:00.000000Z",
        "thread_name": thread,
        "record_id": record_id,
    }
    return Arrival(partition, offset, key, orjson.dumps(value), _MIDNIGHT + after)


def _tally(*arrivals):
    tally = Tally(_PHASES)
    for arrival in arrivals:
        tally.add(arrival)
    return tally


def _ids(tally):
    return {name: topic.ids for name, topic in tally.topics.items()}


def test_exactly_once():
    """What was logged and came once is neither lost nor duplicated."""
    tally = _tally(*(_arrival(number, offset=number) for number in range(10)))
    differences = compare({"shop.app": range(10)}, _ids(tally))
    assert differences.exactly_once
    assert not differences.unexpected.total()


def test_planted_losses_are_found():
    """Three records that never came are three lost ones, in their topic."""
    tally = _tally(*(_arrival(number) for number in range(10) if number not in {0, 5, 9}))
    differences = compare({"shop.app": range(10)}, _ids(tally))
    assert differences.lost == Counter({"shop.app": 3})
    assert not differences.exactly_once


def test_a_topic_that_never_came_is_lost():
    """Losing all of a topic is noticed, though nothing of it was ever seen."""
    differences = compare({"shop.app": [1, 2], "shop.errors": [2]}, {"shop.app": {1: 1, 2: 1}})
    assert differences.lost["shop.errors"] == 1
    assert not differences.exactly_once


def test_planted_duplicates_are_found():
    """A record that came three times is two duplicates."""
    tally = _tally(*(_arrival(number) for number in (0, 1, 1, 1, 2)))
    differences = compare({"shop.app": range(3)}, _ids(tally))
    assert differences.duplicated == Counter({"shop.app": 2})
    assert not differences.exactly_once


def test_a_loss_does_not_cancel_a_duplicate():
    """With as many read as were logged, one lost and one duplicated are still both found."""
    differences = compare({"t": [1, 2]}, {"t": {1: 2}})
    assert (differences.lost["t"], differences.duplicated["t"]) == (1, 1)


def test_the_wrong_topic_is_unexpected():
    """A record in another topic is lost from its own and unexpected in the other."""
    differences = compare({"a": [1], "b": [2]}, {"a": {1: 1, 2: 1}})
    assert differences.unexpected["a"] == 1
    assert differences.lost["b"] == 1


@pytest.mark.parametrize("value", [b"", b"not json", b"[1]", b"{}"])
def test_what_the_demo_did_not_log_is_foreign(value):
    """Values without a record id are counted, as unexpected."""
    tally = _tally(Arrival(_P0, 0, None, value, _MIDNIGHT))
    assert tally.topics["shop.app"].ids == Counter({FOREIGN: 1})
    assert compare({}, _ids(tally)).unexpected.total() == 1


def test_latencies_go_to_their_phases():
    """A latency is the arrival less the record's time, in the phase of the record's id."""
    tally = _tally(
        _arrival(9, after=0.5), _arrival(10, after=0.004), _arrival(60, after=1), _arrival(99)
    )
    assert tally.latencies_s[CONNECTING].tolist() == [0.5]
    assert tally.latencies_s[STEADY].tolist() == pytest.approx([0.004], abs=1e-6)
    assert tally.latencies_s[FLAT_OUT].tolist() == [1.0, 0.0]


def test_partitions_are_counted():
    """Records, bytes and offsets are counted per partition."""
    arrivals = [_arrival(0), _arrival(1, offset=1), _arrival(2, partition=_P1)]
    tally = _tally(*arrivals)
    assert tally.records == 3
    assert tally.partitions[_P0].records == 2
    assert tally.partitions[_P0].json_bytes == sum(len(each.value) for each in arrivals[:2])
    assert (tally.next_offset(_P0), tally.next_offset(_P1)) == (2, 1)


def test_offsets_that_are_gone_are_counted():
    """A gap in the offsets is what the brokers threw away before it was read."""
    tally = _tally(_arrival(0, offset=4), _arrival(1, offset=5), _arrival(2, offset=8))
    assert tally.skipped == 4 + 2


def test_order_is_checked_per_thread():
    """Within a partition only the records of one thread have an order."""
    in_order = [_arrival(4, thread="shop-0"), _arrival(1, thread="shop-1"), _arrival(8)]
    assert _tally(*in_order).out_of_order == 0
    assert _tally(*in_order, _arrival(5, thread="shop-0")).out_of_order == 1
    assert _tally(*in_order, _arrival(5, thread="shop-0", partition=_P1)).out_of_order == 0


def test_a_key_in_two_partitions_is_noticed():
    """Keys are told apart from those that were in more than one partition."""
    tally = _tally(
        _arrival(0, key=b"u1"),
        _arrival(1, key=b"u1"),
        _arrival(2, key=b"u2"),
        _arrival(3, key=b"u2", partition=_P1),
        _arrival(4),
    )
    topic = tally.topics["shop.app"]
    assert topic.keys == {b"u1": {0}, b"u2": {0, 1}}
    assert topic.split_keys == 1


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
