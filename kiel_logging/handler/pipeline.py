"""All that carries a handler's items: the buffer, the loop thread, and the shipper on it.

A handler has one at a time. A record that comes after ``close()`` goes through a new one. So does
everything in a forked child, which leaves the parent's alone.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kiel_logging.handler import events
from kiel_logging.handler.buffer import BUFFER_FULL, Buffer
from kiel_logging.handler.events import ConvertOwn, EventItem, Events
from kiel_logging.handler.fallback import Fallback
from kiel_logging.handler.internal_log import InternalLog, write_to_stderr
from kiel_logging.handler.ledger import Losses, OnError, Stats
from kiel_logging.handler.loop_thread import GRACE, LoopThread, State
from kiel_logging.handler.options import HandlerOptions, SpoolOptions
from kiel_logging.handler.process import flush_at_the_end_of_a_worker
from kiel_logging.handler.receipts import OpenBlocks
from kiel_logging.proof.chain import NO_KEY
from kiel_logging.proof.stamper import Stamper
from kiel_logging.record.item import Item

if TYPE_CHECKING:
    from kiel_logging.handler.checkpoints import Checkpoints
    from kiel_logging.handler.shipper import Shipper
    from kiel_logging.handler.signing import Signing
    from kiel_logging.handler.spool.spool import Spool

_WRITING: Final = 5.0
"""Seconds that writing what is left may take at the end, beyond what delivering it may."""

_inherited: list["Pipeline"] = []
"""Of parents. Kept, so that nothing in them is ever finalised here: their tasks would wake up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a pipeline is made from; outlives it."""

    options: HandlerOptions
    name: Callable[[], str | None]
    blocks: OpenBlocks
    convert_own: ConvertOwn
    internal_log: InternalLog
    fallback: Fallback | None
    on_error: OnError


class Pipeline:
    """Carries items from the threads that log to the brokers.

    Attributes:
        instance: what its records say they are from; in a forked child another.
        process: the id of the process that it belongs to.

    Args:
        plan: what it is made from.
        before: the one of the same handler that was closed before; its records count as well.
    """

    def __init__(self, plan: Plan, before: "Pipeline | None" = None) -> None:
        self.instance = events.instance_now()
        self.process = os.getpid()
        self._drops = Losses()
        self._fallback = plan.fallback
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
        self.put: Callable[[Item], Sequence[Item] | None] = self.buffer.put
        self._plan = plan
        self._before: Pipeline | tuple[Stats, int] | None = before
        self._successors: dict[int, Pipeline] = {}
        self._abandoned: dict[int, object] = {}
        signs = options.signing is not None
        self._stamper = Stamper(self.instance, options.chain, keeps_leaves=signs)
        self._checkpoints = None if options.signing is None else self._checkpoint(options.signing)
        self._options = options.producer()
        self._events = Events(plan.convert_own, plan.internal_log)
        self._spool = None if options.spool is None else self._make_spool(options.spool)
        self._reviving = threading.Lock()
        self._loop_thread = self._make_loop_thread()

    def _checkpoint(self, signing: "Signing") -> "Checkpoints":
        from kiel_logging.handler.checkpoints import Anchor, Checkpoints  # few need it

        log = self._plan.internal_log
        signer = signing.signer(self.instance, partial(log.complain, "endorsement"))
        anchor = None if signing.put is None else Anchor(signing.put, log)
        return Checkpoints(signer, self._stamper, signing.topic, anchor)

    def _make_spool(self, options: SpoolOptions) -> "Spool":
        from kiel_logging.handler.spool.spool import Spool  # few need it

        spool = Spool(
            options,
            self.buffer,
            self._stamper,
            chain=self._plan.options.chain,
            instance=self.instance,
            internal_log=self._plan.internal_log,
            on_error=self._plan.on_error,
        )
        if options.always:
            self._write_always(spool)
        return spool

    def _write_always(self, spool: "Spool") -> None:
        from kiel_logging.handler.spool.writer import Writer

        spool.writer = Writer(
            spool.journal,
            self.buffer,
            spool.waiters,
            start=self._first_event if self._plan.options.chain is not None else None,
            wake=self._wake,
            batch_size=self._plan.options.batch_size,
            report=spool.complain,
        )
        self.put = spool.writer.put

    def _make_shipper(self, broken: "Shipper | None" = None) -> "Shipper":
        """Return the shipper, which continues the work of a ``broken`` one; on the loop thread."""
        from kiel_logging.handler.shipper import Shipper

        self._options.codec.compress(b"")  # what it imports it imports now
        plan = self._plan
        shipper = Shipper(
            self.buffer,
            self._drops,
            plan.blocks,
            stamper=self._stamper,
            name=plan.name,
            convert=plan.convert_own,
            internal_log=plan.internal_log,
            fallback=plan.fallback,
            on_error=plan.on_error,
            max_records=plan.options.buffer_records,
            max_bytes=plan.options.buffer_memory,
            options=self._options,
            overflow=plan.options.overflow,
            block_timeout=plan.options.block_timeout,
            spool=self._spool,
            checkpoints=self._checkpoints,
        )
        if self._spool is not None:
            _connect(self._spool, shipper)
        if broken is not None:
            shipper.take_over(broken)
        return shipper

    def _make_loop_thread(self, broken: "Shipper | None" = None) -> LoopThread:
        grace = GRACE if self._spool is None else GRACE + _WRITING
        make_shipper = partial(self._make_shipper, broken)
        return LoopThread(make_shipper, self._on_start, self._on_death, grace)

    @property
    def _shipper(self) -> "Shipper | None":
        """What runs on the loop thread; None until that has begun."""
        return self._loop_thread.shipper

    def __repr__(self) -> str:
        if not hasattr(self, "_loop_thread"):
            return "<Pipeline being made>"
        outbox = "" if self._shipper is None else f" {self._shipper.outbox!r}"
        return f"<Pipeline {self._loop_thread!r}{outbox} {self.buffer!r}>"

    def _on_start(self) -> None:
        flush_at_the_end_of_a_worker()
        if self._fallback is not None:
            self._fallback.look_up()

    def _first_event(self, topic: str) -> EventItem | None:
        """Return the record that starts the stream of ``topic``, on the thread that logs."""
        key_id = self._stamper.key_id or NO_KEY
        facts = {} if self._checkpoints is None else self._checkpoints.facts(topic)
        start = events.start(self._plan.name() or "", topic, self.instance, key_id, facts)
        return self._events.make(start, topic)

    def _on_death(self) -> None:
        """Have the next logging call look closely, and find out."""
        self.buffer.counts.crowded = True
        if self._spool is not None:
            self._spool.journal.counts.asleep = True

    def revive(self) -> None:
        """Replace the loop thread if it is broken; any thread may ask.

        The new one sends again, with the same numbers, whatever the old one had not finished.
        """
        if not self._loop_thread.is_broken or not self._reviving.acquire(blocking=False):
            return
        try:
            if self._loop_thread.is_broken:
                old = self._shipper
                write_to_stderr("kiel_logging: the thread that ships log records is made anew")
                self._loop_thread.give_up()
                self._loop_thread = self._make_loop_thread(old)
                self._loop_thread.wake(True)
        finally:
            self._reviving.release()

    def _wake(self, full: bool) -> None:
        self.revive()
        self._loop_thread.wake(full)

    def note_drop(self, topic: str, reason: str, level: int, records: int = 1) -> None:
        """See to it that the loss of a record is told, or of more."""
        if self._drops.note(topic, reason, level, time.time(), records):
            self._loop_thread.call(self._note_losses)

    def _note_losses(self) -> None:
        if self._shipper is not None:
            self._shipper.note_losses()

    def note_shed(self, item: Item) -> None:
        """See to it that the loss of an item, for which there was no room, is told."""
        if isinstance(item, EventItem):
            self._loop_thread.call(self._put_back, item)
        else:
            self.note_drop(item.topic, BUFFER_FULL, item.level)

    def _put_back(self, event: EventItem) -> None:
        if self._shipper is not None:
            self._shipper.put_back(event)

    def flush(self, timeout: float) -> int:
        """Deliver what is there within ``timeout`` seconds; return how many records are left.

        What came meanwhile is not this flush's.
        """
        self.revive()
        self._see_to_what_is_queued()
        return 0 if self._loop_thread.flush(timeout) else self.undelivered

    def finish(self, timeout: float, *, last: bool) -> int:
        """As ``flush()``, and then end the streams if this is the ``last`` call, or pause them:
        perhaps nothing comes any more."""
        self.revive()
        self._see_to_what_is_queued()
        return 0 if self._loop_thread.finish(timeout, last=last) else self.undelivered

    @property
    def undelivered(self) -> int:
        """How many records the brokers do not have yet."""
        return self.buffer.outstanding + self.buffer.disk.spooled

    def _see_to_what_is_queued(self) -> None:
        """Start the thread for what was queued and not told of: a signal came in between."""
        if len(self.buffer) or (self._spool is not None and self._spool.has_unread):
            self._loop_thread.wake(True)

    def hurry(self) -> bool:
        """Send what is queued without waiting for more.

        Returns:
            Whether the loop thread does so, and this is another one, which may wait for it.
        """
        self._see_to_what_is_queued()
        return self._loop_thread.works_for_others

    def report_waits(self, report: Callable[[float], None]) -> None:
        """From now on call ``report`` while ``flush()`` and its like wait, each second, with the
        number of seconds that they may wait still."""
        self._loop_thread.waits_long = report

    def start_flushing(self, timeout: float) -> None:
        """As ``flush()``, but nobody waits."""
        self._see_to_what_is_queued()
        self._loop_thread.start_flushing(timeout)

    @property
    def is_used(self) -> bool:
        """Whether anything was ever put into it."""
        return self._loop_thread.state is not State.NEW or len(self.buffer) > 0

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
        self._see_to_what_is_queued()
        self._loop_thread.stop(timeout)
        if isinstance(self._before, Pipeline) and not self._before._loop_thread.runs:
            self._before = self._before._add_up()  # nothing changes it any more
        return True

    def tell_what_is_lost(self) -> None:
        """Say on stderr how many records did not reach Kafka, if any, and how many will."""
        stats, kept = self.stats(), self.on_disk
        spool = self._plan.options.spool
        if kept and spool is not None:
            write_to_stderr(
                f"kiel_logging: {kept} log records are on disk in {spool.path} and "
                "will be sent by the next start"
            )
        if stats.undelivered > kept:
            lost = stats.undelivered - kept
            write_to_stderr(f"kiel_logging: {lost} log records did not reach Kafka: {stats}")

    def stats(self) -> Stats:
        """Return the ledger of this one alone."""
        if self._shipper is None:
            return self.buffer.stats(0)
        outbox = self._shipper.outbox
        return replace(self.buffer.stats(outbox.in_flight), troubles=outbox.troubles())

    def stats_of_all(self) -> Stats:
        """Return the ledger of this one and those before."""
        self.revive()
        return self._add_up()[0]

    def _add_up(self) -> tuple[Stats, int]:
        """Return the ledger of this one and those before, and how many records are still on disk
        that these left there when they were closed."""
        stats, on_disk, before = self.stats(), self.on_disk, self._before
        if before is None:
            return stats, on_disk
        earlier, left = before._add_up() if isinstance(before, Pipeline) else before
        found = min(left, stats.recovered)
        return (earlier + stats).with_delivered(found), left - found + on_disk

    def successor(self) -> "Pipeline":
        """Return the one that follows, in this process: the same one for all threads."""
        pid = os.getpid()
        before = self if self.process == pid else None
        return self._successors.get(pid) or self._successors.setdefault(
            pid, Pipeline(self._plan, before)
        )

    # At a fork.

    def pause(self, timeout: float) -> bool:
        """Hold the loop thread still; return whether ``go_on()`` has to be called."""
        return self._loop_thread.pause(timeout)

    def go_on(self) -> None:
        """Let it work again."""
        self._loop_thread.go_on()

    def abandon(self) -> bool:
        """Leave it to the parent, of which this process is a forked child.

        Returns:
            Whether this is the first call here. Only one may close the parent's descriptors: the
            numbers are others' by the time of the second.
        """
        this_call = object()
        if self._abandoned.setdefault(os.getpid(), this_call) is not this_call:
            return False
        _inherited.append(self)
        self._loop_thread.abandon()
        if self._spool is not None:
            self._spool.abandon()
        if self._checkpoints is not None:
            self._checkpoints.forget()
        return True

    # The spool.

    def check_spool(self) -> None:
        """See whether there can be one, if there is to be one.

        Raises:
            SpoolError: there can't.
        """
        if self._spool is not None:
            self._spool.check()

    def send_what_is_left(self) -> None:
        """Start at once if processes that are no more may have left something."""
        if self._spool is not None and self._spool.has_files:
            self._loop_thread.wake(True)

    def tail(self, topic: str) -> Any:
        """Return where compiled code may append records of ``topic``; None if they are queued."""
        if self._spool is None or self._spool.writer is None:
            return None
        return self._spool.journal.stream(topic).tail

    @property
    def on_disk(self) -> int:
        """How many records of this process are on disk."""
        return self.buffer.disk.on_disk


def _connect(spool: "Spool", shipper: "Shipper") -> None:
    spool.outbox = shipper.outbox
    spool.stamp = shipper.stamp
    spool.make_event = shipper.make_event
    spool.first_event = shipper.first_event
    spool.changed = shipper.start_feeding
    spool.recovered = shipper.report_recovery
    spool.damaged = shipper.note_damage
