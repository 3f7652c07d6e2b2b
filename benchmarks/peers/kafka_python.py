"""A handler on kafka-python 3: pure Python, with its own thread."""

import logging
from functools import partial
from typing import Any, Final

from kafka import KafkaProducer

from benchmarks.workload import KEY

from .fields import with_orjson
from .peer import LINGER_MS, Destination
from .waiting import Waiting

_BATCH: Final = 256 * 1024
"""Bytes: more than the default, since 16 KiB are fifty records."""


class KafkaPythonHandler(logging.Handler):
    """Calls ``send()``, which queues for the producer's thread."""

    def __init__(self, destination: Destination) -> None:
        super().__init__()
        self._topic_of = destination.topic_of
        self.waiting = Waiting(destination.memory)
        self.producer = KafkaProducer(
            bootstrap_servers=destination.brokers.split(","),
            acks="all",
            enable_idempotence=True,
            compression_type="snappy",
            linger_ms=LINGER_MS,
            batch_size=_BATCH,
            metrics_enabled=False,
        )

    def createLock(self) -> None:  # noqa: N802 # logging's name
        """Have none, as NullHandler: producers are thread-safe."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record; wait where there is no room."""
        value = with_orjson(record)
        key = getattr(record, KEY, None)
        self.waiting.add(len(value))
        future = self.producer.send(
            self._topic_of(record), value, None if key is None else key.encode()
        )
        future.add_callback(partial(self._acknowledged, len(value)))
        future.add_errback(partial(self._failed, len(value)))

    def _acknowledged(self, size: int, metadata: Any) -> None:  # noqa: ARG002 # kafka-python's
        self.waiting.done(size, acknowledged=True)

    def _failed(self, size: int, error: Any) -> None:  # noqa: ARG002 # kafka-python's
        self.waiting.done(size, acknowledged=False)


class KafkaPython:
    """The handler, and the callbacks of its futures."""

    ships = True

    def __init__(self, destination: Destination) -> None:
        self.handler = KafkaPythonHandler(destination)

    def drain(self, seconds: float) -> int:
        """Flush it, and wait for the last callback."""
        self.handler.producer.flush(seconds)
        return self.handler.waiting.drain(seconds)
