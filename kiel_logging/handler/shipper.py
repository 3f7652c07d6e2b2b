"""The work of the loop thread: it numbers and ships, keeps the ledger, and reports losses.

Everything here runs on that thread. It waits for no thread that logs.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from kiel_logging.config.options import ProducerOptions
from kiel_logging.errors import BufferFull, DeliveryError, ProducerClosed, SpoolDamaged
from kiel_logging.handler import events
from kiel_logging.handler.buffer import Buffer
from kiel_logging.handler.checkpoints import LOOK_EVERY, Checkpoints
from kiel_logging.handler.events import ConvertOwn, Event, EventItem, Events, Recovered
from kiel_logging.handler.fallback import Fallback
from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.ledger import Loss, Losses, LossReport, OnError
from kiel_logging.handler.outbox import Outbox
from kiel_logging.handler.pausing_loop import resolve_on_a_daemon, run_on_a_daemon
from kiel_logging.handler.receipts import OpenBlocks
from kiel_logging.handler.slices import memory_of, plain
from kiel_logging.handler.spool.spool import Spool
from kiel_logging.native import monotonic
from kiel_logging.proof import headers
from kiel_logging.proof.chain import NO_KEY
from kiel_logging.proof.checkpoints import END, EVERY_RECORDS, OPEN
from kiel_logging.proof.stamper import Stamper, sequence_of
from kiel_logging.record.item import Item
from kiel_logging.records import TopicPartition

SLICE: Final = 4096
"""Most records that are shipped before the GIL is released: about a millisecond.

