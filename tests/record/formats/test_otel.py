"""The format "otel": read by protobuf, and beside what OpenTelemetry's SDK exports."""

from __future__ import annotations

import base64
import copy
import json
import logging
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs._internal import std_to_otel
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from kiel_logging.record.formats.otel import lay_out, severity_number
from tests.record.formats.records import (
    EXCEPTION,
    SPAN_ID,
    TRACE_ID,
    extras,
    fallen,
    laid_out,
    logged,
    lost,
    of_record,
    plain_fields,
    without_some,
)
from tests.support.examples import examples


def read(made: dict[str, Any]) -> LogsData:
    """Return it as protobuf's own, strict reader reads it."""
    changed = copy.deepcopy(made)
    for record in changed["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
        assert type(record["severityNumber"]) is int  # names are not valid in OTLP's JSON
        for name in ("traceId", "spanId"):
            if name in record:
                # Bytes are base64 in protobuf's JSON; OTLP's has these two as hex digits.
                record[name] = base64.b64encode(bytes.fromhex(record[name])).decode()
    return json_format.Parse(json.dumps(changed), LogsData(), ignore_unknown_fields=False)


def parts(data: LogsData) -> tuple[dict[str, Any], str, LogRecord]:
    """The resource's attributes, the scope's name and the log record; there is one of each."""
    (logs,) = data.resource_logs
    (scope_logs,) = logs.scope_logs
    (record,) = scope_logs.log_records
    return from_key_values(logs.resource.attributes), scope_logs.scope.name, record


def from_key_values(values: Any) -> dict[str, Any]:
    """The dict of a list of KeyValue, whose keys must be unique and not empty (by the API)."""
    items: list[KeyValue] = list(values)
    made = {item.key: from_any_value(item.value) for item in items}
    assert len(made) == len(items)
    return made


def from_any_value(value: AnyValue) -> Any:
    """Return the value of an AnyValue."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [from_any_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return from_key_values(value.kvlist_value.values)
    return getattr(value, kind)


def parsed(**changes: Any) -> tuple[dict[str, Any], str, LogRecord]:
    """The same of fields with some added or replaced."""
    return parts(read(laid_out(lay_out, plain_fields(**changes))))


def attributes(**changes: Any) -> dict[str, Any]:
    """The record's attributes of it."""
    return from_key_values(parsed(**changes)[2].attributes)


OURS = {
    "code.file.path": "/srv/shop/cart.py",
    "code.function.name": "add",
    "code.line.number": 42,
    "thread.id": 140_000_000_000_001,
    "thread.name": "MainThread",
    "module": "cart",
    "process_name": "MainProcess",
}


def test_the_whole_object() -> None:
    """In OTLP's JSON: lowerCamelCase names, hex ids, 64-bit integers as decimal strings."""
    fields = {
        "time": "2023-11-14T22:13:20.123456Z",
        "level": "WARNING",
        "logger": "shop.cart",
        "message": "hello",
        "line": 42,
        "process": 4711,
        "host": "web-1",
        "service": "shop",
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "trace_flags": 1,
        "cart": {"items": [1, 1.5, True, None, "x"], "empty": {}},
    }
    items = [
        {"intValue": "1"},
        {"doubleValue": 1.5},
        {"boolValue": True},
        {},
        {"stringValue": "x"},
    ]
    cart = [
        {"key": "items", "value": {"arrayValue": {"values": items}}},
        {"key": "empty", "value": {"kvlistValue": {"values": []}}},
    ]
    record = {
        "timeUnixNano": "1700000000123456000",
        "observedTimeUnixNano": "1700000000123456000",
        "severityNumber": 13,
        "severityText": "WARN",
        "body": {"stringValue": "hello"},
        "flags": 1,
        "traceId": TRACE_ID,
        "spanId": SPAN_ID,
        "attributes": [
            {"key": "code.line.number", "value": {"intValue": "42"}},
            {"key": "cart", "value": {"kvlistValue": {"values": cart}}},
        ],
    }
    resource = [
        {"key": "service.name", "value": {"stringValue": "shop"}},
        {"key": "host.name", "value": {"stringValue": "web-1"}},
        {"key": "process.pid", "value": {"intValue": "4711"}},
    ]
    scope_logs = {"scope": {"name": "shop.cart"}, "logRecords": [record]}
    logs = {"resource": {"attributes": resource}, "scopeLogs": [scope_logs]}
    assert laid_out(lay_out, fields) == {"resourceLogs": [logs]}


def test_a_record_as_protobuf_reads_it() -> None:
    """Every part in its place."""
    resource, scope, record = parsed(trace_id=TRACE_ID.upper(), span_id=SPAN_ID, trace_flags=1)
    assert resource == {"host.name": "web-1", "process.pid": 4711}
    assert scope == "shop.cart"
    assert record.time_unix_nano == record.observed_time_unix_nano == 1_700_000_000_123_456_000
    assert record.severity_number == SeverityNumber.SEVERITY_NUMBER_WARN
    assert (record.severity_text, record.body.string_value, record.flags) == ("WARN", "hello", 1)
    assert (record.trace_id.hex(), record.span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert from_key_values(record.attributes) == OURS


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        (
            {"exception": EXCEPTION},
            {
                "exception.type": "shop.errors.Declined",
                "exception.message": "no money",
                "exception.stacktrace": EXCEPTION["traceback"],
            },
        ),
        ({"exception": {"traceback": "far away"}}, {"exception.stacktrace": "far away"}),
        ({"exception": "mine"}, {"exception": "mine"}),
        (
            {"exception": {"type": "T", "code": 3}},
            {"exception.type": "T", "exception": {"code": 3}},
        ),
        (
            {"exception": {"type": "T"}, "exception.type": "mine"},
            {"exception.type": "T", "exception.type_2": "mine"},
        ),
        ({"stack": "Stack ..."}, {"code.stacktrace": "Stack ..."}),
        ({"stack": ["a"]}, {"stack": ["a"]}),
        ({"task": "checkout"}, {"task": "checkout"}),
        ({"code.file.path": "mine", "": 1, "_": 2}, {"code.file.path_2": "mine", "_": 1, "__2": 2}),
        ({"body": 1, "flags": 2, "@timestamp": 3}, {"body": 1, "flags": 2, "@timestamp": 3}),
        ({"größe": 1, "名前": None}, {"größe": 1, "名前": None}),
        ({"big": 2**63, "small": -(2**63)}, {"big": str(2**63), "small": -(2**63)}),
        ({"trace_id": "0" * 32, "span_id": "xyz"}, {"trace_id": "0" * 32, "span_id": "xyz"}),
        (
            {"trace_id": TRACE_ID[:-1], "trace_flags": -1},
            {"trace_id": TRACE_ID[:-1], "trace_flags": -1},
        ),
        ({"trace_id": TRACE_ID + "\n"}, {"trace_id": TRACE_ID + "\n"}),
        ({"service": {"name": "shop"}}, {"service": {"name": "shop"}}),
        ({"host": 7, "time": "noon"}, {"host": 7, "time": "noon"}),
        ({"kiel_logging": {"cut": ["a"]}}, {"kiel_logging": {"cut": ["a"]}}),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_attributes(changes: dict[str, Any], added: dict[str, Any]) -> None:
    """By the semantic conventions, or their own names; none takes another's place."""
    assert attributes(**changes) == {**OURS, **added}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"service": "shop"}, "shop"),
        ({"service.name": "shop"}, "shop"),
        ({"service": "other", "service.name": "shop"}, "shop"),
    ],
    ids=["service", "service.name", "both"],
)
def test_the_service_is_of_the_resource(changes: dict[str, Any], name: str) -> None:
    """Where a field names it; no value is lost when two do."""
    resource, _, record = parsed(**changes)
    assert resource["service.name"] == name
    rest = {"service": "other"} if len(changes) == 2 else {}
    assert from_key_values(record.attributes) == {**OURS, **rest}


