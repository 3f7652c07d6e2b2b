"""A spool's file where there is no room, not even to remove rows: what is owed, and how it goes.

Without a disk that is full: a trigger has SQLite want pages that it may not have. The end of the
module, and ``test_full_disk.py``, are on a disk that is.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.errors import SpoolError
from kiel_logging.handler.spool.faults import NoRoom
from kiel_logging.handler.spool.file import SpoolFile
from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spool.store import Store
from tests.handler.pipeline.interruption import Trial, interrupt
from tests.handler.spool.sample import Told, row, rows, run
from tests.support.small_disk import FILL_UP, NEEDS_SMALL_DISK, on_small_disk

_ADDS_PAGES = """
CREATE TEMP TRIGGER adds_pages BEFORE DELETE ON main.rows BEGIN
    INSERT INTO meta VALUES (hex(randomblob(8)), hex(zeroblob(500000)));
END;
PRAGMA max_page_count = 1;
"""
"""SQLite sets the bound to as many pages as there are."""


def store_of(file: SpoolFile) -> Store:
    """What the file is at the moment."""
    assert file._store is not None
    return file._store


def fill(file: SpoolFile) -> None:
    """From now on no row can be removed, and none added for long."""
    store_of(file)._connection.executescript(_ADDS_PAGES)


def make_room(file: SpoolFile) -> None:
    """There is again."""
    store_of(file)._connection.executescript(
        "DROP TRIGGER adds_pages; PRAGMA max_page_count = 1000000"
    )
    file._settle_at = 0.0  # a second later


def places(file: SpoolFile) -> list[int]:
    """Of all its rows."""
    return [one.place for one in file.read(0, 10**6, 10**9)]


def names(path: Path) -> list[str]:
    """What is in a directory."""
    return sorted(one.suffix for one in path.iterdir())


@pytest.fixture
def told() -> Told:
    """What is reported."""
    return Told()


@pytest.fixture
def file(tmp_path: Path, told: Told) -> SpoolFile:
    """This process's own, full, with a hundred rows."""
    file = SpoolFile(told.directory(tmp_path))
    file.append(rows(*range(1, 101)), {"audit": b"100"})
    fill(file)
    return file


def test_a_store_says_that_there_is_no_room(file: SpoolFile) -> None:
    """To remove a row, or to add a large one; nothing is changed by either."""
    store = store_of(file)
    with pytest.raises(NoRoom, match="make room there"):
        store.remove([1])
    with pytest.raises(NoRoom, match="make room there"):
        store.append([row(101, bytes(10**6))])
    assert (store.rows, places(file)) == (100, list(range(1, 101)))
    file.close()


def test_what_is_owed_goes_when_there_is_room(file: SpoolFile, told: Told) -> None:
    """With whatever is removed next. It is told once, and raised to nobody."""
    store = store_of(file)
    file.remove(range(1, 51))
    file.remove(range(60, 71))
    assert len(places(file)) == 100
    (report,) = told
    assert "its file system has no room left" in report
    assert "What is delivered stays in it until there is, or until all of it is" in report
    make_room(file)
    file.remove([99])
    assert places(file) == [*range(51, 60), *range(71, 99), 100]
    assert store_of(file) is store
    assert len(told) == 1
    file.close()


def test_what_is_owed_goes_at_the_end(tmp_path: Path, file: SpoolFile) -> None:
    """If there is room then: else the next process would send it again."""
    file.remove(range(1, 100))
    make_room(file)
    file.close()
    (adopted,) = Told().directory(tmp_path).adopt()
    assert [one.place for one in adopted.read(0, 10, 1000)] == [100]


def test_one_s_own_file_goes_when_all_of_it_may(tmp_path: Path, file: SpoolFile) -> None:
    """And another comes in its place, which knows of the streams what that one did."""
    full = store_of(file)
    file.remove(range(2, 101))
    assert store_of(file) is full
    file.remove([1])
    store = store_of(file)
    assert store is not full
    assert not full.path.exists()
    assert (store.rows, file.streams()) == (0, {"audit": b"100"})
    file.append(rows(101), {"audit": b"101"})
    assert (places(file), file.streams()) == ([101], {"audit": b"101"})
    file.remove([101])
    assert places(file) == []
    file.close()
    assert names(tmp_path) == []


