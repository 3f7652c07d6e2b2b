"""Where options such as ``key_field`` look for the field that they name.

Pure. In this order: a field of the record's dict with just that name, an attribute of the
LogRecord, a dotted path into nested fields.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

MISSING: Final[Any] = object()
"""What a look-up returns for a record without the field; None is a value."""

FieldLookup: TypeAlias = Callable[[Mapping[str, Any], logging.LogRecord], Any]


def field_lookup(name: str) -> FieldLookup:
    """Return a function from a record's dict, and the record, to the value of the field ``name``.

    It returns MISSING where there is none, and never raises.
    """
    path = name.split(".")

    def look_up(fields: Mapping[str, Any], record: logging.LogRecord) -> Any:
        value = fields.get(name, MISSING)
        if value is MISSING:
            value = record.__dict__.get(name, MISSING)
        return _follow(fields, path) if value is MISSING else value

    return look_up


def _follow(fields: Mapping[str, Any], path: list[str]) -> Any:
    value: Any = fields
    try:
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                return MISSING
            value = value[name]
    except Exception:  # a mapping of the program's own, whose methods may raise anything
        return MISSING
    return value