def test_other_parts_of_the_service_are_of_the_resource_too() -> None:
    """By the names of the semantic conventions."""
    given_fields = {"service.version": "1", "deployment.environment.name": "prod"}
    assert given_fields.items() <= parsed(**given_fields)[0].items()


def test_next_to_nothing_is_there_without_any_field() -> None:
    """Time and severity of the record."""
    resource, scope, record = parts(read(laid_out(lay_out, {})))
    assert (resource, scope) == ({}, "")
    assert not record.HasField("body")
    assert not record.attributes
    assert record.severity_number == 13
    assert record.time_unix_nano == 1_700_000_000_123_456_000


@pytest.mark.parametrize("message", [{"a": [1]}, ["x"], 7, True])
def test_a_message_may_be_any_value(message: Any) -> None:
    """A body is an AnyValue."""
    assert from_any_value(parsed(message=message)[2].body) == message


@pytest.mark.parametrize(
    ("created", "nanos"),
    [
        (0, 0),
        (-1, 0),
        (0.000001, 1000),
        (18_446_744_073, 18_446_744_073_000_000_000),
        (18_446_744_074, 0),
        (float("nan"), 0),
        (1e300, 0),
    ],
)
def test_times_that_have_no_form_are_unknown(created: float, nanos: int) -> None:
    """Nanoseconds are 64 bits without a sign; the field `time` then is an attribute."""
    made = laid_out(lay_out, plain_fields(time="???"), created=created)
    _, _, record = parts(read(made))
    assert record.time_unix_nano == record.observed_time_unix_nano == nanos
    assert from_key_values(record.attributes)["time"] == "???"


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v}], ids=["lists", "dicts"])
def test_what_is_nested_deeply_ends_as_json(wrap: Any) -> None:
    """Protobuf's readers give up at a depth of 100 messages."""
    value: Any = "the bottom"
    for _ in range(60):
        value = wrap(value)
    found = attributes(deep=value)["deep"]
    while not isinstance(found, str):
        value, found = (value[0], found[0]) if isinstance(found, list) else (value["a"], found["a"])
    assert json.loads(found) == value
    assert "the bottom" in found


