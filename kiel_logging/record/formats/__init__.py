"""How a format lays the fields of a record out. Pure, and no field is lost.

A layout changes no field and no record. If a schema has a name for something else, the
field loses its name, and never its value. Here are the parts that the layouts share.
"""

import logging
from collections.abc import Callable, Container
from typing import Any, Final, NamedTuple, TypeAlias

from kiel_logging.record.fields import rfc3339
from kiel_logging.record.plain import entries

LayOut: TypeAlias = Callable[[dict[str, Any], logging.LogRecord], dict[str, Any]]
"""From plain fields, and the record that has them, to a plain JSON object."""

PLAIN, UNDOTTED, KEY_VALUES = range(3)
"""How compiled code writes a field (json.h has the same): as it is; the same, but a name with a dot
or with nothing between two needs care; as OTLP's key and AnyValue."""


class Layout(NamedTuple):
    """A format that is JSON.

    Attributes:
        lay_out: lays the fields out.
        style: how compiled code writes the fields that ``lay_out`` has no place for, which stand
            together, in their order; None where it can't.
        attributes: those of a LogRecord that ``lay_out`` looks at besides.
        places: names of fields that ``lay_out`` has places for.
    """

    lay_out: LayOut
    style: int | None = None
    attributes: tuple[str, ...] = ()
    places: frozenset[str] = frozenset()


INT64: Final = range(-(2**63), 2**63)
"""The integers that JSON readers of other languages can hold."""

# RFC 3339 has four digits for the year.
_YEARS_1000_TO_9999: Final = range(-30_610_224_000_000_000, 253_402_300_800_000_000)


def created_micros(record: logging.LogRecord) -> int | None:
    """Return when ``record`` was made, in microseconds since the epoch.

    None when that is no time of the years 1000 to 9999: programs may set ``created``.
    """
    try:
        micros = round(record.created * 1_000_000)
    except (TypeError, ValueError, OverflowError):  # no number, not a number, infinite
        return None
    return micros if micros in _YEARS_1000_TO_9999 else None


def created_text(record: logging.LogRecord) -> str | None:
    """Return the same as RFC 3339, which is what the field ``time`` has unless it was changed."""
    return None if created_micros(record) is None else rfc3339(record.created)


def split_exception(fields: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the parts of an exception in the field ``exception``, and its other contents.

    The first dict has any of ``type``, ``message`` and ``traceback``. An extra may have the name.
    """
    exception = fields.get("exception")
    if type(exception) is not dict:
        return {}, {}
    parts = {
        name: exception[name]
        for name in ("type", "message", "traceback")
        if type(exception.get(name)) is str
    }
    return parts, {name: value for name, value in entries(exception) if name not in parts}


def free_name(name: str, taken: Container[str]) -> str:
    """Return ``name``; with _2, _3 ... behind it when that is taken."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
