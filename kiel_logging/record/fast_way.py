"""The options as compiled code needs them, to convert records that need no care: nearly all.

The law: an item made by ``accelerator/fast_way.c`` is the item that the careful way
(``conversion.py``) makes, to the byte; where the compiled code can't be sure of that, it leaves the
record to the careful way. Parts that all records of a call site share are encoded once. A record
needs care when it has an exception or a stack, values that are no plain texts and numbers, names
that are taken, or is too large.
"""

import sys
from collections.abc import Callable, Mapping
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
    """The JSON before and behind the message, by the attributes that make a call site."""

    def __init__(self) -> None:
        super().__init__()
        self._memory = 0

    def __missing__(self, place: tuple[Any, ...]) -> tuple[bytes, bytes]:
        memory = sum(map(sys.getsizeof, place))
        if memory > _LARGE_SITE:
            raise ValueError("such names need care")
        fields = dict(zip(_ATTRIBUTES, place, strict=True))
        level, logger = json_bytes(fields.pop("level")), json_bytes(fields.pop("logger"))
        head = b'","level":%b,"logger":%b,"message":' % (level, logger)
        site = head, b"," + json_bytes({**fields, "host": HOST})[1:-1]
        self._memory += memory + sum(map(sys.getsizeof, site))
        if len(self) >= _MOST_SITES or self._memory > _MOST_SITE_MEMORY:
            self.clear()
            self._memory = 0
        self[place] = site
        return site


def fast_options(
    *,
    topic: str | Callable[[LogRecord], str],
    key_field: str | None,
    headers: Mapping[str, str],
    fields: Mapping[str, Any],
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
        more: returns the fields from the surroundings of a record with such attributes; None if
            they need care.
        has_context: whether ``more`` has any outside of a span.
        most: bytes of a record in a batch.
        keeps_source: whether items keep their LogRecord.
    """
    static = dict(fields)
    if FastWay is None or make_plain(static).replaced:
        return None
    try:
        key = None if key_field is None else _lookup(key_field, static)
        found = tuple((name.encode("ascii"), _header(it, static)) for name, it in headers.items())
    except ValueError:
        return None
    names = list(OWN_ATTRIBUTES)
    return {
        "kind": LogRecord,
        "names": tuple(names),
        "places": bytes(names.index(name) if name in names else 255 for name in _PLACES),
        "sites": CallSites(),
        "second": to_the_second,
        "task_name": current_task_name,
        "more": more,
        "taken": frozenset((*OUR_FIELDS, *static, *RESERVED)),
        "end": b"," + json_bytes(static)[1:] if static else b"}",
        "topic": topic,
        "key": key,
        "headers": found,
        "most": most,
        "has_context": has_context,
        "keeps_source": keeps_source,
    }


def _lookup(name: str, static: Mapping[str, Any]) -> str | tuple[str, ...]:
    """Return the attribute, or the field of the surroundings, that has the field ``name``.

    A name that may be a dotted path comes with its parts.

    Raises:
        ValueError: that takes Python.
    """
    path = tuple(name.split("."))
    if not static.keys().isdisjoint((name, path[0])) or (len(path) > 1 and path[0] in RESERVED):
        raise ValueError(name)
    if name in _ATTRIBUTES:
        return _ATTRIBUTES[name]
    if path[0] in OUR_FIELDS:
        raise ValueError(name)
    return name if len(path) == 1 else (name, *path)


def _header(name: str, static: Mapping[str, Any]) -> str | tuple[str, ...] | bytes:
    value = static.get(name)
    return value.encode() if type(value) is str else _lookup(name, static)
