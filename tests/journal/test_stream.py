"""Streams: segments and the checkpoint, on a disk that does what it should, and otherwise."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiel_logging.errors import SpoolError, SpoolFull
from kiel_logging.journal.directory import Journal
from kiel_logging.journal.frames import MAGIC, Damage, Frame, encode
from kiel_logging.journal.local_stream import LocalStream
from kiel_logging.journal.segments import Descriptor, segment_path
from kiel_logging.journal.stream import (
    CHECKPOINT,
    DAMAGED,
    FIRST,
    START,
    Checkpoint,
    Position,
    Read,
    Refusal,
    bounded,
)
from tests.journal.sample import (
    INSTANCE,
    TOPIC,
    append,
    fill,
    loaded,
    numbered,
    numbers,
    output,
    read_all,
    values,
)
from tests.support.small_disk import FILL_UP, NEEDS_SMALL_DISK, on_small_disk
from tests.support.waiting import in_threads

SIZE = len(encode(numbered(1), 0))
SLOTS = (0, 4096)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A journal whose segments take two records."""
    journal = Journal(tmp_path, INSTANCE, segment_bytes=2 * SIZE)
    yield journal
    journal.abandon()


@pytest.fixture
def stream(journal: Journal) -> LocalStream:
    """Its only stream."""
    return journal.stream(TOPIC)


def fill_segments(stream: LocalStream, count: int) -> None:
    """Append two records to each of so many segments: 1, 2; 3, 4; ..."""
    for number in range(1, 2 * count + 1):
        stream.roll_if_due()
        fill(stream, number)


def segments(stream: LocalStream) -> list[int]:
    """Return the numbers of the segments on disk."""
    return sorted(int(path.stem) for path in stream.path.glob("*.log"))


def nothing(run: Read) -> Position:
    """Return the position of a run in which there is nothing."""
    assert (run.entries, run.ends, run.missing, run.foreign) == ([], [], [], None)
    return run.position


def damage(path: Path, place: int) -> None:
    """Flip a bit."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


# -- files ----------------------------------------------------------------------------------------


def test_no_file_is_made_before_the_first_append(tmp_path: Path, journal: Journal) -> None:
    """A handler that logs nothing leaves nothing."""
    assert journal.stream(TOPIC).is_new
    assert nothing(journal.stream(TOPIC).read(START)) == START
    assert list(tmp_path.iterdir()) == []


def test_all_files_are_for_this_user_alone(tmp_path: Path, stream: LocalStream) -> None:
    """Records may hold secrets."""
    fill(stream, 1)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        INSTANCE: 0o700,
        "owner.lock": 0o600,
        "shipper.lock": 0o600,
        TOPIC: 0o700,
        CHECKPOINT: 0o600,
        "00000001.log": 0o600,
    }


@pytest.mark.parametrize("topic", ["", ".", "..", "a/b", "a\0b", "owner.lock", "shipper.lock"])
def test_a_topic_that_is_no_name_for_a_directory_is_refused(journal: Journal, topic: str) -> None:
    """Records never go elsewhere than into the journal's directory."""
    with pytest.raises(ValueError, match="can't be the name of a stream's directory"):
        journal.stream(topic)


