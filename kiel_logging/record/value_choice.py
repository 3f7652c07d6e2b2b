"""What a record's value is: a format lays the fields out, a serializer makes bytes of them.

A value that is larger than it may be is cut, but for one that a serializer of the user's made: what
is in there nobody knows but the user.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from kiel_logging.config.table import FUNCTION, did_you_mean
from kiel_logging.errors import ConfigurationError, ValueTypeError
from kiel_logging.record.formats import FORMATS, LayOut
from kiel_logging.record.formats.text import text_value
from kiel_logging.record.log_json import log_json
from kiel_logging.record.plain import make_plain
from kiel_logging.serializers import Serializer, encode_value

Fields: TypeAlias = dict[str, Any]
Format: TypeAlias = Callable[[Fields, logging.LogRecord], Mapping[str, Any] | str | bytes]
ValueChoice: TypeAlias = Callable[[Fields, logging.LogRecord, logging.Formatter | None, int], bytes]
"""Takes the fields, the LogRecord, the handler's formatter, and the most bytes of the value."""

JSON: Final = "json"
TEXT: Final = "text"


def value_choice(format: str | Format, serializer: Serializer | None) -> ValueChoice:  # noqa: A002
    """Return the function that makes the values.

    ``format`` is "json" (the fields as they are), another name in FORMATS, "text" (what a
    logging.Formatter makes), or a callable that takes the fields and the LogRecord and returns a
    mapping, or the value itself as str or bytes. ``serializer`` takes what the format made, in
    place of JSON.

    Raises:
        ConfigurationError: one is neither, or they contradict each other.
    """
    if isinstance(format, str):
        return _named(format, FUNCTION.check("serializer", serializer))
    if not callable(format):
        raise ConfigurationError(
            f"format={format!r} must be one of {_names()}, or a callable that takes the fields "
            "and the LogRecord"
        )
    return _by_callable(format, FUNCTION.check("serializer", serializer))


def _named(name: str, serializer: Serializer | None) -> ValueChoice:
    if name == TEXT:
        if serializer is not None:
            raise ConfigurationError(
                "format='text' and serializer are both given: a text is no dict to serialize"
            )
        return _text
    if name not in FORMATS:
        hint = did_you_mean(name, [TEXT, *FORMATS])
        raise ConfigurationError(f"format={name!r} must be one of {_names()}{hint}")
    if serializer is not None:
        return _serialized(serializer, None if name == JSON else FORMATS[name])
    return _json if name == JSON else _laid_out(FORMATS[name])


def _names() -> str:
    return ", ".join(repr(name) for name in sorted([TEXT, *FORMATS]))


def _json(
    fields: Fields, _record: logging.LogRecord, _formatter: logging.Formatter | None, most: int
) -> bytes:
    return log_json(fields, None, most)


def _laid_out(lay_out: LayOut) -> ValueChoice:
    def make(
        fields: Fields, record: logging.LogRecord, _formatter: logging.Formatter | None, most: int
    ) -> bytes:
        return log_json(fields, lambda plain: lay_out(plain, record), most)

    return make


def _serialized(serializer: Serializer, lay_out: LayOut | None) -> ValueChoice:
    def make(
        fields: Fields, record: logging.LogRecord, _formatter: logging.Formatter | None, _most: int
    ) -> bytes:
        if lay_out is None:
            return encode_value(serializer(fields))
        make_plain(fields)
        return encode_value(serializer(lay_out(fields, record)))

    return make


def _text(
    fields: Fields, record: logging.LogRecord, formatter: logging.Formatter | None, most: int
) -> bytes:
    return _cut(text_value(fields, record, formatter), most)


def _by_callable(format: Format, serializer: Serializer | None) -> ValueChoice:  # noqa: A002
    def make(
        fields: Fields, record: logging.LogRecord, _formatter: logging.Formatter | None, most: int
    ) -> bytes:
        made = format(fields, record)
        if isinstance(made, bytes):
            return made
        if isinstance(made, str):
            return _cut(made, most)
        if serializer is not None:
            return encode_value(serializer(made))
        if not isinstance(made, Mapping):
            raise ValueTypeError(
                f"the format returned {type(made).__name__}: it must return a mapping, str or bytes"
            )
        return log_json(dict(made), None, most)

    return make


def _cut(text: str, most: int) -> bytes:
    data = text[: most + 1].encode("utf-8", "backslashreplace")
    if len(data) <= most:
        return data
    mark = f"…[cut, of {len(text)} characters]".encode()
    return data[: max(0, most - len(mark))].decode(errors="ignore").encode() + mark
