"""A LogRecord as a dict: what a consumer of the topic will find.

Pure: the record is shared with every other handler and never changed.
"""

import copy
import functools
import logging
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

from kiel_logging.record.notes import NOTES
from kiel_logging.record.plain import is_structure

HOST: Final = socket.gethostname()

OWN_ATTRIBUTES: Final = tuple(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
"""Those that logging gives a record, in order; not what a factory of the program's adds."""

RESERVED: Final = frozenset(OWN_ATTRIBUTES) | {"message", "asctime"}
"""The attributes that logging itself gives a record, on the running Python; others are extras."""

EXTRA: Final = "extra"
"""The field with those extras whose names are taken by ours."""


OUR_FIELDS: Final = frozenset(
    (
        *("time", "level", "logger", "message", "module", "function", "line", "path", "process"),
        *("process_name", "thread", "thread_name", "host", "task", "exception", "stack"),
        *(EXTRA, NOTES),
    )
)
"""The names of the fields that a record gets by itself."""


def to_fields(record: logging.LogRecord, formatter: logging.Formatter | None) -> dict[str, Any]:
    """Return ``record`` as a dict.

    ``formatter``, where one is set, makes the message text. Extras stand beside our own fields; one
    that bears the name of ours goes under ``extra`` instead of being lost.
    """
    fields: dict[str, Any] = {
        "time": rfc3339(record.created),
        "level": record.levelname,
        "logger": record.name,
        "message": _message(record, formatter),
        "module": record.module,
        "function": record.funcName,
        "line": record.lineno,
        "path": record.pathname,
        "process": record.process,
        "process_name": record.processName,
        "thread": record.thread,
        "thread_name": record.threadName,
        "host": HOST,
    }
    if (task := task_name(record)) is not None:
        fields["task"] = task
    if (exception := _exception(record)) is not None:
        fields["exception"] = exception
    if record.stack_info:
        fields["stack"] = record.stack_info
    _add_extras(fields, record)
    return fields


def _add_extras(fields: dict[str, Any], record: logging.LogRecord) -> None:
    extras = {name: value for name, value in record.__dict__.items() if name not in RESERVED}
    if extras:
        add_fields(fields, extras)


def add_fields(fields: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add ``more`` to ``fields``; what bears the name of one that is there goes under EXTRA."""
    for name, value in more.items():
        if name in fields or name == EXTRA:
            fields[EXTRA] = beside(fields.get(EXTRA, {}), name, value)
        else:
            fields[name] = value


def beside(extra: Any, name: str, value: Any) -> dict[str, Any]:
    """Return ``extra`` with a value more; one level further down where the name is taken."""
    known = dict(extra) if isinstance(extra, dict) else {EXTRA: extra}
    if name in known:
        known[EXTRA] = beside(known.get(EXTRA, {}), name, value)
    else:
        known[name] = value
    return known


def rfc3339(created: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC with microseconds."""
    try:
        seconds, micros = divmod(round(created * 1_000_000), 1_000_000)
        return f"{_to_the_second(seconds)}.{micros:06d}Z"
    except (OSError, OverflowError, TypeError, ValueError):
        return show(created)  # a record that somebody made up: infinite, no number, NaN


@functools.lru_cache(maxsize=4)  # many records share a second
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _message(record: logging.LogRecord, formatter: logging.Formatter | None) -> Any:
    """Return the text; a message that is an object or a list, and has no arguments, as it is."""
    try:
        if formatter is None:
            if type(record.msg) is not str and not record.args and is_structure(record.msg):
                return record.msg
            return record.getMessage()
        # A Formatter writes message, asctime and exc_text into the record it formats, and appends
        # the traceback and the stack, which have fields of their own here.
        copied = copy.copy(record)
        copied.exc_info = copied.exc_text = copied.stack_info = None
        return formatter.format(copied)
    except Exception as error:
        # Arguments that don't fit the format are the program's bug; the record still counts.
        return f"{show(record.msg)} [arguments {show(record.args)} do not fit: {show(error)}]"


def show(value: object) -> str:
    """Return ``str(value)``, or a mark in its place when that raises."""
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} that can't be shown: {type(error).__name__}>"


def task_name(record: logging.LogRecord) -> str | None:
    """Return the name of the asyncio task that logs; None outside of tasks.

    From Python 3.12 on the record has it; before, it is the calling thread's current task.
    """
    if sys.version_info >= (3, 12):
        return record.taskName
    return current_task_name()


def current_task_name() -> str | None:
    """Return the name of the asyncio task that runs on this thread; None outside of tasks."""
    if running_loop() is None:  # current_task() would raise, which takes longer
        return None
    task = sys.modules["asyncio"].current_task()
    return None if task is None else str(task.get_name())


def running_loop() -> Any:
    """Return the event loop that runs on this thread; None where none does.

    asyncio is not imported for that: without it no loop runs.
    """
    try:
        return sys.modules["asyncio.events"]._get_running_loop()
    except (KeyError, AttributeError):  # it is not there, or another thread is importing it
        return None


def _exception(record: logging.LogRecord) -> dict[str, str] | None:
    if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
        return describe_exception(*record.exc_info)
    if record.exc_text:
        # It came over a queue or a socket, where tracebacks travel as text.
        return {"traceback": record.exc_text}
    return None


_MOST_EXCEPTIONS: Final = 500
"""Exceptions and notes of one record whose tracebacks are formatted: each takes up to 50 us."""

_LEFT_OUT: Final = (
    f"more than {_MOST_EXCEPTIONS} exceptions and notes: causes, members and notes are left out"
)


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
    """Return type, message and traceback text; causes and contexts are part of the text."""
    try:
        if has_many(error):
            text = f"{_without_others(kind, error, trace)}[{_LEFT_OUT}]\n"
        else:
            text = "".join(traceback.format_exception(kind, error, trace))
    except Exception as failure:
        text = f"<no traceback: {show(failure)}>"
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return {"type": f"{module}{kind.__qualname__}", "message": show(error), "traceback": text}
