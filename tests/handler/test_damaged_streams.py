"""Damaged files of a spool: they are reported by name, and the rest is sent.

Each record that arrives has a number that no other one has, and no stream is called complete that
lacks records.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from kiel_logging import KafkaHandler, Stats
from kiel_logging.journal import directory
from kiel_logging.journal.frames import MAGIC
from kiel_logging.journal.stream import CHECKPOINT, DAMAGED
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import MakeHandler, logger_to, messages, start_broker, stop_broker
from tests.support.stamps import audited, marks

SEGMENT: Final = 4096
"""Bytes, about: eight records."""
COUNT: Final = 60

Send = Callable[[], tuple[Stats, str]]


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of them for a few records."""

    class ShortJournal(directory.Journal):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options, segment_bytes=SEGMENT)

    monkeypatch.setattr("kiel_logging.handler.spool.spool.Journal", ShortJournal)


@pytest.fixture
def stream(cluster: FakeKafka, spool: Path, chain: bool) -> Path:
    """A stream of several segments, whose writer is gone; the brokers come back."""
    stop_broker(cluster)
    handler = KafkaHandler(
        cluster.addresses,
        "logs",
        spool_dir=spool,
        spool="always",
        chain=chain,
        linger_ms=1,
        close_timeout_ms=50,
    )
    with closing(handler):
        logger = logger_to(handler)
        for number in range(COUNT):
            logger.info("%d", number, extra={"pad": "x" * 300})
            if number % 8 == 7:
                handler.flush(0.0)
                handler._lifecycle.pipeline._spool.journal.stream("logs").roll_if_due()  # type: ignore[union-attr]
    (found,) = spool.glob("*/logs")
    assert len(segments(found)) > 4
    start_broker(cluster)
    return found


def segments(stream: Path) -> list[Path]:
    """The files with records, in order."""
    return sorted(stream.glob("*.log"))


@pytest.fixture
def send(
    make_handler: MakeHandler, spool: Path, chain: bool, capsys: pytest.CaptureFixture[str]
) -> Send:
    """Sends all that is left, and ends; returns the counts and the complaints."""

    def send() -> tuple[Stats, str]:
        handler = make_handler(spool_dir=spool, chain=chain)
        logger_to(handler).info("%d", COUNT)
        assert handler.flush(20.0) == 0
        handler.close()
        return handler.stats(), capsys.readouterr().err

    return send


def in_file(path: Path) -> list[int]:
    """The numbers that were logged into a segment, by looking at its bytes."""
    content = path.read_bytes()
    return [n for n in range(COUNT) if b'"message":"%d"' % n in content]


def numbers(cluster: FakeKafka) -> list[int]:
    """Those of the topic."""
    return [int(text) for text in messages(cluster)]


def failures(cluster: FakeKafka) -> tuple[str, ...]:
    """Findings that speak against the topic."""
    return audited(cluster.records("logs")).failures(strict=False)


def instances(cluster: FakeKafka) -> Counter[str]:
    """How many records each instance has."""
    records = [one for part in cluster.records("logs").values() for one in part]
    numbered = [(marks(one)["instance"], marks(one)["sequence"]) for one in records]
    assert len(set(numbered)) == len(numbered), "a number was given twice"
    return Counter(instance for instance, _ in numbered)


def test_a_last_segment_cut_short(
    cluster: FakeKafka, stream: Path, chain: bool, send: Send
) -> None:
    """All in front of the cut arrives, under the numbers that it had."""
    *_, last = segments(stream)
    os.truncate(last, last.stat().st_size - 10)
    lost = [] if chain else in_file(last)[-1:]  # in a chain it was the record that ends it
    _, complaints = send()
    assert numbers(cluster) == [n for n in range(COUNT) if n not in lost] + [COUNT]
    assert f"{stream}: {last.name} ends in the middle of a record" in complaints
    assert len(instances(cluster)) == 2


