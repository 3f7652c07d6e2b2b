"""Rows and what could not be written, by their places: without threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.pipeline.events import Events, recovery
from kiel_logging.handler.pipeline.handoff import Handoff
from kiel_logging.handler.pipeline.item import Item, make_item
from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spooling import merging
from kiel_logging.handler.spooling.committing import Committing, _Stamping
from kiel_logging.handler.spooling.merging import Merging
from kiel_logging.handler.spooling.placed import Placed, Tickets
from kiel_logging.proof.stamper import Stamper
from kiel_logging.records import Record
from tests.handler.spooling.disk import Disk, run

INSTANCE = "ab" * 16


class Interrupting(Disk):
    """A disk that calls something once, before it writes what comes next, or after."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], object] | None = None
        self.after: Callable[[], object] | None = None

    def append(self, rows: Sequence[Row], states: Mapping[str, bytes]) -> None:
        """Write them."""
        before, self.before = self.before, None
        after, self.after = self.after, None
        if before is not None:
            before()
        super().append(rows, states)
        if after is not None:
            after()


class Own(Merging):
    """One whose records are numbers, and which tells what was sent of them."""

    def __init__(self, disk: Disk) -> None:
        handoff = Handoff(
            max_records=10_000,
            max_bytes=10**8,
            batch_size=10,
            wake=lambda _full: None,
            spools_all=True,
        )
        tickets = Tickets()
        super().__init__(
            handoff,
            disk,
            disk,
            tickets,
            linger=0.0,
            changed=lambda: None,
            complain=lambda _error: None,
        )
        self.committing = Committing(
            handoff,
            disk,  # type: ignore[arg-type]
            stamper=Stamper(INSTANCE),
            instance=INSTANCE,
            home=self,
            events=Events(lambda _record, _topic, _size: item(-1), InternalLog()),
            name=lambda: "",
            tickets=tickets,
            wake=lambda _full: None,
            batch_size=10,
            complain=lambda _error: None,
        )
        self.works_on: Disk = disk

    def log(self, *numbers: int) -> None:
        """As a thread that logs does."""
        for number in numbers:
            assert not self.committing.put(item(number))

    def sent(self, rounds: int = 8) -> list[int]:
        """What can be sent now, while the worker works."""
        found: list[Placed] = []
        for _ in range(rounds):
            found += self.take(10_000)
            self.works_on.work_off()
        return [int(one.record.value or b"") for one in found]

    @property
    def lost(self) -> int:
        """How many are counted as lost."""
        return self.handoff.stats(0).failed


def item(number: int) -> Item:
    """A record."""
    return make_item("logs", None, Record(None, b"%d" % number, (), 0))


def interrupt() -> Any:
    """What a signal handler may do."""
    raise KeyboardInterrupt


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for."""
    monkeypatch.setattr(merging, "_PATIENCE", 0.0)


def test_rows_come_in_order() -> None:
    """As they were logged, more than are read at once."""

    async def main() -> None:
        own = Own(Disk())
        own.log(*range(2000))
        assert own.sent(20) == list(range(2000))
        assert not own.waiting

    run(main)


def test_what_could_not_be_written_comes_in_its_place() -> None:
    """Between the rows before it and those behind it."""

    async def main() -> None:
        disk = Disk()
        own = Own(disk)
        own.log(0, 1)
        disk.full = True
        own.log(2, 3)
        disk.full = False
        own.log(4)
        assert own.sent() == [0, 1, 2, 3, 4]

    run(main)


@pytest.mark.usefixtures("impatient")
def test_what_is_in_memory_waits_for_the_rows_before_it() -> None:
    """They are many, so not all of them were read yet: nothing of it is missing."""

    async def main() -> None:
        disk = Disk()
        own = Own(disk)
        own.log(*range(3000))
        disk.full = True
        own.log(3000)
        found: list[int] = []
        while own.waiting:
            found += own.sent(1)
        assert found == list(range(3001))
        assert own.lost == 0

    run(main)


def test_what_is_being_written_is_waited_for() -> None:
    """A signal handler's record, on top of the commit, was on disk before it."""

    async def main() -> None:
        disk = Interrupting()
        own = Own(disk)
        seen: list[list[int]] = []

        def on_top() -> None:
            own.log(1)
            seen.append(own.sent())

        disk.before = on_top
        own.log(0)
        assert (seen, disk.places) == ([[]], [2, 1])
        assert own.sent() == [0, 1]
        assert own.lost == 0

    run(main)


