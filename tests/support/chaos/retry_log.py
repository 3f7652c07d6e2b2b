"""Reads in the producer's debug log which batches it sends again, and why."""

import asyncio
import logging
from collections import Counter
from typing import Self

from kio.schema.errors import ErrorCode

from kiel_logging.errors import BrokerRejected

_LOGGER = logging.getLogger("kiel_logging")
_MESSAGE = "%r is sent again: %s"  # the batch, and why


class RetryLog(logging.Handler):
    """Counts retries by their reason, and wakes tasks that wait for one. For one loop's producers.

    Attributes:
        reasons: how many batches were sent again, by error code or by class of error.
    """

    def __init__(self) -> None:
        """Hear nothing yet: it is a context manager."""
        super().__init__(logging.DEBUG)
        self.reasons: Counter[str] = Counter()
        self._waiting: list[tuple[tuple[str, ...], asyncio.Future[None]]] = []
        self._level = logging.NOTSET

    def __enter__(self) -> Self:
        self._level = _LOGGER.level
        _LOGGER.setLevel(logging.DEBUG)
        _LOGGER.addHandler(self)
        return self

    def __exit__(self, *_error: object) -> None:
        _LOGGER.removeHandler(self)
        _LOGGER.setLevel(self._level)

    def __str__(self) -> str:
        shown = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
        return f"{self.total} retries ({shown})" if shown else "no retries"

    @property
    def total(self) -> int:
        """How many batches were sent again."""
        return self.reasons.total()

    def emit(self, record: logging.LogRecord) -> None:
        """Count one retry."""
        if record.msg != _MESSAGE or not isinstance(record.args, tuple):
            return
        reason = _reason(record.args[1])
        self.reasons[reason] += 1
        for awaited, heard in self._waiting:
            if reason in awaited and not heard.done():
                heard.set_result(None)

    async def next(self, *reasons: str) -> None:
        """Return when a batch is sent again for one of `reasons` from now on."""
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (reasons, heard)
        self._waiting.append(waiting)
        try:
            await heard
        finally:
            self._waiting.remove(waiting)


def _reason(shown: object) -> str:
    error = getattr(shown, "_arg", shown)  # what is logged is made printable
    if isinstance(error, BrokerRejected):
        return ErrorCode(error.error_code).name.upper()
    return type(error).__name__
