"""A record as lines for people, or as a JSON document. Pure.

Nothing of a record reaches the terminal as it is: people are shown what ``printable`` makes of it,
and JSON is written in printable ASCII.
"""

import json
from typing import Any, Final

from kiel_logging.printable import counted, printable, printable_lines
from kiel_logging.proof import headers as names
from kiel_logging.tail.entries import Arrival, Entry, text_of
from kiel_logging.tail.gaps import GRACE_S, Gap

_MOST_OF_A_MESSAGE: Final = 10_000
_MOST_OF_A_NAME: Final = 200
_MOST_OF_A_VALUE: Final = 1_000
_MOST_OF_A_TRACE: Final = 50_000
_MOST_FIELDS: Final = 100

_SURROUNDINGS: Final = frozenset(
    (
        *("module", "function", "line", "path", "file", "host", "process", "process_name"),
        *("thread", "thread_name", "task", "span_id", "trace_flags"),
    )
)
"""Fields that every record has, and people seldom read: ``--json`` has them."""

_EXCEPTION: Final = ("exception.type", "exception.message")
_TRACES: Final = ("exception.traceback", "stack")

_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
_NAME: Final = "\x1b[36m"
_NOTE: Final = "\x1b[1;35m"
_UNKNOWN: Final = "\x1b[1m"
_COLOURS: Final = (
    (50, "\x1b[1;37;41m"),
    (40, "\x1b[1;31m"),
    (30, "\x1b[33m"),
    (20, "\x1b[32m"),
    (0, "\x1b[34m"),
)
COLOURS: Final = (_RESET, _DIM, _NAME, _NOTE, _UNKNOWN, *(code for _, code in _COLOURS))
"""All that a terminal is sent besides printable text."""

LOSSES: Final = (names.DROPS, names.OMISSIONS, names.RECOVERY)
"""Events of a handler that report what a stream lacks."""


class Lines:
    """Text for people.

    Args:
        is_coloured: whether levels have colours.
        names_topics: whether each line names its topic.
    """

    def __init__(self, *, is_coloured: bool, names_topics: bool) -> None:
        self._is_coloured = is_coloured
        self._names_topics = names_topics

    def record(self, arrival: Arrival, entry: Entry, *, is_repeat: bool) -> str:
        """Return a record's line, and those beneath it: of its traceback, and of long fields."""
        line = [self._dim(entry.time), self._level(entry)]
        if self._names_topics:
            line.append(self._dim(printable(arrival.at.topic, _MOST_OF_A_NAME)))
        if entry.logger:
            line.append(self._coloured(_NAME, printable(entry.logger, _MOST_OF_A_NAME)))
        mark = arrival.mark
        tags = [mark.event if mark else "", "repeat" if is_repeat else ""]
        line += [self._coloured(_NOTE, f"[{printable(tag, 40)}]") for tag in tags if tag]
        line.append(printable_lines(entry.message, _MOST_OF_A_MESSAGE))
        fields, beneath = self._fields(entry)
        return "\n".join([" ".join([*line, *fields]), *beneath])

    def gap(self, gap: Gap) -> str:
        """Return the line that reports a gap."""
        count = counted(gap.last - gap.first + 1, "records")
        numbers = f"number {gap.first}" if gap.first == gap.last else f"{gap.first} to {gap.last}"
        text = (
            f"-- {count} missing in {gap.topic}: {numbers} of instance {gap.instance} did not come "
            f"within {GRACE_S:g} s"
        )
        return self._coloured(_NOTE, printable(text))

    def _level(self, entry: Entry) -> str:
        name = printable(entry.level, 20).ljust(8)
        severity = entry.severity
        if severity is None:
            return self._coloured(_UNKNOWN, name)
        colour = next((code for least, code in _COLOURS if severity >= least), _UNKNOWN)
        return self._coloured(colour, name)

    def _fields(self, entry: Entry) -> tuple[list[str], list[str]]:
        """Return the fields beside the message, and the texts beneath it."""
        beside, beneath = [], []
        traces = [name for name in _TRACES if entry.fields.get(name)]
        hidden = {*_SURROUNDINGS, *traces, *(_EXCEPTION if traces else ())}
        extras = [(name, value) for name, value in entry.fields.items() if name not in hidden]
        for name, value in extras[:_MOST_FIELDS]:
            text, label = text_of(value), printable(name, _MOST_OF_A_NAME)
            if "\n" in text.rstrip("\n"):
                beneath.append(f"    {self._dim(f'{label}:')}\n    {_indented(text)}")
            else:
                beside.append(f"{self._dim(f'{label}=')}{printable(text, _MOST_OF_A_VALUE)}")
        if len(extras) > _MOST_FIELDS:
            beside.append(f"… {counted(len(extras) - _MOST_FIELDS, 'more fields')}")
        beneath += [f"    {_indented(text_of(entry.fields[name]))}" for name in traces]
        return beside, beneath

    def _dim(self, text: str) -> str:
        return self._coloured(_DIM, text)

    def _coloured(self, code: str, text: str) -> str:
        return f"{code}{text}{_RESET}" if self._is_coloured else text


def _indented(text: str) -> str:
    return printable_lines(text.rstrip("\n"), _MOST_OF_A_TRACE)


class Documents:
    """One JSON document a line, for programs."""

    def record(self, arrival: Arrival, entry: Entry, *, is_repeat: bool) -> str:
        """Return a record with all of its fields."""
        document: dict[str, Any] = {
            "topic": arrival.at.topic,
            "partition": arrival.at.partition,
            "offset": arrival.offset,
            "key": None if arrival.key is None else arrival.key.decode("utf-8", "backslashreplace"),
            "time": entry.time,
            "level": entry.level,
            "logger": entry.logger,
            "message": entry.message,
            "fields": entry.fields,
        }
        if (mark := arrival.mark) is not None:
            document |= {"instance": mark.instance, "number": mark.number}
            document |= {"event": mark.event} if mark.event else {}
        return _json(document | ({"repeat": True} if is_repeat else {}))

    def gap(self, gap: Gap) -> str:
        """Return a gap."""
        return _json({"gap": gap._asdict()})


def _json(document: dict[str, Any]) -> str:
    try:
        return json.dumps(document, allow_nan=False)
    except (ValueError, RecursionError):  # a number that is infinite, or nested too deep
        fields = {name: text_of(value) for name, value in document["fields"].items()}
        return json.dumps(document | {"fields": fields})
