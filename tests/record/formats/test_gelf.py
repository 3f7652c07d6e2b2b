"""The format "gelf": the rules of GELF 1.1, and what graypy makes of the same records."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import graypy.handler
import pytest
from hypothesis import given

from kiel_logging.record.formats.gelf import lay_out, severity
from tests.record.formats.records import (
    CREATED,
    EXCEPTION,
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

WHOLE = {
    "version": "1.1",
    "host": "web-1",
    "short_message": "hello",
    "timestamp": CREATED,
    "level": 4,
    "_level_name": "WARNING",
    "_logger": "shop.cart",
    "_module": "cart",
    "_function": "add",
    "_line": 42,
    "_file": "/srv/shop/cart.py",
    "_pid": 4711,
    "_process_name": "MainProcess",
    "_thread": 140_000_000_000_001,
    "_thread_name": "MainThread",
}


def message(**changes: Any) -> dict[str, Any]:
    """The GELF message of fields with some added or replaced."""
    return laid_out(lay_out, plain_fields(**changes))


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({}, {}),
        (
            {"exception": EXCEPTION, "stack": "Stack ..."},
            {
                "full_message": f"hello\n{EXCEPTION['traceback']}Stack ...",
                "_exception_type": "shop.errors.Declined",
                "_exception_message": "no money",
            },
        ),
        ({"exception": {"traceback": "far\naway"}}, {"full_message": "hello\nfar\naway"}),
        ({"stack": "Stack ..."}, {"full_message": "hello\nStack ..."}),
        ({"message": "one\ntwo"}, {"short_message": "one", "full_message": "one\ntwo"}),
        (
            {"task": "checkout", "trace_id": "4b", "user_id": 7},
            {"_task": "checkout", "_trace_id": "4b", "_user_id": 7},
        ),
        ({"kiel_logging": {"cut": ["a"]}}, {"_kiel_logging": '{"cut":["a"]}'}),
    ],
    ids=["plain", "exception", "traceback only", "stack", "two lines", "extras", "notes"],
)
def test_the_whole_message(changes: dict[str, Any], added: dict[str, Any]) -> None:
    """Of fields that a record may have."""
    assert message(**changes) == {**WHOLE, **added}


@pytest.mark.parametrize(
    ("text", "short", "full"),
    [
        ("\n\n  first  \nsecond", "first", "\n\n  first  \nsecond"),
        ("line\n", "line", "line\n"),
        ("one\r\ntwo", "one", "one\r\ntwo"),
        ("", "-", None),
        (" \n ", "-", " \n "),
        ("ünïcode", "ünïcode", None),
    ],
    ids=["blank first", "ends with newline", "crlf", "empty", "blank", "unicode"],
)
def test_the_short_message_is_a_line_that_is_not_blank(
    text: str, short: str, full: str | None
) -> None:
    """Graylog refuses a message with a blank one."""
    made = message(message=text)
    assert (made["short_message"], made.get("full_message")) == (short, full)


@pytest.mark.parametrize(
    ("extra", "added"),
    [
        ({"text": "ä", "n": 1, "x": 1.5}, {"_text": "ä", "_n": 1, "_x": 1.5}),
        ({"yes": True, "none": None}, {"_yes": "true", "_none": "null"}),
        ({"cart": {"a": [1]}, "list": ["ä"]}, {"_cart": '{"a":[1]}', "_list": '["ä"]'}),
        ({"big": 2**63, "small": -(2**63)}, {"_big": str(2**63), "_small": -(2**63)}),
        ({"id": 7}, {"_id_2": 7}),
        ({"_id": 7, "_source": 8}, {"__id_2": 7, "__source_2": 8}),
        ({"source": "x", "timestamp": "y"}, {"_source_2": "x", "_timestamp_2": "y"}),
        ({"short_message": 1, "full_message": 2}, {"_short_message_2": 1, "_full_message_2": 2}),
        ({"version": 2}, {"_version": 2}),
        (
            {"a b": 1, "a.b": 2, "a-b": 3, "a_b": 4},
            {"_a_b": 1, "_a.b_2": 2, "_a-b": 3, "_a_b_3": 4},
        ),
        ({"größe": 1, "": 2, "名前": 3}, {"_gr__e": 1, "__": 2, "___": 3}),
        ({"pid": 1, "file": "x"}, {"_pid_2": 1, "_file_2": "x"}),
        ({"exception": "mine"}, {"_exception": "mine"}),
        ({"stack": {"a": 1}}, {"_stack": '{"a":1}'}),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_extras(extra: dict[str, Any], added: dict[str, Any]) -> None:
    """By names and values that the rules have, and that Graylog doesn't pass over."""
    assert message(**extra) == {**WHOLE, **added}


