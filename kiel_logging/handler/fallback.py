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
    """Hands records to ``target``: a handler, or the name of one, looked up when first needed.

    Attributes:
        taken: how many records it took.
    """

    def __init__(
        self, owner: logging.Handler, target: "logging.Handler | str", internal_log: InternalLog
    ) -> None:
        self._owner = weakref.ref(owner)  # the loop thread has a reference to this
        self._target = target
        self._internal_log = internal_log
        self._handler: logging.Handler | None = None
        self._kept: logging.Handler | None = None
        self.taken = 0
        if not self.keep():
            _keep_before_collections(self)

    def keep(self) -> bool:
        """Keep the handler from being collected, if it has its name by now; return whether it has.

        ``dictConfig`` leaves a handler that no logger has to the collector.
        """
        found = self.handler
        self._kept = None if self._comes_back(found) else found
        return found is not None

    def look_up(self) -> None:
        """Find the handler by its name while it has one.

        ``dictConfig`` takes all names away before it closes the handlers that were there before,
        which is when a fallback may be needed most.
        """
        if self._handler is None and self.handler is not None:
            self._find()

    def take(self, record: logging.LogRecord) -> None:
        """Pass ``record`` to the handler; if that fails, it is reported, and the record is lost."""
        handler = self._handler or self._find()
        if handler is None:
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

    def _find(self) -> logging.Handler | None:
        found = self.handler
        if found is None:
            self._complain("there is no handler of that name")
        elif self._comes_back(found):
            self._complain("its own fallbacks lead back here")
        else:
            self._handler = found
            return found
        return None

    def _comes_back(self, handler: logging.Handler | None) -> bool:
        seen: set[int] = set()
        while handler is not None and id(handler) not in seen:
            if handler is self._owner():
                return True
            seen.add(id(handler))
            fallback = getattr(handler, "_fallback", None)
            handler = fallback.handler if isinstance(fallback, Fallback) else None
        return False

    @property
    def handler(self) -> logging.Handler | None:
        """The handler, None while there is none."""
        if self._handler is None and isinstance(self._target, str):
            return handler_named(self._target) or self._kept
        return self._handler or (
            self._target if isinstance(self._target, logging.Handler) else None
        )

    def _complain(self, why: str) -> None:
        self._internal_log.complain(
            "fallback", f"fallback={self._target!r} takes no records: {why}"
        )


_unkept: list[weakref.ref[Fallback]] = []
"""Those whose handlers are still to be made."""


def _keep_before_collections(fallback: Fallback) -> None:
    if _keep_all not in gc.callbacks:
        gc.callbacks.append(_keep_all)
    _unkept.append(weakref.ref(fallback))


def _keep_all(phase: str, _info: object) -> None:
    if phase != "start":
        return
    for reference in list(_unkept):
        fallback = reference()
        if fallback is None or fallback.keep():
            with contextlib.suppress(ValueError):  # another thread was here
                _unkept.remove(reference)


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