def test_a_segment_cut_short(cluster: FakeKafka, stream: Path, send: Send) -> None:
    """Records behind the cut have unknown numbers: a new instance numbers them."""
    second = segments(stream)[1]
    before = in_file(second)
    os.truncate(second, second.read_bytes().rindex(MAGIC, 0, second.stat().st_size // 2) + 40)
    lost = set(before) - set(in_file(second))
    assert len(lost) > 1
    _, complaints = send()
    assert numbers(cluster) == [n for n in range(COUNT) if n not in lost] + [COUNT]
    assert f"{stream}: {second.name} ends in the middle of a record" in complaints
    assert len(instances(cluster)) == 3


def test_a_flipped_bit(cluster: FakeKafka, stream: Path, send: Send) -> None:
    """It costs one record, which is set aside and declared; all others keep their numbers."""
    content = bytearray(segments(stream)[1].read_bytes())
    (lost, *_) = in_file(segments(stream)[1])[3:]
    at = content.index(b'"message":"%d"' % lost)
    content[at] ^= 4
    segments(stream)[1].write_bytes(content)
    stats, complaints = send()
    assert numbers(cluster) == [n for n in range(COUNT + 1) if n != lost]
    assert b'message":"%d"' % lost in (stream / DAMAGED).read_bytes()
    assert f"{stream}: 1 record can't be sent" in complaints
    assert "not what was written" in complaints
    assert stats.failed == 1
    assert set(failures(cluster)) == {"missing", "dropped"}
    assert len(instances(cluster)) == 2


def test_a_removed_segment(
    cluster: FakeKafka, spool: Path, stream: Path, chain: bool, send: Send
) -> None:
    """It is named and declared; a new instance numbers what comes behind it."""
    third = segments(stream)[2]
    lost = in_file(third)
    third.unlink()
    stats, complaints = send()
    assert numbers(cluster) == [n for n in range(COUNT) if n not in lost] + [COUNT]
    assert f"{stream}: {third.name} was removed" in complaints
    assert stats.failed == 1
    # How many records the segment had is unknown, and so is the last number of the stream.
    assert failures(cluster) == (("dropped", "unfinished") if chain else ("dropped",))
    assert len(instances(cluster)) == 3
    assert list(spool.iterdir()) == []


def test_a_removed_checkpoint(
    cluster: FakeKafka, spool: Path, stream: Path, chain: bool, send: Send
) -> None:
    """Where the first segment is there, numbers come out the same, and nothing is lost."""
    (stream / CHECKPOINT).unlink()
    instance = stream.parent.name
    _, complaints = send()
    assert numbers(cluster) == list(range(COUNT + 1))
    assert instances(cluster)[instance] == COUNT + 2 * chain  # and its start and its end
    assert failures(cluster) == ()
    assert list(spool.iterdir()) == []
    assert f"{stream}: the checkpoint was removed or damaged" in complaints
    assert "with their old numbers" in complaints


def test_a_flipped_bit_in_a_checkpoint(cluster: FakeKafka, stream: Path, send: Send) -> None:
    """It costs nothing: the other slot knows enough."""
    content = bytearray((stream / CHECKPOINT).read_bytes())
    content[0] ^= 1
    (stream / CHECKPOINT).write_bytes(content)
    _, complaints = send()
    assert numbers(cluster) == list(range(COUNT + 1))
    assert (failures(cluster), complaints) == ((), "")


def test_a_removed_checkpoint_of_a_stream_that_was_sent_in_part(
    cluster: FakeKafka, spool: Path, stream: Path, send: Send
) -> None:
    """Without the first segment, no number is known: a new instance sends all that is left."""
    first, second, *_ = segments(stream)
    left = [n for n in range(COUNT) if n not in (*in_file(first), *in_file(second))]
    first.unlink()
    second.unlink()
    (stream / CHECKPOINT).unlink()
    instance = stream.parent.name
    _, complaints = send()
    assert numbers(cluster) == [*left, COUNT]
    assert f"{stream}: the checkpoint was removed or damaged" in complaints
    assert "sent again under a new instance" in complaints
    assert instance not in instances(cluster)
    assert len(instances(cluster)) == 2
    assert failures(cluster) == ()
    assert list(spool.iterdir()) == []


def test_numbers_that_are_unknown_stay_unknown(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    spool: Path,
    stream: Path,
    chain: bool,
    send: Send,
) -> None:
    """A process that is killed while it sends such a stream leaves it to yet another instance."""
    segments(stream)[0].unlink()
    (stream / CHECKPOINT).unlink()
    instance = stream.parent.name
    options = {"buffer_records": 40, "close_timeout_ms": 50}
    handler = make_handler(spool_dir=spool, chain=chain, **options)
    cluster.stored("logs", 10)
    stop_broker(cluster)
    handler.close()
    assert (stream / CHECKPOINT).exists()
    start_broker(cluster)
    send()
    assert set(numbers(cluster)) >= set(range(20, COUNT))
    records = [one for part in cluster.records("logs").values() for one in part]
    assert instance not in {marks(one)["instance"] for one in records}
    assert not {"conflict", "broken", "altered"} & set(failures(cluster))


def test_a_directory_of_another_version_without_an_owner(
    cluster: FakeKafka, stream: Path, send: Send
) -> None:
    """Its frames say which format it is: they are named, and left alone."""
    (stream.parent / directory.OWNER).write_bytes(b"")
    for path in segments(stream):
        frames = path.read_bytes().split(MAGIC)[1:]  # each with its length and its checksum
        path.write_bytes(b"".join(b"KJ\x63\xc5" + one[:4] + b"????" + one[8:] for one in frames))
    content = [path.read_bytes() for path in segments(stream)]
    _, complaints = send()
    assert numbers(cluster) == [COUNT]
    assert [path.read_bytes() for path in segments(stream)] == content
    assert f"{stream} continues in format 99" in complaints
