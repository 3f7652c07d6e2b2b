"""The fallback: another handler of the program, for LogRecords that did not reach Kafka."""

import contextlib
import gc
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.recursion import not_shipping
from kiel_logging.record.item import Item, level_of


class Fallback:
    """Hands records to ``target``: a handler, or the name of one.

    Attributes:
        handler: None while there is none of that name.
        taken: how many records it took.
    """

    def __init__(
        self, owner: logging.Handler, target: "logging.Handler | str", internal_log: InternalLog
    ) -> None:
        self._owner = weakref.ref(owner)  # the loop thread has a reference to this
        self._target = target
        self._internal_log = internal_log
        self.handler: logging.Handler | None = None
        self.taken = 0
        if self.look_up() is not None:
            if _look_up_all not in gc.callbacks:
                gc.callbacks.append(_look_up_all)
            _missing.append(weakref.ref(self))

    def look_up(self) -> str | None:
        """Find the handler, while it has its name, and keep it; return why that can't be done.

        ``dictConfig`` leaves a handler that no logger has to the collector. It also takes all names
        away before it closes the handlers that were there before, which is when a fallback may be
        needed most.
        """
        if self.handler is not None:
            return None
        if (found := self._found()) is None:
            return "there is no handler of that name"
        seen: list[logging.Handler] = []
        following: logging.Handler | None = found
        while following is not None and following not in seen:
            if following is self._owner():
                return "its own fallbacks lead back here"
            seen.append(following)
            next_one = getattr(following, "_fallback", None)
            following = next_one._found() if isinstance(next_one, Fallback) else None
        self.handler = found
        return None

    def _found(self) -> logging.Handler | None:
        target = self._target if self.handler is None else self.handler
        return handler_named(target) if isinstance(target, str) else target

    def take(self, record: logging.LogRecord) -> None:
        """Pass ``record`` to the handler; if that fails, it is reported, and the record is lost."""
        why_not = self.look_up()
        if (handler := self.handler) is None:
            self._internal_log.complain(
                "fallback", f"fallback={self._target!r} takes no records: {why_not}"
            )
            return
        try:
            with not_shipping():
                if level_of(record) >= handler.level:
                    handler.handle(record)
                    self.taken += 1
        except Exception as error:
            self._internal_log.complain("fallback", f"the fallback {handler!r} raised {error!r}")

    def take_sources(self, items: Sequence[Item]) -> None:
        """Pass the records of ``items`` to the handler, each even if there was no memory for
        another."""
        for item in items:
            if item.source is not None:
                try:  # noqa: SIM105 # suppress() takes memory
                    self.take(item.source)
                except MemoryError:
                    pass


_missing: list[weakref.ref[Fallback]] = []
"""Those whose handlers are still to be made."""


def _look_up_all(phase: str, _info: object) -> None:
    """Look them up before a collection."""
    if phase != "start":
        return
    for reference in list(_missing):
        fallback = reference()
        if fallback is None or fallback.look_up() is None:
            with contextlib.suppress(ValueError):  # another thread was here
                _missing.remove(reference)


def fallback_target(fallback: object) -> "logging.Handler | str | None":
    """Return ``fallback`` if it can be one.

    Raises:
        ConfigurationError: it can't.
    """
    if fallback is None or isinstance(fallback, logging.Handler):
        return fallback
    if isinstance(fallback, str) and fallback:
        return fallback
    if isinstance(fallback, Mapping):
        raise ConfigurationError(
            "fallback is a handler that dictConfig has not made yet (it makes them in the order "
            "of their names): give its name instead of the 'cfg://' reference"
        )
    raise ConfigurationError(
        f"fallback={fallback!r} must be a logging.Handler or the name of one; in a dictConfig "
        "'cfg://handlers.<name>' or '<name>'"
    )


def handler_named(name: str) -> logging.Handler | None:
    """``logging.getHandlerByName``, which Python 3.11 lacks."""
    find: Callable[[str], Any] = getattr(logging, "getHandlerByName", None) or logging._handlers.get  # type: ignore[attr-defined]
    handler: logging.Handler | None = find(name)
    return handler