def test_all_that_came_late_is_found_at_once() -> None:
    """One look for them all: a program whose timer logs every millisecond is not held up."""

    async def main() -> None:
        disk = Interrupting()
        own = Own(disk)
        for number in range(0, 100, 2):

            def on_top(number: int = number) -> None:
                own.log(number + 1)
                own.take(0)  # begins to read
                disk.work_off()

            disk.before = on_top
            own.log(number)
        assert own.sent(4) == list(range(100))
        assert own.lost == 0

    run(main)


def test_what_is_torn_away_is_written_before_the_call_ends() -> None:
    """Ctrl-C costs nothing that has its place."""

    async def main() -> None:
        disk = Interrupting()
        own = Own(disk)
        own.log(0)
        disk.before = interrupt
        with pytest.raises(KeyboardInterrupt):
            own.log(1)
        own.log(2)
        assert own.sent() == [0, 1, 2]

    run(main)


def tear(disk: Interrupting, own: Own, number: int) -> None:
    """Log it; two exceptions in a row keep it from being written."""

    def twice() -> None:
        disk.before = interrupt
        interrupt()

    disk.before = twice
    with pytest.raises(KeyboardInterrupt):
        own.log(number)


@pytest.mark.usefixtures("impatient")
def test_what_is_nowhere_is_given_up() -> None:
    """And counted, when it is neither on disk nor in memory."""

    async def main() -> None:
        disk = Interrupting()
        own = Own(disk)
        own.log(0)
        tear(disk, own, 1)
        own.log(2)
        assert own.sent() == [0, 2]
        assert own.lost == 1
        assert not own.waiting

    run(main)


@pytest.mark.usefixtures("impatient")
def test_the_last_one_is_nowhere() -> None:
    """Nobody waits for ever for what comes behind it."""

    async def main() -> None:
        disk = Interrupting()
        own = Own(disk)
        own.log(0)
        tear(disk, own, 1)
        assert own.sent() == [0]
        assert not own.waiting
        assert own.lost == 1

    run(main)


def test_what_was_written_and_torn_away_is_found() -> None:
    """Though nobody told of it."""

    async def main() -> None:
        disk = Interrupting()
        own = Own(disk)
        own.log(0)
        assert own.sent() == [0]
        disk.after = interrupt
        with pytest.raises(KeyboardInterrupt):
            own.log(1)
        assert own.sent() == [1]
        assert own.lost == 0

    run(main)


@pytest.mark.usefixtures("impatient")
def test_what_turns_up_after_it_was_given_up_is_sent() -> None:
    """And is not lost any more."""

    async def main() -> None:
        own = Own(Disk())
        committer = own.committing._committer
        committer._take = lambda own: interrupt()  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):  # it has its place, and is to be written
            own.log(0)
        del committer._take
        assert own.sent() == []
        assert own.lost == 1
        own.log(1)  # writes both
        assert sorted(own.sent()) == [0, 1]
        assert own.lost == 0

    run(main)


@pytest.mark.usefixtures("impatient")
def test_a_damaged_row_is_lost_once() -> None:
    """It is set aside, and counted."""

    async def main() -> None:
        disk = Disk()
        own = Own(disk)
        own.log(*range(10))
        disk.rows[4] = disk.rows[4]._replace(payload=b"?")
        assert own.sent() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert [row.place for row in disk.aside] == [5]
        assert own.lost == 1

    run(main)


def test_a_mark_is_not_behind_what_is_said_later() -> None:
    """But it is behind what was about to be said."""

    async def main() -> None:
        disk = Disk()
        own = Own(disk)
        own.log(0, 1)
        own.say(lambda _last: recovery(INSTANCE, 1, 1), "logs")
        mark = own.mark()
        own.take(0)
        disk.work()  # is said
        assert not own.passed(mark)
        own.sent()
        assert own.passed(mark)
        own.say(lambda _last: recovery(INSTANCE, 1, 1), "logs")
        disk.work_off()
        assert own.waiting
        assert own.passed(mark)

    run(main)


@pytest.mark.usefixtures("impatient")
def test_who_seems_to_write_for_ever_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What should have told that it was torn away was torn away as well."""

    async def main() -> None:
        disk = Interrupting()
        own = Own(disk)
        own.log(0)
        tear(disk, own, 1)
        gone = _Stamping(own.committing._streams, lambda _sequence: None, ended=False)
        gone.entry.row = Row(2, "logs", b"")
        own.committing._writing.add(gone)
        own.log(2)
        assert own.sent() == [0]
        monkeypatch.setattr(merging, "_LONG", 0.0)
        assert own.sent() == [2]
        assert own.lost == 1

    run(main)
