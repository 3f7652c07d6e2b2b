"""What becomes of a record that is not shipped: counted, told, and given to the fallback.

On the threads that log; what the loop thread gives up is the shipper's (``handler/shipper.py``).
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from kiel_logging.errors import InvalidTopic, KeyTypeError
from kiel_logging.handler.buffer import BUFFER_FULL, CLOSED, OUT_OF_MEMORY
from kiel_logging.handler.fallback import Fallback
from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.ledger import OnError
from kiel_logging.handler.pipeline import Pipeline
from kiel_logging.handler.receipts import OpenBlocks
from kiel_logging.handler.recursion import as_shipping
from kiel_logging.record.item import Item, Waiter, level_of

_REASONS: Final = (
    (InvalidTopic, "invalid_topic"),
    (KeyTypeError, "invalid_key"),
    (MemoryError, OUT_OF_MEMORY),
)
_UNSERIALISABLE: Final = "unserialisable"


class Drops:
    """Accounts for a handler's records that never come to the loop thread.

    Args:
        handler: whose records they are.
        pipeline: returns the one that it has now.
        topic_of: returns the topic that a record would go to; may raise.
        blocks: told of what somebody awaits.
        fallback: gets the records.
        internal_log: where it is told.
        notify: the program's ``on_error``.
    """

    def __init__(
        self,
        handler: logging.Handler,
        *,
        pipeline: Callable[[], Pipeline],
        topic_of: Callable[[logging.LogRecord], str],
        blocks: OpenBlocks,
        fallback: Fallback | None,
        internal_log: InternalLog,
        notify: OnError | None,
    ) -> None:
        self._handler = handler
        self._pipeline = pipeline
        self._topic_of = topic_of
        self._blocks = blocks
        self._fallback = fallback
        self._internal_log = internal_log
        self._notify = notify
        self._unnoted = 0

    def __repr__(self) -> str:
        return f"<Drops of {self._handler!r}>"

    def take(self, record: logging.LogRecord, error: Exception) -> None:
        """``record`` could not be converted.

        Raises:
            MemoryError: it isn't counted.
        """
        reason = next((name for kind, name in _REASONS if isinstance(error, kind)), _UNSERIALISABLE)
        self.drop(record, reason, error)
        try:
            self._handler.handleError(record)
            self.tell_on_error(error, 1)
        except MemoryError:  # it is counted
            return

    def have_no_memory(self, record: logging.LogRecord, error: MemoryError) -> None:
        """There was no memory for ``record``; never raises."""
        try:
            self.take(record, error)
        except MemoryError:
            self._pipeline().buffer.counts.lose()

    def drop(
        self,
        record: logging.LogRecord,
        reason: str,
        error: Exception | None = None,
        waiter: Waiter | None = None,
    ) -> None:
        """Count ``record`` as lost; it never became an item, or was not queued.

        Raises:
            MemoryError: it isn't counted.
        """
        level = level_of(record)
        self._pipeline().buffer.drop(reason, level)
        # It is counted. A MemoryError from here on would have it counted again, and so would one of
        # ``with``, which makes an object.
        try:  # noqa: SIM105
            self._lose(record, reason, error, waiter)
        except MemoryError:
            pass
        try:  # noqa: SIM105
            as_shipping(self._note, record, reason, level)
        except MemoryError:
            pass
        try:
            if self._fallback is not None:
                as_shipping(self._fallback.take, record)
        except MemoryError:
            pass

    def _note(self, record: logging.LogRecord, reason: str, level: int) -> None:
        try:
            topic = self._topic_of(record)
        except Exception:
            topic = ""
        records = self._unnoted + 1
        try:
            self._pipeline().note_drop(topic, reason, level, records)
        except MemoryError:
            self._unnoted = records  # told with the next one
            raise
        self._unnoted = 0

    def _lose(
        self,
        record: logging.LogRecord,
        reason: str,
        error: Exception | None = None,
        waiter: Waiter | None = None,
    ) -> None:
        if waiter is None and self._blocks:
            waiter = self._blocks.waiter(record)
            if waiter is not None:
                waiter.begin()
        if waiter is not None:
            waiter.lost(reason, error)

    def account_for(self, dropped: Sequence[Item]) -> None:
        """There was no room for these, which are counted."""
        try:
            if self._blocks:
                self._blocks.lost(dropped, BUFFER_FULL)
            as_shipping(self._tell_of_shed, dropped)
        except MemoryError:  # they are counted
            return

    def _tell_of_shed(self, dropped: Sequence[Item]) -> None:
        for item in dropped:
            self._pipeline().note_shed(item)
            if self._fallback is not None and item.source is not None:
                self._fallback.take(item.source)

    def refuse(self, record: logging.LogRecord, waiter: Waiter | None = None) -> None:
        """``record``, which a block may await already, comes after the end of the process."""
        self._pipeline().buffer.drop(CLOSED, level_of(record))
        try:
            self._lose(record, CLOSED, None, waiter)
            self._say_that_it_is_closed()
            if self._fallback is not None:
                self._fallback.take(record)
        except MemoryError:  # it is counted
            return

    def _say_that_it_is_closed(self) -> None:
        name = self._handler.name or "the handler"
        self._internal_log.complain(
            CLOSED, f"{name} is closed, as the process ends: what is logged to it now is dropped"
        )

    def tell_on_error(self, error: Exception, records: int) -> None:
        """Tell the program, whatever it makes of it; on any thread."""
        if self._notify is None:
            return
        try:
            as_shipping(self._notify, error, records)
        except Exception as failure:
            self._internal_log.complain("on_error", f"on_error raised {failure!r}")
