"""The format "otel": OpenTelemetry's log data model, in the JSON encoding of OTLP.

Each value is one ``LogsData`` (the same as an ``ExportLogsServiceRequest``), which the Collector's
Kafka receiver reads with the encoding ``otlp_json``. Sources: the data model
(https://opentelemetry.io/docs/specs/otel/logs/data-model/), OTLP's "JSON Protobuf Encoding"
(https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding), the semantic conventions.
"""

import logging
import re
from typing import Any, Final

from kiel_logging.record.fields import TRACE_FIELDS
from kiel_logging.record.formats import (
    INT64,
    KEY_VALUES,
    Layout,
    created_micros,
    created_text,
    free_name,
    split_exception,
)
from kiel_logging.record.item import level_of
from kiel_logging.record.plain import entries
from kiel_logging.record.strict_json import json_text

_RESOURCE: Final[dict[str, tuple[str, type]]] = {
    "service": ("service.name", str),
    "host": ("host.name", str),
    "process": ("process.pid", int),
}
_ATTRIBUTES: Final[dict[str, tuple[str, type]]] = {
    "path": ("code.file.path", str),
    "function": ("code.function.name", str),
    "line": ("code.line.number", int),
    "stack": ("code.stacktrace", str),
    "thread": ("thread.id", int),
    "thread_name": ("thread.name", str),
}
_EXCEPTION: Final = {
    "type": "exception.type",
    "message": "exception.message",
    "traceback": "exception.stacktrace",
}
_OF_THE_RESOURCE: Final = (
    "service.name",
    "service.namespace",
    "service.version",
    "service.instance.id",
    "deployment.environment.name",
)

# The SDK's names for them (opentelemetry.sdk._logs.LoggingHandler).
_SEVERITY_TEXTS: Final = {"WARNING": "WARN", "CRITICAL": "FATAL"}

_SPAN: Final = (
    ("trace_id", "traceId", re.compile("(?!0+$)[0-9a-fA-F]{32}")),
    ("span_id", "spanId", re.compile("(?!0+$)[0-9a-fA-F]{16}")),
)
_NANOS: Final = range(2**64)
_FLAGS: Final = range(2**32)

# protobuf's own readers give up at 100 messages in each other; a dict in a dict is three.
_DEEPEST: Final = 25


def lay_out(fields: dict[str, Any], record: logging.LogRecord) -> dict[str, Any]:
    """Return ``fields`` as the JSON of a ``LogsData`` with one log record in it.

    ``timeUnixNano``, ``observedTimeUnixNano`` (the same: it was observed where it was made) and
    ``severityNumber`` are of ``record``; a time before 1970 or after 2554 has no form, is "0" as
    specified for unknown ones, and leaves the field ``time`` to the attributes.

    The logger is the scope. ``host``, ``process`` and ``service`` are of the resource, as are
    ``service.name``, ``.namespace``, ``.version``, ``.instance.id`` and
    ``deployment.environment.name``. All else are attributes: by the names of the semantic
    conventions, or else their own (``module``, ``task``, ``process_name``, all extras); an extra
    whose name is taken gets _2 behind it. ``trace_id`` and ``span_id`` that no span can have are
    attributes as well: the Collector would refuse the record.
    """
    left = dict(fields)
    log_record = _times(left, record) | _severity(left, record) | _body(left)
    span = _span(left)  # it stands behind the attributes, where compiled code writes it
    scope = {"name": left.pop("logger")} if type(left.get("logger")) is str else {}
    resource = _resource(left)
    log_record |= {"attributes": _key_values(_attributes(left), 0), **span}
    scope_logs = {"scope": scope, "logRecords": [log_record]}
    logs = {"resource": {"attributes": _key_values(resource, 0)}, "scopeLogs": [scope_logs]}
    return {"resourceLogs": [logs]}


