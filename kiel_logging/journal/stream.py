"""Streams: the files of one topic of one writer, read and released; and appended to, by the writer.

``Stream`` is for one thread, the one that ships. ``LocalStream.append()`` and ``sync()`` are for
any thread, at any moment: a signal handler or a ``__del__`` may call them on top of themselves.
"""

import contextlib
import errno
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from crc32c import crc32c

from kiel_logging.errors import SpoolError, SpoolFull
from kiel_logging.journal import frames
from kiel_logging.journal.frames import Damage, Frame, Scan
from kiel_logging.journal.segments import (
    FULL,
    Descriptor,
    failure,
    segment_path,
    segments_in,
    sync_directory,
)

if TYPE_CHECKING:
    from kiel_logging.journal.directory import Journal

DIGEST_SIZE: Final = 32
CHECKPOINT: Final = "checkpoint"
DAMAGED: Final = "damaged"

_SLOT: Final = struct.Struct(f">QQQQ{DIGEST_SIZE}s?")
_SLOT_SUM: Final = struct.Struct(">I")
_SLOT_DISTANCE: Final = 4096
"""Bytes. Each slot has a page and a sector of its own, so they are not damaged together."""

_BLOCK: Final = 1024 * 1024
_MOST_SET_ASIDE: Final = 64 * 1024 * 1024
_EARLY: Final = 8
"""A segment of which all is acknowledged is dropped when it has this part of a full one."""


class Position(NamedTuple):
    """A place in a stream: the number of a segment, and bytes from its start."""

    segment: int
    offset: int


START: Final = Position(1, 0)


class Checkpoint(NamedTuple):
    """All before ``segment`` and ``offset`` is acknowledged.

    The last record of it has the number ``sequence`` and the ``digest`` (32 bytes). ``ended`` says
    that the stream's end record is among it.
    """

    segment: int
    offset: int
    sequence: int
    digest: bytes
    ended: bool = False

    @property
    def position(self) -> Position:
        """Where reading continues."""
        return Position(self.segment, self.offset)


FIRST: Final = Checkpoint(*START, 0, bytes(DIGEST_SIZE))


class Run(NamedTuple):
    """Entries that ``read()`` found, each with the position behind it.

    ``position`` is where reading continues. ``missing`` has the numbers of segments that are gone
    with all that was in them; ``foreign`` is the format of the frame at ``position``, if another
    release wrote it. The offset of a Damage counts from the start of its segment.
    """

    entries: list[Frame | Damage]
    ends: list[Position]
    position: Position
    missing: list[int]
    foreign: int | None = None


