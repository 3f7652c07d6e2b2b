"""QueueHandler and QueueListener in front of confluent-kafka: callers only queue."""

from .confluent import confluent_orjson
from .peer import Destination, Peer
from .queues import Listened


class QueuedConfluent(Listened):
    """With the best handler behind it."""

    ships = True

    def __init__(self, destination: Destination) -> None:
        self._behind: Peer = confluent_orjson(destination)
        super().__init__(self._behind.handler)

    def drain(self, seconds: float) -> int:
        """Wait for the listener, then for the deliveries."""
        self.wait(seconds)
        return self._behind.drain(seconds)
