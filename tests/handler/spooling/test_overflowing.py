"""What is written in ``overflow`` mode, and what is taken for written: without threads."""

from __future__ import annotations

from typing import Any

from kiel_logging.handler.pipeline.handoff import Handoff
from kiel_logging.handler.pipeline.item import make_item
from kiel_logging.handler.spooling.overflowing import Overflowing
from kiel_logging.handler.spooling.placed import Tickets
from kiel_logging.proof.stamper import Stamper
from kiel_logging.records import Record
from tests.handler.spooling.disk import Disk, run


def overflowing(disk: Any, most: int = 1000) -> Overflowing:
    """One to whose hand-off records can be given."""
    handoff = Handoff(max_records=most, max_bytes=10**8, batch_size=10, wake=lambda _full: None)
    stamper = Stamper("ab" * 16)
    return Overflowing(
        handoff,
        disk,
        disk,
        Tickets(),
        stamper=stamper,
        instance="ab" * 16,
        stamp=stamper.stamp,
        own=lambda _word, _topic: None,
        changed=lambda: None,
        complain=lambda _error: None,
    )


def log(own: Overflowing, records: int) -> None:
    """Put so many into its hand-off."""
    for number in range(records):
        own.handoff.put(make_item("logs", None, Record(None, b"%d" % number, (), 0)))


def test_what_was_fed_while_a_write_failed_is_not_on_disk() -> None:
    """Though the rest of its slice is written later: it would not be written at the end."""

    async def main() -> None:
        disk = Disk()
        own = overflowing(disk)
        disk.full = True
        log(own, 10)
        own._spill(force=True)
        fed = own.take(4)
        disk.work()
        assert list(own.window) == [1, 2, 3, 4]
        disk.full, own._retry_at = False, 0.0
        own._spill(force=True)
        disk.work()
        assert disk.places == [5, 6, 7, 8, 9, 10]
        assert [item.on_disk for item in fed] == [False] * 4
        assert list(own.window) == [1, 2, 3, 4]
        assert own.disk.written == 6

    run(main)


def test_what_was_fed_from_memory_is_not_read_again() -> None:
    """Though a read was under way that began before it was known to be on disk."""

    async def main() -> None:
        disk = Disk()
        own = overflowing(disk)
        log(own, 10)
        own.tend(quiet=True)
        disk.work()
        assert own.take(5) == []
        disk.work()  # all ten are read
        log(own, 10)
        own.tend(quiet=True)  # writes the next ten
        places = [item.place for item in own.take(5)]  # and reads on, behind them
        places += [item.place for item in own.take(5)]
        places += [item.place for item in own.take(4)]  # from memory
        assert places == list(range(1, 15))
        disk.work()
        disk.work()
        while own.waiting:
            places += [item.place for item in own.take(100)]
            disk.work_off()
        assert places == list(range(1, 21))

    run(main)


def test_what_is_long_with_the_feed_is_written() -> None:
    """Once; its row goes when it arrives, also when that is while it is written."""

    async def main() -> None:
        disk = Disk()
        own = overflowing(disk)
        log(own, 4)
        fed = own.take(4)
        own.tend(quiet=False)
        assert disk.places == []
        own.tend(quiet=True)
        own.tend(quiet=True)  # under way
        own.delivered(fed[:1])
        disk.work_off()
        assert disk.places == [1, 2, 3, 4]
        assert [item.on_disk for item in fed] == [False, True, True, True]
        own.tend(quiet=True)
        own.delivered(fed[1:])
        own.removal.begin()
        disk.work_off()
        assert disk.places == []
        assert (own.disk.spooled, own.window) == (0, {})

    run(main)


def test_what_is_with_the_feed_is_tried_again() -> None:
    """When the disk takes it no more, and then does."""

    async def main() -> None:
        disk = Disk()
        own = overflowing(disk)
        log(own, 4)
        own.take(4)
        disk.full = True
        own.tend(quiet=True)
        disk.work_off()
        assert list(own.window) == [1, 2, 3, 4]
        disk.full, own._secure_again_at = False, 0.0
        own.tend(quiet=True)
        disk.work_off()
        assert (disk.places, own.window) == ([1, 2, 3, 4], {})

    run(main)


def test_what_is_written_of_the_feed_is_not_read_again() -> None:
    """Behind it is what was in the hand-off."""

    async def main() -> None:
        disk = Disk()
        own = overflowing(disk)
        log(own, 8)
        places = [item.place for item in own.take(4)]
        own.tend(quiet=True)
        disk.work_off()
        assert sorted(disk.places) == [1, 2, 3, 4, 5, 6, 7, 8]
        while own.waiting:
            places += [item.place for item in own.take(100)]
            disk.work_off()
        assert places == [1, 2, 3, 4, 5, 6, 7, 8]

    run(main)


def test_what_is_being_written_is_not_written_twice() -> None:
    """What is fed of a slice that is on its way to disk waits until that is done."""

    async def main() -> None:
        disk = Disk()
        own = overflowing(disk)
        log(own, 8)
        fed = own.take(2)
        log(own, 4)
        own.tend(quiet=False)
        own._spill(force=True)  # 3 to 12
        fed += own.take(3)
        own.secure_window()
        disk.work()
        assert sorted(disk.places) == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
        disk.work()
        assert sorted(disk.places) == list(range(1, 13))
        assert own.window == {}
        assert [item.on_disk for item in fed] == [True] * 5

    run(main)


def test_all_that_is_with_the_feed_is_written() -> None:
    """More than goes together."""

    async def main() -> None:
        disk = Disk()
        own = overflowing(disk, most=10_000)
        log(own, 3000)
        own.take(2500)
        own.secure_window()
        own.take(500)
        disk.work_off()
        assert sorted(disk.places)[:2500] == list(range(1, 2501))
        assert min(own.window, default=2501) > 2500

    run(main)
