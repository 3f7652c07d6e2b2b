"""What a record's value is: formats, serializers, and what is cut."""

from __future__ import annotations

import json
import logging
from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import ConfigurationError, ValueTypeError
from kiel_logging.record.fields import to_fields
from kiel_logging.record.strict_json import log_json
from kiel_logging.record.value import FORMATS, value_choice

ENOUGH = 1_000_000


def record(**extras: Any) -> logging.LogRecord:
    """An INFO of `shop`."""
    made = logging.LogRecord("shop", logging.INFO, __file__, 7, "sold %s", ("tea",), None)
    made.__dict__.update(extras)
    return made


def value(
    format_: Any,
    serializer: Any = None,
    *,
    most: int = ENOUGH,
    formatter: logging.Formatter | None = None,
    **extras: Any,
) -> bytes:
    """The value of a record with these extras."""
    made = record(**extras)
    return value_choice(format_, serializer)(to_fields(made, formatter), made, formatter, most)


# -- by name -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_named_formats(name: str) -> None:
    """Each is its layout as JSON."""
    made = record(user=7)
    expected = log_json(to_fields(made, None), lambda plain: FORMATS[name](plain, made))
    assert value_choice(name, None)(to_fields(made, None), made, None, ENOUGH) == expected


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("most", [400, 700, 1_500])
def test_the_named_formats_are_cut(name: str, most: int) -> None:
    """To the bytes that there are; what is left is JSON."""
    data = value(name, payload="x" * 5_000, most=most)
    assert len(data) <= most
    assert isinstance(json.loads(data), dict)


def test_text() -> None:
    """What the Formatter makes; BASIC_FORMAT without one."""
    assert value("text") == b"INFO:shop:sold tea"
    formatter = logging.Formatter("%(message)s for %(user)s")
    assert value("text", formatter=formatter, user="ann") == b"sold tea for ann"


@given(text=st.text(), most=st.integers(0, 200))
def test_a_text_is_cut(text: str, most: int) -> None:
    """To whole characters, with a mark that tells the size before."""
    mark = f"…[cut, of {len(text)} characters]".encode()
    data = value(lambda _fields, _record: text, most=most)
    whole = text.encode("utf-8", "backslashreplace")
    if len(whole) <= most:
        assert data == whole
    else:
        assert data.endswith(mark)
        assert whole.startswith(data.removesuffix(mark))
        assert len(data) <= max(most, len(mark))
        assert data.decode()


# -- a callable ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"a": 1}, b'{"a":1}'),
        (UserDict(a=1), b'{"a":1}'),
        ({"a": {1, 2}, "b": float("inf")}, None),
        ("tea ü", "tea ü".encode()),
        ("\ud800", b"\\ud800"),
        (b"\x00\xff", b"\x00\xff"),
        ("", b""),
    ],
    ids=["dict", "mapping", "odd values", "str", "lone surrogate", "bytes", "empty"],
)
def test_a_callable(made: Any, expected: bytes | None) -> None:
    """A mapping becomes JSON, text UTF-8, bytes stay what they are."""
    data = value(lambda _fields, _record: made)
    if expected is None:
        assert json.loads(data) == {"a": [1, 2], "b": None, "kiel_logging": {"replaced": ["b"]}}
    else:
        assert data == expected


def test_a_callable_gets_the_fields_and_the_record() -> None:
    """And may take what it likes of either."""
    data = value(lambda fields, made: f"{fields['message']} {made.lineno} {fields['user']}", user=7)
    assert data == b"sold tea 7 7"


@pytest.mark.parametrize("made", [None, 7, ["a"], {1, 2}, object()], ids=lambda made: type(made))
def test_a_callable_that_returns_something_else(made: Any) -> None:
    """It is told what it may return."""
    with pytest.raises(ValueTypeError, match="must return a mapping, str or bytes"):
        value(lambda _fields, _record: made)


def test_a_mapping_that_is_large_is_cut() -> None:
    """As the fields themselves are; bytes are not, nobody knows what is in them."""
    cut = value(lambda fields, _record: {"p": fields["p"]}, p="x" * 5_000, most=1_000)
    assert len(cut) <= 1_000
    assert json.loads(cut)["kiel_logging"]["cut"] == ["p"]
    assert len(value(lambda fields, _record: fields["p"], p=b"x" * 5_000, most=1_000)) == 5_000


# -- with a serializer ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_", "serializer", "expected"),
    [
        ("json", lambda made: made["message"], b"sold tea"),
        ("gelf", lambda made: made["short_message"], b"sold tea"),
        ("ecs", lambda made: made["log.level"], b"info"),
        ("json", lambda made: b"\x00", b"\x00"),
        (lambda fields, _record: {"m": 1}, str, b"{'m': 1}"),
        (lambda fields, _record: [1, 2], str, b"[1, 2]"),
        (lambda fields, _record: "text", str.upper, b"text"),
        (lambda fields, _record: b"bytes", str, b"bytes"),
    ],
    ids=["json", "gelf", "ecs", "bytes", "mapping", "anything", "str", "bytes of the format"],
)
def test_a_serializer(format_: Any, serializer: Callable[[Any], Any], expected: bytes) -> None:
    """It takes what the format made; what is str or bytes already is the value itself."""
    assert value(format_, serializer) == expected


def test_a_serializer_gets_plain_values_from_a_layout() -> None:
    """A layout takes plain values; with "json" there is none, and the objects are as they were."""
    assert value("json", lambda made: repr(made["odd"]), odd={1}) == b"{1}"
    assert value("gelf", lambda made: repr(made["_odd"]), odd={1}) == b"'[1]'"


def test_what_a_serializer_made_is_not_cut() -> None:
    """What is in there nobody knows but the user."""
    assert len(value("json", lambda made: "x" * 5_000, most=100)) == 5_000


@pytest.mark.parametrize("made", [None, 7, {"a": 1}], ids=str)
def test_a_serializer_that_returns_something_else(made: Any) -> None:
    """It has to make str or bytes."""
    with pytest.raises(ValueTypeError):
        value("json", lambda _made: made)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_", "serializer", "message"),
    [
        ("jsn", None, "format='jsn' must be one of 'ecs', 'gelf', 'json', 'otel', 'text': did you"),
        ("xyz", None, "format='xyz' must be one of 'ecs', 'gelf', 'json', 'otel', 'text'"),
        ("tekst", None, "did you mean 'text'?"),
        (None, None, "format=None must be one of 'ecs', 'gelf', 'json', 'otel', 'text', or a call"),
        (b"json", None, "format=b'json' must be one of"),
        ("text", str, "format='text' and serializer are both given"),
        ("json", "dumps", "serializer='dumps' must be callable, or None for the default"),
        (dict, 7, "serializer=7 must be callable"),
    ],
)
def test_what_is_refused(format_: Any, serializer: Any, message: str) -> None:
    """With the option, its value, and what is allowed."""
    with pytest.raises(ConfigurationError) as refused:
        value_choice(format_, serializer)
    assert message in str(refused.value)
