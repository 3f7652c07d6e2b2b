"""How large a request a broker takes that hangs up, instead of answering, on what is too large.

Brokers close the connection upon a request that is larger than their ``socket.request.max.bytes``,
and so do proxies. Restarts and failures end connections as well, so that nothing but repetition
shows what the reason is.

The law:

- Only requests that are larger than any that was answered count, and not the small ones.
- After four hang-ups requests are limited to half of the smallest that met one, then to half of
  that, and so on. The first answer shows that the limit is right. If even small requests meet
  hang-ups, size is not the reason, and there is no limit.
- A limit is tried out from time to time: the broker may take more by now.

Sizes are bytes before compression. No clock: ``now`` comes in.
"""

from typing import Final

SMALL: Final = 16 * 1024
"""Bytes that any broker takes."""

_OFTEN: Final = 4
"""Hang-ups until size is taken for the reason. A batch that is halved may be stored twice, if one
of them only lost the answer."""

_IN_A_ROW: Final = 2 * _OFTEN
"""Hang-ups without any answer after which a size that was answered before proves nothing."""

MANY: Final = 10
"""Hang-ups upon a single record, which can't be halved, until it is taken for too large."""

_FEW: Final = 3
"""The same, of a broker whose limit is known."""

_TRY_AFTER: Final = 600.0
"""Seconds that a limit holds."""


class RequestLimit:
    """The limit of one broker.

    Attributes:
        refused: the size of the smallest request that met a hang-up; 0 if none did.
    """

    def __init__(self) -> None:
        self.refused = 0
        self._answered = 0
        self._hang_ups = 0
        self._in_a_row = 0
        self._limit = 0
        self._until = 0.0
        self._confirmed = False
        self._single: object = None
        self._times = 0

    def __repr__(self) -> str:
        return f"<RequestLimit {self._limit or 'none'} refused={self.refused}>"

    def most(self, now: float) -> int | None:
        """Return the most bytes of a request; None while there is no limit."""
        return self._limit if self._limit and now < self._until else None

    def hung_up(self, size: int, now: float, *, single: object = None) -> None:
        """The broker hung up upon a request of ``size`` bytes.

        ``single`` identifies its record, if there is no more than one.
        """
        self._in_a_row += 1
        self._times = self._times + 1 if single is self._single else 1
        self._single = single
        if self._in_a_row >= _IN_A_ROW:
            self._answered = 0
        if size < SMALL or size <= self._answered:
            return
        self._hang_ups += 1
        self.refused = min(self.refused or size, size)
        if self._hang_ups >= _OFTEN:
            limit = max(self.refused // 2, self._answered)
            self._limit = limit if limit >= SMALL else 0
            self._until = now + _TRY_AFTER

    def answered(self, size: int) -> bool:
        """The broker answered a request of ``size`` bytes.

        Returns:
            Whether that shows, for the first time, that the limit is right.
        """
        self._in_a_row = 0
        self._answered = max(self._answered, size)
        if size >= self.refused:
            self.refused = self._hang_ups = self._limit = 0
            self._confirmed = False
            return False
        news = self._limit > 0 and not self._confirmed
        self._confirmed = self._confirmed or news
        return news

    def is_too_large(self, size: int) -> bool:
        """Whether the single record of the last hang-up, of ``size`` bytes, must be the reason."""
        if self._single is None or size < max(SMALL, self.refused):
            return False
        return self._times >= (_FEW if self._confirmed else MANY)