def _times(left: dict[str, Any], record: logging.LogRecord) -> dict[str, Any]:
    micros = created_micros(record)
    nanos = 0 if micros is None or micros * 1000 not in _NANOS else micros * 1000
    if nanos and left.get("time") == created_text(record):
        del left["time"]
    return {"timeUnixNano": str(nanos), "observedTimeUnixNano": str(nanos)}


def _severity(left: dict[str, Any], record: logging.LogRecord) -> dict[str, Any]:
    severity: dict[str, Any] = {"severityNumber": severity_number(level_of(record))}
    if type(left.get("level")) is str:
        level = left.pop("level")
        severity["severityText"] = _SEVERITY_TEXTS.get(level, level)
    return severity


def severity_number(level: int) -> int:
    """Return a level of logging's as a SeverityNumber, from 0 (unspecified) to 24 (FATAL4).

    10 to 50 and what is between are as the SDK's ``std_to_otel``: 20 is INFO, 21 INFO2, 23 to 29
    INFO4. So are levels below DEBUG with TRACE at 5, which the SDK leaves unspecified.
    """
    if level <= 0:
        return 0
    if level < 10:
        return 1 + min(max(level - 5, 0), 3)
    tens = min(level // 10, 5)
    return 4 * tens + 1 + min(level - 10 * tens, 3)


def _body(left: dict[str, Any]) -> dict[str, Any]:
    message = left.pop("message", None)
    return {} if message is None else {"body": _any_value(message, 0)}


def _span(left: dict[str, Any]) -> dict[str, Any]:
    span: dict[str, Any] = {}
    flags = left.get("trace_flags")
    if type(flags) is int and flags in _FLAGS:
        span["flags"] = left.pop("trace_flags")
    for name, target, form in _SPAN:
        if type(left.get(name)) is str and form.fullmatch(left[name]):
            span[target] = left.pop(name)
    return span


def _resource(left: dict[str, Any]) -> dict[str, Any]:
    resource = {name: left.pop(name) for name in _OF_THE_RESOURCE if left.get(name) is not None}
    for name, (target, kind) in entries(_RESOURCE):
        if name in left and target not in resource:
            _move(left, name, resource, target, kind)
    return resource


def _attributes(left: dict[str, Any]) -> dict[str, Any]:
    told, rest = split_exception(left)
    attributes: dict[str, Any] = {_EXCEPTION[name]: text for name, text in entries(told)}
    if told:
        del left["exception"]
    for name, (target, kind) in entries(_ATTRIBUTES):
        if name in left:
            _move(left, name, attributes, target, kind)
    if rest:
        left["exception"] = rest
    for name, value in entries(left):
        attributes[free_name(name or "_", attributes)] = value
    return attributes


def _move(
    left: dict[str, Any], name: str, target: dict[str, Any], target_name: str, kind: type
) -> None:
    """Move a field of the type that its place has; what a record hasn't just goes."""
    if left[name] is None:
        del left[name]
    elif type(left[name]) is kind:
        target[target_name] = left.pop(name)


def _key_values(values: dict[str, Any], depth: int) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value, depth)} for key, value in entries(values)]


def _any_value(value: Any, depth: int) -> dict[str, Any]:
    """Return the JSON of an AnyValue; {} for null, as specified."""
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        # 64-bit integers are decimal strings in protobuf's JSON; larger ones fit nowhere else.
        return {"intValue" if value in INT64 else "stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {} if value is None else _container(value, depth + 1)


def _container(value: Any, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        return {"stringValue": json_text(value)}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _key_values(value, depth)}}
    return {"arrayValue": {"values": [_any_value(item, depth) for item in value]}}


LAYOUT: Final = Layout(
    lay_out,
    style=KEY_VALUES,
    attributes=("levelno",),
    places=frozenset(
        (
            *_OF_THE_RESOURCE,
            *_RESOURCE,
            *_ATTRIBUTES,
            *(name for name, _ in _ATTRIBUTES.values()),
            *TRACE_FIELDS,
            "",
        )
    ),
)
