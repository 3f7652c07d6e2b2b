"""Exceptions that nothing catches: hooks that ship their tracebacks.

Each hook gives the handlers a record, whatever loggers, levels and filters say, and then calls the
hook that was there before, which as a rule writes the traceback to stderr.
"""

import logging
import sys
import threading
from collections.abc import Callable
from types import MethodType, TracebackType
from typing import Any, Final

_handlers: list[logging.Handler] = []
_reporting: Final = threading.local()


def capture_uncaught(handler: logging.Handler) -> None:
    """Give ``handler`` a record of each exception that nothing catches, from now on."""
    release_uncaught(handler)
    _handlers.append(handler)
    for module, name, report in (
        (sys, "excepthook", _report_end),
        (threading, "excepthook", _report_thread),
        (sys, "unraisablehook", _report_unraisable),
    ):
        before = getattr(module, name)
        if not isinstance(before, _Hook):
            setattr(module, name, _Hook(report, before))


def release_uncaught(handler: logging.Handler) -> None:
    """Give ``handler`` no more records. The hooks stay: others may have been put on top."""
    _handlers[:] = [one for one in _handlers if one is not handler]


class _Hook:
    """Reports, and then calls the hook that was there before.

    The program may have put its own hook on ours, and ours on that again: the inner one is silent.
    """

    def __init__(self, report: Callable[..., None], before: Callable[..., Any]) -> None:
        self._report = report
        self._before = before

    def __repr__(self) -> str:
        return f"<kiel_logging's hook before {self._before!r}>"

    def __call__(self, *arguments: Any) -> None:
        is_inner = getattr(_reporting, "depth", 0) > 0
        _reporting.depth = getattr(_reporting, "depth", 0) + 1
        try:
            if not is_inner:
                self._report(*arguments)
        finally:
            try:
                self._before(*arguments)
            finally:
                _reporting.depth -= 1


def _report_end(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt):  # Ctrl-C is no fault
        _log(logging.CRITICAL, "uncaught %s", (kind.__name__,), (kind, error, traceback))


def _report_thread(arguments: Any) -> None:
    kind = arguments.exc_type
    if issubclass(kind, SystemExit):  # it ends the thread in silence
        return
    thread = "a thread" if arguments.thread is None else f"thread {arguments.thread.name}"
    where = (kind, arguments.exc_value, arguments.exc_traceback)
    _log(logging.ERROR, "uncaught %s in %s", (kind.__name__, thread), where)


def _report_unraisable(arguments: Any) -> None:
    kind, of = arguments.exc_type, arguments.object
    # Its repr() may be the program's, and of an object that is being torn down.
    named = of if isinstance(of, type(_log) | type(len) | MethodType | type) else type(of)
    name = getattr(named, "__qualname__", "an object")
    where = (kind, arguments.exc_value, arguments.exc_traceback)
    _log(logging.ERROR, "%s that could not be raised, in %s", (kind.__name__, name), where)


def _log(level: int, message: str, arguments: tuple[str, ...], where: tuple[Any, Any, Any]) -> None:
    path, line, function = "(unknown file)", 0, None
    traceback = where[2]
    while traceback is not None:  # the last frame is where it was raised
        code = traceback.tb_frame.f_code
        path, line, function = code.co_filename, traceback.tb_lineno, code.co_name
        traceback = traceback.tb_next
    record = logging.LogRecord("uncaught", level, path, line, message, arguments, where, function)
    for handler in tuple(_handlers):
        handler.handle(record)
