"""The value of a record: a format lays its fields out, a serializer makes bytes of them.

A value that is too large is cut, unless a serializer of the program made it, in a form that only
the program knows.
"""

import copy
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from kiel_logging.config.table import FUNCTION, did_you_mean
from kiel_logging.errors import ConfigurationError, ValueTypeError
from kiel_logging.record.fields import EXTRA, OUR_FIELDS, RESERVED, TRACE_FIELDS
from kiel_logging.record.formats import PLAIN, LayOut, Layout
from kiel_logging.record.plain import entries, make_plain, show
from kiel_logging.record.strict_json import log_json
from kiel_logging.serializers import Serializer, encode_value

Fields: TypeAlias = dict[str, Any]
Format: TypeAlias = Callable[[Fields, logging.LogRecord], Mapping[str, Any] | str | bytes]
ValueChoice: TypeAlias = Callable[[Fields, logging.LogRecord, logging.Formatter | None, int], bytes]
"""Takes the fields, the LogRecord, the handler's formatter, and the most bytes of the value."""

JSON: Final = "json"
TEXT: Final = "text"


def _ecs() -> Layout:
    from kiel_logging.record.formats.ecs import LAYOUT

    return LAYOUT


def _otel() -> Layout:
    from kiel_logging.record.formats.otel import LAYOUT

    return LAYOUT


def _gelf() -> Layout:
    from kiel_logging.record.formats.gelf import LAYOUT

    return LAYOUT


_AS_THEY_ARE: Final = Layout(lambda fields, _record: fields, style=PLAIN)

FORMATS: Final[Mapping[str, Callable[[], Layout]]] = MappingProxyType(
    {JSON: lambda: _AS_THEY_ARE, "ecs": _ecs, "otel": _otel, "gelf": _gelf}
)
"""The formats that are JSON, by name; a handler loads the one that it uses."""

DEFAULT: Final = logging.Formatter(logging.BASIC_FORMAT)
"""The Formatter of "text": ``WARNING:shop.cart:hello``; Kafka keeps the time."""


def value_choice(format: str | Format, serializer: Serializer | None) -> ValueChoice:  # noqa: A002
    """Return the function that makes the values.

    ``format`` is "json" (the fields as they are), another name in FORMATS, "text" (what a
    logging.Formatter makes), or a callable that takes the fields and the LogRecord and returns a
    mapping, or the value itself as str or bytes. ``serializer`` takes what the format made, in
    place of JSON.

    Raises:
        ConfigurationError: one is neither, or they contradict each other.
    """
    if not isinstance(format, str) and not callable(format):
        raise ConfigurationError(
            f"format={format!r} must be one of {_names()}, or a callable that takes the fields "
            "and the LogRecord"
        )
    FUNCTION.check("serializer", serializer)
    if not isinstance(format, str):
        return _by_callable(format, serializer)
    if format == TEXT:
        if serializer is not None:
            raise ConfigurationError(
                "format='text' and serializer are both given: a text is no dict to serialize"
            )
        return lambda fields, record, formatter, most: _cut(
            text_value(fields, record, formatter), most
        )
    if format not in FORMATS:
        hint = did_you_mean(format, [TEXT, *FORMATS])
        raise ConfigurationError(f"format={format!r} must be one of {_names()}{hint}")
    return _laid_out(None if format == JSON else FORMATS[format]().lay_out, serializer)


def _names() -> str:
    return ", ".join(repr(name) for name in sorted([TEXT, *FORMATS]))


def _laid_out(lay_out: LayOut | None, serializer: Serializer | None) -> ValueChoice:
    def make(
        fields: Fields, record: logging.LogRecord, _formatter: logging.Formatter | None, most: int
    ) -> bytes:
        if serializer is None:
            return log_json(fields, lay_out and (lambda plain: lay_out(plain, record)), most)
        if lay_out is None:
            return encode_value(serializer(fields))
        make_plain(fields)
        return encode_value(serializer(lay_out(fields, record)))

    return make


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


# -- text ------------------------------------------------------------------------------------------


def text_value(
    fields: dict[str, Any], record: logging.LogRecord, formatter: logging.Formatter | None
) -> str:
    """Return the whole text that ``formatter`` makes: message, traceback and stack.

    It is the text that another handler with this formatter writes, as long as no option changes
    the fields. ``formatter`` is ``DEFAULT`` where it is None. It gets a copy of ``record``, because
    handlers share the record. Context and static fields are attributes of the copy:
    ``%(request_id)s``. Extras that were left out, renamed or redacted are as the options have it.

    If the formatter raises, the text says so, and has everything else of the record.
    """
    try:
        text = (formatter or DEFAULT).format(_copy(fields, record))
    except Exception as error:
        return _without_formatter(fields, record, error)
    return text if isinstance(text, str) else show(text)


def _copy(fields: dict[str, Any], record: logging.LogRecord) -> logging.LogRecord:
    """Return ``record`` with what is logging's own as it was, and the rest as ``fields`` has it."""
    copied = copy.copy(record)
    if copied.exc_info:
        copied.exc_text = None  # another handler's Formatter left its own in the record
    own = copied.__dict__.copy()
    given = {name: value for name, value in entries(fields) if _is_given(name, value, own)}
    if isinstance(moved := fields.get(EXTRA), dict):  # extras by the names of our fields
        given |= {name: value for name, value in entries(moved) if name in own}
    copied.__dict__.clear()
    copied.__dict__.update({name: value for name, value in entries(own) if name in RESERVED})
    for name in (*filter(given.__contains__, own), *given):  # extras in their order
        if name not in RESERVED and not hasattr(type(copied), name):
            copied.__dict__[name] = given[name]
    return copied


def _is_given(name: str, value: Any, own: dict[str, Any]) -> bool:
    """Whether a field is an extra, or an option's; the others are the handler's own."""
    if name in OUR_FIELDS:
        return name in own and own[name] is value  # an extra, in place of a missing field
    return name not in TRACE_FIELDS or name in own


def _without_formatter(fields: dict[str, Any], record: logging.LogRecord, error: Exception) -> str:
    message = fields.get("message")
    if message is None:
        arguments = f" [arguments {show(record.args)}]" if record.args else ""
        message = f"{show(record.msg)}{arguments}"
    why = f"{type(error).__name__}: {show(error)}"
    lines = [f"{record.levelname}:{record.name}:{show(message)} [the formatter failed: {why}]"]
    exception = fields.get("exception")
    trace = exception.get("traceback") if isinstance(exception, dict) else None
    lines += [show(part).rstrip("\n") for part in (trace, fields.get("stack")) if part]
    return "\n".join(lines)