def test_a_stream_is_the_same_for_all_threads(journal: Journal) -> None:
    """Two objects would have two counts."""
    found: list[LocalStream] = []
    threads = [
        threading.Thread(target=lambda: found.append(journal.stream(TOPIC))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {journal.stream(TOPIC)} == set(journal.streams())


# -- reading --------------------------------------------------------------------------------------


def test_a_missing_segment_is_skipped_and_told(stream: LocalStream) -> None:
    """By its number; those behind it are read."""
    fill_segments(stream, 4)
    for number in (2, 3):
        segment_path(stream.path, number).unlink()
    found = loaded(stream)
    assert found.read(Position(1, 2 * SIZE), ended=True).missing == [2, 3]
    assert numbers(found) == [1, 2, 7, 8]


def test_a_missing_first_segment_is_told(stream: LocalStream) -> None:
    """Where the checkpoint is not behind it."""
    fill_segments(stream, 2)
    segment_path(stream.path, 1).unlink()
    found = loaded(stream)
    assert found.checkpoint_missing
    assert found.read(found.position, ended=True).missing == [1]


def test_a_frame_of_another_format_stops_the_reader(stream: LocalStream) -> None:
    """In front of it, with the number of the format."""
    fill(stream, 1)
    with segment_path(stream.path, 1).open("ab") as file:
        file.write(MAGIC[:2] + b"\2" + MAGIC[3:] + bytes(100))
    run = loaded(stream).read(Position(1, SIZE), ended=True)
    assert (run.entries, run.position, run.foreign) == ([], Position(1, SIZE), 2)
    assert not loaded(stream).is_acknowledged


# -- the checkpoint -------------------------------------------------------------------------------


def test_the_newest_checkpoint_is_loaded(stream: LocalStream) -> None:
    """All of its fields; and its file never grows."""
    fill(stream, 1)
    size = (stream.path / CHECKPOINT).stat().st_size
    assert loaded(stream).checkpoint == FIRST
    for sequence in range(1, 6):
        stored = Checkpoint(1, sequence, sequence, bytes([sequence]) * 32, sequence % 2 == 0)
        stream.store(stored)
        assert loaded(stream).checkpoint == stored
    assert (stream.path / CHECKPOINT).stat().st_size == size


def test_two_damaged_slots_are_no_checkpoint(stream: LocalStream) -> None:
    """The stream says so; the next one that is stored is good."""
    fill(stream, 1)
    for slot in SLOTS:
        damage(stream.path / CHECKPOINT, slot + 20)
    found = loaded(stream)
    assert (found.checkpoint, found.checkpoint_missing) == (None, True)
    found.store(Checkpoint(1, SIZE, 1, bytes(32)))
    assert loaded(stream).checkpoint == found.checkpoint


def test_a_checkpoint_of_another_stream_is_none(journal: Journal, stream: LocalStream) -> None:
    """A file that was copied has numbers of records that are not there."""
    other = journal.stream("other")
    fill(stream, 1)
    fill(other, 1)
    (stream.path / CHECKPOINT).write_bytes((other.path / CHECKPOINT).read_bytes())
    assert loaded(stream).checkpoint is None


@pytest.mark.parametrize("content", [b"", b"x", bytes(4096), bytes(8192)])
def test_a_checkpoint_cut_short_is_none(stream: LocalStream, content: bytes) -> None:
    """And the next one makes the file anew."""
    fill(stream, 1)
    (stream.path / CHECKPOINT).write_bytes(content)
    assert loaded(stream).checkpoint is None
    for number in (1, 2):
        stream.store(Checkpoint(1, SIZE, number, bytes(32)))
        assert loaded(stream).checkpoint == stream.checkpoint


def positions() -> st.SearchStrategy[Position]:
    """Places in a few short segments."""
    return st.builds(Position, st.integers(1, 3), st.integers(0, 200))


REFUSALS = st.lists(
    st.builds(
        lambda places, reason: Refusal(*sorted(places), reason),
        st.tuples(positions(), positions()),
        st.sampled_from(["MessageTooLarge", "\u1d11e" * 99, "", "too late \ud800"]),
    ),
    max_size=300,
)


@given(REFUSALS, REFUSALS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_given_up_is_in_the_checkpoint(
    stream: LocalStream, before: list[Refusal], later: list[Refusal]
) -> None:
    """Whatever that was, it has room in a slot, comes back, and no part of it is left out; few are
    there as they were."""
    if stream.is_new:
        fill(stream, 1)
    kept = bounded([*bounded(before), *later])
    stored = Checkpoint(3, 200, 1, bytes(32), refused=kept)
    stream.store(stored)
    assert loaded(stream).checkpoint == stored
    assert (stream.path / CHECKPOINT).stat().st_size == 2 * SLOTS[1]
    for begin, end, _ in (*before, *later):
        assert any(one.begin <= begin and end <= one.end for one in kept)
    if len(before) + len(later) < 9:
        edges = {edge for one in (*before, *later) for edge in one[:2]}
        assert {edge for one in kept for edge in one[:2]} <= edges


def test_the_place_of_a_record_beside_other_threads(stream: LocalStream) -> None:
    """It is between the two positions, whatever other threads append at the same moment."""
    places: dict[int, tuple[Position, Position]] = {}

    def fill_fast(first: int) -> None:
        for number in range(first, first + 200):
            data = encode(numbered(number), stream.seed)
            appended, end = stream.append_alone(data)
            places[number] = appended.begin, end
            stream.append(data)

    in_threads(fill_fast, (1000, 2000, 3000))
    begin, found = START, dict[Position, bytes]()
    for run in stream.runs():
        for entry, end in zip(run.entries, run.ends, strict=True):
            assert isinstance(entry, Frame)
            found[begin] = entry.value or b""
            begin = end
    assert {number: found[begin] for number, (begin, _) in places.items()} == {
        number: b"record %d" % number for number in places
    }
    assert all(end == (1, begin.offset + SIZE + 3) for begin, end in places.values())


# -- releasing ------------------------------------------------------------------------------------


def test_segments_before_the_checkpoint_are_removed(stream: LocalStream) -> None:
    """As soon as it is behind their end, and no sooner."""
    fill_segments(stream, 3)
    stream.release(Checkpoint(1, SIZE, 1, bytes(32)))
    assert segments(stream) == [1, 2, 3]
    stream.release(Checkpoint(1, 2 * SIZE, 2, bytes(32)))
    assert segments(stream) == [2, 3]
    stream.release(Checkpoint(3, SIZE, 5, bytes(32)))
    assert segments(stream) == [3]
    assert numbers(loaded(stream), stream.position) == [6]


def test_nothing_is_removed_if_the_checkpoint_can_not_be_written(stream: LocalStream) -> None:
    """The records might be numbered again from the start."""
    fill_segments(stream, 2)
    (stream.path / CHECKPOINT).unlink()
    (stream.path / CHECKPOINT).mkdir()
    with pytest.raises(SpoolError):
        stream.release(read_all(stream))
    assert segments(stream) == [1, 2]


@pytest.mark.parametrize("slot", SLOTS)
def test_a_checkpoint_file_that_was_removed_is_made_again(stream: LocalStream, slot: int) -> None:
    """By the next one that is stored, with both slots."""
    fill_segments(stream, 2)
    stream.store(Checkpoint(1, 2 * SIZE, 2, bytes(32)))
    stream.store(Checkpoint(2, 0, 2, bytes(32)))
    (stream.path / CHECKPOINT).unlink()
    stream.release(Checkpoint(2, 0, 2, bytes(32)))
    assert segments(stream) == [2]
    damage(stream.path / CHECKPOINT, slot + 20)
    assert numbers(loaded(stream), loaded(stream).position) == [3, 4]
    assert not loaded(stream).checkpoint_missing


def test_a_segment_is_removed_early_if_all_of_it_is_acknowledged(stream: LocalStream) -> None:
    """The next append makes another one, and until then there is none."""
    fill(stream, 1)
    stream.store(read_all(stream))
    stream.roll_if_due()
    assert segments(stream) == []
    fill(stream, 2)
    assert segments(stream) == [2]
    assert numbers(loaded(stream), loaded(stream).position) == [2]


def test_bytes_count_until_they_are_acknowledged(journal: Journal) -> None:
    """Over all streams."""
    one, other = journal.stream("one"), journal.stream("other")
    fill(one, 1, 2)
    fill(other, 3)
    assert journal.bytes == 3 * SIZE
    one.store(Checkpoint(1, SIZE, 1, bytes(32)))
    assert journal.bytes == 2 * SIZE
    other.release(read_all(other))
    assert journal.bytes == one.size(one.position) == SIZE


def test_more_than_max_bytes_is_refused(tmp_path: Path) -> None:
    """Until something is acknowledged; the error has advice."""
    journal = Journal(tmp_path, INSTANCE, max_bytes=3 * SIZE)
    stream = journal.stream(TOPIC)
    fill(stream, 1, 2, 3)
    with pytest.raises(SpoolFull, match=f"{SIZE} more don't fit: see to the brokers"):
        fill(stream, 4)
    assert stream.appended == 3
    stream.store(Checkpoint(1, SIZE, 1, bytes(32)))
    fill(stream, 5)
    assert numbers(stream) == [1, 2, 3, 5]
    journal.abandon()


@pytest.mark.parametrize(
    ("max_bytes", "expected"),
    [(None, 8 << 20), (1 << 30, 8 << 20), (1 << 20, 1 << 17), (1, 1 << 16)],
)
def test_segments_are_an_eighth_of_max_bytes_at_most(
    tmp_path: Path, max_bytes: int | None, expected: int
) -> None:
    """Or what is acknowledged would take more room than the rest."""
    assert Journal(tmp_path, INSTANCE, max_bytes=max_bytes).segment_bytes == expected


# -- damage ---------------------------------------------------------------------------------------


def test_damaged_bytes_are_set_aside(stream: LocalStream) -> None:
    """One behind the other, in a file that outlives the stream."""
    fill(stream, 1, 2, 3)
    path = segment_path(stream.path, 1)
    damage(path, SIZE - 1)
    damage(path, 3 * SIZE - 1)
    found = loaded(stream)
    run = found.read(START, ended=True)
    for entry, end in zip(run.entries, run.ends, strict=True):
        if isinstance(entry, Damage):
            assert found.set_aside(entry, end) == stream.path / DAMAGED
    content = path.read_bytes()
    assert (stream.path / DAMAGED).read_bytes() == content[:SIZE] + content[2 * SIZE :]
    found.remove()
    assert [one.name for one in stream.path.iterdir()] == [DAMAGED]


def test_what_is_set_aside_is_bounded(stream: LocalStream) -> None:
    """A disk that goes bad must not fill up with it."""
    fill(stream, 1)
    (stream.path / DAMAGED).touch()
    os.truncate(stream.path / DAMAGED, 64 << 20)
    assert stream.set_aside(Damage(SIZE), Position(1, SIZE)) is None
    assert (stream.path / DAMAGED).stat().st_size == 64 << 20


# -- a disk that refuses --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOSPC, SpoolFull, "make room there"),
        (errno.EDQUOT, SpoolFull, "raise it"),
        (errno.EROFS, SpoolError, "read-only"),
        (errno.EIO, SpoolError, "what is wrong with its disk"),
    ],
)
def test_an_error_of_the_disk_has_advice(
    stream: LocalStream, number: int, kind: type[SpoolError], advice: str
) -> None:
    """And nothing is counted."""
    fill(stream, 1)
    refusing = OSError(number, os.strerror(number))
    with (
        patch.object(Descriptor, "append", side_effect=refusing),
        pytest.raises(kind, match=advice),
    ):
        fill(stream, 2)
    fill(stream, 3)
    assert numbers(stream) == [1, 3]
    assert (stream.appended, stream._journal.bytes) == (2, 2 * SIZE)


def test_a_front_that_nothing_follows_is_skipped(stream: LocalStream) -> None:
    """The next segment starts, so that a reader does not wait for the rest of it."""
    fill(stream, 1)
    ordinary = Descriptor.append
    with (
        patch.object(Descriptor, "append", lambda file, data: ordinary(file, data[:10])),
        pytest.raises(SpoolFull),
    ):
        fill(stream, 2)
    run = stream.read(START)
    assert run.position == (1, SIZE)
    stream.roll_if_due()
    assert stream.read(run.position).position == (1, SIZE + 10)
    fill(stream, 3)
    assert (segments(stream), numbers(stream)) == ([1, 2], [1, 3])


@pytest.mark.parametrize("acknowledged", ["before the roll", "after the roll"])
def test_a_torn_front_keeps_no_segment(stream: LocalStream, acknowledged: str) -> None:
    """A segment is removed if all whole frames in it are acknowledged, though nothing follows."""
    fill(stream, 1)
    ordinary = Descriptor.append
    with (
        patch.object(Descriptor, "append", lambda file, data: ordinary(file, data[:10])),
        pytest.raises(SpoolFull),
    ):
        fill(stream, 2)
    done = Checkpoint(1, SIZE, 1, bytes(32))
    if acknowledged == "before the roll":
        stream.release(done)
    stream.roll_if_due()
    assert segments(stream) == ([] if acknowledged == "before the roll" else [1])
    stream.release(done)
    assert segments(stream) == []
    fill(stream, 3)
    assert numbers(loaded(stream), loaded(stream).position) == [3]


def test_a_full_disk_has_segments_removed_early(tmp_path: Path) -> None:
    """However small they are: that makes room."""
    journal = Journal(tmp_path, INSTANCE)
    stream = journal.stream(TOPIC)
    fill(stream, 1)
    stream.store(read_all(stream))
    stream.roll_if_due()
    assert segments(stream) == [1]
    full = OSError(errno.ENOSPC, "No space left on device")
    with patch.object(Descriptor, "append", side_effect=full), pytest.raises(SpoolFull):
        fill(stream, 2)
    stream.roll_if_due()
    assert segments(stream) == []
    fill(stream, 2)
    assert numbers(loaded(stream), loaded(stream).position) == [2]
    journal.abandon()


@NEEDS_SMALL_DISK
def test_a_disk_filled_to_the_last_byte_empties_itself(tmp_path: Path) -> None:
    """Checkpoints, releasing and the end of the journal take no room."""
    code = f"""
{FILL_UP}
journal = Journal(Path({str(tmp_path)!r}), INSTANCE, segment_bytes=2**18)
stream, number, refused = journal.stream(TOPIC), 0, 0
for _ in range(5):
    while not journal.failing:
        stream.roll_if_due()
        try:
            append(stream, encode(frame(b"record %d" % (number + 1) + bytes(3000)), stream.seed))
            number += 1
        except SpoolFull:
            fill_up({str(tmp_path)!r})
    found = numbers_of(stream)
    assert [stream.checkpoint.sequence + 1, number] == [found[0], found[-1]]
    stream.release(read_all(stream))
    stream.roll_if_due()
    Path({str(tmp_path)!r}, "filling").unlink()
    append(stream, encode(numbered(number + 1), stream.seed))
    number += 1
stream.release(read_all(stream))
journal.close()
delivered = stream.checkpoint.sequence
print(json.dumps([number == delivered == stream.appended, os.listdir({str(tmp_path)!r})]))
"""
    before = """
def numbers_of(stream):
    entries = [entry for run in stream.runs() for entry in run.entries]
    return [int(entry.value.rstrip(b"\\0").split()[1]) for entry in entries]
"""
    assert output(before + code, *on_small_disk(tmp_path, "4m")) == [True, []]


# -- descriptors and files that are taken away ----------------------------------------------------


def test_a_file_of_the_program_is_never_written_to(stream: LocalStream, tmp_path: Path) -> None:
    """A program may close all descriptors, and then open files that get their numbers."""
    fill(stream, 1)
    number = stream._descriptors[1].number
    with (tmp_path / "precious").open("wb") as precious:
        os.dup2(precious.fileno(), number)
        fill(stream, 2)
        stream.reopen()
        os.close(number)  # it was left open, for it is the program's
    assert (tmp_path / "precious").read_bytes() == b""
    assert numbers(stream) == [1, 2]


def test_a_program_that_closes_all_descriptors(stream: LocalStream) -> None:
    """The next append opens the file again, and takes the locks again."""
    fill(stream, 1)
    os.close(stream._descriptors[1].number)
    for claim in stream._journal._claims:
        assert claim._descriptor is not None
        os.close(claim._descriptor.number)
    fill(stream, 2)
    assert numbers(stream) == [1, 2]
    code = f"print(json.dumps(len(Directory(Path({str(stream.path.parents[1])!r})).orphans())))"
    assert output(code) == 0


def test_a_file_that_is_removed_is_read_all_the_same(stream: LocalStream) -> None:
    """As long as the process runs; what comes later goes to a new one."""
    fill(stream, 1)
    for path in stream.path.iterdir():
        path.unlink()
    fill(stream, 2)
    stream.roll_if_due()
    fill(stream, 3)
    assert numbers(stream) == [1, 2, 3]
    stream.release(Checkpoint(1, 2 * SIZE, 2, bytes(32)))
    assert numbers(loaded(stream), loaded(stream).position) == [3]
    stream.release(read_all(stream))
    assert list(stream._descriptors) == [2]


def test_a_removed_file_that_is_not_open_is_missing(stream: LocalStream) -> None:
    """Its number is not given again: a reader would look for its bytes in the new file."""
    fill(stream, 1)
    stream.reopen()
    segment_path(stream.path, 1).unlink()
    fill(stream, 2)
    assert stream.read(START).missing == [1]
    assert numbers(stream) == [2]


def test_a_directory_that_is_removed_is_made_again(stream: LocalStream, tmp_path: Path) -> None:
    """With its locks, and the checkpoint of which this process knows."""
    fill(stream, 1, 2)
    stream.store(Checkpoint(1, SIZE, 1, bytes(32)))
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    tmp_path.rmdir()
    stream.roll_if_due()
    fill(stream, 3)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert numbers(stream) == [1, 2, 3]
    assert loaded(stream).checkpoint == Checkpoint(1, SIZE, 1, bytes(32))
    assert {path.name for path in stream._journal.path.iterdir()} == {
        "owner.lock",
        "shipper.lock",
        TOPIC,
    }


def test_a_thousand_streams_take_few_descriptors(tmp_path: Path) -> None:
    """A template may make a topic for each customer."""
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
journal = Journal(Path({str(tmp_path)!r}), INSTANCE)
for round in range(2):
    for number in range(1000):
        fill(journal.stream(f"topic-{{number}}"), round)
print(json.dumps([numbers(stream) == [0, 1] for stream in journal.streams()]))
"""
    assert output(code) == [True] * 1000


# -- threads and signals --------------------------------------------------------------------------


def test_threads_append_whole_frames(stream: LocalStream) -> None:
    """All of them, and each thread's in its order, while the shipper reads, rolls and releases."""
    count, found = 300, []
    threads = [
        threading.Thread(target=fill, args=(stream, *range(first, first + count)))
        for first in range(0, 8 * count, count)
    ]
    for thread in threads:
        thread.start()
    position = START
    while len(found) < 8 * count:
        run = stream.read(position)
        position = run.position
        found += [int(str(value, "ascii").split()[1]) for value in values(run.entries) if value]
        if run.entries:
            stream.release(Checkpoint(*position, len(found), bytes(32)))
        stream.roll_if_due()
    for thread in threads:
        thread.join()
    for first in range(0, 8 * count, count):
        own = [number for number in found if first <= number < first + count]
        assert own == list(range(first, first + count))
    assert (stream.appended, stream._journal.bytes) == (8 * count, 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a __del__
def test_an_exception_of_a_signal_handler_while_the_journal_is_made(tmp_path: Path) -> None:
    """Wherever it comes, the next append makes what is missing."""

    def on_signal(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, on_signal)
    try:
        for number in range(100):
            journal = Journal(tmp_path, f"{number:032x}", synchronous=number % 2 == 0)
            stream = journal.stream(TOPIC)
            with contextlib.suppress(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.00002 * (number + 1))
                fill(stream, *range(500))
                signal.setitimer(signal.ITIMER_REAL, 0)
            fill(stream, 1)
            assert stream.appended - stream.excess(len(numbers(stream))) == len(numbers(stream))
            journal.abandon()
    finally:
        signal.signal(signal.SIGALRM, old)


def test_the_shipper_waits_for_no_thread(stream: LocalStream) -> None:
    """A signal handler may wait for it on top of a frame that has the lock: it appends without the
    lock, as long as it need not open a file; and it rolls another time."""
    data = encode(numbered(2), stream.seed)
    has_it, may_end = threading.Event(), threading.Event()

    def hold_the_lock() -> None:
        with stream._journal.lock:
            has_it.set()
            may_end.wait()

    thread = threading.Thread(target=hold_the_lock)
    thread.start()
    has_it.wait()
    refused = stream.append_aside([data])
    may_end.set()
    thread.join()
    assert (refused.frames, stream.appended) == (0, 0)
    assert "log later" in str(refused.error)
    fill(stream, 1)
    has_it.clear()
    may_end.clear()
    thread = threading.Thread(target=hold_the_lock)
    thread.start()
    has_it.wait()
    assert stream.append_aside([data]).error is None
    stream.roll_if_due()
    assert stream.end.segment == 1
    may_end.set()
    thread.join()
    stream.roll_if_due()
    assert (stream.end.segment, numbers(stream)) == (2, [1, 2])


def test_records_from_memory_are_counted_apart(stream: LocalStream) -> None:
    """They are in the ledger already; and frames that are no records are not counted."""
    fill(stream, 1)
    data = encode(numbered(2), stream.seed)
    assert stream.append_aside([data, data], moved=1).frames == 2
    with patch.object(Descriptor, "append", side_effect=OSError(errno.EIO, "")):
        assert isinstance(stream.append_aside([data], moved=1).error, SpoolError)
    assert (stream.tail.appended, stream.moved) == (1, 1)


# -- synchronous ----------------------------------------------------------------------------------


@pytest.fixture
def synchronous(tmp_path: Path) -> Iterator[LocalStream]:
    """A stream whose appends are to survive a power cut; with one record."""
    journal = Journal(tmp_path, INSTANCE, segment_bytes=2 * SIZE, synchronous=True)
    stream = journal.stream(TOPIC)
    fill(stream, 1)
    yield stream
    journal.abandon()


def test_one_call_syncs_for_all_that_wait(synchronous: LocalStream) -> None:
    """The first thread for itself; then one of the others for them all."""
    calls: list[int] = []
    first_is_in, others_wait = threading.Event(), threading.Event()

    def fdatasync(number: int) -> None:
        calls.append(number)
        first_is_in.set()
        others_wait.wait()

    def append_and_sync() -> None:
        synchronous.sync(append(synchronous, encode(numbered(2), synchronous.seed)))

    with patch("os.fdatasync", fdatasync):
        threads = [threading.Thread(target=append_and_sync) for _ in range(9)]
        threads[0].start()
        first_is_in.wait()
        for thread in threads[1:]:
            thread.start()
        while synchronous.appended < 10:
            threads[1].join(0.001)
        others_wait.set()
        for thread in threads:
            thread.join()
    assert len(calls) == 2


def test_threads_wait_for_each_other_to_share_a_sync(synchronous: LocalStream) -> None:
    """As many as lately came together: those that the last sync released need not miss the next."""
    synchronous.sync(1)
    synchronous._together, synchronous._sync_took = 2, 60.0
    calls: list[int] = []

    def append_and_sync() -> None:
        synchronous.sync(append(synchronous, encode(numbered(2), synchronous.seed)))

    with patch("os.fdatasync", calls.append):
        thread = threading.Thread(target=append_and_sync)
        thread.start()
        append_and_sync()
        thread.join()
        assert len(calls) == 1
        synchronous._together, synchronous._sync_took = 2, 0.001
        append_and_sync()  # no other thread comes, and the wait ends
    assert len(calls) == 2


def test_a_thread_does_not_wait_for_the_sync_behind_its_own(synchronous: LocalStream) -> None:
    """When the one that covers its record is over, it returns, though another has begun."""
    may_end = [threading.Event(), threading.Event()]
    begun = [threading.Event(), threading.Event()]
    calls: list[int] = []

    def fdatasync(number: int) -> None:
        calls.append(number)
        begun[len(calls) - 1].set()
        may_end[len(calls) - 1].wait()

    def append_one() -> int:
        return append(synchronous, encode(numbered(2), synchronous.seed))

    with patch("os.fdatasync", fdatasync):
        covered = append_one()
        threads = [threading.Thread(target=synchronous.sync, args=(append_one(),))]
        threads[0].start()
        begun[0].wait()
        for until in (append_one(), covered):
            threads.append(threading.Thread(target=synchronous.sync, args=(until,)))
            threads[-1].start()
        while synchronous._inside < 3:
            threads[0].join(0.001)
        may_end[0].set()
        begun[1].wait()
        threads[2].join(60)
        assert not threads[2].is_alive()
        may_end[1].set()
        for thread in threads:
            thread.join()
    assert len(calls) == 2


def test_what_is_synced_is_not_synced_again(synchronous: LocalStream) -> None:
    """It costs milliseconds."""
    until = append(synchronous, encode(numbered(2), synchronous.seed))
    synchronous.sync(until)
    with patch("os.fdatasync", side_effect=AssertionError):
        synchronous.sync(until)


def test_a_signal_handler_syncs_on_top_of_a_sync(synchronous: LocalStream) -> None:
    """It calls fdatasync itself, for the frame beneath can't end before it."""
    calls = []

    def fdatasync(number: int) -> None:
        calls.append(number)
        if len(calls) == 1:
            synchronous.sync(append(synchronous, encode(numbered(3), synchronous.seed)))

    with patch("os.fdatasync", fdatasync):
        synchronous.sync(append(synchronous, encode(numbered(2), synchronous.seed)))
    assert len(calls) == 2


def test_a_roll_waits_for_no_thread_that_syncs(synchronous: LocalStream) -> None:
    """A signal handler may append on top of that one, and would wait for the lock of the roll."""
    calls = []

    def fdatasync(number: int) -> None:
        calls.append(number)
        if len(calls) == 1:
            roller = threading.Thread(target=synchronous.roll_if_due)
            roller.start()
            roller.join()
            fill(synchronous, 3)

    fill(synchronous, 2)
    with patch("os.fdatasync", fdatasync):
        synchronous.sync(2)
    assert len(calls) == 2
    assert segments(synchronous) == [1, 2]


@pytest.mark.parametrize("prepare", ["reopen", "roll_if_due"])
def test_a_segment_that_is_not_open_is_synced(synchronous: LocalStream, prepare: str) -> None:
    """Its descriptor may have been dropped for another stream's; a roll syncs by itself."""
    calls: list[int] = []
    until = append(synchronous, encode(numbered(2), synchronous.seed))
    with patch("os.fdatasync", calls.append):
        getattr(synchronous, prepare)()
        synchronous.sync(until)
    assert len(calls) == 1


def test_a_disk_that_can_not_sync(synchronous: LocalStream) -> None:
    """Is an error, and asked again the next time; the record is in the file all the same."""
    until = append(synchronous, encode(numbered(2), synchronous.seed))
    failing = OSError(errno.EIO, "Input/output error")
    with patch("os.fdatasync", side_effect=failing), pytest.raises(SpoolError, match="its disk"):
        synchronous.sync(until)
    synchronous.sync(until)
    assert numbers(synchronous) == [1, 2]


def test_a_checkpoint_is_on_the_disk_before_segments_go(synchronous: LocalStream) -> None:
    """A power cut might undo it and not the removal."""
    fill(synchronous, 2)
    synchronous.roll_if_due()
    seen: list[list[int]] = []
    with patch("os.fdatasync", lambda _: seen.append(segments(synchronous))):
        synchronous.release(Checkpoint(1, 2 * SIZE, 2, bytes(32)))
    assert (seen, segments(synchronous)) == ([[1]], [])


def test_names_are_on_the_disk_before_records(tmp_path: Path) -> None:
    """A file that has no name after a power cut is of no use."""
    journal = Journal(tmp_path, INSTANCE, synchronous=True)
    named: list[tuple[Path, list[str]]] = []

    def fsync(number: int) -> None:
        path = Path(f"/proc/self/fd/{number}").readlink()
        named.append((path, sorted(one.name for one in path.iterdir())))

    with patch("os.fsync", fsync):
        fill(journal.stream(TOPIC), 1)
    assert named == [
        (journal.path / TOPIC, ["00000001.log", CHECKPOINT]),
        (journal.path, [TOPIC, "owner.lock", "shipper.lock"]),
        (tmp_path, [INSTANCE]),
    ]
    journal.abandon()


def test_a_number_that_is_another_file_s_at_once(tmp_path: Path) -> None:
    """A program that closes all descriptors may open files beside a thread that appends: nothing is
    written to one of them, though it has had our number since before we could look."""
    journal = Journal(tmp_path / "spool", INSTANCE)
    stream = journal.stream(TOPIC)
    real_open = os.open
    with (tmp_path / "own").open("w+b") as own:

        def open_and_lose(path: Any, *arguments: Any, **more: Any) -> int:
            number = real_open(path, *arguments, **more)
            if str(path).endswith(".log"):
                os.dup2(own.fileno(), number)
            return number

        with patch("os.open", open_and_lose), pytest.raises(SpoolError):
            fill(stream, 1)
        fill(stream, 2)
        assert os.fstat(own.fileno()).st_size == 0
    assert numbers(stream) == [2]
    journal.abandon()


@pytest.mark.parametrize("write", [Descriptor.append, partial(Descriptor.write, offset=0)])
def test_nothing_is_written_to_another_file_of_the_same_number(
    tmp_path: Path, write: Callable[[Descriptor, bytes], int]
) -> None:
    """A program that closed all descriptors has its own files there now."""
    ours = Descriptor(tmp_path / "ours", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    assert write(ours, b"first") == 5
    os.close(ours.number)
    with (tmp_path / "program's").open("wb") as theirs:
        assert theirs.fileno() == ours.number
        with pytest.raises(OSError, match="Bad file descriptor"):
            write(ours, b"second")
    assert [path.stat().st_size for path in sorted(tmp_path.iterdir())] == [5, 0]
