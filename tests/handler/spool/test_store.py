"""One spool file: what it gives back, what it counts, and how large it gets."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.errors import SpoolError, SpoolFull
from kiel_logging.handler.spool.row import ROW_OVERHEAD, Row, size_of
from kiel_logging.handler.spool.statements import MOST_ROWS, choices, insertion, runs_of
from kiel_logging.handler.spool.store import Store
from tests.handler.pipeline.interruption import Trial, interrupt, interrupt_everywhere
from tests.handler.spool.sample import row, rows

MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "one.spool"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """A new one."""
    store = Store.make(path, "one")
    yield store
    store.close()


def places(store: Store, after: int = 0) -> list[int]:
    """The places of all rows."""
    return [one.place for one in store.read(after, 10**6, 10**9)]


# -- rows in, rows out ----------------------------------------------------------------------------


def test_rows_come_back_as_they_were(store: Store) -> None:
    """Any bytes, any topic."""
    given = [row(1, b""), row(2, bytes(range(256)), "logs"), row(2**62, b"x" * 100_000)]
    store.append(given)
    assert store.read(0, 10, MIB) == given
    assert (store.rows, store.size) == (3, sum(map(size_of, given)))


def test_reading_is_in_order_of_place(store: Store) -> None:
    """Whatever the order in which rows were appended."""
    store.append(rows(5, 3))
    store.append(rows(4, 1))
    assert places(store) == [1, 3, 4, 5]
    assert places(store, after=3) == [4, 5]
    assert store.last_place == 5


READS = [
    # most, most bytes, how many come of ten rows of 7 bytes
    (10, 1000, 10),
    (3, 1000, 3),
    (0, 1000, 0),
    (10, 21, 3),
    (10, 20, 2),
    (10, 1, 1),
    (10, 0, 1),
]


@pytest.mark.parametrize(("most", "most_bytes", "expected"), READS)
def test_a_read_is_bounded(store: Store, most: int, most_bytes: int, expected: int) -> None:
    """By rows and by bytes, and gets on even where one row alone is too large."""
    store.append(rows(*range(1, 11)))
    assert len(store.read(0, most, most_bytes)) == expected


REMOVALS = [
    ([], list(range(1, 101))),
    ([1], list(range(2, 101))),
    (range(1, 101), []),
    (range(20, 81), [*range(1, 20), *range(81, 101)]),
    (range(1, 101, 2), list(range(2, 101, 2))),
    ([*range(1, 40), 50, 52, 53, *range(60, 101)], [*range(40, 50), 51, *range(54, 60)]),
    ([7, 7, 1000, 0], [*range(1, 7), *range(8, 101)]),
]


@pytest.mark.parametrize(("removed", "left"), REMOVALS)
def test_what_is_removed_is_gone(store: Store, removed: Any, left: list[int]) -> None:
    """In ranges or one by one, in any order, there or not."""
    store.append(rows(*range(1, 101)))
    store.remove(reversed(list(removed)))
    assert places(store) == left
    assert (store.rows, store.size) == (len(left), sum(map(size_of, rows(*left))))


def test_thousands_are_removed_in_few_statements() -> None:
    """A range counts once, and what is scattered goes together."""
    scattered = range(10_001, 30_001, 2)
    chosen = list(choices(runs_of([*range(1, 9_000), *scattered])))
    assert [len(values) for _, values in chosen] == [2, MOST_ROWS, MOST_ROWS, 2048]
    assert {place for _, values in chosen[1:] for place in values} == set(scattered)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 1000, MOST_ROWS])
def test_few_statements_serve_all_numbers_of_rows(store: Store, count: int) -> None:
    """For each is kept, compiled; what pads them is no row."""
    statement, values = insertion(rows(*range(1, count + 1)), {}, 0)
    assert statement.count("?") == len(values)
    assert (len(values) // 4).bit_count() == 1
    store.append(rows(*range(1, count + 1)))
    assert store.rows == count


def test_more_than_go_together_are_refused(store: Store) -> None:
    """Rather than be two transactions."""
    with pytest.raises(ValueError, match="4097 rows at once: at most 4096"):
        store.append(rows(*range(1, MOST_ROWS + 2)))


def test_a_place_is_given_once(store: Store) -> None:
    """And where one of the rows has no place none of them is there."""
    store.append(rows(1))
    with pytest.raises(SpoolError, match="each place is given once"):
        store.append(rows(2, 1))
    assert (places(store), store.rows, store.size) == ([1], 1, size_of(row(1)))
    assert store.last_place == 1


# -- streams --------------------------------------------------------------------------------------


def test_a_stream_s_state_outlives_its_rows(path: Path) -> None:
    """And the end of the process."""
    store = Store.make(path, "one")
    store.append(rows(1, 2), {"audit": b"second", "logs": b"none yet"})
    store.remove([1, 2])
    store.close()
    again = Store.open(path)
    assert again.streams() == {"audit": b"second", "logs": b"none yet"}
    again.close()


def test_an_older_state_replaces_none_that_is_newer(store: Store) -> None:
    """It is as old as the last of its rows."""
    store.append(rows(7, 6), {"audit": b"of 7"})
    store.append(rows(5, 4), {"audit": b"of 5", "logs": b"first"})
    assert store.streams() == {"audit": b"of 7", "logs": b"first"}
    store.append(rows(8), {"audit": b"of 8"})
    assert store.streams() == {"audit": b"of 8", "logs": b"first"}


def test_a_state_without_rows_is_of_now(store: Store) -> None:
    """The newest that there is."""
    store.append(rows(7), {"audit": b"of 7"})
    store.append([], {"audit": b"later"})
    store.append([])
    assert store.streams() == {"audit": b"later"}


# -- bounds ---------------------------------------------------------------------------------------


def test_it_takes_max_bytes_to_the_byte(path: Path) -> None:
    """And not one more; and again, when there is room again."""
    room = 3 * (ROW_OVERHEAD + len("audit") + 10)
    store = Store.make(path, "one", max_bytes=room)
    store.append([row(1, bytes(10)), row(2, bytes(10))])
    with pytest.raises(SpoolFull, match=f"94 of {room} bytes and 48 more don't fit"):
        store.append([row(3, bytes(11))])
    store.append([row(3, bytes(10))])
    assert store.size == room
    with pytest.raises(SpoolFull):
        store.append([row(4, b"", "")])
    store.append([], {"audit": b"no row"})
    store.remove([2])
    store.append([row(4, bytes(10))])
    assert (places(store), store.size) == ([1, 3, 4], room)
    store.close()


def test_counts_are_those_of_the_file(path: Path) -> None:
    """When it is opened again, they are what they were."""
    store = Store.make(path, "one")
    store.append([row(place, bytes(place)) for place in range(1, 500)])
    store.remove(range(1, 400, 3))
    before = (store.rows, store.size, store.last_place, store.instance)
    store.close()
    again = Store.open(path)
    assert (again.rows, again.size, again.last_place, again.instance) == before
    again.close()


def test_the_file_is_small_again_after_a_backlog(store: Store, path: Path) -> None:
    """And while it goes on growing and shrinking its log stays small."""
    large = bytes(20_000)
    for start in range(1, 2001, 100):
        store.append([row(place, large) for place in range(start, start + 100)])
    backlog = path.stat().st_size
    wal = path.with_name(path.name + "-wal").stat().st_size
    for start in range(1, 2001, 100):
        store.remove(range(start, start + 100))
    for place in range(3000, 6000):  # as much again in the log as makes it go into the file
        store.append([row(place)])
    assert backlog > 30 * MIB
    assert path.stat().st_size < 8 * MIB
    assert max(wal, path.with_name(path.name + "-wal").stat().st_size) < 12 * MIB


def test_space_is_used_again(store: Store, path: Path) -> None:
    """A file that is filled and emptied all the time gets no larger."""
    sizes = []
    for start in range(1, 20_001, 1000):
        store.append([row(place, bytes(1000)) for place in range(start, start + 1000)])
        store.remove(range(start, start + 1000))
        sizes.append(path.stat().st_size)
    assert sizes[-1] < 4 * MIB


# -- files ----------------------------------------------------------------------------------------


def test_nobody_else_may_read_it(store: Store, path: Path) -> None:
    """Nor what SQLite writes beside it."""
    store.append(rows(1))
    modes = [stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()]
    assert modes == [0o600] * 3


@pytest.mark.parametrize(
    ("left", "removed", "expected"),
    [([], True, []), ([], False, ["one.spool"]), ([1], True, ["one.spool"])],
)
def test_an_empty_file_is_removed_if_asked_to(
    path: Path, left: list[int], removed: bool, expected: list[str]
) -> None:
    """One with rows in it never."""
    store = Store.make(path, "one")
    store.append(rows(*left))
    store.close(delete_if_empty=removed)
    assert [one.name for one in path.parent.iterdir()] == expected


CALLS: list[Callable[[Store], Any]] = [
    lambda store: store.append(rows(1)),
    lambda store: store.read(0, 1, 1),
    lambda store: store.remove([1]),
    lambda store: store.streams(),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_store_says_so(store: Store, call: Callable[[Store], Any]) -> None:
    """In our words; closing it again is nothing."""
    store.close()
    store.close()
    with pytest.raises(SpoolError, match="is closed"):
        call(store)


def test_a_file_that_is_there_is_not_made_again(store: Store, path: Path) -> None:
    """It may be somebody's."""
    store.append(rows(1))
    with pytest.raises(SpoolError, match=r"can't spool to .*one\.spool"):
        Store.make(path, "two")
    assert store.rows == 1


