"""The disk between the hand-off and the feed, on the loop thread: which source comes next.

Sources, in this order: what processes that are no more have left, oldest first; this process's own
rows; the hand-off. While one has anything that is not with the feed, those behind it wait, so that
the order of each key holds. What is of a topic that the brokers refuse steps aside (``held.py``).
The disk itself is the worker's.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from kiel_logging.errors import ProducerClosed
from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.pipeline.handoff import Handoff
from kiel_logging.handler.pipeline.item import Item
from kiel_logging.handler.spool.choice import SpoolChoice
from kiel_logging.handler.spool.directory import SpoolDirectory
from kiel_logging.handler.spool.faults import NoRoom
from kiel_logging.handler.spool.file import SpoolFile
from kiel_logging.handler.spool.worker import Worker
from kiel_logging.handler.spooling.adopted import Adopted, Stream
from kiel_logging.handler.spooling.adopting import Adopting
from kiel_logging.handler.spooling.held import PART, Held, is_of_the_record
from kiel_logging.handler.spooling.own_rows import Own, ask
from kiel_logging.handler.spooling.placed import Placed
from kiel_logging.handler.spooling.tending import Tending

KEEPING: Final = 5.0
"""Seconds that writing what is left may take at the end, beyond what delivering it may."""


Withdraw = Callable[[str, Exception], Sequence[Any]]


class Spool:
    """What a pipeline with a spool has beside its hand-off.

    Args:
        choice: where, and how.
        handoff: where records are counted.
        internal_log: where it is told what is wrong.
        on_error: called with it, and with 0 records, for none is lost by it.
        max_records: most records that the handler buffers.
        max_bytes: most memory that it takes.

    Attributes:
        file: this process's own.
        worker: does all work on files.
        own: this process's own rows; to be set.
        changed: called when there may be more to feed; to be set.
        held: what was refused, and is in front of all else of its topics.
        recovered: called for each stream that is adopted; to be set.
    """

    own: Own
    changed: Callable[[], None]
    recovered: Callable[[str, str, int, int], None]

    def __init__(
        self,
        choice: SpoolChoice,
        handoff: Handoff,
        internal_log: InternalLog,
        on_error: Callable[[Exception, int], object],
        *,
        max_records: int,
        max_bytes: int,
    ) -> None:
        self.path = choice.path
        self._handoff = handoff
        self._internal_log = internal_log
        self._on_error = on_error
        self.file = SpoolFile(self._directory(choice))
        self._others = self._directory(choice)
        self.worker = Worker(self._call)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._adopting: Final = Adopting(
            self._others,
            self.worker,
            recovered=self._on_recovery,
            changed=self._on_change,
            complain=self.complain,
        )
        self._tending: Final = Tending(lambda: self.own)
        self.held: Final = Held(
            self._rank,
            self._on_change,
            most_records=max(1, max_records // PART),
            most_bytes=max(1, max_bytes // PART),
        )

    def _directory(self, choice: SpoolChoice) -> SpoolDirectory:
        return SpoolDirectory(
            choice.path,
            max_bytes=choice.max_bytes,
            synchronous=choice.synchronous,
            report=self._report,
        )

    def __repr__(self) -> str:
        return f"<Spool {self.path} {self._handoff.disk}>"

    def _report(self, message: str) -> None:
        self._internal_log.say(logging.ERROR, message)

    def complain(self, error: Exception, about: str = "spool") -> None:
        """Tell what is wrong, ``about`` one thing at most once in a while; on any thread."""
        if self._internal_log.may_complain(about):
            self._report(str(error))
            self._on_error(error, 0)

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function, *arguments)

    # Life.

    def check(self) -> None:
        """See whether there can be a spool.

        Raises:
            SpoolError: there can't, ever.
        """
        try:
            self._others.check()
        except NoRoom as error:  # there may be another time, and what is there can be sent
            self.complain(error)

    @property
    def has_files(self) -> bool:
        """Whether anything is there, perhaps of the living."""
        return self._others.has_files

    def start(self) -> None:
        """Look for what was left; on the loop, which is the same each time."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._adopting.look()

    def _on_recovery(self, stream: Stream) -> None:
        state = stream.state
        self.recovered(stream.topic, state.instance, stream.records, state.sequence)

    def _on_change(self) -> None:
        self.changed()

    # To the feed.

    @property
    def waiting(self) -> bool:
        """Whether anything is not with the feed yet."""
        return self._adopting.waiting or bool(self.held) or self.own.waiting

    def take(self, most: int) -> list[Placed]:
        """Return up to ``most`` stamped items that come next."""
        items = self._take(most) if most > 0 else []
        self._tending.see()  # after a part as well: nobody may take any more for long
        return items

    def _take(self, most: int) -> list[Placed]:
        items = self.held.take(most)
        most = min(most - len(items), self.held.room)
        if most > 0:
            found = self._take_next(most)
            passing = self.held.let_pass(found)
            if len(passing) < len(found):
                self.changed()  # nobody else would look at what comes behind those that wait
            items += passing
        return items

    def _take_next(self, most: int) -> list[Placed]:
        items = self._adopting.take(most)
        return self.own.take(most) if items is None else items

    # What became of them.

    def delivered(self, items: Sequence[Item]) -> list[Placed]:
        """Let go of what the brokers have; return which of them are this process's own."""
        if items:
            self.held.went_well(items[0].topic)  # they were one batch
        own, others = self._parted(items)
        self._let_go(own, others)
        self._tending.went_well()
        self._handoff.disk.recovered += len(others)
        return own

    def holds(self, items: Sequence[Any], error: Exception, withdraw: Withdraw) -> bool:
        """Keep what is refused for another reason than itself, and feed it again later.

        What the feed has behind it is withdrawn: it would overtake, were it not refused.

        Returns:
            Whether it is kept.
        """
        if isinstance(error, ProducerClosed) or is_of_the_record(error):
            return False
        topics = {item.topic for item in items}
        self.held.hold(
            [*items, *(one for topic in topics for one in withdraw(topic, error))], error
        )
        self.own.secure_window()
        for topic in topics:
            self.complain(error, f"topic {topic!r} waits")
        return True

    def _rank(self, home: object) -> int:
        found = self._adopting.files
        return found.index(home) if isinstance(home, Adopted) and home in found else len(found)

    def failed(self, items: Sequence[Item], error: Exception) -> list[Placed]:
        """Let go of what is given up; return which of them are this process's own, and lost."""
        own, others = self._parted(items)
        if isinstance(error, ProducerClosed):  # the next start sends what is on disk
            return self.own.leave(own)
        for topic in {item.topic for item in items}:
            self.held.ended(topic)
        self._let_go(own, others)
        if others:
            self._handoff.failed_for_others(len(others))
            self._report(f"{len(others)} records of processes that died were refused: {error}")
            self._on_error(error, len(others))
        return own

    def _let_go(self, own: Sequence[Placed], others: Sequence[Placed]) -> None:
        self.own.delivered(own)
        for home, items in groupby(others, attrgetter("home")):
            home.delivered(list(items))

    def _parted(self, items: Sequence[Item]) -> tuple[list[Placed], list[Placed]]:
        own: list[Placed] = []
        others: list[Placed] = []
        for item in items:
            assert isinstance(item, Placed), "all that is fed was given a place"
            (own if item.home is self.own else others).append(item)
        return own, others

    # The end.

    async def keep(self) -> None:
        """Write whatever of this process's is in memory, and remove what was delivered."""
        if self._loop is not None:
            deadline = self._loop.time() + KEEPING
            await self.own.keep(deadline)
            await self._drain(deadline)

    async def _drain(self, deadline: float) -> None:
        for removal in (self.own.removal, *(one.removal for one in self._adopting.files)):
            await removal.drain(deadline)

    def rest(self) -> list[Placed]:
        """Return what is not with the feed: of this process's, and what is not on disk of it."""
        held, _ = self._parted(self.held.rest())
        return [*held, *self.own.rest()]

    async def close(self) -> None:
        """Release all files, within a bounded time."""
        self.held.close()
        self._tending.close()
        self._adopting.close()
        if self._loop is None:
            return
        await self._drain(self._loop.time() + KEEPING)
        for file in (self.file, *(one.file for one in self._adopting.files)):
            closing = ask(self.worker, file.close)
            await asyncio.wait([closing], timeout=KEEPING)
            if closing.done() and isinstance(error := closing.exception(), Exception):
                self.complain(error)
        self.worker.close(0.0)

    # At a fork.

    def pause(self, timeout: float) -> Callable[[], None]:
        """Let nobody be in SQLite until what is returned is called, by this thread.

        Raises:
            TimeoutError: somebody works all of ``timeout`` seconds.
        """
        with contextlib.ExitStack() as stack:
            self.worker.pause(timeout)
            stack.callback(self.worker.go_on)
            self.file.pause(timeout)
            stack.callback(self.file.go_on)
            return stack.pop_all().close

    def abandon(self) -> None:
        """Leave it all to the parent, of which this process is a forked child."""
        self.file.abandon()
        self._others.abandon()
