"""The short way makes the same items as the long way, or none: by its own parts, and by C's."""

from __future__ import annotations

import asyncio
import copy
import datetime
import decimal
import logging
import sys
import time
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.record import quick
from kiel_logging.record.conversion import Conversion
from kiel_logging.record.log_record import rfc3339
from tests.record.test_conversion import conversion, record

WHO: ContextVar[Any] = ContextVar("who")

pytestmark = pytest.mark.skipif(not quick.IN_C, reason="there is no C compiler")


class Brace(logging.LogRecord):
    """A record of a factory that the program has set."""

    def getMessage(self) -> str:  # noqa: N802
        return str(self.msg).format(*self.args)


class Shown:
    """Anything."""

    def __str__(self) -> str:
        return 'a "shown" \\ value'


OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "a key": {"key_field": "user"},
    "a key that is a field of ours": {"key_field": "logger"},
    "a key that is an attribute": {"key_field": "levelname"},
    "a key of a nested field": {"key_field": "user.id"},
    "headers": {"headers": {"level": "levelname", "who": "user"}},
    "context": {"context": {"who": WHO}},
    "a context that is called": {"context": lambda: {"user": "eve", "request": 7}},
    "static fields": {"fields": {"service": "shop", "port": 7.5, "tags": ["a", {"b": None}]}},
    "static fields with an odd one": {"fields": {"service": float("nan")}},
    "a topic by template": {"topic": "logs.{levelname}"},
    "a source": {"keep_source": True},
    "no room": {"max_size": 700},
    "redacted": {"redact": ["user"]},
    "renamed": {"rename": {"message": "msg"}},
}

PLAIN: dict[str, dict[str, Any]] = {
    "nothing": {},
    "texts": {"user": "ada", "text": 'a "quoted" \\ line\r\n\t\b\f\x00\x1f\x7f é 漢 😀'},
    "numbers": {"a": 0, "b": -1, "c": 2**63 - 1, "d": -(2**63), "e": True, "f": None},
    "floats": {"a": 0.1, "b": 1e22, "c": -0.0, "d": 5e-324},
    "containers": {"cart": {"id": 7, "tags": ["x", 1.5]}, "t": (1, (2, 3)), "e": [[], {}, ()]},
    "long texts": {"a": "x\n" * 900, "b": "é漢😀\\" * 300, "c": "\xe9" * 700},
    "an object": {"it": Shown()},
    "a set, a time and a number": {"s": {4}, "t": datetime.time(1), "n": decimal.Decimal("1.50")},
    "a name that needs escapes": {'a "name"\n': 1, "é": 2},
    "a message of another handler's Formatter": {"message": "x", "asctime": "y", "user": 1},
    "a task": {"taskName": "Task-7"},
}
ODD: dict[str, dict[Any, Any]] = {
    "odd keys": {"d": {1: 2, "\ud800": 3}},
    "a key that has another text": {"user": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)},
    "names that become the same": {b"level": 1, "x": 2},
    "NaN": {"user": float("nan")},
    "a lone surrogate": {"user": "\ud800"},
    "a lone surrogate in a name": {"\udfff": 1},
    "65 bits": {"user": 2**64},
    "64 bits": {"user": 2**64 - 1},
    "the name of a field": {"level": 1, "task": 2},
    "our own name": {"kiel_logging": {"a": 1}, "extra": 2},
    "a name that is no text": {7: "x"},
    "an exception": {"exc_info": (ValueError, ValueError("x"), None)},
    "an exception's text": {"exc_text": "Traceback"},
    "a stack": {"stack_info": "Stack"},
    "arguments that do not fit": {"args": (1, 2, 3)},
    "a message that is no text": {"msg": 7, "args": ()},
    "a message that is an object": {"msg": {"event": "login"}, "args": ()},
    "a surrogate in the message": {"msg": "\ud800", "args": ()},
    "a key that is an object": {"user": Shown()},
    "a long one": {"user": "x" * 2_000},
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


def with_attributes(attributes: dict[Any, Any]) -> logging.LogRecord:
    """A record with these, whatever their names are."""
    made = record()
    made.__dict__.update(attributes)
    return made


def outcome(made: Conversion, given: logging.LogRecord) -> Any:
    """The item, or what was raised."""
    try:
        return made.convert(given, None)
    except Exception as error:
        return repr(error)


def same_both_ways(given: logging.LogRecord, **options: Any) -> bool:
    """Check that the short way does not show; return whether it was taken."""
    short, long = conversion(**options), conversion(**options)
    long._quick = None
    expected = outcome(long, given)
    assert outcome(short, given) == expected
    assert outcome(short, given) == expected  # the call site is known now
    if (at_once := short.convert_at_once) is not None:
        assert at_once(given) in (None, expected)
        assert at_once(given) in (None, expected)
    return short._quick is not None and short._quick.convert(copy.copy(given)) is not None


