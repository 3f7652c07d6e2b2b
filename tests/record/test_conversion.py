"""A LogRecord as an Item: the steps, their order, and what an item holds."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.delivery.batch import memory_of
from kiel_logging.errors import InvalidTopic, KeyTypeError
from kiel_logging.record.conversion import Conversion, milliseconds
from kiel_logging.record.item import SOURCE_MEMORY, STAMP_MEMORY, Item
from kiel_logging.record.route import topic_choice
from kiel_logging.wire.sizes import BATCH_OVERHEAD, record_size

NONE: dict[str, Any] = {
    "topic": "logs",
    "key_field": None,
    "key_maker": None,
    "headers": None,
    "format": "json",
    "serializer": None,
    "context": None,
    "fields": None,
    "rename": None,
    "exclude": None,
    "redact": None,
    "max_size": 1_000_000,
    "keep_source": False,
}


def conversion(**options: Any) -> Conversion:
    """A conversion with these options, all others left out."""
    return Conversion(**{**NONE, **options})


def record(**attributes: Any) -> logging.LogRecord:
    """An INFO of `shop.cart` with these extras, or other attributes."""
    made = logging.LogRecord("shop.cart", logging.INFO, __file__, 7, "sold %s", ("tea",), None)
    made.__dict__.update(attributes)
    return made


def convert(extras: dict[str, Any] | None = None, **options: Any) -> Item:
    """The item of a record with these extras."""
    return conversion(**options).convert(record(**(extras or {})), None)


def value(item: Item) -> dict[str, Any]:
    """Return its value as a consumer reads it."""
    found: dict[str, Any] = json.loads(item.record.value or b"")
    return found


# -- the item ------------------------------------------------------------------------------------


def test_the_item() -> None:
    """Topic, key, headers, time, level and memory; no LogRecord is kept unless it is asked for."""
    item = convert(
        {"user": 7, "created": 1_600_000_000.25},
        topic="logs.{levelname}",
        key_field="user",
        headers={"who": "user"},
    )
    assert (item.topic, item.key, item.level) == ("logs.INFO", 7, logging.INFO)
    assert item.record.key == b"7"
    assert item.record.headers == (("who", b"7"),)
    assert item.record.timestamp == 1_600_000_000_250
    assert item.memory == memory_of(item.record) + STAMP_MEMORY
    assert item.source is None


def test_the_source_is_kept_for_a_fallback() -> None:
    """It is the same LogRecord, and its memory is counted."""
    source = record()
    item = conversion(keep_source=True).convert(source, None)
    assert item.source is source
    assert item.memory == memory_of(item.record) + STAMP_MEMORY + SOURCE_MEMORY


def test_a_topic_that_is_given() -> None:
    """A summary goes to the topic that it is about, whatever the option says."""
    made = conversion(topic="{nothing}").convert(record(), None, "other")
    assert made.topic == "other"


def test_bytes_that_are_spared() -> None:
    """A record that gets headers later is cut so that they will fit."""
    made = conversion(max_size=1_000 + BATCH_OVERHEAD, format="text")
    long = record(msg="x" * 2_000)
    assert [made.convert(long, None, None, spare).size for spare in (0, 100)] == [1_000, 900]


def test_the_record_is_not_changed() -> None:
    """Other handlers get it too."""
    user = {"id": 7, "password": "secret", "odd": {1, 2}}
    source = record(user=user)
    before = {name: repr(value) for name, value in source.__dict__.items()}
    made = conversion(
        exclude=["user.id"], redact=["password"], rename={"user": "who"}, fields={"env": "test"}
    ).convert(source, logging.Formatter("%(asctime)s %(message)s"))
    assert {name: repr(value) for name, value in source.__dict__.items()} == before
    assert value(made)["who"] == {"password": "[redacted]", "odd": [1, 2]}


# -- the order of the steps ----------------------------------------------------------------------


def test_extras_come_before_context_before_static_fields() -> None:
    """The nearer to the call, the more it counts; context that is in the way stands under extra."""
    made = value(
        convert(
            {"tenant": "extra"},
            context=lambda: {"tenant": "context", "region": "context"},
            fields={"tenant": "static", "region": "static", "env": "static"},
        )
    )
    assert made["tenant"] == "extra"
    assert made["extra"] == {"tenant": "context"}
    assert (made["region"], made["env"]) == ("context", "static")


def test_what_is_added_can_be_renamed_left_out_and_hidden() -> None:
    """Extras, context and static fields alike."""
    made = value(
        convert(
            {"a": 1, "b": 1, "c": 1},
            context=lambda: {"d": 2, "e": 2, "f": 2},
            fields={"g": 3, "h": 3, "i": 3},
            rename={"a": "A", "d": "D", "g": "G"},
            exclude=["b", "e", "h"],
            redact=["c", "f", "i"],
        )
    )
    assert {name: made[name] for name in "ADG"} == {"A": 1, "D": 2, "G": 3}
    assert {made[name] for name in "cfi"} == {"[redacted]"}
    assert not set("abdegh") & made.keys()


def test_the_key_maker_sees_the_fields_as_they_will_be() -> None:
    """Renamed, with what was added, without what was left out; hidden values are hidden."""
    seen: dict[str, Any] = {}

    def make(fields: dict[str, Any]) -> str:
        seen.update(fields)
        return "key"

    convert(
        {"password": "secret"},
        key_maker=make,
        rename={"message": "msg"},
        fields={"env": "test"},
        exclude=["thread"],
        redact=["password"],
    )
    assert (seen["msg"], seen["env"], seen["password"]) == ("sold tea", "test", "[redacted]")
    assert "thread" not in seen


def test_keys_and_headers_by_the_names_of_fields() -> None:
    """New names as well as the LogRecord's own."""
    item = convert(
        {"user": "ann"},
        rename={"user": "who"},
        key_field="who",
        headers={"logger": "name", "env": "env"},
        fields={"env": "test"},
    )
    assert item.key == "ann"
    assert item.record.headers == (("logger", b"shop.cart"), ("env", b"test"))


