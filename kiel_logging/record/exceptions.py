"""An exception as fields: its type, its message, and the traceback as Python shows it.

The law: the text is that of the module ``traceback``, to the letter. That formats each frame anew,
and parses its source line to place the carets: a quarter of a millisecond for ten frames, and ten
times that from Python 3.13 on. Programs in trouble log the same traceback again and again, so the
text of a stack is kept, by the places in the code that it went through.
"""

import logging
import sys
import traceback
from types import CodeType, TracebackType
from typing import Any, Final, TypeAlias, cast

from kiel_logging.record.plain import show

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException | None, TracebackType | None]

_MOST_EXCEPTIONS: Final = 500
"""Exceptions and notes of one record whose tracebacks are formatted."""

_LEFT_OUT: Final = (
    f"more than {_MOST_EXCEPTIONS} exceptions and notes: causes, members and notes are left out"
)


def exc_info_of(record: logging.LogRecord) -> ExcInfo | None:
    """Return the record's exception; None without one, or for a made-up ``exc_info``."""
    info: Any = record.exc_info
    if not isinstance(info, tuple) or len(info) != 3:
        return None
    kind, error, _ = info
    if not isinstance(kind, type) or not issubclass(kind, BaseException):
        return None
    return info if error is None or isinstance(error, BaseException) else None


def exception_of(record: logging.LogRecord) -> dict[str, str] | None:
    """Return the fields of the record's exception; None without one."""
    info: Any = record.exc_info
    if (known := exc_info_of(record)) is not None:
        return describe_exception(*known)
    if record.exc_text:
        # It came over a queue or a socket, where tracebacks travel as text.
        return {"traceback": record.exc_text}
    if isinstance(info, tuple) and any(part is not None for part in info):
        return {"traceback": f"<no exception: {show(info)}>"}
    return None


def has_many(error: BaseException | None) -> bool:
    """Whether causes, contexts, members of groups and notes are more than can be formatted."""
    count = 0
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        notes = getattr(one, "__notes__", ())
        count += 1 + (len(notes) if isinstance(notes, list | tuple) else 0)
        if count > _MOST_EXCEPTIONS:
            return True
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(one.exceptions)  # each time, as they are formatted
        for other in _before(one):
            if id(other) not in seen:
                seen.add(id(other))
                waiting.append(other)
    return False


def _before(error: BaseException | None) -> list[BaseException]:
    """Return the cause of an exception, or its context."""
    if error is None:
        return []
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    return [] if cause is None else [cause]


def _without_others(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> str:
    frames = "".join(traceback.format_tb(trace))
    return f"Traceback (most recent call last):\n{frames}{kind.__qualname__}: {show(error)}\n"


def describe_exception(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> dict[str, str]:
    """Return type, message and traceback of an exception; its causes are part of the traceback."""
    try:
        if has_many(error):
            text = f"{_without_others(kind, error, trace)}[{_LEFT_OUT}]\n"
        else:
            text = _text_of(error, trace)
    except Exception as failure:
        text = f"<no traceback: {show(failure)}>"
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return {"type": f"{module}{kind.__qualname__}", "message": show(error), "traceback": text}


_MOST_STACKS: Final = 1_024
_MOST_MEMORY: Final = 4 * 1024 * 1024
"""Bytes, about, of all stacks that are kept."""

_LARGE: Final = 64 * 1024
"""Bytes of a stack that is not worth keeping."""

_A_NUMBER: Final = 32

_LAST_LINE: Final = "Exception\n"
_CAUSED: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"


class _Stacks(dict[tuple[int | None, ...], tuple[str, list[CodeType]]]):
    """The texts of stacks, with their first line, by ``sys.tracebacklimit`` and the places in them.

    A place is a code object, an instruction and a line. Code objects are compared by their ids, for
    equal ones may be of different files; they are kept, so that no other one gets the id.
    """

    def __init__(self) -> None:
        super().__init__()
        self._memory = 0

    def text(self, trace: TracebackType | None) -> str:
        """Return the text of a stack. The lines are those that the files had the first time."""
        places: list[int | None] = [getattr(sys, "tracebacklimit", None)]
        codes = []
        at = trace
        while at is not None:
            code = at.tb_frame.f_code
            codes.append(code)
            places += (id(code), at.tb_lasti, at.tb_lineno)
            at = at.tb_next
        key = tuple(places)
        if (known := self.get(key)) is not None:
            return known[0]
        whole = "".join(traceback.format_exception(Exception, Exception(), trace))
        text = whole.removesuffix(_LAST_LINE)
        memory = len(text) + len(key) * _A_NUMBER
        if memory <= _LARGE:
            self._memory += memory
            if len(self) >= _MOST_STACKS or self._memory > _MOST_MEMORY:
                self.clear()
                self._memory = memory
            self[key] = text, codes
        return text


_stacks: Final = _Stacks()


def _text_of(error: BaseException | None, trace: TracebackType | None) -> str:
    """Return the text that ``traceback.format_exception()`` makes of an exception."""
    kind: Any = type(error)
    # The exceptions without their frames, of which each is formatted anew.
    bare = traceback.TracebackException(
        kind, cast(Any, error), trace, limit=0, lookup_lines=False, compact=True
    )
    text, at, of = "", error, trace
    while True:
        if bare.exceptions is not None:  # a group, whose members are indented
            return "".join(traceback.format_exception(kind, error, trace))
        text = "".join((_stacks.text(of), *bare.format_exception_only(), text))
        if at is None:
            return text
        if bare.__cause__ is not None:
            bare, at, joint = bare.__cause__, at.__cause__, _CAUSED
        elif bare.__context__ is not None and not bare.__suppress_context__:
            bare, at, joint = bare.__context__, at.__context__, _MEANWHILE
        else:
            return text
        text, of = joint + text, None if at is None else at.__traceback__
