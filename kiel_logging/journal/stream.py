"""Streams: the files of one topic of one writer, which are read and released.

All of it is for the one thread that ships.
"""

import contextlib
import errno
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kiel_logging.errors import SpoolError
from kiel_logging.journal import frames
from kiel_logging.journal.frames import Damage, Frame, Scan, crc32c
from kiel_logging.journal.segments import (
    OWN,
    Access,
    Descriptor,
    failing_at,
    failure,
    segment_path,
    segments_in,
    unlink,
)

CHECKPOINT: Final = "checkpoint"
DAMAGED: Final = "damaged"

_SLOT: Final = struct.Struct(">QQQQ32s?8sH")
_REFUSAL: Final = struct.Struct(">QQQQB")
_SLOT_SUM: Final = struct.Struct(">I")
_SLOT_DISTANCE: Final = 4096
_MOST_REFUSALS: Final = _SLOT_DISTANCE - _SLOT.size - _SLOT_SUM.size
"""Bytes."""
_LONGEST_REASON: Final = 200
_SOME: Final = "given up, or close to records that were: they are too many to be noted one by one"
_BLOCK: Final = 1024 * 1024
_MOST_SET_ASIDE: Final = 64 * 1024 * 1024
TICK: Final = 100_000_000
"""Nanoseconds; longer than a tick of the clock that files have."""


class Position(NamedTuple):
    """A place in a stream: the number of a segment, and bytes from its start."""

    segment: int
    offset: int


START: Final = Position(1, 0)


class Refusal(NamedTuple):
    """Records from ``begin`` to ``end`` were given up; ``reason`` says why."""

    begin: Position
    end: Position
    reason: str


def bounded(refusals: Iterable[Refusal]) -> tuple[Refusal, ...]:
    """Return the refusals in order, as a checkpoint has room for them: the newest as they are, and
    one range in place of all others."""
    joined: list[Refusal] = []
    for begin, end, reason in sorted({*refusals}):
        reason = _shortened(reason)
        if joined and joined[-1][1:] == (begin, reason):
            begin = joined.pop().begin
        joined.append(Refusal(begin, end, reason))
    room = _MOST_REFUSALS - _REFUSAL.size - len(_SOME) - _LONGEST_REASON
    first = len(joined)
    while first:
        reason, before = joined[first - 1].reason, joined[first - 2].reason if first > 1 else ""
        room -= _REFUSAL.size + (0 if reason == before else len(reason.encode()))
        if room < 0:
            break
        first -= 1
    older = joined[:first]
    if older:
        older = [Refusal(older[0].begin, max(one.end for one in older), _SOME)]
    return (*older, *joined[first:])


def _shortened(reason: str) -> str:
    return reason.encode(errors="replace")[:_LONGEST_REASON].decode(errors="ignore") or "given up"


def _pack_refusals(refusals: Iterable[Refusal]) -> bytes:
    packed, before = b"", ""
    for begin, end, reason in refusals:
        text = b"" if reason == before else reason.encode()
        packed += _REFUSAL.pack(*begin, *end, len(text)) + text
        before = reason
    return packed


def _unpack_refusals(packed: bytes) -> Iterator[Refusal]:
    at, reason = 0, ""
    while at < len(packed):
        *places, size = _REFUSAL.unpack_from(packed, at)
        at += _REFUSAL.size
        if size:
            reason = packed[at : at + size].decode(errors="replace")
        at += size
        yield Refusal(Position(*places[:2]), Position(*places[2:]), reason)


class Checkpoint(NamedTuple):
    """All before a position is acknowledged, but for what is ``refused``.

    The last of its records has the number ``sequence`` and the 32 bytes of ``digest``. ``ended``
    says that the stream's end record is among them; ``key`` is which key seals what follows.
    ``refused`` is ``bounded()``.
    """

    segment: int
    offset: int
    sequence: int
    digest: bytes
    ended: bool = False
    key: bytes = bytes(8)
    refused: tuple[Refusal, ...] = ()

    @property
    def position(self) -> Position:
        """Where reading continues."""
        return Position(self.segment, self.offset)

    @property
    def is_renumbered(self) -> bool:
        """Whether the last record got its number as another instance's: its own was unknown."""
        return not self.sequence and self.position > START


FIRST: Final = Checkpoint(*START, 0, bytes(32))


