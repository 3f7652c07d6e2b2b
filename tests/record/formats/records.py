"""Records and fields to lay out: the same ones for every format."""

from __future__ import annotations

import copy
import json
import logging
import sys
from collections import Counter
from typing import Any

import orjson
from hypothesis import strategies as st

from kiel_logging.record.fields import to_fields
from kiel_logging.record.formats import LayOut

CREATED = 1_700_000_000.123456
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"

EXCEPTION = {
    "type": "shop.errors.Declined",
    "message": "no money",
    "traceback": "Traceback (most recent call last):\n  ...\nshop.errors.Declined: no money\n",
}


def logged(message: object = "hello", *args: object, **attributes: Any) -> logging.LogRecord:
    """A record as a logger makes it, the same on every machine; attributes added or replaced."""
    record = logging.LogRecord(
        "shop.cart", logging.WARNING, "/srv/shop/cart.py", 42, message, args, None, "add"
    )
    record.created, record.msecs = CREATED, 123.0
    record.process, record.processName = 4711, "MainProcess"
    record.thread, record.threadName = 140_000_000_000_001, "MainThread"
    record.__dict__.update(attributes)
    return record


def plain_fields(**changes: Any) -> dict[str, Any]:
    """The fields of ``logged()``, with some added or replaced."""
    return {
        "time": "2023-11-14T22:13:20.123456Z",
        "level": "WARNING",
        "logger": "shop.cart",
        "message": "hello",
        "module": "cart",
        "function": "add",
        "line": 42,
        "path": "/srv/shop/cart.py",
        "process": 4711,
        "process_name": "MainProcess",
        "thread": 140_000_000_000_001,
        "thread_name": "MainThread",
        "host": "web-1",
        **changes,
    }


def laid_out(lay_out: LayOut, fields: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    """A layout, which is JSON, the same the second time, and has changed nothing."""
    record, before = logged(**attributes), copy.deepcopy(fields)
    attributes_before = dict(record.__dict__)
    made = lay_out(fields, record)
    written = json.dumps(made)
    assert fields == before
    assert list(fields) == list(before)
    assert record.__dict__ == attributes_before
    assert json.dumps(lay_out(fields, record)) == written
    return made


def of_record(lay_out: LayOut, record: logging.LogRecord) -> dict[str, Any]:
    """The layout of a record as it is converted."""
    return lay_out(to_fields(record, None), record)


def fallen(error: BaseException) -> Any:
    """The exc_info of an error that was raised because of another."""
    try:
        try:
            raise KeyError("first")  # noqa: TRY301 - a cause is what is wanted
        except KeyError as first:
            raise error from first
    except type(error):
        return sys.exc_info()


# -- anything that is plain ------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
SCHEMAS_NAMES = [
    *[
        "",
        " ",
        ".",
        "a",
        "a.b",
        "a.b.c",
        "a_b",
        "a-b",
        "a b",
        "ä",
        "ö",
        "名前",
        "_",
        "_2",
        "_id",
        "id",
    ],
    *["@timestamp", "message", "log", "log.level", "log.origin", "log.origin.file.name.x", "ecs"],
    *["ecs.version", "error", "error.type", "error.stack_trace", "trace", "trace.id", "span.id"],
    *["labels", "labels.a", "labels.a.b", "labels_a", "user", "user.id", "url", "tags", "host"],
    *["host.hostname", "process", "process.pid", "process.thread.id", "service", "service.name"],
    *["code.file.path", "exception.type", "thread.id", "host.name", "trace_id", "span_id"],
    *["trace_flags", "short_message", "full_message", "timestamp", "version", "source", "file"],
    *["level_name", "exception_type", "exception_message", "_source", "streams", "kiel_logging"],
    *["extra", "level", "time", "path", "line", "thread", "stack", "exception", "logger"],
]
names = st.sampled_from(SCHEMAS_NAMES) | st.text(max_size=6)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)
extras = st.dictionaries(names, values, max_size=8)


def without_some(fields: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The fields that are left when some were excluded."""
    return st.sets(st.sampled_from(sorted(fields))).map(
        lambda excluded: {name: fields[name] for name in fields if name not in excluded}
    )


def as_json(value: Any) -> str:
    """Return a value as JSON, in which 1, True and 1.0 differ."""
    return json.dumps(value, sort_keys=True)


def lost(expected: list[Any], found: list[Any]) -> Counter[str]:
    """Return the expected values that are not found, as often; JSON in a text counts."""
    missing = Counter(map(as_json, expected)) - Counter(map(as_json, found))
    texts = Counter(value for value in map(_read, found) if value is not None)
    return missing - texts


def _read(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return as_json(orjson.loads(value))
    except orjson.JSONDecodeError:
        return None
