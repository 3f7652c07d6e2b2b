"""The fields of a record: its own, those of its surroundings, and what options make of them."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import datetime
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from kiel_logging.errors import ConfigurationError
from kiel_logging.record.exceptions import describe_exception
from kiel_logging.record.fields import (
    context_choice,
    field_changes,
    rfc3339,
    to_fields,
    trace_ids,
)
from kiel_logging.record.plain import show
from tests.support.examples import examples

CREATED = 1_700_000_000.123456


class Unshowable:
    """An object that an `extra` may hold."""

    def __str__(self) -> str:
        raise RuntimeError("not today")

    __repr__ = __str__


def logged(message: object = "hello", *args: object, **attributes: Any) -> logging.LogRecord:
    """Return a record as a logger makes it, with attributes added or replaced."""
    record = logging.LogRecord(
        "shop.cart", logging.WARNING, "/srv/shop/cart.py", 42, message, args, None, "add"
    )
    record.created = CREATED
    record.__dict__.update(attributes)
    return record


def fields(message: object = "hello", *args: object, **attributes: Any) -> dict[str, Any]:
    """Return its fields."""
    return to_fields(logged(message, *args, **attributes), None)


def caught(raiser: Any) -> Any:
    """Return the exc_info of what is raised."""
    try:
        raiser()
    except Exception:
        return sys.exc_info()
    raise AssertionError("nothing was raised")


# -- a record's own --------------------------------------------------------------------------------


def test_a_record_has_these_fields() -> None:
    """A record without extras, a task, an exception and a stack has no others."""
    assert fields("hello %s", "world") == {
        "time": "2023-11-14T22:13:20.123456Z",
        "level": "WARNING",
        "logger": "shop.cart",
        "message": "hello world",
        "module": "cart",
        "function": "add",
        "line": 42,
        "path": "/srv/shop/cart.py",
        "process": os.getpid(),
        "process_name": "MainProcess",
        "thread": threading.get_ident(),
        "thread_name": threading.current_thread().name,
        "host": socket.gethostname(),
    }


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (
            {"user_id": 7, "cart": {"items": [1]}, "none": None},
            {"user_id": 7, "cart": {"items": [1]}, "none": None},
        ),
        (
            {"level": "mine", "host": None, "user_id": 7},
            {"level": "WARNING", "extra": {"level": "mine", "host": None}, "user_id": 7},
        ),
        ({"extra": "mine"}, {"extra": {"extra": "mine"}}),
        *[({name: "mine"}, {name: "mine"}) for name in ("task", "exception", "stack")],
    ],
)
def test_extras_stand_beside_them(extra: dict[str, Any], expected: dict[str, Any]) -> None:
    """An extra whose name is taken goes under ``extra``."""
    made = fields(**extra)
    assert expected.items() <= made.items()
    assert ("extra" in made) == ("extra" in expected)


def test_no_attribute_of_logging_is_an_extra() -> None:
    """Not those that a Formatter leaves in the record either."""
    record = logged()
    logging.Formatter("%(asctime)s %(message)s").format(record)
    assert to_fields(record, None).keys() == fields().keys()


@pytest.mark.parametrize(
    ("message", "args", "expected"),
    [
        ("plain", (), "plain"),
        ("100 %", (), "100 %"),
        ("%s and %d", ("one", 2), "one and 2"),
        ("%(name)s", ({"name": "by name"},), "by name"),
        (17, (), "17"),
        (["a", "list"], (), ["a", "list"]),
        ({"event": "login", "n": 1}, (), {"event": "login", "n": 1}),
        (["a", "list"], ("with arguments",), "['a', 'list'] [arguments "),
        (ValueError("an error"), (), "an error"),
    ],
)
def test_the_message_has_its_arguments(message: Any, args: Any, expected: Any) -> None:
    """As logging makes it; an object or a list is left as it is."""
    made = fields(message, *args)["message"]
    assert made == expected or made.startswith(expected)


@pytest.mark.parametrize(
    ("message", "args", "why"),
    [
        ("%d items", ("many",), "%d format: a real number is required, not str"),
        ("%s and %s", ("one",), "not enough arguments for format string"),
        ("no place", ("for me",), "not all arguments converted during string formatting"),
    ],
)
def test_arguments_that_do_not_fit(message: str, args: Any, why: str) -> None:
    """The record is shipped, with everything that was given."""
    expected = f"{message} [arguments {args} do not fit: {why}]"
    assert fields(message, *args)["message"] == expected


def test_a_message_that_can_not_be_shown() -> None:
    """It costs only its text."""
    made = fields("%s", Unshowable())
    assert "that can't be shown: RuntimeError" in made["message"]
    assert made["logger"] == "shop.cart"


class Braces(logging.LogRecord):
    """A record of a factory of the program."""

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        return str(self.msg).format(*(self.args or ()))


def test_a_formatter_makes_the_message() -> None:
    """The traceback has its own field; a record of another class makes its own text."""
    formatter = logging.Formatter("{levelname}: {message}", style="{")
    made = to_fields(logged("hi %s", "there", exc_info=caught(lambda: 1 / 0)), formatter)
    assert made["message"] == "WARNING: hi there"
    assert made["exception"]["type"] == "ZeroDivisionError"
    record = Braces("shop", logging.INFO, "shop.py", 1, "hi {}", ("bob",), None)
    assert to_fields(record, logging.Formatter())["message"] == "hi bob"


def test_a_formatter_that_raises_does_not_cost_the_record() -> None:
    """A Formatter may want an extra that this record lacks."""
    formatter = logging.Formatter("%(user_id)s %(message)s")
    message = to_fields(logged("hello"), formatter)["message"]
    assert message.startswith("hello [")
    assert "user_id" in message


@pytest.mark.parametrize("formatter", [None, logging.Formatter(), logging.Formatter("%(asctime)s")])
def test_the_record_is_not_changed(formatter: logging.Formatter | None) -> None:
    """Other handlers get it too, and a Formatter writes into the record that it is given."""
    record = logged("%s", ["mutable"], user_id=7, exc_info=caught(lambda: 1 / 0), stack_info="at")
    before = dict(record.__dict__)
    to_fields(record, formatter)
    assert record.__dict__ == before
    assert list(record.__dict__) == list(before)


def test_the_dict_is_a_new_one_each_time() -> None:
    """A serializer may change it."""
    record = logged(level="mine")
    to_fields(record, None)["extra"]["level"] = "changed"
    assert to_fields(record, None)["extra"] == {"level": "mine"}


# -- its exception and stack -----------------------------------------------------------------------


def test_no_exception_no_field() -> None:
    """Not with None for exc_info and not with three of it."""
    assert "exception" not in fields()
    assert "exception" not in fields(exc_info=(None, None, None))


def test_an_exception_has_type_message_and_traceback() -> None:
    """Its type is the name by which it is imported."""
    made = fields(exc_info=caught(lambda: {}["key"]))["exception"]
    assert (made["type"], made["message"]) == ("KeyError", "'key'")
    assert made["traceback"].startswith("Traceback (most recent call last):")
    assert made["traceback"].endswith("KeyError: 'key'\n")
    assert "test_fields.py" in made["traceback"]


class OuterError(Exception):
    """An exception of a module."""

    class InnerError(Exception):
        """An exception of a class."""


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ValueError, "ValueError"),
        (OuterError, f"{__name__}.OuterError"),
        (OuterError.InnerError, f"{__name__}.OuterError.InnerError"),
        (socket.gaierror, "socket.gaierror"),
    ],
)
def test_the_type_is_where_it_can_be_found(kind: type[Exception], name: str) -> None:
    """Builtins have no module in front."""
    assert describe_exception(kind, kind("why"), None)["type"] == name


def test_an_exception_that_can_not_be_shown() -> None:
    """Its type is shown."""

    class Shy(Exception):
        __str__ = Unshowable.__str__

    made = describe_exception(Shy, Shy(), None)
    assert made["type"].endswith("Shy")
    assert made["message"] == "<Shy that can't be shown: RuntimeError>"
    assert made["traceback"]


def test_an_exception_that_came_as_text() -> None:
    """Over a queue or a socket, tracebacks travel as text."""
    made = fields(exc_info=None, exc_text="Traceback ...\nValueError: far away")
    assert made["exception"] == {"traceback": "Traceback ...\nValueError: far away"}


def test_the_exception_itself_goes_before_its_text() -> None:
    """Another handler's Formatter has left the text in the record."""
    record = logged(exc_info=caught(lambda: 1 / 0))
    logging.Formatter().format(record)
    assert to_fields(record, None)["exception"]["type"] == "ZeroDivisionError"


