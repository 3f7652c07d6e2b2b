"""A journal whose records another process sends: the writer appends and rolls, the other reads."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from kiel_logging.errors import SpoolError, SpoolFull
from kiel_logging.journal.directory import OWNER, SHIPPER, Directory, Journal, Orphan
from kiel_logging.journal.frames import encode
from kiel_logging.journal.segments import Descriptor, segment_path
from kiel_logging.journal.stream import CHECKPOINT, START, Stream
from tests.journal.sample import (
    INSTANCE,
    TOPIC,
    fill,
    frame,
    loaded,
    numbered,
    numbers,
    output,
    program,
    read_all,
    said,
)
from tests.support.waiting import until

_INSTANCES = itertools.count()
"""Of each test another: this process keeps their locks."""

SIZE = len(encode(numbered(1), 0))
WRITER = """
journal = Journal(Path({root!r}), INSTANCE, segment_bytes={segment}, ships=False)
stream = journal.stream(TOPIC)
"""


def unshipped(root: Path, **options: Any) -> Journal:
    """Return a journal that another process sends."""
    return Journal(root, f"{next(_INSTANCES):032x}", ships=False, **options)


def segments(stream: Stream) -> list[str]:
    """Return the names of a stream's segments."""
    return sorted(path.name for path in stream.path.glob("*.log"))


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Orphan]:
    """The records 1 and 2 of a living writer, another process."""
    code = WRITER.format(root=str(tmp_path), segment=3 * SIZE) + (
        "fill(stream, 1, 2); print('ready', flush=True)\n"
        "for line in sys.stdin: exec(line); print('done', flush=True)"
    )
    with program(code) as writer:
        assert said(writer) == "ready"
        (orphan,) = Directory(tmp_path, living=True).orphans()
        orphan.writer = writer  # type: ignore[attr-defined]
        yield orphan
        orphan.release()


def do(orphan: Orphan, line: str) -> None:
    """Have the writer run a line of code."""
    writer = orphan.writer  # type: ignore[attr-defined]
    writer.stdin.write(line + "\n")
    writer.stdin.flush()
    assert said(writer) == "done"


def test_a_full_segment_is_followed_by_another(tmp_path: Path) -> None:
    """The thread that appends starts it, as no shipper does."""
    stream = unshipped(tmp_path, segment_bytes=2 * SIZE).stream(TOPIC)
    fill(stream, 1, 2, 3, 4, 5)
    assert segments(stream) == [f"{number:08}.log" for number in (1, 2, 3)]
    assert numbers(loaded(stream)) == [1, 2, 3, 4, 5]


def test_the_lock_of_who_ships_is_left_to_others(tmp_path: Path) -> None:
    """The writer takes the owner's lock alone."""
    journal = unshipped(tmp_path)
    fill(journal.stream(TOPIC), 1)
    assert (journal.path / OWNER).exists()
    assert not (journal.path / SHIPPER).exists()


def test_an_append_on_top_of_another_rolls_not(tmp_path: Path) -> None:
    """The write beneath is still to come, and would go to a finished segment."""
    stream = unshipped(tmp_path, segment_bytes=2 * SIZE).stream(TOPIC)
    fill(stream, 1)
    write, inside = Descriptor.append, [2, 3, 4]

    def interrupted(file: Descriptor, data: bytes) -> int:
        if inside:
            fill(stream, inside.pop(0))
        return write(file, data)

    with patch.object(Descriptor, "append", interrupted):
        fill(stream, 5)
    assert segments(stream) == ["00000001.log"]
    assert numbers(stream) == [1, 4, 3, 2, 5]
    fill(stream, 6)
    assert segments(stream) == ["00000001.log", "00000002.log"]


def test_behind_the_front_of_a_frame_a_segment_begins(tmp_path: Path) -> None:
    """So a full disk empties itself: the shipper removes the finished segment."""
    stream = unshipped(tmp_path).stream(TOPIC)
    fill(stream, 1)
    write = Descriptor.append
    with patch.object(Descriptor, "append", lambda file, data: write(file, data[:9])):
        assert isinstance(stream.append(encode(numbered(2), stream.seed)).error, SpoolFull)
    fill(stream, 3)
    assert segments(stream) == ["00000001.log", "00000002.log"]
    assert numbers(loaded(stream)) == [1, 3]


