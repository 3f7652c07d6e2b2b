"""Which record headers a log record has: each is taken from a field, as ``headers`` says.

Pure. A consumer can read headers without reading the value: to route a record, or to skip it.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from kiel_logging.config.table import check_name, given_mapping
from kiel_logging.errors import ConfigurationError, HeaderTypeError
from kiel_logging.proof.headers import NAMES
from kiel_logging.record.field_lookup import MISSING, FieldLookup, field_lookup
from kiel_logging.record.log_record import show
from kiel_logging.records import Header
from kiel_logging.serializers import encode_headers

HeaderChoice: TypeAlias = Callable[[Mapping[str, Any], logging.LogRecord], tuple[Header, ...]]

_WHAT: Final = "header names to names of fields, such as {'level': 'levelname'}"


def header_choice(headers: Mapping[str, str] | None) -> HeaderChoice:
    """Return a function from a record's dict, and the record, to its headers.

    ``headers`` maps the name of a header to that of a field: one of the dict, a LogRecord's
    attribute, or a dotted path into nested fields. A record whose field is missing or None does
    not have the header. Bytes stay what they are; of all else it is the text in UTF-8.

    Raises:
        ConfigurationError: it is no mapping, or a name can't be one.
    """
    chosen = given_mapping("headers", headers, _WHAT)
    for name, field in chosen.items():
        check_name("headers", field)
        _check_utf8(name)
        _check_not_ours(name)
    if not chosen:
        return lambda _fields, _record: ()
    return _by_fields([(name, field_lookup(field)) for name, field in chosen.items()])


def _check_utf8(name: str) -> None:
    try:
        encode_headers({name: None})
    except HeaderTypeError as error:
        raise ConfigurationError(f"headers has {name!r}: {error}") from None


def _check_not_ours(name: str) -> None:
    if name in NAMES:
        raise ConfigurationError(
            f"headers has {name!r}, which is the handler's own: choose another name"
        )


def _by_fields(lookups: list[tuple[str, FieldLookup]]) -> HeaderChoice:
    def choose(fields: Mapping[str, Any], record: logging.LogRecord) -> tuple[Header, ...]:
        return tuple(
            (name, _to_bytes(value))
            for name, look_up in lookups
            if (value := look_up(fields, record)) is not MISSING and value is not None
        )

    return choose


def _to_bytes(value: object) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return show(value).encode("utf-8", "backslashreplace")