def test_a_stack_is_a_field() -> None:
    """A record without one lacks the field."""
    assert fields(stack_info="Stack (most recent call last):\n  ...")["stack"].startswith("Stack")
    assert "stack" not in fields()


# -- tasks -----------------------------------------------------------------------------------------


def test_the_task_that_logs_is_named() -> None:
    """By the record, or before Python 3.12 as the current task."""

    async def log() -> dict[str, Any]:
        return fields()

    async def main() -> dict[str, Any]:
        return await asyncio.create_task(log(), name="checkout")

    assert asyncio.run(main())["task"] == "checkout"


def test_outside_of_tasks_there_is_none() -> None:
    """A callback of a running loop has none either."""
    seen: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: seen.append(fields()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert "task" not in seen[0]
    assert "task" not in fields()


# -- time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (0.000001, "1970-01-01T00:00:00.000001Z"),
        (0.9999996, "1970-01-01T00:00:01.000000Z"),
        (1_700_000_000, "2023-11-14T22:13:20.000000Z"),
        (951_782_400.5, "2000-02-29T00:00:00.500000Z"),
        (4_102_444_799.999999, "2099-12-31T23:59:59.999999Z"),
        (-0.5, "1969-12-31T23:59:59.500000Z"),
    ],
)
def test_times_are_rfc_3339(created: float, expected: str) -> None:
    """They are UTC, have microseconds, and never sixty seconds."""
    assert rfc3339(created) == expected


