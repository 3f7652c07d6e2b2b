"""The formats of a record's value: how its fields are laid out. Pure, and no field is lost.

A layout neither changes the fields nor the record; a name that a schema has for something else
costs the field its name, never its value.
"""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from kiel_logging.record.formats import ecs, gelf, otel

LayOut: TypeAlias = Callable[[dict[str, Any], logging.LogRecord], dict[str, Any]]
"""Plain JSON fields, and the record they are of, to a plain JSON object."""


def _as_they_are(fields: dict[str, Any], _record: logging.LogRecord) -> dict[str, Any]:
    return fields


FORMATS: Final[Mapping[str, LayOut]] = MappingProxyType(
    {
        "json": _as_they_are,
        "ecs": ecs.lay_out,
        "otel": otel.lay_out,
        "gelf": gelf.lay_out,
    }
)
"""The formats that are JSON, by name; the format "text" is ``text.text_value``."""