class Stream:
    """The files of one stream. Reads nothing before ``load()``.

    Args:
        path: the stream's directory; its name is the topic.
        instance: of the writer.

    Attributes:
        seed: the start value of the checksums.
        checkpoint: the last that was stored; None if there is none, or it is damaged.
    """

    def __init__(self, path: Path, instance: str, *, synchronous: bool = False) -> None:
        self.path: Final = path
        self.topic: Final = path.name
        self.instance: Final = instance
        self.seed: Final = frames.seed(instance, self.topic)
        self.checkpoint: Checkpoint | None = None
        self._synchronous: Final = synchronous
        self._sizes: dict[int, int] = {}
        self._counter = 0
        self._older = Position(0, 0)
        """The position in the slot that is not the newest: before everything if damaged."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.instance}/{self.topic} {self.checkpoint}>"

    # The checkpoint.

    def load(self) -> None:
        """Look which segments there are, and read the checkpoint.

        Raises:
            SpoolError: the directory can't be read.
        """
        try:
            self._sizes = segments_in(self.path)
            content = Descriptor(self.path / CHECKPOINT, os.O_RDONLY).read(2 * _SLOT_DISTANCE, 0)
        except FileNotFoundError:
            content = b""
        except OSError as error:
            raise failure(self.path, error) from error
        slots = sorted(slot for at in (0, _SLOT_DISTANCE) if (slot := self._slot(content, at)))
        self._counter, self.checkpoint = slots[-1] if slots else (0, None)
        self._older = slots[0][1].position if len(slots) > 1 else Position(0, 0)

    def _slot(self, content: bytes, at: int) -> tuple[int, Checkpoint] | None:
        slot = content[at : at + _SLOT.size]
        if content[at + _SLOT.size :][: _SLOT_SUM.size] != self._slot_sum(slot):
            return None
        counter, segment, offset, sequence, digest, ended = _SLOT.unpack(slot)
        return counter, Checkpoint(segment, offset, sequence, digest, ended)

    def _slot_sum(self, slot: bytes) -> bytes:
        return _SLOT_SUM.pack(crc32c(slot, self.seed))

    @property
    def checkpoint_missing(self) -> bool:
        """Whether the number of the first record that is left can't be known for sure."""
        if not self._sizes:
            return False
        return self.checkpoint is None or self.checkpoint.segment < min(self._sizes)

    @property
    def position(self) -> Position:
        """Where reading begins: at the checkpoint, or at the oldest segment without one."""
        if self.checkpoint is not None:
            return self.checkpoint.position
        return Position(min(self._sizes, default=START.segment), 0)

    def store(self, checkpoint: Checkpoint) -> None:
        """Write the older slot of the checkpoint's file; takes no room on the disk.

        Raises:
            SpoolError: it can't be written; the newer slot is as it was.
        """
        slot = _SLOT.pack(self._counter + 1, *checkpoint)
        slot += self._slot_sum(slot)
        path = self.path / CHECKPOINT
        try:
            descriptor = Descriptor(path, os.O_RDWR | os.O_CREAT)
            at = (self._counter + 1) % 2 * _SLOT_DISTANCE
            both = self.checkpoint is None or descriptor.status().st_size < 2 * _SLOT_DISTANCE
            if both:
                slot, at = slot.ljust(_SLOT_DISTANCE, b"\0") * 2, 0
            written = os.pwrite(descriptor.number, slot, at)
        except OSError as error:
            raise failure(path, error) from error
        if written < len(slot):
            raise SpoolFull(f"the checkpoint {path} was cut short: make room on its disk")
        newer = None if both else self.checkpoint
        self._older = checkpoint.position if newer is None else newer.position
        self._counter += 1
        self.checkpoint = checkpoint

    def release(self, checkpoint: Checkpoint) -> None:
        """Store ``checkpoint``, and remove the segments that lie before it.

        Both slots have to be behind a segment before it goes: if one is damaged later, the other
        still knows the number of the first record that is left.

        Raises:
            SpoolError: as ``store()``, and then nothing is removed; or a segment can't be removed.
        """
        number = checkpoint.segment
        if self._is_finished(number) and checkpoint.offset >= self._sizes.get(number, 0):
            checkpoint = checkpoint._replace(segment=number + 1, offset=0)
        self.store(checkpoint)
        released = [one for one in list(self._sizes) if one < checkpoint.segment]
        if released and self._older.segment <= released[-1]:
            self.store(checkpoint)
        try:
            if released and self._synchronous:  # or a power cut might undo just the checkpoint
                os.fdatasync(Descriptor(self.path / CHECKPOINT, os.O_RDWR).number)
            for one in released:
                segment_path(self.path, one).unlink(missing_ok=True)
                del self._sizes[one]
        except OSError as error:
            raise failure(self.path, error) from error

    # Reading.

    def size(self, position: Position) -> int:
        """Return the bytes on disk behind ``position``."""
        number, offset = position
        behind = sum(size for one, size in list(self._sizes.items()) if one > number)
        return behind + max(0, self._sizes.get(number, 0) - offset)

    def read(self, position: Position, most_bytes: int = _BLOCK, *, ended: bool = False) -> Run:
        """Return the entries behind ``position``: about ``most_bytes`` of them, or one larger one.

        With ``ended`` nobody appends any more. Without it, the last bytes of the last segment may
        be the front of a write, and are left for the next time. No entries: all was read.

        Raises:
            SpoolError: the disk failed.
        """
        missing: list[int] = []
        if self.checkpoint is not None and position.segment not in self._sizes:
            position = max(position, self.checkpoint.position)  # what is between was released
        while True:
            number, offset = position
            # Asked before the bytes are read: once there is a next segment, this one is finished.
            following = next((one for one in list(self._sizes) if one > number), None)
            finished = self._is_finished(number)
            try:
                scan, is_end = self._scan(position, most_bytes, ended=ended or finished)
            except FileNotFoundError:
                scan, is_end = Scan([], [], 0), True
                if following is not None:
                    missing.append(number)
            except OSError as error:
                raise failure(self.path, error) from error
            foreign = scan.foreign if is_end else None
            position = Position(number, offset + scan.size)
            if scan.entries or foreign is not None or (is_end and following is None):
                entries = [_moved(entry, offset) for entry in scan.entries]
                ends = [Position(number, offset + end) for end in scan.ends]
                return Run(entries, ends, position, missing, foreign)
            if is_end and following is not None:
                missing.extend(range(number + 1, following))
                position = Position(following, 0)

    def runs(self, most_bytes: int = _BLOCK) -> Iterator[Run]:
        """Yield all that is behind the checkpoint now, for commands that show it."""
        run = self.read(self.position, most_bytes, ended=True)
        while run.entries or run.missing:
            yield run
            run = self.read(run.position, most_bytes, ended=True)

    @property
    def is_acknowledged(self) -> bool:
        """Whether nothing is behind the checkpoint; nobody may append meanwhile."""
        run = self.read(self.position, ended=True)
        return not run.entries and run.foreign is None

    def _is_finished(self, number: int) -> bool:
        return any(one > number for one in list(self._sizes))

    def _scan(self, position: Position, most_bytes: int, *, ended: bool) -> tuple[Scan, bool]:
        """Return what is at ``position``, and whether the segment has nothing behind it."""
        number, offset = position
        descriptor = self._reader(segment_path(self.path, number))
        size = descriptor.status().st_size
        while True:
            block = descriptor.read(max(0, min(most_bytes, size - offset)), offset)
            is_end = offset + len(block) >= size or not block
            scan = frames.scan(block, self.seed, ended=ended and is_end)
            if scan.size or is_end:
                return scan, is_end
            most_bytes *= 2  # a large frame, or damage whose end is not in the block

    def _reader(self, path: Path) -> Descriptor:
        return Descriptor(path, os.O_RDONLY)

    # For people, and the end.

    def set_aside(self, damage: Damage, end: Position) -> Path | None:
        """Append the bytes of ``damage`` to a file for people, and return its path.

        Returns:
            None: the disk does not take them, or the file has 64 MiB already.
        """
        path = self.path / DAMAGED
        try:
            source = self._reader(segment_path(self.path, end.segment))
            target = Descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            if target.status().st_size + damage.size > _MOST_SET_ASIDE:
                return None
            target.write(source.read(damage.size, damage.offset))
        except (OSError, SpoolError):
            return None
        return path

    def remove(self) -> None:
        """Remove all files but what was set aside.

        Raises:
            SpoolError: they can't be removed.
        """
        try:
            for number in list(self._sizes):
                segment_path(self.path, number).unlink(missing_ok=True)
                del self._sizes[number]
            (self.path / CHECKPOINT).unlink(missing_ok=True)
            if not (self.path / DAMAGED).exists():
                self.path.rmdir()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise failure(self.path, error) from error