@examples(300)
@given(st.integers(0, 7_000_000_000_000_000))
def test_a_time_is_the_same_for_datetime(micros: int) -> None:
    """It is exact to the microsecond."""
    created = micros / 1_000_000
    read = datetime.datetime.fromisoformat(rfc3339(created))
    assert read.tzinfo == datetime.UTC
    assert abs(read.timestamp() * 1_000_000 - micros) <= 1


def test_show_never_raises() -> None:
    """It returns ``str()`` where that works, and else names the type and the error."""
    assert [show(value) for value in ("text", 7, None)] == ["text", "7", "None"]
    assert show(Unshowable()) == "<Unshowable that can't be shown: RuntimeError>"


# -- its context -----------------------------------------------------------------------------------

REQUEST: ContextVar[Any] = ContextVar("REQUEST")
TENANT: ContextVar[Any] = ContextVar("TENANT", default="none")


def taken(context: Any) -> Mapping[str, Any]:
    """Return the fields that are taken here and now."""
    take = context_choice(context)
    assert take is not None
    return take()


def alone(run: Any, *args: Any) -> Any:
    """Run in a context in which no ContextVar has a value."""
    return contextvars.Context().run(run, *args)


def test_a_variable_is_read_each_time() -> None:
    """One without a value or a default is left out; all values are taken as they are."""
    take = context_choice({"request": REQUEST, "tenant": TENANT})
    assert take is not None

    def run() -> list[Any]:
        seen = [take()]
        for value in ("r-1", 7, None, "", {"id": 7}):
            token = REQUEST.set(value)
            seen.append(take())
            REQUEST.reset(token)
        return [*seen, take()]

    values = [{"request": value} for value in ("r-1", 7, None, "", {"id": 7})]
    assert alone(run) == [{"tenant": "none", **value} for value in [{}, *values, {}]]


def test_each_task_has_its_own() -> None:
    """Tasks that take turns see their own values."""
    take = context_choice({"request": REQUEST})
    assert take is not None

    async def request(number: int) -> Any:
        REQUEST.set(number)
        await asyncio.sleep(0)
        return take()

    async def main() -> Any:
        return await asyncio.gather(*(request(number) for number in range(3)))

    assert asyncio.run(main()) == [{"request": 0}, {"request": 1}, {"request": 2}]


