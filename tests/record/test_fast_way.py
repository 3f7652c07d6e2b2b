"""Compiled code makes the same items as the careful way, to the byte, or none."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import logging
import sys
import time
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kiel_logging.record import fast_way as module
from kiel_logging.record.item import Item
from tests.record.fast import fast_way, is_fast, needs_c, quick_item
from tests.record.test_conversion import conversion, record

WHO: ContextVar[Any] = ContextVar("who")

pytestmark = needs_c


class Shown:
    """Anything."""

    def __str__(self) -> str:
        return 'a "shown" \\ value'


OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "a key": {"key_field": "user"},
    "a key that is a field": {"key_field": "logger"},
    "a key that is an attribute": {"key_field": "levelname"},
    "context": {"context": {"who": WHO}},
    "a context that is called": {"context": lambda: {"user": "eve", "request": 7}},
    "static fields": {"fields": {"service": "shop", "port": 7.5, "tags": ["a", {"b": None}]}},
    "a key of a nested field": {"key_field": "cart.id"},
    "a topic by template": {"topic": "logs.{levelname}"},
    "rename": {"rename": {"time": "@timestamp", "message": "msg", "level": "severity"}},
    "exclude": {"exclude": ["thread", "host", "path", "process_name", "other.part"]},
    "rename and exclude": {"rename": {"host": "node"}, "exclude": ["level", "logger", "none"]},
    "redact": {"redact": ["password", "API-Key"]},
    "redact and more": {
        "redact": ["password"],
        "rename": {"host": "node"},
        "fields": {"service": {"name": "shop"}},
        "context": {"who": WHO},
        "headers": {"level": "levelname", "who": "who"},
        "key_field": "user",
    },
    "headers": {
        "headers": {"level": "levelname", "logger": "logger", "line": "line", "who": "user"}
    },
    "headers of other fields": {
        "headers": {"a": "a", "who": "who", "service": "service", "id": "cart.id", "p": "cart.x.y"},
        "context": {"who": WHO},
        "fields": {"service": "shöp"},
    },
    "ecs": {"format": "ecs"},
    "ecs and more": {
        "format": "ecs",
        "fields": {"service": "shop", "user.role": "admin", "labels": {"a": 1}, "x1": {}},
        "context": {"who": WHO},
        "rename": {"module": "code.module", "host": "node"},
        "exclude": ["thread", "path"],
        "redact": ["password"],
    },
    "otel": {"format": "otel"},
    "otel and more": {
        "format": "otel",
        "fields": {
            "service": "shop",
            "service.version": "7",
            "port": 7.5,
            "tags": ["a", {"b": None}],
        },
        "context": {"who": WHO},
        "rename": {"module": "code.module", "logger": "category"},
        "exclude": ["thread", "path"],
        "key_field": "user",
    },
    "a source": {"keep_source": True},
    "no room": {"max_size": 700},
}

PLAIN: dict[str, dict[str, Any]] = {
    "nothing": {},
    "texts": {"user": "ada", "text": 'a "quoted" \\ line\r\n\t\b\f\x00\x1f\x7f é 漢 😀'},
    "numbers": {"a": 0, "b": -1, "c": 2**63 - 1, "d": -(2**63), "e": True, "f": None},
    "floats": {"a": 0.1, "b": 1e22, "c": -0.0, "d": 5e-324},
    "containers": {"cart": {"id": 7, "tags": ["x", 1.5]}, "t": (1, (2, 3)), "e": [[], {}, ()]},
    "a long text": {"user": "x" * 2_000},
    "long texts": {"a": "x\n" * 900, "b": "é漢😀\\" * 300, "c": "\xe9" * 700},
    "a name that needs escapes": {'a "name"\n': 1, "é": 2},
    "a name with a dot": {"cart": {"id": 7}, "cart.id": 8, "cart.x.y": None},
    "paths": {"cart": {"id": "é", "x": {"y": ""}}},
    "names like a hidden one": {"passwords": [["a", 1], ["b", 2, 3]], "nopassword": "[x", "a": "{"},
    "a task": {"taskName": "Task-7"},
}
ODD: dict[str, dict[Any, Any]] = {
    "an object": {"it": Shown()},
    "an object in the message": {"args": (Shown(),)},
    "an object for a message": {"msg": Shown()},
    "a set, a time and a number": {"s": {4}, "t": datetime.time(1), "n": decimal.Decimal("1.50")},
    "a message of another handler's Formatter": {"message": "x", "asctime": "y", "user": 1},
    "odd keys": {"d": {1: 2, "\ud800": 3}},
    "a key that has another text": {"user": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)},
    "names that become the same": {b"level": 1, "x": 2},
    "NaN": {"user": float("nan")},
    "a lone surrogate": {"user": "\ud800"},
    "a lone surrogate in a name": {"\udfff": 1},
    "65 bits": {"user": 2**64},
    "64 bits": {"user": 2**64 - 1},
    "the name of a field": {"level": 1, "task": 2},
    "the name of the notes": {"kiel_logging": {"a": 1}, "extra": 2},
    "a name that is no text": {7: "x"},
    "an exception": {"exc_info": (ValueError, ValueError("x"), None)},
    "an exception's text": {"exc_text": "Traceback"},
    "a stack": {"stack_info": "Stack"},
    "arguments that do not fit": {"args": (1, 2, 3)},
    "a message that is no text": {"msg": 7, "args": ()},
    "a message that is an object": {"msg": {"event": "login"}, "args": ()},
    "a surrogate in the message": {"msg": "\ud800", "args": ()},
    "a key that is an object": {"user": Shown()},
    "many values": {"user": list(range(1_001))},
    "many values in many fields": {f"f{n}": list(range(500)) for n in range(4)},
    "many fields": {f"field {number}": number for number in range(501)},
    "too deep": {"user": [[[[[[[[7]]]]]]]]},
    "a cycle": {"user": (loop := [])},
    "no level": {"levelno": None},
    "a level that is a flag": {"levelno": True},
    "a time before 1970": {"created": -1.5},
    "a time that is no number": {"created": "x"},
    "an endless time": {"created": float("inf")},
    "a whole time": {"created": 1_600_000_000},
    "a time far off": {"created": 1e18},
    "a line that is no number": {"lineno": 1.5},
    "no thread": {"thread": None, "threadName": None, "process": None},
}
loop.append(loop)


TOUCHED: dict[str, tuple[str, dict[Any, Any]]] = {
    "hidden": ("redact", {"password": "secret"}),
    "hidden deep inside": ("redact", {"cart": {"items": [{"x": ({"api_KEY": 7},)}]}}),
    "a name that may be hidden": ("redact", {"cart": {"pa\u017f\u017fword": 7}}),
    "a new name": ("rename", {"severity": 1}),
    "an excluded name": ("rename and exclude", {"none": 1}),
    "a name with an excluded part": ("exclude", {"other": {"part": 1, "rest": 2}}),
    "a text by the name of an object": ("ecs", {"user": "ada"}),
    "a field that has a place": ("ecs", {"service": "shop"}),
    "labels": ("ecs", {"labels": {"a": 1}}),
    "a dot in a name": ("ecs", {"cart.id": 7}),
    "a dot in an inner name": ("ecs", {"cart": [{"a.b": 7}]}),
    "no name": ("ecs", {"cart": {"": 7}}),
    "spaces for a name": ("ecs", {"\u3000": 7}),
    "a name beside a static one with a dot": ("ecs and more", {"code": {"id": 7}}),
    "an attribute of the resource": ("otel", {"service.name": "shop"}),
    "the id of a span": ("otel", {"trace_id": "7"}),
    "the name of an attribute": ("otel", {"code.file.path": "x"}),
    "an attribute without a name": ("otel", {"": 7}),
    "hidden in an argument": ("redact", {"args": ({"password": 1},)}),
    "a name that ends in a hidden one": ("redact", {"cart": {"userPassword": 1}}),
    "a pair": ("redact", {"cart": [("password", 1)]}),
    "JSON": ("redact", {"cart": [' {"x": 1}']}),
    "JSON in an argument": ("redact", {"args": ('["x"]',)}),
    "JSON as the message": ("redact", {"msg": '{"x": 1}', "args": ()}),
    "JSON of the message and its arguments": ("redact", {"msg": '{"x": %s}', "args": (1,)}),
    "JSON as the name of a thread": ("redact", {"threadName": '{"password": 1}'}),
}


def with_attributes(attributes: dict[Any, Any]) -> logging.LogRecord:
    """A record with these, whatever their names are."""
    made = record()
    made.__dict__.update(attributes)
    return made


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time does not pass; no other test's OpenTelemetry is imported."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(
    "attributes", [*PLAIN.values(), *ODD.values(), *[one for _, one in TOUCHED.values()]]
)
def test_both_ways_agree(options: dict[str, Any], attributes: dict[str, Any]) -> None:
    """Whatever a record has and the options are, the fast item equals the careful one."""
    token = WHO.set("the context's")
    try:
        is_fast(with_attributes(attributes), **options)
    finally:
        WHO.reset(token)


@pytest.mark.parametrize("attributes", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize(
    "options", [name for name in OPTIONS if name not in ("no room", "a context that is called")]
)
def test_a_plain_record_needs_no_care(options: str, attributes: dict[str, Any]) -> None:
    """With each option that the fast way knows."""
    # A name that is not ASCII may be a hidden one.
    if "redact" in OPTIONS[options] and "é" in attributes:
        attributes = {"e": 2}
    if OPTIONS[options].get("format") == "ecs":  # where a user is an object, and dots divide names
        attributes = {
            name.replace("user", "u").replace(".", "_"): attributes[name] for name in attributes
        }
    assert is_fast(with_attributes(attributes), **OPTIONS[options])


@pytest.mark.parametrize("attributes", ODD.values(), ids=ODD)
def test_an_odd_record_needs_care(attributes: dict[str, Any]) -> None:
    """But for one with a level that is a flag, or without a thread. The ``__str__`` of an object
    might log: only the careful way calls it."""
    fine = ("64 bits", "no thread", "a key that has another text", "a cycle")
    needs_care = not is_fast(with_attributes(attributes), key_field="user")
    assert needs_care or attributes in [ODD[name] for name in fine]


@pytest.mark.parametrize("case", TOUCHED.values(), ids=TOUCHED)
def test_a_record_with_what_an_option_is_for_needs_care(case: tuple[str, dict[Any, Any]]) -> None:
    """Extras that are hidden, renamed or left out."""
    option, attributes = case
    assert not is_fast(with_attributes(attributes), **OPTIONS[option])


CAREFUL: dict[str, dict[str, Any]] = {
    "a key that is the exception": {"key_field": "exception"},
    "a key that is a static field": {"key_field": "service", "fields": {"service": "shop"}},
    "a static field that can't be shown": {"fields": {"service": float("nan")}},
    "a header of the message": {"headers": {"text": "message"}},
    "a header of an attribute of an attribute": {"headers": {"text": "args.name"}},
    "a header that is a number": {"headers": {"port": "port"}, "fields": {"port": 7}},
    "a header whose name is not ASCII": {"headers": {"grüße": "user"}},
    "redact a field that all have": {"redact": ["Thread-Name"]},
    "redact a new name": {"redact": ["node"], "rename": {"host": "node"}},
    "redact in a static field": {"redact": ["b"], "fields": {"a": [{"b": 1}]}},
    "rename the task": {"rename": {"task": "job"}},
    "rename to the name of a field": {"rename": {"level": "logger", "logger": "level"}},
    "rename a static field": {"rename": {"a": "b"}, "fields": {"a": 1}},
    "rename to a static field": {"rename": {"user": "a"}, "fields": {"a": 1}},
    "exclude the message": {"exclude": ["message"]},
    "exclude the time": {"exclude": ["time"]},
    "exclude the task": {"exclude": ["task"]},
    "exclude a static field": {"exclude": ["a"], "fields": {"a": 1}},
    "exclude a part of a static field": {"exclude": ["a.b"], "fields": {"a": {"b": 1}}},
    "names that are read once": {"exclude": iter(["thread"])},
    "a key that is excluded": {"exclude": ["user"], "key_field": "user"},
    "a header of a field that is renamed": {"rename": {"a": "b"}, "headers": {"b": "b"}},
    "a format": {"format": "gelf"},
    "a new name for the time in another format": {"format": "ecs", "rename": {"time": "when"}},
    "a serializer": {"serializer": repr},
    "a key maker": {"key_maker": repr},
}


@pytest.mark.parametrize("options", CAREFUL.values(), ids=CAREFUL)
def test_options_that_need_care(options: dict[str, Any]) -> None:
    """Conversions with these have no fast way."""
    assert conversion(**options).fast is None


def test_a_record_of_another_class_needs_care() -> None:
    """Its class may have its own way to make the message."""

    class Brace(logging.LogRecord):
        def getMessage(self) -> str:  # noqa: N802
            return str(self.msg).format(*self.args)

    assert not is_fast(Brace("shop", logging.INFO, __file__, 7, "sold {}", ("tea",), None))


def test_the_task_that_logs_is_named() -> None:
    """As the careful way names it."""

    async def log() -> bool:
        return is_fast(record(user="ada"), key_field="user")

    async def named() -> bool:
        return await asyncio.create_task(log(), name='the "task"')

    assert asyncio.run(named())


def test_context_that_is_in_the_way_of_an_extra_needs_care() -> None:
    """The careful way puts it under ``extra``."""
    token = WHO.set("eve")
    try:
        assert is_fast(record(user="ada"), context={"who": WHO})
        assert is_fast(record(user="ada"), context={"who": WHO}, key_field="who")
        assert not is_fast(record(user="ada"), context={"user": WHO})
    finally:
        WHO.reset(token)


@pytest.mark.parametrize("form", ["json", "ecs", "otel"])
def test_the_ids_of_a_span_are_fields(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Where OpenTelemetry is imported, they are taken from its current span."""
    context = SimpleNamespace(is_valid=True, trace_id=7, span_id=8, trace_flags=1)
    span = SimpleNamespace(get_span_context=lambda: context)
    trace = SimpleNamespace(get_current_span=lambda: span)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", trace)
    for flags in (0, 1, 300):
        context.trace_flags = flags
        assert is_fast(record(customer="ada"), format=form)
        assert is_fast(record(), format=form, fields={"env": "prod"}, context=lambda: {"in": 7})
        assert is_fast(record(), format=form, key_field="trace_id", headers={"t": "trace_flags"})
        value = quick_item(record(), format=form).record.value
        assert b'"0000000000000008"' in value
        assert b"00000000000000000000000000000007" in value
    for of_its_own in (
        {"context": lambda: {"trace_id": "mine"}},
        {"exclude": ["span_id"]},
        {"fields": {"trace_id": "mine"}},
        {"rename": {"trace_flags": "flags"}},
        {"redact": ["trace_id"]},
    ):
        assert not is_fast(record(customer="ada"), format=form, **of_its_own)
    assert not is_fast(record(customer="ada", span_id=9), format=form)
    context.is_valid = False
    assert is_fast(record(customer="ada"), format=form)


