"""``spool="always"``, on the loop thread: rows, and what could not be written, by their places.

A place may stay empty for a moment, or for ever: a signal handler's record on top of a commit is on
disk before the one beneath it, and a commit that an exception tore away may never be written. So
what is missing is waited for while somebody writes it, then looked for, and at last given up. What
turns up later is sent all the same.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, Final

from kiel_logging.errors import SpoolError
from kiel_logging.handler.pipeline.events import Word
from kiel_logging.handler.spooling.committing import Committing
from kiel_logging.handler.spooling.own_rows import TOGETHER, OwnRows
from kiel_logging.handler.spooling.placed import Placed, item_of
from kiel_logging.handler.spooling.places import Places
from kiel_logging.handler.spooling.reading import BYTES, ROWS

_PATIENCE: Final = 0.1
"""Seconds that what is nowhere is waited for."""

_LONG: Final = 60.0
"""Seconds after which whoever seems to write something is taken for gone: an exception may have
torn away what should have told."""

_FEW: Final = 256
"""Records from the hand-off that are sorted in among the rows at a time."""


class _Mark:
    """Behind what is queued in the hand-off, what has its place, and what is about to be said."""

    __slots__ = ("place", "queued", "said")

    def __init__(self, queued: int, place: int, said: int) -> None:
        self.queued = queued
        self.place = place
        self.said: int | None = said


class Merging(OwnRows):
    """This process's own file, which those who log write to, and the hand-off beside it.

    ``committing`` is to be set before anything is taken. ``linger`` is in seconds: rows are read
    no more often, but for ``hurry()``.
    """

    committing: Committing

    def __init__(self, *common: Any, linger: float, **more: Any) -> None:
        super().__init__(*common, **more)
        self._linger = linger
        self._hurried = False
        self._read_at = 0.0
        self._later: asyncio.TimerHandle | None = None
        self._memory: list[tuple[int, Placed]] = []
        self._places: Final = Places()
        self._more = False
        self._searching = False
        self._patient_until: float | None = None
        self._again: asyncio.TimerHandle | None = None
        self._stands = 0, time.monotonic()
        self._to_say = self._said = self._said_place = 0

    @property
    def waiting(self) -> bool:
        """Whether anything is not with the feed yet."""
        return (
            self._places.fed < self.committing.last_place
            or bool(self._memory)
            or len(self.handoff) > 0
            or self._said < self._to_say
        )

    # To the feed.

    def take(self, most: int) -> list[Placed]:
        """Return up to ``most`` stamped items that come next."""
        self._gather()
        items: list[Placed] = []
        rows: list[Placed] = []
        while len(items) < most and (source := self._next_source()) is not None:
            item = heappop(self._memory)[1] if source is self._memory else self._pop_row(rows)
            items.append(item)
            if self._places.feed(item.place):
                self.handoff.lost_on_disk(-1)
            self._patient_until = None
        self.from_disk(rows)
        self.fed(items)
        return items

    def _pop_row(self, rows: list[Placed]) -> Placed:
        rows.append(self.ahead.ready.popleft())
        return rows[-1]

    def _gather(self) -> None:
        """Learn what is new."""
        committing, ahead = self.committing, self.ahead
        while committing.dead:
            self._places.stays_empty(committing.dead.popleft())
        if len(self._memory) < _FEW:
            self._sort_in(_FEW)
        if (committing.told or self._more or not ahead.dry) and ahead.idle and self._may_read():
            # Before it reads: what it may not see any more is told of again. And not before it is
            # about to: each record that is told of costs whoever logs it a system call.
            committing.told = self._more = self._hurried = False
            ahead.wish()
            self._read_at = time.monotonic() + self._linger

    def _may_read(self) -> bool:
        """Whether enough time has passed since the last read: rows that come one by one are not
        worth one each, which would keep those who commit from the GIL."""
        delay = self._read_at - time.monotonic()
        if self._hurried or delay <= 0 or self.ahead.more:
            return True
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(delay, self._let_read)
        return False

    def _let_read(self) -> None:
        self._later = None
        self.changed()

    def hurry(self) -> None:
        """Somebody waits for what is on disk, or there is a batch of it."""
        self._hurried = True

    @contextlib.contextmanager
    def let_go(self) -> Iterator[None]:
        """Let others do for a block what a frame beneath, of this thread, keeps them from."""
        with self.committing.let_go(), self.file.let_go():
            yield

    def _sort_in(self, most: int) -> int:
        items = self.handoff.take(most)
        for item in items:
            assert isinstance(item, Placed), "all that comes here was given a place"
            heappush(self._memory, (item.place, item))
        return len(items)

    def _next_source(self) -> Any:
        """Return which of the two has what comes next; None while that is not there."""
        ahead = self.ahead
        place: int = self.committing.last_place + 1
        source: Any = None
        if ahead.ready:
            place, source = ahead.ready[0].place, ahead.ready
        if self._memory and self._memory[0][0] < place:
            place, source = self._memory[0][0], self._memory
        if place <= self._places.next:
            return source
        if place <= ahead.after + 1 or self._is_dry():
            self._search(place)
        return None

    def _is_dry(self) -> bool:
        news = self.committing.told or self._more
        return self.ahead.dry and not news and not self.ahead.reading

    def _search(self, place: int) -> None:
        """Something is missing in front of ``place``, and will not be read any more."""
        now = time.monotonic()
        if self._searching or now < (self._patient_until or 0.0):
            return
        if self.committing.is_writing(self._places.fed, place) and not self._is_long(now):
            self._search_again()
            return
        while self._sort_in(TOGETHER):
            pass
        self._searching = True
        known = {item.place for item in self.ahead.ready} | {each for each, _ in self._memory}
        after, last = self._places.fed, self.ahead.after

        def look() -> list[Placed]:
            rows = self.file.read(after, ROWS, BYTES)
            late = [row for row in rows if row.place <= last and row.place not in known]
            return [item_of(row, self, self.tickets.take) for row in late]

        def looked(items: list[Placed] | None, error: Exception | None) -> None:
            self._searching = False
            if error is not None:
                self.complain(error)
            self._found(items or [], place)
            self.changed()

        self.worker.submit(look, looked)

    def _is_long(self, now: float) -> bool:
        if self._stands[0] != self._places.fed:
            self._stands = self._places.fed, now
        return now - self._stands[1] >= _LONG

    def _search_again(self) -> None:
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(_PATIENCE * 1.1, self._let_search)

    def _let_search(self) -> None:
        self._again = None
        self.changed()

    def _found(self, items: Sequence[Placed], place: int) -> None:
        """Go on with what came late; without what is nowhere, twice in a row."""
        for item in items:
            self.from_disk([item])
            heappush(self._memory, (item.place, item))
        if items:
            self._patient_until = None
        elif self._patient_until is None:
            self._patient_until = time.monotonic() + _PATIENCE
            self._more = True  # perhaps nobody told of it
            self._search_again()
        else:
            self._patient_until = None
            if self._memory:
                place = min(place, self._memory[0][0])
            self._give_up(self._places.skip_to(place))

    def _give_up(self, records: int) -> None:
        if records:
            self.handoff.lost_on_disk(records)
            self.complain(
                SpoolError(
                    f"{records} log records have their numbers and are neither on disk nor in "
                    "memory: their calls were cut short, or the file was damaged; verify misses "
                    "them"
                )
            )

    # What the handler says, which is written as all else is.

    def say(self, word_of: Callable[[int], Word], topic: str) -> None:
        """Put what the handler says behind all that has a number."""
        self._to_say += 1
        committing = self.committing

        def said(place: int | None, error: Exception | None) -> None:
            self._said += 1
            self._said_place = max(self._said_place, place or 0)
            if error is not None:
                self.complain(error)
            self.changed()

        def work() -> int:
            committing.say(word_of, topic)
            return committing.last_place

        self.worker.submit(work, said)

    def sequences(self) -> Mapping[str, int]:
        """Return the last number of each stream."""
        return {topic: state.sequence for topic, state in self.committing.states().items()}

    def mark(self) -> _Mark:
        """Return a mark behind all that there is now."""
        return _Mark(self.handoff.mark(), self.committing.last_place, self._to_say)

    def passed(self, mark: _Mark) -> bool:
        """Whether all that was there at ``mark`` is with the feed."""
        if mark.said is not None and self._said >= mark.said:
            # Once: what is said later is not this mark's.
            mark.place, mark.said = max(mark.place, self._said_place), None
        return (
            mark.said is None
            and self.handoff.passed(mark.queued)
            and self._places.fed >= mark.place
            and not (self._memory and self._memory[0][0] <= mark.place)
        )

    # To disk.

    def tend(self, *, quiet: bool) -> None:
        """What could not be written waits in memory; what is long with the feed is tried again."""
        if quiet:
            self.secure_window()

    def states_of(self, _items: Sequence[Placed]) -> Mapping[str, bytes]:
        """They were written with others, or will be."""
        return {}

    async def keep(self, deadline: float) -> None:
        """Write whatever is in memory, until ``deadline``."""
        while self._sort_in(TOGETHER):
            pass
        items = [item for _, item in sorted(self._memory) if not item.on_disk]
        for start in range(0, len(items), TOGETHER):
            some = items[start : start + TOGETHER]
            if not await self.append(some, {}, deadline):
                return
            left = {place for place, _ in self._memory} | self.window.keys()
            self.written(item for item in some if item.place in left)
            self.removal.add([item.place for item in some if item.place not in left])
        await self.write_window(deadline)

    def rest(self) -> list[Placed]:
        """Return what was not fed and is not on disk."""
        while self._sort_in(TOGETHER):
            pass
        items, self._memory = [item for _, item in sorted(self._memory)], []
        return self.leave(items)