@pytest.fixture
def no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has imported OpenTelemetry: C has nothing to do with spans."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time does not pass."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("attributes", [*PLAIN.values(), *ODD.values()], ids=[*PLAIN, *ODD])
def test_the_short_way_does_not_show(options: dict[str, Any], attributes: dict[str, Any]) -> None:
    """Whatever a record has, and whatever the options are."""
    token = WHO.set("the context's")
    try:
        same_both_ways(with_attributes(attributes), **options)
    finally:
        WHO.reset(token)


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("attributes", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("options", ["none", "a key that is an attribute", "static fields"])
def test_the_short_way_is_taken(options: str, attributes: dict[str, Any]) -> None:
    """It is there for what nearly all records are."""
    assert same_both_ways(with_attributes(attributes), **OPTIONS[options])


@pytest.mark.usefixtures("no_time")
def test_a_record_of_a_factory() -> None:
    """Its own way to make the message counts."""
    made = Brace("shop", logging.INFO, __file__, 7, "sold {}", ("tea",), None)
    assert same_both_ways(made)
    assert b'"message":"sold tea"' in (conversion().convert(made, None).record.value or b"")


@pytest.mark.usefixtures("no_time")
def test_a_record_of_a_task() -> None:
    """The task that logs is named, as the long way does."""

    async def log() -> bool:
        return same_both_ways(record(user="ada"), key_field="user")

    async def named() -> bool:
        return await asyncio.create_task(log(), name='the "task"')

    assert asyncio.run(named())


@pytest.mark.usefixtures("no_time")
def test_context_in_the_way_of_an_extra() -> None:
    """Such a record takes the long way, which puts it under `extra`."""
    token = WHO.set("eve")
    try:
        assert same_both_ways(record(user="ada"), context={"who": WHO})
        assert not same_both_ways(record(user="ada"), context={"user": WHO})
    finally:
        WHO.reset(token)


AT_ONCE = ["nothing", "texts", "numbers", "floats", "containers", "a name that needs escapes"]


@pytest.mark.usefixtures("no_spans")
@pytest.mark.parametrize("name", AT_ONCE)
def test_what_is_made_at_once(name: str) -> None:
    """Records without any object of the program's, where there is C."""
    made = conversion(key_field="user", fields={"service": "shop"})
    assert made.convert_at_once is not None
    assert made.convert_at_once(record(**PLAIN[name])) is not None


@pytest.mark.usefixtures("no_spans")
@pytest.mark.parametrize("key", ["ada", b"ada", 42, 0, -7, 2**63 - 1, -(2**63), None])
def test_any_key(key: object) -> None:
    """Whatever its type is."""
    same_both_ways(record(user=key), key_field="user")


def test_a_record_within_reach_of_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ids are looked for in Python."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", sys)
    at_once = conversion().convert_at_once
    assert at_once is None or at_once(record()) is None


@pytest.mark.usefixtures("no_spans")
@pytest.mark.parametrize("attributes", [{"user": Shown()}, {"args": (Shown(),)}, {"msg": Shown()}])
def test_nothing_of_the_program_s_runs_at_once(attributes: dict[str, Any]) -> None:
    """It might log, and has to be known for shipping then."""
    at_once = conversion(key_field="user").convert_at_once
    assert at_once is None or at_once(record(**attributes)) is None


@pytest.mark.usefixtures("no_spans")
def test_call_sites_are_bounded() -> None:
    """Threads come and go; what they logged from is forgotten."""
    made = conversion()
    assert made._quick is not None
    for way in (made._quick.convert, made.convert_at_once or made._quick.convert):
        for line in range(quick._MOST_SITES + 3):
            assert way(record(lineno=line)) is not None
        assert 0 < len(made._quick._sites) < 10


atoms = st.none() | st.booleans() | st.integers() | st.text() | st.floats()
values = st.recursive(
    atoms, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@given(extras=st.dictionaries(st.text(), values, max_size=6), message=st.text())
def test_any_extras(extras: dict[str, Any], message: str) -> None:
    """Both ways agree."""
    given = record(msg=message, args=(), **{f"x{name}": value for name, value in extras.items()})
    same_both_ways(given, key_field="xuser")


@given(st.floats(0, 253402300799, allow_nan=False))
def test_any_time(created: float) -> None:
    """To the microsecond, rounded as Python rounds."""
    made = quick.compose(created, b'"', "", b"", {}, 0, {}, frozenset(), b"}", 1_000)
    assert made == b'{"time":"%b"""}' % rfc3339(created).encode()
