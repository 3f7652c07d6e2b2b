"""Log records whose end somebody awaits, and what one block of the program awaits in all.

The law: an Awaited gets one outcome, and keeps it. There is no lock. Those who log add, they and
the loop thread settle, and a signal handler that waits for the one may run on top of the other: so
each change is one that CPython makes at once, an item of a dict or of a list, an attribute.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from kiel_logging.handler.shipping import as_shipping
from kiel_logging.record.item import level_of
from kiel_logging.records import Receipt, TopicPartition, Undelivered

AWAITED_MEMORY: Final = 300
"""Bytes that an Awaited takes with its outcome, its text aside (tracemalloc, CPython 3.11)."""

_SLOW: Final = "the brokers are slow or away; the handler goes on trying"
_KEPT: Final = "it is kept on disk and will be sent again"
_KEPT_IN_MEMORY: Final = "it is kept and will be sent again"

CUT_SHORT: Final = "the logging call was cut short, so that it may be stored or not"


class Awaited:
    """One log record, for all blocks that await it.

    Attributes:
        message: its text.
        level: logging's number.
        outcome: what became of it; None while that isn't known.
    """

    __slots__ = ("_held", "_tallies", "level", "message", "outcome")

    def __init__(self, record: logging.LogRecord, tallies: "Sequence[Tally]") -> None:
        self._tallies = tallies
        self.message = as_shipping(_text, record)
        self.level = level_of(record)
        self.outcome: Receipt | Undelivered | None = None
        self._held: tuple[str, Exception] | None = None

    def __repr__(self) -> str:
        return f"<Awaited {self.message!r} {self.outcome}>"

    def begin(self) -> None:
        """From now on blocks wait for it."""
        for tally in self._tallies:
            tally.add(self)

    @property
    def memory(self) -> int:
        """Bytes that it takes."""
        return AWAITED_MEMORY + sys.getsizeof(self.message)

    @property
    def is_urgent(self) -> bool:
        """Whether a block that awaits it is being left already."""
        for tally in self._tallies:  # noqa: SIM110 # any() takes three times as long
            if not tally.open:
                return True
        return False

    def delivered(self, place: TopicPartition, offset: int) -> None:
        """The brokers have it."""
        self._settle(Receipt(*place, offset, self.message, self.level))

    def lost(self, reason: str, error: BaseException | None = None) -> None:
        """It won't be delivered, or nobody can tell."""
        self._settle(Undelivered(self.message, self.level, reason, error))

    def held(self, error: Exception, *, on_disk: bool) -> None:
        """The brokers don't take it now, which is no end: it is kept, and sent again."""
        self._held = (_KEPT if on_disk else _KEPT_IN_MEMORY, error)

    def end(self, timeout: float) -> Receipt | Undelivered:
        """Return its outcome, or what is known of it after ``timeout`` seconds."""
        if self.outcome is not None:
            return self.outcome
        late, error, why = f"not acknowledged within {timeout:g} s: ", None, _SLOW
        if self._held is not None:
            kept, error = self._held
            why = f"the brokers don't take it ({type(error).__name__}: {error}); {kept}"
        return Undelivered(self.message, self.level, late + why, error)

    def _settle(self, outcome: Receipt | Undelivered) -> None:
        if self.outcome is None:
            self.outcome = outcome
        for tally in self._tallies:
            tally.settled(self)


class Tally:
    """What one block awaits.

    Attributes:
        open: whether what is logged now is awaited too.
    """

    __slots__ = ("_all", "_waiting", "_wake", "open")

    def __init__(self) -> None:
        self._all: list[Awaited] = []
        self._waiting: dict[Awaited, None] = {}
        self._wake: Callable[[], object] | None = None
        self.open = True

    def __repr__(self) -> str:
        state = "open" if self.open else "closed"
        return f"<Tally {state} all={len(self._all)} waiting={len(self._waiting)}>"

    @property
    def is_settled(self) -> bool:
        """Whether the end of each is known."""
        return not self._waiting

    def all(self) -> list[Awaited]:
        """Return them in the order in which they were logged."""
        return self._all.copy()

    def add(self, awaited: Awaited) -> None:
        """Await one more."""
        self._waiting[awaited] = None
        self._all.append(awaited)

    def settled(self, awaited: Awaited) -> None:
        """The end of one is known."""
        self._waiting.pop(awaited, None)
        if not self._waiting and (wake := self._wake) is not None:
            wake()

    def close(self, wake: Callable[[], object]) -> None:
        """Await no more; call ``wake`` when all are settled, perhaps at once or repeatedly."""
        self.open = False
        self._wake = wake
        if not self._waiting:
            wake()

    def forget(self) -> None:
        """Let go of them all."""
        self._all, self._waiting = [], {}

    def start_over(self) -> None:
        """Await nothing: this is a forked child, and it was all the parent's."""
        self.forget()
        if self._wake is not None:
            self._wake()


def _text(record: logging.LogRecord) -> str:
    try:
        return str(record.getMessage())
    except Exception:  # arguments that don't fit
        with suppress(Exception):
            return str(record.msg)
    return "<a message that can't be shown>"
