"""The value of a record as fields: our JSON, ECS, OTLP, GELF, text, and JSON of other programs.

Whatever a format calls a thing, it gets the name that our JSON has for it: ``logger``, ``host``,
``exception.type``. Nested objects become dotted names. Pure; no value raises, for anybody can write
to a topic.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from kiel_logging.proof import headers as names
from kiel_logging.proof.instances import INSTANCE
from kiel_logging.records import Header, TopicPartition

_DEEPEST: Final = 8
"""Objects in each other that become dotted names; what is deeper is shown as JSON."""

_MOST_DIGITS: Final = 18

LEVELS: Final[Mapping[str, int]] = {
    "TRACE": 5,
    "DEBUG": 10,
    "INFO": 20,
    "NOTICE": 25,
    "SUCCESS": 25,
    "WARN": 30,
    "WARNING": 30,
    "ERROR": 40,
    "CRITICAL": 50,
    "FATAL": 50,
    "ALERT": 50,
    "EMERGENCY": 50,
}
"""Names of levels, and logging's numbers for them."""


class Mark(NamedTuple):
    """The headers of proof: sender, number, and for the handler's own records what they report."""

    instance: str
    number: int
    event: str = ""
    details: bytes = b""


class Arrival(NamedTuple):
    """A record as it came from Kafka. ``timestamp`` is in milliseconds, below 0 without one."""

    at: TopicPartition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    timestamp: int

    @property
    def mark(self) -> Mark | None:
        """The headers of proof; None if there are none that make sense."""
        found = dict(self.headers)
        instance = (found.get(names.INSTANCE) or b"").decode("ascii", "replace")
        digits = (found.get(names.SEQUENCE) or b"").decode("ascii", "replace")
        is_number = digits.isdecimal() and digits.isascii() and len(digits) <= _MOST_DIGITS
        if not is_number or not INSTANCE.fullmatch(instance):
            return None
        event = (found.get(names.EVENT) or b"").decode("ascii", "replace")
        return Mark(instance, int(digits), event, found.get(names.DETAILS) or b"")

    @property
    def when(self) -> tuple[int, int]:
        """The time, and the number: many records share a millisecond."""
        mark = self.mark
        return self.timestamp, 0 if mark is None else mark.number


class Entry(NamedTuple):
    """One log record.

    Attributes:
        time: when it was logged, as RFC 3339 with milliseconds; "-" if nothing says so.
        level: its name; empty if there is none.
        severity: the level as a number of logging's; None if the name is not known.
        logger: its name, or empty.
        message: the text.
        fields: everything else, by dotted names.
    """

    time: str
    level: str
    severity: int | None
    logger: str
    message: str
    fields: dict[str, Any]


def entries(arrival: Arrival) -> list[Entry]:
    """Return the log records in the value: one, or for OTLP as many as there are."""
    if arrival.value is None:
        return [_entry({"message": "(no value)"}, arrival)]
    text = arrival.value.decode("utf-8", "backslashreplace")
    try:
        found = [_entry(fields, arrival) for fields in _read(text)]
    except (ValueError, RecursionError):  # no JSON, numbers of too many digits, nested too deep
        found = []
    return found or [_entry(_of_text(text), arrival)]


def _read(text: str) -> Iterator[dict[str, Any]]:
    document = json.loads(text, parse_constant=str)
    if not isinstance(document, dict):
        return
    if isinstance(document.get("resourceLogs"), list):
        yield from _of_otlp(document)
        return
    fields = flat(document)
    if "@timestamp" in fields and ("log.level" in fields or "ecs.version" in fields):
        yield _renamed(fields, _ECS)
    elif "short_message" in fields and "version" in fields:
        yield _of_gelf(fields)
    else:
        yield fields


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of nested objects by dotted names."""
    fields: dict[str, Any] = {}
    _flatten(document, "", 0, fields)
    return fields


def _flatten(document: Mapping[str, Any], prefix: str, depth: int, fields: dict[str, Any]) -> None:
    for name, value in document.items():
        if isinstance(value, dict) and value and depth < _DEEPEST:
            _flatten(value, f"{prefix}{name}.", depth + 1, fields)
        else:
            fields[f"{prefix}{name}"] = value


def text_of(value: Any) -> str:
    """Return a value as text: a string as it is, all else as JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (RecursionError, ValueError):
        return "…"


# -- what all formats end in -----------------------------------------------------------------------

# Other programs' names for it.
_MESSAGES: Final = ("message", "msg", "event")
_LEVELS: Final = ("level", "levelname", "severity")
_TIMES: Final = ("time", "timestamp", "asctime", "ts", "@timestamp")
_LOGGERS: Final = ("logger", "logger_name", "name")
_SEVERITY: Final = "severity number"
_NUMBERED: Final = re.compile(r"(?:Level )?(\d{1,3})")


