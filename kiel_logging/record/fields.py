"""The fields of a log record: its own, those of its surroundings, and what options make of them.

Pure. All handlers share the record, and it is never changed. Its dict belongs to us and may be
changed; values in it belong to the program, and are copied on the way to what is left out.
"""

import copy
import functools
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from kiel_logging import native
from kiel_logging.config.table import check_name, given_mapping, given_names
from kiel_logging.errors import ConfigurationError
from kiel_logging.record.exceptions import exception_of
from kiel_logging.record.plain import entries, is_structure, show

Change: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
Context: TypeAlias = Callable[[], Mapping[str, Any]] | Mapping[str, ContextVar[Any]]
ContextChoice: TypeAlias = Callable[[], Mapping[str, Any]]

HOST: Final = native.host_name()

OWN_ATTRIBUTES: Final = tuple(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
"""The attributes that logging gives a record, in order, without those of a program's factory."""

RESERVED: Final = frozenset(OWN_ATTRIBUTES) | {"message", "asctime"}
"""The attributes that logging itself gives a record, on the running Python; others are extras."""

EXTRA: Final = "extra"
"""The field with those extras whose names are taken by fields of the record."""

NOTES: Final = "kiel_logging"
"""The field that names what the conversion could not do as asked; only then a record has it."""

OUR_FIELDS: Final = frozenset(
    (
        *("time", "level", "logger", "message", "module", "function", "line", "path", "process"),
        *("process_name", "thread", "thread_name", "host", "task", "exception", "stack"),
        *(EXTRA, NOTES),
    )
)
"""The names of the fields that a record gets by itself."""

TRACE_FIELDS: Final = ("trace_id", "span_id", "trace_flags")

NO_IDS: Final[Mapping[str, Any]] = MappingProxyType({})
_CONTEXT: Final = (
    "names of fields to ContextVars, or a callable that returns a mapping; in a dictConfig "
    "either is written 'ext://module.name'"
)
_FIELDS: Final = "names to values, such as {'environment': 'production'}"
_RENAME: Final = "names of fields to new names, such as {'message': 'msg'}"
_EXCLUDE: Final = "['thread', 'user.address']"

# -- a record's own --------------------------------------------------------------------------------


def to_fields(record: logging.LogRecord, formatter: logging.Formatter | None) -> dict[str, Any]:
    """Return ``record`` as a dict.

    ``formatter``, where one is set, makes the message text. Extras stand beside the other fields;
    one whose name is taken goes under ``extra``.
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
    if (exception := exception_of(record)) is not None:
        fields["exception"] = exception
    if record.stack_info:
        fields["stack"] = record.stack_info
    extras = {name: value for name, value in entries(record.__dict__) if name not in RESERVED}
    if extras:
        add_fields(fields, extras)
    return fields


def add_fields(fields: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add ``more`` to ``fields``; values whose names are taken go under EXTRA."""
    for name, value in entries(more):
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
        return f"{to_the_second(seconds)}.{micros:06d}Z"
    except (OSError, OverflowError, TypeError, ValueError):
        return show(created)  # made up: infinite, no number, NaN


@functools.lru_cache(maxsize=4)  # many records share a second
def to_the_second(seconds: int) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC without the ``Z``."""
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
        # Arguments that don't fit the format are the program's bug; the record is shipped.
        return f"{show(record.msg)} [arguments {show(record.args)} do not fit: {show(error)}]"


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


# -- its surroundings ------------------------------------------------------------------------------


def context_choice(context: Context | None) -> ContextChoice | None:
    """Return a function that takes no arguments and returns the fields of the surroundings.

    ``context`` is a callable that returns them (``structlog.contextvars.get_contextvars`` is
    one), or a mapping from the name of a field to the ContextVar with its value. A ContextVar
    without a value and a default is left out. None when there is nothing to take. If the values
    can't be had, the record arrives without them, and NOTES says why.

    Raises:
        ConfigurationError: it is neither, or a name is empty or that of a field every record has.
    """
    if callable(context):
        return _by_call(context)
    variables = given_mapping("context", context, _CONTEXT)
    check_names_are_free("context", variables)
    for name, variable in variables.items():
        if not isinstance(variable, ContextVar):
            raise ConfigurationError(
                f"context has {name!r}: {variable!r}, which is no ContextVar; in a dictConfig one "
                "is written 'ext://module.name'"
            )
    return _by_variables(list(variables.items())) if variables else None


def _by_variables(variables: list[tuple[str, ContextVar[Any]]]) -> ContextChoice:
    def take() -> Mapping[str, Any]:
        values = {}
        for name, variable in variables:
            try:
                values[name] = variable.get()  # a default given here would hide its own
            except LookupError:
                continue
        return values

    return take


def _by_call(context: Callable[[], Mapping[str, Any]]) -> ContextChoice:
    def take() -> Mapping[str, Any]:
        try:
            values: object = context()
            if isinstance(values, Mapping):
                return {show(name): value for name, value in entries(values)}
        except Exception as error:
            return _note(f"{type(error).__name__}: {show(error)}")
        return _note(f"{type(values).__name__} returned: it must be a mapping")

    return take


def _note(what: str) -> Mapping[str, Any]:
    return {NOTES: {"context": what}}


def trace_ids() -> Mapping[str, Any]:
    """Return the ids of the OpenTelemetry span in which the record is logged; empty without one.

    OpenTelemetry is not imported for that: unless the program has, there is no span.

    ``trace_id`` is 32 and ``span_id`` 16 lower-case hex digits, ``trace_flags`` a number whose
    lowest bit says that the span is sampled (W3C Trace Context). Never raises.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return NO_IDS
    try:
        span = trace.get_current_span().get_span_context()
        if not span.is_valid:
            return NO_IDS
        return {
            "trace_id": format(span.trace_id, "032x"),
            "span_id": format(span.span_id, "016x"),
            "trace_flags": int(span.trace_flags),
        }
    except Exception:  # half imported by another thread, or an odd span
        return NO_IDS


# -- what options make of them ---------------------------------------------------------------------


def field_changes(
    *,
    fields: Mapping[str, Any] | None,
    rename: Mapping[str, str] | None,
    exclude: Iterable[str] | None,
) -> Change | None:
    """Return a function that makes these changes to a record's dict; None when there are none.

    Args:
        fields: added to each record. A record that has a field of that name already, an extra
            say, keeps its own.
        rename: from the names of fields to those they get; not paths. The order stays. A field
            that had the new name moves under ``extra``, where ``to_fields`` puts extras whose names
            are taken.
        exclude: names of fields that are left out, before any is renamed; a dotted path reaches
            into nested dicts.

    Raises:
        ConfigurationError: an option is of the wrong type, has a name that can't be one, or two
            of them contradict each other.
    """
    static = given_mapping("fields", fields, _FIELDS)
    check_names_are_free("fields", static)
    excluded = given_names("exclude", exclude, _EXCLUDE)
    renamed = given_mapping("rename", rename, _RENAME)
    _check_renames(renamed, excluded)

    def change(fields: dict[str, Any]) -> dict[str, Any]:
        for name, value in entries(static):
            fields.setdefault(name, value)
        for name in excluded:
            _leave_out(fields, name)
        return _renamed(fields, renamed) if renamed else fields

    return change if static or excluded or renamed else None


def check_names_are_free(option: str, names: Iterable[str]) -> None:
    """Check that none of ``names`` is that of a field which every record has.

    The record's own field would win, and the option would never be seen.

    Raises:
        ConfigurationError: one is.
    """
    taken = {*to_fields(logging.makeLogRecord({}), None), EXTRA, NOTES}
    taken.discard("task")  # this record has it only if the handler is made in a task
    for name in names:
        if name in taken:
            raise ConfigurationError(
                f"{option} has {name!r}: that is a field of the record's own, choose another name"
            )


def _leave_out(fields: dict[str, Any], name: str) -> None:
    fields.pop(name, None)
    first, dot, rest = name.partition(".")
    if dot and isinstance(inner := fields.get(first), dict):
        fields[first] = _without(inner, rest)


def _without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Return ``fields`` without what is at ``name``: a dict itself where nothing is."""
    if type(fields) is not dict:
        fields = dict(dict.items(fields))  # by no methods of the program's: they may raise
    if name in fields:
        fields = {other: value for other, value in entries(fields) if other != name}
    first, dot, rest = name.partition(".")
    inner = fields.get(first) if dot else None
    if isinstance(inner, dict) and (left := _without(inner, rest)) is not inner:
        fields = {**fields, first: left}
    return fields


def _check_renames(rename: dict[str, Any], excluded: tuple[str, ...]) -> None:
    targets = set()
    for name, target in rename.items():
        check_name("rename", target)
        if target in (EXTRA, NOTES):
            raise ConfigurationError(f"rename has {target!r}: that is a field of the handler's own")
        if target in targets:
            raise ConfigurationError(f"rename={rename!r} gives two fields the name {target!r}")
        if name in excluded:
            raise ConfigurationError(f"exclude and rename both have {name!r}: choose one")
        targets.add(target)


def _renamed(fields: dict[str, Any], rename: dict[str, str]) -> dict[str, Any]:
    # ``extra`` comes last: what the others move under it may be why a record has it.
    for name in sorted(rename, key=EXTRA.__eq__):
        target = rename[name]
        if name in fields and target in fields and target not in rename:
            fields[EXTRA] = beside(fields.get(EXTRA, {}), target, fields.pop(target))
    return {rename.get(name, name): value for name, value in entries(fields)}