def test_code_of_the_program_counts_as_shipping() -> None:
    """A record that its context or its topic logs would come back in otherwise."""
    here, depths = SimpleNamespace(depth=0), []

    def context() -> dict[str, Any]:
        depths.append(here.depth)
        return {"request": 7}

    def topic(_record: logging.LogRecord) -> str:
        depths.append(here.depth)
        raise KeyboardInterrupt

    fast = fast_way(conversion(topic=topic, context=context), here=here)
    with pytest.raises(KeyboardInterrupt):
        fast.convert(record())
    assert (depths, here.depth) == ([1, 1], 0)


def test_context_is_not_called_for_a_record_that_needs_care() -> None:
    """The careful way will call it; the compiled code calls it last."""
    fast = fast_way(conversion(context=lambda: pytest.fail("it is called")))
    assert fast.convert(record(user=Shown())) is None


@pytest.mark.parametrize(
    "value",
    ["x" * 1_000, "\x01" * 900, "é" * 600, ["x"] * 600, {"k" * 100: 1, "l" * 950: 2}],
    ids=["text", "escapes", "two bytes", "list", "keys"],
)
def test_a_value_that_is_too_large_needs_care(value: Any) -> None:
    """The careful way cuts it."""
    assert not is_fast(record(value=value), max_size=1_300)