def test_the_bound_counts_the_files_that_are_there(tmp_path: Path) -> None:
    """Another process makes room by removing segments."""
    journal = unshipped(tmp_path, segment_bytes=2 * SIZE, max_bytes=4 * SIZE)
    journal.segment_bytes = 2 * SIZE  # smaller than any real one
    stream = journal.stream(TOPIC)
    fill(stream, 1, 2, 3, 4)
    with pytest.raises(SpoolFull, match="raise spool_max_bytes"):
        fill(stream, 5)
    segment_path(stream.path, 1).unlink()
    until(lambda: stream.append(encode(numbered(5), stream.seed)).error is None)
    assert segments(stream) == ["00000002.log", "00000003.log"]


def test_a_living_writers_records_are_another_processs(living: Orphan) -> None:
    """Exactly one has them; it reads on as the writer appends, over the ends of segments."""
    assert living.living
    (stream,) = living.streams()
    assert numbers(stream, ended=False) == [1, 2]
    assert not stream.refresh()
    do(living, "fill(stream, 3, 4, 5, 6, 7)")
    assert stream.refresh()
    assert numbers(stream, ended=False) == [1, 2, 3, 4, 5, 6, 7]
    code = f"print(len(Directory(Path({str(living.path.parent)!r}), living=True).orphans()))"
    assert output(code) == 0


def test_finished_segments_of_a_living_writer_are_released(living: Orphan) -> None:
    """The one that may grow stays."""
    (stream,) = living.streams()
    do(living, "fill(stream, 3, 4)")
    assert stream.refresh()
    stream.release(read_all(stream))
    assert segments(stream) == ["00000002.log"]
    do(living, "fill(stream, 5)")
    assert stream.refresh()
    assert numbers(stream, stream.position, ended=False) == [5]


def test_a_dead_writer_is_noticed(living: Orphan) -> None:
    """Its lock goes to the process that sends its records, which then removes the rest."""
    assert living.look() == []
    assert living.living
    do(living, "fill(journal.stream('other'), 8)")
    living.writer.kill()  # type: ignore[attr-defined]
    living.writer.wait()  # type: ignore[attr-defined]
    (other,) = living.look()
    assert (other.topic, living.living) == ("other", False)
    for stream in living.streams():
        stream.refresh()
        stream.release(read_all(stream))
    assert living.remove()
    assert not living.path.exists()


def test_a_writer_that_sends_is_left_alone(tmp_path: Path) -> None:
    """Also while it makes its directory, and has one of its locks only."""
    code = WRITER.format(root=str(tmp_path), segment=9).replace(", ships=False", "")
    with program(code + "fill(stream, 1); print(flush=True); input()") as writer:
        said(writer)
        (tmp_path / INSTANCE / SHIPPER).unlink()
        directory = Directory(tmp_path, living=True)
        assert directory.orphans() == []
        (tmp_path / INSTANCE / OWNER).write_bytes(b"")
        assert directory.orphans() == []


def test_a_dead_writers_records_go_to_handlers_as_well(tmp_path: Path) -> None:
    """Whatever it left to others while it lived."""
    code = WRITER.format(root=str(tmp_path), segment=10**6) + "fill(stream, 1, 2); print(1)"
    assert output(code) == 1
    (orphan,) = Directory(tmp_path).orphans()
    assert numbers(orphan.streams()[0]) == [1, 2]
    orphan.release()


def test_the_group_may_send_where_it_may_write_to_the_directory(tmp_path: Path) -> None:
    """Whatever the umask is; elsewhere only the user may."""
    for name, rights, modes in (
        ("own", 0o700, (0o700, 0o600)),
        ("shared", 0o2770, (0o2770, 0o660)),
    ):
        root = tmp_path / name
        root.mkdir()
        root.chmod(rights)
        before = os.umask(0o077)
        try:
            stream = unshipped(root).stream(TOPIC)
            fill(stream, 1)
        finally:
            os.umask(before)
        instance = stream.path.parent
        for path in (instance, stream.path):
            assert stat.S_IMODE(path.stat().st_mode) == modes[0]
        for path in (instance / OWNER, stream.path / CHECKPOINT, segment_path(stream.path, 1)):
            assert stat.S_IMODE(path.stat().st_mode) == modes[1]


