"""The topic, the key and the headers of a record."""

from __future__ import annotations

import enum
import logging
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import ConfigurationError, InvalidTopic
from kiel_logging.record.fields import to_fields
from kiel_logging.record.route import field_lookup, header_choice, key_choice, topic_choice
from kiel_logging.records import Header
from kiel_logging.serializers import encode_headers
from tests.record.test_fields import Unshowable


def logged(**attributes: Any) -> logging.LogRecord:
    """Return an ERROR of `shop.cart` with these attributes."""
    return logging.makeLogRecord({"name": "shop.cart", "levelname": "ERROR", **attributes})


# -- topics ----------------------------------------------------------------------------------------


def test_a_name_is_the_topic_of_every_record() -> None:
    """Its attributes don't count."""
    choose = topic_choice("app.logs")
    assert {choose(logged()), choose(logged(name="other"))} == {"app.logs"}


@pytest.mark.parametrize(
    ("template", "attributes", "expected"),
    [
        ("logs.{levelname}", {}, "logs.ERROR"),
        ("{name}-{levelname}", {}, "shop.cart-ERROR"),
        ("tenant_{tenant}", {"tenant": 17}, "tenant_17"),
        ("{user[region]}", {"user": {"region": "eu"}}, "eu"),
        ("{number:04d}", {"number": 7}, "0007"),
        ("{name!s}", {}, "shop.cart"),
    ],
)
def test_a_template_is_filled_with_attributes(
    template: str, attributes: dict[str, Any], expected: str
) -> None:
    """Those of the record, extras among them."""
    assert topic_choice(template)(logged(**attributes)) == expected


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        *[(name, f"topic={name!r}: ") for name in ("", ".", "..", "two words", "größe", "x" * 250)],
        *[
            (other, f"topic={other!r} must be a name, a template such as 'logs.{{levelname}}', or")
            for other in (None, 7, b"logs", ["logs"])
        ],
        ("logs.{levelname", "is no valid template"),
        ("logs.levelname}", "is no valid template"),
        ("logs {levelname}", "has 'logs '"),
        ("{levelname}/{name}", "has '/'"),
        ("{{logs}}", "has '{'"),
        ("logs.{}", "name an attribute of the LogRecord"),
        ("logs.{0}", "name an attribute of the LogRecord"),
    ],
    ids=ascii,
)
def test_a_topic_that_can_not_be_right_is_refused(topic: Any, message: str) -> None:
    """When the handler is made, with the option and the value."""
    with pytest.raises(ConfigurationError) as refused:
        topic_choice(topic)
    assert f"topic={topic!r}" in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("template", "attributes"),
    [
        ("logs.{tenant}", {}),
        ("logs.{tenant.name}", {"tenant": 17}),
        ("{user[region]}", {"user": {}}),
        ("{user[region]}", {"user": None}),
        ("{number:d}", {"number": "seven"}),
        *[("logs.{tenant}", {"tenant": name}) for name in ("two words", "x" * 250, "größe")],
        *[("{tenant}", {"tenant": name}) for name in ("", "..")],
    ],
)
def test_a_record_that_does_not_fit_the_template(template: str, attributes: dict[str, Any]) -> None:
    """It alone has no topic; the error names the template."""
    choose = topic_choice(template)
    with pytest.raises(InvalidTopic, match="topic"):
        choose(logged(**attributes))
    tenant = type("Tenant", (), {"name": "a", "__str__": lambda _: "a"})()
    assert choose(logged(user={"region": "eu"}, tenant=tenant, number=1))


def test_a_callable_chooses_the_topic() -> None:
    """It takes the record; an exception of it is not hidden."""
    assert topic_choice(lambda record: record.name)(logged()) == "shop.cart"
    with pytest.raises(ZeroDivisionError):
        topic_choice(lambda _record: str(1 / 0))(logged())
    with pytest.raises(InvalidTopic, match=r"topic template 'logs\.\{tenant\}': KeyError\('ten"):
        topic_choice("logs.{tenant}")(logged())


@pytest.mark.parametrize("chosen", ["", "two words", None, 7, b"logs"])
def test_a_callable_that_returns_no_topic(chosen: Any) -> None:
    """That is an error of this record."""
    with pytest.raises(InvalidTopic):
        topic_choice(lambda _record: chosen)(logged())


