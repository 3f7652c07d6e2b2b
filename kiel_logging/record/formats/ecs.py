"""The format "ecs": the Elastic Common Schema, as Elastic's ecs-logging specifies it for loggers.

https://github.com/elastic/ecs-logging/blob/main/spec/spec.json. Every field is found where
``ecs_logging.StdlibFormatter`` has it, or under its own name, with dots and dicts as one nested
form. A field that is in the way of an ECS field, so that Elasticsearch would refuse the document,
is a label.
"""

import logging
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Final, TypeAlias

from kiel_logging.record.fields import rfc3339
from kiel_logging.record.formats import UNDOTTED, Layout, created_text, free_name
from kiel_logging.record.plain import entries, show
from kiel_logging.record.strict_json import json_text

ECS_VERSION: Final = "1.6.0"
"""The schema's version that Elastic's own loggers name."""

_THE_EPOCH: Final = rfc3339(0)

_Path: TypeAlias = tuple[str, ...]
_Leaf: TypeAlias = tuple[_Path, Any]

_PLACES: Final[dict[_Path, _Path]] = {
    ("message",): ("message",),
    ("logger",): ("log", "logger"),
    ("function",): ("log", "origin", "function"),
    ("line",): ("log", "origin", "file", "line"),
    ("process",): ("process", "pid"),
    ("process_name",): ("process", "name"),
    ("thread",): ("process", "thread", "id"),
    ("thread_name",): ("process", "thread", "name"),
    ("host",): ("host", "hostname"),
    ("exception", "type"): ("error", "type"),
    ("exception", "message"): ("error", "message"),
    ("exception", "traceback"): ("error", "stack_trace"),
    ("stack",): ("error", "stack_trace"),  # without an exception, as StdlibFormatter has it
    ("service",): ("service", "name"),
    ("trace_id",): ("trace", "id"),
    ("span_id",): ("span", "id"),
}
_FILE_NAME: Final = ("log", "origin", "file", "name")

_INTEGERS: Final = {
    ("log", "origin", "file", "line"),
    ("process", "pid"),
    ("process", "thread", "id"),
}
_TYPES: Final[dict[_Path, type]] = {
    ("@timestamp",): str,
    ("log", "level"): str,
    ("ecs", "version"): str,
    _FILE_NAME: str,
    **{path: int if path in _INTEGERS else str for path in _PLACES.values()},
}
"""The fields that have one type: another value there, or a field below, is refused."""

# The field sets of ECS 1.6 to 9 that are objects at the top of a document:
# https://github.com/elastic/ecs/tree/main/schemas
_FIELD_SETS: Final = (
    *("agent", "client", "cloud", "container", "data_stream", "destination", "device", "dll"),
    *("dns", "ecs", "email", "entity", "error", "event", "faas", "file", "gen_ai", "group", "host"),
    *("http", "labels", "log", "network", "observer", "orchestrator", "organization", "package"),
    *("process", "registry", "related", "rule", "server", "service", "source", "span", "threat"),
    *("tls", "trace", "transaction", "url", "user", "user_agent", "volume", "vulnerability"),
)
_OBJECTS: Final = {(name,) for name in _FIELD_SETS} | {
    path[:end] for path in _TYPES for end in range(1, len(path))
}


def lay_out(fields: dict[str, Any], record: logging.LogRecord) -> dict[str, Any]:
    """Return ``fields`` as an ECS document.

    ``@timestamp``, ``log.level`` (in lower case) and ``ecs.version`` are required and always there,
    from ``record`` where their fields are not; the rest only where its field is. ``@timestamp`` is
    the epoch for a made-up ``record.created``; the field ``time`` then keeps its name.

    What ECS has no place for keeps its own name (``module``, ``path``, ``task``, all extras). A
    dotted name and a dict are the same: ``{"http.request": {"method": "GET"}}`` is found under
    ``http``, ``request``, ``method``. ``labels`` has, by names with underscores for dots, what

    - bears the name of a field that is there: an extra ``message``, ``log.level``;
    - is no object and bears the name of an ECS object: an extra ``user``, ``url``. Only a string
      ``service`` is understood, as ``service.name``;
    - can't stand beside another: ``a`` beside ``a.b``.

    A label that is taken as well gets _2 behind its name. Lists with dicts or lists in them are
    JSON text there, since labels are not nested. So is a message that is an object or a list.
    """
    document: dict[str, Any] = {"labels": {}}
    leaves = _begin(document, fields, record)
    leaves = [leaf for leaf in leaves if not _is_placed(document, leaf)]
    for path, value in leaves:
        is_label = path[0] == "labels" and len(path) > 1
        if is_label or not _put(document, path, value):
            _label(document["labels"], path[1:] if is_label else path, value)
    return _in_order(document)


