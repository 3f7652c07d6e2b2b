"""The pipeline of a SpoolHandler: it appends to a journal, and another process ships.

It has what a Pipeline has, without buffer, loop thread and network. Nothing is in memory: when a
logging call returns, its record is in a file, or was dropped and counted. So nothing has to be
flushed, whatever ends the process.
"""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from kiel_logging import native
from kiel_logging.errors import SpoolError
from kiel_logging.handler.buffer import BLOCK, Buffer
from kiel_logging.handler.events import Event, Events, drops, end, instance_now
from kiel_logging.handler.health import Health, health_of
from kiel_logging.handler.ledger import BUFFER_FULL, LossReport, Stats
from kiel_logging.handler.lifecycle import Plan
from kiel_logging.handler.receipts import ReceiptWaiter
from kiel_logging.handler.spool.awaited import AwaitedFile, AwaitedRecord
from kiel_logging.handler.spool.records import (
    CHAIN,
    chain_id,
    end_facts,
    first_frame,
    frame_bytes,
    frame_of,
)
from kiel_logging.handler.workers import flush_at_the_end_of_a_worker
from kiel_logging.journal.directory import Directory, Journal
from kiel_logging.journal.frames import encode
from kiel_logging.journal.local_stream import Appended, LocalStream
from kiel_logging.native import monotonic
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.item import Item

SEGMENT_BYTES: Final = 1024 * 1024
"""Smaller than those of handlers that ship, which also begin another when all is acknowledged: as
long as a writer lives, so much of each stream may stay on disk."""

_NONE, _ANY = 0, 1
"""In a frame: whether a receipt waits for the record. The shipper then hurries with the
checkpoint."""

_A_MOMENT: Final = 0.01
"""Seconds between two attempts to append, with "block"."""