def _entry(fields: dict[str, Any], arrival: Arrival) -> Entry:
    left = dict(fields)
    time = next(filter(None, (_moment(left.get(name)) for name in _TIMES)), "")
    for name in _TIMES:
        if time and _moment(left.get(name)) == time:
            del left[name]
            break
    message, level = _take(left, _MESSAGES), _take(left, _LEVELS)
    severity = left.pop(_SEVERITY, None)
    if message is None and (inner := [name for name in left if name.startswith("message.")]):
        message = {name.removeprefix("message."): left.pop(name) for name in inner}
    logger = _take(left, _LOGGERS)
    name = "" if level is None else text_of(level).upper()
    return Entry(
        time or shown_time(arrival.timestamp),
        name,
        severity if isinstance(severity, int) else severity_of(name),
        "" if logger is None else text_of(logger),
        "" if message is None else text_of(message),
        left,
    )


def _take(left: dict[str, Any], choices: Sequence[str]) -> Any:
    found = next((name for name in choices if left.get(name) is not None), None)
    return None if found is None else left.pop(found)


def severity_of(name: str) -> int | None:
    """Return the number of a level; None if it is not known."""
    if (known := LEVELS.get(name.upper())) is not None:
        return known
    digits = _NUMBERED.fullmatch(name.capitalize())
    return int(digits[1]) if digits and digits[1].isascii() else None


def _moment(value: Any) -> str:
    """Return a time in ISO 8601 as RFC 3339 in UTC; empty for anything else."""
    if not isinstance(value, str) or not 10 < len(value) < 40:
        return ""
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return _shown(moment)


def shown_time(ms: float) -> str:
    """Return milliseconds since the epoch as RFC 3339; "-" if that is no time."""
    try:
        return _shown(datetime.fromtimestamp(ms / 1000, UTC)) if ms >= 0 else "-"
    except (ValueError, OverflowError, OSError):
        return "-"


