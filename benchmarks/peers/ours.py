"""KafkaHandler with its defaults, but for the bounds of its buffer, which are those of the peers.

With ``overflow="block"`` where records per second are counted, because none may be missing there.
"""

from benchmarks.workload import KEY
from kiel_logging import KafkaHandler

from .peer import MOST_RECORDS, Destination


class Ours:
    """kiel_logging.KafkaHandler."""

    ships = True

    def __init__(self, destination: Destination) -> None:
        self.handler = KafkaHandler(
            destination.brokers,
            destination.topic or "{name}",
            key_field=KEY,
            buffer_records=MOST_RECORDS,
            buffer_memory=destination.memory,
            overflow="block" if destination.lossless else "drop_newest",
            block_timeout_ms=60_000,
        )

    def drain(self, seconds: float) -> int:
        """Flush it; its ledger counts what brokers acknowledged."""
        self.handler.flush(seconds)
        return self.handler.stats().delivered
