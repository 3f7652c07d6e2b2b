"""The format "ecs": what ecs-logging specifies, and what Elastic's own formatter makes."""

from __future__ import annotations

import json
import logging
from typing import Any

import ecs_logging
import pytest
from hypothesis import example, given

from kiel_logging.record.formats.ecs import ECS_VERSION, lay_out
from kiel_logging.record.strict_json import json_text
from tests.record.formats.records import (
    CREATED,
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

# https://github.com/elastic/ecs-logging/blob/main/spec/spec.json, what it says of each field.
REQUIRED = {"@timestamp": str, "log.level": str, "ecs.version": str}
IN_ORDER = ["@timestamp", "log.level", "message"]
TYPED = {
    "message": str,
    "labels": dict,
    "trace.id": str,
    "service.name": str,
    "process.thread.name": str,
    "log.logger": str,
    "log.origin.file.line": int,
    "log.origin.file.name": str,
    "log.origin.function": str,
    "error.type": str,
    "error.message": str,
    "error.stack_trace": str,
}


def document(**changes: Any) -> dict[str, Any]:
    """The document of fields with some added or replaced."""
    return laid_out(lay_out, plain_fields(**changes))


THE_REST = {
    "log": {
        "origin": {"file": {"name": "cart.py", "line": 42}, "function": "add"},
        "logger": "shop.cart",
    },
    "process": {
        "pid": 4711,
        "name": "MainProcess",
        "thread": {"id": 140_000_000_000_001, "name": "MainThread"},
    },
    "host": {"hostname": "web-1"},
    "module": "cart",
    "path": "/srv/shop/cart.py",
}
WHOLE = {
    "@timestamp": "2023-11-14T22:13:20.123456Z",
    "log.level": "warning",
    "message": "hello",
    "ecs.version": "1.6.0",
    **THE_REST,
}


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({}, {}),
        (
            {"exception": EXCEPTION},
            {
                "error": {
                    "type": "shop.errors.Declined",
                    "message": "no money",
                    "stack_trace": EXCEPTION["traceback"],
                }
            },
        ),
        ({"exception": {"traceback": "far away"}}, {"error": {"stack_trace": "far away"}}),
        ({"stack": "Stack ..."}, {"error": {"stack_trace": "Stack ..."}}),
        (
            {"exception": {"traceback": "far away"}, "stack": "Stack ..."},
            {"error": {"stack_trace": "far away"}, "stack": "Stack ..."},
        ),
        (
            {"trace_id": TRACE_ID, "span_id": SPAN_ID, "trace_flags": 1},
            {"trace": {"id": TRACE_ID}, "span": {"id": SPAN_ID}, "trace_flags": 1},
        ),
        ({"task": "checkout", "user_id": 7}, {"task": "checkout", "user_id": 7}),
        ({"service": "shop"}, {"service": {"name": "shop"}}),
        (
            {"service.name": "shop", "service": {"version": "1"}},
            {"service": {"name": "shop", "version": "1"}},
        ),
        (
            {"kiel_logging": {"cut": ["payload"], "original_size": 9}},
            {"kiel_logging": {"cut": ["payload"], "original_size": 9}},
        ),
        ({"extra": {"level": "mine"}}, {"extra": {"level": "mine"}}),
    ],
    ids=[
        *["plain", "exception", "traceback only", "stack", "exception and stack", "trace"],
        *["extras", "service", "service.name", "notes", "extra"],
    ],
)
def test_the_whole_document(changes: dict[str, Any], added: dict[str, Any]) -> None:
    """Of fields that a record may have."""
    assert document(**changes) == {**WHOLE, **added}


