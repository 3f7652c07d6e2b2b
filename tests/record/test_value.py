"""The value of a record: formats, serializers, texts, and values that are cut."""

from __future__ import annotations

import io
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
from kiel_logging.record.value import FORMATS, text_value, value_choice
from tests.record.formats.records import EXCEPTION, fallen, logged, plain_fields
from tests.record.test_conversion import conversion

ENOUGH = 1_000_000


def record(**extras: Any) -> logging.LogRecord:
    """Return an INFO of `shop`."""
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
    """Return the value of a record with these extras."""
    made = record(**extras)
    return value_choice(format_, serializer)(to_fields(made, formatter), made, formatter, most)


# -- by name -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_named_formats(name: str) -> None:
    """Each is its layout as JSON."""
    made = record(user=7)
    expected = log_json(to_fields(made, None), lambda plain: FORMATS[name]().lay_out(plain, made))
    assert value_choice(name, None)(to_fields(made, None), made, None, ENOUGH) == expected


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("most", [400, 700, 1_500])
def test_the_named_formats_are_cut(name: str, most: int) -> None:
    """The result is JSON of no more bytes than allowed."""
    data = value(name, payload="x" * 5_000, most=most)
    assert len(data) <= most
    assert isinstance(json.loads(data), dict)


@given(text=st.text(), most=st.integers(0, 200))
def test_a_text_is_cut(text: str, most: int) -> None:
    """It ends with whole characters, and a mark that has the size before."""
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
    """The error says what it may return."""
    with pytest.raises(ValueTypeError, match="must return a mapping, str or bytes"):
        value(lambda _fields, _record: made)


def test_a_mapping_that_is_large_is_cut() -> None:
    """Like the fields themselves; bytes of an unknown form are not."""
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


def test_the_result_of_a_serializer_is_not_cut() -> None:
    """Only the program knows its form."""
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
def test_bad_options_are_refused(format_: Any, serializer: Any, message: str) -> None:
    """With the option, its value, and what is allowed."""
    with pytest.raises(ConfigurationError) as refused:
        value_choice(format_, serializer)
    assert message in str(refused.value)


# -- text ------------------------------------------------------------------------------------------

NOT_FOUND = "ValueError: Formatting field not found in record: 'nothing'"
NO_NUMBER = "%d format: a real number is required, not str"


def text(record: logging.LogRecord, form: str | None = None, **fields: Any) -> str:
    """Return the text of a record with some fields more."""
    formatter = None if form is None else logging.Formatter(form)
    return text_value({**to_fields(record, None), **fields}, record, formatter)


def test_without_a_formatter_it_is_logging_s_basic_format() -> None:
    """Level, logger and message."""
    assert text(logged("hi %s", "bob")) == "WARNING:shop.cart:hi bob"


@pytest.mark.parametrize("form", [None, "%(asctime)s %(message)s"])
def test_traceback_and_stack_are_part_of_it(form: str | None) -> None:
    """As the formatter itself would write them."""
    record = logged(exc_info=fallen(ValueError("why")), stack_info="Stack ...")
    expected = logging.Formatter(form or logging.BASIC_FORMAT).format(
        logging.makeLogRecord(record.__dict__)
    )
    assert text(record, form) == expected
    assert "direct cause" in expected
    assert expected.endswith("Stack ...")


def test_a_traceback_that_came_as_text_is_part_of_it() -> None:
    """Over a queue or a socket."""
    assert text(logged(exc_text="far away")) == "WARNING:shop.cart:hello\nfar away"


def test_the_traceback_of_another_handler_is_not() -> None:
    """Its Formatter left it in the record; this one makes its own."""
    record = logged(exc_info=fallen(ValueError("why")), exc_text="in another form")
    assert "another form" not in text(record)
    assert "ValueError: why" in text(record)


class Everything(logging.Formatter):
    """Writes all that a record has, as formatters for JSON do."""

    def format(self, record: logging.LogRecord) -> str:
        super().format(record)
        return repr(list(record.__dict__.items()))


EXTRAS: list[dict[str, Any]] = [
    {},
    {"user_id": 7, "cart": {"a": [1]}},
    {"host": "theirs", "level": 1, "path": "/", "extra": {"host": 2}, "kiel_logging": 3, "task": 4},
    {"trace_id": "theirs", "time": None},
]


