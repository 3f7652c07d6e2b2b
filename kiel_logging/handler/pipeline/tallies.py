"""The open receipts of one handler, and which of them the running code is inside of.

The law: while none is open, nobody looks any further than whether there is one.
"""

import logging
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final

from kiel_logging.handler.pipeline.awaited import Awaited, Tally
from kiel_logging.handler.pipeline.slices import plain
from kiel_logging.record.item import Item
from kiel_logging.records import NO_OFFSET, TopicPartition

_here: Final[ContextVar[tuple[Tally, ...]]] = ContextVar("kiel_logging_receipts", default=())
"""Of all handlers. Tasks and ``asyncio.to_thread`` begin with a copy, so that they belong to the
block that they were started in; they may outlive it."""


class Tallies(dict[Tally, None]):
    """Those of one handler, until their blocks are left for good.

    A dict, for it is looked into whenever a record is logged: that it is empty is seen in C.
    """

    def begin(self, tally: Tally) -> None:
        """A block begins in this context."""
        self[tally] = None
        _here.set((*_here.get(), tally))

    def end(self, tally: Tally) -> None:
        """It is over; perhaps in another context, as of a fixture."""
        self.pop(tally, None)
        _here.set(tuple(other for other in _here.get() if other is not tally))

    def awaited(self, record: logging.LogRecord) -> Awaited | None:
        """Return what stands for ``record``; None when it was logged outside of all blocks."""
        here = [tally for tally in _here.get() if tally in self and tally.open]
        return Awaited(record, here) if here else None

    def delivered(self, items: Sequence[Item], place: TopicPartition, base_offset: int) -> None:
        """The brokers have a batch of these; its first is at ``base_offset``, if that is known."""
        for delta, item in enumerate(items):
            if item.awaited is not None:
                offset = NO_OFFSET if base_offset == NO_OFFSET else base_offset + delta
                item.awaited.delivered(place, offset)

    def lost(self, items: Sequence[Item], reason: str, error: Exception | None = None) -> None:
        """These won't be delivered."""
        for item in items:
            if item.awaited is not None:
                item.awaited.lost(reason, error)

    def start_over(self) -> None:
        """This is a forked child."""
        for tally in list(self):
            tally.start_over()


def with_awaited(item: Item, awaited: Awaited) -> Item:
    """Return ``item`` as one whose end is awaited."""
    (item,) = plain([item])
    return item._replace(awaited=awaited, memory=item.memory + awaited.memory)
