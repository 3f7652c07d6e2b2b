"""Files that are not what was written: set aside and told of, and what can be read is saved."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from kiel_logging.errors import SpoolDamaged
from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spool.store import Store
from tests.handler.spool.sample import Told, row, rows

ROWS = 2000
PAGE = 4096


def leave(path: Path) -> tuple[str, Path]:
    """Leave a file of some 500 KB behind; return its instance and its path."""
    directory = Told().directory(path)
    store = directory.make()
    store.append([_row(place) for place in range(1, ROWS + 1)], {"audit": b"2000"})
    directory.release(store)
    return store.instance, store.path


def _row(place: int) -> Row:
    return row(place, b"%d" % place * 50)


def empty(path: Path) -> None:
    """As a file system may leave it after a power cut."""
    path.write_bytes(b"")


def random_bytes(path: Path) -> None:
    """As another program may."""
    path.write_bytes(random.Random(7).randbytes(50_000))


def cut(path: Path) -> None:
    """In the middle."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flip_a_page(path: Path) -> None:
    """In the middle, as a disk may."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // PAGE // 2 * PAGE)
        page = bytes(255 - byte for byte in file.read(PAGE))
        file.seek(-PAGE, 1)
        file.write(page)


def cut_header(path: Path) -> None:
    """Not even the first page is whole."""
    with path.open("r+b") as file:
        file.truncate(100)


def another_s(path: Path) -> None:
    """A database, and not a spool."""
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE rows (place, topic, payload)")
    connection.close()


DAMAGES = [
    # the damage, least rows that are saved, most rows, what is said of it
    (empty, 0, 0, "is no spool file, or only the beginning of one"),
    (random_bytes, 0, 0, "file is not a database"),
    (cut_header, 0, 0, "file is not a database|is no spool|malformed|disk I/O error"),
    (another_s, 0, 0, "is no spool file"),
    (cut, ROWS // 3, ROWS * 2 // 3, "malformed"),
    (flip_a_page, ROWS - 50, ROWS - 1, "is damaged|malformed"),
]


@pytest.mark.parametrize(("damage", "least", "most", "message"), DAMAGES)
def test_a_damaged_file_is_set_aside(
    tmp_path: Path, damage: Callable[[Path], None], least: int, most: int, message: str
) -> None:
    """What can be read of it is adopted in its place; the others are adopted as ever."""
    instance, path = leave(tmp_path)
    other, _ = leave(tmp_path)
    damage(path)
    told = Told()
    directory = told.directory(tmp_path)
    adopted = {store.instance: store for store in directory.adopt()}
    assert adopted.pop(other).rows == ROWS
    saved = [] if not adopted else adopted[instance].read(0, ROWS, 10**9)
    assert least <= len(saved) <= most
    assert saved == [_row(one.place) for one in saved]
    (report,) = told
    assert re.search(message, report)
    assert f"{len(saved)} records were read from it; what is left is in {path}.damaged" in report
    assert (tmp_path / f"{path.name}.damaged").exists()
    assert list(Told().directory(tmp_path).adopt()) == []


def test_what_is_saved_has_the_streams(tmp_path: Path) -> None:
    """And is removed as any other."""
    _, path = leave(tmp_path)
    flip_a_page(path)
    directory = Told().directory(tmp_path)
    (store,) = directory.adopt()
    assert store.streams() == {"audit": b"2000"}
    store.remove(range(1, ROWS + 1))
    directory.release(store)
    assert [one.name for one in tmp_path.iterdir()] == [f"{path.name}.damaged"]


def test_a_file_of_another_version_is_left_alone(tmp_path: Path) -> None:
    """The release that made it can read it; told once, however often it is tried."""
    _, path = leave(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = path.read_bytes()
    told = Told()
    directory = told.directory(tmp_path)
    assert list(directory.adopt()) == list(directory.adopt()) == []
    (report,) = told
    assert report == (
        f"the spool {path} has format 2 and this release of kiel_logging reads format 1: "
        "the release that made it can send what is in it"
    )
    assert path.read_bytes() == before
    assert path.with_suffix(".lock").exists()


def test_damage_that_is_found_while_reading(tmp_path: Path) -> None:
    """The store is given up, and what can be read of it is saved."""
    directory = Told().directory(tmp_path)
    store = directory.make()
    for start in range(1, ROWS, 100):
        store.append([_row(place) for place in range(start, start + 100)])
    store._ask("PRAGMA wal_checkpoint(TRUNCATE)")
    flip_a_page(store.path)
    store._ask("PRAGMA cache_size = 0")  # else it would know the page by heart
    with pytest.raises(SpoolDamaged, match="see to the disk") as raised:
        store.read(0, ROWS, 10**9)
    saved = directory.save(store, raised.value)
    assert saved is not None
    assert saved.instance == store.instance
    assert ROWS - 50 <= saved.rows < ROWS
    saved.remove(range(1, ROWS + 1))
    directory.release(saved)
    assert [one.name for one in tmp_path.iterdir()] == [f"{store.path.name}.damaged"]


def test_what_was_written_last_is_not_lost_with_the_log_s_end(tmp_path: Path) -> None:
    """A write-ahead log that was cut is good up to there: no damage."""
    path = tmp_path / "20260101T000000.spool"
    store = Store.make(path, "one")
    for place in range(1, 101):
        store.append([row(place)])
    copies = {
        one.name: one.read_bytes() for one in tmp_path.iterdir() if not one.name.endswith("shm")
    }
    store.close()
    for name, content in copies.items():
        end = len(content) - 6000 if name.endswith("wal") else len(content)
        (tmp_path / name).write_bytes(content[:end])
    told = Told()
    (adopted,) = told.directory(tmp_path).adopt()
    assert 90 < adopted.rows < 100
    assert told == []


def _a_log(path: Path) -> Path:
    """The -wal of a process that was killed, with rows in it."""
    path.mkdir()
    store = Told().directory(path).make()
    store.append([_row(place) for place in range(7, 9)])
    log = Path(f"{store.path}-wal")
    copy = path / "copy"
    shutil.copy(log, copy)
    store.close()
    return copy


@pytest.mark.parametrize("moved", [True, False])
def test_a_rescue_that_was_cut_short_is_made_again(tmp_path: Path, moved: bool) -> None:
    """Or made an end of, when the damaged file was out of the way already."""
    instance, path = leave(tmp_path)
    copy = path.with_suffix(".spool.salvaged")
    part = Store.make(copy, instance)
    part.append(rows(1))
    part.close()
    if moved:
        path.replace(path.with_suffix(".spool.damaged"))
        shutil.copy(_a_log(tmp_path / "other"), f"{path}-wal")  # of the damaged file
    (adopted,) = Told().directory(tmp_path).adopt()
    assert (adopted.instance, adopted.rows) == (instance, 1 if moved else ROWS)
    assert not copy.exists()
