"""Values that must not be seen, whatever logged them: passwords, tokens, card numbers.

A record is copied without them first, and everything else is made of the copy: message, traceback,
fields, headers, key, text. So no option that moves, renames or leaves out a field can uncover one.

Pure. A value is hidden by the name under which it stands, at any depth of objects and lists. Texts
are not searched; an object that has nothing but a text is shown by its type alone.
"""

import copy
import logging
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from kiel_logging.config.table import given_names
from kiel_logging.record.fields import RESERVED, describe_exception, exc_info_of, show
from kiel_logging.record.plain import entries, is_text_or_number, make_plain

REDACTED: Final = "[redacted]"
"""The text that takes the place of such a value."""

Redaction: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

_ATOMS: Final = frozenset({str, int, float, bool, type(None)})
"""Most values; nothing can be nested in them."""

_EXAMPLE: Final = "['password', 'authorization']"
_SEARCHED: Final = ("args", "exc_info")
_MOST_EXCEPTIONS: Final = 10_000

# -- fields ----------------------------------------------------------------------------------------


def hidden_names(names: Iterable[str] | None) -> frozenset[str]:
    """Return the names as they are compared, whatever their case; see ``redaction()``."""
    return frozenset(map(alike, given_names("redact", names, _EXAMPLE)))


def redaction(names: Iterable[str] | None) -> Redaction | None:
    """Return a function that hides the values under ``names`` in a dict of plain JSON types.

    Case does not count, and '-' is the same as '_': "api_key" is also "API-Key". Each is a name and
    not a path. A container under such a name is hidden as a whole. New containers are made only
    where something changed; with nothing to hide, the dict itself is returned. None without names.

    Raises:
        ConfigurationError: it is no list, or a name is not a str or is empty.
    """
    hidden = hidden_names(names)
    if not hidden:
        return None
    longest = max(map(len, hidden))
    return lambda fields: _redact_dict(fields, hidden, longest)


def alike(name: str) -> str:
    """Return what is the same for names that differ in case, or have '-' for '_'."""
    return name.casefold().replace("-", "_")


def _redact_dict(fields: dict[str, Any], hidden: frozenset[str], longest: int) -> dict[str, Any]:
    redacted = fields
    for name, value in entries(fields):
        # As alike(), without the call; it makes no name shorter.
        if len(name) <= longest and name.casefold().replace("-", "_") in hidden:
            safe: Any = REDACTED
        elif type(value) in _ATOMS:
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
        safe = [item if type(item) in _ATOMS else _redact(item, hidden, longest) for item in value]
        return value if all(map(operator.is_, safe, value)) else safe
    return value


# -- records ---------------------------------------------------------------------------------------


class Concealed(NamedTuple):
    """A copy of a record, the names of what could not be shown in it, and its exception.

    ``exception`` is None if the copy has the record's own, or none. Otherwise the copy has a
    traceback as text.
    """

    record: logging.LogRecord
    replaced: list[str]
    exception: dict[str, str] | None


class Concealment:
    """Makes copies of records without hidden values.

    Args:
        hide: hides values in a dict of plain ones.
        most: bytes that a record may have.
    """

    def __init__(self, hide: Redaction, most: int) -> None:
        self._hide = hide
        self._most = most

    def __call__(self, record: logging.LogRecord) -> Concealed:
        """Return a copy of ``record``; the record is not changed."""
        made = copy.copy(record)
        own, extras = made.__dict__, {}
        for name, value in entries(record.__dict__):
            if name not in RESERVED:
                extras[name] = value
                del own[name]
            elif type(value) not in _ATOMS and name not in _SEARCHED:
                own[name] = self._argument(value)
        replaced = self.make_plain(extras)
        own.update(self._hide(extras))
        made.args = self._arguments(record.args)
        # Another handler's Formatter made these texts of the record itself.
        own.pop("message", None)
        if made.exc_info:
            made.exc_text = None
        exception = self._exception(record)
        if exception is not None:
            made.exc_info, made.exc_text = None, exception["traceback"].rstrip("\n")
        return Concealed(made, replaced, exception)

    def make_plain(self, fields: dict[str, Any]) -> list[str]:
        """Replace in place the values that are not plain; return the names of what can't be shown.

        Before, the parts of an object have no names, and can't be hidden.
        """
        return make_plain(fields, self._most, opaque=True).replaced

    def _arguments(self, arguments: Any) -> Any:
        if type(arguments) is tuple:
            return tuple(map(self._argument, arguments))
        if isinstance(arguments, Mapping):  # a single one, for "%(name)s"
            try:
                shown = {name: self._argument(value) for name, value in entries(arguments)}
                return {name: self._named(name, value) for name, value in entries(shown)}
            except Exception:  # a mapping of the program, whose methods may raise anything
                return REDACTED
        return self._argument(arguments)

    def _named(self, name: object, value: Any) -> Any:
        return self._hide({name: value})[name] if isinstance(name, str) else value

    def _argument(self, value: Any) -> Any:
        """Return a message, or an argument of one, without hidden values."""
        if is_text_or_number(value):
            return value
        fields = {"": value}
        self.make_plain(fields)
        return self._hide(fields)[""]

    def _exception(self, record: logging.LogRecord) -> dict[str, str] | None:
        """Return the exception if it, or one behind it, has more than texts and numbers."""
        info: Any = record.exc_info
        known = exc_info_of(record)
        if known is None:
            odd = isinstance(info, tuple) and any(part is not None for part in info)
            return {"traceback": f"<no exception: {REDACTED}>"} if odd else None
        secretive = [one for one in exceptions_of(known[1]) if not is_text_or_number(one)]
        if not secretive:
            return None
        made = describe_exception(*known)
        for one in secretive:
            made["traceback"] = _without(made["traceback"], show(one))
            if one is known[1]:
                made["message"] = REDACTED
        return made


def exceptions_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, its causes and contexts, and the members of groups."""
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(seen) < _MOST_EXCEPTIONS:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _without(trace: str, text: str) -> str:
    """Return a traceback without the text of an exception, which may have several lines."""
    first, *others = text.split("\n")
    kept: list[str] = []
    for line in trace.split("\n"):
        if first.strip() and line.endswith(f": {first}"):
            kept.append(line[: -len(first)] + REDACTED)
        elif line.lstrip(" |") not in others or not line.strip(" |"):
            kept.append(line)
    return "\n".join(kept)
