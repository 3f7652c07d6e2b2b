"""From records to what is shown: filters, losses, repeats and gaps. Pure."""

from collections.abc import Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from kiel_logging.tail.entries import Arrival, Entry, entries
from kiel_logging.tail.filters import Filters
from kiel_logging.tail.gaps import Gap, Gaps
from kiel_logging.tail.lines import LOSSES

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Writer(Protocol[T_co]):
    """Makes what is shown, such as the texts of Lines and Documents."""

    def record(self, arrival: Arrival, entry: Entry, *, is_repeat: bool) -> T_co:
        """Return what is shown of a record."""

    def gap(self, gap: Gap) -> T_co:
        """Return what is shown of a gap."""


class Shown(NamedTuple, Generic[T]):
    """Something to show; ``is_record`` unless it is a note between records."""

    content: T
    is_record: bool = True


class Screen(Generic[T]):
    """Takes records in the order in which they are shown, and knows which of them are.

    Filters choose among records. Gaps, and events that report losses, are shown in any case.
    """

    def __init__(self, filters: Filters, writer: Writer[T]) -> None:
        self._filters = filters
        self._writer = writer
        self._gaps = Gaps()

    def begin(self, topic: str, horizon: int) -> None:
        """From this time on, in milliseconds, all partitions of the topic are read."""
        self._gaps.begin(topic, horizon)

    def take(self, arrival: Arrival, now: float) -> Iterator[Shown[T]]:
        """Take a record; yield what is to be shown."""
        mark, is_repeat = arrival.mark, False
        if mark is not None:
            is_repeat = self._gaps.take(arrival.at.topic, mark, arrival.timestamp, now)
        is_loss = mark is not None and mark.event in LOSSES
        for entry in entries(arrival):
            if is_loss or self._filters.pass_on(entry, arrival):
                yield Shown(self._writer.record(arrival, entry, is_repeat=is_repeat))

    def due(self, now: float) -> Iterator[Shown[T]]:
        """Yield the gaps that are certain by now."""
        for gap in self._gaps.due(now):
            yield Shown(self._writer.gap(gap), is_record=False)
