"""The shipper: the work of the loop thread. It numbers and ships items, counts their ends, settles
receipts, and reports losses.

Everything here runs on that thread. It waits for no logging thread.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from kiel_logging.config.options import ProducerOptions
from kiel_logging.delivery.batch import Batch
from kiel_logging.delivery.pace import due_at
from kiel_logging.delivery_stats import DeliveryStats
from kiel_logging.errors import BufferFull, DeliveryError, ProducerClosed, SpoolDamaged
from kiel_logging.handler import events
from kiel_logging.handler.buffer import Buffer
from kiel_logging.handler.checkpoints import LOOK_EVERY, Checkpoints
from kiel_logging.handler.events import Event, EventItem, Events, Recovered
from kiel_logging.handler.ledger import BUFFER_FULL, Loss, LossReport
from kiel_logging.handler.outbox import Outbox
from kiel_logging.handler.slices import plain, totals
from kiel_logging.handler.spool.spool import Spool
from kiel_logging.native import monotonic
from kiel_logging.network.pool import ConnectionPool
from kiel_logging.proof import headers
from kiel_logging.proof.chain import NO_KEY
from kiel_logging.proof.checkpoints import END, EVERY_RECORDS, OPEN
from kiel_logging.proof.stamper import Stamper, sequence_of
from kiel_logging.record.item import Item

if TYPE_CHECKING:
    from kiel_logging.handler.lifecycle import Plan

SLICE: Final = 4096
"""Most records that are shipped before the GIL is released: about a millisecond.

