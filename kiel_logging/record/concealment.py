"""A LogRecord of which nothing can be seen that ``redact`` hides.

Everything else is made of such a copy: message, traceback, fields, headers, key, text. So no option
that moves, renames or leaves out a field can uncover what was in it.

Names can be found in values that are objects or lists, not in texts. A value that has nothing but a
text of its own making is shown by its type alone. What was a text before is not looked into.
"""

import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from kiel_logging.record.log_record import RESERVED, describe_exception, show
from kiel_logging.record.plain import is_text_or_number, make_plain
from kiel_logging.record.redaction import REDACTED, Redaction

_ATOMS: Final = frozenset({str, int, float, bool, type(None)})
_LOOKED_AT: Final = ("args", "exc_info")


class Concealed(NamedTuple):
    """A copy of a record, the names of what could not be shown in it, and its exception.

    ``exception`` is None if the copy has the record's own, or none. Otherwise the copy has the
    traceback as a text.
    """

    record: logging.LogRecord
    replaced: list[str]
    exception: dict[str, str] | None


class Concealment:
    """Makes such copies.

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
        for name, value in record.__dict__.items():
            if name not in RESERVED:
                extras[name] = value
                del own[name]
            elif type(value) not in _ATOMS and name not in _LOOKED_AT:
                own[name] = self._argument(value)
        replaced = self.make_plain(extras)
        own.update(self._hide(extras))
        made.args = self._arguments(record.args)
        # What another handler's Formatter left there was made of the record itself.
        own.pop("message", None)
        if made.exc_info:
            made.exc_text = None
        exception = self._exception(record)
        if exception is not None:
            made.exc_info, made.exc_text = None, exception["traceback"].rstrip("\n")
        return Concealed(made, replaced, exception)

    def make_plain(self, fields: dict[str, Any]) -> list[str]:
        """Replace in place the values that are not plain; return the names of what can't be shown.

        What is inside an object has no name, and can't be hidden, before.
        """
        return make_plain(fields, self._most, opaque=True).replaced

    def _arguments(self, arguments: Any) -> Any:
        if type(arguments) is tuple:
            return tuple(map(self._argument, arguments))
        if isinstance(arguments, Mapping):  # a single one, for "%(name)s"
            try:
                shown = {name: self._argument(value) for name, value in arguments.items()}
                return {name: self._named(name, value) for name, value in shown.items()}
            except Exception:  # of its own methods
                return REDACTED
        return self._argument(arguments)

    def _named(self, name: object, value: Any) -> Any:
        return self._hide({name: value})[name] if isinstance(name, str) else value

    def _argument(self, value: Any) -> Any:
        """Return what stands for a message or an argument of one; numbers and texts as they are."""
        if is_text_or_number(value):
            return value
        fields = {"": value}
        self.make_plain(fields)
        return self._hide(fields)[""]

    def _exception(self, record: logging.LogRecord) -> dict[str, str] | None:
        """Return the exception if it, or one behind it, has more than texts and numbers."""
        if not isinstance(record.exc_info, tuple) or record.exc_info[0] is None:
            return None
        secretive = [one for one in exceptions_of(record.exc_info[1]) if not is_text_or_number(one)]
        if not secretive:
            return None
        made = describe_exception(*record.exc_info)
        for one in secretive:
            made["traceback"] = _without(made["traceback"], show(one))
            if one is record.exc_info[1]:
                made["message"] = REDACTED
        return made


_MOST_EXCEPTIONS: Final = 10_000


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


def _without(trace: str, told: str) -> str:
    """Return a traceback without what an exception says, which may have several lines."""
    first, *others = told.split("\n")
    kept: list[str] = []
    for line in trace.split("\n"):
        if first.strip() and line.endswith(f": {first}"):
            kept.append(line[: -len(first)] + REDACTED)
        elif line.lstrip(" |") not in others or not line.strip(" |"):
            kept.append(line)
    return "\n".join(kept)
