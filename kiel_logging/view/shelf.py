"""The newest records that were read, bounded by number and by size. Pure."""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kiel_logging.records import TopicPartition
from kiel_logging.tail.entries import Arrival, Entry, text_of
from kiel_logging.tail.filters import Filters
from kiel_logging.tail.gaps import Gap

MOST_RECORDS: Final = 20_000
MOST_BYTES: Final = 64 * 1024 * 1024
MOST_AT_ONCE: Final = 500
"""Records of one answer."""

_MOST_OF_A_TEXT: Final = 2_000
_MOST_FIELDS: Final = 50
_OVERHEAD: Final = 1_000
"""Bytes of a record besides its value, roughly."""


class Found(NamedTuple):
    """A log record as it was read, or a gap."""

    arrival: Arrival | None = None
    entry: Entry | None = None
    is_repeat: bool = False
    gap: Gap | None = None


class Finds:
    """Keeps what is shown as it is: filters of the page are applied later."""

    def record(self, arrival: Arrival, entry: Entry, *, is_repeat: bool) -> Found:
        """Return a record."""
        return Found(arrival, entry, is_repeat)

    def gap(self, gap: Gap) -> Found:
        """Return a gap."""
        return Found(gap=gap)


class Shelf:
    """The newest records; each has an id, which is higher than those of all before it."""

    def __init__(self) -> None:
        self._items: deque[tuple[int, int, Found]] = deque()
        self._next = 1
        self._bytes = 0

    def add(self, found: Found) -> None:
        """Put a record on the shelf; the oldest give way."""
        value = b"" if found.arrival is None else found.arrival.value or b""
        size = _OVERHEAD + len(value)
        self._items.append((self._next, size, found))
        self._next += 1
        self._bytes += size
        while len(self._items) > MOST_RECORDS or self._bytes > MOST_BYTES:
            self._bytes -= self._items.popleft()[1]

    def newest(self, filters: Filters, after: int) -> dict[str, Any]:
        """Return the newest records behind the id ``after`` that pass, as a JSON document."""
        chosen: list[dict[str, Any]] = []
        for number, _, found in self._behind(after):
            if _passes(found, filters):
                chosen.append({"id": number, **_short(found)})
                if len(chosen) == MOST_AT_ONCE:
                    break
        return {"records": chosen[::-1], "next": self._next - 1}

    def arrivals(self) -> Iterator[Arrival]:
        """Yield the records as they came from Kafka, the newest first."""
        return (one.arrival for _, _, one in reversed(self._items) if one.arrival is not None)

    def at(self, at: TopicPartition, offset: int) -> list[dict[str, Any]]:
        """Return all that is known of the record at a place, as JSON documents: one for each log
        record in it."""
        there = (found for _, _, found in self._items)
        return [_whole(one) for one in there if _is_at(one, at, offset)]

    def _behind(self, after: int) -> Iterator[tuple[int, int, Found]]:
        for item in reversed(self._items):
            if item[0] <= after:
                return
            yield item


def _is_at(found: Found, at: TopicPartition, offset: int) -> bool:
    arrival = found.arrival
    return arrival is not None and (arrival.at, arrival.offset) == (at, offset)


def _passes(found: Found, filters: Filters) -> bool:
    if found.arrival is None or found.entry is None:
        return True
    return filters.pass_on(found.entry, found.arrival)


def _short(found: Found) -> dict[str, Any]:
    """Return what a line of the page shows."""
    arrival, entry = found.arrival, found.entry
    if arrival is None or entry is None:
        return {"gap": None if found.gap is None else found.gap._asdict()}
    fields = list(entry.fields.items())[:_MOST_FIELDS]
    return {
        **_place(arrival),
        **_own(entry),
        "message": entry.message[:_MOST_OF_A_TEXT],
        "fields": [(name, text_of(value)[:_MOST_OF_A_TEXT]) for name, value in fields],
        "event": arrival.mark.event if arrival.mark else "",
        "repeat": found.is_repeat,
    }


def _whole(found: Found) -> dict[str, Any]:
    """Return what the page of a record shows."""
    arrival, entry = found.arrival, found.entry
    if arrival is None or entry is None:
        return {}
    return {
        **_place(arrival),
        **_own(entry),
        "message": entry.message,
        "fields": [(name, text_of(value)) for name, value in entry.fields.items()],
        "key": _text(arrival.key),
        "value": _text(arrival.value),
        "timestamp": arrival.timestamp,
        "headers": [(name, _header(name, value)) for name, value in arrival.headers],
        "repeat": found.is_repeat,
    }


def _place(arrival: Arrival) -> dict[str, Any]:
    topic, partition = arrival.at
    return {"topic": topic, "partition": partition, "offset": arrival.offset}


def _own(entry: Entry) -> dict[str, Any]:
    own = ("time", "level", "severity", "logger")
    return {name: getattr(entry, name) for name in own}


def _header(name: str, value: bytes | None) -> str | None:
    return value.hex() if value and name == "kiel-chain" else _text(value)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
