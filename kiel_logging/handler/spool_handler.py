"""SpoolHandler: the ``logging.Handler`` that appends to files; ``kiel-logging ship`` sends them."""

import logging
import os
from typing import Unpack

from kiel_logging.config.table import takes
from kiel_logging.handler.receipts import Receipts, check_timeout
from kiel_logging.handler.record_handler import RecordHandler
from kiel_logging.handler.record_options import SPOOLED, SpoolKeywords, spool_handler_options
from kiel_logging.handler.spool.append_pipeline import AppendPipeline
from kiel_logging.handler.spool.awaited import settle
from kiel_logging.record.route import Topic


@takes(SPOOLED)
class SpoolHandler(RecordHandler):
    """Appends log records to files below ``spool_dir``; ``kiel-logging ship`` sends them to Kafka.

    Each record is in a file before its logging call returns. There is no thread, no connection, no
    network import, and nothing in memory: forks, ``os._exit()``, SIGTERM and SIGKILL lose no record
    that was logged. One shipper sends the records of all programs on a host.

    Args: ...

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
        SpoolError: there can be no files in ``spool_dir``.
    """

    def __init__(
        self,
        # Both have to be given. With defaults, the checks can report a misspelt name.
        spool_dir: str | os.PathLike[str] = "",
        topic: Topic = "",
        **options: Unpack[SpoolKeywords],
    ) -> None:
        checked = spool_handler_options(spool_dir=spool_dir, topic=topic, **options)
        self._set_up(checked, AppendPipeline)

    def receipts(self, timeout: float | None = None) -> Receipts:
        """Return a block, for ``with`` or ``async with``, that ends when its records are stored.

        As that of a KafkaHandler; the acknowledgement comes through ``kiel-logging ship``. Receipts
        have -1 for partition and offset, which only the shipper knows.

        Args:
            timeout: seconds that leaving the block may take; ``close_timeout_ms`` when left out.

        Raises:
            ConfigurationError: ``timeout`` is no number of seconds.
            NotAcknowledged: on leaving. When the block raised, its exception gets a note instead.
        """
        timeout = self._options.close_timeout if timeout is None else check_timeout(timeout)
        return Receipts(self._blocks, self._lifecycle, timeout, settle)

    def __repr__(self) -> str:
        if not hasattr(self, "_name"):  # an option was wrong, and a tool shows where
            return "<SpoolHandler being made>"
        name = f" {self.name}" if self.name else ""
        spool, stats = self._options.spool, self.stats()
        return (
            f"<SpoolHandler{name} ({logging.getLevelName(self.level)})"
            f" {'' if spool is None else spool.path}"
            f" {'closed' if self._lifecycle.pipeline.closed else 'open'}"
            f" emitted={stats.emitted} dropped={stats.dropped_total}>"
        )
