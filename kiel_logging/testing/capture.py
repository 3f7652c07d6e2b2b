"""captured_logs(): what handlers would send, in a list, without brokers.

While a block is open, ``RecordHandler.emit`` is another function: it converts the record as always,
and keeps the result. So the handlers that a program has, and those that it makes meanwhile, need no
change, and no logger is touched.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kiel_logging.config.options import Brokers
from kiel_logging.handler.kafka_handler import KafkaHandler
from kiel_logging.handler.record_handler import RecordHandler
from kiel_logging.handler.recursion import here, is_shipping
from kiel_logging.record.conversion import LeftOut
from kiel_logging.record.route import Topic
from kiel_logging.records import TopicPartition
from kiel_logging.testing.sent import SentRecord

_NOWHERE: Final[Brokers] = "localhost:9092"
"""Brokers of a handler that connects to none."""


class CapturedLogs(list[SentRecord]):
    """The records that handlers made while they were captured, oldest first."""

    @contextmanager
    def handler(
        self,
        topic: Topic = "logs",
        *,
        logger: str | None = None,
        level: int | str | None = None,
        **options: Any,
    ) -> Iterator[KafkaHandler]:
        """Hang a handler on ``logger`` for as long as the block lasts.

        Args:
            topic: as of KafkaHandler.
            logger: a name; None is the root.
            level: the logger has this level meanwhile.
            options: of KafkaHandler.
        """
        target = logging.getLogger(logger)
        made, before = KafkaHandler(_NOWHERE, topic, **options), target.level
        target.addHandler(made)
        if level is not None:
            target.setLevel(level)
        try:
            yield made
        finally:
            target.removeHandler(made)
            if level is not None:
                target.setLevel(before)
            made.close()


_open: list[CapturedLogs] = []
"""One for each block that is open."""

_lock = threading.RLock()
"""Re-entrant: a signal handler or a ``__del__`` may log while a thread holds it."""
_emit: Final = RecordHandler.emit


@contextmanager
def captured_logs() -> Iterator[CapturedLogs]:
    """Capture what all handlers of this process would send, and send nothing.

    The handlers (KafkaHandler, AuditHandler, SpoolHandler) may have been there before, or be made
    in the block. They convert each record as always: fields, redaction, topic, key and headers. An
    exception that the program's own ``format`` or ``topic`` raises comes out of the logging call,
    where it would be counted and reported. A record that ``before_send`` leaves out is not there;
    ``rate_limit``, ``sample`` and ``dedupe`` leave none out, so that a test sees all of them.
    Blocks of receipts get receipts. Numbers and digests are given when records are shipped, and so
    are not in the headers.

    Blocks may be nested: each gets all records.
    """
    logs = CapturedLogs()
    with _lock:
        _open.append(logs)
        RecordHandler.emit = _capture  # type: ignore[assignment, method-assign]
    try:
        yield logs
    finally:
        with _lock:
            _open[:] = [one for one in _open if one is not logs]  # equal ones may be others
            if not _open:
                RecordHandler.emit = _emit  # type: ignore[method-assign]


def _capture(handler: RecordHandler, record: logging.LogRecord) -> None:
    if is_shipping():  # logged by the program's own code that a conversion calls
        handler._internal_log.divert(record)
        return
    depth, here.depth = here.depth, here.depth + 1
    try:
        item = handler._conversion.convert(record, handler._formatter)
    except LeftOut:
        return
    finally:
        here.depth = depth
    with _lock:
        offset = len(_open[0]) if _open else 0
        for logs in _open:
            logs.append(SentRecord.captured(item, len(logs)))
    waiter = handler._blocks.waiter(record) if handler._blocks else None
    if waiter is not None:
        waiter.begin()
        waiter.delivered(TopicPartition(item.topic, 0), offset)
