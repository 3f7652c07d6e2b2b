"""The format "text": what a logging.Formatter makes, whole."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest

from kiel_logging.record.fields import to_fields
from kiel_logging.record.value import text_value
from tests.record.formats.records import EXCEPTION, fallen, logged, plain_fields
from tests.record.test_conversion import conversion

NOT_FOUND = "ValueError: Formatting field not found in record: 'nothing'"
NO_NUMBER = "%d format: a real number is required, not str"


def text(record: logging.LogRecord, form: str | None = None, **fields: Any) -> str:
    """The text of a record with some fields more."""
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


def test_another_handler_s_traceback_is_not() -> None:
    """Its Formatter left it in the record; this one makes its own."""
    record = logged(exc_info=fallen(ValueError("why")), exc_text="in another form")
    assert "another form" not in text(record)
    assert "ValueError: why" in text(record)


def test_fields_are_there_for_the_format_string() -> None:
    """Context values and static fields; extras are, as always."""
    record = logged(user_id=7)
    form = "%(request_id)s %(user_id)s %(message)s"
    assert text(record, form, request_id="r-1") == "r-1 7 hello"


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
    """What they add, leave out, rename and hide."""
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


def test_what_the_record_has_is_not_replaced() -> None:
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
def test_a_formatter_that_raises_does_not_cost_the_record(
    record: logging.LogRecord, form: str | None, expected: str
) -> None:
    """All of it is told, and why it looks like that."""
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
def test_nor_do_fields_that_are_missing_then(
    fields: dict[str, Any], args: tuple[Any, ...], expected: str
) -> None:
    """What the record itself has is told instead."""
    made = text_value(fields, logged("hello", *args), logging.Formatter("%(nothing)s"))
    assert expected in made


def test_a_formatter_that_makes_no_text() -> None:
    """Its value is shown."""

    class Odd(logging.Formatter):
        def format(self, record: logging.LogRecord) -> Any:
            return 7

    assert text_value({}, logged(), Odd()) == "7"


def test_a_record_of_the_program_s_own_kind_is_formatted_as_such() -> None:
    """A LogRecord factory's getMessage() is what is used."""

    class Braces(logging.LogRecord):
        def getMessage(self) -> str:  # noqa: N802 - logging's name
            return str(self.msg).format(*(self.args or ()))

    record = Braces("shop", logging.INFO, "shop.py", 1, "hi {}", ("bob",), None)
    assert text_value({}, record, None) == "INFO:shop:hi bob"
