"""How messages and keys become the bytes that Kafka stores, and which names of topics it allows.

A serializer is any callable that takes the message and returns str (stored as UTF-8) or bytes.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from kiel_logging.errors import (
    HeaderTypeError,
    InvalidTopic,
    KeyTypeError,
    MessageError,
    TimestampError,
    ValueTypeError,
)
from kiel_logging.records import Header, Headers

Serializer: TypeAlias = Callable[[Any], str | bytes]


def json_serializer(message: Any) -> str:
    """Return ``message`` as JSON: the default, as in the seed (``json.dumps``).

    Raises:
        TypeError: something in the message has no JSON form.
        ValueError: NaN or an infinity, which JSON does not have, or a cycle.
    """
    return json.dumps(message, allow_nan=False)


def encode_value(value: object) -> bytes:
    """Return what a serializer returned as bytes.

    Raises:
        ValueTypeError: it is not str or bytes, or has a lone surrogate.
    """
    if isinstance(value, str):
        return _utf8(value, "what the serializer returned", ValueTypeError)
    if isinstance(value, bytes):
        return value
    raise ValueTypeError(
        f"the serializer returned {type(value).__name__}: it must return str or bytes"
    )


def encode_key(key: object) -> bytes | None:
    """Return a key as Kafka stores it: None as null, str as UTF-8, int as decimal digits.

    Raises:
        KeyTypeError: the key is of any other type, or has a lone surrogate.
    """
    if key is None or isinstance(key, bytes):
        return key
    if isinstance(key, str):
        return _utf8(key, "the key", KeyTypeError)
    if isinstance(key, int) and not isinstance(key, bool):
        return b"%d" % key
    raise KeyTypeError(
        f"the key maker returned {type(key).__name__}: a key is None, bytes, str or int"
    )


def _utf8(text: str, what: str, kind: type[MessageError]) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise kind(f"{what} has no UTF-8 form: {error}") from None


def encode_headers(headers: Headers | None) -> tuple[Header, ...]:
    """Return record headers as Kafka stores them; str values as UTF-8.

    Raises:
        HeaderTypeError: a key is no str, or a value is none of bytes, str and None.
    """
    if not headers:
        return ()
    pairs = headers.items() if hasattr(headers, "items") else headers
    return tuple(_encode_header(key, value) for key, value in pairs)


def _encode_header(key: object, value: object) -> Header:
    if not isinstance(key, str):
        raise HeaderTypeError(f"a header key is {type(key).__name__}: it must be str")
    _utf8(key, "the header key", HeaderTypeError)
    if value is None or isinstance(value, bytes):
        return key, value
    if isinstance(value, str):
        return key, _utf8(value, f"the header {key!r}", HeaderTypeError)
    raise HeaderTypeError(
        f"the header {key!r} is {type(value).__name__}: it must be bytes, str or None"
    )


_TIMESTAMPS: Final = range(2**63)


def check_timestamp(timestamp: object) -> int:
    """Return ``timestamp`` if it can be stored.

    Raises:
        TimestampError: it is not a whole number of milliseconds since the epoch.
    """
    if isinstance(timestamp, int) and not isinstance(timestamp, bool) and timestamp in _TIMESTAMPS:
        return timestamp
    raise TimestampError(
        f"timestamp={timestamp!r} must be a whole number of milliseconds since 1970, 0 or more"
    )


MAX_LENGTH: Final = 249
"""Characters of a topic's name; the source is org.apache.kafka.common.internals.Topic."""

LEGAL_CHARACTERS: Final = re.compile(r"[a-zA-Z0-9._-]*")


def is_topic(name: object) -> bool:
    """Whether ``name`` is one that Kafka allows for a topic."""
    try:
        check_topic(name)
    except InvalidTopic:
        return False
    return True


def check_topic(name: object) -> str:
    """Return ``name`` if it is one that Kafka allows for a topic.

    Raises:
        InvalidTopic: it is not; says why.
    """
    if not isinstance(name, str):
        raise InvalidTopic(f"a topic name must be str, not {type(name).__name__}")
    if not name:
        raise InvalidTopic("a topic name can't be empty")
    if name in (".", ".."):
        raise InvalidTopic(f"{name!r} is not allowed as a topic name")
    if len(name) > MAX_LENGTH:
        raise InvalidTopic(f"topic {name!r} has {len(name)} characters: Kafka allows {MAX_LENGTH}")
    if not LEGAL_CHARACTERS.fullmatch(name):
        raise InvalidTopic(
            f"topic {name!r} has characters that Kafka refuses: "
            "use ASCII letters, digits, '.', '_' and '-'"
        )
    return name
