"""How messages, keys and headers become bytes, and which names of topics Kafka allows."""

from __future__ import annotations

import json
import string
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import (
    HeaderTypeError,
    InvalidTopic,
    KeyTypeError,
    TimestampError,
    ValueTypeError,
)
from kiel_logging.serializers import (
    check_timestamp,
    check_topic,
    encode_headers,
    encode_key,
    encode_value,
    json_serializer,
)
from tests.support.examples import examples

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


# -- serializers -----------------------------------------------------------------------------------


@examples(100)
@given(json_values)
def test_json_is_read_back(message: Any) -> None:
    """A message that has a JSON form comes back as it went in."""
    assert json.loads(json_serializer(message)) == message


def test_json_is_what_json_dumps_makes() -> None:
    """To the character, as the seed says."""
    message = {"colors": ["red", "blue"], "name": "grüße", "n": 1.5}
    assert json_serializer(message) == json.dumps(message)


@pytest.mark.parametrize("message", [float("nan"), float("inf"), [float("-inf")]])
def test_nan_is_no_json(message: Any) -> None:
    """And other languages' parsers don't take it."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_serializer(message)


@pytest.mark.parametrize("message", [b"bytes", {1, 2}, object(), {"at": Decimal(1)}])
def test_what_has_no_json_form_is_a_type_error(message: Any) -> None:
    """Nothing is guessed: another serializer can be set."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        json_serializer(message)


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [("grüße", "grüße".encode()), ("", b""), (b"\x00\xff", b"\x00\xff"), (b"", b"")],
)
def test_a_value_is_stored(value: Any, expected: bytes) -> None:
    """str as UTF-8, bytes as they are."""
    assert encode_value(value) == expected


@pytest.mark.parametrize("value", [None, 17, ["a"], bytearray(b"a"), memoryview(b"a")])
def test_any_other_value_is_refused(value: Any) -> None:
    """The message names the type, and what a serializer may return."""
    with pytest.raises(ValueTypeError) as refused:
        encode_value(value)
    assert f"returned {type(value).__name__}: it must return str or bytes" in str(refused.value)


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, None),
        (b"\x00\xff", b"\x00\xff"),
        (b"", b""),
        ("schlüssel", "schlüssel".encode()),
        ("", b""),
        (0, b"0"),
        (-17, b"-17"),
        (10**30, b"1" + b"0" * 30),
    ],
)
def test_a_key_is_stored(key: Any, expected: bytes | None) -> None:
    """None as null, bytes as they are, str as UTF-8, int as decimal digits."""
    assert encode_key(key) == expected


@pytest.mark.parametrize("key", [True, False, 1.5, ("a",), bytearray(b"a"), object()])
def test_any_other_key_is_refused(key: Any) -> None:
    """The message names the type; True is no number here."""
    with pytest.raises(KeyTypeError) as refused:
        encode_key(key)
    assert f"returned {type(key).__name__}: a key is None, bytes, str or int" in str(refused.value)


# -- headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [None, {}, [], ()])
def test_no_headers(headers: Any) -> None:
    """In any form."""
    assert encode_headers(headers) == ()


@pytest.mark.parametrize("kind", [dict, lambda pairs: MappingProxyType(dict(pairs)), list, iter])
def test_headers_are_a_mapping_or_pairs(kind: Any) -> None:
    """In order; str values as UTF-8."""
    headers = kind([("trace", b"\x00"), ("name", "grüße"), ("none", None)])
    expected = (("trace", b"\x00"), ("name", "grüße".encode()), ("none", None))
    assert encode_headers(headers) == expected


def test_a_header_may_repeat() -> None:
    """Kafka allows it (KIP-82)."""
    assert encode_headers([("a", b"1"), ("a", b"2")]) == (("a", b"1"), ("a", b"2"))


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([(b"key", b"value")], "a header key is bytes: it must be str"),
        ({None: b"value"}, "a header key is NoneType: it must be str"),
        ({"size": 17}, "the header 'size' is int: it must be bytes, str or None"),
        ({"at": bytearray(b"a")}, "the header 'at' is bytearray: it must be bytes, str or None"),
        ({"\udc80": b""}, "the header key has no UTF-8 form"),
    ],
)
def test_any_other_header_is_refused(headers: Any, message: str) -> None:
    """The message names the header, its type and what is allowed."""
    with pytest.raises(HeaderTypeError) as refused:
        encode_headers(headers)
    assert str(refused.value).startswith(message)


# -- timestamps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("timestamp", [0, 1, 1_700_000_000_123, 2**63 - 1])
def test_a_timestamp_is_milliseconds_since_1970(timestamp: int) -> None:
    """As far as 64 bits go."""
    assert check_timestamp(timestamp) == timestamp


@pytest.mark.parametrize("timestamp", [-1, 2**63, 1.5, 1e12, "0", True, None])
def test_any_other_timestamp_is_refused(timestamp: Any) -> None:
    """The message has the value and what it must be; -1 is Kafka's word for none."""
    with pytest.raises(TimestampError) as refused:
        check_timestamp(timestamp)
    assert str(refused.value) == (
        f"timestamp={timestamp!r} must be a whole number of milliseconds since 1970, 0 or more"
    )


# -- topics ----------------------------------------------------------------------------------------

LEGAL = string.ascii_letters + string.digits + "._-"


@pytest.mark.parametrize("name", ["logs", "a", "app.logs-v2_ERROR", "...", "-", "0", "x" * 249])
def test_a_legal_name_is_returned(name: str) -> None:
    """As it is."""
    assert check_topic(name) == name


@examples(200)
@given(st.text(alphabet=LEGAL, min_size=1, max_size=249).filter(lambda name: name.strip(".")))
def test_every_legal_character_everywhere(name: str) -> None:
    """Letters, digits, '.', '_' and '-'."""
    assert check_topic(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "a topic name can't be empty"),
        (".", "'.' is not allowed as a topic name"),
        ("..", "'..' is not allowed as a topic name"),
        ("x" * 250, "has 250 characters: Kafka allows 249"),
        ("logs\n", "has characters that Kafka refuses"),
        ("logs\u0660", "has characters that Kafka refuses"),
        ("{levelname}", "has characters that Kafka refuses"),
        (None, "must be str, not NoneType"),
        (b"logs", "must be str, not bytes"),
        (7, "must be str, not int"),
    ],
)
def test_an_illegal_name_is_refused(name: Any, why: str) -> None:
    """The message says why."""
    with pytest.raises(InvalidTopic) as refused:
        check_topic(name)
    assert why in str(refused.value)


@examples(200)
@given(st.text(max_size=20).filter(lambda name: set(name) - set(LEGAL)))
def test_any_other_character_is_refused(name: str) -> None:
    """Wherever it stands."""
    with pytest.raises(InvalidTopic):
        check_topic(name)