def _moved(entry: Frame | Damage, offset: int) -> Frame | Damage:
    """Count the offset of a Damage from the start of its segment."""
    return Damage(entry.offset + offset, entry.size) if type(entry) is Damage else entry


class LocalStream(Stream):
    """A stream of this process, made by ``Journal.stream()``. Its first append makes its files.

    Every method that changes counts holds the journal's lock. Threads wait for each other there; a
    signal handler passes, for the lock is re-entrant, and may append between any two lines. That
    is sound because ``write(2)`` alone decides what is in the file and in which order, and because
    CPython runs no signal handler within a ``+=`` of plain numbers.

    Attributes:
        appended: records that are in the files, or were. Counted before the write, so that a
            record is never read that is not counted.
    """

    def __init__(self, journal: "Journal", topic: str) -> None:
        super().__init__(journal.path / topic, journal.instance, synchronous=journal.synchronous)
        self.appended = 0
        self._journal: Final = journal
        self._segment = START.segment
        self._descriptor: Descriptor | None = None
        self._removed: dict[int, Descriptor] = {}
        """Segments whose files were removed while there were records in them, by their number."""
        self._counted = 0
        """How many of the journal's bytes are of this stream."""
        self._appends = 0
        self._repairing = False
        self._written = 0
        self._synced = 0
        self._syncing: Final = threading.RLock()

    @property
    def is_new(self) -> bool:
        """Whether nothing was appended yet. To rely on it, hold ``Journal.lock``."""
        return self.appended == 0

    def append(self, data: bytes, records: int = 1) -> int:
        """Append whole frames, which hold ``records`` records, by one ``write(2)``.

        Give several frames only on a thread that reads the stream itself, and that no signal
        handler interrupts: where the disk is full some may be in the file for a moment.

        Returns:
            A number for ``sync()``.

        Raises:
            SpoolFull: there is no room; nothing was appended.
            SpoolError: the disk failed; nothing was appended.
        """
        size = len(data)
        journal = self._journal
        with journal.lock:
            if journal.max_bytes is not None and journal.bytes + size > journal.max_bytes:
                raise SpoolFull(
                    f"the spool {journal.path} has {journal.bytes} of {journal.max_bytes} bytes and "
                    f"{size} more don't fit: see to the brokers, or raise spool_max_bytes"
                )
            if self._repairing:
                raise SpoolFull("the spool is full, and its last write is being undone: try later")
            descriptor = self._descriptor or self._ready()
            number = self._segment
            self._appends += 1
            appends = self._appends
            try:
                self._sizes[number] += size
                self._counted += size
                journal.bytes += size
                self.appended += records
                if descriptor.write(data) < size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301
            except BaseException as error:
                self._take_back(descriptor, number, size, records, appends)
                if not isinstance(error, OSError):
                    raise
                journal.short_of_room = error.errno in FULL
                if not journal.short_of_room:
                    self.reopen()
                raise failure(descriptor.path, error) from error
            journal.short_of_room = False
            self._written += 1
            return self._written

    def _take_back(
        self, descriptor: Descriptor, number: int, size: int, records: int, appends: int
    ) -> None:
        """Undo the counts of a write that raised, unless all of it is in the file.

        It is when a signal handler raised right behind the write. A front of it is cut off, if
        nothing was appended behind; if that fails too, readers skip it.
        """
        try:
            absent = self._sizes[number] - descriptor.status().st_size
        except SpoolError:
            absent = size
            self.reopen()
        if absent <= 0:
            return
        if absent < size:
            self._repairing = True  # from here on signal handlers can't append behind it
            with contextlib.suppress(OSError):
                if self._appends == appends:
                    os.ftruncate(descriptor.number, self._sizes[number] - size)
                    absent = size
            self._repairing = False
        self._sizes[number] -= absent
        self._counted -= absent
        self._journal.bytes -= absent
        self.appended -= records

    def _ready(self) -> Descriptor:
        """Open the segment to append to; make it, and all that it needs, if it is not there.

        A signal handler may come in at any line, append, and so do all of this first. Each step
        accepts that.
        """
        journal = self._journal
        journal.open()
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            if self.checkpoint is None or not (self.path / CHECKPOINT).exists():
                super().store(self.checkpoint or FIRST)
            descriptor = self._open_segment()
            if journal.synchronous:
                for directory in (self.path, journal.path, journal.path.parent):
                    sync_directory(directory)
        except OSError as error:
            journal.short_of_room = error.errno in FULL
            raise failure(self.path, error) from error
        self._descriptor = descriptor
        journal.keep_open(self)
        return descriptor

    def _open_segment(self) -> Descriptor:
        flags = os.O_RDWR | os.O_APPEND
        if self._segment in self._sizes:
            with contextlib.suppress(FileNotFoundError):
                return Descriptor(segment_path(self.path, self._segment), flags)
            self._segment += 1  # it was removed; a reader would look for its bytes in a new one
        descriptor = Descriptor(segment_path(self.path, self._segment), flags | os.O_CREAT)
        self._sizes.setdefault(self._segment, 0)
        return descriptor

    def reopen(self) -> None:
        """Have the next append open the file anew."""
        self._descriptor = None

    def sync(self, until: int) -> None:
        """Wait until all up to the append that returned ``until`` has reached the disk.

        One thread calls ``fdatasync`` for all that appended before. Threads that come meanwhile
        wait for their turn, and the first of them does it for the others.

        A signal handler that comes on top of a call passes, for the lock is re-entrant, and calls
        ``fdatasync`` itself. This method never takes the journal's lock: the frame beneath a
        signal handler may have that, and the thread that it waits for here must not need it.

        Raises:
            SpoolError: the disk failed. The records are in the file and will be sent; whether they
                survive a power cut is unknown.
        """
        if self._synced >= until:
            return
        with self._syncing:
            if self._synced >= until:
                return
            written = self._written  # first, for a roll syncs the segment that it leaves
            self._sync_segment()
            self._synced = max(self._synced, written)

    def _sync_segment(self) -> None:
        path = segment_path(self.path, self._segment)
        try:
            descriptor = self._descriptor
            if descriptor is None and self._segment in self._sizes:
                descriptor = Descriptor(path, os.O_RDWR)
            if descriptor is not None:
                descriptor.status()
                os.fdatasync(descriptor.number)
        except OSError as error:
            raise failure(path, error) from error

    # For the thread that ships.

    def store(self, checkpoint: Checkpoint) -> None:
        """See ``Stream.store()``; the bytes before it no longer count as the journal's."""
        with self._journal.lock:
            super().store(checkpoint)
            size = self.size(checkpoint.position)
            self._journal.bytes += size - self._counted
            self._counted = size

    def release(self, checkpoint: Checkpoint) -> None:
        """See ``Stream.release()``."""
        super().release(checkpoint)
        for number in list(self._removed):
            if number < checkpoint.segment:
                del self._removed[number]

    def roll_if_due(self) -> None:
        """Start the next segment if this one is large, or if none of it is needed any more.

        The next append makes the file of the next one. So a full disk does not keep the old one
        from being removed, which makes room.

        Raises:
            SpoolError: the disk failed.
        """
        journal = self._journal
        with journal.lock:
            position = Position(self._segment, self._sizes.get(self._segment, 0))
            least = journal.segment_bytes
            checkpoint = self.checkpoint
            released = checkpoint is not None and checkpoint.position >= position
            if released:
                least = 1 if journal.short_of_room else least // _EARLY
            if not self._is_removed() and position.offset < least:
                return
            if journal.synchronous:
                self._sync_segment()  # not sync(): see there who must not wait for whom
            self._segment += 1
            self.reopen()
        if released and checkpoint is not None:
            self.release(checkpoint)

    def _is_removed(self) -> bool:
        """Whether the current segment's file has no name any more; it is kept open for reading."""
        descriptor = self._descriptor
        try:
            if descriptor is None or descriptor.status().st_nlink:
                return False
        except SpoolError:
            self.reopen()
            return False
        self._removed[self._segment] = descriptor
        return True

    def _is_finished(self, number: int) -> bool:
        return number < self._segment

    def _reader(self, path: Path) -> Descriptor:
        for descriptor in (self._descriptor, *self._removed.values()):
            if descriptor is not None and descriptor.path == path:
                return descriptor
        return super()._reader(path)

    def abandon(self) -> None:
        """Close the descriptors; touch no file."""
        self.reopen()
        self._removed.clear()

    def close(self) -> bool:
        """Drop the descriptor, and remove the files if all is acknowledged; return whether."""
        self.abandon()
        if not self.is_acknowledged:
            return False
        self.remove()
        return True
