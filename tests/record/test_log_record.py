"""A LogRecord as a dict: every field, and nothing of the record changed."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import socket
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.record.fields import describe_exception, rfc3339, show, to_fields
from tests.support.examples import examples

CREATED = 1_700_000_000.123456
THE_DEFAULT = logging.Formatter()


class Unshowable:
    """As an `extra` may hold it."""

    def __str__(self) -> str:
        raise RuntimeError("not today")

    __repr__ = __str__


def logged(message: object = "hello", *args: object, **attributes: Any) -> logging.LogRecord:
    """A record as a logger makes it, with attributes added or replaced."""
    record = logging.LogRecord(
        "shop.cart", logging.WARNING, "/srv/shop/cart.py", 42, message, args, None, "add"
    )
    record.created = CREATED
    record.__dict__.update(attributes)
    return record


def fields(message: object = "hello", *args: object, **attributes: Any) -> dict[str, Any]:
    """Its dict."""
    return to_fields(logged(message, *args, **attributes), None)


def caught(raiser: Any) -> Any:
    """The exc_info of what is raised."""
    try:
        raiser()
    except Exception:
        return sys.exc_info()
    raise AssertionError("nothing was raised")


# -- the fields ------------------------------------------------------------------------------------


def test_a_record_has_these_fields() -> None:
    """And no more, unless there is an extra, a task, an exception or a stack."""
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


def test_extras_stand_beside_them() -> None:
    """As the values that they are."""
    extra = {"user_id": 7, "cart": {"items": [1, 2]}, "none": None}
    assert extra.items() <= fields(**extra).items()


def test_an_extra_with_the_name_of_a_field_is_not_lost() -> None:
    """Ours keeps its place, and the other is found under `extra`."""
    made = fields(level="mine", time="noon", host=None, user_id=7)
    assert made["level"] == "WARNING"
    assert made["time"] == rfc3339(CREATED)
    assert made["extra"] == {"level": "mine", "time": "noon", "host": None}
    assert made["user_id"] == 7


def test_an_extra_that_is_called_extra() -> None:
    """Stands where the others stand that have no place of their own."""
    assert fields(extra="mine")["extra"] == {"extra": "mine"}


@pytest.mark.parametrize("name", ["task", "exception", "stack"])
def test_an_extra_with_the_name_of_a_field_that_is_not_there(name: str) -> None:
    """Takes the name."""
    made = fields(**{name: "mine"})
    assert made[name] == "mine"
    assert "extra" not in made


def test_no_attribute_of_logging_s_own_is_an_extra() -> None:
    """On the running Python; nor what a Formatter leaves in the record."""
    record = logged()
    logging.Formatter("%(asctime)s %(message)s").format(record)
    assert to_fields(record, None).keys() == fields().keys()


# -- the message -----------------------------------------------------------------------------------


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
    """The program's bug does not cost the record: all of it is told."""
    expected = f"{message} [arguments {args} do not fit: {why}]"
    assert fields(message, *args)["message"] == expected


def test_a_message_that_can_not_be_shown() -> None:
    """Costs its text and no more."""
    made = fields("%s", Unshowable())
    assert "that can't be shown: RuntimeError" in made["message"]
    assert made["logger"] == "shop.cart"


def test_a_formatter_makes_the_message() -> None:
    """All that it can do."""
    formatter = logging.Formatter("{levelname}: {message}", style="{")
    assert to_fields(logged("hi %s", "there"), formatter)["message"] == "WARNING: hi there"


def test_a_formatter_that_raises_does_not_cost_the_record() -> None:
    """Such as one that wants an extra which this record has not."""
    formatter = logging.Formatter("%(user_id)s %(message)s")
    message = to_fields(logged("hello"), formatter)["message"]
    assert message.startswith("hello [")
    assert "user_id" in message


# -- the record is shared --------------------------------------------------------------------------


@pytest.mark.parametrize("formatter", [None, THE_DEFAULT, logging.Formatter("%(asctime)s")])
def test_the_record_is_not_changed(formatter: logging.Formatter | None) -> None:
    """Other handlers get it too: a Formatter writes into the record that it is given."""
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


# -- exceptions and stacks -------------------------------------------------------------------------


def test_no_exception_no_field() -> None:
    """Whether exc_info is None or three of it."""
    assert "exception" not in fields()
    assert "exception" not in fields(exc_info=(None, None, None))


def test_an_exception_has_type_message_and_traceback() -> None:
    """The type as it is imported."""
    made = fields(exc_info=caught(lambda: {}["key"]))["exception"]
    assert (made["type"], made["message"]) == ("KeyError", "'key'")
    assert made["traceback"].startswith("Traceback (most recent call last):")
    assert made["traceback"].endswith("KeyError: 'key'\n")
    assert "test_log_record.py" in made["traceback"]