def test_directories_of_users_are_looked_into(tmp_path: Path) -> None:
    """One level below the root, and through no link."""
    home = tmp_path / "spool" / "ada"
    home.mkdir(parents=True)
    (tmp_path / "spool" / "link").symlink_to(home)
    assert output(WRITER.format(root=str(home), segment=10**6) + "fill(stream, 1); print(1)") == 1
    (orphan,) = Directory(tmp_path / "spool", living=True).orphans()
    assert orphan.path == home / INSTANCE
    orphan.release()


# -- hostile writers -------------------------------------------------------------------------------


@pytest.fixture
def hostile(tmp_path: Path) -> Orphan:
    """A dead writer's instance, as a process that sends for others has it."""
    assert output(WRITER.format(root=str(tmp_path), segment=10**6) + "fill(stream, 1); print(1)")
    (orphan,) = Directory(tmp_path, living=True).orphans()
    return orphan


@pytest.mark.parametrize("name", ["00000001.log", CHECKPOINT])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_links_and_pipes_are_not_opened(hostile: Orphan, name: str, kind: str) -> None:
    """Nor waited for."""
    (stream,) = hostile.streams()
    path, secret = stream.path / name, hostile.path.parent / "secret"
    secret.write_bytes(b"secret")
    path.unlink()
    path.symlink_to(secret) if kind == "link" else os.mkfifo(path)
    with pytest.raises(SpoolError):
        stream.read(START) if name != CHECKPOINT else stream.store(read_all(stream))
    assert secret.read_bytes() == b"secret"
    hostile.release()


def test_nothing_is_removed_through_a_link(hostile: Orphan, tmp_path: Path) -> None:
    """A directory that becomes a link while its records are sent."""
    (stream,) = hostile.streams()
    checkpoint = read_all(stream)
    target = tmp_path / "target"
    stream.path.rename(target)
    stream.path.symlink_to(target)
    with pytest.raises(SpoolError):
        stream.release(checkpoint._replace(segment=2, offset=0))
    assert (target / "00000001.log").exists()
    hostile.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")
@pytest.mark.parametrize("whose", ["file", "directory"])
def test_files_of_a_third_user_are_not_read(hostile: Orphan, whose: str) -> None:
    """A link to them, hard or not, would show them to readers of the topic."""
    (stream,) = hostile.streams()
    os.chown(stream.path if whose == "directory" else segment_path(stream.path, 1), 12345, -1)
    with pytest.raises(SpoolError):
        stream.read(START)
    hostile.release()


@pytest.mark.parametrize("head", [b"", encode(frame(b"x" * 9), 0)[:4] + b"\x07\xff\xff\xff"])
def test_garbage_takes_bounded_memory(hostile: Orphan, head: bytes) -> None:
    """A terabyte of zeros, be it one frame or none, is read in blocks; records behind are found."""
    (stream,) = hostile.streams()
    stream.most_bytes = 1000
    data = encode(numbered(2), stream.seed)
    segment = segment_path(stream.path, 1)
    with segment.open("ab") as file:
        file.write(head + bytes(10_000) + data)
    sizes = list[int]()
    pread = os.pread

    def noted(number: int, size: int, offset: int) -> bytes:
        sizes.append(size)
        return pread(number, size, offset)

    with patch("os.pread", noted):
        found, position = list[bytes | None](), START
        while (run := stream.read(position, 100, ended=True)).position > position:
            found += [getattr(one, "value", None) for one in run.entries]
            position = run.position
    assert found[-1] == b"record 2"
    assert max(sizes) <= 4000
    hostile.release()


@pytest.mark.parametrize("about", [b"[" * 60_000, b'{"format": 1, "started": "x"}', b"\xff"])
def test_strange_claims_of_an_owner_do_no_harm(hostile: Orphan, about: bytes) -> None:
    """They are believed where they make sense."""
    hostile.release()
    (hostile.path / OWNER).write_bytes(about)
    (orphan,) = Directory(hostile.path.parent, living=True).orphans()
    orphan.release()
