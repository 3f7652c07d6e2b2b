"""A stream that this process writes: appended to by all threads, synced, and rolled.

``append()``, ``sync()`` and the tail are for all threads at any moment: a signal handler or a
``__del__`` may call them on top of themselves. All else is for the thread that ships.
"""

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

with contextlib.suppress(ImportError):  # Windows, where there is no journal
    import resource

from kiel_logging import native
from kiel_logging.errors import SpoolError, SpoolFull
from kiel_logging.journal.gate import Tail
from kiel_logging.journal.segments import (
    Descriptor,
    failing_at,
    failure,
    segment_path,
    sync_directory,
)
from kiel_logging.journal.stream import CHECKPOINT, FIRST, Checkpoint, Position, Stream
from kiel_logging.native import monotonic

if TYPE_CHECKING:
    from kiel_logging.journal.directory import Journal

_EARLY: Final = 8
"""A segment that is acknowledged may be one part in so many of a full one when the next begins."""

_A_MOMENT: Final = 0.05
_GLANCE: Final = 0.000_05
"""Seconds."""


def _cut_short(descriptor: Descriptor) -> OSError:
    """Return why a write took only a part: a limit on the size of files, else a full disk."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    is_limit = limit != resource.RLIM_INFINITY and os.fstat(descriptor.number).st_size >= limit
    number = errno.EFBIG if is_limit else errno.ENOSPC
    return OSError(number, os.strerror(number))


class LocalStream(Stream):
    """A stream of this process; get it from ``Journal.stream()``.

    Threads take turns by the journal's gate. A signal handler passes, for the gate is re-entrant,
    and appends between any two lines. This is sound because ``write(2)`` alone decides what is in
    the file, and because CPython runs no signal handler within ``+=`` of plain numbers.

    Attributes:
        tail: where compiled code appends, between ``publish()`` and the next change of the file.
        moved: how many of the appended records came from memory.
    """

    def __init__(self, journal: "Journal", topic: str) -> None:
        super().__init__(journal.path / topic, journal.instance, synchronous=journal.synchronous)
        self.tail = Tail(journal.gate, topic, self.seed)
        self._journal: Final = journal
        self._gate: Final = journal.gate
        self.moved = 0
        self._written = self._synced = 0
        self._turn = native.RLock()
        self._inside = self._together = 0
        """Threads that are in ``sync()`` now, and that were there at the end of the last turn."""
        self._sync_took = 0.0

    @property
    def end(self) -> Position:
        """The position behind all that was appended. To rely on it, hold ``Journal.gate``."""
        return Position(self._segment, self._sizes.get(self._segment, 0))

    @property
    def appended(self) -> int:
        """Records in the files so far. A record is counted before it can be read."""
        return self.tail.appended

    @property
    def is_new(self) -> bool:
        """Whether nothing was appended yet; true for as long as the journal's gate is held."""
        return self.appended == 0

    def append(self, data: bytes, records: int = 1) -> int:
        """Append whole frames, which hold ``records`` records, by one ``write(2)``.

        Only the thread that ships may give several frames: where the disk becomes full the first
        of them are in the file for a moment.

        Returns:
            A number for ``sync()``.

        Raises:
            SpoolFull: there is no room; nothing was appended.
            SpoolError: the disk failed; nothing was appended.
        """
        with self._gate:
            return self._append_whole(data, records)

    def append_aside(self, data: bytes, records: int = 1, moved: int = 0) -> int:
        """As ``append()``, for the thread that ships: does not wait for the gate for long. So many
        of the records were ``moved``: they are counted in memory already.

        A signal handler may wait for this thread on top of a frame that holds the gate. Then this
        thread appends without it. It can't know what others append at the same moment, so neither
        side cuts anything off the file then.
        """
        with self._journal.try_gate(_A_MOMENT) as held:
            if held:
                return self._append_whole(data, records, moved)
            self._gate.asides += 1
            try:
                return self._append_whole(data, records, moved)
            finally:
                self._gate.asides -= 1

    def publish(self) -> None:
        """Let compiled code append what comes next, until the file changes; hold the gate."""
        descriptor = self._descriptors.get(self._segment)
        if descriptor is not None and not self._journal.synchronous and not self.tail.torn:
            file = (descriptor.number, *descriptor.file)
            self.tail.publish(descriptor, *file, self._sizes, self._segment)

    def _append_whole(self, data: bytes, records: int, moved: int = 0) -> int:
        size = len(data)
        journal = self._journal
        if journal.max_bytes is not None and journal.bytes + size > journal.max_bytes:
            raise SpoolFull(
                f"the spool {journal.path} has {journal.bytes} of {journal.max_bytes} bytes, "
                f"and {size} more don't fit: see to the brokers, or raise spool_max_bytes"
            )
        if self.tail.torn:
            raise SpoolFull(f"the last write to {self.path} can't be undone yet: log later")
        journal.failing = True
        try:
            self._append(data, size, records, moved)
        except OSError as error:
            if error.errno is None:  # a TimeoutError of a signal handler's, not the system's
                raise
            raise failure(self.path, error) from error
        journal.failing = False
        self._written += 1
        return self._written

    def _append(self, data: bytes, size: int, records: int, moved: int) -> None:
        number = self._segment
        descriptor = self._descriptors.get(number)
        uncounted = None if descriptor is None else self._uncounted(number, descriptor)
        if descriptor is None or uncounted is None:
            number, descriptor = self._open()
            uncounted = self._uncounted(number, descriptor) or 0
        gate, tail = self._gate, self.tail
        try:
            gate.appended_bytes += size
            tail.appended += records
            self.moved += moved
            before = self._sizes[number]  # no signal handler comes between this line and the next
            if os.write(descriptor.number, data) < size:
                raise _cut_short(descriptor)  # noqa: TRY301
        except BaseException:
            # Some bytes may be in the file, or all, where a signal handler raised right behind the
            # system call. Handlers on top that came to their end have counted theirs.
            now = self._uncounted(number, descriptor)
            landed = 0 if now is None else now - uncounted
            if 0 < landed < size and self._sizes[number] == before:
                tail.torn = True  # from here on no signal handler appends behind them
                tail.withdraw()
                if not gate.asides:
                    with contextlib.suppress(OSError):
                        os.ftruncate(descriptor.number, before + uncounted)
                        landed, tail.torn = 0, False
            if landed < size:
                gate.appended_bytes -= size - landed
                tail.appended -= records
                self.moved -= moved
            self._sizes[number] += landed
            raise
        self._sizes[number] += size

    def _uncounted(self, number: int, descriptor: Descriptor) -> int | None:
        """Return the bytes of a segment that no append has counted; None if the file is not ours.

        They are those of the frames beneath a signal handler. A handler that appends between the
        look at the file and the look at the count would be in one of them, so look again.
        """
        counted = -1
        while counted != (counted := self._sizes.get(number, 0)):
            status = descriptor.status()
        return None if status is None else status.st_size - counted

    def _open(self) -> tuple[int, Descriptor]:
        """Open the current segment; make it, and what it needs, if it is not there.

        A signal handler may do all of it on top of any line: each line accepts that.
        """
        journal = self._journal
        self.tail.withdraw()
        journal.open()
        self.path.mkdir(mode=0o700, exist_ok=True)
        if self.checkpoint is None or not (self.path / CHECKPOINT).exists():
            super().store(self.checkpoint or FIRST)
        if self._segment in self._sizes and not segment_path(self.path, self._segment).exists():
            self._segment += 1  # it was removed: a reader would look for its bytes in a new one
        number = self._segment
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        descriptor = Descriptor(segment_path(self.path, number), flags)
        if journal.synchronous:
            for directory in (self.path, journal.path, journal.path.parent):
                sync_directory(directory)
        self._sizes.setdefault(number, 0)
        self._descriptors[number] = descriptor
        journal.keep_open(self)
        return number, descriptor

    def reopen(self) -> None:
        """Have the next append open the segment anew."""
        self.tail.withdraw()
        self._descriptors.pop(self._segment, None)

    def sync(self, until: int) -> None:
        """Wait until all up to the append that returned ``until`` is on the disk.

        One thread calls ``fdatasync`` for all that appended before. Those that come meanwhile wait
        until its turn is over; one of them has the next turn. A turn is a re-entrant lock, so a
        signal handler on top of a call does not wait for the frame beneath it. Nothing in here
        takes the journal's gate, which that frame may hold while the handler waits for another
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
            descriptor = self._descriptors.get(number)
            if number in self._sizes and (descriptor is None or descriptor.status() is None):
                descriptor = self._reader(number)
            if descriptor is not None:
                os.fdatasync(descriptor.number)

    # For the thread that ships.

    def store(self, checkpoint: Checkpoint) -> None:
        """See ``Stream.store()``; bytes before it no longer count as the journal's."""
        before = self.position
        super().store(checkpoint)
        self._gate.released_bytes += self._in_front(checkpoint.position) - self._in_front(before)

    def _in_front(self, position: Position) -> int:
        """Return the bytes on disk before ``position``; no append changes them."""
        number, offset = position
        return sum(size for one, size in list(self._sizes.items()) if one < number) + offset

    def roll_if_due(self) -> None:
        """Start the next segment if this one is large, or if nothing in it is needed any more.

        Takes no room on the disk: the next append makes the file. Call it when something was
        acknowledged, and now and then. Raise SpoolError if the disk fails.
        """
        journal = self._journal
        with journal.try_gate() as held:
            if not held:
                return  # another time: see append_aside() who may hold it
            number, size = self._segment, self._sizes.get(self._segment, 0)
            least = journal.segment_bytes
            checkpoint = self.checkpoint
            if released := checkpoint is not None and checkpoint.position >= (number, size):
                least = 1 if journal.failing else least // _EARLY
            if size < least and not self.tail.torn and not self._has_no_name():
                return
            if journal.synchronous:
                self._sync_segment()  # sync() might wait for a thread that waits for this gate
            self.roll()
        if released and checkpoint is not None:
            self.release(checkpoint)

    def roll(self) -> None:
        """Have the next append start a segment; hold the gate."""
        self.tail.withdraw()
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