@pytest.mark.parametrize(
    ("extra", "added"),
    [
        ({"http.request": {"method": "GET"}}, {"http": {"request": {"method": "GET"}}}),
        ({"http": {"request.method": "GET"}}, {"http": {"request": {"method": "GET"}}}),
        ({"a.b": 1, "a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": 1, "a.b": 2}, {"a": 1, "labels": {"a_b": 2}}),
        ({"a.b": 2, "a": 1}, {"a": {"b": 2}, "labels": {"a": 1}}),
        ({"a.b": 1, "a": {"b": 2}}, {"a": {"b": 1}, "labels": {"a_b": 2}}),
        ({"a": {}, "a.b": 1}, {"a": {"b": 1}}),
        ({"a.b": 1, "a": {}}, {"a": {"b": 1}}),
        ({"user": "bob"}, {"labels": {"user": "bob"}}),
        ({"user": {"id": 7}}, {"user": {"id": 7}}),
        ({"user": [{"id": 7}]}, {"labels": {"user": '[{"id":7}]'}}),
        ({"url": None}, {"labels": {"url": None}}),
        ({"@timestamp": "noon"}, {"labels": {"@timestamp": "noon"}}),
        ({"log": {"level": "mine"}}, {"labels": {"log_level": "mine"}}),
        ({"log.level": "mine", "log_level": 1}, {"labels": {"log_level": "mine"}, "log_level": 1}),
        ({"ecs.version": "9"}, {"labels": {"ecs_version": "9"}}),
        ({"log.origin": "here"}, {"labels": {"log_origin": "here"}}),
        ({"log.file.path": "x.log"}, {"log": {**THE_REST["log"], "file": {"path": "x.log"}}}),
        ({"log.logger.x": 1}, {"labels": {"log_logger_x": 1}}),
        (
            {"labels": {"a.b": 1, "a*b": 2, "a\\b": 3}},
            {"labels": {"a_b": 1, "a_b_2": 2, "a_b_3": 3}},
        ),
        ({"labels": "mine"}, {"labels": {"labels": "mine"}}),
        ({"labels": {}}, {}),
        ({"labels.x": [1, "two"]}, {"labels": {"x": [1, "two"]}}),
        ({"trace": "abc"}, {"labels": {"trace": "abc"}}),
        ({"trace.id": "abc"}, {"trace": {"id": "abc"}}),
        (
            {"trace_id": TRACE_ID, "trace.id": "b"},
            {"trace": {"id": TRACE_ID}, "labels": {"trace_id": "b"}},
        ),
        ({"exception": "mine"}, {"exception": "mine"}),
        (
            {"exception": {"type": "T", "code": 3}},
            {"error": {"type": "T"}, "exception": {"code": 3}},
        ),
        ({"tags": ["a", "b"]}, {"tags": ["a", "b"]}),
        ({"": 1, "..": 2}, {"_": 1, "labels": {"_____": 2}}),
        ({"a..b": 1, "c": {" ": 2}}, {"a": {"_": {"b": 1}}, "c": {"_": 2}}),
        ({"größe": 1, "名前": {"x": 2}}, {"größe": 1, "名前": {"x": 2}}),
        ({"nothing": None}, {"nothing": None}),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_extras(extra: dict[str, Any], added: dict[str, Any]) -> None:
    """Nested, in one form; what would stand in the way of a field is a label."""
    assert document(**extra) == {**WHOLE, **added}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"message": {"text": "hi"}}, {"message": '{"text":"hi"}'}),
        ({"message": [1, "hi"]}, {"message": '[1,"hi"]'}),
        ({"message": 7}, {"labels": {"message": 7}}),
        ({"message": None}, {}),
        ({"level": 7}, {"level": 7, "log.level": "warning"}),
        ({"level": "AUDIT"}, {"log.level": "audit"}),
        ({"time": "noon"}, {"time": "noon"}),
        ({"thread": None}, {}),
    ],
    ids=["object", "list", "number", "null", "no text", "custom", "time", "no thread"],
)
def test_a_field_that_was_made_something_else(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    """By a context value, a static field or a renaming: nothing is lost, nothing is false."""
    made = document(**changes)
    assert expected.items() <= made.items()
    assert "message" not in made or type(made["message"]) is str
    assert set(REQUIRED) <= set(made)


def test_what_is_required_is_there_without_any_field() -> None:
    """From the record; a message is optional."""
    assert laid_out(lay_out, {}) == {
        "@timestamp": "2023-11-14T22:13:20.123456Z",
        "log.level": "warning",
        "ecs.version": ECS_VERSION,
    }


@pytest.mark.parametrize("created", [float("nan"), 1e300, -1e15, None])
def test_a_time_that_is_none_is_the_epoch(created: Any) -> None:
    """And the field keeps its name, with what it says."""
    made = laid_out(lay_out, plain_fields(time="???"), created=created)
    assert made["@timestamp"] == "1970-01-01T00:00:00.000000Z"
    assert made["time"] == "???"


def test_a_path_that_was_changed_names_the_file() -> None:
    """Its last part."""
    assert document(path="/other/place.py")["log"]["origin"]["file"]["name"] == "place.py"


# -- the law ---------------------------------------------------------------------------------------


def leaves(value: dict[str, Any]) -> list[Any]:
    """All values that are no dicts, at any depth of dicts."""
    return [
        leaf
        for inner in value.values()
        for leaf in (leaves(inner) if isinstance(inner, dict) else [inner])
    ]


def at(made: dict[str, Any], name: str) -> Any:
    """The field that a name of the specification means, dotted or nested; None without one."""
    value: Any = made
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


def no_empty_name(value: dict[str, Any]) -> bool:
    """Whether Elasticsearch takes the names."""
    return all(
        name.strip() and (not isinstance(inner, dict) or no_empty_name(inner))
        for name, inner in value.items()
    )


@examples(250)
@given(without_some(plain_fields(exception=EXCEPTION, trace_id=TRACE_ID)), extras)
@example({}, {"a": {"b": 1}, "a.b": 1, "labels": {"a_b": 1}})
@example({}, {"exception": {"type": "x"}, "error.type": "x", "stack": "x"})
def test_any_fields_make_a_document(fields: dict[str, Any], extra: dict[str, Any]) -> None:
    """That follows the specification and has every value, as often as the fields have it."""
    given_fields = {**fields, **extra}
    made = laid_out(lay_out, given_fields)
    assert all(type(made[name]) is kind for name, kind in REQUIRED.items())
    assert [name for name in made if name in IN_ORDER] == list(made)[
        : 3 if "message" in made else 2
    ]
    assert all(
        at(made, name) is None or type(at(made, name)) is kind for name, kind in TYPED.items()
    )
    assert all(not isinstance(label, dict) for label in made.get("labels", {}).values())
    assert no_empty_name(made)
    given_fields.pop("time", None)
    if isinstance(level := given_fields.get("level"), str):
        given_fields["level"] = level.lower()
    if isinstance(message := given_fields.get("message"), dict | list):
        given_fields["message"] = json_text(message)
    expected = [leaf for leaf in leaves(given_fields) if leaf is not None]
    assert not lost(expected, leaves(made))


# -- beside ecs_logging ----------------------------------------------------------------------------


def theirs(record: logging.LogRecord) -> dict[str, Any]:
    """Return the result of Elastic's formatter."""
    made: dict[str, Any] = json.loads(ecs_logging.StdlibFormatter().format(logged_copy(record)))
    return made


def logged_copy(record: logging.LogRecord) -> logging.LogRecord:
    """Its formatter writes the message into the record."""
    return logging.makeLogRecord(record.__dict__)


@pytest.mark.parametrize(
    "record",
    [
        logged("hello %s", "world"),
        logged(levelno=25, levelname="NOTICE"),
        logged(exc_info=fallen(ValueError("why"))),
        logged(stack_info="Stack (most recent call last):\n  ..."),
        logged(exc_info=fallen(ValueError("why")), stack_info="Stack ..."),
        logged(user_id=7, cart={"items": [1, 2], "total": 9.5}),
        logged(**{"http.request": {"method": "GET"}, "http": {"version": "2"}}),
        logged(**{"event.dataset": "shop", "tags": ["a"], "größe": "ä"}),
        logged(thread=None, process=None),
    ],
    ids=["args", "level", "exception", "stack", "both", "nested", "dotted", "names", "no thread"],
)
def test_elastic_s_own_formatter_makes_the_same(record: logging.LogRecord) -> None:
    """Apart from what only one has: log.original here, host, module and path there."""
    ours, elastic_s = of_record(lay_out, record), theirs(record)
    assert list(ours)[:3] == list(elastic_s)[:3] == IN_ORDER
    # They have milliseconds; and of a traceback the frames alone, without causes.
    assert ours["@timestamp"][:23] == elastic_s.pop("@timestamp")[:23]
    frames = elastic_s.get("error", {}).get("stack_trace", "")
    assert frames in ours.get("error", {}).get("stack_trace", "")
    del elastic_s["log"]["original"]
    for part in (ours, elastic_s):
        part.get("error", {}).pop("stack_trace", None)
    ours.pop("stack", None)
    for name in ("@timestamp", "host", "module", "path"):
        del ours[name]
    ours.pop("task", None)
    elastic_s.pop("taskName", None)
    assert {k: v for k, v in ours.items() if v} == {k: v for k, v in elastic_s.items() if v}


def test_elastic_s_own_formatter_raises_where_ours_has_a_label() -> None:
    """A name that is a field's already costs it the record."""
    record = logged(**{"log.level": "mine"})
    with pytest.raises(TypeError, match="Type mismatch"):
        theirs(record)
    assert of_record(lay_out, record)["labels"] == {"log_level": "mine"}


def test_the_version_is_the_one_that_elastic_s_formatter_names() -> None:
    """The specification asks for 1.x."""
    assert theirs(logged(created=CREATED))["ecs.version"] == ECS_VERSION
