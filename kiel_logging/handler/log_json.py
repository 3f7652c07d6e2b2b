"""The default serializer of log records: strict JSON, whatever an `extra` holds.

orjson writes nearly all records; what it refuses (cycles, lone surrogates, integers over 64 bits)
is first made plain, which takes longer and loses nothing but the impossible. So is what it must
not be given: tuples in tuples, 10,000 deep, overflow its stack and end the process (orjson 3.13.0).
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import orjson

from kiel_logging.handler.log_record import show

_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
_DEEPEST: Final = 50
_MANY: Final = 100_000
_CONTAINERS: Final = {dict, list, tuple}  # and no subclasses: orjson asks us about those


def log_json(fields: Mapping[str, Any]) -> bytes:
    """Return ``fields`` as strict JSON in UTF-8: NaN and infinities as null."""
    if not _is_deep(fields):
        try:
            return orjson.dumps(fields, default=_describe, option=_OPTIONS)
        except (orjson.JSONEncodeError, RecursionError):
            pass  # made plain, then
    return json.dumps(_plain(fields, ()), allow_nan=False).encode()


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
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
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
    return _plain(_describe(value), above)


def _plain_number(value: bool | int | float | None) -> bool | int | float | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
