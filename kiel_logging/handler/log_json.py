"""The default serializer of log records: strict JSON, whatever an `extra` holds.

orjson writes nearly all records; what it refuses (cycles, lone surrogates, integers over 64 bits)
is first made plain, which takes longer and loses nothing but the impossible. So is what it must
not be given: tuples in tuples, 10,000 deep, overflow its stack and end the process (orjson 3.13.0).
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, Final

import orjson

from kiel_logging.handler.log_record import show

# Subclasses and dataclasses come to _describe, which looks how deep they are.
_OPTIONS: Final = (
    orjson.OPT_NON_STR_KEYS
    | orjson.OPT_UTC_Z
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
)
_DEEPEST: Final = 50
_MANY: Final = 100_000
_CONTAINERS: Final = {dict, list, tuple}


def log_json(fields: Mapping[str, Any]) -> bytes:
    """Return ``fields`` as strict JSON in UTF-8: NaN and infinities as null."""
    if not _is_deep(fields):
        try:
            return orjson.dumps(fields, default=_describe, option=_OPTIONS)
        except (orjson.JSONEncodeError, RecursionError):
            pass  # made plain, then
    try:
        return json.dumps(_plain(fields, ()), allow_nan=False).encode()
    except Exception:  # an object with hooks that raise: its text, or a mark, is what is left
        return json.dumps({show(name): show(value) for name, value in fields.items()}).encode()


def _is_deep(fields: Mapping[str, Any]) -> bool:
    """Whether containers are nested deeper than is safe, a cycle included."""
    level = [value for value in fields.values() if type(value) in _CONTAINERS]
    for _ in range(_DEEPEST):
        if not level:
            return False
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) in _CONTAINERS
        ]
        if len(level) > _MANY:
            return True  # more than a log record should hold, or a cycle that doubles each time
    return True


def _describe(value: object) -> object:
    """Return something that orjson can write in the place of ``value``, which it can't."""
    simple = _simpler(value)
    if type(simple) in _CONTAINERS and _is_deep({"": simple}):
        return _plain(simple, ())
    return simple


def _simpler(value: object) -> object:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, int | float):
        return _plain_number(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return show(value)


def _plain(value: object, above: tuple[int, ...]) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, bool | int | float):
        return _plain_number(value)
    if id(value) in above:
        return "<cycle>"
    if len(above) >= _DEEPEST:
        return "<nested too deeply>"
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return {show(_plain(key, above)): _plain(item, above) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, above) for item in value]
    return _plain(_simpler(value), above)


def _plain_number(value: bool | int | float | None) -> bool | int | float | None:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
