"""``spool="overflow"``, on the loop thread: what memory can't hold, or the brokers don't take.

What comes next is, in this order: the rows on disk; slices that have their places and are being
written, or could not be; the hand-off. A record gets its stamp and its place when it leaves the
hand-off, whether it goes to the feed or to disk, so that whatever is left at the end can be written
in the order in which it was stamped.

One slice is written at a time: none is on disk while one before it is not.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kiel_logging.handler.pipeline.events import Event, Word
from kiel_logging.handler.pipeline.item import Item
from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spool.statements import in_parts
from kiel_logging.handler.spooling.own_rows import FEW, TOGETHER, OwnRows, memory_of
from kiel_logging.handler.spooling.placed import Placed, placed, row_of
from kiel_logging.handler.spooling.reading import AGAIN
from kiel_logging.handler.spooling.stream_state import StreamState
from kiel_logging.proof.headers import END
from kiel_logging.proof.stamper import Stamper

_A_MOMENT: Final = 0.005
"""Seconds between two looks at what is being written."""


class _Mark:
    """Behind what is queued in the hand-off, and then behind the place of the last of it."""

    __slots__ = ("place", "queued")

    def __init__(self, queued: int) -> None:
        self.queued = queued
        self.place: int | None = None


class _Slice:
    """Items with their places, in memory."""

    __slots__ = ("fed", "items", "writing")

    def __init__(self, items: Sequence[Placed]) -> None:
        self.items = deque(items)
        self.fed: list[Placed] = []
        self.writing = False


class Overflowing(OwnRows):
    """This process's own file, and the hand-off behind it.

    Args:
        stamper: numbers and seals.
        instance: what the records say they are from.
        stamp: stamps items, and says first words.
        own: makes and counts what the handler says.
        common: see OwnRows.
    """

    def __init__(
        self,
        *common: Any,
        stamper: Stamper,
        instance: str,
        stamp: Callable[[list[Item]], list[Item]],
        own: Callable[[Word, str], Event | None],
        **more: Any,
    ) -> None:
        super().__init__(*common, **more)
        self._stamper = stamper
        self._instance = instance
        self._stamp = stamp
        self._own = own
        self._slices: deque[_Slice] = deque()
        self._unfed = 0
        self._last_place = 0
        self._fed_place = 0
        self._disk_place = 0
        self._retry_at = 0.0
        self._ended: set[str] = set()

    @property
    def waiting(self) -> bool:
        """Whether anything is not with the feed yet."""
        return self._unfed > 0 or len(self.handoff) > 0 or any(one.items for one in self._slices)

    # To the feed.

    def take(self, most: int) -> list[Placed]:
        """Return up to ``most`` stamped items that come next."""
        items = self._take(most)
        if items:
            self._fed_place = max(self._fed_place, items[-1].place)
            self.fed(items)
        return items

    def _take(self, most: int) -> list[Placed]:
        if self._unfed:
            return self._take_rows(most)
        for one in self._slices:
            if one.items:
                items = [one.items.popleft() for _ in range(min(most, len(one.items)))]
                one.fed += items
                return items
        return self._place(self.handoff.take(most))

    def _take_rows(self, most: int) -> list[Placed]:
        ahead = self.ahead
        items = ahead.take(most)
        lost, ahead.lost = ahead.lost, 0
        if not items and ahead.dry and not ahead.reading:
            lost = self._unfed  # the file is not what it was
        self._unfed -= len(items) + lost
        if lost:
            self.handoff.lost_on_disk(lost)
        self.from_disk(items)
        if self._unfed:
            ahead.wish()
        elif lost:
            self._fed_place = max(self._fed_place, self._disk_place)
        return items

    def _place(self, items: Sequence[Item]) -> list[Placed]:
        if not items:
            return []
        found = []
        for item in self._stamp(list(items)):
            self._last_place += 1
            found.append(placed(item, self._last_place, self))
        return found

    def say(self, word_of: Callable[[int], Word], topic: str) -> None:
        """Put what the handler says behind all that has a number."""
        word = word_of(self._stamper.sequence(topic))
        event = self._own(word, topic)
        if event is None:
            return
        if word.name == END:
            self._ended.add(topic)
        self._slices.append(_Slice(self._place([event])))
        self.changed()

    def sequences(self) -> Mapping[str, int]:
        """Return the last number of each stream."""
        return {topic: self._stamper.sequence(topic) for topic in self._stamper.topics}

    def mark(self) -> _Mark:
        """Return a mark behind all that there is now."""
        return _Mark(self.handoff.mark())

    def passed(self, mark: _Mark) -> bool:
        """Whether all that was there at ``mark`` is with the feed."""
        if mark.place is None and self.handoff.passed(mark.queued):
            mark.place = self._last_place
        return mark.place is not None and self._fed_place >= mark.place

    # To disk.

    def tend(self, *, quiet: bool) -> None:
        """Write the next slice, if it is time to; what is with the feed, if it stays there."""
        if quiet:
            self.secure_window()
        self._spill(force=quiet or not self.handoff.half_empty)

    @property
    def _may_secure(self) -> bool:
        is_writing = bool(self._slices) and self._slices[0].writing  # what was fed of it, too
        return super()._may_secure and not is_writing

    def _spill(self, *, force: bool) -> _Slice | None:
        """Return the slice that is being written."""
        slices = self._slices
        while slices and not slices[0].items and not slices[0].writing:
            slices.popleft()
        if slices and slices[0].writing:
            return slices[0]
        if not force or time.monotonic() < self._retry_at:
            return None
        if not slices and (items := self.handoff.take(TOGETHER)):
            slices.append(_Slice(self._place(items)))
        if slices:
            self._write(slices[0])
            return slices[0]
        return None

    def _write(self, one: _Slice) -> None:
        one.writing = True
        one.fed.clear()  # while it was not written the last time: those are in the window
        items, file = tuple(one.items), self.file
        tickets = [self.tickets.give(item.awaited) for item in items]
        states = self.states_of(items)

        def work() -> None:
            rows: list[Row] = list(map(row_of, items, tickets))
            file.append(rows, states)

        def written(_result: None, error: Exception | None) -> None:
            one.writing = False
            if error is None:
                self._written(one)
            elif len(one.items) > FEW:
                self._halve(one)
            else:
                self._retry_at = time.monotonic() + AGAIN
                self.complain(error)
            for item, ticket in zip(items, tickets, strict=True):
                if error is not None or item.place <= self._fed_place:
                    self.tickets.take(ticket)
            self._secure()  # had to wait for this
            self.changed()

        self.worker.submit(work, written)

    def _halve(self, one: _Slice) -> None:
        """It did not fit: perhaps a part of it does."""
        items = list(one.items)
        middle = len(items) // 2
        one.items = deque(items[:middle])
        self._slices.insert(1, _Slice(items[middle:]))

    def states_of(self, items: Sequence[Placed]) -> Mapping[str, bytes]:
        """Return where the streams of ``items`` stand."""
        return {topic: self._state(topic) for topic in {item.topic for item in items}}

    def _state(self, topic: str) -> bytes:
        state = self._stamper.state(topic)
        assert state is not None, "it was stamped"
        return StreamState(self._instance, state).to_bytes()

    def _written(self, one: _Slice) -> None:
        gone = [item for item in one.fed if self.window.pop(item.place, None) is None]
        self.removal.add([item.place for item in gone])
        ended = {item.place for item in gone}
        self.written(item for item in one.fed if item.place not in ended)
        rest = list(one.items)
        one.items.clear()
        self.disk.written += len(rest)
        self.handoff.leave(len(rest), sum(map(memory_of, rest)))
        if not self._unfed:
            self.ahead.after = max(self.ahead.after, self._fed_place)
        self.ahead.dry = False
        self._unfed += len(rest)
        if rest:
            self._disk_place = rest[-1].place

    async def keep(self, deadline: float) -> None:
        """Write whatever is in memory, until ``deadline``; and that streams have ended."""
        loop = asyncio.get_running_loop()
        while loop.time() < deadline and self._spill(force=True) is not None:
            await asyncio.sleep(_A_MOMENT)
        await self.write_window(deadline)
        if self.disk.written:
            await self._write_states(deadline)

    async def _write_states(self, deadline: float) -> None:
        """Tell the next start where all streams stand, those too that have no row."""
        states = {
            topic: StreamState(self._instance, state, ended=topic in self._ended).to_bytes()
            for topic in self._stamper.topics
            if (state := self._stamper.state(topic)) is not None
        }
        for some in in_parts(states):
            await self.append((), some, deadline)

    def rest(self) -> list[Placed]:
        """Return what was not fed and is not on disk."""
        found: list[Placed] = []
        while self._slices:
            found += self._slices.popleft().items
        while items := self._place(self.handoff.take(TOGETHER)):
            found += items
        return found
