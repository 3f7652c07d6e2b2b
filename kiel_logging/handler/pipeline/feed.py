"""The Producer behind a handler: takes items as bytes, answers to a ledger instead of to futures.

Only a window of what is outstanding is with the producer. The rest waits in the hand-off, where the
overflow policy can still choose among it. Runs on the loop thread.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from kiel_logging.clients import Producer
from kiel_logging.delivery.batch import Batch
from kiel_logging.handler.pipeline.item import Item
from kiel_logging.network.resolver import Resolve
from kiel_logging.network.tokens import RunAside

WINDOW: Final = 4
"""The producer holds at most one part in so many of what the handler may buffer."""


class Ledger(Protocol):
    """Whoever is told what became of the items."""

    def delivered(self, items: Sequence[Item]) -> None:
        """The brokers have them."""

    def failed(self, items: Sequence[Item], error: Exception) -> None:
        """They are given up."""


class Feed(Producer):
    """A Producer of Items.

    Args:
        ledger: told of every item's end.
        resolve: looks host names up.
        run_aside: runs what may block beside the loop.
        max_records: most records of the handler, of which the window is a part.
        max_bytes: most memory of the handler.
        options: the Producer's.
    """

    def __init__(
        self,
        ledger: Ledger,
        resolve: Resolve,
        run_aside: RunAside,
        *,
        max_records: int,
        max_bytes: int,
        options: dict[str, Any],
    ) -> None:
        super().__init__(**options)
        self._wire_up(_Deliveries(ledger), resolve, run_aside)
        self._window_records = max(1, max_records // WINDOW)
        self._window_bytes = max(1, max_bytes // WINDOW)

    def __repr__(self) -> str:
        if not hasattr(self, "_window_bytes"):
            return super().__repr__()
        # Not "connected": it is started before any broker answered.
        state = "closed" if self._closed else "started" if self._connected else "not started"
        brokers = ",".join(map(str, self._options.brokers))
        return f"<Feed {brokers} {state} {self._accumulator}>"

    @property
    def in_flight(self) -> int:
        """Records that were sent and not acknowledged."""
        return self._accumulator.in_flight

    @property
    def linger(self) -> float:
        """Seconds that records wait for others."""
        return self._options.linger

    @property
    def room(self) -> int:
        """How many more records the window takes."""
        accumulator = self._accumulator
        if accumulator.memory >= self._window_bytes:
            return 0
        return max(0, self._window_records - accumulator.outstanding)

    def start(self) -> None:
        """Connect in the background, and go on trying."""
        self._connected = True
        self._sender.poke()

    def take(self, item: Item) -> None:
        """Buffer one item; what can't be sent counts as failed."""
        try:
            self._check_size(item.topic, item.record)
            self._buffer(item.topic, item.key, item.record, item)
        except Exception as error:  # a partitioner of the user's may raise anything
            self._sender.settlement.refuse(item, error, item.topic)

    def send_now(self) -> None:
        """Don't wait for more."""
        self._accumulator.seal()
        self._sender.poke()


class _Deliveries:
    """Tokens are items."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def delivered(self, batch: Batch, base_offset: int, log_append_time: int | None) -> None:
        del base_offset, log_append_time
        self._ledger.delivered(batch.tokens)

    def failed(self, tokens: Sequence[Item], error: Exception) -> None:
        self._ledger.failed(tokens, error)
