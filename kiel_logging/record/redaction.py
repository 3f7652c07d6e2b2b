"""Values that must not be seen, whatever logged them: passwords, tokens, card numbers.

Pure. Told by the name that they stand under, at any depth; text that has one in it is not.
"""

import operator
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from kiel_logging.config.table import given_names

REDACTED: Final = "[redacted]"
"""What stands in the place of such a value."""

Redaction: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

_LEAVES: Final = {str, int, float, bool, type(None)}
"""Most values, and nothing can be nested in them."""

_EXAMPLE: Final = "['password', 'authorization']"


def redaction(names: Iterable[str] | None) -> Redaction | None:
    """Return a function that hides the values under ``names`` in a dict of plain JSON types.

    Case does not count, nor whether '-' or '_' is written: "api_key" is also "API-Key". Each is a
    name and not a path. What is nested under one is hidden as a whole. New containers are made
    only where something changed; with nothing to hide, the dict itself is returned. None without
    names.

    Raises:
        ConfigurationError: it is no list, or a name is not a str or is empty.
    """
    hidden = frozenset(_alike(name) for name in given_names("redact", names, _EXAMPLE))
    if not hidden:
        return None
    longest = max(map(len, hidden))
    return lambda fields: _redact_dict(fields, hidden, longest)


def _alike(name: str) -> str:
    return name.casefold().replace("-", "_")


def _redact_dict(fields: dict[str, Any], hidden: frozenset[str], longest: int) -> dict[str, Any]:
    redacted = fields
    for name, value in fields.items():
        # As _alike(), without the call; it makes no name shorter.
        if len(name) <= longest and name.casefold().replace("-", "_") in hidden:
            safe: Any = REDACTED
        elif type(value) in _LEAVES:
            continue
        else:
            safe = _redact(value, hidden, longest)
        if safe is not value:
            redacted = fields.copy() if redacted is fields else redacted
            redacted[name] = safe
    return redacted


def _redact(value: Any, hidden: frozenset[str], longest: int) -> Any:
    if isinstance(value, dict):
        return _redact_dict(value, hidden, longest)
    if isinstance(value, list | tuple):
        safe = [item if type(item) in _LEAVES else _redact(item, hidden, longest) for item in value]
        return value if all(map(operator.is_, safe, value)) else safe
    return value
