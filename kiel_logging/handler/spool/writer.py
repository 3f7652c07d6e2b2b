"""The writer: with ``spool="always"`` the logging call itself appends its record to the journal.

The law: an append is one system call. So nothing has to be undone, wherever a signal handler, a
``__del__`` or an exception comes. Nothing else is ever waited for while the journal's lock is held.
The loop thread does not wait for that lock: a signal handler may wait for that thread on top of a
call that has it.

Compiled code appends most records (``accelerator/fast_way.c``). It does what ``put()`` does,
between ``publish()`` and ``withdraw()`` of the stream's tail, and leaves all else to it.

When the disk does not take a record, its topic goes through memory from then on, until the loop
thread has brought everything that waits there to disk: a record must not overtake an earlier one.
"""

from collections.abc import Callable

from kiel_logging.errors import SpoolError
from kiel_logging.handler.buffer import Buffer
from kiel_logging.handler.spool.records import Waiters, first_frame, frame_bytes
from kiel_logging.journal.directory import Journal
from kiel_logging.journal.local_stream import LocalStream
from kiel_logging.record.item import Item


class Writer:
    """Appends the records of all logging threads.

    Args:
        journal: where they go.
        buffer: where they go if the disk takes none.
        waiters: numbers the receipts that wait.
        start: makes the record that starts a stream; None without a chain.
        wake: wakes the loop thread: with False soon, with True now.
        batch_size: how many records are worth waking it at once.
        report: reports an error; called without the lock.

    Attributes:
        in_memory: topics that go through memory.
    """

    def __init__(
        self,
        journal: Journal,
        buffer: Buffer,
        waiters: Waiters,
        *,
        start: Callable[[str], Item | None],
        wake: Callable[[bool], None],
        batch_size: int,
        report: Callable[[Exception], None],
    ) -> None:
        self._journal = journal
        self._counts = journal.counts
        self._buffer = buffer
        self._waiters = waiters
        self._start = start
        self._wake = wake
        self._batch_size = batch_size
        self._report = report
        self.in_memory: set[str] = set()
        self._handing_over: dict[object, str] = {}

    def __repr__(self) -> str:
        return f"<Writer pending={self._counts.pending} in memory={sorted(self.in_memory)}>"

    def put(self, item: Item, dropped: list[Item]) -> bool:
        """Append ``item``; add to ``dropped`` the items that are dropped because both disk and
        memory are full; return False if the buffer is closed, as ``Buffer.put()``."""
        topic = item.topic
        if topic in self.in_memory or self._buffer.closed:
            return self._put_into_memory(item, dropped)
        stream = self._journal.stream(topic)
        data = frame_bytes(item, self._waiters.add(item), stream.seed)
        first = first_frame(stream, self._start)
        try:
            appended = self._append(stream, data, first)
        except BaseException:  # of a signal handler: the record may be there, and is not counted
            self._note_append(stream)
            self._wake(True)
            raise
        if appended is None:
            return self._put_into_memory(item, dropped)
        if self._journal.synchronous:
            self._sync(stream, appended)
        return True

    def _sync(self, stream: LocalStream, appended: int) -> None:
        try:
            stream.sync(appended)
        except SpoolError as error:  # it is in the file, and will be sent
            self._report(error)

    def _append(self, stream: LocalStream, data: bytes, first: tuple[bytes, ...]) -> int | None:
        """Return the number of the append; None if its topic goes through memory from now on."""
        with self._journal.lock:
            if stream.topic in self.in_memory or self._buffer.closed:
                return None
            frames = (*first, data) if stream.is_new else (data,)
            appended = stream.append(*frames)
            if appended.error is None:
                stream.publish()
            else:
                self._begin_detour(stream.topic)
            urgent = self._note_append(stream) if appended.frames else None
        if urgent is not None:
            self._wake(urgent)
        if appended.error is not None:
            self._report(appended.error)
        return appended.number if appended.frames == len(frames) else None

    def _note_append(self, stream: LocalStream) -> bool | None:
        """Note that there is something to read; return how urgently to wake the loop thread."""
        counts = self._counts
        stream.tail.unread = True
        counts.pending += 1
        if counts.asleep:
            counts.asleep = False
            return False
        return True if counts.pending == self._batch_size else None

    def _begin_detour(self, topic: str) -> None:
        self.in_memory.add(topic)
        self._journal.stream(topic).tail.withdraw()

    def _put_into_memory(self, item: Item, dropped: list[Item]) -> bool:
        handing_over = object()
        with self._journal.lock:
            self._begin_detour(item.topic)
            self._handing_over[handing_over] = item.topic
        try:
            return self._buffer.put(item, dropped)
        finally:
            self._handing_over.pop(handing_over, None)

    @property
    def has_unread(self) -> bool:
        """Whether anything was appended that the loop thread has not looked for."""
        return self._counts.pending > 0

    # For the loop thread.

    def take_unread(self) -> list[str]:
        """Return the topics with new records, and note that they are looked for."""
        if not self._counts.pending:
            return []
        self._counts.pending = 0  # first: a call that comes now is seen below, or the next time
        unread = [stream for stream in self._journal.streams() if stream.tail.unread]
        for stream in unread:
            stream.tail.unread = False
        return [stream.topic for stream in unread]

    def fall_asleep(self) -> None:
        """Ask to be woken by the next record, unless one came meanwhile."""
        self._counts.asleep = True  # first: a call that does not see it has counted its record
        if self._counts.pending:
            self._counts.asleep = False

    def end_detour(self, topic: str) -> None:
        """Let calls append records of ``topic`` by themselves again, if none of it is in memory."""
        with self._journal.try_lock() as held:
            is_out = topic not in self._handing_over.values() and not self._buffer.has_topic(topic)
            if held and is_out:
                self.in_memory.discard(topic)
