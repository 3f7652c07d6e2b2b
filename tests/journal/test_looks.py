"""Looks at a journal that others have: they take no lock, and find files gone between two calls."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kiel_logging.journal.directory import OWNER, Journal
from kiel_logging.journal.frames import MAGIC
from kiel_logging.journal.local_stream import LocalStream
from kiel_logging.journal.locks import birth, holder
from kiel_logging.journal.segments import segment_path, segments_in
from tests.journal.sample import INSTANCE, TOPIC, fill, loaded, program, values


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[LocalStream]:
    """A stream with one record."""
    journal = Journal(tmp_path, INSTANCE)
    with closing(journal):
        fill(journal.stream(TOPIC), 1)
        yield journal.stream(TOPIC)
        journal.abandon()


def test_a_link_is_no_lock(stream: LocalStream) -> None:
    """It might lead anywhere: this is an error of the system."""
    link = stream.path.parent / "link.lock"
    link.symlink_to(stream.path.parent / OWNER)
    with pytest.raises(OSError, match="symbolic links"):
        holder(link)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_processes_are_known_by_their_births(stream: LocalStream) -> None:
    """An owner says its own; a process that is gone has none."""
    about = json.loads((stream.path.parent / OWNER).read_text())
    assert about["born"] == birth(os.getpid())
    parent = birth(os.getppid())
    assert parent is not None
    assert parent <= about["born"]
    with program("input()") as running:
        assert birth(running.pid) is not None
        running.kill()
        running.wait()
        assert birth(running.pid) is None


def test_runs_end_with_a_frame_of_another_format(stream: LocalStream) -> None:
    """It comes last, and alone if it is a segment's first."""
    foreign = MAGIC[:2] + b"\2" + MAGIC[3:] + bytes(100)
    segment_path(stream.path, 2).write_bytes(foreign)
    runs = list(loaded(stream).runs())
    assert [(values(run.entries), run.foreign) for run in runs] == [
        ([b"record 1"], None),
        ([], 2),
    ]


def test_a_segment_that_is_released_meanwhile_is_not_there(
    stream: LocalStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may remove it between two calls of the system."""
    there, gone = segment_path(stream.path, 1), segment_path(stream.path, 7)
    monkeypatch.setattr(Path, "glob", lambda *_: iter((gone, there)))
    assert list(segments_in(stream.path)) == [1]
