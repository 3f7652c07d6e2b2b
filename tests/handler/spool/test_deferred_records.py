"""Records of a stream that wait on disk for a partition which can't be sent to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.handler.spool.stream import ShippedStream
from kiel_logging.journal.directory import Journal
from kiel_logging.journal.frames import RECORD, Frame, encode
from kiel_logging.journal.local_stream import LocalStream
from kiel_logging.journal.stream import Read
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.item import Item
from kiel_logging.records import TopicPartition

INSTANCE = "0" * 32


class Places:
    """No two keys share a partition."""

    def __init__(self, *stalled: int) -> None:
        self.stalled = set(stalled)

    @property
    def has_stalls(self) -> bool:
        return bool(self.stalled)

    def where(self, topic: str, key: Any) -> TopicPartition:
        return TopicPartition(topic, int(key))

    def is_stalled(self, topic_partition: TopicPartition) -> bool:
        return topic_partition.partition in self.stalled


class CountingStream(LocalStream):
    """Counts how often it is read."""

    reads = 0

    def read(self, *arguments: Any, **options: Any) -> Read:
        self.reads += 1
        return super().read(*arguments, **options)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[CountingStream]:
    """An empty stream."""
    with closing(Journal(tmp_path, INSTANCE)) as journal:
        yield CountingStream(journal, "topic")


def append(files: CountingStream, number: int, key: str) -> None:
    """Append one record."""
    value = json.dumps(number).encode()
    frame = Frame(RECORD, key, key.encode(), value, (), timestamp=0, level=20)
    files.append(encode(frame, files.seed))


def values(items: list[Item]) -> list[int]:
    """Their numbers."""
    return [json.loads(item.record.value or b"") for item in items]


def test_what_waits_is_not_read_for_each_record_that_does_not(files: CountingStream) -> None:
    """It is read again when its partition can be sent to, and is in order then."""
    stream = ShippedStream(files, Stamper(INSTANCE), lambda _: None)
    places = Places(0)
    for number in range(100):
        append(files, number, str(number % 2))
        before = files.reads
        assert values(stream.retake(1_000, places).items) == []
        assert values(stream.take(1_000, places).items) == [number] * (number % 2)
        assert files.reads == before + 1
    assert stream.deferred == 50
    places.stalled.clear()
    assert values(stream.retake(1_000, places).items) == list(range(0, 100, 2))
    assert stream.deferred == 0


def test_one_partition_that_waits_does_not_hold_up_another(files: CountingStream) -> None:
    """Of two that were stalled, the one that recovers first is sent to first."""
    stream = ShippedStream(files, Stamper(INSTANCE), lambda _: None)
    places = Places(0, 1)
    for number in range(20):
        append(files, number, str(number % 2))
    assert stream.take(1_000, places).items == []
    places.stalled.remove(1)
    assert values(stream.retake(5, places).items) == [1, 3, 5, 7, 9]
    assert values(stream.retake(1_000, places).items) == [11, 13, 15, 17, 19]
    places.stalled.clear()
    assert values(stream.retake(1_000, places).items) == list(range(0, 20, 2))


@pytest.mark.parametrize("every", [7, 10**6])
def test_what_waits_takes_little_memory(files: CountingStream, every: int) -> None:
    """Though each record came by itself, and some that are sent came in between."""
    stream = ShippedStream(files, Stamper(INSTANCE), lambda _: None)
    places = Places(0)
    sent: list[Item] = []
    for number in range(2_000):
        append(files, number, "1" if number % every == 1 else "0")
        taken = stream.take(1_000, places)
        sent += taken.items
    assert len(stream._runs) < 10 + 2 * len(sent)
    for one in sent:
        stream.settle(one.run)
    places.stalled.clear()
    while (taken := stream.retake(1_000, places)).items:
        sent += taken.items
        for one in taken.items:
            stream.settle(one.run)
        stream.advance()
    numbers = [dict(one.record.headers)["kiel-sequence"] for one in sent]
    assert values(sent) == [int(number or b"") - 1 for number in numbers]
    assert sorted(values(sent)) == list(range(2_000))
    assert stream.deferred == 0
    assert not stream._runs