@pytest.mark.parametrize(
    "values",
    [{}, {"request": 7, "user": {"id": 7}}, MappingProxyType({"request": 7})],
    ids=["empty", "dict", "mapping"],
)
def test_a_callable_returns_the_fields(values: Mapping[str, Any]) -> None:
    """In a mapping of any kind."""
    assert taken(lambda: values) == values


def test_the_mapping_of_a_callable_is_copied() -> None:
    """The program may change it later; names that are no texts become texts."""
    values = {7: "seven", None: "none", Unshowable(): 1}
    taken_before = taken(lambda: values)  # type: ignore[arg-type,return-value]
    values.clear()
    unshowable = "<Unshowable that can't be shown: RuntimeError>"
    assert taken_before == {"7": "seven", "None": "none", unshowable: 1}


def fail(error: Exception) -> Any:
    """Raise in an expression."""
    raise error


class HostileMapping(Mapping[str, Any]):
    """A mapping that can't be looked into."""

    def __getitem__(self, *_: Any) -> Any:
        raise RuntimeError("not today")

    __iter__ = __len__ = __getitem__


class Late(Mapping[str, Any]):
    """A mapping that fails when its items are fetched."""

    def __getitem__(self, key: str) -> Any:
        raise LookupError("the request is gone")

    def __iter__(self) -> Iterator[str]:
        return iter(["request"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("context", "what"),
    [
        (lambda: fail(RuntimeError("no request")), "RuntimeError: no request"),
        (
            lambda: fail(ValueError(Unshowable())),
            "ValueError: <ValueError that can't be shown: RuntimeError>",
        ),
        (lambda needed: {}, "TypeError: "),
        (HostileMapping, "RuntimeError: not today"),
        (Late, "LookupError: the request is gone"),
        (lambda: None, "NoneType returned: it must be a mapping"),
        (lambda: [("request", 7)], "list returned: it must be a mapping"),
    ],
    ids=["raises", "unshowable", "arguments", "hostile", "late", "None", "list"],
)
def test_a_callable_that_fails_costs_no_record(context: Any, what: str) -> None:
    """The record says what went wrong, and has no field from it."""
    fields = taken(context)
    assert fields.keys() == {"kiel_logging"}
    assert fields["kiel_logging"].keys() == {"context"}
    assert fields["kiel_logging"]["context"].startswith(what)


def test_an_exit_in_a_callable_is_let_through() -> None:
    """A callable may be interrupted like any code."""

    def context() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taken(context)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (7, "context=7 must be a mapping of names of fields to ContextVars, or a callable that "),
        ("shop.context", "context='shop.context' must be a mapping of names of fields to Context"),
        ([REQUEST], "context=[<ContextVar name='REQUEST' at "),
        (REQUEST, "context=<ContextVar name='REQUEST' at "),
        ({"": REQUEST}, "context has '': each name must be a str, and not empty"),
        ({7: REQUEST}, "context has 7: each name must be a str, and not empty"),
        ({"request": "r-1"}, "context has 'request': 'r-1', which is no ContextVar; in a dictC"),
        ({"request": REQUEST.get}, "context has 'request': <built-in method get of "),
        ({"level": REQUEST}, "context has 'level': that is a field of the record's own, choose"),
        ({"kiel_logging": REQUEST}, "context has 'kiel_logging': that is a field of the record's"),
    ],
)
def test_a_bad_context_is_refused(context: Any, message: str) -> None:
    """When the handler is made."""
    with pytest.raises(ConfigurationError) as refused:
        context_choice(context)
    assert str(refused.value).startswith(message)


# -- its span --------------------------------------------------------------------------------------

TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
UNSAMPLED = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("tests")


SAMPLED = 1
"""The lowest bit of the flags; the next one says that the trace id is random."""


def ids_of(span: trace.Span) -> dict[str, Any]:
    """Return them as OpenTelemetry writes them."""
    context = span.get_span_context()
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
        "trace_flags": int(context.trace_flags),
    }


def in_a_span_with(trace_id: int, span_id: int, flags: int = 1) -> Any:
    """Return the ids within a span that came from elsewhere, with these ids."""
    context = trace.SpanContext(trace_id, span_id, True, trace.TraceFlags(flags))
    with trace.use_span(trace.NonRecordingSpan(context)):
        return trace_ids()


