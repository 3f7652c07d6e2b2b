"""The promises of a journal, whatever happens: hypothesis drives writers, shippers and faults."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kiel_logging.errors import SpoolFull
from kiel_logging.journal.directory import Directory, Journal, Orphan
from kiel_logging.journal.frames import MAGIC, RECORD, STATE, Damage, encode
from kiel_logging.journal.segments import Descriptor, segment_path
from kiel_logging.journal.stream import CHECKPOINT, START, Checkpoint, Position, Stream
from tests.journal.sample import TOPIC, append, frame
from tests.support.examples import examples

SEGMENT_BYTES = 400
"""A few frames."""

_INSTANCES = itertools.count()


class Written(NamedTuple):
    """Bytes of a file: a frame that stands whole, or the front of one, without a value."""

    segment: int
    start: int
    end: int
    value: bytes | None


class Life:
    """All that an instance appended, and the number that each record has to have."""

    def __init__(self) -> None:
        self.written: list[Written] = []
        self.numbers: dict[bytes, int] = {}
        self.last = 0
        self.delivered: set[bytes] = set()
        self.damaged: set[bytes] = set()
        self.flipped: set[str] = set()


class Shipper:
    """Numbers and delivers a stream, as the handler does; acknowledgements come later."""

    def __init__(self, stream: Stream, life: Life) -> None:
        self.stream = stream
        self.life = life
        self.position = stream.position
        self.sequence = stream.checkpoint.sequence if stream.checkpoint else 0
        self.waiting: list[Checkpoint] = []

    def read(self, most_bytes: int, *, ended: bool) -> bool:
        """Deliver what is there; return whether there was anything."""
        run = self.stream.read(self.position, most_bytes, ended=ended)
        assert (run.missing, run.foreign) == ([], None)
        assert run.position >= self.position
        for entry, end in zip(run.entries, run.ends, strict=True):
            if isinstance(entry, Damage):
                self.sequence += 1
            elif entry.sequence:
                self.sequence = entry.sequence
            else:
                self.sequence += 1
            if not isinstance(entry, Damage) and entry.kind == RECORD:
                assert entry.value is not None
                assert self.life.numbers[entry.value] == self.sequence
                self.life.delivered.add(entry.value)
            digest = self.sequence.to_bytes(32, "big")
            self.waiting.append(Checkpoint(*end, self.sequence, digest))
        self.position = run.position
        return bool(run.entries)

    def acknowledge(self, count: int, *, remove: bool) -> None:
        """Take the first ``count`` of what was delivered for acknowledged."""
        if count:
            acknowledged = self.waiting[count - 1]
            del self.waiting[:count]
            (self.stream.release if remove else self.stream.store)(acknowledged)


WRITE = Descriptor.append
STATUS = Descriptor.status


def short(size: int) -> Callable[[Descriptor, bytes], int]:
    """Make a ``Descriptor.append`` for a disk that has room for so many bytes."""

    def write(file: Descriptor, data: bytes) -> int:
        if size == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return WRITE(file, data[:size])

    return write


class JournalMachine(RuleBasedStateMachine):
    """One directory, the writer of the moment, and those that died."""

    def __init__(self, parent: Path) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=parent))
        self.directory = Directory(self.root, self.report)
        self.lives: dict[str, Life] = {}
        self.values = itertools.count(1)
        self.orphan: Orphan | None = None
        self.shippers: list[Shipper] = []

    def report(self, text: str) -> None:
        """Nothing is to be reported."""
        raise AssertionError(text)

    def teardown(self) -> None:
        """All that stands whole and was not hit by a flipped bit has been delivered."""
        try:
            self.crash()
            if self.orphan:
                self.orphan.release()
            while self.lives and (orphans := self.directory.orphans()):
                for orphan in orphans:
                    self.send_all(orphan)
            for life in self.lives.values():
                assert set(life.numbers) - life.damaged <= life.delivered
            assert [path.name for path in self.root.iterdir()] == []
        finally:
            shutil.rmtree(self.root)

    def send_all(self, orphan: Orphan) -> None:
        """Deliver, acknowledge and remove what a writer left."""
        for stream in orphan.streams():
            assert not stream.checkpoint_missing
            shipper = Shipper(stream, self.lives[orphan.instance])
            while shipper.read(10**6, ended=True):
                shipper.acknowledge(len(shipper.waiting), remove=True)
        assert orphan.remove()

    def cut(self, most: int) -> st.SearchStrategy[int]:
        """Return sizes for a write that is cut short.

        Two in a row look like one damaged record, if the first one lacks as many bytes as the
        second one has, and those are too few for a magic.
        """
        return st.just(0) | st.integers(len(MAGIC), most)

    # -- the writer -------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """A process starts."""
        instance = f"{next(_INSTANCES):032x}"
        self.journal = Journal(self.root, instance, segment_bytes=SEGMENT_BYTES)
        self.stream = self.journal.stream(TOPIC)
        self.life = self.lives[instance] = Life()
        self.shipper = Shipper(self.stream, self.life)

    def make(self, *, sequence: int = 0, pad: int = 0) -> tuple[bytes, bytes]:
        """Return the value of a new record, and its frame."""
        value = b"%d:" % next(self.values) + bytes(pad)
        return value, encode(frame(value, sequence=sequence), self.stream.seed)

    def note(self, value: bytes, data: bytes, *, sequence: int = 0) -> None:
        """Remember what was just appended."""
        self.life.last = self.life.numbers[value] = sequence or self.life.last + 1
        self.note_bytes(len(data), value)

    def note_bytes(self, size: int, value: bytes | None) -> None:
        """Remember which bytes are at the end of the last segment."""
        path = segment_path(self.stream.path, self.stream._segment)
        end = path.stat().st_size
        self.life.written.append(Written(self.stream._segment, end - size, end, value))

    @rule(count=st.integers(1, 3), pad=st.sampled_from([0, 0, 0, 500]), numbered=st.booleans())
    def append(self, count: int, pad: int, numbered: bool) -> None:
        """Frames in one write; those that were sent before have their numbers already."""
        sequences = [self.life.last + 1 + n if numbered else 0 for n in range(count)]
        made = [self.make(sequence=sequence, pad=pad) for sequence in sequences]
        append(self.stream, *(data for _, data in made))
        self.life.numbers |= {value: self.life.last + 1 + n for n, (value, _) in enumerate(made)}
        self.life.last += count
        end = segment_path(self.stream.path, self.stream._segment).stat().st_size
        for value, data in reversed(made):
            written = Written(self.stream._segment, end - len(data), end, value)
            self.life.written.append(written)
            end -= len(data)

    @rule(jump=st.integers(0, 5))
    def append_state(self, jump: int) -> None:
        """Numbering continues behind numbers that were given without the journal."""
        self.life.last += jump + 1
        state = frame(None, kind=STATE, sequence=self.life.last, digest=bytes(32))
        data = encode(state, self.stream.seed)
        assert self.stream.append_aside([data], moved=0).error is None
        self.note_bytes(len(data), b"state")

    @rule(data=st.data(), count=st.integers(1, 3), rolls=st.booleans())
    def append_to_a_full_disk(self, data: Any, count: int, rolls: bool) -> None:
        """Frames that were written whole are there, wherever the write is cut; no other is."""
        made = [self.make() for _ in range(count)]
        size = data.draw(self.cut(sum(len(frame) for _, frame in made) - 1))
        with patch.object(Descriptor, "append", short(size)):
            appended = self.stream.append(*(frame for _, frame in made))
        assert isinstance(appended.error, SpoolFull)
        segment, start = appended.begin
        for value, frame_bytes in made[: appended.frames]:
            self.life.last = self.life.numbers[value] = self.life.last + 1
            written = Written(segment, start, start + len(frame_bytes), value)
            self.life.written.append(written)
            size, start = size - len(frame_bytes), start + len(frame_bytes)
        if size:
            self.note_bytes(size, None)
        if rolls:
            self.roll()

    @rule(behind=st.booleans())
    def append_and_be_torn_away(self, behind: bool) -> None:
        """A signal handler raises, in front of the system call or behind it."""
        value, data = self.make()

        def write(file: Descriptor, data: bytes) -> int:
            if behind:
                WRITE(file, data)
            raise KeyboardInterrupt

        with patch.object(Descriptor, "append", write), pytest.raises(KeyboardInterrupt):
            self.stream.append(data)
        if behind:
            self.note(value, data)
        excess = self.stream.excess(len(self.life.numbers))
        assert excess == (not behind)
        self.stream.tail.appended -= excess  # as the shipper does
        self.journal.count_bytes()

    @rule(data=st.data(), moment=st.sampled_from(["before fstat", "before write", "behind write"]))
    def append_on_top(self, data: Any, moment: str) -> None:
        """A signal handler appends on top of an append; each is whole, or cut short."""
        beneath, above = self.make(), self.make()
        size = data.draw(st.integers(len(MAGIC), len(beneath[1])))
        size_above = data.draw(st.just(len(above[1])) | self.cut(len(above[1]) - 1))
        moments = [moment]

        def append_above(now: str) -> None:
            if moments == [now]:
                moments.clear()
                self.try_to_append(*above, short(size_above))

        def status(descriptor: Descriptor) -> os.stat_result | None:
            is_segment = descriptor.path.suffix == ".log"
            append_above("before fstat" if is_segment else "")
            found = STATUS(descriptor)
            append_above("before write" if is_segment else "")
            return found

        def write(file: Descriptor, data: bytes) -> int:
            written = short(size)(file, data)
            if size == len(data):
                self.note(*beneath)
            else:
                self.note_bytes(size, None)
            append_above("behind write")
            return written

        gc.disable()  # a descriptor in a cycle looks at its status too, at whatever moment
        try:
            with patch.object(Descriptor, "status", status):
                self.try_to_append(*beneath, write)
        finally:
            gc.enable()
        assert (beneath[0] in self.life.numbers) == (size == len(beneath[1]))

    def try_to_append(self, value: bytes, data: bytes, write: Any) -> None:
        """As the handler does, which has the record wait in memory where there is no room."""
        with patch.object(Descriptor, "append", write):
            appended = self.stream.append(data)
        if appended.error is None and value not in self.life.numbers:
            self.note(value, data)

    @rule()
    def reopen(self) -> None:
        """The descriptor is dropped, as where there are many streams."""
        self.stream.reopen()

    # -- the shipper ------------------------------------------------------------------------------

    @rule(most_bytes=st.sampled_from([1, 100, 300, 10**6]))
    def read(self, most_bytes: int) -> None:
        """All that stands whole at the position."""
        self.shipper.read(most_bytes, ended=False)

    @precondition(lambda self: self.shipper.waiting)
    @rule(data=st.data(), remove=st.booleans())
    def acknowledge(self, data: Any, remove: bool) -> None:
        """Some of what was delivered."""
        count = data.draw(st.integers(1, len(self.shipper.waiting)))
        self.shipper.acknowledge(count, remove=remove)

    @rule()
    def roll(self) -> None:
        """To the next segment."""
        self.stream.roll_if_due()

    @rule()
    def look_for_orphans_while_the_owner_lives(self) -> None:
        """The owner keeps its journal."""
        for orphan in self.directory.orphans():
            assert orphan.instance != self.journal.instance
            orphan.release()

    # -- death ------------------------------------------------------------------------------------

    @rule()
    def crash(self) -> None:
        """The process is killed, and another one starts."""
        self.journal.abandon()
        self.begin()

    @rule(data=st.data())
    def crash_in_an_append(self, data: Any) -> None:
        """At any byte of the write."""
        made = self.make()[1]
        append(self.stream, made)
        path = segment_path(self.stream.path, self.stream._segment)
        size = data.draw(self.cut(len(made) - 1))
        os.truncate(path, path.stat().st_size - len(made) + size)
        self.note_bytes(size, None)
        self.crash()

    @precondition(lambda self: self.shipper.waiting and "checkpoint" not in self.life.flipped)
    @rule(data=st.data())
    def crash_in_a_checkpoint(self, data: Any) -> None:
        """At any byte of the slot; the other one has to be good then."""
        self.life.flipped.add("checkpoint")
        path = self.stream.path / CHECKPOINT
        before = path.read_bytes()
        self.shipper.acknowledge(len(self.shipper.waiting), remove=False)
        after = path.read_bytes()
        size = data.draw(st.integers(0, len(after)))
        path.write_bytes(after[:size] + before[size:])
        self.crash()

    @rule()
    def close(self) -> None:
        """An orderly end; all is removed if it is acknowledged."""
        self.shipper.read(10**6, ended=True)
        self.journal.close()
        checkpoint = self.stream.checkpoint
        done = checkpoint is None or not self.stream.size(checkpoint.position)
        if done:
            assert not self.journal.path.exists()
        self.begin()

    # -- the next process -------------------------------------------------------------------------

    @precondition(lambda self: self.orphan is None)
    @rule(data=st.data())
    def claim(self, data: Any) -> None:
        """One process at a time sends what a dead one left."""
        orphans = self.directory.orphans()
        assert self.directory.orphans() == []
        assert [one.started for one in orphans] == sorted(one.started for one in orphans)
        if orphans:
            self.orphan = data.draw(st.sampled_from(orphans))
            for orphan in orphans:
                if orphan is not self.orphan:
                    orphan.release()
            self.shippers = []
            for stream in self.orphan.streams():
                assert not stream.checkpoint_missing
                self.shippers.append(Shipper(stream, self.lives[self.orphan.instance]))

    @precondition(lambda self: self.orphan)
    @rule(data=st.data(), most_bytes=st.sampled_from([1, 300, 10**6]))
    def send_orphan(self, data: Any, most_bytes: int) -> None:
        """Some of it."""
        for shipper in self.shippers:
            shipper.read(most_bytes, ended=True)
            count = data.draw(st.integers(0, len(shipper.waiting)))
            shipper.acknowledge(count, remove=data.draw(st.booleans()))

    @precondition(lambda self: self.orphan)
    @rule(remove=st.booleans())
    def release_orphan(self, remove: bool) -> None:
        """The process that sends it ends, in whatever way."""
        assert self.orphan
        if remove:
            self.orphan.remove()
        self.orphan.release()
        self.orphan = None

    # -- the disk ---------------------------------------------------------------------------------

    @rule(data=st.data())
    def flip_a_bit_of_a_segment(self, data: Any) -> None:
        """Of one frame in each instance's life; at most the record that it hits is lost."""
        lives = [(name, life) for name, life in self.lives.items() if "segment" not in life.flipped]
        places = [
            (name, written)
            for name, life in lives
            for written in life.written
            if written.value in life.numbers
            and not self.is_beside_a_torn_frame(life, written)
            and segment_path(self.root / name / TOPIC, written.segment).exists()
        ]
        if places:
            name, written = data.draw(st.sampled_from(places))
            path = segment_path(self.root / name / TOPIC, written.segment)
            self.flip(path, data.draw(st.integers(written.start, written.end - 1)), data)
            assert written.value is not None
            self.lives[name].damaged.add(written.value)
            self.lives[name].flipped.add("segment")

    def is_beside_a_torn_frame(self, life: Life, written: Written) -> bool:
        """Two faults in a row may look like one."""
        torn = [one for one in life.written if one.value is None]
        behind = any((one.segment, one.end) == (written.segment, written.start) for one in torn)
        before = any((one.segment, one.start) == (written.segment, written.end) for one in torn)
        return behind or before

    @rule(data=st.data())
    def flip_a_bit_of_a_checkpoint(self, data: Any) -> None:
        """The other slot has a position to continue from."""
        lives = [
            (name, life)
            for name, life in self.lives.items()
            if "checkpoint" not in life.flipped and (self.root / name / TOPIC / CHECKPOINT).exists()
        ]
        if lives:
            name, life = data.draw(st.sampled_from(lives))
            path = self.root / name / TOPIC / CHECKPOINT
            slot = data.draw(st.sampled_from([0, 4096]))
            self.flip(path, slot + data.draw(st.integers(0, 68)), data)
            life.flipped.add("checkpoint")

    def flip(self, path: Path, place: int, data: Any) -> None:
        """Change one bit."""
        with path.open("r+b") as file:
            file.seek(place)
            (byte,) = file.read(1)
            file.seek(place)
            file.write(bytes([byte ^ 1 << data.draw(st.integers(0, 7))]))

    # -- always -----------------------------------------------------------------------------------

    @invariant()
    def counts_are_right(self) -> None:
        """Records and bytes are those in the files."""
        assert self.stream.appended == len(self.life.numbers)
        assert self.journal.bytes == self.stream.size(self.stream.position)
        checkpoint = self.stream.checkpoint
        assert checkpoint is None or checkpoint.position >= START
        assert isinstance(self.shipper.position, Position)


