"""The package reports its own troubles through the logger ``kiel_logging``, from here.

Importable by all. The texts of brokers, records and files are among the arguments: they are made
printable.
"""

import logging
import sys
from collections import Counter
from collections.abc import Callable
from typing import Final

from kiel_logging.native import monotonic
from kiel_logging.printable import printable

logger: Final = logging.getLogger("kiel_logging")


MOST: Final = 10
"""Messages in one period, whatever happens. The others are counted."""

MOST_OF_A_KIND: Final = 5
"""Messages of one kind (one text before its arguments is filled in) in one period, so that one
trouble does not hide another."""

PERIOD: Final = 10.0
"""Seconds."""


HIDDEN: Final = "%d more messages of kiel_logging were hidden"


class Doses:
    """How much was shown of late. No lock: that a thread is miscounted does no harm."""

    def __init__(self) -> None:
        self._ends_at = 0.0
        self._shown: Counter[str] = Counter()
        self._hidden = 0

    def hidden(self, now: float) -> int:
        """Return how many were hidden, when a new period begins at ``now``; else 0."""
        if now < self._ends_at:
            return 0
        hidden, self._hidden = self._hidden, 0
        self._ends_at, self._shown = now + PERIOD, Counter({"hidden": 1} if hidden else {})
        return hidden

    def take(self, kind: str, most: int) -> bool:
        """Count one more of a ``kind``; return whether it may be shown, if ``most`` of it may."""
        if self._shown.total() >= MOST or self._shown[kind] >= most:
            self._hidden += 1
            return False
        self._shown[kind] += 1
        return True


_doses = Doses()


def admit(kind: str, most: int, show_hidden: Callable[[int], None]) -> bool:
    """Return whether another message of a ``kind``, of which ``most`` are, may be shown.

    If any were hidden in the period before, ``show_hidden`` is called first, with their number.
    """
    if hidden := _doses.hidden(monotonic()):
        show_hidden(hidden)
    return _doses.take(kind, most)


def _show_hidden(hidden: int) -> None:
    log_to(logger, logging.WARNING, HIDDEN, hidden)


def report(level: int, message: str, *args: object) -> None:
    """Log ``message % args`` at ``level``; set the logger's level to silence it.

    Above DEBUG there are at most ten messages in ten seconds, in the whole process; those that
    handlers write to stderr are among them.

    ``dictConfig`` disables every logger that its configuration doesn't name, and ours exists by
    the time it does, because reading the configuration imports the handler. That is no wish to
    lose records in silence.
    """
    logger.disabled = False
    if not _is_enabled(logger, level):
        return
    if level > logging.DEBUG and not admit(message, MOST_OF_A_KIND, _show_hidden):
        return
    shown = (arg if isinstance(arg, int | float) else _Printable(arg) for arg in args)
    log_to(logger, level, message, *shown, depth=2)


class _Printable:
    """An argument that is shown when, and if, the message is formatted."""

    __slots__ = ("_arg",)

    def __init__(self, arg: object) -> None:
        self._arg = arg

    def __str__(self) -> str:
        return printable(self._arg)

    def __repr__(self) -> str:
        return printable(repr(self._arg))


def _is_enabled(target: logging.Logger, level: int) -> bool:
    return level >= target.getEffectiveLevel() and level > target.manager.disable


def settle_levels() -> None:
    """Have all loggers know which levels are enabled, if this thread holds logging's module lock.

    A logger wants that lock only where it doesn't know, and none forgets while a thread holds it.
    So a thread that has it, as within ``dictConfig``, may wait for another one that logs.
    """
    is_held = getattr(logging._lock, "_is_owned", None)  # type: ignore[attr-defined]
    if is_held is None or not is_held():
        return
    levels = list(logging._levelToName)
    for one in [logging.root, *logging.root.manager.loggerDict.values()]:
        if isinstance(one, logging.Logger):
            for level in levels:
                one.isEnabledFor(level)


def log_to(target: logging.Logger, level: int, message: str, *args: object, depth: int = 1) -> None:
    """Log ``message % args``, as ``target.log()`` would, without logging's module lock.

    ``Logger.isEnabledFor`` may take it. ``dictConfig`` holds it while it closes the handlers that
    were there before: a thread that has to deliver their records must not wait for it.
    """
    if not _is_enabled(target, level):
        return
    caller = sys._getframe(depth)
    code = caller.f_code
    record = target.makeRecord(
        target.name,
        level,
        code.co_filename,
        caller.f_lineno,
        message,
        args,
        None,
        func=code.co_name,
    )
    target.handle(record)
