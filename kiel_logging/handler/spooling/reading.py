"""Rows on their way from disk, and off it: in batches, by the worker's thread.

The law: everything here runs on the loop thread but ``_load`` and the jobs of SpoolFile.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from kiel_logging.errors import SpoolDamaged
from kiel_logging.handler.pipeline.awaited import Awaited
from kiel_logging.handler.spool.file import SpoolFile
from kiel_logging.handler.spool.worker import Worker
from kiel_logging.handler.spooling.placed import Placed, item_of

ROWS: Final = 512
"""Rows that are read at once."""

BYTES: Final = 1_000_000
"""Bytes of payload that they take at most."""

AGAIN: Final = 1.0
"""Seconds until something that failed is tried again."""

_GATHERING: Final = 0.05
"""Seconds in which acknowledgements are gathered before their rows are removed."""

_MANY: Final = 2048
_A_MOMENT: Final = 0.002

Complain = Callable[[Exception], None]


class _Read(NamedTuple):
    items: list[Placed]
    last: int
    lost: int
    damage: SpoolDamaged | None
    more: bool


class Ahead:
    """Reads the rows of a file in the order of their places, ahead of who takes them.

    Args:
        file: whose rows.
        home: what the items say they are from.
        awaited_of: who awaits the row that has a ticket.
        changed: called when there is more, or surely nothing.
        complain: takes what is wrong.

    Attributes:
        ready: what was read and not taken.
        after: the last place that was read.
        dry: whether there was nothing behind it the last time.
        more: whether there was probably more than was read the last time.
        lost: rows that were set aside, since somebody last looked.
    """

    def __init__(
        self,
        file: SpoolFile,
        home: object,
        worker: Worker,
        *,
        awaited_of: Callable[[int], Awaited | None],
        changed: Callable[[], None],
        complain: Complain,
    ) -> None:
        self._file = file
        self._home = home
        self._worker = worker
        self._awaited_of = awaited_of
        self._changed = changed
        self._complain = complain
        self._reading = False
        self.ready: deque[Placed] = deque()
        self.after = 0
        self.dry = False
        self.more = False
        self.lost = 0

    @property
    def reading(self) -> bool:
        """Whether a read is under way."""
        return self._reading

    @property
    def idle(self) -> bool:
        """Whether a wish would be of any use."""
        return not self._reading and len(self.ready) < ROWS

    def wish(self) -> None:
        """See to it that something is ready soon, if there is anything."""
        if self.idle:
            self._reading, self.dry = True, False
            after = self.after
            self._worker.submit(lambda: self._load(after), self._loaded)

    def _load(self, after: int) -> _Read:
        """Read and unpack, on the worker's thread."""
        items: list[Placed] = []
        lost, damage = 0, None
        rows = self._file.read(after, ROWS, BYTES)
        for row in rows:
            try:
                items.append(item_of(row, self._home, self._awaited_of))
            except SpoolDamaged as error:
                aside = self._file.set_aside(row)
                lost += 1
                damage = SpoolDamaged(f"{error}; it is in {aside}, as others may be")
        more = len(rows) == ROWS or sum(len(row.payload) for row in rows) * 2 > BYTES
        return _Read(items, rows[-1].place if rows else after, lost, damage, more)

    def _loaded(self, found: _Read | None, error: Exception | None) -> None:
        if found is None:
            assert error is not None
            self._complain(error)
            asyncio.get_running_loop().call_later(AGAIN, self._let_read)
            return
        if found.damage is not None:
            self._complain(found.damage)
        self._reading = False
        # What was fed from memory since the read began has moved `after` on.
        self.ready += [item for item in found.items if item.place > self.after]
        self.after = max(self.after, found.last)
        self.dry = not found.items and not found.lost
        self.more = found.more
        self.lost += found.lost
        self._changed()

    def _let_read(self) -> None:
        self._reading = False
        self._changed()

    def take(self, most: int) -> list[Placed]:
        """Return up to ``most`` of what is ready."""
        return [self.ready.popleft() for _ in range(min(most, len(self.ready)))]


class Removal:
    """Removes rows that are no longer needed.

    Args:
        file: whose rows.
        changed: called when some are gone.
        complain: takes what is wrong.
    """

    def __init__(
        self, file: SpoolFile, worker: Worker, *, changed: Callable[[], None], complain: Complain
    ) -> None:
        self._file = file
        self._worker = worker
        self._changed = changed
        self._complain = complain
        self._places: list[int] = []
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pending(self) -> bool:
        """Whether there is anything that is not removed yet."""
        return self._busy or bool(self._places)

    def add(self, places: Sequence[int]) -> None:
        """The rows at ``places`` may go."""
        if not places:
            return
        self._places += places
        if self._busy:
            return
        if len(self._places) >= _MANY:
            self.begin()
        elif self._timer is None:
            self._later(_GATHERING)

    def _later(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self.begin)

    def begin(self) -> None:
        """Remove them now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._busy or not self._places:
            return
        places, self._places, self._busy = self._places, [], True

        def removed(_result: None, error: Exception | None) -> None:
            self._busy = False
            if error is not None:
                self._complain(error)
                self._places += places
                self._later(AGAIN)
            elif self._places:
                self.begin()
            self._changed()

        self._worker.submit(lambda: self._file.remove(places), removed)

    async def drain(self, deadline: float) -> None:
        """Remove all, until ``deadline`` in the loop's time."""
        loop = asyncio.get_running_loop()
        while self.pending and loop.time() < deadline:
            self.begin()
            await asyncio.sleep(_A_MOMENT)
