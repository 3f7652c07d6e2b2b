"""Which headers a log record has."""

from __future__ import annotations

import enum
import logging
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import ConfigurationError
from kiel_logging.record.fields import to_fields
from kiel_logging.record.route import header_choice
from kiel_logging.records import Header
from kiel_logging.serializers import encode_headers
from tests.record.test_log_record import Unshowable


def headers(options: Any, **attributes: Any) -> tuple[Header, ...]:
    """The headers of a record with these attributes."""
    record = logging.makeLogRecord({"name": "shop.cart", "levelname": "ERROR", **attributes})
    return header_choice(options)(to_fields(record, None), record)


class Color(enum.Enum):
    """An enum as a program has them."""

    RED = "red"


class Bytes(bytes):
    """Bytes with a name of their own."""


def value_of(value: object) -> bytes | None:
    """The header that an extra of this value makes."""
    ((_, made),) = headers({"h": "extra_field"}, extra_field=value)
    return made


@pytest.mark.parametrize("options", [None, {}])
def test_without_headers_there_are_none(options: Any) -> None:
    """And the fields are not looked at."""
    nothing: Any = None
    assert header_choice(options)(nothing, nothing) == ()


@pytest.mark.parametrize(
    ("options", "attributes", "expected"),
    [
        ({"level": "levelname"}, {}, (("level", b"ERROR"),)),
        ({"level": "level"}, {}, (("level", b"ERROR"),)),
        ({"who": "user_id"}, {"user_id": "ann"}, (("who", b"ann"),)),
        ({"who": "user.id"}, {"user": {"id": 7}}, (("who", b"7"),)),
        (
            {"logger": "name", "level": "levelname"},
            {},
            (("logger", b"shop.cart"), ("level", b"ERROR")),
        ),
        ({"a": "level", "b": "level"}, {}, (("a", b"ERROR"), ("b", b"ERROR"))),
        ({"größe": "size"}, {"size": 3}, (("größe", b"3"),)),
    ],
    ids=["attribute", "field", "extra", "path", "in order", "one field twice", "any letters"],
)
def test_a_header_is_a_field(
    options: Any, attributes: dict[str, Any], expected: tuple[Header, ...]
) -> None:
    """Header name to field name, in the order in which they are given."""
    assert headers(options, **attributes) == expected


@pytest.mark.parametrize("attributes", [{}, {"user": None}, {"user": {}}, {"user": {"id": None}}])
def test_a_record_without_the_field_lacks_the_header(attributes: dict[str, Any]) -> None:
    """And only this one."""
    options = {"who": "user.id", "level": "levelname"}
    assert headers(options, **attributes) == (("level", b"ERROR"),)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", b"text"),
        ("", b""),
        ("grüße", "grüße".encode()),
        (b"\x00\xff", b"\x00\xff"),
        (b"", b""),
        (bytearray(b"\xff"), b"\xff"),
        (Bytes(b"\xff"), b"\xff"),
        (7, b"7"),
        (0, b"0"),
        (True, b"True"),
        (1.5, b"1.5"),
        (Decimal("1.50"), b"1.50"),
        (uuid.UUID(int=7), b"00000000-0000-0000-0000-000000000007"),
        (Color.RED, b"Color.RED"),
        (["a", 1], b"['a', 1]"),
        ("\ud800", b"\\ud800"),
        ("a\udc80", b"a\\udc80"),
        (Unshowable(), b"<Unshowable that can't be shown: RuntimeError>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_value_of_a_header_is_bytes(value: object, expected: bytes) -> None:
    """Bytes as they are, of all else the text."""
    made = value_of(value)
    assert made == expected
    assert type(made) is bytes


@given(st.text() | st.text(st.characters()) | st.binary() | st.integers() | st.floats())
def test_every_value_can_be_stored(value: object) -> None:
    """And text without lone surrogates is read back as it was."""
    made = value_of(value)
    assert encode_headers([("h", made)]) == (("h", made),)
    if isinstance(value, str) and value.isprintable():
        assert made is not None
        assert made.decode() == value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("level", "headers='level' must be a mapping of header names to names of fields, such as "),
        (["level"], "headers=['level'] must be a mapping of header names to names of fields"),
        ({"": "level"}, "headers has '': each name must be a str, and not empty"),
        *[
            ({name: "level"}, f"headers has {name!r}, which is the handler's own: choose another")
            for name in ("kiel-instance", "kiel-sequence", "kiel-event", "kiel-chain")
        ],
        ({7: "level"}, "headers has 7: each name must be a str, and not empty"),
        ({"level": ""}, "headers has '': each name must be a str, and not empty"),
        ({"level": 7}, "headers has 7: each name must be a str, and not empty"),
        ({"level": None}, "headers has None: each name must be a str, and not empty"),
        ({"\ud800": "level"}, "headers has '\\ud800': the header key has no UTF-8 form: "),
    ],
    ids=ascii,
)
def test_bad_headers_are_refused(options: Any, message: str) -> None:
    """When the handler is made."""
    with pytest.raises(ConfigurationError) as refused:
        header_choice(options)
    assert str(refused.value).startswith(message)