class OuterError(Exception):
    """In a module."""

    class InnerError(Exception):
        """In a class."""


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
    """Builtins by their bare names."""
    assert describe_exception(kind, kind("why"), None)["type"] == name


@pytest.mark.parametrize(("cause", "joint"), [(True, "direct cause"), (False, "another exception")])
def test_causes_and_contexts_are_in_the_traceback(cause: bool, joint: str) -> None:
    """All of the chain, as Python shows it."""

    def chain() -> None:
        try:
            {}["first"]
        except KeyError as first:
            if cause:
                raise ValueError("second") from first
            raise ValueError("second")  # noqa: B904 - that is what is tested

    made = fields(exc_info=caught(chain))["exception"]
    assert (made["type"], made["message"]) == ("ValueError", "second")
    assert "KeyError: 'first'" in made["traceback"]
    assert joint in made["traceback"]


def test_an_exception_group_shows_its_parts() -> None:
    """In the traceback."""
    group = ExceptionGroup("several", [ValueError("one"), KeyError("two")])
    made = describe_exception(type(group), group, None)
    assert made["message"] == "several (2 sub-exceptions)"
    assert "ValueError: one" in made["traceback"]
    assert "KeyError: 'two'" in made["traceback"]


def test_an_exception_that_can_not_be_shown() -> None:
    """Still has its type."""

    class Shy(Exception):
        __str__ = Unshowable.__str__

    made = describe_exception(Shy, Shy(), None)
    assert made["type"].endswith("Shy")
    assert made["message"] == "<Shy that can't be shown: RuntimeError>"
    assert made["traceback"]


def test_an_exception_that_came_as_text() -> None:
    """Over a queue or a socket, where tracebacks can't travel."""
    made = fields(exc_info=None, exc_text="Traceback ...\nValueError: far away")
    assert made["exception"] == {"traceback": "Traceback ...\nValueError: far away"}


def test_the_exception_itself_goes_before_its_text() -> None:
    """Another handler's Formatter has left the text in the record."""
    record = logged(exc_info=caught(lambda: 1 / 0))
    THE_DEFAULT.format(record)
    assert to_fields(record, None)["exception"]["type"] == "ZeroDivisionError"


def test_a_stack_is_a_field() -> None:
    """When there is one."""
    assert fields(stack_info="Stack (most recent call last):\n  ...")["stack"].startswith("Stack")
    assert "stack" not in fields()


# -- tasks -----------------------------------------------------------------------------------------


def test_the_task_that_logs_is_named() -> None:
    """The record's own, where the running Python has it; else the current one."""

    async def log() -> dict[str, Any]:
        return fields()

    async def main() -> dict[str, Any]:
        return await asyncio.create_task(log(), name="checkout")

    assert asyncio.run(main())["task"] == "checkout"


def test_outside_of_tasks_there_is_none() -> None:
    """Also in a callback, where a loop runs."""
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
    """In UTC, always with microseconds, and never sixty seconds."""
    assert rfc3339(created) == expected


@examples(300)
@given(st.integers(0, 7_000_000_000_000_000))
def test_a_time_is_the_same_for_datetime(micros: int) -> None:
    """To the microsecond, as far as a float tells them apart."""
    created = micros / 1_000_000
    read = datetime.datetime.fromisoformat(rfc3339(created))
    assert read.tzinfo == datetime.UTC
    assert abs(read.timestamp() * 1_000_000 - micros) <= 1


@examples(200)
@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_times_sort_as_text(one: float, other: float) -> None:
    """As every RFC 3339 time of one form does."""
    assert (rfc3339(one) <= rfc3339(other)) == (round(one * 1e6) <= round(other * 1e6))


# -- show ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "expected"), [("text", "text"), (7, "7"), (None, "None")])
def test_show_is_str(value: Any, expected: str) -> None:
    """Where that works."""
    assert show(value) == expected


def test_show_never_raises() -> None:
    """It names what it could not show, and why."""
    assert show(Unshowable()) == "<Unshowable that can't be shown: RuntimeError>"


def test_a_formatter_leaves_the_traceback_to_its_own_field() -> None:
    """Nothing is shipped twice."""
    try:
        raise ValueError("declined")  # noqa: TRY301 - a traceback is what is wanted
    except ValueError:
        record = logged("failed", exc_info=sys.exc_info())
    fields = to_fields(record, logging.Formatter("%(message)s"))
    assert fields["message"] == "failed"
    assert fields["exception"]["message"] == "declined"


def test_a_formatter_sees_the_record_of_the_programs_own_kind() -> None:
    """A LogRecord factory's getMessage() is what formats, with a Formatter too."""

    class Braces(logging.LogRecord):
        def getMessage(self) -> str:  # noqa: N802 - logging's name
            return str(self.msg).format(*(self.args or ()))

    record = Braces("shop", logging.INFO, "shop.py", 1, "hi {}", ("bob",), None)
    assert to_fields(record, logging.Formatter("%(message)s"))["message"] == "hi bob"
