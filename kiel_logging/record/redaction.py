"""Values that must not be seen, whatever logged them: passwords, tokens, card numbers.

A record is copied without them first, and everything else is made of the copy: message, traceback,
fields, headers, key, text. So no option that moves, renames or leaves out a field can uncover one.

Pure. A value is hidden by the name under which it stands, at any depth of objects, lists, pairs and
texts that are JSON. No other text is searched; an object that has nothing but a text is shown by
its type alone.
"""

import copy
import functools
import json
import logging
import operator
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from kiel_logging.config.table import given_names
from kiel_logging.errors import ConfigurationError
from kiel_logging.record.exceptions import describe_exception, exc_info_of
from kiel_logging.record.fields import RESERVED
from kiel_logging.record.plain import MARK, entries, escape, is_text_or_number, make_plain, show

REDACTED: Final = "[redacted]"
"""The text that takes the place of such a value."""

_ATOMS: Final = frozenset({int, float, bool, type(None)})
"""Nothing can be nested in these."""

_SPACE: Final = " \t\n\r"
_OPENING: Final = ("{", "[")
_CLOSING: Final = ("}", "]")

_EXAMPLE: Final = "['password', 'authorization']"
_ELSEWHERE: Final = ("args", "exc_info")
"""Attributes that are searched in another way."""

_MOST_EXCEPTIONS: Final = 10_000

_WORD: Final = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W_A-Z]+")
"""A word of a name: ``HTTPPassword`` has two, as ``http_password`` has."""

_LONGEST: Final = 1_000
"""Characters of a name; the value under a longer one is hidden, unread."""

_KNOWN: Final = 1_024
_LONGEST_KNOWN: Final = 100
"""How many names are remembered with the answer, and how long they may be."""


def redaction(names: Iterable[str] | None, most: int = sys.maxsize) -> "Redaction | None":
    """Return what hides the values under ``names``; None without names.

    Raises:
        ConfigurationError: it is no list, or a name is not a str or has no letter or digit.
    """
    given = given_names("redact", names, _EXAMPLE)
    for name in given:
        if not _WORD.search(name):
            raise ConfigurationError(
                f"redact has {name!r}: a name must have a letter or a digit, which are compared"
            )
    return Redaction(given, most) if given else None


def begins_as_json(text: object, others: str = "") -> bool:
    """Whether a text begins as a JSON object or array does, or with one of ``others``."""
    return isinstance(text, str) and text.lstrip(_SPACE).startswith((*_OPENING, *others))


class Concealed(NamedTuple):
    """A copy of a record, the names of what could not be shown in it, and its exception.

    ``exception`` is None if the copy has the record's own, or none. Otherwise the copy has a
    traceback as text.
    """

    record: logging.LogRecord
    replaced: list[str]
    exception: dict[str, str] | None


class Redaction:
    """Hides values by name, in dicts of plain JSON types and in records.

    Args:
        names: see ``hides()``.
        most: bytes that a record may have; a longer text that begins as JSON is hidden unread.

    Attributes:
        names: the letters and digits of each name, without case.
    """

    def __init__(self, names: Iterable[str], most: int) -> None:
        self.names: Final = frozenset("".join(_WORD.findall(name)).casefold() for name in names)
        self._longest = max(map(len, self.names))
        self._hides_known = functools.lru_cache(_KNOWN)(self._ends_in_one)
        self._most = most

    def hides(self, name: str) -> bool:
        """Whether ``name`` is one of the names, or ends in one that begins with a word of it.

        Case, and characters that are no letters or digits, do not count: "api_key" hides "API-Key",
        "apiKey", "user.api_key" and "('api_key',)", but not "api_keys".
        """
        if len(name) <= _LONGEST_KNOWN:
            return self._hides_known(name)
        return len(name) > _LONGEST or self._ends_in_one(name)

    def _ends_in_one(self, name: str) -> bool:
        ending = ""
        for word in reversed(_WORD.findall(name)):
            ending = word.casefold() + ending
            if ending in self.names:
                return True
            if len(ending) > self._longest:
                return False
        return False

    # Fields.

    def __call__(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return ``fields`` without hidden values; itself if there are none.

        A container under a hidden name is hidden as a whole. In a list of pairs the first of each
        is the name. A text that is a JSON object or array is searched too, and is written anew if
        it hides something. New containers are made only where something changed.
        """
        redacted = fields
        for name, value in entries(fields):
            safe = REDACTED if self.hides(name) else self._in_value(value)
            if safe is not value:
                redacted = fields.copy() if redacted is fields else redacted
                redacted[name] = safe
        return redacted

    def _in_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._in_text(value) if begins_as_json(value) else value
        if isinstance(value, dict):
            return self(value)
        if isinstance(value, list | tuple):
            safe = [item if type(item) in _ATOMS else self._in_item(item) for item in value]
            return value if all(map(operator.is_, safe, value)) else safe
        return value

    def _in_item(self, item: Any) -> Any:
        """Return an item of a list without hidden values; it may be a pair of name and value."""
        if isinstance(item, list | tuple) and len(item) == 2:
            name, value = item
            if isinstance(name, str) and self.hides(name):
                return item if value == REDACTED else [name, REDACTED]
        return self._in_value(item)

    def _in_text(self, text: str) -> str:
        """Return a text that begins as JSON without the values that are hidden if it is JSON."""
        if len(text) >= self._most or text.endswith(MARK):  # it will be, or was, cut
            return REDACTED
        if not text.rstrip(_SPACE).endswith(_CLOSING):
            return text
        repeated = False

        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            nonlocal repeated
            made = dict(pairs)
            repeated = repeated or len(made) < len(pairs)
            return made

        try:
            value = json.loads(text, object_pairs_hook=unique, strict=False)
            safe = self._in_value(value)
            # A name that comes twice may hide its first value from the search.
            changed = repeated or safe is not value
            return escape(json.dumps(safe, ensure_ascii=False)) if changed else text
        except json.JSONDecodeError:
            return text
        except (ValueError, RecursionError):  # an integer of too many digits; too deep
            return REDACTED

    # Records.

    def conceal(self, record: logging.LogRecord) -> Concealed:
        """Return a copy of ``record``; the record is not changed."""
        made = copy.copy(record)
        own, extras = made.__dict__, {}
        for name, value in entries(record.__dict__):
            if name not in RESERVED:
                extras[name] = value
                del own[name]
            elif name not in _ELSEWHERE and not (name == "msg" and record.args):
                own[name] = self._argument(value)
        replaced = self.make_plain(extras)
        own.update(self(extras))
        made.args = self._arguments(record.args)
        self._search_message(made)
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
        return self({name: value})[name] if isinstance(name, str) else value

    def _argument(self, value: Any) -> Any:
        """Return a message, or an argument of one, without hidden values."""
        if type(value) in _ATOMS or (type(value) is str and not begins_as_json(value)):
            return value
        fields = {"": value}
        self.make_plain(fields)
        made = fields[""]
        safe = self(fields)[""]
        return value if safe is made and is_text_or_number(value) else safe

    def _search_message(self, made: logging.LogRecord) -> None:
        """Hide values in the text that a message and its arguments make, if it is JSON."""
        if not made.args or not begins_as_json(made.msg, "%"):
            return
        try:
            text = made.getMessage()
        except Exception:  # to be reported by the conversion
            return
        safe = self._argument(text)
        if safe is not text:
            made.msg, made.args = safe, ()

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