Each of the threads that log keeps the GIL for 5 ms, and gets it as often as this one. All that
they log meanwhile has to be shipped at once, or this thread would starve beside many of them.
"""

_ALL: Final = 2**31

_FOR_ENDS: Final = 0.3
"""Seconds that the brokers have at least to acknowledge the records that end streams."""

_RETRY_ROTATION: Final = 1.0
"""Seconds until a rotation record that the disk did not take is appended again."""

_AFTER_A_BUG: Final = 1.0
"""Seconds until shipping is tried again after an exception that it should not have raised, or
without memory."""


class Shipper:
    """Moves items from the buffer, or the spool, to the outbox, and accounts for their ends.

    Args:
        plan: the handler's options, callbacks and reports.
        buffer: where items come from.
        report: decides when losses are reported.
        events: makes the handler's own records.
        stamper: numbers items.
        options: the engine's.
        spool: stands between the buffer and the outbox; None for nothing.
        checkpoints: signs the numbered records; None for nothing.
        broken: the shipper of a thread that failed; this one continues its work.
        pool: connections that are shared with other handlers; None for its own.

    Attributes:
        keeps: whether items that are not sent when this is closed are on disk.
        outbox: has the items that were shipped and have not ended.
        earlier: what became of the batches of broken shippers before it.
    """

    defers = True

    def __init__(
        self,
        plan: "Plan",
        buffer: Buffer,
        report: LossReport,
        events: Events,
        stamper: Stamper,
        options: ProducerOptions,
        spool: Spool | None = None,
        checkpoints: Checkpoints | None = None,
        broken: "Shipper | None" = None,
        pool: ConnectionPool | None = None,
    ) -> None:
        self.keeps = spool is not None
        self._plan = plan
        self._buffer = buffer
        self._ledger = buffer.ledger
        self._report = report
        self._events = events
        self._stamper = stamper
        self._spool = spool
        self._checkpoints = checkpoints
        self._slice = SLICE if checkpoints is None else EVERY_RECORDS
        self._ended: dict[str, tuple[str, int]] = {}
        self._rotated: dict[str, str] = {}
        self._lingering: asyncio.TimerHandle | None = None
        self._due_at = -math.inf
        self._reporting: asyncio.TimerHandle | None = None
        self._summarising: asyncio.TimerHandle | None = None
        self._checking: asyncio.TimerHandle | None = None
        self._rotates = False
        self._acknowledged = False
        self._waits_for_room = False
        self._is_well = False
        self._closing = False
        self._deferred: dict[str, Exception] = {}
        self._progress: asyncio.Future[None] | None = None
        self._unfinished: list[Any] = []
        self._hand: list[Any] = []
        """Items between the buffer and the outbox."""
        self._is_torn = False
        """Whether memory ran out in the middle of a slice: the next one begins with its rest."""
        self.outbox = Outbox(self, plan.options, options, pool)
        if spool is not None:
            spool.shipper = self
        self.earlier = DeliveryStats()
        if broken is not None:
            self.earlier = broken.earlier + broken.outbox.engine.stats()
            self.earlier.connections = 0
            self._ended = broken._ended
            self._rotated = broken._rotated
            self._unfinished = [*broken._unfinished, *broken.outbox.unfinished(), *broken._hand]
            if spool is not None:
                spool.restart()

    def start(self) -> None:
        """Begin to ship, on the running loop; later calls change nothing."""
        self.outbox.engine.start()
        if self._spool is not None:
            self._spool.start()
        if self._unfinished:
            unfinished, self._unfinished = self._unfinished, []
            self.outbox.take(unfinished)
        if self._checkpoints is not None:
            self._look_for_checkpoints()

    # Shipping.

    def look(self, full: bool) -> None:
        """Look for items when it is time to send them, or now when a batch is ``full``."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        now, options = monotonic(), self._plan.options
        if full:
            self._due_at = now
        else:
            automatic = options.automatic_linger
            self._due_at = due_at(options.linger, now, self._due_at, automatic=automatic)
        self._lingering = self._later(self._due_at - now, self.ship_soon)

    def _later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, callback)

    def ship_soon(self) -> None:
        """Ship what there is in the next turn of the loop."""
        self._lingering = None
        asyncio.get_running_loop().call_soon(self._ship)

    def _ship(self) -> None:
        """Ship a slice; if there are more, continue once all other callbacks had a turn.

        Few items are left to the next wake: a thread that comes back for each few makes logging
        threads wait for the GIL much more often.
        """
        if self._closing:
            return
        try:
            self._ship_slice()
        except MemoryError:  # a slice moves whole, or its rest is moved later
            self._buffer.counts.unwoken = True
            self._later(_AFTER_A_BUG, self.ship_soon)
        except Exception as error:  # our bug: records wait, in memory or on disk, and are not lost
            self._plan.internal_log.complain(
                "bug", f"shipping failed, a bug of kiel_logging: {error!r}"
            )
            self._later(_AFTER_A_BUG, self.ship_soon)

    def _ship_slice(self) -> None:
        if self._move(self._slice) == self._slice:
            asyncio.get_running_loop().call_soon(self._ship)
        else:
            waiting = len(self._buffer) > 0 if self._spool is None else self._spool.waiting
            self._waits_for_room = waiting
            self.outbox.engine.send_now()

    def _move(self, most: int) -> int:
        self._is_torn = True
        self.outbox.take(self._hand)
        most = min(most, self.outbox.room)
        if self._spool is not None:
            self._hand = self._spool.take(most)
        else:
            self._hand = self._stamp_all(self._buffer.take(most))
        moved = len(self._hand)
        if moved:
            if self._deferred and self._plan.blocks:
                self._explain_deferral(self._hand)
            self.outbox.take(self._hand)
        self._is_torn = False
        if moved:
            if self._rotates:
                self.rotate()
            if self._checkpoints is not None:
                self._checkpoints.make_due(self._emit)
        return moved

    def rotate(self) -> None:
        """Put a rotation record into each stream that is sealed with another key than those that
        begin now, unless it has one already; also into those that are found later."""
        self._rotates, wanted = True, self._stamper.key_id or NO_KEY
        for topic in self._stamper.topics:
            old = self._rotated.get(topic) or self._stamper.key_id_of(topic)
            if old == wanted or self._closing:
                continue
            if not self._emit(events.rotation(old, wanted), topic):  # the disk is full
                self._later(_RETRY_ROTATION, self.rotate)
                return
            self._rotated[topic] = wanted
            self.ship_soon()

    def _look_for_checkpoints(self) -> None:
        """Sign what is due by its age, unless the brokers acknowledge nothing: checkpoints would
        fill the memory."""
        if self._checkpoints is None or self._closing:
            return
        if self._acknowledged and self._checkpoints.make_due(self._emit):
            self._acknowledged = False
            self.outbox.engine.send_now()
        self._checkpoints.anchor()
        self._checking = self._later(LOOK_EVERY, self._look_for_checkpoints)

    def _stamp_all(self, items: list[Item]) -> list[Item]:
        try:
            return self.stamp(items)
        except Exception as error:  # no exception may lose records silently
            self.failed(items, error)
            return []

    def stamp(self, items: list[Item]) -> list[Item]:
        """Return ``items`` numbered, behind the record that starts a stream where one starts."""
        if self._stamper.chained or self._spool is not None:
            items = plain(items)
        if self._stamper.chained:
            new = dict.fromkeys(item.topic for item in items if item.topic not in self._stamper)
            starts = [item for topic in new if (item := self._events.start(topic)) is not None]
            for item in starts:
                self._ledger.count_own(item.memory)
            items = [*starts, *items]
        return self._stamper.stamp(items)

    def _emit(self, event: Event, topic: str) -> bool:
        """Put a record of the handler's own into the stream of ``topic``; return whether it is
        there."""
        item = self._events.make(event, topic)
        if item is None:
            return False
        if self._spool is not None:
            return self._spool.emit(item)
        self._ledger.count_own(item.memory)
        self.outbox.take(self.stamp([item]))
        return True

    # The ends of items: this is the engine's owner, see ``Deliveries``.

    def key_of(self, token: Item) -> Any:
        """Return the key of an item."""
        return token.key

    def delivered(self, batch: Batch, base_offset: int, log_append_time: int | None) -> None:
        """Count what the brokers acknowledged, and settle its receipts."""
        del log_append_time
        items, topic_partition = batch.tokens, batch.topic_partition
        self.outbox.delivered_at = self.outbox.engine.clock()
        ours: list[Any] = items if self._spool is None else self._spool.delivered(items)
        self._ledger.delivered(len(ours), totals(ours).memory)
        if self._plan.blocks:
            self._plan.blocks.delivered(items, topic_partition, base_offset)
        self._is_well = self._acknowledged = True
        self._deferred.pop(topic_partition.topic, None)
        self.resume()
        if self._report:
            self._summarise_when_well()

    def failed(self, items: Sequence[Item], error: Exception) -> None:
        """Count what is given up, call ``on_error``, and pass it to the fallback.

        Items that the spool has on disk are not given up. Each step is taken even if memory runs
        out in another.

        Raises:
            MemoryError: they are not counted.
        """
        lost = items if self._spool is None else self._spool.failed(items, error)
        if lost:
            self._ledger.failed(len(lost), totals(list(lost)).memory)
        try:
            try:
                if lost:
                    self._lose(lost, error)
            finally:  # at the end: a thread that waits finds all of this done
                if self._plan.blocks:
                    self._plan.blocks.lost(items, f"{type(error).__name__}: {error}", error)
        except MemoryError:  # they are counted
            return

    def _lose(self, items: Sequence[Item], error: Exception) -> None:
        self._is_well = False
        self.resume()
        try:
            self._note_failures(items, type(error).__name__)
        finally:
            try:
                if self._plan.fallback is not None:
                    self._plan.fallback.take_sources(items)
            finally:
                self._plan.on_error(error, len(items))

    def _note_failures(self, items: Sequence[Item], reason: str) -> None:
        """Have the streams say what they lack.

        A lost summary is worth no mention, as another follows. In a chain it is: a hole that no
        record explains reads as a record that was taken out.
        """
        own = [item for item in items if isinstance(item, EventItem)]
        if own and not self._stamper.chained:
            items = [item for item in items if not isinstance(item, EventItem)]
            own = []
        lost = Counter((item.topic, item.level) for item in items)
        self._report.add_failures(lost, reason, time.time())
        if self._stamper.chained:
            for item in items:
                if number := sequence_of(item.record):
                    self._report.add_number(item.topic, number)
        for event in own:
            self.put_back(event)

    def deferred(self, topic: str, error: Exception) -> None:
        """Note that the brokers reject ``topic`` for now; its items wait in the engine, or on
        disk."""
        self._is_well = False
        self._deferred[topic] = error
        if self._plan.blocks:
            self._explain_deferral(self.outbox.engine.accumulator.tokens_of(topic))
        if self._spool is not None:
            self._spool.deferred(topic, error)

    def _explain_deferral(self, items: Iterable[Item]) -> None:
        """Let receipts say why ``items`` wait, if they do."""
        for item in items:
            error = self._deferred.get(item.topic)
            if error is not None and item.waiter is not None:
                on_disk = self._spool is not None and self._spool.waiters.on_disk
                item.waiter.held(error, on_disk=on_disk)

    def troubled(self, error: Exception) -> None:
        """Call ``on_error`` if brokers reject records, as trouble that lasts is being logged."""
        if isinstance(error, DeliveryError):
            self._plan.on_error(error, 0)

    def present_time(self) -> int:
        """Return the time in ms. Values keep the time of the logging call."""
        return time.time_ns() // 1_000_000

    @property
    def backlog(self) -> int:
        """How many items are still to be appended, those on disk included."""
        return max(0, self._ledger.undelivered - self.outbox.engine.accumulator.outstanding)

    def resume(self) -> None:
        """Continue, as there may be more room in the outbox."""
        if self._waits_for_room and self.outbox.room:
            self._waits_for_room = False
            self.ship_soon()
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    # Losses.

    def report_losses(self) -> None:
        """Report drops on stderr, now or as soon as that is not too often; and in their streams
        what was left out on purpose."""
        if self._reporting is None:
            self._report_losses()
        if self._report:
            self._summarise_when_well()

    def _report_losses(self) -> None:
        self._reporting = None
        now = monotonic()
        if (loss := self._report.due(now)) is not None:
            self._say(loss)
        if (moment := self._report.due_at()) is not None:
            self._reporting = self._later(max(0.0, moment - now), self._report_losses)

    def _say(self, loss: Loss) -> None:
        self._plan.internal_log.say(logging.WARNING, str(loss))
        full = sum(count for (reason, _), count in loss.counts.items() if reason == BUFFER_FULL)
        if full:
            self._plan.on_error(BufferFull(str(loss)), full)

    def _summarise_when_well(self) -> None:
        if self._buffer.closed:
            return  # finish() does
        if self._is_well and self._buffer.is_half_empty and self._summarising is None:
            moment = self._report.summary_at() or 0.0
            delay = max(0.0, moment - monotonic())
            self._summarising = self._later(delay, self._summarise)

    def _summarise(self) -> None:
        """Put the summary of what each stream lacks into it, behind what is queued."""
        self._summarising = None
        for topic, loss in self._report.take_missing(monotonic()):
            for part in loss.parts():
                self._queue_summary(part, topic)
        self.ship_soon()

    def _queue_summary(self, loss: Loss, topic: str) -> None:
        item = self._events.make(events.drops(loss), topic)
        if item is not None:
            put = self._buffer.put_own if self._spool is None else self._spool.emit
            if not put(item):
                self._report.put_back(topic, loss)

    def put_back(self, item: EventItem) -> None:
        """Have the loss that ``item`` reports reported again: it had to make room, or failed."""
        if item.loss is not None:
            self._report.put_back(item.topic, item.loss)

    def note_damage(self, topic: str, records: int, numbers: Iterable[int] = ()) -> None:
        """Have the stream of ``topic`` say how many records can't be read any more, and which
        ``numbers`` of the stream they had."""
        lost = {(topic, logging.NOTSET): records}
        self._report.add_failures(lost, SpoolDamaged.__name__, time.time())
        for number in numbers:
            self._report.add_number(topic, number)

    def report_recovery(self, topic: str, found: Recovered, then: Callable[[], None]) -> None:
        """Write into the stream of ``topic``, if it is a chain, which instance died and what was
        found of it; then call ``then``."""
        item = self._events.make(events.recovery(found), topic) if self._stamper.chained else None
        if item is None or self._spool is None:
            then()
        else:
            self._spool.emit(item, then)

    # The end.

    async def flush(self, timeout: float) -> bool:
        """Send what is there now; return whether all of it was delivered or given up in time."""
        deadline = monotonic() + timeout
        queue: Any = self._buffer if self._spool is None else self._spool
        mark = queue.mark()
        while True:
            await self._ship_up_to(queue, mark, deadline)
            left = max(0.0, deadline - monotonic())
            done = await self.outbox.engine.flush(left) == 0 and queue.passed(mark)
            done = done and not self._is_torn
            if self._defers_nothing():
                return done
            if monotonic() >= deadline:
                return False  # until then, a topic that was rejected meanwhile is sent again

    async def _ship_up_to(self, queue: Any, mark: Any, deadline: float) -> None:
        while not (queue.passed(mark) and self._defers_nothing()) or self._is_torn:
            if (left := deadline - monotonic()) <= 0:
                return
            try:
                moved = self._move(self._slice)
            except MemoryError:
                await asyncio.sleep(min(left, _AFTER_A_BUG))
                continue
            if moved:
                await asyncio.sleep(0)
            else:
                self.outbox.engine.send_now()
                if self._progress is None or self._progress.done():
                    self._progress = asyncio.get_running_loop().create_future()
                await asyncio.wait([self._progress], timeout=left)

    def _defers_nothing(self) -> bool:
        return self._spool is None or not self._spool.has_refused

    async def finish(self, timeout: float, *, last: bool) -> bool:
        """Flush, and then end the streams if this is the ``last`` call, or pause them."""
        deadline = monotonic() + timeout
        await self.flush(timeout)
        if self._summarising is not None:
            self._summarising.cancel()
            self._summarising = None
        if self._has_nothing() and (self._is_well or self._stamper.chained):
            for topic, loss in self._report.take_missing(monotonic(), at_once=True):
                for part in loss.parts():
                    self._emit(events.drops(part), topic)
        await self.flush(max(0.0, deadline - monotonic()))  # the summaries
        done = await self._flush_ends(deadline, last)
        if self._spool is not None:
            self._spool.keep()
            if last and self._stamper.chained:
                self._end_on_disk(self._spool)
        return done

    async def _flush_ends(self, deadline: float, last: bool) -> bool:
        # The stream of checkpoints ends behind all others, whose ends bear checkpoints.
        done = False
        for of_checkpoints in (False, True) if self._checkpoint_topic else (False,):
            if self._stamper.chained and self._end_streams(last, of_checkpoints):
                deadline = max(deadline, monotonic() + _FOR_ENDS)
            done = await self.flush(max(0.0, deadline - monotonic()))
        if self._checkpoints is not None:
            await self._checkpoints.drain(max(0.0, deadline - monotonic()))
        return done

    @property
    def _checkpoint_topic(self) -> str | None:
        return None if self._checkpoints is None else self._checkpoints.topic

    def _has_nothing(self) -> bool:
        return not self._ledger.outstanding and not self._ledger.on_disk

    def _end_streams(self, last_call: bool, of_checkpoints: bool) -> bool:
        """End or pause the streams that the brokers have whole, and that lack nothing unreported;
        return whether there are any."""
        name = headers.END if last_call else headers.PAUSE
        ended = False
        for topic, last in self._whole_streams().items():
            if not last or self._report.lacks(topic):
                continue
            if (topic == self._checkpoint_topic) is not of_checkpoints:
                continue
            if self._ended.get(topic) in {(headers.END, last), (name, last)}:
                continue
            evidence = self._evidence(topic, END if last_call else OPEN)
            event = events.end(evidence) if last_call else events.pause(evidence)
            if self._spool is None:
                self._emit(event, topic)
            elif (item := self._events.make(event, topic)) is None or not self._spool.end(item):
                continue
            self._ended[topic] = name, last + 1
            if self._checkpoints is not None:
                self._checkpoints.publish(evidence, self._emit)
            ended = True
        return ended

    def _evidence(self, topic: str, state: str) -> dict[str, Any]:
        return {} if self._checkpoints is None else self._checkpoints.sign(topic, state)

    def _end_on_disk(self, spool: Spool) -> None:
        """End the streams that the next process has to send, behind all that is on disk."""
        for topic in spool.unsettled():
            name, _ = self._ended.get(topic, ("", 0))
            if name != headers.END and not self._report.lacks(topic):
                item = self._events.make(events.end(self._evidence(topic, END)), topic)
                if item is not None:
                    spool.end_on_disk(item)

    def _whole_streams(self) -> Mapping[str, int]:
        """Return the last number of each stream that the brokers have whole."""
        if self._spool is not None:
            return self._spool.settled()
        if not self._has_nothing():
            return {}
        return {topic: self._stamper.sequence(topic) for topic in self._stamper.topics}

    async def close(self, timeout: float) -> None:
        """Deliver what is there within ``timeout`` seconds, and give up all else."""
        deadline = monotonic() + timeout
        await self.finish(timeout, last=True)
        self._closing = True
        await self.outbox.engine.close(max(0.0, deadline - monotonic()))
        left = self._buffer.take(_ALL) if self._spool is None else self._spool.rest()
        left = [*self.outbox.rest(), *self._hand, *left]
        if left:
            self.failed(left, ProducerClosed("the handler was closed before these were sent"))
        if self._spool is not None:
            self._spool.close()
        if (loss := self._report.remaining()) is not None:
            self._say(loss)
        if self._checkpoints is not None:
            self._checkpoints.forget()
        for timer in (self._lingering, self._reporting, self._summarising, self._checking):
            if timer is not None:
                timer.cancel()
