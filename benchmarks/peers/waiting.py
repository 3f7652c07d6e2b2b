"""How many bytes wait to be delivered, for clients that set no bound themselves.

kafka-python 3 has no ``buffer_memory`` any more, and what is queued for an aiokafka producer is
ours to bound. Callers wait where it is full, as those of confluent-kafka do.
"""

import threading


class Waiting:
    """Counts what was given to a client and what it has answered for."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._bytes = 0
        self._changed = threading.Condition(threading.Lock())
        self.acknowledged = self.failed = 0

    def add(self, size: int) -> None:
        """Count one more record; wait for room first."""
        with self._changed:
            while self._bytes and self._bytes + size > self._memory:
                self._changed.wait()
            self._bytes += size

    def done(self, size: int, *, acknowledged: bool) -> None:
        """Count one less."""
        with self._changed:
            self._bytes -= size
            if acknowledged:
                self.acknowledged += 1
            else:
                self.failed += 1
            self._changed.notify_all()

    def drain(self, seconds: float) -> int:
        """Wait until nothing is left; return how many were acknowledged."""
        with self._changed:
            self._changed.wait_for(lambda: not self._bytes, seconds)
            return self.acknowledged
