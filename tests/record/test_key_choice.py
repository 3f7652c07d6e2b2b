"""Which key a log record has."""

from __future__ import annotations

import logging
import uuid
from decimal import Decimal
from typing import Any

import pytest

from kiel_logging.errors import ConfigurationError
from kiel_logging.record.fields import to_fields
from kiel_logging.record.route import key_choice


def key(field: str, **extras: Any) -> Any:
    """The key of a record with these extras."""
    record = logging.makeLogRecord({"name": "shop.cart", "levelname": "ERROR", **extras})
    return key_choice(field, None)(to_fields(record, None), record)


def test_without_a_choice_there_is_no_key() -> None:
    """Null, and the partitioner may choose freely."""
    assert key_choice(None, None)({"user_id": 7}, logging.makeLogRecord({})) is None


@pytest.mark.parametrize(
    ("field", "extras", "expected"),
    [
        ("user_id", {"user_id": 7}, 7),
        ("user_id", {"user_id": "ann"}, "ann"),
        ("user_id", {"user_id": b"\x00\x07"}, b"\x00\x07"),
        ("user_id", {"user_id": None}, None),
        ("level", {}, "ERROR"),
        ("logger", {}, "shop.cart"),
        ("levelname", {}, "ERROR"),
        ("name", {}, "shop.cart"),
        ("level", {"level": "mine"}, "ERROR"),
        ("extra.level", {"level": "mine"}, "mine"),
    ],
)
def test_the_key_is_a_field(field: str, extras: dict[str, Any], expected: Any) -> None:
    """An extra, one of our own, or an attribute as logging calls it."""
    assert key(field, **extras) == expected


@pytest.mark.parametrize(
    ("field", "extras", "expected"),
    [
        ("user.id", {"user": {"id": 7}}, 7),
        ("a.b.c", {"a": {"b": {"c": "deep"}}}, "deep"),
        ("user.id", {"user.id": "flat", "user": {"id": "nested"}}, "flat"),
        ("user.id", {"user": {"id": None}}, None),
    ],
)
def test_a_dotted_path_reaches_into_extras(
    field: str, extras: dict[str, Any], expected: Any
) -> None:
    """A field of just that name goes first."""
    assert key(field, **extras) == expected


@pytest.mark.parametrize(
    ("field", "extras"),
    [
        ("user_id", {}),
        ("user.id", {}),
        ("user.id", {"user": 7}),
        ("user.id", {"user": {}}),
        ("user.id", {"user": None}),
        ("user.id.x", {"user": {"id": 7}}),
        ("user.", {"user": {"id": 7}}),
    ],
)
def test_a_record_without_the_field_has_no_key(field: str, extras: dict[str, Any]) -> None:
    """It is sent nevertheless."""
    assert key(field, **extras) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Decimal("1.50"), "1.50"),
        (1.5, "1.5"),
        (True, "True"),
        (("a", 1), "('a', 1)"),
    ],
)
def test_other_ids_are_keys_by_their_text(value: Any, expected: str) -> None:
    """That is what a reader would compare."""
    assert key("user_id", user_id=value) == expected


def test_a_key_maker_takes_the_dict() -> None:
    """As in the seed, and its value is the key as it is."""
    choose = key_choice(None, lambda fields: (fields["level"], fields.get("user_id")))
    record = logging.makeLogRecord({"levelname": "INFO", "user_id": 7})
    assert choose(to_fields(record, None), record) == ("INFO", 7)


def test_what_a_key_maker_raises_is_not_hidden() -> None:
    """It is told as it is."""
    with pytest.raises(KeyError, match="user_id"):
        key_choice(None, lambda fields: fields["user_id"])({}, logging.makeLogRecord({}))


@pytest.mark.parametrize(
    ("key_field", "key_maker", "message"),
    [
        ("user_id", repr, "key_field and key_maker are both given: choose one"),
        (None, "user_id", "key_maker='user_id' must be callable"),
        ("", None, "key_field='' must be the name of a record's field"),
        (7, None, "key_field=7 must be the name of a record's field"),
        (b"id", None, "key_field=b'id' must be the name of a record's field"),
    ],
)
def test_a_bad_choice_is_refused(key_field: Any, key_maker: Any, message: str) -> None:
    """When the handler is made."""
    with pytest.raises(ConfigurationError) as refused:
        key_choice(key_field, key_maker)
    assert str(refused.value).startswith(message)
