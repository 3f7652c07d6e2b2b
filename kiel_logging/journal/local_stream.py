"""A stream that this process writes: appended to by all threads, synced, and rolled.

``append()``, ``sync()`` and the tail are for all threads at any moment: a signal handler or a
``__del__`` may call them on top of themselves. All else is for the thread that ships.
"""

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

with contextlib.suppress(ImportError):  # Windows, where there is no journal
    import resource

from kiel_logging import native
from kiel_logging.errors import SpoolError, SpoolFull
from kiel_logging.journal.segments import (
    Descriptor,
    failing_at,
    failure,
    segment_path,
    share,
    sync_directory,
)
from kiel_logging.journal.stream import CHECKPOINT, FIRST, Checkpoint, Position, Stream
from kiel_logging.native import monotonic

if TYPE_CHECKING:
    from kiel_logging.journal.directory import Journal

NO_BOUND: Final = -1
_EARLY: Final = 8
"""A segment that is acknowledged may be one part in so many of a full one when the next begins."""

_A_MOMENT: Final = 0.05
_FOR_WRITES: Final = 0.005
"""Long enough for writes that wait for the GIL, and not for those that wait for the disk."""
_GLANCE: Final = 0.000_05
"""Seconds."""
_FAR: Final = 2**62
"""The offset of no frame: a position behind all of a segment."""