def test_an_exception_s_fields_don_t_take_an_extra_s_place() -> None:
    """The rest of an extra of that name has its own place too."""
    made = message(exception={**EXCEPTION, "code": 3}, exception_type="mine")
    assert made["_exception_type"] == "shop.errors.Declined"
    assert made["_exception_type_2"] == "mine"
    assert made["_exception"] == '{"code":3}'


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"host": {"name": "x"}}, {"host": "-", "_host_2": '{"name":"x"}'}),
        ({"host": " "}, {"host": "-", "_host_2": " "}),
        ({"message": 7}, {"short_message": "-", "_message_2": 7}),
        ({"level": 7}, {"level": 4, "_level_name": 7}),
        ({"time": "noon"}, {"timestamp": CREATED, "_time": "noon"}),
    ],
    ids=["host", "blank host", "message", "level", "time"],
)
def test_a_field_that_was_made_something_else(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    """By a context value, a static field or a renaming: nothing is lost, nothing is false."""
    assert expected.items() <= message(**changes).items()


def test_what_is_required_is_there_without_any_field() -> None:
    """A host and a short message must not be empty."""
    assert laid_out(lay_out, {}) == {
        "version": "1.1",
        "host": "-",
        "short_message": "-",
        "timestamp": CREATED,
        "level": 4,
    }


def test_what_a_record_has_not_is_not_there() -> None:
    """Programs may switch off the threads and processes of logging."""
    made = message(thread=None, thread_name=None, process=None)
    assert made.keys() == WHOLE.keys() - {"_thread", "_thread_name", "_pid"}


@pytest.mark.parametrize(
    ("created", "timestamp"),
    [(0, 0.0), (-0.5, -0.5), (1_700_000_000.1234567, 1_700_000_000.123457), (1e11, 1e11)],
)
def test_times_are_seconds_with_microseconds(created: float, timestamp: float) -> None:
    """Since the epoch."""
    assert laid_out(lay_out, plain_fields(), created=created)["timestamp"] == timestamp


@pytest.mark.parametrize("created", [float("nan"), float("inf"), 1e300, None])
def test_a_time_that_is_none_is_left_out(created: Any) -> None:
    """Graylog then takes the time at which it has the message."""
    made = laid_out(lay_out, plain_fields(time="???"), created=created)
    assert "timestamp" not in made
    assert made["_time"] == "???"


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        *[(-1, 7), (0, 7), (5, 7), (10, 7), (15, 7), (19, 7), (20, 6), (24, 6), (25, 5), (29, 5)],
        *[(30, 4), (35, 4), (40, 3), (45, 3), (50, 2), (60, 2), (10**9, 2)],
    ],
)
def test_levels_are_syslog_severities(level: int, expected: int) -> None:
    """0 and 1 are for what ends more than a program."""
    assert severity(level) == expected


# -- the law ---------------------------------------------------------------------------------------

# The specification's table of fields; Graylog's reader (GelfCodec) refuses blank texts.
NOT_BLANK = re.compile(r"(?s).*\S.*")
ADDITIONAL = re.compile(r"_[A-Za-z0-9_.\-]*")
TEXTS = {"version": re.compile(r"1\.1"), "host": NOT_BLANK, "short_message": NOT_BLANK}
NUMBERS = {"timestamp": (int, float), "level": (int,)}
SPECIAL = {"message", "host", "time", "stack", "exception"}
"""The fields with places of their own; the tables above have them."""