def test_in_a_span() -> None:
    """The ids are those of the innermost span, and say whether it is sampled; outside of spans, and
    in a thread with a context of its own, there are none."""
    alone_in_a_thread: list[Any] = []
    before = dict(trace_ids())
    with TRACER.start_as_current_span("order") as outer:
        with UNSAMPLED.start_as_current_span("payment") as inner:
            within = trace_ids()
        after = trace_ids()
        thread = threading.Thread(target=lambda: alone_in_a_thread.append(alone(trace_ids)))
        thread.start()
        thread.join()
    assert (before, within, after) == ({}, ids_of(inner), ids_of(outer))
    assert (within["trace_flags"] & SAMPLED, after["trace_flags"] & SAMPLED) == (0, SAMPLED)
    assert (trace_ids(), alone_in_a_thread) == ({}, [{}])


hex_ids = st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255)


@given(*hex_ids)
def test_ids_are_hex_of_their_full_length(trace_id: int, span_id: int, flags: int) -> None:
    """With their leading zeros; numbers of the types that JSON has."""
    ids = in_a_span_with(trace_id, span_id, flags)
    assert re.fullmatch("[0-9a-f]{32}", ids["trace_id"])
    assert re.fullmatch("[0-9a-f]{16}", ids["span_id"])
    assert (int(ids["trace_id"], 16), int(ids["span_id"], 16)) == (trace_id, span_id)
    assert ids["trace_flags"] == flags
    assert [type(value) for value in ids.values()] == [str, str, int]


@pytest.mark.parametrize(("trace_id", "span_id"), [(0, 0), (0, 7), (7, 0), (2**128, 7), (7, 2**64)])
def test_in_a_span_that_is_not_valid(trace_id: int, span_id: int) -> None:
    """As W3C Trace Context has it: ids of zeros, or too long."""
    assert in_a_span_with(trace_id, span_id) == {}


