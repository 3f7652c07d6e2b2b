"""What this process has on disk, whichever way it came there: who counts it, and removes it.

The law: an item of ours is on disk (``on_disk``), or in the window while it is with the feed, or
waits in memory; when its end is known its row is removed and counted no more.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from math import inf
from operator import attrgetter
from typing import Any, Final, Protocol

from kiel_logging.errors import SpoolError
from kiel_logging.handler.pipeline.events import Word
from kiel_logging.handler.pipeline.handoff import Handoff
from kiel_logging.handler.spool.file import SpoolFile
from kiel_logging.handler.spool.worker import Worker
from kiel_logging.handler.spooling.placed import Placed, Tickets, row_of
from kiel_logging.handler.spooling.reading import AGAIN, Ahead, Complain, Removal

TOGETHER: Final = 1024
"""Records that are written in one transaction."""

FEW: Final = 16
"""As many are not tried in parts when the disk does not take them."""


memory_of: Final = attrgetter("memory")
place_of: Final = attrgetter("place")


class Own(Protocol):
    """What the loop thread wants of the file of its own process, and of the hand-off behind it."""

    def take(self, most: int) -> list[Placed]:
        """Return up to ``most`` stamped items that come next."""

    def tend(self, *, quiet: bool) -> None:
        """See to what can't be fed; ``quiet``: the brokers have taken nothing for a while."""

    def hurry(self) -> None:
        """Don't wait for more."""

    def secure_window(self) -> None:
        """Begin to write what is with the feed: it may be there for long."""

    def say(self, word_of: Callable[[int], Word], topic: str) -> None:
        """Put what the handler says behind all that has a number."""

    def sequences(self) -> Mapping[str, int]:
        """Return the last number of each stream."""

    def mark(self) -> Any:
        """Return a mark behind all that there is now."""

    def passed(self, mark: Any) -> bool:
        """Whether all that was there at ``mark`` is with the feed."""

    removal: Removal
    window: dict[int, Placed]
    """What is with the feed, and not on disk, by its place."""

    @property
    def waiting(self) -> bool:
        """Whether anything is not with the feed yet."""

    def let_go(self) -> AbstractContextManager[None]:
        """Let others do for a block what a frame beneath, of this thread, keeps them from."""

    async def keep(self, deadline: float) -> None:
        """Write whatever is in memory, until ``deadline``."""

    def delivered(self, items: Sequence[Placed]) -> None:
        """The end of these is known."""

    def leave(self, items: Sequence[Placed]) -> list[Placed]:
        """Nobody sends these any more; return those that are not on disk."""

    def rest(self) -> list[Placed]:
        """As ``leave()``, of what was not fed."""