class JournalCountsInPython:
    """Counts that all streams of a journal share with the threads that append.

    Attributes:
        bytes: how many are appended and not acknowledged.
        max_bytes: the most that it may be; -1 for no bound.
        pending: records that were appended since the shipper looked.
        asleep: whether the shipper has read everything and has to be woken.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes: Final = max_bytes
        self.bytes = self.pending = 0
        self.asleep = True


class TailInPython:
    """The end of one stream, where compiled code appends without a lock.

    Attributes:
        appended: records that logging threads have appended. Each is counted before it can be read.
        writes: those of compiled code that are under way.
        unread: whether the shipper has to look for records.
        torn: whether the last segment may end with the front of a frame.
    """

    writes: Final = 0

    def __init__(self, counts: JournalCountsInPython, seed: int) -> None:
        del counts, seed
        self.appended = 0
        self.unread = self.torn = False

    def publish(self, *_: Any) -> None:
        """Let compiled code append to a file: there is none."""

    def withdraw(self) -> None:
        """Have each append go through ``LocalStream.append()``."""


try:
    from kiel_logging._accelerator import JournalCounts as JournalCounts
    from kiel_logging._accelerator import Tail as Tail
except ImportError:  # there was no C compiler
    JournalCounts, Tail = JournalCountsInPython, TailInPython  # type: ignore[assignment,misc]


class Appended(NamedTuple):
    """The outcome of an append: how many of its frames are in the file, and from where on.

    ``number`` is for ``sync()``. ``error`` says why the others are not there: SpoolFull if there
    is no room, another SpoolError if the disk failed.
    """

    frames: int
    begin: Position
    number: int
    error: SpoolError | None = None


class LocalStream(Stream):
    """A stream of this process; get it from ``Journal.stream()``.

    The law: ``write(2)`` alone decides what is in the file. An append is counted before it and
    corrected behind it; where an exception of a signal handler comes between, the shipper corrects
    the count when it has read all there is, see ``excess()``. CPython runs no signal handler, and
    no other thread, within ``+=`` of plain numbers.

    Threads append while they have the journal's lock. It is re-entrant, so a signal handler passes
    and appends between any two lines. Two do without it: compiled code, which ``roll()`` waits for,
    and the thread that ships, which is the one that rolls. That thread must not wait for the lock,
    for a signal handler may wait for it on top of a frame that has the lock.

    Attributes:
        tail: where compiled code appends, between ``publish()`` and the next change of the file.
        moved: records that the thread that ships has appended from memory.
    """

    def __init__(self, journal: "Journal", topic: str) -> None:
        super().__init__(
            journal.path / topic,
            journal.instance,
            synchronous=journal.synchronous,
            access=journal.access,
        )
        self._counts = journal.counts if journal.ships else JournalCounts(journal.segment_bytes)
        self.tail = Tail(self._counts, self.seed)
        self._journal: Final = journal
        self._appends = 0
        """How many are under way, one on top of the other: signal handlers may append."""
        self.moved = 0
        self._written = self._synced = 0
        self._turn = native.RLock()
        self._inside = self._together = 0
        """Threads that are in ``sync()`` now, and that were there at the end of the last turn."""
        self._sync_took = 0.0

    @property
    def appended(self) -> int:
        """Records in the files so far. A record is counted before it can be read."""
        return self.tail.appended + self.moved

    @property
    def is_new(self) -> bool:
        """Whether nothing was appended yet; true for as long as the journal's lock is held."""
        return self.appended == 0

    @property
    def end(self) -> Position:
        """The position behind all that was appended."""
        return Position(self._segment, self._measure())

    def size(self, position: Position) -> int:
        """Return the bytes on disk behind ``position``."""
        self._measure()
        return super().size(position)

    def _measure(self) -> int:
        """Look how long the last segment is, note it, and return it."""
        number = self._segment
        if number in self._sizes:
            descriptor = self._descriptors.get(number)
            status = None if descriptor is None else descriptor.status()
            with contextlib.suppress(OSError):  # it was removed, and its last size is known
                status = status or segment_path(self.path, number).stat()
                self._sizes[number] = status.st_size
        return self._sizes.get(number, 0)

    def append(self, *frames: bytes) -> Appended:
        """Append frames by one ``write(2)``; all of them are records that were logged just now.

        On a full disk the first of several may be there, and the others not.
        """
        with self._journal.lock:
            return self._append(frames, len(frames), 0)

    def append_alone(self, *frames: bytes) -> tuple[Appended, Position]:
        """As ``append()``, while no other thread appends; return also the position behind.

        A signal handler on top of it, or a slow write of another thread, may have that be too far
        behind; the frames are between in any case.
        """
        with self._journal.lock:
            self.tail.withdraw()
            deadline = monotonic() + _A_MOMENT
            while self.tail.writes and monotonic() < deadline:
                native.sleep(_GLANCE)
            appended = self._append(frames, len(frames), 0)
            return appended, min(self.end, Position(appended.begin.segment, _FAR))

    def append_aside(self, frames: Sequence[bytes], *, moved: int | None = None) -> Appended:
        """As ``append()``, for the thread that ships. The first ``moved`` frames are records that
        were in memory, and are counted there; the others are none."""
        logged, moved = (len(frames), 0) if moved is None else (0, moved)
        if self._descriptors.get(self._segment) is not None:
            return self._append(frames, logged, moved)
        with self._journal.try_lock(_A_MOMENT) as held:
            if held:
                return self._append(frames, logged, moved)
        error = SpoolError(f"{self.path} can't be opened while a signal handler waits: log later")
        return Appended(0, self.end, self._written, error)

    def _append(self, frames: Sequence[bytes], logged: int, moved: int) -> Appended:
        self._appends += 1
        try:
            return self._append_data(frames, b"".join(frames), logged, moved)
        finally:
            self._appends -= 1

    def _append_data(
        self, frames: Sequence[bytes], data: bytes, logged: int, moved: int
    ) -> Appended:
        journal, counts, tail = self._journal, self._counts, self.tail
        if not journal.ships:
            self._roll_before(len(data))
        size, begin = len(data), Position(self._segment, 0)
        if journal.max_bytes is not None and (kept := self._kept(size)) + size > journal.max_bytes:
            full = SpoolFull(
                f"the spool {journal.path} has {kept} of {journal.max_bytes} bytes, "
                f"and {size} more don't fit: see to the brokers, or raise spool_max_bytes"
            )
            return Appended(0, begin, self._written, full)
        journal.failing = True
        try:
            descriptor, begin = self._opened()
        except SpoolError as error:
            return Appended(0, begin, self._written, error)
        counts.bytes += size
        tail.appended += logged
        self.moved += moved
        try:
            written, refusal = _write(descriptor, data)
        except BaseException:  # a signal handler's: the frames are there, or in part, or not
            tail.torn = True
            raise
        if refusal is not None:
            landed = _whole(frames, written)
            counts.bytes -= size - written
            tail.appended -= max(0, logged - landed)
            self.moved -= max(0, moved - landed)
            tail.torn = True
            return Appended(landed, begin, self._written, failure(self.path, refusal))
        journal.failing = False
        self._written += 1
        return Appended(len(frames), begin, self._written)

    def _kept(self, size: int) -> int:
        """Return how many bytes the journal has that are not acknowledged."""
        journal = self._journal
        if journal.ships:
            return journal.counts.bytes
        # Another process removes segments: so they are counted when one begins.
        return self._counts.bytes or journal.count_files(size)

    def _roll_before(self, size: int) -> None:
        """Start the next segment if this one has no room for ``size`` bytes, or ends with the front
        of a frame: where another process ships, the writer rolls.

        Not on top of another append, whose write is still to come, and not beside one in C: a later
        append tries again.
        """
        is_full = self._counts.bytes + size > self._journal.segment_bytes
        if self._segment in self._sizes and self._counts.bytes and (is_full or self.tail.torn):
            self.tail.withdraw()
            if self._appends == 1 and not self.tail.writes:
                if self._journal.synchronous:
                    self._sync_segment()
                self._sizes.pop(self._segment, None)
                self.roll()
                self._counts.bytes = 0

    def _opened(self) -> tuple[Descriptor, Position]:
        """Return the last segment, open, and its end; raise SpoolError."""
        number = self._segment
        descriptor = self._descriptors.get(number)
        status = None if descriptor is None else descriptor.status()
        if descriptor is None or status is None:
            with failing_at(self.path):
                number, descriptor = self._open()
            status = descriptor.status()
        return descriptor, Position(number, 0 if status is None else status.st_size)

    def _open(self) -> tuple[int, Descriptor]:
        """Open the last segment; make it, and what it needs, if it is not there.

        A signal handler may do all of it on top of any line: each line accepts that.
        """
        journal = self._journal
        self.tail.withdraw()
        journal.open()
        self.path.mkdir(mode=0o700, exist_ok=True)
        if journal.access.group:
            share(self.path)
        if self.checkpoint is None or (journal.ships and not (self.path / CHECKPOINT).exists()):
            super().store(self.checkpoint or FIRST)
        if self._segment in self._sizes and not segment_path(self.path, self._segment).exists():
            self._segment += 1  # it was removed: a reader would look for its bytes in a new one
        number = self._segment
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        descriptor = Descriptor(segment_path(self.path, number), flags, journal.access)
        if journal.synchronous:
            for directory in (self.path, journal.path, journal.path.parent):
                sync_directory(directory)
        self._sizes.setdefault(number, 0)
        self._descriptors[number] = descriptor
        journal.keep_open(self)
        return number, descriptor

    def publish(self) -> None:
        """Let compiled code append what comes next, until the file changes; have the lock."""
        descriptor = self._descriptors.get(self._segment)
        if descriptor is not None and not self._journal.synchronous:
            self.tail.publish(descriptor, descriptor.number, *descriptor.file)

    def reopen(self) -> None:
        """Have the next append open the segment anew."""
        self.tail.withdraw()
        self._descriptors.pop(self._segment, None)

    def sync(self, until: int) -> None:
        """Wait until all up to the append that returned ``until`` is on the disk.

        One thread calls ``fdatasync`` for all that appended before. Those that come meanwhile wait
        until its turn is over; one of them has the next turn. A turn is a re-entrant lock, so a
        signal handler on top of a call does not wait for the frame beneath it. Nothing in here
        takes the journal's lock, which that frame may hold while the handler waits for another
        thread in here.

        Raises:
            SpoolError: the disk failed. The records are in the file, and will be sent, but may not
                survive a power cut.
        """
        self._inside += 1
        try:
            while self._synced < until:
                turn = self._turn
                with turn:
                    if turn is self._turn and self._synced < until:
                        self._sync_together()
                        self._turn = native.RLock()
        finally:
            self._inside -= 1

    def _sync_together(self) -> None:
        """Sync when as many wait as the last time, or after half of the time that it took then.

        Without this, the threads that the last turn released would miss the next one each time.
        """
        deadline = monotonic() + self._sync_took / 2
        while self._written - self._synced < self._together and monotonic() < deadline:
            native.sleep(_GLANCE)
        began, written = monotonic(), self._written
        self._sync_segment()  # behind the line before it: a roll syncs the segment that it leaves
        self._synced = max(self._synced, written)
        self._sync_took = monotonic() - began
        self._together = self._inside

    def _sync_segment(self) -> None:
        number = self._segment
        with failing_at(self.path):
            if number in self._sizes:
                os.fdatasync(self._reader(number)[0].number)

    # For the thread that ships.

    def store(self, checkpoint: Checkpoint) -> None:
        """See ``Stream.store()``; bytes before it no longer count as the journal's."""
        self._measure()
        before = super().size(self.position)
        super().store(checkpoint)
        self._journal.counts.bytes += super().size(checkpoint.position) - before

    @contextlib.contextmanager
    def quiet(self) -> Iterator[bool]:
        """Let no thread append in the block; yield whether that is so, without a long wait."""
        with self._journal.try_lock() as held:
            if held:
                self.tail.withdraw()
            deadline = monotonic() + _FOR_WRITES
            while held and self.tail.writes and monotonic() < deadline:
                native.sleep(_GLANCE)
            yield held and not self.tail.writes

    def excess(self, found: int) -> int:
        """Return how many more records are counted than were ``found`` by reading all there is; 0
        while threads append."""
        if self.appended == found or self.tail.unread or self.tail.writes:
            return 0
        with self.quiet() as quiet:
            return self.appended - found if quiet and not self.tail.unread else 0

    def roll_if_due(self) -> None:
        """Start the next segment if this one is large, or if nothing in it is needed any more.

        Takes no room on the disk: the next append makes the file. Call it when something was
        acknowledged, and now and then. Raise SpoolError if the disk fails.
        """
        if not self._is_roll_due():
            return
        with self.quiet() as quiet:
            if not quiet:
                return  # another time
            number = self._segment
            if self._journal.synchronous:
                self._sync_segment()  # sync() might wait for a thread that waits for this lock
            self.roll()
        if self.checkpoint is not None and self.checkpoint.segment == number:
            checkpoint = self._past_the_segment(self.checkpoint)
            if checkpoint.segment > number:
                self.release(checkpoint)

    def _is_roll_due(self) -> bool:
        number, size = self.end
        least = self._journal.segment_bytes
        if self.checkpoint is not None and self.checkpoint.position >= (number, size):
            least = 1 if self._journal.failing else least // _EARLY
        return size >= least or (size > 0 and self.tail.torn) or self._has_no_name()

    def roll(self) -> None:
        """Have the next append start a segment; no thread may append meanwhile."""
        self.tail.withdraw()
        self._measure()
        if not self._has_no_name():
            self.reopen()
        self._segment += 1
        self.tail.torn = False

    def _has_no_name(self) -> bool:
        """Whether the current segment's file was removed."""
        descriptor = self._descriptors.get(self._segment)
        status = descriptor.status() if descriptor is not None else None
        return status is not None and status.st_nlink == 0

    def abandon(self) -> None:
        """Close the descriptors; touch no file."""
        self.tail.withdraw()
        self._descriptors.clear()

    def close(self) -> bool:
        """Remove the files if all is acknowledged, and return whether it is."""
        self.abandon()
        if self.checkpoint is None:  # nothing was appended; a full disk takes names all the same
            with contextlib.suppress(SpoolError):
                self.remove()
            return True
        acknowledged = self.is_acknowledged
        if acknowledged:
            self.remove()
        return acknowledged


def _write(descriptor: Descriptor, data: bytes) -> tuple[int, OSError | None]:
    """Return how many bytes the disk took, and why it did not take all of them."""
    try:
        written = descriptor.append(data)
        return written, _cut_short(descriptor) if written < len(data) else None
    except OSError as error:
        if error.errno is None:  # a TimeoutError of a signal handler's, not the system's
            raise
        return 0, error


def _cut_short(descriptor: Descriptor) -> OSError:
    """Return why a write took only a part: a limit on the size of files, else a full disk."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    is_limit = limit != resource.RLIM_INFINITY and os.fstat(descriptor.number).st_size >= limit
    number = errno.EFBIG if is_limit else errno.ENOSPC
    return OSError(number, os.strerror(number))


def _whole(frames: Sequence[bytes], written: int) -> int:
    """Return how many of the frames are whole in their first ``written`` bytes."""
    ends = itertools.accumulate(map(len, frames))
    return sum(end <= written for end in ends)
