"""The pipeline: the buffer, the loop thread, and the shipper on it.

A handler has one at a time. A record that comes after ``close()`` goes through a new one, and so
does everything in a forked child, which leaves the parent's alone.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final

from kiel_logging.config.options import producer_options
from kiel_logging.handler.buffer import Buffer
from kiel_logging.handler.events import EventItem, Events, instance_now
from kiel_logging.handler.health import Health, health_of
from kiel_logging.handler.internal_log import write_to_stderr
from kiel_logging.handler.ledger import LossReport, Stats, Traffic
from kiel_logging.handler.lifecycle import Plan
from kiel_logging.handler.loop_thread import GRACE, LoopThread
from kiel_logging.handler.workers import flush_at_the_end_of_a_worker
from kiel_logging.native import monotonic
from kiel_logging.partitioners import BuiltIn
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.item import Item

if TYPE_CHECKING:
    from kiel_logging.handler.checkpoints import Checkpoints
    from kiel_logging.handler.shipper import Shipper
    from kiel_logging.handler.signing import Signing
    from kiel_logging.handler.spool.orphans import Backlog
    from kiel_logging.handler.spool.spool import Spool
    from kiel_logging.network.pool import ConnectionPool

_WRITING: Final = 5.0
"""Seconds that writing to disk may take at the end, beyond the time for delivery."""


class Pipeline:
    """Carries items from logging threads to the brokers.

    Attributes:
        instance: the id that its records have in their headers; another one in a forked child.
        process: the id of the process that it belongs to.
        buffer: where items wait.
        ledger: what became of them.
        put: takes an item, see ``Buffer.put()``; with ``spool="always"`` see ``Writer.put()``.

    Args:
        plan: what it is made from.
        before: the pipeline of the same handler that was closed before; its records count as well.
    """

    def __init__(self, plan: Plan, before: "Pipeline | None" = None) -> None:
        self.instance = instance_now()
        self.process = os.getpid()
        options = plan.options
        self.buffer = Buffer(
            max_records=options.buffer_records,
            max_bytes=options.buffer_memory,
            batch_size=options.batch_size,
            wake=self._wake,
            overflow=options.overflow,
            block_timeout=options.block_timeout,
            spools_all=options.spool is not None and options.spool.always,
            spills=options.spool is not None,
        )
        self.ledger = self.buffer.ledger
        self.put: Callable[[Item, list[Item]], bool] = self.buffer.put
        self._plan = plan
        self._before: Pipeline | tuple[Stats, int] | None = before
        self._successors: dict[int, Pipeline] = {}
        signs = options.signing is not None
        keyring = options.keyring
        chain = None if keyring is None else keyring.current
        self._stamper = Stamper(self.instance, chain, keyring=keyring, keeps_leaves=signs)
        self._options = producer_options(**options.engine)
        self._checkpoints = None if options.signing is None else self._checkpoint(options.signing)
        facts = (lambda _topic: {}) if self._checkpoints is None else self._checkpoints.facts
        self._events = Events(plan.convert_own, plan.internal_log, plan.name, self._stamper, facts)
        self._report = LossReport(self.ledger)
        self._spool = None if options.spool is None else self._make_spool()
        self._reviving = threading.Lock()
        self._loop_thread = self._make_loop_thread()

    def _checkpoint(self, signing: "Signing") -> "Checkpoints":
        from kiel_logging.handler.checkpoints import Checkpoints  # few need it

        log = self._plan.internal_log
        signer = signing.signer(self.instance, partial(log.complain, "endorsement"))
        return Checkpoints(signer, self._stamper, signing.topic, signing.put, log)

    def _make_spool(self) -> "Spool":
        from kiel_logging.handler.spool.spool import Spool  # few need it

        spool = Spool(self._plan, self.buffer, self._stamper, self._events, self._wake)
        if spool.writer is not None:
            self.put = spool.writer.put
        return spool

    def _make_shipper(self, broken: "Shipper | None", pool: "ConnectionPool | None") -> "Shipper":
        """Return the shipper, which continues the work of a ``broken`` one; on the loop thread."""
        from kiel_logging.handler.shipper import Shipper

        self._options.codec.compress(b"")  # it may import a module, which is to happen here
        return Shipper(
            self._plan,
            self.buffer,
            self._report,
            self._events,
            self._stamper,
            self._options,
            self._spool,
            self._checkpoints,
            broken,
            pool,
        )

    def _make_loop_thread(self, broken: "Shipper | None" = None) -> LoopThread:
        grace = GRACE if self._spool is None else GRACE + _WRITING
        return LoopThread(
            partial(self._make_shipper, broken),
            self._on_start,
            self._on_death,
            grace,
            key=self._sharing_key(),
            revive=self.revive,
        )

    def _sharing_key(self) -> object:
        """Return what handlers have in common that share a thread and connections; None for one
        that may hold up others there: by a callback of the program, by a disk, or by requests
        without answers."""
        options, engine = self._plan.options, self._options
        may_hold_up = (
            options.on_error,
            options.fallback,
            options.internal_logger,
            options.spool,
            options.signing,
            None if isinstance(engine.partitioner, BuiltIn) else engine.partitioner,
        )
        if any(one is not None for one in may_hold_up) or not engine.required_acks:
            return None
        return (
            engine.brokers,
            engine.security,
            engine.client_id,
            engine.connect_timeout,
            engine.request_timeout,
            engine.connections_max_idle,
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_loop_thread"):
            return "<Pipeline being made>"
        shipper = self._loop_thread.shipper
        outbox = "" if shipper is None else f" {shipper.outbox!r}"
        return f"<Pipeline {self._loop_thread!r}{outbox} {self.buffer!r}>"

    def _on_start(self) -> None:
        flush_at_the_end_of_a_worker()
        if self._plan.fallback is not None:
            self._plan.fallback.look_up()

    def _on_death(self) -> None:
        """Have the next logging call look closely, so that it revives the thread."""
        self.buffer.counts.crowded = True
        if self._spool is not None:
            self._spool.journal.counts.asleep = True

    def revive(self) -> None:
        """Replace the loop thread if it is broken; any thread may ask.

        The new one sends again, with the same numbers, all that the old one had not finished.
        """
        if not self._loop_thread.is_broken or not self._reviving.acquire(blocking=False):
            return
        try:
            if self._loop_thread.is_broken:
                old = self._loop_thread
                write_to_stderr("kiel_logging: the thread that ships log records is made anew")
                old.give_up()
                self._loop_thread = self._make_loop_thread(old.shipper)
                self._loop_thread.wake(True)
        finally:
            self._reviving.release()

    def _wake(self, full: bool) -> None:
        self.revive()
        self._loop_thread.wake(full)

    # Losses.

    def report_losses(self) -> None:
        """Have the loop thread report drops that were counted since it last did."""
        ledger = self.ledger
        if not ledger.has_news:
            return
        ledger.has_news = False  # first: another thread may count one meanwhile
        try:
            self._loop_thread.call(lambda shipper: shipper.report_losses())
        except BaseException:  # no memory, or a signal handler's: the next drop has it reported
            ledger.has_news = True
            raise

    def report_shed(self, items: Sequence[Item]) -> None:
        """Have losses reported after ``items`` had to make room; summaries among them are made
        again."""
        for item in items:
            if isinstance(item, EventItem):
                self._loop_thread.call(methodcaller("put_back", item))
        self.report_losses()

    # Its key.

    def prepare_rotation(self, key_id: str) -> None:
        """Note on disk that the streams will change to another key.

        Raises:
            SpoolError: the disk does not take that.
        """
        if self._spool is not None:
            self._spool.note_rotation(key_id)

    def rotate(self) -> None:
        """Have the streams that have begun change to the key with which new ones begin."""
        if self.is_used:
            self._loop_thread.call(lambda shipper: shipper.rotate())

    # Delivery.

    def flush(self, timeout: float) -> int:
        """Deliver what is there within ``timeout`` seconds; return how many records are left.

        Records that are logged meanwhile need not be delivered.
        """
        self.revive()
        self._wake_for_unread()
        return 0 if self._loop_thread.flush(timeout) else self.ledger.undelivered

    def ship_all(self, timeout: float) -> bool:
        """Send, within ``timeout`` seconds, what other writers have on disk now; return whether all
        of it was acknowledged or given up, and none stays that this process can't send."""
        done = self._loop_thread.flush(timeout)
        return done and (self._spool is None or not self._spool.orphans.left)

    def backlogs(self) -> "list[Backlog]":
        """Return what waits of each stream of other writers; any thread may ask."""
        return [] if self._spool is None else self._spool.orphans.backlogs()

    def traffic(self) -> Traffic:
        """Return what was sent, by topic; any thread may read it."""
        return Traffic() if self._spool is None else self._spool.traffic

    @property
    def is_alive(self) -> bool:
        """Whether its thread works, if it was started."""
        return not self._loop_thread.is_broken

    def finish(self, timeout: float, *, last: bool) -> int:
        """Flush, and then end the streams if this is the ``last`` call, or pause them: the process
        may end without another call."""
        self.revive()
        self._wake_for_unread()
        return 0 if self._loop_thread.finish(timeout, last=last) else self.ledger.undelivered

    def _wake_for_unread(self) -> None:
        """Wake the thread for records that were queued when a signal came before the wake."""
        if len(self.buffer) or (self._spool is not None and self._spool.has_unread):
            self._loop_thread.wake(True)

    def flush_soon(self) -> bool:
        """Send what is queued without waiting for more, and without waiting for its delivery.

        Returns:
            Whether the loop thread does so, and is another thread, which this one may wait for.
        """
        self._wake_for_unread()
        return self._loop_thread.works_for_others

    def start_shutdown(self, timeout: float, report_wait: Callable[[float], None]) -> None:
        """Begin to deliver everything within ``timeout`` seconds, and don't wait for it.

        From now on ``report_wait`` is called each second while a thread waits for delivery, with
        the number of seconds that it may still wait.
        """
        self._loop_thread.waits_long = report_wait
        self._wake_for_unread()
        self._loop_thread.start_flushing(timeout)

    @property
    def is_used(self) -> bool:
        """Whether any record was ever put into it."""
        return self._loop_thread.runner is not None or len(self.buffer) > 0

    @property
    def closed(self) -> bool:
        """Whether it takes no more records."""
        return self.buffer.closed

    def close(self, timeout: float) -> bool:
        """Take no more records, deliver what is there within ``timeout`` seconds, and end.

        Returns:
            Whether this is the first call.
        """
        if not self.buffer.close():
            return False
        if self._spool is not None and self._spool.writer is not None:
            self._spool.journal.wait_for_appends()
        self._wake_for_unread()
        self._loop_thread.stop(timeout)
        if isinstance(self._before, Pipeline) and not self._before._loop_thread.runs:
            self._before = self._before._add_up()  # its counts change no more
        return True

    # Stats.

    def report_undelivered(self) -> None:
        """Write to stderr how many records did not reach Kafka, if any, and how many are on disk
        for the next start."""
        stats, on_disk = self.stats(), self.ledger.on_disk
        spool = self._plan.options.spool
        if on_disk and spool is not None:
            them = "1 log record is" if on_disk == 1 else f"{on_disk} log records are"
            write_to_stderr(
                f"kiel_logging: {them} on disk in {spool.path} and will be sent by the next start"
            )
        if stats.undelivered > on_disk:
            lost = stats.undelivered - on_disk
            them = "1 log record" if lost == 1 else f"{lost} log records"
            write_to_stderr(f"kiel_logging: {them} did not reach Kafka: {stats}")

    def stats(self) -> Stats:
        """Return the ledger of this pipeline alone."""
        shipper, spool = self._loop_thread.shipper, self._spool
        spool_bytes = 0 if spool is None else spool.bytes()
        if shipper is None:
            return replace(self.ledger.stats(0), spool_bytes=spool_bytes)
        outbox = shipper.outbox
        return replace(
            self.ledger.stats(outbox.in_flight),
            troubles=outbox.troubles(),
            delivery=shipper.earlier + outbox.engine.stats(),
            spool_bytes=spool_bytes,
        )

    def health(self) -> Health:
        """Return how it is; any thread may ask."""
        shipper, spool = self._loop_thread.shipper, self._spool
        return health_of(
            monotonic(),
            is_alive=self.is_alive,
            is_full=not self.closed and self.buffer.will_drop(),
            lost_at=self.ledger.lost_at,
            disk_fails=spool is not None and spool.journal.failing,
            troubles=() if shipper is None else shipper.outbox.troubles(),
            oldest=self._age(),
        )

    def _age(self) -> float | None:
        """Return how many seconds ago the oldest undelivered record was logged."""
        item, shipper = self.buffer.oldest(), self._loop_thread.shipper
        sent = None if shipper is None else shipper.outbox.oldest()
        times = [
            None if item is None else item.record.timestamp / 1000,
            None if sent is None else sent / 1000,
            None if self._spool is None else self._spool.oldest(),
        ]
        oldest = min((one for one in times if one is not None), default=None)
        return None if oldest is None else max(0.0, time.time() - oldest)

    def stats_of_all(self) -> Stats:
        """Return the ledger of this pipeline and those before it."""
        self.revive()
        return self._add_up()[0]

    def _add_up(self) -> tuple[Stats, int]:
        """Return the ledger of this pipeline and those before it, and how many records that these
        left on disk are still there."""
        stats, on_disk, before = self.stats(), self.ledger.on_disk, self._before
        if before is None:
            return stats, on_disk
        earlier, left = before._add_up() if isinstance(before, Pipeline) else before
        found = min(left, stats.recovered)
        return (earlier + stats).with_delivered(found), left - found + on_disk

    # Its end, and a fork.

    def successor(self) -> "Pipeline":
        """Return the pipeline that follows in this process, the same one for all threads."""
        pid = os.getpid()
        before = self if self.process == pid else None
        return self._successors.get(pid) or self._successors.setdefault(
            pid, Pipeline(self._plan, before)
        )

    def abandon(self) -> None:
        """Leave the pipeline to the parent, of which this process is a forked child: once, for
        later other files may have the numbers of the parent's."""
        if self._checkpoints is not None:
            self._checkpoints.forget()
        if self._spool is not None:
            self._spool.abandon()

    # The spool.

    def check_spool(self) -> None:
        """Check whether there can be a spool, if one is asked for.

        Raises:
            SpoolError: there can't.
        """
        if self._spool is not None:
            self._spool.check()

    def recover(self) -> None:
        """Start at once if there may be records of dead processes on disk."""
        if self._spool is not None and self._spool.has_files:
            self._loop_thread.wake(True)

    def tail(self, topic: str) -> Any:
        """Return where compiled code may append records of ``topic``; None if they are queued."""
        if self._spool is None or self._spool.writer is None:
            return None
        return self._spool.journal.stream(topic).tail
