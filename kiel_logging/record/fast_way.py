"""The options as compiled code needs them, to convert records that need no care: nearly all.

The law: an item made by ``accelerator/fast_way.c`` is the item that the careful way
(``conversion.py``) makes, to the byte; where the compiled code can't be sure of that, it leaves the
record to the careful way. Parts that all records of a call site share are encoded once. A record
needs care when it has an exception or a stack, values that are no plain texts and numbers, names
that are taken, hidden, renamed or left out, or is too large.
"""

import sys
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from logging import LogRecord
from typing import Any, Final

from kiel_logging.record.fields import (
    HOST,
    OUR_FIELDS,
    OWN_ATTRIBUTES,
    RESERVED,
    current_task_name,
    to_the_second,
)
from kiel_logging.record.plain import make_plain
from kiel_logging.record.redaction import Redaction, hidden_names, hides, redaction
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
"""Fields that are an attribute of the LogRecord as it is, in the order in which they are written:
the first two before the message, the others behind it."""

_BEFORE: Final = frozenset({"level", "logger"})
_WRITTEN: Final = ("time", *_ATTRIBUTES, "message", "task", "host")

_PLACES: Final = (
    *("exc_info", "exc_text", "stack_info", "msg", "args", "created", "levelno", "taskName"),
    *_ATTRIBUTES.values(),
)
"""The attributes whose places the compiled code needs, as fast_way.c has them."""

_MOST_SITES: Final = 4_096
_MOST_SITE_MEMORY: Final = 4 * 1024 * 1024
"""Bytes of what is known of call sites: names of loggers and threads may have any length."""

_LARGE_SITE: Final = 64 * 1024
"""Bytes of one that is not worth knowing."""


class CallSites(dict[tuple[Any, ...], tuple[bytes, bytes]]):
    """The JSON before and behind the message, by the attributes that make a call site.

    Args:
        names: the fields that are written, and under which names.
        hide: hides values of fields.
    """

    def __init__(self, names: Mapping[str, str], hide: Redaction | None) -> None:
        super().__init__()
        self._names = names
        self._hide = hide
        self._memory = 0

    def __missing__(self, place: tuple[Any, ...]) -> tuple[bytes, bytes]:
        memory = sum(map(sys.getsizeof, place))
        if memory > _LARGE_SITE:
            raise ValueError("such names need care")
        fields = {**dict(zip(_ATTRIBUTES, place, strict=True)), "host": HOST}
        if self._hide is not None and self._hide(fields) is not fields:
            raise ValueError("a text that is JSON needs care")
        before, behind = self._json(fields, _BEFORE), self._json(fields, fields.keys() - _BEFORE)
        site = b'"%b,%b:' % (before, json_bytes(self._names["message"])), behind
        self._memory += memory + sum(map(sys.getsizeof, site))
        if len(self) >= _MOST_SITES or self._memory > _MOST_SITE_MEMORY:
            self.clear()
            self._memory = 0
        self[place] = site
        return site

    def _json(self, fields: dict[str, Any], some: Container[str]) -> bytes:
        """Return some fields as members of an object, each with a comma in front."""
        names = self._names
        shown = {names[one]: fields[one] for one in fields if one in some and one in names}
        return b"," + json_bytes(shown)[1:-1] if shown else b""


def fast_options(
    *,
    topic: str | Callable[[LogRecord], str],
    key_field: str | None,
    headers: Mapping[str, str],
    fields: Mapping[str, Any],
    rename: Mapping[str, str],
    exclude: Sequence[str],
    redact: Iterable[str] | None,
    more: Callable[[dict[str, Any]], dict[str, Any] | None],
    has_context: bool,
    most: int,
    keeps_source: bool,
) -> dict[str, Any] | None:
    """Return FastWay's arguments for a conversion with these options; None if it takes Python.

    Args:
        topic: of all records, or of each.
        key_field: the field that has the key.
        headers: names of headers -> the fields that have them.
        fields: static ones.
        rename: from the names of fields to those that they get.
        exclude: names of fields, and paths to them, that are left out.
        redact: names whose values are hidden.
        more: returns the fields from the surroundings of a record with such attributes; None if
            they need care.
        has_context: whether ``more`` has any outside of a span.
        most: bytes of a record in a batch.
        keeps_source: whether items keep their LogRecord.
    """
    static, hide, hidden = dict(fields), redaction(redact), hidden_names(redact)
    if FastWay is None or make_plain(static).replaced or (hide and hide(static) is not static):
        return None
    names = {name: rename.get(name, name) for name in _WRITTEN if name not in exclude}
    # A record needs care if it has an extra that one of the options is for.
    changed = {*rename, *rename.values(), *exclude, *(name.partition(".")[0] for name in exclude)}
    if (
        names.get("task") != "task"
        or not {"time", "message"} <= names.keys()
        or not OUR_FIELDS.isdisjoint(rename.values())
        or not changed.isdisjoint(static)
        or (hidden and any(hides(hidden, name) for name in (*OUR_FIELDS, *names.values())))
    ):
        return None
    others = {*static, *changed}
    try:
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
        "places": bytes(own.index(name) if name in own else 255 for name in _PLACES),
        "sites": CallSites(names, hide),
        "second": to_the_second,
        "task_name": current_task_name,
        "more": more,
        "taken": frozenset((*OUR_FIELDS, *others, *RESERVED)),
        "hidden": tuple(name for name in hidden if name.isascii()) if hidden else None,
        "begin": b"{%b:" % json_bytes(names["time"]),
        "end": b"," + json_bytes(static)[1:] if static else b"}",
        "topic": topic,
        "key": key,
        "headers": found,
        "most": most,
        "has_context": has_context,
        "keeps_source": keeps_source,
    }


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
