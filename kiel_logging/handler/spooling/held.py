"""What the brokers refuse though nothing is wrong with it: kept, and fed again after a while.

The law: a row leaves the disk when it is acknowledged, or when its record itself can't be stored.
Whatever somebody may put right (a permission, a topic, a broker's trouble) is waited for.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from kio.schema.errors import ErrorCode

from kiel_logging.errors import BrokerError, BrokerRejected, DeliveryError, ProducerStateError
from kiel_logging.handler.spooling.placed import Placed

FIRST: Final = 2.0
"""Seconds until what was refused is sent again; twice as many each time."""

MOST: Final = 60.0

_OF_THE_RECORD: Final = frozenset(
    {
        ErrorCode.message_too_large,
        ErrorCode.record_list_too_large,
        ErrorCode.invalid_record,
        ErrorCode.invalid_timestamp,
        ErrorCode.unsupported_for_message_format,
        ErrorCode.invalid_topic_exception,
        ErrorCode.policy_violation,
    }
)
"""What brokers say of a record that they will never store."""


def is_of_the_record(error: Exception) -> bool:
    """Whether it would be refused for ever, whatever anybody does about the brokers."""
    if isinstance(error, BrokerRejected):
        return error.error_code in _OF_THE_RECORD
    return not isinstance(error, DeliveryError | BrokerError | ProducerStateError)


class Held:
    """Items that wait to be fed again; nothing else is fed meanwhile.

    Args:
        rank: in which order their homes come.
        resume: called when they may be fed.
    """

    def __init__(self, rank: Callable[[Any], int], resume: Callable[[], None]) -> None:
        self._rank = rank
        self._resume = resume
        self._items: deque[Placed] = deque()
        self._delay = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Held {len(self._items)}>"

    def __bool__(self) -> bool:
        return bool(self._items)

    def hold(self, items: Sequence[Placed]) -> None:
        """They were refused: wait, longer each time."""
        found = sorted([*self._items, *items], key=lambda one: (self._rank(one.home), one.place))
        self._items = deque(found)
        if self._timer is not None:
            return  # they were under way together with those that were refused before
        self._delay = min(MOST, self._delay * 2 or FIRST)
        self._timer = asyncio.get_running_loop().call_later(self._delay, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self._resume()

    def take(self, most: int) -> list[Placed]:
        """Return up to ``most`` of them, if it is time to."""
        if self._timer is not None:
            return []
        return [self._items.popleft() for _ in range(min(most, len(self._items)))]

    def went_well(self) -> None:
        """The brokers took something."""
        self._delay = 0.0

    def rest(self) -> list[Placed]:
        """Return all of them: nobody feeds them any more."""
        items, self._items = list(self._items), deque()
        return items

    def close(self) -> None:
        """Resume nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
