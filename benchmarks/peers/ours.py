"""KafkaHandler with its defaults, but for the bounds of its buffer, which are those of the peers.

With ``overflow="block"`` where records per second are counted, because none may be missing there.
"""

from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.workload import KEY
from kiel_logging import KafkaHandler

from .peer import MOST_RECORDS, Destination

_PATIENCE: Final = 600.0
"""Seconds."""


class Ours:
    """kiel_logging.KafkaHandler."""

    ships = True

    def __init__(self, destination: Destination, **options: Any) -> None:
        self.handler = KafkaHandler(
            destination.brokers,
            destination.topic or "{name}",
            key_field=KEY,
            buffer_records=MOST_RECORDS,
            buffer_memory=destination.memory,
            overflow="block" if destination.lossless else "drop_newest",
            block_timeout_ms=60_000,
            **options,
        )

    def drain(self, seconds: float) -> int:
        """Flush it; its ledger counts what brokers acknowledged."""
        self.handler.flush(seconds)
        return self.handler.stats().delivered


class WithSpool(Ours):
    """The handler with all records on disk first."""

    def __init__(self, destination: Destination) -> None:
        self._directory = TemporaryDirectory()
        super().__init__(destination, spool_dir=self._directory.name, spool="always")


class WithChain(Ours):
    """The handler with a chain of digests; its start record comes besides."""

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination, chain=True)

    def drain(self, seconds: float) -> int:
        """Flush it; the record that starts the chain is not counted."""
        return super().drain(seconds) - 1


class WithReceipts(Ours):
    """The handler with one block of receipts around all records."""

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination)
        self._block = self.handler.receipts(_PATIENCE)
        self._block.__enter__()

    def drain(self, seconds: float) -> int:
        """Leave the block, which waits until all is acknowledged."""
        self._block.__exit__(None, None, None)
        return super().drain(seconds)
