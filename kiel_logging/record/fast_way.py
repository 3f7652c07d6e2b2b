"""The options as compiled code needs them, to convert records that need no care: nearly all.

The law: an item made by ``accelerator/fast_way.c`` is the item that the careful way
(``conversion.py``) makes, to the byte; where the compiled code can't be sure of that, it leaves the
record to the careful way. Parts that all records of a call site share are encoded once: they are
cut out of what the format's layout makes of a record from there. A record
needs care when it has an exception or a stack, values that are no plain texts and numbers, names
that are taken, hidden, renamed or left out, or is too large.
"""

import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from logging import LogRecord, makeLogRecord
from typing import Any, Final, TypeAlias

from kiel_logging.record.fields import (
    HOST,
    NO_IDS,
    OUR_FIELDS,
    OWN_ATTRIBUTES,
    RESERVED,
    TRACE_FIELDS,
    current_task_name,
    rfc3339,
    to_the_second,
    trace_ids,
)
from kiel_logging.record.formats import PLAIN, Layout
from kiel_logging.record.plain import make_plain
from kiel_logging.record.redaction import Redaction
from kiel_logging.record.strict_json import json_bytes

try:
    from kiel_logging._accelerator import FastWay as FastWay
except ImportError:  # there was no C compiler
    FastWay = None  # type: ignore[assignment,misc]

_ATTRIBUTES: Final[Mapping[str, str]] = {
    "level": "levelname",
    "logger": "name",
    "module": "module",
    "function": "funcName",
    "line": "lineno",
    "path": "pathname",
    "process": "process",
    "process_name": "processName",
    "thread": "thread",
    "thread_name": "threadName",
}
"""Fields that are an attribute of the LogRecord as it is, in the order in which it is written."""

_WRITTEN: Final = ("time", "level", "logger", "message", *list(_ATTRIBUTES)[2:], "host", "task")

_PLACES: Final = (
    "exc_info",
    "exc_text",
    "stack_info",
    "msg",
    "args",
    "created",
    "levelno",
    "taskName",
)
"""The attributes whose places the compiled code needs, as fast_way.c has them. Behind them come
those of a call site."""

_SHORTER: Final = 256
"""At most so many bytes shorter is a layout than the fields, which may not be too large either."""

_MOST_SITES: Final = 4_096
_MOST_SITE_MEMORY: Final = 4 * 1024 * 1024
"""Bytes of what is known of call sites: names of loggers and threads may have any length."""

_LARGE_SITE: Final = 64 * 1024
"""Bytes of one that is not worth knowing."""


_CREATED: Final = 1_000_000_000.123456
_MESSAGE, _EXTRA = "\0message", "\0extra"
_SPAN: Final = {"trace_id": "7c0ffee7" * 4, "span_id": "7c0ffee8" * 2}
_HOLES: Final = re.compile(
    rb'(?P<time>"(?:2001-09-09T01:46:40\.123456Z|1000000000123456000)(?="))'
    rb'|(?P<message>"\\u0000message")'
    rb'|(?P<extra>,(?:"\\u0000extra":null|{"key":"\\u0000extra","value":{}}))'
)
"""The places of what records of a call site do not share, in the JSON of a record that was made at
that time with that message and that extra."""


Site: TypeAlias = tuple[bytes, bytes, bytes]
"""The JSON before the time, from there to the message, and from there to the extras."""