# -- severities ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [*range(10, 60), 99, 100, 10**9])
def test_severities_are_the_sdk_s(level: int) -> None:
    """From DEBUG on, custom levels included."""
    assert severity_number(level) == std_to_otel(level).value


@pytest.mark.parametrize(
    ("level", "expected"),
    [(-1, 0), (0, 0), (1, 1), (4, 1), (5, 1), (6, 2), (7, 3), (8, 4), (9, 4)],
)
def test_below_debug_is_trace(level: int, expected: int) -> None:
    """Which the SDK leaves unspecified; 5 is what programs call TRACE."""
    assert severity_number(level) == expected
    assert std_to_otel(level).value == 0


@pytest.mark.parametrize(
    ("level", "text"),
    [("CRITICAL", "FATAL"), ("WARNING", "WARN"), ("INFO", "INFO"), ("AUDIT", "AUDIT")],
)
def test_severity_texts_are_the_sdk_s(level: str, text: str) -> None:
    """Custom ones as they are."""
    assert parsed(level=level)[2].severity_text == text


# -- the law ---------------------------------------------------------------------------------------

SPECIAL = {"time", "level", "exception"}
"""The fields that may go in part, or under another form; the tables above have them."""


@examples(250)
@given(without_some(plain_fields(exception=EXCEPTION, trace_id=TRACE_ID)), extras)
def test_any_fields_are_read_strictly(fields: dict[str, Any], extra: dict[str, Any]) -> None:
    """And every value is there, as often as the fields have it."""
    given_fields = {**fields, **extra}
    resource, scope, record = parts(read(laid_out(lay_out, given_fields)))
    found = [*resource.values(), *from_key_values(record.attributes).values()]
    found += [scope, from_any_value(record.body), record.trace_id.hex(), record.flags]
    assert "" not in from_key_values(record.attributes)
    expected = [
        value for name, value in given_fields.items() if name not in SPECIAL and value is not None
    ]
    assert not lost([big_as_text(value) for value in expected], found)


def big_as_text(value: Any) -> Any:
    """The value with integers that an AnyValue can't hold as text."""
    if isinstance(value, dict):
        return {key: big_as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [big_as_text(item) for item in value]
    return str(value) if type(value) is int and value >= 2**63 else value


# -- beside the SDK --------------------------------------------------------------------------------


def exported(record: logging.LogRecord) -> tuple[dict[str, Any], str, LogRecord]:
    """Return the result of the SDK's handler and exporter."""
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with pytest.warns(DeprecationWarning, match="LoggingHandler"):
        handler = LoggingHandler(logger_provider=provider)
    handler.handle(record)
    request = encode_logs(exporter.get_finished_logs())
    return parts(LogsData.FromString(request.SerializeToString()))


@pytest.mark.parametrize(
    "record",
    [
        logged("hello %s", "world"),
        logged(levelno=25, levelname="NOTICE"),
        logged(levelno=50, levelname="CRITICAL"),
        logged(exc_info=fallen(ValueError("why"))),
        logged(user_id=7, ratio=0.5, ok=True, none=None, cart={"items": [1, {"a": "b"}]}),
        logged(**{"größe": "ä", "http.request.method": "GET"}),
    ],
    ids=["args", "level", "critical", "exception", "nested", "names"],
)
def test_the_sdk_exports_the_same(record: logging.LogRecord) -> None:
    """As far as both say it: the SDK has no thread, module or process of the record."""
    _, their_scope, theirs = exported(record)
    _, our_scope, ours = parts(read(of_record(lay_out, record)))
    assert our_scope == their_scope
    assert abs(ours.time_unix_nano - theirs.time_unix_nano) < 1000  # a float's microseconds
    for name in ("severity_number", "severity_text", "body", "trace_id", "span_id", "flags"):
        assert getattr(ours, name) == getattr(theirs, name)
    our_attributes = from_key_values(ours.attributes)
    assert from_key_values(theirs.attributes).items() <= our_attributes.items()
