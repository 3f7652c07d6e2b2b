"""``spool="always"``, on the threads that log: each record is on disk before its call returns.

The law: a record's stamp and its place are given together (``spool/committer.py``). One that can't
be written keeps both and goes to the hand-off, where the overflow policy decides. Nothing is raised
into the logging call.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Final

from kiel_logging.errors import SpoolError
from kiel_logging.handler.pipeline import events
from kiel_logging.handler.pipeline.events import Event, Events, Word
from kiel_logging.handler.pipeline.handoff import Handoff
from kiel_logging.handler.pipeline.item import Item
from kiel_logging.handler.shipping import as_shipping
from kiel_logging.handler.spool.breaker import Breaker
from kiel_logging.handler.spool.committer import Committer, Entry
from kiel_logging.handler.spool.file import SpoolFile
from kiel_logging.handler.spooling.placed import Placed, Tickets, placed, row_of
from kiel_logging.handler.spooling.stream_state import StreamState, read_state
from kiel_logging.proof import headers
from kiel_logging.proof.stamper import Stamper

_Make = Callable[[int], Item | None]


_UNSERIALISABLE: Final = "unserialisable"

_A_MOMENT: Final = 0.001
"""Seconds in which whoever logs lets go of the hand-off's lock."""


class _NotBegunError(Exception):
    """A chain has no first word yet."""


class _NothingToSayError(Exception):
    """It was said by another thread, or can't be made."""


class _Stamping:
    """A record on its way: stamped, perhaps several times; the last result counts.

    Attributes:
        begins: whether it is the first word of its stream.
        entry: what became of it.
        thread: whose it is.
        item: what was made of it; on its way to disk only when ``entry`` has a place.
        counted: whether the hand-off has counted it as committed.
    """

    __slots__ = (
        "_ended",
        "_make",
        "_stamper",
        "begins",
        "counted",
        "entry",
        "item",
        "thread",
        "ticket",
    )

    def __init__(self, stamper: "_Streams", make: _Make, ticket: int = 0, *, ended: bool) -> None:
        self._stamper = stamper
        self._make = make
        self._ended = ended
        self.ticket = ticket
        self.begins = False
        self.counted = False
        self.entry = Entry()
        self.thread = get_ident()
        self.item: Placed | None = None

    def __call__(self, place: int, state: bytes | None) -> tuple[bytes, bytes]:
        self.item = None  # until it is sure that there is one
        item = self._make(0 if state is None else self._stamper.sequence(state))
        if item is None or (self.begins and state is not None):
            raise _NothingToSayError
        if state is None and not self.begins and self._stamper.needs_first_word(item.topic):
            raise _NotBegunError
        made, state = self._stamper.stamped(item, place, state, ended=self._ended)
        payload = row_of(made, self.ticket).payload
        self.item = made
        return payload, state

    def unstamped(self) -> Item | None:
        """Return what it was to be made of."""
        return self._make(0)


_Keep = Callable[[_Stamping], Sequence[Item]]
"""Takes what can't be written; returns what was dropped for it."""


class _Streams:
    """Numbers and seals, from the states that the committer keeps."""

    def __init__(self, stamper: Stamper, instance: str, home: object) -> None:
        self._stamper = stamper
        self._instance = instance
        self._home = home
        self.wordless: set[str] = set()

    def needs_first_word(self, topic: str) -> bool:
        """Whether a stream may not begin with a record of the program's."""
        return self._stamper.chained and topic not in self.wordless

    def sequence(self, state: bytes) -> int:
        """Return the last number that was given."""
        found = read_state(state)
        return 0 if found is None else found.sequence

    def stamped(
        self, item: Item, place: int, state: bytes | None, *, ended: bool
    ) -> tuple[Placed, bytes]:
        found = read_state(state)
        record, stands = self._stamper.stamped(item.record, None if found is None else found.state)
        made = placed(item, place, self._home, record)
        return made, StreamState(self._instance, stands, ended).to_bytes()