class CallSites(dict[tuple[Any, ...], Site]):
    """The JSON that all records of a call site share, by the attributes that make one.

    Args:
        layout: makes the JSON.
        names: the fields that are written, and under which names.
        static: the fields that all records have.
        hide: hides values of fields.

    Attributes:
        attributes: the names of these attributes.
        middle: the JSON between the time and another one; None where there is one only.
        end: the JSON behind the extras, outside of spans.
        taken: names that stand at the top of the JSON.

    Raises:
        ValueError: such JSON needs care.
    """

    def __init__(
        self,
        layout: Layout,
        names: Mapping[str, str],
        static: Mapping[str, Any],
        hide: Redaction | None,
    ) -> None:
        super().__init__()
        self.attributes: Final = (*_ATTRIBUTES.values(), *layout.attributes)
        self._lay_out = layout.lay_out
        self._names = names
        self._static = static
        self._hide = hide
        self._memory = 0
        anywhere = vars(LogRecord("", 0, "", 0, "", (), None))
        self._anywhere = tuple(anywhere[name] for name in self.attributes)
        made = self._made_at(self._anywhere)
        self.taken: Final = made.keys()
        self._first, self.middle, self.end = _cut(json_bytes(made))
        self._end_with = lru_cache(self._make_end)

    def __missing__(self, place: tuple[Any, ...]) -> Site:
        memory = sum(map(sys.getsizeof, place))
        if memory > _LARGE_SITE:
            raise ValueError("such names need care")
        site, middle, end = _cut(json_bytes(self._made_at(place)))
        if (middle, end) != (self.middle, self.end):
            raise ValueError("such names need care")
        self._memory += memory + sum(map(sys.getsizeof, site))
        if len(self) >= _MOST_SITES or self._memory > _MOST_SITE_MEMORY:
            self.clear()
            self._memory = 0
        self[place] = site
        return site

    def end_in(self, ids: Mapping[str, Any]) -> bytes:
        """Return the JSON behind the extras in the span that has these ids.

        Raises:
            ValueError: such ids need care.
        """
        end = self._end_with(ids["trace_flags"])
        for name, text in _SPAN.items():
            end = end.replace(text.encode(), ids[name].encode())
        return end

    def _make_end(self, flags: int) -> bytes:
        made = json_bytes(self._made_at(self._anywhere, {**_SPAN, "trace_flags": flags}))
        first, middle, end = _cut(made)
        if (first, middle) != (self._first, self.middle) or any(
            made.count(text.encode()) != 1 for text in _SPAN.values()
        ):
            raise ValueError("such ids need care")
        return end

    def _made_at(self, place: tuple[Any, ...], ids: Mapping[str, Any] = NO_IDS) -> dict[str, Any]:
        """Return what the layout makes of a record from there, in a span with these ids."""
        own = dict(zip(self.attributes, place, strict=True))
        values = {name: own[attribute] for name, attribute in _ATTRIBUTES.items()}
        values |= {"time": rfc3339(_CREATED), "message": _MESSAGE, "host": HOST}
        fields = {new: values[name] for name, new in self._names.items() if name in values}
        if self._hide is not None and self._hide(fields) is not fields:
            raise ValueError("a text that is JSON needs care")
        record = makeLogRecord({**own, "created": _CREATED})
        return self._lay_out({**fields, _EXTRA: None, **ids, **self._static}, record)


def _cut(data: bytes) -> tuple[Site, bytes | None, bytes]:
    """Return the site, the middle and the end.

    Raises:
        ValueError: the holes are not where compiled code fills them.
    """
    holes = list(_HOLES.finditer(data))
    kinds = [hole.lastgroup for hole in holes]
    if kinds not in (["time", "message", "extra"], ["time", "time", "message", "extra"]):
        raise ValueError("such names need care")
    ends, starts = [hole.end() for hole in holes], [hole.start() for hole in holes]
    pieces = [data[end:start] for end, start in zip([0, *ends], [*starts, None], strict=True)]
    begin, *middle, before, behind, end = pieces
    return (begin, before, behind), middle[0] if middle else None, end


