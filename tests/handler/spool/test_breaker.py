"""Whoever logs waits for a disk that fails once a second: which calls ask it, and which do not."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import pytest

from kiel_logging.errors import SpoolDamaged, SpoolError, SpoolFull
from kiel_logging.handler.spool.breaker import Breaker
from kiel_logging.handler.spool.committer import Committer
from kiel_logging.handler.spool.faults import NoRoom
from kiel_logging.handler.spool.row import Row
from tests.handler.spool.sample import counted, row


class Disk:
    """A file that fails with `error` where so many bytes, or more, are to be written."""

    last_place = 7

    def __init__(self) -> None:
        self.error: SpoolError | None = None
        self.takes_less_than = 0
        self.asked: list[int] = []

    def streams(self) -> dict[str, bytes]:
        """Return something."""
        return {"audit": b"7"}

    def holds(self, place: int) -> bool:
        """Whether it is an even one."""
        return place % 2 == 0

    def append(self, rows: Sequence[Row], streams: Mapping[str, bytes]) -> None:
        """Note how much was asked for."""
        size = sum(len(one.payload) for one in rows)
        self.asked.append(size)
        if self.error is not None and size >= self.takes_less_than:
            raise self.error


class Clock:
    """The time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Tell it."""
        return self.now


def outcomes(breaker: Breaker, *sizes: int) -> list[str]:
    """What becomes of appending a row of each size."""
    found = []
    for size in sizes:
        try:
            breaker.append([row(1, bytes(size))], {})
            found.append("")
        except SpoolError as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


ERRORS = [
    # the error, what is taken all the same, the sizes that are tried, those that ask the disk
    (SpoolError("locked"), 0, [5, 5, 3, 9], [5]),
    (SpoolDamaged("bad"), 0, [5, 5, 3, 9], [5]),
    (NoRoom("full"), 0, [5, 5, 9], [5]),
    (NoRoom("full"), 0, [9, 5, 9, 5, 4, 4], [9, 5, 4]),
    (NoRoom("full"), 5, [9, 4, 9, 4, 5, 6], [9, 4, 4, 5]),
    (SpoolFull("used up"), 0, [5, 5, 5], [5, 5, 5]),
]


@pytest.mark.parametrize(("error", "takes_less_than", "sizes", "asked"), ERRORS)
def test_what_failed_fails_at_once(
    error: SpoolError, takes_less_than: int, sizes: list[int], asked: list[int]
) -> None:
    """With the same error; but what is smaller than what had no room is tried."""
    disk, clock = Disk(), Clock()
    disk.error, disk.takes_less_than = error, takes_less_than
    expected = [
        "" if size < takes_less_than else f"{type(error).__name__}: {error}" for size in sizes
    ]
    assert outcomes(Breaker(disk, clock), *sizes) == expected
    assert disk.asked == asked


def test_a_second_later_one_asks_again() -> None:
    """And where that goes well all do."""
    disk, clock = Disk(), Clock()
    breaker = Breaker(disk, clock)
    disk.error = SpoolError("locked")
    assert outcomes(breaker, 5, 5) == ["SpoolError: locked"] * 2
    clock.now += 0.999
    disk.error = None
    assert outcomes(breaker, 5) == ["SpoolError: locked"]
    clock.now += 0.001
    assert outcomes(breaker, 5, 5) == ["", ""]
    assert disk.asked == [5, 5, 5]


def test_a_second_later_it_may_fail_for_a_second_more() -> None:
    """As often as it takes."""
    disk, clock = Disk(), Clock()
    breaker = Breaker(disk, clock)
    disk.error = SpoolError("locked")
    for _ in range(3):
        outcomes(breaker, 5, 5, 5)
        clock.now += 1.0
    assert disk.asked == [5, 5, 5]


def test_an_error_is_raised_anew() -> None:
    """One object would get longer and longer a traceback, on many threads at once."""
    disk = Disk()
    breaker = Breaker(disk, Clock())
    disk.error = SpoolError("locked")
    raised = []
    for _ in range(3):
        with pytest.raises(SpoolError) as info:
            breaker.append([row(1)], {})
        raised.append(info.value)
    assert len(set(map(id, raised))) == 3


def test_what_is_asked_is_the_file_s() -> None:
    """Whether it fails or not."""
    breaker = Breaker(Disk(), Clock())
    assert (breaker.last_place, breaker.streams()) == (7, {"audit": b"7"})
    assert (breaker.holds(2), breaker.holds(3)) == (True, False)


def test_of_all_who_wait_one_asks(capsys: pytest.CaptureFixture[str]) -> None:
    """What was to be written together is not tried one by one where a lock is in the way."""
    disk = Disk()
    committer = Committer(Breaker(disk, Clock()))
    begin, errors = threading.Barrier(8), []

    def log() -> None:
        begin.wait()
        for _ in range(50):
            try:
                committer.commit("audit", counted)
            except SpoolError as error:
                errors.append(str(error))

    disk.error = SpoolError("locked")
    threads = [threading.Thread(target=log) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == ["locked"] * 400
    assert len(disk.asked) == 1