class Committing:
    """Takes items as Handoff.put does.

    Args:
        handoff: counts them, and takes those that can't be written.
        file: where they are written; made with the first.
        stamper: makes stamps; the states of the streams are the committer's.
        instance: what they say they are from.
        home: whose rows they are.
        events: makes what the handler says.
        name: returns the handler's name.
        tickets: who awaits what.
        wake: as the hand-off's.
        batch_size: how many records are worth waking the loop thread at once.
        complain: takes what is wrong.

    Attributes:
        dead: places of records that will never come.
        told: whether the loop thread was told of records since it last began to read.
    """

    def __init__(
        self,
        handoff: Handoff,
        file: SpoolFile,
        *,
        stamper: Stamper,
        instance: str,
        home: object,
        events: Events,
        name: Callable[[], str],
        tickets: Tickets,
        wake: Callable[[bool], None],
        batch_size: int,
        complain: Callable[[Exception], None],
    ) -> None:
        self._handoff = handoff
        self._streams: Final = _Streams(stamper, instance, home)
        self._events = events
        self._name = name
        self._tickets = tickets
        self._wake = wake
        self._batch_size = batch_size
        self._complain = complain
        self._committer = Committer(Breaker(file))
        self._writing: set[_Stamping] = set()
        self._since = 0
        self.dead: deque[int] = deque()
        self.told = False

    def __repr__(self) -> str:
        return f"<Committing {self._committer!r}>"

    @property
    def last_place(self) -> int:
        """The place that was given last."""
        return self._committer.last_place

    def states(self) -> dict[str, StreamState]:
        """Return where each stream stands."""
        found = {topic: read_state(data) for topic, data in self._committer.states().items()}
        return {topic: state for topic, state in found.items() if state is not None}

    def put(self, item: Item) -> Sequence[Item]:
        """Write ``item``; return what was dropped because it, or another, could not be."""
        if self._handoff.closed:
            return self._handoff.put(item)
        ticket = self._tickets.give(item.awaited)
        stamping = _Stamping(self._streams, lambda _sequence: item, ticket, ended=False)
        try:
            return self._commit(item.topic, stamping, self._keep_in_memory)
        except BaseException:  # a signal handler's, perhaps when it was written and not told of
            self.told = True
            self._wake(True)
            raise

    def _commit(self, topic: str, stamping: _Stamping, keep: _Keep) -> Sequence[Item]:
        self._writing.add(stamping)
        try:
            self._handoff.commit(stamping)
            return self._write(topic, stamping, keep)
        except BaseException:
            if not stamping.entry.has_place or self._is_kept(stamping):
                self._take_back(stamping)
            raise
        finally:
            self._writing.discard(stamping)

    def _is_kept(self, stamping: _Stamping) -> bool:
        """Whether it is in memory in place of the disk; if nowhere, it is missed in its place."""
        item = stamping.item
        return stamping.entry.error is not None and item is not None and self._handoff.holds(item)

    def _take_back(self, stamping: _Stamping) -> None:
        """It does not go to disk."""
        self._handoff.take_back(stamping)
        self._tickets.take(stamping.ticket)

    def is_writing(self, after: int, before: int) -> bool:
        """Whether somebody sees to a record with a place between the two just now."""
        entries = [one.entry for one in self._writing.copy()]
        return any(after < one.row.place < before and not one.on_disk for one in entries)

    @contextmanager
    def let_go(self) -> Iterator[None]:
        """Let others do for a block what a frame beneath keeps them from, which is written first.

        For whoever waits for them, perhaps in a signal handler on top of a commit.
        """
        this_thread = get_ident()
        beneath = [one for one in self._writing.copy() if one.thread == this_thread]
        for one in beneath:
            self._committer.settle(one.entry)
        # What has no place yet was not logged, should the process end now.
        uncounted = [one for one in beneath if one.counted and not one.entry.has_place]
        for one in uncounted:
            self._handoff.take_back(one)
        try:
            with self._committer.let_go():
                yield
        finally:
            for one in uncounted:
                self._handoff.commit(one)

    def _write(self, topic: str, stamping: _Stamping, keep: _Keep) -> Sequence[Item]:
        while not stamping.entry.on_disk:
            try:
                self._committer.commit(topic, stamping, stamping.entry)
            except _NotBegunError:
                self._begin(topic)
            except _NothingToSayError:
                self._take_back(stamping)
                return ()
            except SpoolError as error:  # all else is a signal handler's, and the program's
                as_shipping(self._complain, error)
                dropped = keep(stamping)
                self._take_back(stamping)
                return dropped
        self._tell()
        return ()

    def _keep_in_memory(self, stamping: _Stamping) -> Sequence[Item]:
        if stamping.item is None or not stamping.entry.has_place:
            return self._give_up(stamping)
        dropped = self._handoff.put(stamping.item)
        self.dead.extend(one.place for one in dropped if isinstance(one, Placed))
        if dropped:
            self._tell()  # of the places that stay empty
        return dropped

    def _give_up(self, stamping: _Stamping) -> Sequence[Item]:
        """What can't be stamped has no place either, and can't be sent."""
        item = stamping.unstamped()
        if item is None or stamping.begins:
            self._streams.wordless.update(() if item is None else (item.topic,))
            return ()
        self._handoff.drop(_UNSERIALISABLE, item.level)
        return (item,)

    def _begin(self, topic: str) -> None:
        """Say the first word of a stream, unless another thread did."""
        event = as_shipping(self._events.make, events.start(self._name()), topic)
        if event is None:
            self._streams.wordless.add(topic)
            return
        stamping = _Stamping(self._streams, lambda _sequence: event, ended=False)
        stamping.begins = True
        self._commit(topic, stamping, self._keep_in_memory)

    def say(self, word_of: Callable[[int], Word], topic: str) -> None:
        """Write what the handler has to say; for the worker. ``word_of`` gets the last number."""

        def make(sequence: int) -> Event | None:
            return self._events.make(word_of(sequence), topic)

        ended = word_of(0).name == headers.END
        self._commit(topic, _Stamping(self._streams, make, ended=ended), self._keep_own)

    def _keep_own(self, stamping: _Stamping) -> Sequence[Item]:
        """Queue what the handler says, closed or not."""
        if stamping.item is None or not stamping.entry.has_place:
            return ()
        while not self._handoff.put_own(stamping.item):
            time.sleep(_A_MOMENT)
        return ()

    def _tell(self) -> None:
        """Wake the loop thread, unless it was told since it last began to read."""
        self._since += 1  # in a hurry two threads may count one: then it is told a bit later
        if not self.told:
            self.told = True
            self._since = 1
            self._wake(self._batch_size == 1)
        elif self._since == self._batch_size:
            self._wake(True)