# -- size ----------------------------------------------------------------------------------------


@given(
    length=st.integers(0, 3_000),
    key=st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    max_size=st.integers(700, 2_000),
    format=st.sampled_from(["json", "ecs", "gelf", "text"]),
)
def test_a_record_fits_a_request(length: int, key: str, max_size: int, format: str) -> None:  # noqa: A002
    """Whatever it holds, its batch is no larger than a request may be, with key and headers."""
    item = convert(
        {"payload": "é" * length, "key": key},
        key_field="key",
        headers={"h": "key"},
        format=format,
        max_size=max_size,
    )
    assert BATCH_OVERHEAD + record_size(item.record) <= max_size


@pytest.mark.parametrize("made", ["x" * 5_000, "\u20ac" * 5_000, b"\xff" * 5_000])
def test_a_key_and_headers_that_leave_no_room(made: str | bytes) -> None:
    """They are cut, to whole characters: nothing that is logged may cost its record."""
    item = convert({"v": made}, key_field="v", headers={"a": "v", "b": "levelname"}, max_size=2_000)
    whole = made.encode() if isinstance(made, str) else made
    header, level = item.record.headers
    assert BATCH_OVERHEAD + record_size(item.record) <= 2_000
    assert 300 < len(item.record.key or b"") == len(header[1] or b"") < 400
    assert whole.startswith(item.record.key or b"-")
    assert whole.startswith(header[1] or b"-")
    assert level == ("b", b"INFO")
    if isinstance(made, str):
        assert made.startswith((header[1] or b"-").decode())


def test_a_key_that_leaves_room_is_whole() -> None:
    """It is the value that is cut, and never a key for its sake."""
    item = convert({"v": "x" * 1_500, "w": "y" * 1_500}, key_field="v", max_size=3_000)
    assert item.key == "x" * 1_500


def test_a_record_that_fits_is_left_alone() -> None:
    """Down to the last byte."""
    size = BATCH_OVERHEAD + record_size(convert({"payload": "x" * 1_000}).record)
    whole = value(convert({"payload": "x" * 1_000}, max_size=size + 1))
    cut = value(convert({"payload": "x" * 1_000}, max_size=size - 1))
    assert whole["payload"] == "x" * 1_000
    assert cut["kiel_logging"]["cut"] == ["payload"]


# -- errors and time -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"topic": "{nothing}"}, InvalidTopic),
        ({"key_maker": lambda _fields: 1.5}, KeyTypeError),
        ({"key_maker": lambda fields: fields["nothing"]}, KeyError),
        ({"serializer": lambda _fields: 1 / 0}, ZeroDivisionError),
    ],
    ids=["topic", "type of the key", "key_maker", "serializer"],
)
def test_what_it_raises(options: dict[str, Any], error: type[Exception]) -> None:
    """Errors of the program's code and of its results are not hidden."""
    with pytest.raises(error):
        convert(**options)


def test_the_topic_alone() -> None:
    """Losses are reported by topic, also when everything else failed."""
    made = conversion(topic="logs.{levelname}", serializer=lambda _fields: 1 / 0)
    assert made.topic(record()) == topic_choice("logs.{levelname}")(record()) == "logs.INFO"


@pytest.mark.parametrize(
    ("created", "expected"),
    [(0.0, 0), (1_600_000_000.25, 1_600_000_000_250), (1.0009, 1000), (2.0**52, 2**52 * 1000)],
)
def test_milliseconds(created: float, expected: int) -> None:
    """Seconds as milliseconds, the rest cut off."""
    assert milliseconds(created) == expected


@pytest.mark.parametrize(
    "created", [-1.0, float("nan"), float("inf"), 1e300, "yesterday", None], ids=str
)
def test_a_made_up_time(created: Any) -> None:
    """It is now: the record is not lost over it."""
    before = time.time_ns() // 1_000_000
    assert before <= milliseconds(created) <= time.time_ns() // 1_000_000
