"""Where a record goes: its topic, its key, and the headers that consumers read without its value.

Pure. An option that can't be right for any record is refused when the handler is made.
"""

import logging
import string
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from kiel_logging.config.table import FUNCTION, check_name, given_mapping
from kiel_logging.errors import ConfigurationError, HeaderTypeError, InvalidTopic
from kiel_logging.proof.headers import NAMES
from kiel_logging.record.plain import escape, show
from kiel_logging.records import Header
from kiel_logging.serializers import LEGAL_CHARACTERS, check_topic, encode_headers

Topic: TypeAlias = str | Callable[[logging.LogRecord], str]
TopicChoice: TypeAlias = Callable[[logging.LogRecord], str]
KeyChoice: TypeAlias = Callable[[Mapping[str, Any], logging.LogRecord], Any]
HeaderChoice: TypeAlias = Callable[[Mapping[str, Any], logging.LogRecord], tuple[Header, ...]]

_HEADERS: Final = "header names to names of fields, such as {'level': 'levelname'}"

# -- topics ----------------------------------------------------------------------------------------

# Few topics, many records.
_check_once = lru_cache(maxsize=1024)(check_topic)


def _checked(name: object) -> str:
    return _check_once(name) if isinstance(name, str) else check_topic(name)


def topic_choice(topic: Topic) -> TopicChoice:
    """Return a function from LogRecord to topic name, which raises InvalidTopic.

    ``topic`` is a name, a template over the attributes of the LogRecord, or a callable.

    Raises:
        ConfigurationError: ``topic`` can't be right for any record.
    """
    if callable(topic):
        chosen = topic
        return lambda record: _checked(chosen(record))
    if not isinstance(topic, str):
        raise ConfigurationError(
            f"topic={topic!r} must be a name, a template such as 'logs.{{levelname}}', or a "
            "callable that takes the LogRecord"
        )
    if not is_name(topic):
        return _template(topic)
    try:
        check_topic(topic)
    except InvalidTopic as error:
        raise ConfigurationError(f"topic={topic!r}: {error}") from None
    return lambda _record: topic


def is_name(topic: object) -> bool:
    """Whether ``topic`` is the name of one topic for all records."""
    return isinstance(topic, str) and "{" not in topic and "}" not in topic


def _template(template: str) -> TopicChoice:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigurationError(f"topic={template!r} is no valid template: {error}") from None
    for literal, field, _, _ in parts:
        if not LEGAL_CHARACTERS.fullmatch(literal):
            raise ConfigurationError(
                f"topic={template!r} has {literal!r}: Kafka allows ASCII letters, digits, '.', "
                "'_' and '-'"
            )
        if field is not None and not field[:1].isidentifier():
            raise ConfigurationError(
                f"topic={template!r} has {{{field}}}: name an attribute of the LogRecord, such as "
                "{levelname}, {name} or an extra"
            )

    def choose(record: logging.LogRecord) -> str:
        try:
            return _checked(template.format_map(record.__dict__))
        except Exception as error:  # an extra's __format__ may raise anything
            raise InvalidTopic(f"topic template {template!r}: {error!r}") from error

    return choose


# -- keys ------------------------------------------------------------------------------------------


def key_choice(key_field: str | None, key_maker: Callable[[Any], Any] | None) -> KeyChoice:
    """Return a function from a record's dict, and the record, to its key.

    ``key_field`` is the name of a field: one of the dict, an attribute of the LogRecord, or a
    dotted path into nested extras. ``key_maker`` takes the dict, as kiel's Producer has it.

    Raises:
        ConfigurationError: both are given, or one is of the wrong type.
    """
    if key_field is not None and key_maker is not None:
        raise ConfigurationError("key_field and key_maker are both given: choose one")
    if key_maker is not None:
        FUNCTION.check("key_maker", key_maker)
        return lambda fields, _record: key_maker(fields)
    if key_field is None:
        return lambda _fields, _record: None
    if not isinstance(key_field, str) or not key_field:
        raise ConfigurationError(f"key_field={key_field!r} must be the name of a record's field")
    look_up = field_lookup(key_field)

    def choose(fields: Mapping[str, Any], record: logging.LogRecord) -> Any:
        value = look_up(fields, record)
        # Ids come in many types (UUID, Decimal, enums); readers compare their texts.
        if value is None or type(value) in (bytes, int):
            return value
        return escape(show(value))

    return choose


# -- headers ---------------------------------------------------------------------------------------


def header_choice(headers: Mapping[str, str] | None) -> HeaderChoice:
    """Return a function from a record's dict, and the record, to its headers.

    ``headers`` maps the name of a header to that of a field, as for ``key_choice()``. A record
    whose field is missing or None does not have the header. Bytes stay as they are; other values
    are their text in UTF-8.

    Raises:
        ConfigurationError: it is no mapping, or a name can't be one.
    """
    chosen = given_mapping("headers", headers, _HEADERS)
    for name, field in chosen.items():
        check_name("headers", field)
        try:
            encode_headers({name: None})
        except HeaderTypeError as error:
            raise ConfigurationError(f"headers has {name!r}: {error}") from None
        if name in NAMES:
            raise ConfigurationError(
                f"headers has {name!r}, which is the handler's own: choose another name"
            )
    lookups = [(name, field_lookup(field)) for name, field in chosen.items()]

    def choose(fields: Mapping[str, Any], record: logging.LogRecord) -> tuple[Header, ...]:
        found = ((name, look_up(fields, record)) for name, look_up in lookups)
        return tuple((name, _to_bytes(value)) for name, value in found if value is not None)

    return choose


def _to_bytes(value: object) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return show(value).encode("utf-8", "backslashreplace")


def shortened(key: Any, headers: tuple[Header, ...], most: int) -> tuple[Any, tuple[Header, ...]]:
    """Return a key and headers, each cut to ``most`` bytes at the most."""
    if isinstance(key, str):
        key = _cut(key.encode(), most).decode()
    elif isinstance(key, bytes):
        key = _cut(key, most)
    return key, tuple((name, value and _cut(value, most)) for name, value in headers)


def _cut(data: bytes, most: int) -> bytes:
    """Return the first bytes of ``data``, of text in UTF-8 whole characters."""
    if len(data) <= most:
        return data
    while most and data[most] & 0xC0 == 0x80:
        most -= 1
    return data[:most]


# -- fields ----------------------------------------------------------------------------------------


def field_lookup(name: str) -> Callable[[Mapping[str, Any], logging.LogRecord], Any]:
    """Return a function from a record's dict, and the record, to the value of the field ``name``.

    It looks for a field of just that name, an attribute of the LogRecord, and a dotted path into
    nested fields, in this order. It returns None where there is none, and never raises.
    """
    path = name.split(".")

    def look_up(fields: Mapping[str, Any], record: logging.LogRecord) -> Any:
        if name in fields:
            return fields[name]
        if name in record.__dict__:
            return record.__dict__[name]
        return _follow(fields, path)

    return look_up


def _follow(fields: Mapping[str, Any], path: list[str]) -> Any:
    value: Any = fields
    try:
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                return None
            value = value[name]
    except Exception:  # a mapping of the program's own, whose methods may raise anything
        return None
    return value
