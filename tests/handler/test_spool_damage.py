"""Damaged journals of dead processes: which records are sent, and which reports are made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.journal import directory, stream
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.batches import StoredRecord
from tests.handler.shipped import (
    QUICK,
    MakeHandler,
    logger_to,
    messages,
    start_broker,
    stop_broker,
)
from tests.support.stamps import audited, harm

SEGMENTS = 4
EACH = 20


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A directory that is yet to be made."""
    return tmp_path / "spool"


@pytest.fixture
def left(cluster: FakeKafka, spool: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    """The cluster; a process that is gone left 80 numbered records in four segments."""
    monkeypatch.setattr(directory, "_LEAST_SEGMENT_BYTES", 1)
    stop_broker(cluster)
    options: dict[str, Any] = {**QUICK, "close_timeout_ms": 50}
    handler = KafkaHandler(cluster.addresses, "logs", spool_dir=spool, spool="always", **options)
    files = handler._lifecycle.pipeline._spool.journal.stream("logs")  # type: ignore[union-attr]
    with closing(handler):
        for number in range(SEGMENTS * EACH):
            if number and not number % EACH:
                files.roll()  # as the shipper does with a segment that is full
            logger_to(handler).info("%d", number)
    assert len(list(spool.rglob("*.log"))) == SEGMENTS
    start_broker(cluster)
    return cluster


def segment(spool: Path, number: int) -> Path:
    """The path of a segment."""
    (path,) = spool.rglob(f"{number:08}.log")
    return path


def cut_short(spool: Path) -> None:
    """As a file system does that lost the end of a file; the last record is cut in the middle."""
    path = segment(spool, 2)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size - 10)


def flip_a_bit(spool: Path) -> None:
    """In the middle of the value of the record 25."""
    path = segment(spool, 2)
    content = bytearray(path.read_bytes())
    content[content.index(b'"message":"25"') + 11] ^= 1
    path.write_bytes(content)


def remove_a_segment(spool: Path) -> None:
    """With the records 20 to 39."""
    segment(spool, 2).unlink()


def remove_the_checkpoint(spool: Path) -> None:
    """Both slots at once."""
    (path,) = spool.rglob("checkpoint")
    path.unlink()


Case = tuple[Callable[[Path], None], set[int], str]
CASES: dict[str, Case] = {
    "cut short": (cut_short, {39}, ""),
    "flipped bit": (flip_a_bit, {25}, "1 record can't be sent"),
    "removed segment": (remove_a_segment, set(range(20, 40)), "00000002.log was removed"),
    "removed checkpoint": (remove_the_checkpoint, set(), "the checkpoint was removed or damaged"),
}


@pytest.mark.parametrize("name", CASES)
def test_damage_costs_what_it_hits_and_is_named(
    left: FakeKafka,
    make_handler: MakeHandler,
    spool: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All other records arrive once and in order, with their numbers."""
    damage, lost, told = CASES[name]
    damage(spool)
    expected = [number for number in range(SEGMENTS * EACH) if number not in lost]
    handler = make_handler(spool_dir=spool)
    left.stored("logs", len(expected))
    handler.close()
    assert [int(text) for text in messages(left)] == expected
    assert told in capsys.readouterr().err
    verdict = audited(left.records("logs"))
    assert "conflict" not in verdict.failures(strict=True)


def instances(cluster: FakeKafka) -> set[bytes | None]:
    """The instances that records say they are from."""
    records: list[StoredRecord] = [
        record for found in cluster.records("logs").values() for record in found
    ]
    return {dict(record.headers)["kiel-instance"] for record in records}


def test_numbers_that_nobody_knows_are_not_guessed(
    left: FakeKafka,
    make_handler: MakeHandler,
    spool: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without checkpoint and first segment the rest is sent under a new instance."""
    (old,) = (path.name for path in spool.iterdir())
    remove_the_checkpoint(spool)
    segment(spool, 1).unlink()
    handler = make_handler(spool_dir=spool)
    left.stored("logs", 60)
    handler.close()
    assert [int(text) for text in messages(left)] == list(range(20, 80))
    assert old.encode() not in instances(left)
    assert "sent again under a new instance" in capsys.readouterr().err
    assert harm(audited(left.records("logs"))) == {}


def test_a_flipped_bit_in_a_checkpoint_costs_nothing(
    left: FakeKafka, make_handler: MakeHandler, spool: Path
) -> None:
    """The other slot knows enough."""
    (path,) = spool.rglob(stream.CHECKPOINT)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    handler = make_handler(spool_dir=spool)
    left.stored("logs", 80)
    handler.close()
    assert [int(text) for text in messages(left)] == list(range(80))
    assert harm(audited(left.records("logs"))) == {}