# -- fields ----------------------------------------------------------------------------------------


class Hostile(Mapping[str, Any]):
    """A mapping that can't be looked into."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("not today")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("not today")

    def __len__(self) -> int:
        raise RuntimeError("not today")


def found(name: str, fields: dict[str, Any], **attributes: Any) -> Any:
    """Return the value that a look-up finds."""
    return field_lookup(name)(fields, logging.makeLogRecord(attributes))


@pytest.mark.parametrize(
    ("name", "fields", "attributes", "expected"),
    [
        ("a", {"a": 1}, {"a": 2}, 1),
        ("a", {}, {"a": 2}, 2),
        ("levelname", {"level": "INFO"}, {"levelname": "INFO"}, "INFO"),
        ("a.b", {"a.b": 1, "a": {"b": 3}}, {"a.b": 2}, 1),
        ("a.b", {"a": {"b": 3}}, {"a.b": 2}, 2),
        ("a.b", {"a": MappingProxyType({"b": 3})}, {}, 3),
        ("a", {"a": None}, {"a": 2}, None),
        ("a", {"a": {"b": 3}}, {}, {"b": 3}),
        *[("a.b", {"a": value}, {}, None) for value in ({}, None, "b", {"b": None}, Hostile())],
        ("a.0", {"a": ["list"]}, {}, None),
        ("a.", {"a": {"b": 1}}, {}, None),
        (".a", {"a": 1}, {}, None),
        ("a.b.c", {"a": {"b": 1}}, {}, None),
    ],
)
def test_a_field_is_found(
    name: str, fields: dict[str, Any], attributes: dict[str, Any], expected: Any
) -> None:
    """By its whole name, as an attribute of the LogRecord, or at a dotted path; else None."""
    assert found(name, fields, **attributes) == expected


def test_looking_makes_nothing() -> None:
    """In a defaultdict, an index would."""
    visits: defaultdict[str, int] = defaultdict(int)
    assert found("visits.ann", {"visits": visits}) is None
    assert visits == {}


names = st.text("ab.", max_size=4)
nested = st.recursive(st.integers(), lambda inner: st.dictionaries(names, inner, max_size=3))


@given(st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=5), st.integers())
def test_every_path_leads_to_its_value(path: list[str], value: int) -> None:
    """However deep it is nested."""
    fields: Any = value
    for name in reversed(path):
        fields = {name: fields}
    assert found(".".join(path), fields) == value


@given(names, st.dictionaries(names, nested, max_size=3))
def test_a_look_up_never_raises(name: str, fields: dict[str, Any]) -> None:
    """A whole name goes before a path."""
    value = found(name, fields)
    assert value == fields.get(name, value)


# -- keys ------------------------------------------------------------------------------------------


def key(field: str | None, maker: Any = None, **extras: Any) -> Any:
    """Return the key of a record with these extras."""
    record = logged(**extras)
    return key_choice(field, maker)(to_fields(record, None), record)


@pytest.mark.parametrize(
    ("field", "extras", "expected"),
    [
        (None, {"user_id": 7}, None),
        *[("user_id", {"user_id": value}, value) for value in (7, "ann", b"\x00\x07", None)],
        ("level", {"level": "mine"}, "ERROR"),
        ("extra.level", {"level": "mine"}, "mine"),
        ("levelname", {}, "ERROR"),
        ("name", {}, "shop.cart"),
        ("user.id", {"user": {"id": 7}}, 7),
        ("user.id", {}, None),
        ("id", {"id": uuid.UUID(int=7)}, "00000000-0000-0000-0000-000000000007"),
        ("id", {"id": Decimal("1.50")}, "1.50"),
        ("id", {"id": 1.5}, "1.5"),
        ("id", {"id": True}, "True"),
        ("id", {"id": ("a", 1)}, "('a', 1)"),
        ("id", {"id": "\ud800"}, "\\ud800"),
    ],
    ids=ascii,
)
def test_the_key_is_a_field(field: str | None, extras: dict[str, Any], expected: Any) -> None:
    """Ids of other types by their text, which readers compare; None for no key."""
    assert key(field, **extras) == expected


def test_a_key_maker_takes_the_dict() -> None:
    """Its result is the key as it is, and its exception is not hidden."""
    maker = lambda fields: (fields["level"], fields["user_id"])  # noqa: E731
    assert key(None, maker, user_id=7) == ("ERROR", 7)
    with pytest.raises(KeyError, match="user_id"):
        key(None, maker)


@pytest.mark.parametrize(
    ("key_field", "key_maker", "message"),
    [
        ("user_id", repr, "key_field and key_maker are both given: choose one"),
        (None, "user_id", "key_maker='user_id' must be callable"),
        *[(bad, None, f"key_field={bad!r} must be the name of a") for bad in ("", 7, b"id")],
    ],
)
def test_a_bad_key_is_refused(key_field: Any, key_maker: Any, message: str) -> None:
    """When the handler is made."""
    with pytest.raises(ConfigurationError) as refused:
        key_choice(key_field, key_maker)
    assert str(refused.value).startswith(message)


# -- headers ---------------------------------------------------------------------------------------


def headers(options: Any, **attributes: Any) -> tuple[Header, ...]:
    """Return the headers of a record with these attributes."""
    record = logged(**attributes)
    return header_choice(options)(to_fields(record, None), record)


class Color(enum.Enum):
    """An enum as programs have them."""

    RED = "red"


class Bytes(bytes):
    """Bytes of another class."""


@pytest.mark.parametrize(
    ("options", "attributes", "expected"),
    [
        (None, {}, ()),
        ({}, {}, ()),
        ({"level": "levelname"}, {}, (("level", b"ERROR"),)),
        ({"level": "level"}, {}, (("level", b"ERROR"),)),
        ({"who": "user.id"}, {"user": {"id": 7}}, (("who", b"7"),)),
        ({"b": "name", "a": "level"}, {}, (("b", b"shop.cart"), ("a", b"ERROR"))),
        ({"a": "level", "b": "level"}, {}, (("a", b"ERROR"), ("b", b"ERROR"))),
        ({"größe": "size"}, {"size": 3}, (("größe", b"3"),)),
        *[
            ({"who": "user.id", "level": "levelname"}, attributes, (("level", b"ERROR"),))
            for attributes in ({}, {"user": None}, {"user": {}}, {"user": {"id": None}})
        ],
    ],
)
def test_a_header_is_a_field(
    options: Any, attributes: dict[str, Any], expected: tuple[Header, ...]
) -> None:
    """In the order of the option; a record without the field lacks that header."""
    assert headers(options, **attributes) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *[(text, text.encode()) for text in ("text", "", "grüße")],
        *[(data, bytes(data)) for data in (b"\x00\xff", b"", bytearray(b"\xff"), Bytes(b"\xff"))],
        *[(each, str(each).encode()) for each in (7, 0, True, 1.5, Decimal("1.50"), Color.RED)],
        (["a", 1], b"['a', 1]"),
        ("a\udc80", b"a\\udc80"),
        (Unshowable(), b"<Unshowable that can't be shown: RuntimeError>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_value_of_a_header_is_bytes(value: object, expected: bytes) -> None:
    """Bytes as they are; of everything else the text."""
    ((_, made),) = headers({"h": "extra_field"}, extra_field=value)
    assert made == expected
    assert type(made) is bytes


@given(st.text() | st.text(st.characters()) | st.binary() | st.integers() | st.floats())
def test_every_value_can_be_stored(value: object) -> None:
    """Text without lone surrogates is read back as it was."""
    ((_, made),) = headers({"h": "extra_field"}, extra_field=value)
    assert encode_headers([("h", made)]) == (("h", made),)
    if isinstance(value, str) and value.isprintable():
        assert (made or b"").decode() == value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("level", "headers='level' must be a mapping of header names to names of fields, such as "),
        *[
            ({name: "level"}, f"headers has {name!r}, which is the handler's own: choose another")
            for name in ("kiel-instance", "kiel-sequence", "kiel-event", "kiel-chain")
        ],
        *[
            ({"level": name}, f"headers has {name!r}: each name must be a str, and not empty")
            for name in ("", 7, None)
        ],
        ({7: "level"}, "headers has 7: each name must be a str, and not empty"),
        ({"\ud800": "level"}, "headers has '\\ud800': the header key has no UTF-8 form: "),
    ],
    ids=ascii,
)
def test_bad_headers_are_refused(options: Any, message: str) -> None:
    """When the handler is made."""
    with pytest.raises(ConfigurationError) as refused:
        header_choice(options)
    assert str(refused.value).startswith(message)
