"""Records that are not shipped: each is counted, reported, and given to the fallback.

This happens on logging threads. The shipper does the same for records that the loop thread gives
up.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from kiel_logging.errors import InvalidTopic, KeyTypeError
from kiel_logging.handler.fallback import Fallback
from kiel_logging.handler.internal_log import InternalLog
from kiel_logging.handler.ledger import BUFFER_FULL, CLOSED, ON_PURPOSE, OUT_OF_MEMORY, OnError
from kiel_logging.handler.lifecycle import AnyPipeline
from kiel_logging.handler.receipts import OpenBlocks
from kiel_logging.handler.recursion import as_shipping, here
from kiel_logging.record.item import Item, Waiter, level_of

_REASONS: Final = (
    (InvalidTopic, "invalid_topic"),
    (KeyTypeError, "invalid_key"),
    (MemoryError, OUT_OF_MEMORY),
)
_UNSERIALISABLE: Final = "unserialisable"


class Drops:
    """Accounts for a handler's records that never reach the loop thread.

    Args:
        handler: the handler, or a proxy of it.
        pipeline: returns the pipeline that it has now.
        topic_of: returns the topic that a record would go to; may raise.
        blocks: the open blocks that wait for records.
        fallback: gets the records.
        internal_log: where trouble is reported.
        on_error: the program's callback.
    """

    def __init__(
        self,
        handler: logging.Handler,
        *,
        pipeline: Callable[[], AnyPipeline],
        topic_of: Callable[[logging.LogRecord], str],
        blocks: OpenBlocks,
        fallback: Fallback | None,
        internal_log: InternalLog,
        on_error: OnError | None,
    ) -> None:
        self._handler = handler
        self._pipeline = pipeline
        self._topic_of = topic_of
        self._blocks = blocks
        self._fallback = fallback
        self._internal_log = internal_log
        self._on_error = on_error

    def __repr__(self) -> str:
        return f"<Drops of {self._handler!r}>"

    def fail(self, record: logging.LogRecord, error: Exception) -> None:
        """Drop ``record``, which could not be converted, and report why.

        Raises:
            MemoryError: the record is not counted.
        """
        reason = next((name for kind, name in _REASONS if isinstance(error, kind)), _UNSERIALISABLE)
        self.drop(record, reason, error)
        try:
            self._handler.handleError(record)
            self.notify(error, 1)
        except MemoryError:  # the record is counted
            return

    def fail_without_memory(self, record: logging.LogRecord, error: MemoryError) -> None:
        """Drop ``record``, for which there was no memory; never raises."""
        try:
            self.fail(record, error)
        except MemoryError:
            self._pipeline().buffer.counts.lose()

    def drop(
        self,
        record: logging.LogRecord,
        reason: str,
        error: Exception | None = None,
        waiter: Waiter | None = None,
    ) -> None:
        """Count ``record`` as dropped, settle its ``waiter``, and give it to the fallback; the
        stream alone reports one that is left out on purpose.

        Raises:
            MemoryError: the record is not counted.
        """
        ledger = self._pipeline().ledger
        ledger.drop(reason, level_of(record), self._topic(record))
        # From here on a MemoryError must not leave: the record would be counted again. ``with``
        # would make an object, and could raise one. Each step is taken even if another failed.
        try:
            try:
                self._settle(record, reason, error, waiter)
            finally:
                if reason not in ON_PURPOSE:
                    as_shipping(self._pass_on, record)
                elif ledger.has_news:
                    as_shipping(self._pipeline().report_losses)
        except MemoryError:
            pass

    def _topic(self, record: logging.LogRecord) -> str:
        try:
            return as_shipping(self._topic_of, record)
        except Exception:  # such as a callable of the program's, which this may be about
            return ""

    def _settle(
        self,
        record: logging.LogRecord,
        reason: str,
        error: Exception | None,
        waiter: Waiter | None,
    ) -> None:
        if waiter is None and self._blocks:
            waiter = self._blocks.begin_waiting(record)
        if waiter is not None:
            waiter.lost(reason, error)

    def _pass_on(self, record: logging.LogRecord) -> None:
        try:
            self._pipeline().report_losses()
        finally:
            if self._fallback is not None:
                self._fallback.take(record)

    def account_for(self, dropped: Sequence[Item]) -> None:
        """Settle and report items that the buffer dropped, and counted, for want of room.

        Each step is taken even if memory runs out in another. To call ``as_shipping()`` would take
        memory.
        """
        depth, here.depth = here.depth, here.depth + 1
        try:
            try:
                if self._blocks:
                    self._blocks.lost(dropped, BUFFER_FULL)
            finally:
                try:
                    self._pipeline().report_shed(dropped)
                finally:
                    if self._fallback is not None:
                        self._fallback.take_sources(dropped)
        except MemoryError:  # they are counted
            return
        finally:
            here.depth = depth

    def refuse(self, record: logging.LogRecord, waiter: Waiter | None = None) -> None:
        """Drop ``record``, which came after the end of the process."""
        self._pipeline().ledger.drop(CLOSED, level_of(record), "")
        try:
            self._settle(record, CLOSED, None, waiter)
            self._internal_log.complain(
                CLOSED,
                f"{self._handler.name or 'the handler'} is closed, as the process ends: what is "
                "logged to it now is dropped",
            )
            if self._fallback is not None:
                self._fallback.take(record)
        except MemoryError:  # the record is counted
            return

    def notify(self, error: Exception, records: int) -> None:
        """Call the program's ``on_error``; on any thread. Never raises what that raises."""
        if self._on_error is None:
            return
        try:
            as_shipping(self._on_error, error, records)
        except Exception as failure:
            self._internal_log.complain("on_error", f"on_error raised {failure!r}")