@pytest.mark.parametrize(
    "module",
    [
        None,
        types.ModuleType("opentelemetry.trace"),
        types.SimpleNamespace(get_current_span=lambda: None),
        types.SimpleNamespace(get_current_span=lambda: 1 / 0),
    ],
    ids=["kept out", "half imported", "no span", "raises"],
)
def test_it_never_raises(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """A module of that name may be in any state."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", module)
    assert trace_ids() == {}


def test_open_telemetry_is_not_imported() -> None:
    """Unless the program has imported it, it costs a look into a dict."""
    code = (
        "import json, sys\n"
        "from kiel_logging.record.fields import trace_ids\n"
        "ids = dict(trace_ids())\n"
        "print(json.dumps([ids, [name for name in sys.modules if 'opentelemetry' in name]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert json.loads(done.stdout) == [{}, []]


NOTHING: dict[str, Any] = {"fields": None, "rename": None, "exclude": None}


def changed(given_fields: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return the fields after these changes."""
    change = field_changes(**{**NOTHING, **options})
    assert change is not None
    return change(dict(given_fields))


class Hostile(dict[str, Any]):
    """A dict with broken methods of the program."""

    def __contains__(self, key: object) -> bool:
        raise RuntimeError("not today")

    __getitem__ = __iter__ = keys = items = get = __contains__  # type: ignore[assignment]


# -- changes ---------------------------------------------------------------------------------------


def test_static_fields_are_added() -> None:
    """They stand behind the others, in their order, with any value."""
    value = object()
    made = changed({"message": "hi"}, fields={"environment": "test", "x": value, "n": None})
    assert list(made.items()) == [
        ("message", "hi"),
        ("environment", "test"),
        ("x", value),
        ("n", None),
    ]


@pytest.mark.parametrize("own", ["mine", None, 0, {}], ids=repr)
def test_a_field_of_the_record_stays(own: Any) -> None:
    """The place that logs knows more than the whole program."""
    assert changed({"team": own}, fields={"team": "shop"}) == {"team": own}


@pytest.mark.parametrize(
    ("before", "exclude", "after"),
    [
        ({"a": 1, "b": 2, "c": 3}, ("a", "c"), {"b": 2}),
        ({"a": 1}, {"a"}, {}),
        ({"a": 1}, ["b", "b.c", "a.b", "a."], {"a": 1}),
        ({"a.b": 1, "a": {"b": 2, "c": 3}}, ["a.b"], {"a": {"c": 3}}),
        ({"a": {"b.c": 1, "b": {"c": 2, "d": 3}}}, ["a.b.c"], {"a": {"b": {"d": 3}}}),
        ({"a": [{"b": 1}]}, ["a.b", "a.0"], {"a": [{"b": 1}]}),
        ({"a": OrderedDict(b=1, c=2)}, ["a.b"], {"a": {"c": 2}}),
        ({"a": Hostile(b=1, c=2)}, ["a.b"], {"a": {"c": 2}}),
        ({"a": {"b": Hostile(c=1)}}, ["a.b.c"], {"a": {"b": {}}}),
        ({"a": None, "b": 7, "c": "text"}, ["a.b", "b.c", "c.d"], {"a": None, "b": 7, "c": "text"}),
    ],
    ids=str,
)
def test_names_are_left_out(before: dict[str, Any], exclude: Any, after: dict[str, Any]) -> None:
    """Names of fields, and dotted paths into nested dicts; unknown ones change nothing."""
    assert changed(before, exclude=exclude) == after


@pytest.mark.parametrize(
    ("before", "rename", "after"),
    [
        ({"a": 1, "b": 2, "c": 3}, {"b": "z"}, {"a": 1, "z": 2, "c": 3}),
        ({"a": 1, "b": 2}, {"a": "x", "b": "y"}, {"x": 1, "y": 2}),
        ({"a": 1}, {"b": "z"}, {"a": 1}),
        ({"a": 1}, {"a": "a"}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": "b", "b": "a"}, {"b": 1, "a": 2}),
        ({"a": 1, "b": 2}, {"a": "b", "b": "c"}, {"b": 1, "c": 2}),
        ({"b": 2}, {"a": "b", "b": "c"}, {"c": 2}),
        ({"a": {"b": 1}}, {"a.b": "z"}, {"a": {"b": 1}}),
        ({"a.b": 1}, {"a.b": "z"}, {"z": 1}),
        ({"a": 1}, {"a": "x.y"}, {"x.y": 1}),
        ({"a": None}, {"a": "z"}, {"z": None}),
    ],
    ids=str,
)
def test_fields_are_renamed(
    before: dict[str, Any], rename: dict[str, str], after: dict[str, Any]
) -> None:
    """All together, and each keeps its place."""
    assert list(changed(before, rename=rename).items()) == list(after.items())


@pytest.mark.parametrize(
    ("before", "rename", "after"),
    [
        ({"a": 1, "b": 2}, {"a": "b"}, {"b": 1, "extra": {"b": 2}}),
        (
            {"a": 1, "b": 2, "c": 3, "d": 4},
            {"a": "b", "c": "d"},
            {"b": 1, "d": 3, "extra": {"b": 2, "d": 4}},
        ),
        ({"a": 1, "b": 2, "extra": {"x": 3}}, {"a": "b"}, {"b": 1, "extra": {"x": 3, "b": 2}}),
        (
            {"a": 1, "b": 2, "extra": {"b": 3}},
            {"a": "b"},
            {"b": 1, "extra": {"b": 3, "extra": {"b": 2}}},
        ),
        (
            {"a": 1, "b": 2, "extra": {"b": 3, "extra": "x"}},
            {"a": "b"},
            {"b": 1, "extra": {"b": 3, "extra": {"extra": "x", "b": 2}}},
        ),
        ({"a": 1, "b": 2, "extra": "x"}, {"a": "b"}, {"b": 1, "extra": {"extra": "x", "b": 2}}),
        (
            {"a": 1, "b": 2, "extra": {"x": 3}},
            {"a": "b", "extra": "labels"},
            {"b": 1, "labels": {"x": 3, "b": 2}},
        ),
        (
            {"a": 1, "b": 2, "labels": 3},
            {"extra": "labels", "a": "b"},
            {"b": 1, "labels": {"b": 2, "labels": 3}},
        ),
        ({"b": 2}, {"a": "b"}, {"b": 2}),
    ],
    ids=str,
)
def test_a_field_whose_name_is_given_away_is_not_lost(
    before: dict[str, Any], rename: dict[str, str], after: dict[str, Any]
) -> None:
    """It moves under `extra`, like an extra whose name is taken."""
    assert changed(before, rename=rename) == after


def test_the_order_of_changes() -> None:
    """Static fields are fields as any other; a name that was left out is free."""
    options = {"fields": {"c": 3, "d": 4}, "exclude": ["b", "d"], "rename": {"a": "b", "c": "z"}}
    assert list(changed({"a": 1, "b": 2}, **options).items()) == [("b", 1), ("z", 3)]


letters = st.sampled_from("abcdef")
values = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(letters | st.just("extra"), inner, max_size=3),
    max_leaves=8,
)
records = st.dictionaries(letters, values, max_size=6)
with_extra = st.builds(
    lambda fields, extra: {**fields, "extra": extra}, records, st.dictionaries(letters, values)
)


def numbered(fields: dict[str, Any], counter: list[int]) -> dict[str, Any]:
    """Return the same with another number at each leaf, to find them again."""

    def number(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: number(inner) for name, inner in value.items()}
        counter[0] += 1
        return counter[0]

    return {name: number(value) for name, value in fields.items()}


def leaves(value: Any) -> list[int]:
    """Return all numbers in it."""
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    return [value]


@given(
    records | with_extra,
    st.dictionaries(st.sampled_from("abcdefxyz"), letters | st.just("extra"), min_size=1),
)
def test_renaming_loses_nothing(fields: dict[str, Any], targets: dict[str, str]) -> None:
    """Each field is found under its new name."""
    rename = {name: target for target, name in targets.items()}
    fields = numbered(fields, [0])
    before = copy.deepcopy(fields)
    made = changed(fields, rename=rename)
    assert sorted(leaves(made)) == sorted(leaves(before))
    for name in rename.keys() & fields.keys() - {"extra"}:
        assert made[rename[name]] == before[name]
    assert fields == before


@given(
    records,
    st.lists(st.lists(letters, min_size=1, max_size=3).map(".".join), min_size=1, max_size=4),
)
def test_what_is_left_out_is_gone_and_nothing_else(
    fields: dict[str, Any], exclude: list[str]
) -> None:
    """The dicts of the program are not changed."""
    before = copy.deepcopy(fields)
    made = changed(fields, exclude=exclude)
    assert fields == before
    assert paths(made) == {
        path
        for path in paths(before)
        if not any(path == name or path.startswith(f"{name}.") for name in exclude)
    }


def paths(value: Any, above: str = "") -> set[str]:
    """Return every dotted path in it."""
    if not isinstance(value, dict):
        return set()
    here = {f"{above}{name}" for name in value}
    return here.union(*(paths(inner, f"{above}{name}.") for name, inner in value.items()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": "a"}, "fields='a' must be a mapping of names to values, such as {'environ"),
        ({"fields": {"": 1}}, "fields has '': each name must be a str, and not empty"),
        ({"fields": {"kiel_logging": 1}}, "fields has 'kiel_logging': that is a field of the rec"),
        ({"rename": "a"}, "rename='a' must be a mapping of names of fields to new names, such as"),
        ({"rename": {"a": ""}}, "rename has '': each name must be a str, and not empty"),
        ({"rename": {"a": None}}, "rename has None: each name must be a str, and not empty"),
        (
            {"rename": {"a": "c", "b": "c"}},
            "rename={'a': 'c', 'b': 'c'} gives two fields the name 'c'",
        ),
        ({"rename": {"a": "extra"}}, "rename has 'extra': that is a field of the handler's own"),
        ({"rename": {"a": "kiel_logging"}}, "rename has 'kiel_logging': that is a field of the"),
        ({"exclude": "thread"}, "exclude='thread' must be a list of names of fields, such as ['t"),
        ({"exclude": [""]}, "exclude has '': each name must be a str, and not empty"),
        (
            {"exclude": ["b", "a"], "rename": {"a": "z"}},
            "exclude and rename both have 'a': choose one",
        ),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    """When the handler is made."""
    with pytest.raises(ConfigurationError) as refused:
        field_changes(**{**NOTHING, **options})
    assert str(refused.value).startswith(message)