def check_gelf(made: dict[str, Any]) -> None:
    """The rules of the specification, one by one."""
    assert all(form.fullmatch(made[name]) for name, form in TEXTS.items())
    assert type(made.get("full_message", "")) is str
    assert all(type(made[name]) in kinds for name, kinds in NUMBERS.items())
    assert 0 <= made["level"] <= 7
    additional = made.keys() - {*TEXTS, *NUMBERS, "full_message"}
    assert all(ADDITIONAL.fullmatch(name) for name in additional)
    assert "_id" not in additional
    assert all(type(made[name]) in (str, int, float) for name in additional)


def stored_by_graylog(made: dict[str, Any]) -> dict[str, Any]:
    """The additional fields as GelfCodec and Message.toElasticSearchObject keep them."""
    own = {"_id", "message", "source", "timestamp", "level", "full_message", "streams"}
    elastic_s = {"_ttl", "_source", "_all", "_index", "_type", "_score"}
    stored: dict[str, Any] = {}
    for name in (name for name in made if name.startswith("_")):
        key = name[1:] if len(name) > 1 else name
        if key not in own | elastic_s | {"short_message", "host"}:
            stored.setdefault(key.replace(".", "_"), made[name])
    return stored


@examples(250)
@given(without_some(plain_fields(exception=EXCEPTION)), extras)
def test_any_fields_make_a_message(fields: dict[str, Any], extra: dict[str, Any]) -> None:
    """That follows the rules; Graylog keeps every value, as often as the fields have it."""
    given_fields = {**fields, **extra}
    made = laid_out(lay_out, given_fields)
    check_gelf(made)
    expected = [
        value
        for name, value in given_fields.items()
        if name not in SPECIAL and (value is not None or name not in plain_fields())
    ]
    assert not lost(expected, list(stored_by_graylog(made).values()))


# -- beside graypy ---------------------------------------------------------------------------------


class Graypy(graypy.handler.BaseGELFHandler):
    """Its conversion alone."""

    def emit(self, record: logging.LogRecord) -> None:
        """Nothing is sent."""


def theirs(record: logging.LogRecord) -> dict[str, Any]:
    """Return graypy's form of a record."""
    handler = Graypy(level_names=True)
    made: dict[str, Any] = json.loads(handler._pack_gelf_dict(handler._make_gelf_dict(record)))
    return made


@pytest.mark.parametrize(
    "record",
    [
        logged("hello %s", "world"),
        *[
            logged(levelno=level, levelname=logging.getLevelName(level))
            for level in range(10, 51, 10)
        ],
        logged(user_id=7, ratio=0.5, name_="ä", **{"a.b": "c"}),
    ],
    ids=["args", "debug", "info", "warning", "error", "critical", "extras"],
)
def test_graypy_makes_the_same(record: logging.LogRecord) -> None:
    """Under the names of GELF 1.1: graypy still writes 1.0, with the deprecated fields."""
    ours, graypy_s = of_record(lay_out, record), theirs(record)
    assert graypy_s.pop("version") == "1.0"
    for deprecated, ours_is in (
        ("facility", "_logger"),
        ("file", "_file"),
        ("line", "_line"),
        ("level_name", "_level_name"),
    ):
        assert graypy_s.pop(deprecated) == ours[ours_is]
    graypy_s.pop("_taskName", None)
    graypy_s.pop("_stack_info", None)
    assert graypy_s.items() <= ours.items()


def test_graypy_s_full_message_has_the_same_lines() -> None:
    """It joins them with one newline too many, and leaves the message out."""
    record = logged(exc_info=fallen(ValueError("why")))
    full: str = theirs(record)["full_message"]
    lines = [line for line in full.split("\n") if line]
    assert [line for line in of_record(lay_out, record)["full_message"].split("\n") if line] == [
        "hello",
        *lines,
    ]


def test_graypy_s_booleans_and_nulls_are_what_graylog_passes_over() -> None:
    """So they are texts here."""
    record = logged(yes=True, none=None)
    assert (theirs(record)["_yes"], theirs(record)["_none"]) == (True, None)
    ours = of_record(lay_out, record)
    assert (ours["_yes"], ours["_none"]) == ("true", "null")