def test_the_file_of_another_goes_when_all_of_it_may(tmp_path: Path, file: SpoolFile) -> None:
    """With its lock, and nothing is made in its place."""
    file.close()
    directory = Told().directory(tmp_path)
    (store,) = directory.adopt()
    adopted = SpoolFile(directory, store)
    fill(adopted)
    for place in range(1, 101):
        adopted.remove([place])
    assert names(tmp_path) == []
    adopted.close()


def test_a_row_that_nobody_has_removed_keeps_the_file(file: SpoolFile) -> None:
    """Wherever it is, and though places that are not there were removed."""
    for place in (1, 40, 100):
        file.remove([one for one in range(1, 110) if one != place])
        assert place in places(file)
        file._owed = []
    file.close()


def test_any_other_trouble_is_raised(tmp_path: Path, told: Told) -> None:
    """And tried again by whoever removes; but a file of which all may go goes all the same."""
    file = SpoolFile(told.directory(tmp_path))
    file.append(rows(1, 2), {})
    locked = store_of(file)
    other = Store.open(locked.path)
    other._connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolError, match="another program holds the file locked"):
        file.remove([1])
    assert places(file) == [1, 2]
    file.remove([2])
    assert not locked.path.exists()
    other.close()
    file.close()
    assert told == []


def test_a_record_may_come_while_the_file_goes(tmp_path: Path) -> None:
    """At any moment: it is in the file that is there then, or was refused."""

    def make() -> Trial:
        file = SpoolFile(Told().directory(tmp_path))
        file.append(rows(1, 2, 3), {"audit": b"3"})
        fill(file)
        written: list[int] = []

        def come() -> None:
            try:
                file.append(rows(4), {"audit": b"4"})
            except SpoolError:
                return
            written.append(4)

        def check() -> None:
            assert [one for one in places(file) if one > 3] == written
            assert file.streams() == {"audit": b"4" if written else b"3"}
            file._settle_at = 0.0
            if places(file)[:1] == [1]:
                make_room(file)
            file.remove([1, 2, 3, 4])
            file.close()
            assert names(tmp_path) == []

        return Trial(lambda: file.remove([1, 2, 3]), come, check)

    moments, came = 0, True
    while came:
        moments += 1
        trial = make()
        came = interrupt(trial.work, trial.on_top, moment=moments, within="kiel_logging.")
        trial.check()
    assert moments > 50


def test_a_thread_that_has_the_file_that_goes(file: SpoolFile) -> None:
    """Writes to the one that comes in its place."""
    full, looks = store_of(file), threading.Event()

    class Seen(list[Row]):
        def __len__(self) -> int:
            looks.set()
            return super().__len__()

    full.pause(10.0)
    thread = threading.Thread(target=lambda: file.append(Seen(rows(101)), {}))
    thread.start()
    looks.wait()
    file.remove(range(1, 101))
    full.go_on()
    thread.join()
    assert store_of(file) is not full
    assert places(file) == [101]
    file.close()


# -- on a disk that is full ------------------------------------------------------------------------

_BEFORE = (
    FILL_UP
    + """
import json
from pathlib import Path
from kiel_logging.errors import SpoolError
from kiel_logging.handler.spool.directory import SpoolDirectory
from kiel_logging.handler.spool.faults import NoRoom
from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spool.store import Store
from tests.handler.spool.sample import row, rows

path = Path({path!r})
told = []
directory = SpoolDirectory(path, report=told.append)

def names():
    return sorted(one.name for one in path.iterdir())

def leave(*places):
    # another process, which is killed
    before = set(names())
    if os.fork() == 0:
        directory.make().append([row(place, bytes(1000)) for place in places])
        os.kill(os.getpid(), 9)
    os.wait()
    (left,) = [name for name in set(names()) - before if name.endswith(".spool")]
    return path / left
"""
)


def run_on(path: Path, code: str, size: str = "4m") -> dict[str, Any]:
    """Run a program in a directory that is a small disk; return what it `found`."""
    work = _BEFORE.format(path=str(path)) + code + "\nprint(json.dumps(found))"
    found: dict[str, Any] = run(work, *on_small_disk(path, size))
    return found


