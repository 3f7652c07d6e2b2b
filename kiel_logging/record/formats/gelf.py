"""The format "gelf": Graylog Extended Log Format 1.1.

https://go2docs.graylog.org/current/getting_in_log_data/gelf_format.html, and what Graylog's own
reader (GelfCodec) makes of it: it ignores additional fields that are booleans, nulls, or named as
its own fields. None is written here in a form that it ignores.
"""

import logging
import re
from typing import Any, Final

from kiel_logging.record.formats import (
    INT64,
    Layout,
    created_micros,
    created_text,
    free_name,
    split_exception,
)
from kiel_logging.record.item import level_of
from kiel_logging.record.plain import entries
from kiel_logging.record.strict_json import json_text

NOTHING: Final = "-"
"""For what must not be empty and is: syslog's NILVALUE (RFC 5424)."""

# graypy's names, where it has one; `line` and `file` are deprecated without the underscore.
_NAMES: Final = {
    "level": "_level_name",
    "logger": "_logger",
    "module": "_module",
    "function": "_function",
    "line": "_line",
    "path": "_file",
    "process": "_pid",
    "process_name": "_process_name",
    "thread": "_thread",
    "thread_name": "_thread_name",
    "task": "_task",
}

_OTHER_CHARACTERS: Final = re.compile(r"[^\w.\-]", re.ASCII)  # Java's \w, too, is ASCII

# Graylog drops an additional field with these names: its own fields without the underscore, and
# Elasticsearch's with one.
_RESERVED: Final = frozenset(
    (
        *("_id", "_message", "_short_message", "_full_message", "_host", "_source", "_timestamp"),
        *("_level", "_streams", "__id", "__ttl", "__source", "__all", "__index", "__type"),
        "__score",
    )
)

_SYSLOG: Final = ((50, 2), (40, 3), (30, 4), (25, 5), (20, 6))


def lay_out(fields: dict[str, Any], record: logging.LogRecord) -> dict[str, Any]:
    """Return ``fields`` as a GELF message.

    ``short_message`` is the first line of the message that isn't blank, ``full_message`` all of it,
    then the traceback and the stack, where there is more than that line. A message that is an
    object or a list is its JSON as text. ``host`` and ``short_message`` are required: "-" where
    their field is missing. ``timestamp`` (seconds, with microseconds) and ``level`` (syslog
    severity) are those of ``record``; if its time is made up, there is no ``timestamp``, Graylog
    takes its own, and the field ``time`` is an additional one.

    Everything else is an additional field. Characters other than A-Z, a-z, 0-9, "_", "." and "-"
    are "_" in its name; a name that is taken, or Graylog's own, gets _2 behind it (dots count as
    underscores, as they do for Graylog). Strings and 64-bit numbers are as they are, anything else
    is its JSON as text: ``true``, ``null``, ``{"a":1}``.
    """
    left = dict(fields)
    message: dict[str, Any] = {
        "version": "1.1",
        "host": left.pop("host") if _is_text(left.get("host")) else NOTHING,
    }
    told = _take_exception(left)
    message |= _messages(left, told)
    if (micros := created_micros(record)) is not None:
        message["timestamp"] = micros / 1_000_000
        if left.get("time") == created_text(record):
            del left["time"]
    return {**message, "level": severity(level_of(record)), **_additional(left, told)}


def severity(level: int) -> int:
    """Return a level of logging's as a syslog severity (RFC 5424).

    From 50 (CRITICAL) on 2, from 40 (ERROR) 3, from 30 (WARNING) 4, from 25 (Notice) 5, from 20
    (INFO) 6, all below is 7 (DEBUG).
    """
    return next((severity for least, severity in _SYSLOG if level >= least), 7)


def _take_exception(left: dict[str, Any]) -> dict[str, str]:
    told, rest = split_exception(left)
    if told:
        del left["exception"]
        left |= {"exception": rest} if rest else {}
    return told


def _messages(left: dict[str, Any], told: dict[str, str]) -> dict[str, str]:
    if type(message := left.get("message")) in (dict, list):
        left["message"] = json_text(message)
    message = left.pop("message") if type(left.get("message")) is str else ""
    short = message.strip().partition("\n")[0].rstrip() or NOTHING
    stack = left.pop("stack") if _is_text(left.get("stack")) else ""
    traces = [text.rstrip("\n") for text in (told.get("traceback"), stack) if text]
    full = "\n".join([message, *traces] if message else traces)
    return {"short_message": short} | ({"full_message": full} if full not in ("", short) else {})


def _additional(left: dict[str, Any], told: dict[str, str]) -> dict[str, Any]:
    additional: dict[str, Any] = {
        f"_exception_{name}": told[name] for name in ("type", "message") if name in told
    }
    for name, target in entries(_NAMES):
        if left.get(name) is not None:
            additional[target] = _value(left[name])
    taken = {*_RESERVED, *additional}
    for name, value in entries(left):
        if name not in _NAMES:
            additional[_claim(name, taken)] = _value(value)
    return additional


def _claim(name: str, taken: set[str]) -> str:
    """Return a field's name as an additional field's, and take it."""
    allowed = "_" + (_OTHER_CHARACTERS.sub("_", name) or "_")
    folded = allowed.replace(".", "_")
    free = free_name(folded, taken)
    taken.add(free)
    return allowed + free[len(folded) :]


def _value(value: Any) -> str | int | float:
    if isinstance(value, str | float) or (type(value) is int and value in INT64):
        return value
    return json_text(value)


def _is_text(value: Any) -> bool:
    return type(value) is str and bool(value.strip())


LAYOUT: Final = Layout(lay_out)