@pytest.mark.parametrize("extras", EXTRAS, ids=lambda extras: " ".join(extras) or "none")
@pytest.mark.parametrize(
    "formatter",
    [Everything(), logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")],
    ids=["all attributes", "some"],
)
def test_it_is_what_another_handler_writes(
    extras: dict[str, Any], formatter: logging.Formatter
) -> None:
    """With the same Formatter, as long as no option adds or changes anything."""
    record = logged("hi %s", "bob", exc_info=fallen(ValueError("why")), stack_info="S", **extras)
    stream = io.StringIO()
    other = logging.StreamHandler(stream)
    other.setFormatter(formatter)
    made = conversion(format="text").convert(record, formatter)
    other.handle(logging.makeLogRecord(record.__dict__))
    assert made.record.value is not None
    assert made.record.value.decode() == stream.getvalue().removesuffix("\n")


def test_options_show_in_the_text() -> None:
    """Fields that they add, leave out, rename and hide."""
    record = logged(user="ada", token="s3cret", order=7, cart="full")
    options = {
        "fields": {"service": "shop"},
        "rename": {"order": "order_id"},
        "exclude": ["cart"],
        "redact": ["token"],
        "context": lambda: {"request": "r-1"},
    }
    made = conversion(format="text", **options).convert(record, Everything())
    shown = (made.record.value or b"").decode()
    for part in ("'service', 'shop'", "'order_id', 7", "'token', '[redacted]'", "'request', 'r-1'"):
        assert part in shown
    assert "('cart'" not in shown
    assert "'order'" not in shown


def test_attributes_of_the_record_are_not_replaced() -> None:
    """A field by the name of an attribute, or of a method, stays out."""
    fields = plain_fields(name="other", process=1, getMessage="x", __class__="y", args="z")
    formatter = logging.Formatter("%(name)s %(process)d %(message)s")
    assert text_value(fields, logged("hi %s", "bob"), formatter) == "shop.cart 4711 hi bob"


@pytest.mark.parametrize("form", [None, "%(asctime)s", "%(nothing)s"])
def test_the_record_is_not_changed(form: str | None) -> None:
    """Other handlers get it too."""
    record = logged(exc_info=fallen(ValueError("why")))
    before = dict(record.__dict__)
    text(record, form, request_id="r-1")
    assert record.__dict__ == before


@pytest.mark.parametrize(
    ("record", "form", "expected"),
    [
        (
            logged("hello"),
            "%(nothing)s",
            f"WARNING:shop.cart:hello [the formatter failed: {NOT_FOUND}]",
        ),
        (
            logged("%d items", "many"),
            None,
            (
                f"WARNING:shop.cart:%d items [arguments ('many',) do not fit: {NO_NUMBER}] "
                f"[the formatter failed: TypeError: {NO_NUMBER}]"
            ),
        ),
        (
            logged("hello", exc_text="far away\n", stack_info="Stack ..."),
            "%(nothing)s",
            f"WARNING:shop.cart:hello [the formatter failed: {NOT_FOUND}]\nfar away\nStack ...",
        ),
    ],
    ids=["unknown field", "arguments", "traceback and stack"],
)
def test_a_formatter_that_raises_costs_no_text(
    record: logging.LogRecord, form: str | None, expected: str
) -> None:
    """The text has everything, and says why it looks like that."""
    assert text(record, form) == expected


@pytest.mark.parametrize(
    ("fields", "args", "expected"),
    [
        ({}, (), "hello [the formatter failed"),
        ({}, (1,), "hello [arguments (1,)] [the formatter failed"),
        ({"message": None, "exception": "mine"}, (), "hello [the formatter failed"),
        ({"exception": EXCEPTION}, (), EXCEPTION["traceback"].rstrip()),
    ],
    ids=["no fields", "arguments", "odd fields", "exception"],
)
def test_a_formatter_that_raises_and_missing_fields(
    fields: dict[str, Any], args: tuple[Any, ...], expected: str
) -> None:
    """The record itself takes their place."""
    made = text_value(fields, logged("hello", *args), logging.Formatter("%(nothing)s"))
    assert expected in made


def test_a_formatter_that_makes_no_text() -> None:
    """Its value is shown."""

    class Odd(logging.Formatter):
        def format(self, record: logging.LogRecord) -> Any:
            return 7

    assert text_value({}, logged(), Odd()) == "7"
