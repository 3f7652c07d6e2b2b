"""What the loop thread does: feeds the producer, keeps the ledger, tells of losses.

Everything here runs on that thread. It waits for no thread that logs.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

from kiel_logging.errors import BufferFull, ProducerClosed
from kiel_logging.handler.fallback import Fallback
from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.pipeline.daemons import resolve_on_a_daemon, run_on_a_daemon
from kiel_logging.handler.pipeline.feed import Feed
from kiel_logging.handler.pipeline.handoff import Handoff
from kiel_logging.handler.pipeline.item import Item
from kiel_logging.handler.pipeline.loss_report import LossReport, summary_record
from kiel_logging.handler.pipeline.losses import Loss, Losses
from kiel_logging.handler.pipeline.tallies import Tallies
from kiel_logging.records import TopicPartition

SLICE: Final = 256
"""Records fed before the GIL is let go, so that no logging thread waits for long."""

_ALL: Final = 2**31
_memory_of: Final = attrgetter("memory")

OnError = Callable[[Exception, int], object]


class Summary(Item):
    """A record of the handler's own, that tells of ``loss``. To lose it is no news."""

    loss: Loss


class Shipper:
    """Moves items from the hand-off to the brokers.

    Args:
        handoff: where they come from, and where they are counted.
        drops: what those who log noted as lost.
        tallies: told of what somebody awaits.
        convert: makes an item of the handler's own LogRecord, for a topic.
        internal_log: where losses are told.
        fallback: gets what was given up.
        on_error: called with the error and the number of records.
        max_records: most records that the handler buffers.
        max_bytes: most memory that it takes.
        producer_options: the Producer's.
    """

    def __init__(
        self,
        handoff: Handoff,
        drops: Losses,
        tallies: Tallies,
        *,
        convert: Callable[[logging.LogRecord, str], Item],
        internal_log: InternalLog,
        fallback: Fallback | None,
        on_error: OnError,
        max_records: int,
        max_bytes: int,
        producer_options: dict[str, Any],
    ) -> None:
        self._handoff = handoff
        self._tallies = tallies
        self._convert = convert
        self._internal_log = internal_log
        self._fallback = fallback
        self._on_error = on_error
        self._report = LossReport(drops)
        self._lingering: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._summarising: asyncio.TimerHandle | None = None
        self._stalled = False
        self._well = False
        self._closing = False
        self._progress: asyncio.Future[None] | None = None
        self.feed = Feed(
            self,
            resolve_on_a_daemon,
            run_on_a_daemon,
            max_records=max_records,
            max_bytes=max_bytes,
            options=producer_options,
        )

    # Feeding.

    def woken(self, full: bool) -> None:
        """The hand-off has something: look soon, or now when a batch is ``full``."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if full:
            self._start_feeding()
        else:
            self._lingering = self._later(self.feed.linger, self._start_feeding)

    def _later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, callback)

    def _start_feeding(self) -> None:
        self._lingering = None
        asyncio.get_running_loop().call_soon(self._feed_slice)

    def _feed_slice(self) -> None:
        """Feed a slice, and go on after everybody else on this thread and others had a turn."""
        if self._closing:
            return
        if self._move(SLICE):
            asyncio.get_running_loop().call_soon(self._feed_slice)
        else:
            self._stalled = len(self._handoff) > 0
            self.feed.send_now()

    def _move(self, most: int) -> int:
        items = self._handoff.take(min(most, self.feed.room))
        if items:
            self.feed.take(items)
        return len(items)

    # What became of them: the feed's ledger.

    def delivered(self, items: Sequence[Item], place: TopicPartition, base_offset: int) -> None:
        """Count what the brokers acknowledged, tell who awaits it."""
        self._handoff.delivered(len(items), sum(map(_memory_of, items)))
        if self._tallies:
            self._tallies.delivered(items, place, base_offset)
        self._well = True
        self._go_on()
        if self._report:
            self._summarise_when_well()

    def failed(self, items: Sequence[Item], error: Exception) -> None:
        """Count what is given up, tell who wants to know, hand it to the fallback."""
        self._handoff.failed(len(items), sum(map(_memory_of, items)))
        self._well = False
        self._go_on()
        lost = Counter((item.topic, item.level) for item in items if not isinstance(item, Summary))
        self._report.add_failures(lost, type(error).__name__, time.time())
        if self._fallback is not None:
            for item in items:
                if item.source is not None:
                    self._fallback.take(item.source)
        self._on_error(error, len(items))
        if self._tallies:
            self._tallies.lost(items, f"{type(error).__name__}: {error}", error)

    def _go_on(self) -> None:
        if self._stalled and self.feed.room:
            self._stalled = False
            self._start_feeding()
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    # Losses.

    def tell_of_losses(self) -> None:
        """Tell on stderr what was dropped, now or as soon as that is not too often."""
        self._telling = None
        now = time.monotonic()
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
        if self._well and self._handoff.half_empty and self._summarising is None:
            moment = self._report.summarise_at() or 0.0
            delay = max(0.0, moment - time.monotonic())
            self._summarising = self._later(delay, self._summarise)

    def _summarise(self, now: float | None = None) -> None:
        """Put the summary of what each stream lacks into it."""
        self._summarising = None
        missing = self._report.to_summarise(time.monotonic() if now is None else now)
        for topic, loss in missing.items():
            if (item := self._summary(topic, loss)) and not self._handoff.put_own(item):
                self._report.put_back(topic, loss)
        self._start_feeding()

    def _summary(self, topic: str, loss: Loss) -> Summary | None:
        try:
            summary = Summary(*self._convert(summary_record(loss), topic))
        except Exception as error:  # a key maker of the user's that can't do with this record
            self._internal_log.complain("summary", f"no summary for {topic!r}: {error!r}")
            return None
        summary.loss = loss
        return summary

    def put_back(self, summary: Summary) -> None:
        """It had to make room: what it told is to be told by another."""
        self._report.put_back(summary.topic, summary.loss)

    # The end.

    async def flush(self, timeout: float) -> bool:
        """Send what is there now; return whether all of it was delivered or given up in time."""
        deadline = time.monotonic() + timeout
        mark = self._handoff.mark()
        while not self._handoff.passed(mark) and (left := deadline - time.monotonic()) > 0:
            if self._move(SLICE):
                await asyncio.sleep(0)
            else:
                self.feed.send_now()
                await self._wait_for_progress(left)
        left = max(0.0, deadline - time.monotonic())
        return await self.feed.flush(left) == 0 and self._handoff.passed(mark)

    async def _wait_for_progress(self, timeout: float) -> None:
        if self._progress is None or self._progress.done():
            self._progress = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._progress], timeout=timeout)

    async def close(self, timeout: float) -> None:
        """Deliver what is there within ``timeout`` seconds, give up the rest."""
        deadline = time.monotonic() + timeout
        await self.flush(timeout)
        if self._report and self._well and not self._handoff.outstanding:
            self._summarise(math.inf)
        await self.flush(max(0.0, deadline - time.monotonic()))  # a summary may have come meanwhile
        self._closing = True
        await self.feed.close(max(0.0, deadline - time.monotonic()))
        if rest := self._handoff.take(_ALL):
            self.failed(rest, ProducerClosed("the handler was closed before these were sent"))
        if (loss := self._report.rest()) is not None:
            self._tell(loss)
        for timer in (self._lingering, self._telling, self._summarising):
            if timer is not None:
                timer.cancel()
