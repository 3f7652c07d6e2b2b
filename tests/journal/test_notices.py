"""Notices: hints that something changed in a directory."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiel_logging.journal.notices import Notices

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def notices() -> Iterator[Notices]:
    """Watch nothing yet."""
    made = Notices()
    yield made
    made.close()


def come(notices: Notices) -> bool:
    """Whether there are any."""
    assert notices.number is not None
    return bool(select.select([notices.number], [], [], 0)[0])


def test_names_that_appear(notices: Notices, tmp_path: Path) -> None:
    """There is a notice for each; that a file is written is none."""
    notices.watch_names(tmp_path)
    assert not come(notices)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert come(notices)
        found, _ = notices.take()
        assert len(found) == 1
        assert not come(notices)
    (tmp_path / "c").touch()
    notices.take()
    (tmp_path / "c").write_text("more")
    assert notices.take() == (set(), set())


def test_the_next_write(notices: Notices, tmp_path: Path) -> None:
    """There is one notice, with the number that was promised, however much is written."""
    (tmp_path / "file").touch()
    number = notices.watch_once(tmp_path)
    for _ in range(3):
        with (tmp_path / "file").open("a") as file:
            file.write("line")
    assert notices.take() == ({number}, {number})
    (tmp_path / "file").write_text("more")
    assert notices.take() == (set(), set())


def test_a_directory_that_is_removed(notices: Notices, tmp_path: Path) -> None:
    """The notice will not come any more."""
    (tmp_path / "gone").mkdir()
    number = notices.watch_once(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert notices.take() == (set(), {number})


def test_no_notices(notices: Notices, tmp_path: Path) -> None:
    """A directory that can't be watched is no error, and so is a system without notices."""
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (tmp_path / "none", tmp_path / "link"):
        assert notices.watch_once(path) is None
        notices.watch_names(path)
    notices.close()
    assert notices.watch_once(tmp_path) is None
    assert notices.take() == (set(), set())