# -- threads, and what comes on top ---------------------------------------------------------------


def test_readers_and_writers_are_different_threads(store: Store) -> None:
    """One appends, one reads and removes: each row is read once, in order."""
    read: list[int] = []

    def append() -> None:
        for start in range(1, 2001, 20):
            store.append(rows(*range(start, start + 20)))

    writer = threading.Thread(target=append)
    writer.start()
    while writer.is_alive() or store.rows:
        found = [one.place for one in store.read(0, 50, MIB)]
        store.remove(found)
        read += found
    writer.join()
    assert read == list(range(1, 2001))
    assert (store.rows, store.size) == (0, 0)


WORK: dict[str, Callable[[Store], Any]] = {
    "append": lambda store: store.append(rows(1, 2), {"audit": b"of 2"}),
    "read": lambda store: store.read(0, 10, MIB),
    "remove": lambda store: store.remove([101, 102, 104, *range(110, 140)]),
}


@pytest.mark.parametrize("name", WORK)
def test_a_signal_handler_may_append_at_any_moment(tmp_path: Path, name: str) -> None:
    """On top of whatever the same thread does with the store: both are done, once."""
    names = iter(range(10_000))

    def make() -> Trial:
        path = tmp_path / f"{next(names)}.spool"
        store = Store.make(path, "one")
        store.append(rows(*range(101, 151)))

        def check() -> None:
            done = {
                "append": {*range(101, 151), 1, 2, 200},
                "read": {*range(101, 151), 200},
                "remove": {*range(101, 151), 200} - {101, 102, 104, *range(110, 140)},
            }[name]
            assert set(places(store)) == done
            counts = (store.rows, store.size, store.last_place)
            assert counts == (len(done), sum(map(size_of, rows(*done))), 200)
            assert store.streams()["logs"] == b"on top"
            store.close(delete_if_empty=True)

        def on_top() -> None:
            store.append([row(200)], {"logs": b"on top"})

        return Trial(lambda: WORK[name](store), on_top, check)

    assert interrupt_everywhere(make) > 10


