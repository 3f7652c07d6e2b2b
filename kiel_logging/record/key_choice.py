"""Which key a log record has: a field of its dict or of the LogRecord, or a key maker's value."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from kiel_logging.config.table import FUNCTION
from kiel_logging.errors import ConfigurationError
from kiel_logging.record.field_lookup import MISSING, field_lookup
from kiel_logging.record.log_record import show

KeyChoice: TypeAlias = Callable[[Mapping[str, Any], logging.LogRecord], Any]


def key_choice(key_field: str | None, key_maker: Callable[[Any], Any] | None) -> KeyChoice:
    """Return a function from a record's dict, and the record, to its key.

    ``key_field`` is the name of a field (ours, an extra's, or a LogRecord's attribute); a dotted
    path reaches into nested extras. ``key_maker`` takes the dict, as in the seed.

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
    return _by_field(key_field)


def _by_field(name: str) -> KeyChoice:
    look_up = field_lookup(name)

    def choose(fields: Mapping[str, Any], record: logging.LogRecord) -> Any:
        value = look_up(fields, record)
        if value is MISSING or value is None:
            return None
        # Ids come in many types (UUID, Decimal, enums); their text is what a reader compares.
        if type(value) in (bytes, int):
            return value
        return show(value).encode("utf-8", "backslashreplace").decode()

    return choose
