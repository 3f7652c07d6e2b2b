"""Reports of a handler, and records that were logged while it shipped: to stderr, in doses.

Neither may come back to the handler, wait for one of logging's locks, or raise.
"""

import contextlib
import logging
import reprlib
import sys
import threading
import traceback
from collections import Counter
from typing import Any, Final

from kiel_logging import diagnostics
from kiel_logging.diagnostics import log_to
from kiel_logging.native import monotonic
from kiel_logging.printable import printable, printable_lines
from kiel_logging.record.item import level_of

MOST_DIVERTED: Final = 7
"""Diverted records among the ten messages in ten seconds: reports of losses need room as well."""

PERIOD: Final = 10.0
"""Seconds until the next complaint of a kind."""

_MOST_WRITTEN: Final = 8_000
"""Characters of one record, with its traceback, on stderr."""


class _Here(threading.local):
    reporting = False
    shown: logging.LogRecord | None = None
    """The record that was written to stderr last: each handler of its logger gets the same one."""


_here = _Here()


class InternalLog:
    """Writes a handler's reports to ``logger`` if there is one, else to stderr.

    Attributes:
        diverted: how many records came here instead of going to Kafka.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger
        self._next_at: dict[str, float] = {}
        self._hidden: Counter[str] = Counter()
        self.diverted = 0

    def complain(self, kind: str, message: str) -> None:
        """Report an error; of one ``kind`` at most one in a period."""
        if self.may_complain(kind):
            self.say(logging.ERROR, message)

    def may_complain(self, kind: str) -> bool:
        """Return whether a complaint of this ``kind`` may be made now; if so it counts as made."""
        now = monotonic()
        if now < self._next_at.get(kind, 0.0):
            self._hidden[kind] += 1
            return False
        self._next_at[kind] = now + PERIOD
        if hidden := self._hidden.pop(kind, 0):
            self.say(logging.ERROR, f"{hidden} more since then: {kind}")
        return True

    def say(self, level: int, message: str) -> None:
        """Report ``message``, unless there were many of late; see ``diagnostics.admit()``."""
        if diagnostics.admit("handlers", diagnostics.MOST, self._say_hidden):
            self._say(level, message)

    def _say_hidden(self, hidden: int) -> None:
        self._say(logging.WARNING, diagnostics.HIDDEN % hidden)

    def _say(self, level: int, message: str) -> None:
        message = printable(message)  # errors and records of others are among its parts
        if self._logger is None or _here.reporting:
            write_to_stderr(f"kiel_logging: {message}")
        else:
            with _reporting():
                log_to(self._logger, level, "%s", message)

    def divert(self, record: logging.LogRecord) -> None:
        """Show ``record``, which was logged while shipping, unless there were many of late."""
        self.diverted += 1
        if self._worth_showing(record) and self._may_show(record):
            self._show(record)

    def _worth_showing(self, record: logging.LogRecord) -> bool:
        if self._logger is not None and not _here.reporting:
            return True  # its own level decides
        return level_of(record) >= logging.WARNING and not _is_on_the_console(record)

    def _may_show(self, record: logging.LogRecord) -> bool:
        if record.name == diagnostics.logger.name:
            return True  # it was admitted when it was made
        return diagnostics.admit("records", MOST_DIVERTED, self._say_hidden)

    def _show(self, record: logging.LogRecord) -> None:
        if self._logger is None or _here.reporting:
            if _here.shown is not record:
                _here.shown = record
                write_to_stderr(_text(record))
            return
        with _reporting():
            if level_of(record) >= self._logger.getEffectiveLevel():
                self._logger.handle(record)


@contextlib.contextmanager
def _reporting() -> Any:
    _here.reporting = True
    try:
        yield
    except Exception as error:  # a filter or a handler of the internal logger's
        write_to_stderr(f"kiel_logging: the internal logger raised {error!r}")
    finally:
        _here.reporting = False


def write_to_stderr(text: str) -> None:
    """Write ``text``, made printable, and a line break, if there is a stderr that takes it."""
    with contextlib.suppress(Exception):  # None, closed, a full disk, an encoding
        sys.stderr.write(f"{printable_lines(text, _MOST_WRITTEN)}\n")


def describe_failure(record: logging.LogRecord) -> str:
    """Return what ``logging.Handler.handleError`` would write of the exception being handled."""
    return (
        f"--- Logging error ---\nLogged at {record.pathname}:{record.lineno}\n"
        f"Message: {_represented(record.msg)}\nArguments: {_represented(record.args)}\n"
        f"{traceback.format_exc()}"
    )


def _represented(value: object) -> str:
    try:
        return _cut.repr(value)
    except Exception as error:
        return f"not shown, for its repr() raised {type(error).__name__}"


_cut: Final = reprlib.Repr()
_cut.maxstring = _cut.maxother = 1_000

_FORMATTER: Final = logging.Formatter("%(levelname)s %(name)s: %(message)s")


def _text(record: logging.LogRecord) -> str:
    try:
        return _FORMATTER.format(record)
    except Exception as error:  # arguments that don't fit
        return f"{record.levelname} {record.name}: {record.msg!r} ({error!r})"


def _is_on_the_console(record: logging.LogRecord) -> bool:
    """Whether another handler of the record's logger shows it on the console anyway."""
    logger: Any = logging.root.manager.loggerDict.get(record.name, logging.root)
    while isinstance(logger, logging.Logger):
        for handler in logger.handlers:
            if (
                isinstance(handler, logging.StreamHandler)
                and handler.stream in (sys.stderr, sys.stdout)
                and level_of(record) >= handler.level
            ):
                return True
        logger = logger.parent if logger.propagate else None
    return False