@NEEDS_SMALL_DISK
def test_whatever_is_missing_nothing_is_left_of_a_file_that_can_t_be_made(tmp_path: Path) -> None:
    """From no room at all, page by page, to enough: each is a want of room, and is told as one."""
    code = """
fill_up(path)
found = dict(made=0, refused=0, left=[])
for _ in range(40):
    os.truncate(path / "filling", os.path.getsize(path / "filling") - 4096)
    try:
        directory.release(directory.make())
        found["made"] += 1
    except NoRoom:
        found["refused"] += 1
    found["left"] += [name for name in names() if name != "filling"]
"""
    found = run_on(tmp_path, code)
    assert found["left"] == []
    assert found["made"] in range(10, 35)
    assert found["refused"] == 40 - found["made"]


@NEEDS_SMALL_DISK
def test_there_may_be_room_for_bytes_and_not_for_files(tmp_path: Path) -> None:
    """SQLite says that it can't open what it can't make: that is a want of room as well."""
    code = """
others = []
def take(number):
    others.append(path / f"{number}.other")
    others[-1].touch()
for number in range(20):
    try:
        take(number)
    except OSError:
        break
others.pop()
found = dict(made=[], left=[])
for _ in range(6):
    try:
        directory.release(directory.make())
        found["made"].append(True)
    except NoRoom:
        found["made"].append(False)
    found["left"] += [name for name in names() if not name.endswith(".other")]
    others.pop().unlink()
"""
    found = run_on(tmp_path, code, "4m,nr_inodes=12")
    assert found == {"made": [False] * 4 + [True] * 2, "left": []}


TAKEN = [
    ("4m", "fill_up(path)", ["filling"]),
    ("4m,nr_inodes=5", '(path / "other").touch()', ["other"]),
]
"""Sizes of the disk, and what takes the rest of it: the last byte, or the last file."""


@NEEDS_SMALL_DISK
@pytest.mark.parametrize(("size", "take_the_rest", "rest"), TAKEN)
def test_what_the_dead_left_is_read_without_any_room(
    tmp_path: Path, size: str, take_the_rest: str, rest: list[str]
) -> None:
    """Though SQLite has to make a -shm anew, and all of the rows are in the -wal; then it goes."""
    code = f"""
left = leave(*range(1, 501))
Path(f"{{left}}-shm").unlink()
{take_the_rest}
(store,) = directory.adopt()
found = dict(rows=len(store.read(0, 1000, 10**7)), told=told)
try:
    store.remove(range(1, 501))
except NoRoom:
    found["refused"] = store.rows
found["gone"] = store.drop([range(1, 501)])
directory.release(store)
found["names"] = names()
"""
    found = run_on(tmp_path, code, size)
    refused = found.pop("refused", None)
    assert found == {"rows": 500, "told": [], "gone": True, "names": rest}
    assert refused == (500 if rest == ["filling"] else None)


@NEEDS_SMALL_DISK
def test_a_damaged_file_waits_for_room(tmp_path: Path) -> None:
    """It is told, the others are adopted; and however much there is, nothing is lost of it."""
    code = """
left = leave(*range(1, 501))
Store.open(left).close()  # all of it into the file
with left.open("r+b") as file:
    file.seek(4096 * 100)
    file.write(bytes(4096))
other = leave(1)
fill_up(path)
before = left.read_bytes()
found = dict(adopted=[store.path == other for store in directory.adopt()], told=told)
found["as_it_was"] = left.read_bytes() == before
found["tries"], saved = 0, []
while not saved and found["tries"] < 400:
    found["tries"] += 1
    os.truncate(path / "filling", os.path.getsize(path / "filling") - 8192)
    saved = [store.rows for store in directory.adopt()]
found["saved"] = saved
"""
    found = run_on(tmp_path, code)
    assert (found["adopted"], found["as_it_was"]) == ([True], True)
    wanted, saved = found["told"]
    assert "no room left" in wanted
    assert 20 < found["tries"] < 400
    (rows,) = found["saved"]
    assert 450 < rows < 500
    assert f"{rows} records were read from it" in saved