class Read(NamedTuple):
    """The outcome of a read: entries from ``start`` on. Reading continues at ``position``.

    ``sizes`` has the bytes from the start to the end of each entry. ``missing`` has the numbers of
    segments that are gone, with all that was in them, and ``cut`` those of segments that end in the
    middle of a frame. ``foreign`` is the format of a frame at ``position`` that another release
    wrote.
    """

    entries: list[Frame | Damage]
    start: Position
    sizes: list[int]
    position: Position
    missing: list[int]
    foreign: int | None = None
    cut: tuple[int, ...] = ()
    is_last: bool = False

    @property
    def ends(self) -> list[Position]:
        """The position behind each entry."""
        number, offset = self.start
        return [Position(number, offset + size) for size in self.sizes]


Scanner = Callable[..., Scan]
"""``scanner(block, seed, ended=...)``: does what ``frames.scan()`` does."""


class Stream:
    """The files in ``path``, whose name is the topic. All is unknown before ``load()``.

    Attributes:
        seed: for ``frames.encode()``.
        checkpoint: the one stored last; None if there is none, or none that can be read.
        most_bytes: a frame with more is taken for damage.
    """

    def __init__(
        self, path: Path, instance: str, *, synchronous: bool = False, access: Access = OWN
    ) -> None:
        self.path: Final = path
        self.access: Final = access
        self.topic: Final = path.name
        self.instance: Final = instance
        self.seed: Final = frames.seed(instance, self.topic)
        self.checkpoint: Checkpoint | None = None
        self.most_bytes = 2 * frames.MAX_BODY
        self._synchronous: Final = synchronous
        self._sizes: dict[int, int] = {}
        self._listed = 0
        """When the directory had last changed as its names were read, in ns since 1970."""
        self._segment = START.segment
        """The last segment. All others are finished: no append goes there any more."""
        self._descriptors: dict[int, Descriptor] = {}
        """To append to the last segment, and to read segments that lost their names."""
        self._counter = self._older = 0
        """Of the newest slot; and the segment in the other one, 0 where it can't be read."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.instance}/{self.topic} {self.checkpoint}>"

    def load(self) -> None:
        """Look which segments there are, and read the checkpoint; raise SpoolError."""
        slots: list[tuple[int, Checkpoint]] = []
        with failing_at(self.path):
            self._sizes = segments_in(self.path)
            self._segment = max(self._sizes, default=START.segment)
            with contextlib.suppress(FileNotFoundError):
                slots = self._slots(Descriptor(self.path / CHECKPOINT, os.O_RDONLY, self.access))
        self._counter, self.checkpoint = slots[-1] if slots else (0, None)
        self._older = slots[0][1].segment if len(slots) > 1 else 0

    def stored_by_others(self, file: Descriptor) -> Checkpoint | None:
        """Return what another process stored last in ``file``, which is the checkpoint's or was it
        before it was removed; None if it can't be read. Raise OSError."""
        slots = self._slots(file)
        return slots[-1][1] if slots else None

    def _slots(self, file: Descriptor) -> list[tuple[int, Checkpoint]]:
        """Return the valid slots with their counters, the newest one last; raise OSError."""
        content = os.pread(file.number, 2 * _SLOT_DISTANCE, 0)
        found = (self._slot(content[at:][:_SLOT_DISTANCE]) for at in (0, _SLOT_DISTANCE))
        return sorted(slot for slot in found if slot is not None)

    def _slot(self, content: bytes) -> tuple[int, Checkpoint] | None:
        if len(content) < _SLOT.size:
            return None
        counter, *fields, size = _SLOT.unpack_from(content)
        end = _SLOT.size + size
        if content[end : end + _SLOT_SUM.size] != self._slot_sum(content[:end]):
            return None
        try:
            refused = tuple(_unpack_refusals(content[_SLOT.size : end]))
        except struct.error:  # it is no slot of ours: its writer means harm
            return None
        return counter, Checkpoint(*fields)._replace(refused=refused)

    def _slot_sum(self, slot: bytes) -> bytes:
        return _SLOT_SUM.pack(crc32c(slot, self.seed))

    def refresh(self) -> bool:
        """Look what a writer in another process appended; return whether it is more than the last
        time. Raise SpoolError.

        The names come first: where there is a later segment, no append to an earlier one is under
        way any more, so the sizes that follow are final.
        """
        before = self._segment, self._sizes.get(self._segment)
        with failing_at(self.path):
            changed = self.path.lstat().st_mtime_ns
            if changed != self._listed:
                # A name that is made within the same tick of the clock would not be noticed.
                self._listed = changed if time.time_ns() - changed > TICK else 0
                self._sizes = segments_in(self.path)
                self._segment = max(self._sizes, default=START.segment)
            elif self._segment in self._sizes:
                self._sizes[self._segment] = segment_path(self.path, self._segment).lstat().st_size
        return before != (self._segment, self._sizes.get(self._segment))

    @property
    def appended(self) -> int:
        """How many records this process has appended."""
        return 0

    @property
    def checkpoint_missing(self) -> bool:
        """Whether the number of the oldest record that is left is unknown."""
        if not self._sizes:
            return False
        return self.checkpoint is None or self.checkpoint.segment < min(self._sizes)

    @property
    def end(self) -> Position:
        """The position behind all that was found the last time."""
        return Position(self._segment, self._sizes.get(self._segment, 0))

    @property
    def position(self) -> Position:
        """Where reading begins."""
        return START if self.checkpoint is None else self.checkpoint.position

    def store(self, checkpoint: Checkpoint) -> None:
        """Write the older slot, which takes no room on the disk; raise SpoolError."""
        *fields, refused = checkpoint
        refusals = _pack_refusals(refused)
        slot = _SLOT.pack(self._counter + 1, *fields, len(refusals)) + refusals
        slot += self._slot_sum(slot)
        at, older = (self._counter + 1) % 2 * _SLOT_DISTANCE, self.checkpoint
        path = self.path / CHECKPOINT
        with failing_at(path):
            descriptor = Descriptor(path, os.O_RDWR | os.O_CREAT, self.access)
            if older is None or os.fstat(descriptor.number).st_size < 2 * _SLOT_DISTANCE:
                slot, at, older = slot.ljust(_SLOT_DISTANCE, b"\0") * 2, 0, checkpoint  # both
            if descriptor.write(slot, at) < len(slot):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._older, self._counter, self.checkpoint = older.segment, self._counter + 1, checkpoint

    def release(self, checkpoint: Checkpoint) -> None:
        """Store ``checkpoint``, then remove the segments before it; raise SpoolError."""
        checkpoint = self._past_the_segment(checkpoint)
        self.store(checkpoint)
        released = [one for one in list(self._sizes) if one < checkpoint.segment]
        if released and self._older <= released[-1]:
            # If the newer slot is damaged some day, the older one has to know where to continue.
            self.store(checkpoint)
        with failing_at(self.path):
            if released and self._synchronous:  # a power cut must not undo the checkpoint alone
                checkpoint_file = Descriptor(self.path / CHECKPOINT, os.O_RDWR, self.access)
                os.fdatasync(checkpoint_file.number)
            self._remove(released)

    def _past_the_segment(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return ``checkpoint``, moved to the next segment if no whole frame is left in its own.

        Behind a full disk a finished segment ends with a torn one.
        """
        number, offset = checkpoint.position
        if number >= self._segment:
            return checkpoint
        if offset < self._sizes.get(number, 0):
            rest = self.read(checkpoint.position, 1, ended=True)
            has_more = rest.entries or rest.foreign is not None
            if has_more and rest.start.segment == number:
                return checkpoint
        return checkpoint._replace(segment=number + 1, offset=0)

    def _remove(self, numbers: list[int]) -> None:
        for number in numbers:
            unlink(segment_path(self.path, number), self.access)
            self._sizes.pop(number, None)
            self._descriptors.pop(number, None)

    def size(self, position: Position) -> int:
        """Return the bytes on disk behind ``position``."""
        number, offset = position
        behind = sum(size for one, size in list(self._sizes.items()) if one > number)
        return behind + max(0, self._sizes.get(number, 0) - offset)

    def read(
        self,
        position: Position,
        most_bytes: int = _BLOCK,
        *,
        ended: bool = False,
        scan: Scanner = frames.scan,
    ) -> Read:
        """Return the entries at ``position``: those in about ``most_bytes``, or a larger one.

        With ``ended`` there will be no append. Without it, the end of the last segment may be the
        front of a write that is going on, and is left for the next time. ``scan`` does what
        ``frames.scan()`` does, for fewer entries at a time or other objects than frames. Raise
        SpoolError if the disk fails.
        """
        missing: list[int] = []
        cut: tuple[int, ...] = ()
        if self.checkpoint is not None and position.segment not in self._sizes:
            position = max(position, self.checkpoint.position)  # what lies between was released
        while True:
            number, offset = position
            following = next((one for one in list(self._sizes) if one > number), None)
            ends_here = ended or number < self._segment  # asked before the bytes are read
            scanned = self._scan(position, most_bytes, scan, ended=ends_here)
            if scanned is None and following is not None:
                missing.append(number)
            found, left, is_end = scanned or (Scan([], [], 0), 0, True)
            position = Position(number, offset + found.size)
            if found.size > (found.ends[-1] if found.ends else 0):
                cut += (number,)
            foreign = found.foreign if is_end else None
            if found.entries or foreign is not None or (is_end and following is None):
                start, is_last = Position(number, offset), following is None and not left
                entries, ends = found.entries, found.ends
                return Read(entries, start, ends, position, missing, foreign, cut, is_last)
            if is_end and following is not None:
                missing.extend(range(number + 1, following))
                position = Position(following, 0)

    def runs(self, most_bytes: int = _BLOCK) -> Iterator[Read]:
        """Yield all that is behind the checkpoint, for commands that show it.

        A frame that another release wrote ends it.
        """
        run = self.read(self.position, most_bytes, ended=True)
        while run.entries or run.missing or run.cut or run.foreign is not None:
            yield run
            if run.foreign is not None:
                return
            run = self.read(run.position, most_bytes, ended=True)

    @property
    def is_acknowledged(self) -> bool:
        """Whether nothing is behind the checkpoint; there must be no append meanwhile."""
        run = self.read(self.position, ended=True)
        return not run.entries and run.foreign is None

    def _scan(
        self, position: Position, most_bytes: int, scan: Scanner, *, ended: bool
    ) -> tuple[Scan, int, bool] | None:
        """Return what is at ``position``, the bytes of the segment behind that, and whether the end
        of the segment was seen; None if there is no such segment. Raise SpoolError."""
        number, offset = position
        try:
            return self._scan_from(offset, *self._reader(number), most_bytes, scan, ended=ended)
        except OSError as error:
            if number in self._sizes and not isinstance(error, FileNotFoundError):
                raise failure(self.path, error) from error
            return None

    def _scan_from(
        self,
        offset: int,
        descriptor: Descriptor,
        status: os.stat_result,
        most_bytes: int,
        scan: Scanner,
        *,
        ended: bool,
    ) -> tuple[Scan, int, bool]:
        rest = max(0, status.st_size - offset)
        while True:
            block = os.pread(descriptor.number, min(most_bytes, rest), offset)
            is_end = len(block) >= rest or not block
            is_long = len(block) > self.most_bytes  # no frame is: it would fill the memory
            found = scan(block, self.seed, ended=(ended and is_end) or is_long)
            if found.size or is_end:
                return found, rest - found.size, is_end
            most_bytes *= 2  # a large frame, or damage whose end is not in the block

    def _reader(self, number: int) -> tuple[Descriptor, os.stat_result]:
        """Return a segment, open, and its status; raise OSError."""
        descriptor = self._descriptors.get(number)
        status = None if descriptor is None else descriptor.status()
        if descriptor is None or status is None:
            descriptor = Descriptor(segment_path(self.path, number), os.O_RDONLY, self.access)
            status = os.fstat(descriptor.number)
        return descriptor, status

    def set_aside(self, damage: Damage, end: Position) -> Path | None:
        """Append the bytes of ``damage``, which ends at ``end``, to a file for people; return it.

        Return None if the disk does not take them, or there are too many already.
        """
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            target = Descriptor(self.path / DAMAGED, flags, self.access)
            if os.fstat(target.number).st_size + damage.size > _MOST_SET_ASIDE:
                return None
            source, _ = self._reader(end.segment)
            target.append(os.pread(source.number, damage.size, end.offset - damage.size))
        except (OSError, SpoolError):
            return None
        return target.path

    def remove(self) -> None:
        """Remove all files but those that were set aside; raise SpoolError."""
        with failing_at(self.path), contextlib.suppress(FileNotFoundError):
            self._remove(list(self._sizes))
            unlink(self.path / CHECKPOINT, self.access)
            if not (self.path / DAMAGED).exists():
                self.path.rmdir()
