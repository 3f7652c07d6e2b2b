"""When memory goes to disk, in ``overflow`` mode: as it fills, or when the brokers take nothing."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from kiel_logging.handler.spooling.own_rows import Own

QUIET: Final = 5.0
"""Seconds without an acknowledgement after which what is in memory is written."""

_OFTEN: Final = 0.01
"""Seconds between two looks at what can't be fed."""


class Tending:
    """Calls ``tend()`` of a process's own rows when it is time to; on the loop thread."""

    def __init__(self, own: Callable[[], Own]) -> None:
        self._own = own
        self._since: float | None = None
        self._often: asyncio.TimerHandle | None = None
        self._seldom: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Tending quiet since {self._since}>"

    def went_well(self) -> None:
        """The brokers took something."""
        self._since = None
        self.see()

    def see(self) -> None:
        """Something was fed, or can't be: look at it again after a while."""
        own = self._own()
        waiting, unsecured = own.waiting, bool(own.window)
        if not (waiting or unsecured) or self._closed:
            self._since = None
            return
        if self._since is None:
            self._since = time.monotonic()
        loop = asyncio.get_running_loop()
        if waiting and self._often is None:
            self._often = loop.call_later(_OFTEN, self._look_again)
        if unsecured and self._seldom is None:
            self._seldom = loop.call_later(QUIET / 4, self._look_for_quiet)

    @property
    def _quiet(self) -> bool:
        return self._since is not None and time.monotonic() - self._since >= QUIET

    def _look_again(self) -> None:
        self._often = None
        self._own().tend(quiet=self._quiet)
        self.see()

    def _look_for_quiet(self) -> None:
        self._seldom = None
        if self._quiet:
            self._own().tend(quiet=True)
        self.see()

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        for timer in (self._often, self._seldom):
            if timer is not None:
                timer.cancel()
