"""The writer: with ``spool="always"`` the logging call itself appends its record to the journal.

The law: an append is one system call, made under the journal's gate together with its count. So
nothing has to be undone, wherever a signal handler, a ``__del__`` or an exception comes. The gate
is re-entrant, and nothing else is ever waited for while it is held. The loop thread does not wait
for it: a signal handler may wait for that thread on top of a call that holds the gate.

Compiled code appends most records (``accelerator/fast_way.c``). It does what ``put()`` does,
between ``publish()`` and ``withdraw()`` of the stream's tail, and leaves all else to it.

When the disk does not take a record, its topic goes through memory from then on, until the loop
thread has brought everything that waits there to disk: a record must not overtake an earlier one.
"""

from collections.abc import Callable, Sequence

from kiel_logging.errors import SpoolError
from kiel_logging.handler.buffer import Buffer
from kiel_logging.handler.spool.records import Waiters, frame_bytes, frame_of
from kiel_logging.journal.directory import Journal
from kiel_logging.journal.frames import encode
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
        report: reports an error; called without the gate.

    Attributes:
        in_memory: topics that go through memory.
    """

    def __init__(
        self,
        journal: Journal,
        buffer: Buffer,
        waiters: Waiters,
        *,
        start: Callable[[str], Item | None] | None,
        wake: Callable[[bool], None],
        batch_size: int,
        report: Callable[[Exception], None],
    ) -> None:
        self._journal = journal
        self._gate = journal.gate
        self._buffer = buffer
        self._waiters = waiters
        self._start = start
        self._wake = wake
        self._batch_size = batch_size
        self._report = report
        self.in_memory: set[str] = set()
        self._handing_over: dict[object, str] = {}

    def __repr__(self) -> str:
        return f"<Writer pending={self._gate.pending} in memory={sorted(self.in_memory)}>"

    def put(self, item: Item) -> Sequence[Item] | None:
        """Append ``item``; return what was dropped because both disk and memory are full; None if
        the buffer is closed, as ``Buffer.put()``."""
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
        except BaseException:  # of a signal handler: the record may be there, and no thread woken
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
        gate, topic = self._gate, stream.topic
        with gate:
            if topic in self.in_memory or self._buffer.closed:
                return 0, None
            try:
                if first and stream.is_new:
                    appended = stream.append(first + data, 2)
                else:
                    appended = stream.append(data, 1)
            except SpoolError:
                self._begin_detour(topic)
                raise
            stream.publish()
            gate.dirty[topic] = None
            gate.pending += 1
            if gate.asleep:
                gate.asleep = False
                return appended, False
            return appended, True if gate.pending == self._batch_size else None

    def _begin_detour(self, topic: str) -> None:
        self.in_memory.add(topic)
        self._journal.stream(topic).tail.withdraw()

    def _put_into_memory(self, item: Item) -> Sequence[Item] | None:
        handing_over = object()
        with self._gate:
            self._begin_detour(item.topic)
            self._handing_over[handing_over] = item.topic
        try:
            return self._buffer.put(item)
        finally:
            self._handing_over.pop(handing_over, None)

    def let_pass(self) -> None:
        """Wait until all calls that found the buffer open have appended."""
        with self._gate:
            pass

    @property
    def has_unread(self) -> bool:
        """Whether anything was appended that the loop thread has not looked for."""
        return bool(self._gate.dirty)

    # For the loop thread.

    def take_dirty(self) -> dict[str, None]:
        """Return the topics with new records, and note that they are looked for."""
        self._gate.pending = 0
        dirty: dict[str, None] = {}
        while self._gate.dirty:
            dirty[self._gate.dirty.popitem()[0]] = None
        return dirty

    def fall_asleep(self) -> None:
        """Ask to be woken by the next record, unless one came meanwhile."""
        self._gate.asleep = True  # first: a call that does not see it has made its topic dirty
        if self._gate.dirty:
            self._gate.asleep = False

    def end_detour(self, topic: str) -> None:
        """Let calls append records of ``topic`` by themselves again, if none of it is in memory."""
        with self._journal.try_gate() as held:
            is_out = topic not in self._handing_over.values() and not self._buffer.has_topic(topic)
            if held and is_out:
                self.in_memory.discard(topic)
