"""A plain file, and KafkaHandler with and without a spool: the same records to each of them."""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.workload import KEY
from kiel_logging import KafkaHandler

from .peer import Destination

_BLOCK_TIMEOUT_MS: Final = 60_000
_TEXT: Final = (
    f"%(asctime)s %(levelname)s %(name)s %(message)s {KEY}=%({KEY})s"
    " field_0=%(field_0)s field_1=%(field_1)s"
)


class File:
    """logging.FileHandler: one write for each record, which survives a SIGKILL."""

    ships = False
    _made: type[logging.FileHandler] = logging.FileHandler

    def __init__(self, destination: Destination) -> None:
        self.handler = self._made(Path(destination.directory) / "plain.log")
        self.handler.setFormatter(logging.Formatter(_TEXT))

    def drain(self, seconds: float) -> int:  # noqa: ARG002 # as all peers
        """Flush it; nothing is acknowledged."""
        self.handler.flush()
        return 0


class _Synced(logging.FileHandler):
    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if self.stream is not None:
            os.fsync(self.stream.fileno())


class SyncedFile(File):
    """FileHandler with an fsync for each record, which survives a power cut."""

    _made = _Synced


class Spooled:
    """KafkaHandler with its defaults, but that callers wait for room: no record may be missing."""

    ships = True

    def __init__(self, destination: Destination, **options: Any) -> None:
        if options:
            options["spool_dir"] = Path(destination.directory) / "spool"
        self.handler = KafkaHandler(
            destination.brokers,
            destination.topic or "{name}",
            overflow="block",
            block_timeout_ms=_BLOCK_TIMEOUT_MS,
            **options,
        )

    def drain(self, seconds: float) -> int:
        """Flush it; its ledger counts what brokers acknowledged."""
        self.handler.flush(seconds)
        return self.handler.stats().delivered


no_spool: Final = Spooled
overflow: Final = partial(Spooled, spool="overflow")
always: Final = partial(Spooled, spool="always")
full: Final = partial(Spooled, spool="always", spool_synchronous="full")
