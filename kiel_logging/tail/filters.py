"""Which records are shown: by level, fields, text and trace. Pure."""

import re
from dataclasses import dataclass, field
from typing import Any

from kiel_logging.tail.entries import Arrival, Entry, text_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Conditions that a record has to meet, all of them.

    Attributes:
        level: the least level, as a number of logging's. A record without a level does not meet
            it; one with a level of unknown rank does.
        where: names of fields and the texts that they have.
        grep: is found in the message, a field or the traceback.
        trace: the id of an OpenTelemetry trace.
    """

    level: int | None = None
    where: tuple[tuple[str, str], ...] = ()
    grep: re.Pattern[str] | None = None
    trace: str | None = None

    def pass_on(self, entry: Entry, arrival: Arrival) -> bool:
        """Whether the record is shown."""
        if self.level is not None and not _reaches(entry, self.level):
            return False
        if self.trace is not None:
            found = value_of("trace_id", entry, arrival)
            if found is None or text_of(found).lower() != self.trace.lower():
                return False
        for name, wanted in self.where:
            found = value_of(name, entry, arrival)
            if found is None or text_of(found) != wanted:
                return False
        return self.grep is None or self._matches(self.grep, entry)

    def _matches(self, grep: re.Pattern[str], entry: Entry) -> bool:
        if grep.search(entry.message) or grep.search(entry.logger):
            return True
        return any(grep.search(f"{name}={text_of(it)}") for name, it in entry.fields.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class TailOptions:
    """The options of one run.

    ``since`` is in milliseconds since the epoch, ``timeout`` in seconds. ``lines`` is the most
    records that are shown of those that are there already; None for all since ``since``.
    """

    topics: tuple[str, ...]
    config: str | None = None
    brokers: str | None
    timeout: float
    since: int | None = None
    lines: int | None
    follow: bool = True
    filters: Filters = field(default_factory=Filters)


def _reaches(entry: Entry, least: int) -> bool:
    if entry.severity is None:
        return bool(entry.level)
    return entry.severity >= least


def value_of(name: str, entry: Entry, arrival: Arrival) -> Any:
    """Return the value of a field; None if the record has none of that name.

    ``topic``, ``partition``, ``offset`` and ``key`` are those of Kafka, unless the record has such
    a field itself.
    """
    own = {"level": entry.level, "logger": entry.logger, "message": entry.message}
    if name in own:
        return own[name]
    if name in entry.fields:
        return entry.fields[name]
    if name == "key" and arrival.key is not None:
        return arrival.key.decode("utf-8", "backslashreplace")
    place = {"topic": arrival.at.topic, "partition": arrival.at.partition, "offset": arrival.offset}
    return place.get(name)
