"""From records to the texts that are shown: filters, losses, repeats and gaps. Pure."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from kiel_logging.tail.entries import Arrival, Entry, entries
from kiel_logging.tail.filters import Filters
from kiel_logging.tail.gaps import Gap, Gaps
from kiel_logging.tail.lines import LOSSES


class Writer(Protocol):
    """Makes texts, as Lines and Documents do."""

    def record(self, arrival: Arrival, entry: Entry, *, is_repeat: bool) -> str:
        """Return the text of a record."""

    def gap(self, gap: Gap) -> str:
        """Return the text of a gap."""


class Shown(NamedTuple):
    """A text to show; ``is_record`` unless it is a note between records."""

    text: str
    is_record: bool = True


class Screen:
    """Takes records in the order in which they are shown, and knows which of them are.

    Filters choose among records. Gaps, and events that report losses, are shown in any case.
    """

    def __init__(self, filters: Filters, writer: Writer) -> None:
        self._filters = filters
        self._writer = writer
        self._gaps = Gaps()

    def begin(self, topic: str, horizon: int) -> None:
        """From this time on, in milliseconds, all partitions of the topic are read."""
        self._gaps.begin(topic, horizon)

    def take(self, arrival: Arrival, now: float) -> Iterator[Shown]:
        """Take a record; yield what is to be shown."""
        mark, is_repeat = arrival.mark, False
        if mark is not None:
            is_repeat = self._gaps.take(arrival.at.topic, mark, arrival.timestamp, now)
        is_loss = mark is not None and mark.event in LOSSES
        for entry in entries(arrival):
            if is_loss or self._filters.pass_on(entry, arrival):
                yield Shown(self._writer.record(arrival, entry, is_repeat=is_repeat))

    def due(self, now: float) -> Iterator[Shown]:
        """Yield the gaps that are certain by now."""
        for gap in self._gaps.due(now):
            yield Shown(self._writer.gap(gap), is_record=False)