class AppendPipeline:
    """Carries items from logging threads to files.

    Attributes:
        instance: the id that its records have in their headers; another one in a forked child.
        process: the id of the process that it belongs to.
        buffer: always empty; has the counts.
        ledger: what became of the items.

    Args:
        plan: what it is made from.
        before: what the pipelines of the same handler that were closed before counted.
    """

    def __init__(self, plan: Plan, before: Stats | None = None) -> None:
        options = plan.options
        assert options.spool is not None
        self.instance = instance_now()
        self.process = os.getpid()
        self.buffer = Buffer(
            max_records=options.buffer_records,
            max_bytes=options.buffer_memory,
            batch_size=options.batch_size,
            wake=_nothing,
            spools_all=True,
        )
        self.ledger = self.buffer.ledger
        self._plan = plan
        self._before = before
        self._successors: dict[int, AppendPipeline] = {}
        self._chained = options.keyring is not None
        self._patience = options.block_timeout if options.overflow == BLOCK else 0.0
        keyring = options.keyring
        chain = None if keyring is None else keyring.current
        stamper = Stamper(self.instance, chain)
        # The process that ships them may be killed, and another one sends them again.
        self._events = Events(plan.convert_own, plan.internal_log, plan.name, stamper, keyed=True)
        self._report = LossReport(self.ledger)
        self._reporting = native.RLock()
        self._ended = False
        self._awaited: dict[LocalStream, AwaitedFile] = {}
        self._journal = Journal(
            options.spool.path,
            self.instance,
            max_bytes=options.spool.max_bytes,
            synchronous=options.spool.full,
            segment_bytes=SEGMENT_BYTES,
            about={CHAIN: chain_id(keyring), **end_facts(always=True)},
            ships=False,
        )
        self.ledger.count_appended = self._journal.count_appended

    def __repr__(self) -> str:
        return f"<AppendPipeline {self._journal.path} {self.ledger!r}>"

    def health(self) -> Health:
        """Return how it is; it does not know what was sent, so there is no oldest record."""
        return health_of(monotonic(), lost_at=self.ledger.lost_at, disk_fails=self._journal.failing)

    # On logging threads.

    def put(self, item: Item, dropped: list[Item]) -> bool:
        """Append ``item``; add it to ``dropped`` if the disk does not take it; return False if this
        is closed."""
        error = self._try_to_put(item)
        if error is not None and self._patience:
            deadline = monotonic() + self._patience
            while error is not None and monotonic() < deadline and not self.closed:
                native.sleep(_A_MOMENT)
                error = self._try_to_put(item)
        if error is None:
            return True
        if self.closed or self._journal.is_lost:
            self.close(0.0)
            return False  # for the pipeline that follows, which is another instance
        dropped.append(item)
        try:
            self.ledger.drop(BUFFER_FULL, item.level, item.topic)
        except MemoryError:  # it is not counted
            dropped.clear()
            raise
        self.buffer.counts.crowded = True  # the next call looks whether drops are to be reported
        if self._plan.internal_log.may_complain("spool"):
            self._plan.internal_log.say(logging.ERROR, str(error))
        self._plan.on_error(error, 1)
        return True

    def _try_to_put(self, item: Item) -> SpoolError | None:
        """Append ``item``, unless this is closed; return why the disk did not take it."""
        stream, waiter = self._journal.stream(item.topic), item.waiter
        try:
            data = frame_bytes(item, _NONE if waiter is None else _ANY, stream.seed)
            if self._chained and stream.is_new:
                flush_at_the_end_of_a_worker()
            first = first_frame(stream, self._events.start)
            with self._journal.lock:
                if self.closed:
                    return SpoolError("the handler was closed by another thread: log again")
                frames = (*first, data) if stream.is_new else (data,)
                if isinstance(waiter, ReceiptWaiter):
                    appended = self._append_awaited(stream, frames, waiter)
                else:
                    appended = stream.append(*frames)
                if appended.error is None:
                    stream.publish()
            if self._journal.synchronous and appended.error is None:
                self._sync(stream, appended)
        except SpoolError as error:
            return error
        return appended.error if appended.frames < 1 + len(first) else None

    def _append_awaited(
        self, stream: LocalStream, frames: Sequence[bytes], waiter: ReceiptWaiter
    ) -> Appended:
        appended, end = stream.append_alone(*frames)
        if appended.frames == len(frames):
            file = self._awaited.get(stream)
            try:
                if file is None or file.checkpoint.status() is None:
                    file = self._awaited[stream] = AwaitedFile.of(stream)
                waiter.record = AwaitedRecord(file, appended.begin, end)
            except SpoolError as error:
                waiter.lost(f"it is not known whether it is acknowledged: {error}", error)
        return appended

    def _sync(self, stream: LocalStream, appended: Appended) -> None:
        try:
            stream.sync(appended.number)
        except SpoolError as error:  # it is in the file, and will be sent
            self._plan.internal_log.complain("spool", str(error))
            self._plan.on_error(error, 0)

    def _append_event(self, event: Event, topic: str) -> bool:
        """Append a record of the handler's own; return whether the disk took it."""
        item = self._events.make(event, topic)
        if item is None:
            return True
        stream = self._journal.stream(topic)
        return stream.append(encode(frame_of(item), stream.seed)).error is None

    def report_losses(self) -> None:
        """Report drops on stderr, and in their streams when the disk takes records again; now and
        then, as they are counted."""
        if not self._reporting.acquire(blocking=False):
            return
        try:
            now = monotonic()
            if (loss := self._report.due(now)) is not None:
                self._plan.internal_log.say(logging.WARNING, str(loss))
            if not self._journal.failing:
                self._summarise(now)
            self.ledger.has_news = bool(self._report)
        finally:
            self._reporting.release()

    def _summarise(self, now: float, *, at_once: bool = False) -> None:
        for topic, loss in self._report.take_missing(now, at_once=at_once):
            for part in loss.parts():
                if not self._append_event(drops(part), topic):
                    self._report.put_back(topic, part)

    def report_shed(self, items: Sequence[Item]) -> None:
        """Have losses reported."""
        del items
        self.report_losses()

    def revive(self) -> None:
        """Report drops that were counted earlier; a call after a drop comes here."""
        if self._report:
            self.report_losses()

    def tail(self, topic: str) -> Any:
        """Return where compiled code may append records of ``topic``."""
        return self._journal.stream(topic).tail

    # Delivery is another process's.

    def flush(self, timeout: float) -> int:
        """Return 0: no record waits in this process."""
        del timeout
        return 0

    def flush_soon(self) -> bool:
        """Return False: there is no thread to wait for."""
        return False

    def finish(self, timeout: float, *, last: bool) -> int:
        """Report drops, and end the chains if this is the ``last`` call of the process; return
        0."""
        del timeout
        if not self.closed:
            self._finish(last=last)
        return 0

    def _finish(self, *, last: bool) -> None:
        with self._reporting:
            self._summarise(monotonic(), at_once=True)
            if last and self._chained and not self._ended:
                self._ended = True
                for stream in self._journal.streams():
                    if not stream.is_new and not self._report.lacks(stream.topic):
                        self._append_event(end({}), stream.topic)

    def start_shutdown(self, timeout: float, report_wait: Callable[[float], None]) -> None:
        """Do nothing: nothing is to be delivered."""

    @property
    def is_used(self) -> bool:
        """Whether any record was ever put into it."""
        return bool(self._journal.count_appended())

    @property
    def closed(self) -> bool:
        """Whether it takes no more records."""
        return self.buffer.closed

    def close(self, timeout: float) -> bool:
        """Take no more records, end the chains, and leave the files to the shipper.

        Returns:
            Whether this is the first call.
        """
        del timeout
        if not self.buffer.close():
            return False
        self._journal.wait_for_appends()
        self._finish(last=True)
        if (loss := self._report.remaining()) is not None:
            self._plan.internal_log.say(logging.WARNING, str(loss))
        self._journal.close()
        self._awaited.clear()
        return True

    def report_undelivered(self) -> None:
        """Do nothing: the records on disk are the shipper's."""

    def stats_of_all(self) -> Stats:
        """Return the ledger of this pipeline and those before it."""
        stats = self.ledger.stats(0)
        return stats if self._before is None else self._before + stats

    # Its end, and a fork.

    def successor(self) -> "AppendPipeline":
        """Return the pipeline that follows in this process, the same one for all threads."""
        pid = os.getpid()
        before = self.stats_of_all() if self.process == pid else None
        return self._successors.get(pid) or self._successors.setdefault(
            pid, AppendPipeline(self._plan, before)
        )

    def abandon(self) -> None:
        """Leave the files to the parent, of which this process is a forked child."""
        self._journal.abandon()

    # The spool.

    def check_spool(self) -> None:
        """Check whether there can be a journal.

        Raises:
            SpoolError: there can't.
        """
        for warning in Directory(self._journal.root).check(shared=True):
            self._plan.internal_log.say(logging.WARNING, warning)

    def recover(self) -> None:
        """Do nothing: the shipper looks for what dead processes left."""


def _nothing(_full: bool) -> None:
    """Wake no thread: there is none."""