class SentByOthersMachine(JournalMachine):
    """The same, where another process reads, and the writer starts segments as it appends."""

    shipper: Any

    @initialize()
    def begin(self) -> None:
        """A process starts, and with it another one that sends."""
        instance = f"{next(_INSTANCES):032x}"
        self.journal = Journal(self.root, instance, segment_bytes=SEGMENT_BYTES, ships=False)
        self.stream = self.journal.stream(TOPIC)
        self.life = self.lives[instance] = Life()
        self.roll()

    @rule()
    def roll(self) -> None:
        """The process that sends is killed; the next one begins at the checkpoint."""
        files = Stream(self.stream.path, self.stream.instance)
        files.load()
        self.shipper = Shipper(files, self.life)

    @rule(most_bytes=st.sampled_from([1, 100, 300, 10**6]))
    def read(self, most_bytes: int) -> None:
        """All that stands whole, as far as the reader has looked."""
        if self.stream.path.exists():
            self.shipper.stream.refresh()
        self.shipper.read(most_bytes, ended=False)

    @rule()
    def read_without_a_look(self) -> None:
        """The writer may have started segments meanwhile."""
        self.shipper.read(10**6, ended=False)

    @rule()
    def close(self) -> None:
        """An orderly end; the process that sends removes the files."""
        self.journal.close()
        self.begin()

    @invariant()
    def counts_are_right(self) -> None:
        """Records are those in the files."""
        assert self.stream.appended == len(self.life.numbers)


@pytest.mark.parametrize("machine", [JournalMachine, SentByOthersMachine])
def test_no_record_is_lost_or_gets_a_second_number(
    machine: type[JournalMachine], tmp_path: Path
) -> None:
    """Whatever is appended, read, acknowledged, cut short, killed or damaged, in any order."""
    run_state_machine_as_test(
        partial(machine, tmp_path), settings=examples(500, stateful_step_count=40)
    )