@pytest.mark.parametrize("name", WORK)
def test_an_exception_may_come_at_any_moment(tmp_path: Path, name: str) -> None:
    """KeyboardInterrupt: done or not done, and the counts are right."""

    def tear() -> None:
        raise KeyboardInterrupt

    moment, came = 0, True
    while came:
        moment += 1
        store = Store.make(tmp_path / f"{moment}.spool", "one")
        store.append(rows(*range(101, 151)))
        try:
            came = interrupt(lambda: WORK[name](store), tear, moment)  # noqa: B023
        except KeyboardInterrupt:
            came = True
        store.append(rows(1000))
        assert sum(map(size_of, store.read(0, 1000, MIB))) == store.size
        assert (places(store)[:2] == [1, 2]) == (store.rows == 53)
        store.close()
    assert moment > 10


def test_it_is_held_still_for_a_fork(store: Store) -> None:
    """No thread is in SQLite meanwhile; who asks too long is told."""
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        store.pause(10.0)
        held.set()
        let_go.wait()
        store.go_on()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with pytest.raises(TimeoutError):
        store.pause(0.01)
    let_go.set()
    holder.join()
    assert store.pause(10.0)
    store.go_on()


def test_it_tells_what_it_is(store: Store) -> None:
    """For whoever debugs."""
    store.append([Row(1, "audit", b"12345")])
    assert repr(store) == "<Store one.spool rows=1 size=42>"
    assert os.fspath(store.path).endswith("one.spool")