def test_call_sites_are_bounded() -> None:
    """By number and by bytes: threads come and go, and names may have any length."""
    made = conversion()
    assert made.fast is not None
    fast, sites = fast_way(made), made.fast["sites"]
    for line in range(module._MOST_SITES + 3):
        assert fast.convert(record(lineno=line)) is not None
    assert 0 < len(sites) < 10
    for number in range(100):
        fast.convert(record(threadName=f"{number}" + "x" * 50_000))
    assert 0 < len(sites) < 60
    assert fast.convert(record(threadName="x" * 100_000)) is None


json_texts = st.sampled_from(['{"password": 1}', '["x"]', '[["password", 1]]', "[x]", "{"])
atoms = st.none() | st.booleans() | st.integers() | st.text() | st.floats() | json_texts
values = st.recursive(
    atoms, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
keys = st.none() | st.integers() | st.text() | st.binary()


NAMES = st.sampled_from(
    [
        *("password", "Api_Key", "dbPassword", "severity", "node", "none", "cart", "other", "who"),
        *("http", "labels", "trace_id", "service.name", "code", "code.file.path", "a..b", "", " "),
    ]
)


@given(
    options=st.sampled_from(list(OPTIONS.values())),
    extras=st.dictionaries(NAMES | st.text().map("x{}".format), values, max_size=6),
    key=keys,
    message=st.text() | json_texts,
    created=st.floats(),
    level=st.integers(),
)
@example({}, {}, "", "", 253_402_300_799.999_999, 2**63)
def test_both_ways_agree_on_any_record(
    options: dict[str, Any],
    extras: dict[str, Any],
    key: Any,
    message: str,
    created: float,
    level: int,
) -> None:
    """To the byte, and to the microsecond."""
    given = record(msg=message, args=(), created=created, levelno=level, user=key, **extras)
    is_fast(given, **{"key_field": "user", **options})


@given(text=st.sampled_from(["%s", "%r %s", "%d", "%5.1f", "%", "x"]), values=st.lists(atoms))
def test_both_ways_agree_on_any_arguments(text: str, values: list[Any]) -> None:
    """Those that fit the format, and those that don't."""
    is_fast(record(msg=text, args=tuple(values)))


def test_the_oracle_is_no_compiled_code() -> None:
    """The careful way makes named tuples."""
    assert type(conversion().convert(record(), None)) is Item
