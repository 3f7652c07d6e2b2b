"""The writer: with ``spool="always"`` the logging call itself appends its record to the journal.

The law: an append is one system call, made under the journal's lock together with its count. So
nothing has to be undone, wherever a signal handler, a ``__del__`` or an exception comes. The lock
is re-entrant, and nothing else is ever waited for while it is held. The loop thread never waits
for it: a signal handler may wait for that thread on top of a call that holds the lock.

When the disk does not take a record, its topic goes through memory from then on, until the loop
thread has brought everything that waits there to disk: a record must not overtake an earlier one.
"""

from collections.abc import Callable, Sequence

from kiel_logging.errors import SpoolError
from kiel_logging.handler.pipeline.handoff import Handoff
from kiel_logging.handler.pipeline.item import Item
from kiel_logging.handler.spool.records import Waiters, frame_bytes, frame_of
from kiel_logging.journal.directory import Journal
from kiel_logging.journal.frames import encode
from kiel_logging.journal.stream import LocalStream


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
        asleep: whether the loop thread has read everything and has to be woken.
        dirty: topics with records that it has not looked for yet.
        in_memory: topics that go through memory.
        pending: records that were appended since the loop thread last looked.
    """

    def __init__(
        self,
        journal: Journal,
        buffer: Handoff,
        waiters: Waiters,
        *,
        start: Callable[[str], Item | None] | None,
        wake: Callable[[bool], None],
        batch_size: int,
        report: Callable[[Exception], None],
    ) -> None:
        self._journal = journal
        self._buffer = buffer
        self._waiters = waiters
        self._start = start
        self._wake = wake
        self._batch_size = batch_size
        self._report = report
        self.asleep = True
        self.dirty: dict[str, None] = {}
        self.in_memory: set[str] = set()
        self._handing_over: dict[object, str] = {}
        self.pending = 0

    def __repr__(self) -> str:
        return f"<Writer pending={self.pending} in memory={sorted(self.in_memory)}>"

    def put(self, item: Item) -> Sequence[Item] | None:
        """Append ``item``; return what was dropped because both disk and memory are full; None if
        the buffer is closed, as ``Handoff.put()``."""
        topic = item.topic
        if topic in self.in_memory or self._buffer.closed:
            return self._put_into_memory(item)
        stream = self._journal.stream(topic)
        data = frame_bytes(item, self._waiters.add(item), stream.seed)
        first = self._first(stream)
        try:
            appended, urgent = self._append(stream, data, first)
            if urgent is not None:
                self._wake(urgent)
        except SpoolError as error:
            self._report(error)
            appended = 0
        except BaseException:  # of a signal handler: the record may be there, and nobody woken
            self._wake(True)
            raise
        if not appended:
            return self._put_into_memory(item)
        if self._journal.synchronous:
            self._sync(stream, appended)
        return ()

    def _sync(self, stream: LocalStream, appended: int) -> None:
        try:
            stream.sync(appended)
        except SpoolError as error:  # it is in the file, and will be sent
            self._report(error)

    def _first(self, stream: LocalStream) -> bytes:
        """Return the frame that starts a stream; nothing when it has started, or has no start."""
        if self._start is None or not stream.is_new:
            return b""
        event = self._start(stream.topic)
        return b"" if event is None else encode(frame_of(event), stream.seed)

    def _append(self, stream: LocalStream, data: bytes, first: bytes) -> tuple[int, bool | None]:
        """Return the number of the append, 0 for none, and how urgently to wake the loop thread.

        Raises:
            SpoolError: the disk does not take it; its topic goes through memory from now on.
        """
        with self._journal.lock:
            if stream.topic in self.in_memory or self._buffer.closed:
                return 0, None
            try:
                if first and stream.is_new:
                    appended = stream.append(first + data, 2)
                else:
                    appended = stream.append(data, 1)
            except SpoolError:
                self.in_memory.add(stream.topic)
                raise
            self.dirty[stream.topic] = None
            self.pending += 1
            if self.asleep:
                self.asleep = False
                return appended, False
            return appended, True if self.pending == self._batch_size else None

    def _put_into_memory(self, item: Item) -> Sequence[Item] | None:
        handing_over = object()
        with self._journal.lock:
            self.in_memory.add(item.topic)
            self._handing_over[handing_over] = item.topic
        try:
            return self._buffer.put(item)
        finally:
            self._handing_over.pop(handing_over, None)

    def let_pass(self) -> None:
        """Wait until all calls that found the buffer open have appended."""
        with self._journal.lock:
            pass

    # For the loop thread.

    def take_dirty(self) -> dict[str, None]:
        """Return the topics with new records, and note that they are looked for."""
        self.pending = 0
        dirty: dict[str, None] = {}
        while self.dirty:
            dirty[self.dirty.popitem()[0]] = None
        return dirty

    def fall_asleep(self) -> None:
        """Ask to be woken by the next record, unless one came meanwhile."""
        self.asleep = True  # first: a call that does not see it has made its topic dirty
        if self.dirty:
            self.asleep = False

    def end_detour(self, topic: str) -> None:
        """Let calls append records of ``topic`` by themselves again, if none of it is in memory."""
        if not self._journal.lock.acquire(blocking=False):
            return
        try:
            if topic not in self._handing_over.values() and not self._buffer.has_topic(topic):
                self.in_memory.discard(topic)
        finally:
            self._journal.lock.release()