class OwnRows:
    """What both ways have in common.

    Args:
        handoff: where records are counted.
        file: this process's own.
        worker: writes and reads.
        tickets: who awaits what.
        changed: called when there may be more to feed.
        complain: takes what is wrong.
    """

    def __init__(
        self,
        handoff: Handoff,
        file: SpoolFile,
        worker: Worker,
        tickets: Tickets,
        *,
        changed: Callable[[], None],
        complain: Complain,
    ) -> None:
        self.handoff = handoff
        self.disk = handoff.disk
        self.file = file
        self.worker = worker
        self.tickets = tickets
        self.changed = changed
        self.complain = complain
        self.window: dict[int, Placed] = {}
        self._securing = False
        self._secure_again_at = 0.0
        self._secure_up_to = 0
        self.ahead = Ahead(
            file, self, worker, awaited_of=tickets.take, changed=changed, complain=complain
        )
        self.removal = Removal(file, worker, changed=changed, complain=complain)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.disk} window={len(self.window)}>"

    def hurry(self) -> None:
        """Nothing waits for more."""

    def let_go(self) -> AbstractContextManager[None]:
        """Nobody who logs keeps others from anything."""
        return contextlib.nullcontext()

    def from_disk(self, items: Sequence[Placed]) -> None:
        """Count what was read and is fed."""
        self.handoff.come_back(len(items), sum(map(memory_of, items)))
        self.disk.copies += len(items)

    def fed(self, items: Iterable[Placed]) -> None:
        """Remember what is fed and not on disk."""
        for item in items:
            if not item.on_disk:
                self.window[item.place] = item

    def written(self, items: Iterable[Placed]) -> None:
        """Count what is in memory and was written."""
        for item in items:
            if not item.on_disk:
                item.on_disk = True
                self.window.pop(item.place, None)
                self.disk.written += 1
                self.disk.copies += 1

    def delivered(self, items: Sequence[Placed]) -> None:
        """The end of these is known: their rows may go."""
        places = [item.place for item in items if item.on_disk]
        if self.window:
            for item in items:
                self.window.pop(item.place, None)
        self.disk.removed += len(places)
        self.disk.copies -= len(places)
        self.removal.add(places)

    def leave(self, items: Sequence[Placed]) -> list[Placed]:
        """Nobody sends these any more; return those that are not on disk."""
        kept = [item for item in items if item.on_disk]
        self.disk.copies -= len(kept)
        self.handoff.leave(len(kept), sum(map(memory_of, kept)))
        return [item for item in items if not item.on_disk]

    def states_of(self, items: Sequence[Placed]) -> Mapping[str, bytes]:
        """Return the states of streams that are to be written with ``items``."""
        raise NotImplementedError

    def _now_on_disk(self, items: Sequence[Placed]) -> None:
        """What was with the feed was written; some of it may have arrived meanwhile."""
        gone = [item.place for item in items if item.place not in self.window]
        self.written(item for item in items if item.place in self.window)
        self.removal.add(gone)

    @property
    def _may_secure(self) -> bool:
        """Whether nothing that is with the feed is being written already."""
        return not self._securing and time.monotonic() >= self._secure_again_at

    def secure_window(self) -> None:
        """Begin to write what is with the feed: it may be there for long."""
        self._secure_up_to = max(self.window, default=0)
        self._secure()

    def _secure(self) -> None:
        if not self._may_secure or min(self.window, default=inf) > self._secure_up_to:
            return
        self._securing = True
        items, file = list(islice(self.window.values(), TOGETHER)), self.file
        states = self.states_of(items)

        def work() -> None:
            file.append(list(map(row_of, items)), states)

        def written(_result: None, error: Exception | None) -> None:
            self._securing = False
            if error is None:
                self._now_on_disk(items)
                self._secure()
            else:
                self._secure_again_at = time.monotonic() + AGAIN
                self.complain(error)

        self.worker.submit(work, written)

    async def write_window(self, deadline: float) -> bool:
        """Write what is with the feed and not on disk; return whether that went well."""
        if not await self._until_written(deadline):
            return False
        items = sorted(self.window.values(), key=place_of)
        start, most = 0, TOGETHER
        while start < len(items):
            some = items[start : start + most]
            states = self.states_of(some)
            if await self.append(some, states, deadline, quietly=most > FEW):
                self._now_on_disk(some)
                start += len(some)
            elif most > FEW and asyncio.get_running_loop().time() < deadline:
                most //= 2  # perhaps a part of it fits
            else:
                return False
        return True

    async def _until_written(self, deadline: float) -> bool:
        """Wait for what was begun."""
        done = ask(self.worker, lambda: None)
        await asyncio.wait([done], timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        return done.done()

    async def append(
        self,
        items: Sequence[Placed],
        states: Mapping[str, bytes],
        deadline: float,
        *,
        quietly: bool = False,
    ) -> bool:
        """Write ``items`` in time; return whether it is done. ``quietly`` if it will be tried in
        other ways."""
        file = self.file

        def work() -> None:
            file.append([row_of(item) for item in items], states)

        writing = ask(self.worker, work)
        left = deadline - asyncio.get_running_loop().time()
        await asyncio.wait([writing], timeout=max(0.0, left))
        if not writing.done():
            return False
        try:
            writing.result()
        except SpoolError as error:
            if not quietly:
                self.complain(error)
            return False
        return True


def ask(worker: Worker, job: Callable[[], Any]) -> "asyncio.Future[Any]":
    """Return the future of a job's result."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
            future.exception()  # whoever waited may have gone

    with contextlib.suppress(RuntimeError):
        worker.submit(job, settle)
    return future
