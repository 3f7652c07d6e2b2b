"""Rates, lag, numbers and digests, as far as records were read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.records import TopicPartition
from kiel_logging.tail.entries import Arrival
from kiel_logging.tail.gaps import Gap
from kiel_logging.view.streams import WINDOW_S, Streams
from tests.support.stamper import Stamped, Stamper
from tests.tail.sample import AT, INSTANCE, TIMESTAMP


def remove(records: list[Stamped]) -> None:
    """Leave one out."""
    del records[4]


def alter(records: list[Stamped]) -> None:
    """Change one."""
    records[4] = records[4]._replace(value=b"nothing happened")


def forge(records: list[Stamped]) -> None:
    """Put one of another history in the place of one."""
    other = Stamper(INSTANCE, topic=AT.topic)
    records[4] = [other.stamp(b"other %d" % number) for number in range(5)][4]


def strip(records: list[Stamped]) -> None:
    """Take the digest from one."""
    records[4] = records[4]._replace(headers=records[4].headers[:-1])


def swap(records: list[Stamped]) -> None:
    """Let two change places: partitions are read in any order."""
    records[4], records[5] = records[5], records[4]


def streams_of(records: list[Stamped]) -> list[dict[str, Any]]:
    """The state of the streams when these were read."""
    streams = Streams()
    for offset, one in enumerate(records):
        streams.take(Arrival(AT, offset, *one, TIMESTAMP), 1.0, is_repeat=False)
    found: list[dict[str, Any]] = streams.document(1.0)["streams"]
    return found


@pytest.mark.parametrize(
    ("harm", "keyless", "keyed"),
    [
        (lambda records: None, "intact", "linked"),
        (swap, "intact", "linked"),
        (alter, "broken", "linked"),
        (forge, "broken", "broken"),
        (strip, "broken", "broken"),
        (remove, "intact", "linked"),  # that is a gap, and counted as missing
    ],
)
def test_the_state_of_a_chain(
    harm: Callable[[list[Stamped]], None], keyless: str, keyed: str
) -> None:
    """Without the key only the links between records can be compared."""
    for secret, expected in ((None, keyless), (b"s3cret of the chain", keyed)):
        stamper = Stamper(INSTANCE, topic=AT.topic, secret=secret)
        records = [stamper.stamp(b"%d" % number) for number in range(10)]
        harm(records)
        [stream] = streams_of(records)
        assert (stream["chain"], bool(stream["breaks"])) == (expected, expected == "broken")


def test_a_stream_without_a_chain() -> None:
    """Has numbers only."""
    stamper = Stamper(INSTANCE, chain=False, topic=AT.topic)
    [stream] = streams_of([stamper.stamp(b"x") for _ in range(3)])
    assert stream == {
        "topic": AT.topic,
        "instance": INSTANCE,
        "records": 3,
        "repeats": 0,
        "missing": 0,
        "first": 1,
        "last": 3,
        "event": "",
        "chain": "none",
        "breaks": [],
    }


def test_gaps_and_repeats_are_counted() -> None:
    """By stream."""
    stamper, streams = Stamper(INSTANCE, chain=False, topic=AT.topic), Streams()
    one = Arrival(AT, 0, *stamper.stamp(b"x"), TIMESTAMP)
    streams.take(one, 1.0, is_repeat=False)
    streams.take(one, 1.0, is_repeat=True)
    streams.miss(Gap(AT.topic, INSTANCE, 3, 5))
    [stream] = streams.document(1.0)["streams"]
    assert [stream[name] for name in ("records", "repeats", "missing")] == [1, 1, 3]


def test_numbers_that_come_late_are_missing_no_more() -> None:
    """Their broker was down; each counts once."""
    stamper, streams = Stamper(INSTANCE, chain=False, topic=AT.topic), Streams()
    records = [Arrival(AT, n, *stamper.stamp(b"x"), TIMESTAMP) for n in range(8)]
    streams.miss(Gap(AT.topic, INSTANCE, 2, 5))
    counts = []
    for number in (1, 3, 3, 5, 8):
        streams.take(records[number - 1], 1.0, is_repeat=False)
        counts.append(streams.document(1.0)["streams"][0]["missing"])
    assert counts == [4, 3, 3, 2, 2]


def test_rates_and_lag() -> None:
    """A rate is taken over ten seconds; a partition without records has one too."""
    other, streams = TopicPartition(AT.topic, 0), Streams()
    for second in range(20):
        streams.take(Arrival(AT, second, None, b"x", (), 0), float(second), is_repeat=False)
    streams.note({AT: (20, 25), other: (0, 0)})
    place = {"topic": AT.topic, "partition": 2, "offset": 20, "end": 25, "lag": 5}
    none = {"topic": AT.topic, "partition": 0, "offset": 0, "end": 0, "lag": 0, "rate": 0.0}
    assert streams.document(19.0)["partitions"] == [none, {**place, "rate": 1.0}]
    assert streams.document(19.0 + WINDOW_S)["partitions"] == [none, {**place, "rate": 0.0}]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may write records of any instance."""
    monkeypatch.setattr("kiel_logging.view.streams._MOST_STREAMS", 5)
    records = [Stamper(f"{number:032x}", topic=AT.topic).stamp(b"x") for number in range(20)]
    assert [one["instance"] for one in streams_of(records)] == [f"{n:032x}" for n in range(15, 20)]
