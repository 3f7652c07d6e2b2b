"""Whose files are sent, in which order, and what becomes of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.errors import SpoolError
from kiel_logging.handler.spool.directory import SpoolDirectory
from kiel_logging.handler.spool.payload import pack
from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spooling.adopted import Stream
from kiel_logging.handler.spooling.adopting import Adopting
from kiel_logging.handler.spooling.placed import Placed
from kiel_logging.handler.spooling.stream_state import StreamState
from kiel_logging.proof.stamper import Stamper
from kiel_logging.records import Record
from tests.handler.spooling.disk import Tasks, run


class Sending:
    """An Adopting, and what it told."""

    def __init__(self, path: Path) -> None:
        self.tasks = Tasks()
        self.streams: list[Stream] = []
        self.errors: list[Exception] = []
        worker: Any = self.tasks
        self.adopting = Adopting(
            SpoolDirectory(path, report=print),
            worker,
            recovered=self.streams.append,
            changed=lambda: None,
            complain=self.errors.append,
        )

    async def take(self) -> list[Placed]:
        """All that there is until nothing more of others is waiting."""
        found: list[Placed] = []
        while (items := self.adopting.take(100)) is not None:
            found += items
            self.tasks.work_off()
            await asyncio.sleep(0)
        return found

    async def end(self, items: list[Placed]) -> None:
        """The brokers have them."""
        for item in items:
            item.home.delivered([item])
        self.tasks.work_off()
        await asyncio.sleep(0)
        self.tasks.work_off()


def left(path: Path, *values: bytes, topic: str = "logs") -> None:
    """A file of a process that is no more."""
    directory = SpoolDirectory(path, report=print)
    store = directory.make()
    _, state = Stamper("ab" * 16).stamped(Record(None, b"", (), 0), None)
    rows = [
        Row(place, topic, pack(Record(None, value, (), 0), None, 20))
        for place, value in enumerate(values, 1)
    ]
    store.append(rows, {topic: StreamState("ab" * 16, state).to_bytes()})
    directory.release(store)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a directory with two files, of five records."""
    left(tmp_path, b"1", b"2", b"3")
    left(tmp_path, b"4", b"5", topic="audit")
    return tmp_path


def values(items: list[Placed]) -> list[bytes | None]:
    """What the records are."""
    return [item.record.value for item in items]


def test_all_files_are_sent_oldest_first(path: Path) -> None:
    """And are gone when all of it is delivered; each stream was told of."""

    async def main() -> None:
        sending = Sending(path)
        assert sending.adopting.take(1) == []  # nobody knows yet
        sending.adopting.look()
        found = await sending.take()
        assert values(found) == [b"1", b"2", b"3", b"4", b"5"]
        assert [(one.topic, one.records) for one in sending.streams] == [("logs", 3), ("audit", 2)]
        assert not sending.adopting.waiting
        assert len(list(path.glob("*.spool"))) == 2
        await sending.end(found)
        assert sending.adopting.files == []
        assert list(path.iterdir()) == []

    run(main)


def test_there_is_nothing(tmp_path: Path) -> None:
    """Then it is the turn of what comes behind."""

    async def main() -> None:
        sending = Sending(tmp_path)
        assert sending.adopting.waiting
        sending.adopting.look()
        assert await sending.take() == []
        assert not sending.adopting.waiting

    run(main)


def test_what_the_living_have_is_theirs(path: Path) -> None:
    """Two look at one directory: each record is sent by one."""

    async def main() -> None:
        one, other = Sending(path), Sending(path)
        one.adopting.look()
        one.tasks.work_off()
        other.adopting.look()
        assert values(await other.take()) == [b"4", b"5"]
        assert values(await one.take()) == [b"1", b"2", b"3"]

    run(main)


def test_what_is_found_after_the_end_is_left_to_others(path: Path) -> None:
    """Though this process goes on."""

    async def main() -> None:
        sending = Sending(path)
        sending.adopting.look()
        sending.adopting.close()
        sending.tasks.work_off()
        assert sending.adopting.files == []
        other = Sending(path)
        other.adopting.look()
        assert len(await other.take()) == 5

    run(main)


def fail(*_arguments: object) -> Any:
    """What the disk may do."""
    raise SpoolError("no")


def test_a_file_that_fails_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three times in a row, and told; the next one is sent."""
    monkeypatch.setattr("kiel_logging.handler.spooling.reading.AGAIN", 0.0)

    async def main() -> None:
        sending = Sending(path)
        sending.adopting.look()
        sending.tasks.work()
        (first,) = sending.adopting.files
        monkeypatch.setattr(first.file, "read", fail)
        assert values(await sending.take()) == [b"4", b"5"]
        assert [str(error) for error in sending.errors] == ["no"] * 3
        assert len(list(path.glob("*.spool"))) == 2

    run(main)
