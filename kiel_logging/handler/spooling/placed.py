"""An item that has its stamp, and a place in the order of a spool file."""

from collections.abc import Callable
from itertools import count
from typing import Any, Final, TypeAlias

from kiel_logging.handler.pipeline.awaited import Awaited
from kiel_logging.handler.pipeline.events import Event
from kiel_logging.handler.pipeline.item import ITEM_MEMORY_OVERHEAD, Item
from kiel_logging.handler.spool.payload import pack, unpack
from kiel_logging.handler.spool.row import Row
from kiel_logging.records import Record
from kiel_logging.wire.record_batch import record_size

_new: Final[Any] = tuple.__new__
_NO_EVENT: Final = object()


class PlacedItem(Item):
    """It must not be stamped again.

    ``on_disk`` is whether a row stands for it. ``home`` is whose row that is.
    """

    place: int
    on_disk: bool
    home: Any


class PlacedEvent(Event):
    """The same of the handler's own."""

    place: int
    on_disk: bool
    home: Any


Placed: TypeAlias = PlacedItem | PlacedEvent


def placed(item: Item, place: int, home: Any, record: Record | None = None) -> Placed:
    """Return ``item``, which was stamped, as one that has its place and is in memory only.

    ``record`` is its stamped one, where ``item`` does not have it yet.
    """
    parts: tuple[Any, ...] = item
    if record is not None:
        parts = (*item[:2], record, record_size(record), *item[4:])
    return _made(parts, item.loss if isinstance(item, Event) else _NO_EVENT, place, home)


def _made(parts: tuple[Any, ...], loss: Any, place: int, home: Any) -> Placed:
    made: Placed
    if loss is _NO_EVENT:
        made = _new(PlacedItem, parts)
    else:
        made = event = _new(PlacedEvent, parts)
        event.loss = loss
    made.place, made.on_disk, made.home = place, False, home
    return made


class Tickets:
    """Which rows of this process somebody awaits: by a number that goes to disk and comes back."""

    def __init__(self) -> None:
        self._awaited: dict[int, Awaited] = {}
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._awaited)

    def give(self, awaited: Awaited | None) -> int:
        """Return a ticket; 0 where nobody waits."""
        if awaited is None:
            return 0
        number = next(self._numbers)
        self._awaited[number] = awaited
        return number

    def take(self, number: int) -> Awaited | None:
        """Return who waits, who has no ticket any more."""
        return self._awaited.pop(number, None) if number else None


def row_of(item: Placed, ticket: int = 0) -> Row:
    """Return the row that stands for ``item``."""
    own = isinstance(item, Event)
    return Row(
        item.place, item.topic, pack(item.record, item.key, item.level, own=own, ticket=ticket)
    )


def item_of(row: Row, home: Any, awaited_of: Callable[[int], Awaited | None]) -> Placed:
    """Return what a row stands for.

    Raises:
        SpoolDamaged: its payload is not what was written.
    """
    record, key, level, own, ticket = unpack(row.payload)
    awaited = awaited_of(ticket)
    size = record_size(record)
    memory = size + ITEM_MEMORY_OVERHEAD + (0 if awaited is None else awaited.memory)
    parts = (row.topic, key, record, size, memory, level, None, awaited)
    made = _made(parts, None if own else _NO_EVENT, row.place, home)
    made.on_disk = True
    return made


def nobody(_ticket: int) -> None:
    """Whoever waited for it was in a process that is no more."""
    return
