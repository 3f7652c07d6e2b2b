"""Each format is read back into the same fields, and no value is too odd to be shown."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.record.fields import HOST
from kiel_logging.tail.entries import Entry, entries, severity_of
from tests.record.formats.records import SPAN_ID, TRACE_ID, values
from tests.tail.sample import FORMATS, INSTANCE, TIME, arrival, formatted


def only(value: bytes | None) -> Entry:
    """The one log record in a value."""
    [entry] = entries(arrival(value))
    return entry


def raised() -> Any:
    """The exc_info of an error."""
    try:
        raise ValueError("no money")  # noqa: TRY301 - it has to have a traceback
    except ValueError:
        return sys.exc_info()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_back(kind: str) -> None:
    """By the names of our own JSON, whatever the format calls a thing."""
    extras = {"user_id": "ada", "total": 9.9, "trace_id": TRACE_ID, "span_id": SPAN_ID}
    [entry] = entries(formatted(kind, "order %s placed", 17, exc_info=raised(), **extras))
    assert entry[:5] == (TIME, "WARNING", 30, "shop.cart", "order 17 placed")
    wanted = {
        **extras,
        "function": "add",
        "line": 42,
        "host": HOST,
        "process": 4711,
        "thread": 140_000_000_000_001,
        "exception.type": "ValueError",
        "exception.message": "no money",
    }
    assert {name: entry.fields.get(name) for name in wanted} == wanted
    trace = entry.fields["exception.traceback"]
    assert trace.startswith("Traceback (most recent call last):")
    assert trace.rstrip().endswith("ValueError: no money")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("level", "number"),
    [("DEBUG", 10), ("INFO", 20), ("WARNING", 30), ("ERROR", 40), ("CRITICAL", 50)],
)
def test_every_level_is_read_back(kind: str, level: str, number: int) -> None:
    """Under logging's name, and with its number."""
    [entry] = entries(formatted(kind, levelname=level, levelno=number))
    assert (entry.level, entry.severity) == (level, number)


def test_a_text_is_split() -> None:
    """Into level, logger, message and traceback, as BASIC_FORMAT has them."""
    [entry] = entries(formatted("text", "order placed", exc_info=raised()))
    assert entry[1:5] == ("WARNING", 30, "shop.cart", "order placed")
    assert entry.fields["exception.traceback"].startswith("Traceback")


@pytest.mark.parametrize(
    ("text", "level", "message"),
    [
        ("2026-01-02 ERROR in cart: no", "ERROR", "2026-01-02 ERROR in cart: no"),
        ("nothing special", "", "nothing special"),
        ("HTTP:shop: up", "", "HTTP:shop: up"),
        ("17", "", "17"),
        ("[1, 2]", "", "[1, 2]"),
        ("", "", ""),
        ("INFORMATION", "", "INFORMATION"),
        ("9" * 5_000, "", "9" * 5_000),
        ("[" * 100_000, "", "[" * 100_000),
    ],
)
def test_other_texts_are_messages(text: str, level: str, message: str) -> None:
    """Their level is a word near the front, if there is one."""
    entry = only(text.encode())
    assert (entry.level, entry.message, entry.time) == (level, message, TIME)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"msg": "up", "severity": "warn"}, ("WARN", 30, "", "up")),
        ({"event": "up", "level": "info", "timestamp": "x"}, ("INFO", 20, "", "up")),
        ({"message": {"event": "login"}}, ("", None, "", '{"event":"login"}')),
        ({"message": None, "level": 40}, ("40", 40, "", "")),
        ({"level": "Level 15", "name": "shop"}, ("LEVEL 15", 15, "shop", "")),
        ({"level": "AUDIT", "message": 17}, ("AUDIT", None, "", "17")),
        ({}, ("", None, "", "")),
    ],
    ids=str,
)
def test_json_of_other_programs(document: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """By the names that are usual for the same things."""
    assert only(json.dumps(document).encode())[1:5] == expected


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("2026-01-02T03:04:05.678901Z", "2026-01-02T03:04:05.678Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05.000Z"),
        ("2026-01-02 03:04:05", "2026-01-02T03:04:05.000Z"),
        ("0001-01-01T00:00:00+23:00", TIME),
        ("yesterday", TIME),
        (17, TIME),
        (None, TIME),
    ],
)
def test_times_are_in_utc(time: object, shown: str) -> None:
    """Kafka's time of the record stands in for one that can't be read."""
    assert only(json.dumps({"time": time}).encode()).time == shown


@pytest.mark.parametrize("timestamp", [-1, 2**62])
def test_a_record_may_have_no_time(timestamp: int) -> None:
    """Or one that no calendar has."""
    assert entries(arrival(b"x")._replace(timestamp=timestamp))[0].time == "-"


def test_a_value_may_have_many_records() -> None:
    """As those of an OpenTelemetry Collector have."""
    records = [{"body": {"stringValue": each}, "severityNumber": 9} for each in "abc"]
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    found = entries(arrival(json.dumps(document).encode()))
    assert [(one.message, one.level) for one in found] == [(each, "INFO") for each in "abc"]


def test_no_value_is_a_message_too() -> None:
    """It is what deletes a key in a compacted topic."""
    assert only(None).message == "(no value)"


ANYTHING = (
    st.binary(max_size=60)
    | values.map(lambda value: json.dumps(value).encode())
    | st.sampled_from(FORMATS).flatmap(
        lambda kind: values.map(lambda value: formatted(kind, "x", odd=value).value)
    )
    | values.map(lambda value: json.dumps({"resourceLogs": [value]}).encode())
    | values.map(
        lambda value: json.dumps(
            {"resourceLogs": [{"resource": value, "scopeLogs": [{"logRecords": [value]}]}]}
        ).encode()
    )
    | values.map(lambda value: json.dumps({"version": value, "short_message": value}).encode())
)
"""Values that anybody may write."""


@given(ANYTHING)
def test_every_value_has_an_entry(value: bytes) -> None:
    """Nothing in it raises."""
    found = entries(arrival(value))
    assert found
    assert all(isinstance(text, str) for one in found for text in (*one[:2], *one[3:5]))


@pytest.mark.parametrize(
    ("headers", "mark"),
    [
        ({"instance": INSTANCE, "sequence": "17"}, (INSTANCE, 17)),
        ({"instance": INSTANCE, "sequence": "1e3"}, None),
        ({"instance": INSTANCE, "sequence": "٣"}, None),
        ({"instance": INSTANCE, "sequence": "9" * 5_000}, None),
        ({"instance": "x" * 32, "sequence": "17"}, None),
        ({"sequence": "17"}, None),
        ({}, None),
    ],
)
def test_a_mark_is_read_with_care(headers: dict[str, str], mark: tuple[str, int] | None) -> None:
    """Headers that make no sense are as none."""
    found = arrival(b"x", **headers).mark
    assert (found and found[:2]) == mark


@pytest.mark.parametrize(
    ("name", "number"),
    [("warn", 30), ("Fatal", 50), ("35", 35), ("level 7", 7), ("", None), ("loud", None)],
)
def test_the_numbers_of_levels(name: str, number: int | None) -> None:
    """Case does not count."""
    assert severity_of(name) == number