def fast_options(
    *,
    layout: Layout,
    topic: str | Callable[[LogRecord], str],
    key_field: str | None,
    headers: Mapping[str, str],
    fields: Mapping[str, Any],
    rename: Mapping[str, str],
    exclude: Sequence[str],
    redact: Redaction | None,
    context: Callable[[], Mapping[str, Any]] | None,
    most: int,
    keeps_source: bool,
) -> dict[str, Any] | None:
    """Return FastWay's arguments for a conversion with these options; None if it takes Python.

    Args:
        layout: makes the JSON.
        topic: of all records, or of each; the options that are not named here are KafkaHandler's.
        redact: hides values by name.
        context: returns the fields from the surroundings of a record, but for the ids of a span.
        most: bytes of a record in a batch.
        keeps_source: whether items keep their LogRecord.
    """
    static = dict(fields)
    if (
        FastWay is None
        or layout.style is None
        or make_plain(static).replaced
        or (redact and redact(static) is not static)
    ):
        return None
    names = {name: rename.get(name, name) for name in _WRITTEN if name not in exclude}
    # A record needs care if it has an extra that one of the options is for.
    changed = {*rename, *rename.values(), *exclude, *(name.partition(".")[0] for name in exclude)}
    if (
        names.get("task") != "task"
        or not {"time", "message"} <= names.keys()
        or not OUR_FIELDS.isdisjoint(rename.values())
        or not changed.isdisjoint(static)
        or (redact and any(map(redact.hides, (*OUR_FIELDS, *names.values()))))
    ):
        return None
    others = {*static, *changed}
    try:
        sites = CallSites(layout, names, static, redact)
        key = None if key_field is None else _lookup(key_field, others)
        found = tuple(
            (name.encode("ascii"), _text(static.get(field)) or _lookup(field, others))
            for name, field in headers.items()
        )
    except ValueError:
        return None
    own = list(OWN_ATTRIBUTES)
    return {
        "kind": LogRecord,
        "names": tuple(own),
        "places": bytes(
            own.index(name) if name in own else 255 for name in (*_PLACES, *sites.attributes)
        ),
        "sites": sites,
        "second": to_the_second,
        "task_name": current_task_name,
        "more": _surroundings(sites, context, others, redact),
        "taken": frozenset((*OUR_FIELDS, *others, *RESERVED, *sites.taken, *layout.places)),
        "hidden": tuple(filter(str.isascii, redact.names)) if redact else None,
        "middle": sites.middle,
        "none": ({}, {}, sites.end),
        "style": layout.style,
        "topic": topic,
        "key": key,
        "headers": found,
        "most": most if layout.style == PLAIN else most - _SHORTER,
        "has_context": context is not None,
        "keeps_source": keeps_source,
    }


def _surroundings(
    sites: CallSites,
    context: Callable[[], Mapping[str, Any]] | None,
    others: Collection[str],
    redact: Redaction | None,
) -> Callable[[dict[str, Any]], tuple[dict[str, Any], dict[str, Any], bytes] | None]:
    """Return a function that returns what a record with such attributes has of its surroundings:
    the fields to be written, all fields, and the JSON behind them; None where they need care."""
    knows_ids = not any(name in others or (redact and redact.hides(name)) for name in TRACE_FIELDS)

    def more(own: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], bytes] | None:
        fields = {} if context is None else dict(context())
        if not (ids := trace_ids()):
            return (fields, fields, sites.end) if own.keys().isdisjoint(fields) else None
        found = {**fields, **ids}
        if not knows_ids or len(found) < len(fields) + len(ids) or not own.keys().isdisjoint(found):
            return None
        return fields, found, sites.end_in(ids)

    return more


def _text(value: Any) -> bytes | None:
    """Return a text as a header has it; None for another value."""
    return value.encode() or None if type(value) is str else None


def _lookup(name: str, others: Collection[str]) -> str | tuple[str, ...]:
    """Return the attribute, or the field of the surroundings, that has the field ``name``.

    A name that may be a dotted path comes with its parts. ``others`` are fields that options add,
    rename or leave out.

    Raises:
        ValueError: that takes Python.
    """
    path = tuple(name.split("."))
    if name in others or path[0] in others or (len(path) > 1 and path[0] in RESERVED):
        raise ValueError(name)
    if name in _ATTRIBUTES:
        return _ATTRIBUTES[name]
    if path[0] in OUR_FIELDS:
        raise ValueError(name)
    return name if len(path) == 1 else (name, *path)
