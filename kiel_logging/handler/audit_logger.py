"""The logger of an audit stream: its records arrive, whatever is done to loggers.

The law: an audit handler gets every record, of any level, that is logged to its logger. Levels,
``disabled``, ``logging.disable()``, ``propagate``, filters and ``dictConfig`` decide what other
handlers get, as always, and nothing else.

``logging.getLogger(name)`` returns this logger, and returned it before: its class is changed. So
programs log as always, and references to the logger that they already have are good.
"""

import logging
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any, Final

from kiel_logging.errors import ConfigurationError

_LOWEST: Final = 1
"""The level of children that have none. With 0 they would ask the parents of this logger."""


class AuditLogger(logging.Logger):
    """A logger with audit handlers, which ``install()`` makes of one without.

    A child that is made later is an ordinary logger: its records come here as long as it has no
    level, propagates, and is not disabled. ``getChild()`` returns one that can't be silenced.

    Attributes:
        audits: the handlers that get all records of this logger.
    """

    audits: tuple[logging.Handler, ...] = ()

    # These attributes count for the other handlers.

    @property
    def handlers(self) -> list[logging.Handler]:
        """The audit handlers, and in the logger's own list, which is behind it, the others."""
        return [*self.audits, *vars(self)["handlers"]]

    @handlers.setter
    def handlers(self, value: list[logging.Handler]) -> None:
        # assertLogs, for one, puts back what it has read here
        vars(self)["handlers"] = [one for one in value if one not in self.audits]

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 # logging's name
        """Add another handler."""
        if hdlr not in self.handlers:
            vars(self)["handlers"].append(hdlr)

    def removeHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 # logging's name
        """Remove another handler; the audit handlers stay until they are closed."""
        if hdlr in vars(self)["handlers"]:
            vars(self)["handlers"].remove(hdlr)

    @property
    def level(self) -> int:
        """The lowest level, while there is an audit handler."""
        return _LOWEST if self.audits else self._level_for_others

    @level.setter
    def level(self, value: int) -> None:
        vars(self)["level"] = value

    @property
    def _level_for_others(self) -> int:
        return int(vars(self).get("level", logging.NOTSET))

    @property
    def disabled(self) -> bool:
        """False while there is an audit handler."""
        return not self.audits and bool(vars(self).get("disabled", False))

    @disabled.setter
    def disabled(self, value: bool) -> None:
        vars(self)["disabled"] = value

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 # logging's name
        """True while there is an audit handler: every record is made."""
        return bool(self.audits) or super().isEnabledFor(level)

    def getChild(self, suffix: str) -> "AuditLogger":  # noqa: N802 # logging's name
        """Return a logger of the same stream, which can't be silenced either."""
        child = super().getChild(suffix)
        for audit in self.audits:
            _add(child, audit)
        return child

    def handle(self, record: logging.LogRecord) -> None:
        """Give ``record`` to the audit handlers, and to others if levels and filters allow."""
        audits = self.audits
        if not audits:
            super().handle(record)
            return
        for audit in audits:  # before any filter can change the record
            audit.handle(record)
        passed: Any = self._is_for_others(record.levelno) and self.filter(record)
        if isinstance(passed, logging.LogRecord):  # Python 3.12: a filter may replace it
            record = passed
        if passed:
            # By the class, where Sentry and others have put their own in its place.
            logging.Logger.callHandlers(_Others(self._others()), record)  # type: ignore[arg-type]

    def _is_for_others(self, level: int) -> bool:
        if vars(self).get("disabled", False) or self.manager.disable >= level:
            return False
        inherited = logging.NOTSET if self.parent is None else self.parent.getEffectiveLevel()
        return level >= (self._level_for_others or inherited)

    def _others(self) -> Iterator[logging.Handler]:
        logger: logging.Logger | None = self
        while logger is not None:
            yield from (one for one in logger.handlers if one not in self.audits)
            logger = logger.parent if logger.propagate else None


_NO_LEVEL: Final = SimpleNamespace(level=2**62)
"""A handler that takes no record: if a logger has none, logging writes to stderr."""


class _Others:
    """Stands for a logger with all handlers, its parents' too, that are not audit handlers."""

    propagate = False

    def __init__(self, handlers: Iterable[logging.Handler]) -> None:
        self.handlers = [_NO_LEVEL, *handlers]


def install(name: str, audit: logging.Handler) -> AuditLogger:
    """Return the logger ``name``, whose records ``audit`` gets from now on.

    Raises:
        ConfigurationError: there is no such logger, or it is the root.
    """
    if not isinstance(name, str) or name in ("", "root"):
        raise ConfigurationError(
            f"logger={name!r} must be the name of a logger that is the audit stream's own, and so "
            "not the root"
        )
    for known, logger in list(logging.Logger.manager.loggerDict.items()):
        if known.startswith(f"{name}.") and isinstance(logger, logging.Logger):
            _add(logger, audit)
    return _add(logging.getLogger(name), audit)


def _add(logger: logging.Logger, audit: logging.Handler) -> AuditLogger:
    if not isinstance(logger, AuditLogger):
        logger.__class__ = _audit_class(type(logger))
        logger.propagate = False  # the program may set it again
    assert isinstance(logger, AuditLogger)
    logger.audits = (*(one for one in logger.audits if one is not audit), audit)
    logger.removeHandler(audit)  # it may have been added by hand
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    return logger


def uninstall(audit: logging.Handler) -> None:
    """Take ``audit``, which is closed, from all loggers."""
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, AuditLogger) and audit in logger.audits:
            logger.audits = tuple(one for one in logger.audits if one is not audit)


def _audit_class(kind: type[logging.Logger]) -> type[AuditLogger]:
    """Return AuditLogger, merged with the program's own class of loggers."""
    if kind is logging.Logger:
        return AuditLogger
    return type(f"Audit{kind.__name__}", (AuditLogger, kind), {})
