"""Plain values as strict JSON. Takes what ``plain.make_plain()`` leaves, and nothing else."""

import json
from collections.abc import Callable
from typing import Any, Final

_encode: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode

try:
    from kiel_logging._accelerator import to_json
except ImportError:  # there was no C compiler
    _to_json: Callable[[Any], bytes | None] | None = None
else:
    _to_json = to_json


def json_text(value: Any) -> str:
    """Return a plain value as JSON in one line."""
    return _encode(value)


def json_bytes(value: Any) -> bytes:
    """Return a plain value as JSON in UTF-8."""
    made = None if _to_json is None else _to_json(value)
    return _encode(value).encode() if made is None else made