def _shown(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


# -- one format each -------------------------------------------------------------------------------

_TRACE: Final = re.compile(
    r"^(?:Traceback|  \+ Exception Group Traceback|Stack) \(most recent call last\):", re.MULTILINE
)
_BASIC: Final = re.compile(r"([A-Z]{3,10}):([^:\s]{1,200}):", re.ASCII)
"""What ``logging.BASIC_FORMAT`` makes."""
_WORD: Final = re.compile(rf"\b({'|'.join(LEVELS)})\b")
_LEVEL_WITHIN: Final = 120
"""Characters: a level that a Formatter writes is near the front."""

_ECS: Final[Mapping[str, str]] = {
    "@timestamp": "time",
    "log.level": "level",
    "log.logger": "logger",
    "log.origin.function": "function",
    "log.origin.file.line": "line",
    "log.origin.file.name": "file",
    "process.pid": "process",
    "process.name": "process_name",
    "process.thread.id": "thread",
    "process.thread.name": "thread_name",
    "host.hostname": "host",
    "error.type": "exception.type",
    "error.message": "exception.message",
    "error.stack_trace": "exception.traceback",
    "service.name": "service",
    "trace.id": "trace_id",
    "span.id": "span_id",
    "ecs.version": "",
}
_GELF: Final[Mapping[str, str]] = {
    "_level_name": "level",
    "_logger": "logger",
    "_file": "path",
    "_pid": "process",
    "_exception_type": "exception.type",
    "_exception_message": "exception.message",
    "_exception_traceback": "exception.traceback",
    "version": "",
}
_OTLP: Final[Mapping[str, str]] = {
    "code.file.path": "path",
    "code.function.name": "function",
    "code.line.number": "line",
    "code.stacktrace": "stack",
    "thread.id": "thread",
    "thread.name": "thread_name",
    "exception.stacktrace": "exception.traceback",
    "host.name": "host",
    "process.pid": "process",
    "service.name": "service",
}


def _renamed(fields: Mapping[str, Any], ours: Mapping[str, str]) -> dict[str, Any]:
    """Return fields by our names; labels by their own. Names that are taken stay as they are."""
    renamed: dict[str, Any] = {}
    for name, value in fields.items():
        target = ours.get(name, name.removeprefix("labels."))
        if target:
            renamed[name if target != name and target in renamed else target] = value
    return renamed


def _of_text(text: str) -> dict[str, Any]:
    message, trace = _split(text)
    fields: dict[str, Any] = {"exception.traceback": trace} if trace else {}
    if basic := _BASIC.match(message):
        level, logger = basic.groups()
        if level in LEVELS:
            return {**fields, "level": level, "logger": logger, "message": message[basic.end() :]}
    if word := _WORD.search(message[:_LEVEL_WITHIN]):
        fields["level"] = word[1]
    return {**fields, "message": message}


def _split(text: str) -> tuple[str, str]:
    """Return a message, and the traceback that a Formatter put behind it."""
    found = _TRACE.search(text)
    if found is None:
        return text.rstrip("\n"), ""
    return text[: found.start()].rstrip("\n"), text[found.start() :].rstrip("\n")


def _of_gelf(fields: dict[str, Any]) -> dict[str, Any]:
    left = dict(fields)
    short, severity = left.pop("short_message"), left.pop("level", None)
    message, trace = _split(text_of(left.pop("full_message", short)))
    left["message"] = message or ("" if trace else short)
    if trace:
        left["exception.traceback"] = trace
    seconds = left.get("timestamp")
    if isinstance(seconds, int | float):
        left["timestamp"] = shown_time(seconds * 1000)
    named = {_GELF.get(name, name.removeprefix("_")): value for name, value in left.items()}
    named.pop("", None)
    if severity in _SYSLOG:
        named[_SEVERITY] = _SYSLOG[severity]
        named.setdefault("level", _SYSLOG_NAMES[_SYSLOG[severity]])
    return named


_SYSLOG: Final[Mapping[Any, int]] = {0: 50, 1: 50, 2: 50, 3: 40, 4: 30, 5: 25, 6: 20, 7: 10}
_SYSLOG_NAMES: Final = {
    50: "CRITICAL",
    40: "ERROR",
    30: "WARNING",
    25: "NOTICE",
    20: "INFO",
    10: "DEBUG",
}


def _of_otlp(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource_logs in _objects(document, "resourceLogs"):
        resource = _attributes(_object(resource_logs, "resource"))
        for scope_logs in _objects(resource_logs, "scopeLogs"):
            scope = _object(scope_logs, "scope")
            for record in _objects(scope_logs, "logRecords"):
                yield _of_log_record(record, resource, scope)


def _of_log_record(
    record: dict[str, Any], resource: dict[str, Any], scope: dict[str, Any]
) -> dict[str, Any]:
    fields = _renamed(flat({**resource, **_attributes(record)}), _OTLP)
    for name, ours in (("traceId", "trace_id"), ("spanId", "span_id"), ("flags", "trace_flags")):
        if record.get(name):
            fields[ours] = record[name]
    own: dict[str, Any] = {
        "time": _of_nanos(record.get("timeUnixNano"))
        or _of_nanos(record.get("observedTimeUnixNano")),
        "level": _SEVERITY_TEXTS.get(str(record.get("severityText")), record.get("severityText")),
        "logger": scope.get("name"),
        "message": _any_value(record["body"]) if isinstance(record.get("body"), dict) else None,
    }
    number = record.get("severityNumber")
    if type(number) is int and 0 < number <= 24:
        own[_SEVERITY] = _SEVERITIES[(number - 1) // 4]
        own["level"] = own["level"] or _SYSLOG_NAMES.get(own[_SEVERITY], "TRACE")
    return {**fields, **{name: value for name, value in own.items() if value is not None}}


_SEVERITIES: Final = (5, 10, 20, 30, 40, 50)
_SEVERITY_TEXTS: Final = {"WARN": "WARNING", "FATAL": "CRITICAL"}


def _of_nanos(nanos: Any) -> str | None:
    if isinstance(nanos, str) and nanos.isdecimal() and len(nanos) < 25:
        nanos = int(nanos)
    if not isinstance(nanos, int) or nanos <= 0:
        return None
    return shown_time(nanos / 1_000_000)


def _objects(holder: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = holder.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    found = holder.get(name)
    return found if isinstance(found, dict) else {}


def _attributes(holder: dict[str, Any], name: str = "attributes") -> dict[str, Any]:
    return {
        str(one.get("key")): _any_value(_object(one, "value")) for one in _objects(holder, name)
    }


def _any_value(value: dict[str, Any]) -> Any:
    for kind, read in _KINDS.items():
        if kind in value:
            return read(value[kind])
    return None


def _int(value: Any) -> Any:
    is_short = isinstance(value, str) and len(value) <= _MOST_DIGITS + 2
    return int(value) if is_short and value.lstrip("-").isdecimal() else value


def _list(value: Any) -> Any:
    holder = value if isinstance(value, dict) else {}
    return [_any_value(one) for one in _objects(holder, "values")]


_KINDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "stringValue": lambda value: value,
    "boolValue": lambda value: value,
    "intValue": _int,
    "doubleValue": lambda value: value,
    "bytesValue": lambda value: value,
    "kvlistValue": lambda value: _attributes(value if isinstance(value, dict) else {}, "values"),
    "arrayValue": _list,
}