Fewer would starve this thread beside many that log. Each of them keeps the GIL for 5 ms, and gets
it as often as this one: what they all log meanwhile has to be shipped at once.
"""

_ALL: Final = 2**31

_FOR_ENDS: Final = 0.3
"""Seconds that the brokers have at least to acknowledge the records that end streams."""

_AFTER_A_BUG: Final = 1.0
"""Seconds until shipping is tried again after an exception that it should not have raised."""


class Shipper:
    """Moves items from the buffer to the brokers.

    Args:
        buffer: where they come from, and where they are counted.
        drops: what those who log noted as lost.
        stamper: numbers what is sent.
        name: returns the handler's name.
        blocks: told of what somebody awaits.
        convert: makes an item of the handler's own LogRecord, for a topic.
        internal_log: where losses are told.
        fallback: gets what was given up.
        on_error: called with the error and the number of records.
        max_records: most records that the handler buffers.
        max_bytes: most memory that it takes.
        options: the engine's.
        overflow: what gives way when the buffer is full.
        block_timeout: seconds that records wait for room, with "block".
        spool: what stands between the buffer and the outbox; None for nothing.
        checkpoints: signs what was numbered; None for nothing.
    """

    def __init__(
        self,
        buffer: Buffer,
        drops: Losses,
        blocks: OpenBlocks,
        *,
        stamper: Stamper,
        name: Callable[[], str | None],
        convert: ConvertOwn,
        internal_log: InternalLog,
        fallback: Fallback | None,
        on_error: OnError,
        max_records: int,
        max_bytes: int,
        options: ProducerOptions,
        overflow: str,
        block_timeout: float,
        spool: Spool | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._buffer = buffer
        self._checkpoints = checkpoints
        self._slice = SLICE if checkpoints is None else EVERY_RECORDS
        self._spool = spool
        self._stamper = stamper
        self._name = name
        self._events = Events(convert, internal_log)
        self._last_words: dict[str, tuple[str, int]] = {}
        self._blocks = blocks
        self._internal_log = internal_log
        self._fallback = fallback
        self._on_error = on_error
        self._report = LossReport(drops)
        self._lingering: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._summarising: asyncio.TimerHandle | None = None
        self._checking: asyncio.TimerHandle | None = None
        self._acknowledged = False
        self._stalled = False
        self._well = False
        self._closing = False
        self._deferred: dict[str, Exception] = {}
        self._progress: asyncio.Future[None] | None = None
        self._unfinished: list[Any] = []
        self.outbox = Outbox(
            self,
            options,
            resolve_on_a_daemon,
            run_on_a_daemon,
            max_records=max_records,
            max_bytes=max_bytes,
            overflow=overflow if spool is None else None,
            block_timeout=block_timeout,
            keeps=spool is not None,
        )

    def start(self) -> None:
        """Begin to ship, on the running loop; later calls change nothing."""
        self.outbox.engine.start()
        if self._spool is not None:
            self._spool.start()
        if self._checkpoints is not None:
            self._look_for_checkpoints()
        if self._unfinished:
            unfinished, self._unfinished = self._unfinished, []
            self.outbox.take(unfinished)

    def take_over(self, other: "Shipper") -> None:
        """Continue the work of ``other``, whose thread failed, with what it had not finished."""
        self._report = other._report
        self._last_words = other._last_words
        self._unfinished = other._unfinished + other.outbox.unfinished()
        if self._spool is not None:
            self._spool.restart()

    # Shipping.

    def woken(self, full: bool) -> None:
        """The buffer has something: look soon, or now when a batch is ``full``."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if full:
            self.start_feeding()
        else:
            self._lingering = self._later(self.outbox.linger, self.start_feeding)

    def _later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, callback)

    def start_feeding(self) -> None:
        """Ship what there is, soon."""
        self._lingering = None
        asyncio.get_running_loop().call_soon(self._feed_slice)

    def _feed_slice(self) -> None:
        """Ship a slice; if there are more, continue after all other callbacks had a turn.

        The next record wakes this thread again: to come back for a few would make logging threads
        wait for the GIL that much oftener.
        """
        if self._closing:
            return
        try:
            moved = self._move(self._slice)
        except Exception as error:  # ours: records wait, in memory or on disk, and are not lost
            self._internal_log.complain("bug", f"shipping failed, a bug of kiel_logging: {error!r}")
            self._later(_AFTER_A_BUG, self.start_feeding)
            return
        if moved == self._slice:
            asyncio.get_running_loop().call_soon(self._feed_slice)
        else:
            self._stalled = self._waits()
            self.outbox.engine.send_now()

    def _waits(self) -> bool:
        return len(self._buffer) > 0 if self._spool is None else self._spool.waiting

    def _move(self, most: int) -> int:
        most = min(most, self.outbox.room)
        if self._spool is not None:
            stamped: list[Any] = self._spool.take(most)
        else:
            stamped = self._stamp_all(self._buffer.take(most))
        if stamped:
            self.outbox.take(stamped)
            if self._deferred and self._blocks:
                self._explain_deferral(stamped)
            if self._checkpoints is not None:
                self._checkpoints.make_due(self._emit)
        return len(stamped)

    def _look_for_checkpoints(self) -> None:
        """Sign what is due by its age. Nothing is while the brokers take nothing: checkpoints would
        fill the memory."""
        if self._checkpoints is None or self._closing:
            return
        if self._acknowledged and self._checkpoints.make_due(self._emit):
            self._acknowledged = False
            self.outbox.engine.send_now()
        self._checkpoints.retry()
        self._checking = self._later(LOOK_EVERY, self._look_for_checkpoints)

    def _stamp_all(self, items: list[Item]) -> list[Item]:
        try:
            return self.stamp(items)
        except Exception as error:  # whatever it is: no record is lost in silence
            self.failed(items, error)
            return []

    def stamp(self, items: list[Item]) -> list[Item]:
        """Return ``items`` as the next ones of their streams, first words in front."""
        if self._stamper.chained or self._spool is not None:
            items = plain(items)
        if self._stamper.chained:
            items = [*self._first_words(items), *items]
        return self._stamper.stamp(items)

    def _first_words(self, items: Sequence[Item]) -> list[Item]:
        """Return what is to be said in front of streams that begin with ``items``."""
        new = dict.fromkeys(item.topic for item in items if item.topic not in self._stamper)
        if not new:
            return []
        made = [self.own(self._start(topic), topic) for topic in new]
        return [item for item in made if item is not None]

    def own(self, event: Event, topic: str) -> EventItem | None:
        """Return a counted event, which is to be shipped."""
        item = self._events.make(event, topic)
        if item is not None:
            self._buffer.count_own(item.memory)
        return item

    def make_event(self, event: Event, topic: str) -> EventItem | None:
        """Return a record of the handler's own that is not counted yet; None if it can't be made,
        which is reported."""
        return self._events.make(event, topic)

    def first_event(self, topic: str) -> EventItem | None:
        """Return the record that starts the stream of ``topic``; None without a chain."""
        return self.make_event(self._start(topic), topic) if self._stamper.chained else None

    def _start(self, topic: str) -> Event:
        stamper = self._stamper
        facts = {} if self._checkpoints is None else self._checkpoints.facts(topic)
        key_id = stamper.key_id or NO_KEY
        return events.start(self._name() or "", topic, stamper.instance, key_id, facts)

    def _emit(self, event: Event, topic: str) -> None:
        """Put a record of the handler's own into a stream."""
        if self._spool is not None:
            self._spool.emit(event, topic)
            return
        item = self.own(event, topic)
        if item is not None:
            self.outbox.take(self.stamp([item]))

    # What became of them: the outbox's ledger.

    def delivered(self, items: list[Item], place: TopicPartition, base_offset: int) -> None:
        """Count what the brokers acknowledged, tell who awaits it."""
        ours: list[Any] = items if self._spool is None else self._spool.delivered(items)
        self._buffer.delivered(len(ours), memory_of(ours))
        if self._blocks:
            self._blocks.delivered(items, place, base_offset)
        self._well = self._acknowledged = True
        self._deferred.pop(place.topic, None)
        self._go_on()
        if self._report:
            self._summarise_when_well()

    def failed(self, items: Sequence[Item], error: Exception) -> None:
        """Count what is given up, tell who wants to know, hand it to the fallback.

        What a spool holds is not given up.
        """
        lost = items if self._spool is None else self._spool.failed(items, error)
        if lost:
            self._lose(lost, error)
        if self._blocks:  # last: whoever waits finds all of it done
            self._blocks.lost(items, f"{type(error).__name__}: {error}", error)

    def deferred(self, topic: str, error: Exception) -> None:
        """The brokers reject ``topic`` for now; its records wait in the engine, or on disk."""
        self._well = False
        self._deferred[topic] = error
        if self._blocks:
            self._explain_deferral(self.outbox.engine.accumulator.tokens_of(topic))
        if self._spool is not None:
            self._spool.deferred(topic, error)

    def troubled(self, error: Exception) -> None:
        """Trouble that lasts is being logged: if records are rejected, notify the program."""
        if isinstance(error, DeliveryError):
            self._on_error(error, 0)

    @property
    def outstanding(self) -> int:
        """How many records are neither delivered nor given up, those on disk included."""
        return self._buffer.outstanding + self._buffer.disk.spooled

    def resume(self) -> None:
        """There may be more room in the outbox."""
        self._go_on()

    def _explain_deferral(self, items: Iterable[Item]) -> None:
        """Let receipts say why ``items`` wait, if they do."""
        for item in items:
            error = self._deferred.get(item.topic)
            if error is not None and item.waiter is not None:
                on_disk = self._spool is not None and self._spool.waiters.on_disk
                item.waiter.held(error, on_disk=on_disk)

    def _lose(self, items: Sequence[Item], error: Exception) -> None:
        self._buffer.failed(len(items), memory_of(list(items)))
        self._well = False
        self._go_on()
        self._note_failures(items, type(error).__name__)
        if self._fallback is not None:
            for item in items:
                if item.source is not None:
                    self._fallback.take(item.source)
        self._on_error(error, len(items))

    def _note_failures(self, items: Sequence[Item], reason: str) -> None:
        """See to it that the streams are told what they lack.

        That a summary is lost is no news, but in a chain: there whoever reads it takes a hole that
        nobody told of for a record that was taken out.
        """
        own = [item for item in items if isinstance(item, EventItem)]
        if own and not self._stamper.chained:
            items, own = [item for item in items if not isinstance(item, EventItem)], []
        lost = Counter((item.topic, item.level) for item in items)
        self._report.add_failures(lost, reason, time.time())
        if self._stamper.chained:
            for item in items:
                if number := sequence_of(item.record):
                    self._report.add_number(item.topic, number)
        for event in own:
            self.put_back(event)

    def _go_on(self) -> None:
        if self._stalled and self.outbox.room:
            self._stalled = False
            self.start_feeding()
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    # Losses.

    def tell_of_losses(self) -> None:
        """Tell on stderr what was dropped, now or as soon as that is not too often."""
        self._telling = None
        now = monotonic()
        if (loss := self._report.to_tell(now)) is not None:
            self._tell(loss)
        if (moment := self._report.tell_at()) is not None:
            self._telling = self._later(max(0.0, moment - now), self.tell_of_losses)

    def note_losses(self) -> None:
        """There is something to tell."""
        if self._telling is None:
            self.tell_of_losses()

    def _tell(self, loss: Loss) -> None:
        self._internal_log.say(logging.WARNING, str(loss))
        full = Counter({key: n for key, n in loss.counts.items() if key[0] == "buffer_full"})
        if full:
            self._on_error(BufferFull(str(loss)), full.total())

    def _summarise_when_well(self) -> None:
        if self._buffer.closed:
            return  # finish() does
        if self._well and self._buffer.half_empty and self._summarising is None:
            moment = self._report.summarise_at() or 0.0
            delay = max(0.0, moment - monotonic())
            self._summarising = self._later(delay, self._summarise)

    def _summarise(self) -> None:
        """Put the summary of what each stream lacks into it, behind what is queued."""
        self._summarising = None
        for topic, loss in self._report.to_summarise(monotonic()).items():
            for part in loss.parts():
                self._put_summary(part, topic)
        self.start_feeding()

    def _put_summary(self, loss: Loss, topic: str) -> None:
        if self._spool is not None:
            self._spool.emit(events.drops(loss), topic)
            return
        item = self._events.make(events.drops(loss), topic)
        if item is not None and not self._buffer.put_own(item):
            self._report.put_back(topic, loss)

    def put_back(self, item: EventItem) -> None:
        """It had to make room, or did not arrive: what it told is to be told by another."""
        if item.loss is not None:
            self._report.put_back(item.topic, item.loss)

    def note_damage(self, topic: str, records: int, numbers: Iterable[int] = ()) -> None:
        """See to it that the stream of ``topic`` says how many records can't be read any more, and
        which ``numbers`` of its own they had."""
        lost = {(topic, logging.NOTSET): records}
        self._report.add_failures(lost, SpoolDamaged.__name__, time.time())
        for number in numbers:
            self._report.add_number(topic, number)

    def report_recovery(self, topic: str, found: Recovered, then: Callable[[], None]) -> None:
        """Write into the stream of ``topic``, if it is a chain, which instance died and what was
        found of it; then call ``then``."""
        if not self._stamper.chained:
            then()
        elif self._spool is not None:
            self._spool.emit(events.recovery(found), topic, then)
        else:
            self._emit(events.recovery(found), topic)
            then()

    # The end.

    async def flush(self, timeout: float) -> bool:
        """Send what is there now; return whether all of it was delivered or given up in time."""
        deadline = monotonic() + timeout
        queue: Any = self._buffer if self._spool is None else self._spool
        mark = queue.mark()
        while True:
            await self._feed_up_to(queue, mark, deadline)
            left = max(0.0, deadline - monotonic())
            done = await self.outbox.engine.flush(left) == 0 and queue.passed(mark)
            if self._holds_nothing():
                return done
            if monotonic() >= deadline:
                return False  # else it was refused meanwhile, and will be sent again

    async def _feed_up_to(self, queue: Any, mark: Any, deadline: float) -> None:
        while not (queue.passed(mark) and self._holds_nothing()):
            if (left := deadline - monotonic()) <= 0:
                return
            if self._move(self._slice):
                await asyncio.sleep(0)
            else:
                self.outbox.engine.send_now()
                await self._wait_for_progress(left)

    def _holds_nothing(self) -> bool:
        return self._spool is None or not self._spool.has_refused

    async def _wait_for_progress(self, timeout: float) -> None:
        if self._progress is None or self._progress.done():
            self._progress = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._progress], timeout=timeout)

    async def finish(self, timeout: float, *, last: bool) -> bool:
        """As ``flush()``, and then end the streams if this is the ``last`` call, or pause them:
        perhaps nothing comes any more."""
        deadline = monotonic() + timeout
        await self.flush(timeout)
        if self._summarising is not None:
            self._summarising.cancel()
            self._summarising = None
        if self._nothing_left() and (self._well or self._stamper.chained):
            for topic, loss in self._report.to_summarise(monotonic(), at_once=True).items():
                for part in loss.parts():
                    self._emit(events.drops(part), topic)
        # A summary may have come meanwhile.
        await self.flush(max(0.0, deadline - monotonic()))
        done = await self._flush_ends(deadline, last)
        if self._spool is not None:
            self._spool.keep()
            if last and self._stamper.chained:
                self._end_on_disk(self._spool)
        return done

    async def _flush_ends(self, deadline: float, last: bool) -> bool:
        # The stream of checkpoints ends last: the ends of others bear checkpoints.
        for of_checkpoints in (False, True) if self._checkpoint_topic else (False,):
            if self._stamper.chained and self._end_streams(last, of_checkpoints):
                deadline = max(deadline, monotonic() + _FOR_ENDS)
            done = await self.flush(max(0.0, deadline - monotonic()))
        if self._checkpoints is not None:
            await self._checkpoints.drain(max(0.0, deadline - monotonic()))
        return done

    def _nothing_left(self) -> bool:
        return not self._buffer.outstanding and not self._buffer.disk.on_disk

    @property
    def _checkpoint_topic(self) -> str | None:
        return None if self._checkpoints is None else self._checkpoints.topic

    def _end_streams(self, ends: bool, of_checkpoints: bool) -> bool:
        """End or pause the streams that the brokers have whole, and that lack nothing unreported;
        return whether there are any."""
        ended = False
        name = headers.END if ends else headers.PAUSE
        for topic, last in self._settled().items():
            if not last or self._report.lacks(topic):
                continue
            if (topic == self._checkpoint_topic) is not of_checkpoints:
                continue
            if self._last_words.get(topic) in {(headers.END, last), (name, last)}:
                continue
            evidence = self._evidence(topic, END if ends else OPEN)
            event = events.end(evidence) if ends else events.pause(evidence)
            if self._spool is None:
                self._emit(event, topic)
            elif not self._spool.end(event, topic):
                continue
            self._last_words[topic] = name, last + 1
            if self._checkpoints is not None:
                self._checkpoints.publish(evidence, self._emit)
            ended = True
        return ended

    def _evidence(self, topic: str, state: str) -> dict[str, Any]:
        return {} if self._checkpoints is None else self._checkpoints.sign(topic, state)

    def _end_on_disk(self, spool: Spool) -> None:
        """End the streams that the next process has to send, behind all that is on disk."""
        for topic in spool.unsettled():
            name, _ = self._last_words.get(topic, ("", 0))
            if name != headers.END and not self._report.lacks(topic):
                spool.end_on_disk(events.end(self._evidence(topic, END)), topic)

    def _settled(self) -> Mapping[str, int]:
        """Return the last number of each stream that the brokers have whole."""
        if self._spool is not None:
            return self._spool.settled()
        if not self._nothing_left():
            return {}
        return {topic: self._stamper.sequence(topic) for topic in self._stamper.topics}

    async def close(self, timeout: float) -> None:
        """Deliver what is there within ``timeout`` seconds, give up the rest."""
        deadline = monotonic() + timeout
        await self.finish(timeout, last=True)
        self._closing = True
        await self.outbox.engine.close(max(0.0, deadline - monotonic()))
        rest = self._buffer.take(_ALL) if self._spool is None else self._spool.rest()
        if rest:
            self.failed(rest, ProducerClosed("the handler was closed before these were sent"))
        if self._spool is not None:
            self._spool.close()
        if (loss := self._report.rest()) is not None:
            self._tell(loss)
        if self._checkpoints is not None:
            self._checkpoints.forget()
        for timer in (self._lingering, self._telling, self._summarising, self._checking):
            if timer is not None:
                timer.cancel()
