"""A handler on confluent-kafka, that is librdkafka: C, with its own threads.

There are two ways to hear of every delivery: to poll on a thread of its own, or to poll without
waiting after each record, as librdkafka's documentation advises. Neither is the better one by every
measure, so both are measured, and each measure compares with the better one. With reports of errors
only callers wait a little less, but then nothing says of a record that it was delivered.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from benchmarks.workload import KEY

from .fields import with_json, with_orjson
from .peer import LINGER_MS, MOST_RECORDS, Destination

Serialise = Callable[[logging.LogRecord], bytes]

_POLL: Final = 0.1


class ConfluentHandler(logging.Handler):
    """The work of an engineer who has measured it: no lock, no formatter, nothing lost."""

    def __init__(
        self, destination: Destination, serialise: Serialise, *, polls: bool = False
    ) -> None:
        super().__init__()
        self._polls = polls
        self._topic_of = destination.topic_of
        self._serialise = serialise
        self.acknowledged = self.failed = 0
        self.producer = Producer(
            {
                "bootstrap.servers": destination.brokers,
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "snappy",
                "linger.ms": LINGER_MS,
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": MOST_RECORDS,
                "queue.buffering.max.kbytes": destination.memory // 1024,
            }
        )
        if not polls:
            threading.Thread(target=self._poll, name="poll", daemon=True).start()

    def createLock(self) -> None:  # noqa: N802 # logging's name
        """Have none, as NullHandler: producers are thread-safe."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record; wait where the queue is full."""
        value, key = self._serialise(record), getattr(record, KEY, None)
        while True:
            try:
                self.producer.produce(
                    self._topic_of(record), value, key, on_delivery=self._reported
                )
            except BufferError:
                self.producer.poll(_POLL)
            else:
                break
        if self._polls:
            self.producer.poll(0)

    def _reported(self, error: KafkaError | None, message: Message) -> None:  # noqa: ARG002
        if error is None:
            self.acknowledged += 1
        else:
            self.failed += 1

    def _poll(self) -> None:
        while True:
            self.producer.poll(_POLL)


class Confluent:
    """The handler, and its delivery reports."""

    ships = True

    def __init__(
        self, destination: Destination, serialise: Serialise, *, polls: bool = False
    ) -> None:
        self.handler = ConfluentHandler(destination, serialise, polls=polls)

    def drain(self, seconds: float) -> int:
        """Flush it. It returns when no report is left to be called."""
        self.handler.producer.flush(seconds)
        return self.handler.acknowledged


def confluent_json(destination: Destination) -> Confluent:
    """Return it with the standard library's json."""
    return Confluent(destination, with_json)


def confluent_orjson(destination: Destination) -> Confluent:
    """Return it with orjson: the best that can be tuned by hand."""
    return Confluent(destination, with_orjson)


def confluent_polling(destination: Destination) -> Confluent:
    """Return it with orjson, polling after each record instead of on a thread."""
    return Confluent(destination, with_orjson, polls=True)