def _begin(
    document: dict[str, Any], fields: dict[str, Any], record: logging.LogRecord
) -> list[_Leaf]:
    """Put what is required and what is made of several fields; return the leaves that are left."""
    left = dict(fields)
    time = created_text(record)
    if time is not None and left.get("time") == time:
        del left["time"]
    level = left.pop("level") if type(left.get("level")) is str else show(record.levelname)
    _put(document, ("@timestamp",), time or _THE_EPOCH)
    _put(document, ("log", "level"), level.lower())
    _put(document, ("ecs", "version"), ECS_VERSION)
    if type(message := left.get("message")) in (dict, list):
        left["message"] = json_text(message)
    if type(path := left.get("path")) is str:
        name = record.filename if path == record.pathname else PurePath(path).name
        _put(document, _FILE_NAME, name)
    return list(_leaves((), left))


def _leaves(above: _Path, fields: dict[str, Any]) -> Iterator[_Leaf]:
    for name, value in entries(fields):
        # Elasticsearch refuses a document with a name that is empty between its dots.
        parts = [part if part.strip() else "_" for part in name.split(".")]
        path = (*above, *parts)
        if type(value) is dict and value:
            yield from _leaves(path, value)
        else:
            yield path, {} if value == {} else value


def _is_placed(document: dict[str, Any], leaf: _Leaf) -> bool:
    path, value = leaf
    place = _PLACES.get(path)
    if place is None:
        return False
    return value is None or _put(document, place, value)


def _put(document: dict[str, Any], path: _Path, value: Any) -> bool:
    """Put a value where ``path`` leads; False when something else is there, or should be."""
    if not _is_allowed(path, value):
        return False
    inner = document
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
        if type(inner) is not dict:
            return False
    if path[-1] in inner:
        return type(value) is dict and type(inner[path[-1]]) is dict  # an empty one adds nothing
    inner[path[-1]] = value
    return True


def _is_allowed(path: _Path, value: Any) -> bool:
    if (expected := _TYPES.get(path)) is not None:
        return type(value) is expected
    if path in _OBJECTS:
        return type(value) is dict
    return len(path) == 1 or not any(path[:end] in _TYPES for end in range(1, len(path)))


def _label(labels: dict[str, Any], path: _Path, value: Any) -> None:
    name = "_".join(path).replace("*", "_").replace("\\", "_")  # as the specification has it
    nested = type(value) is dict or (
        type(value) is list and any(type(item) in (dict, list) for item in value)
    )
    labels[free_name(name, labels)] = json_text(value) if nested else value


def _in_order(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document in the order that is specified, its dotted names in place."""
    first = {"@timestamp": document.pop("@timestamp"), "log.level": document["log"].pop("level")}
    if "message" in document:
        first["message"] = document.pop("message")
    first["ecs.version"] = document["ecs"].pop("version")
    left = {name: document.pop(name) for name in ("log", "ecs", "labels")}
    left = {name: value for name, value in entries(left) if value}
    # Compiled code writes the ids of a span behind all else.
    for name in ("trace", "span"):
        if name in document:
            document[name] = document.pop(name)
    return {**first, **left, **document}


LAYOUT: Final = Layout(
    lay_out,
    style=UNDOTTED,
    attributes=("filename",),
    places=frozenset((*_FIELD_SETS, "@timestamp", *(path[0] for path in _PLACES))),
)
