"""kafka-logging-handler from PyPI, with the options that it has.

It takes one topic and knows no keys; its fields are those of the LogRecord. It keeps records in a
list and gives them to kafka-python from a timer, and does not look at what becomes of them; here
the futures that it drops are counted.
"""

import logging
import threading
from typing import Any, Final

from kafka import KafkaProducer
from kafka_logger.handlers import KafkaLoggingHandler as Handler

from .peer import LINGER_MS, Destination

_PRODUCER: Final = {
    "acks": "all",
    "enable_idempotence": True,
    "compression_type": "snappy",
    "linger_ms": LINGER_MS,
    "batch_size": 256 * 1024,
}


class _Heard(logging.Handler):
    """Keeps what it logs instead of raising it when it can't start."""

    error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not isinstance(record.exc_info, bool):
            self.error = record.exc_info[1]


class _Sends:
    """Stands before the producer's ``send()`` and counts what was acknowledged."""

    def __init__(self, producer: KafkaProducer) -> None:
        self._send = producer.send
        self.acknowledged = 0
        producer.send = self

    def __call__(self, topic: str, value: Any) -> Any:
        return self._send(topic, value).add_callback(self._acknowledged)

    def _acknowledged(self, metadata: Any) -> None:  # noqa: ARG002 # kafka-python's
        self.acknowledged += 1


class KafkaLoggingHandler:
    """The handler, and the counters of its producer."""

    ships = True

    def __init__(self, destination: Destination) -> None:
        if destination.topic is None:
            raise NotImplementedError("kafka-logging-handler takes one topic")
        heard = _Heard()
        logging.getLogger().addHandler(heard)
        self.handler = Handler(
            destination.brokers.split(","),
            destination.topic,
            security_protocol="PLAINTEXT",
            flush_interval=LINGER_MS / 1000,
            kafka_producer_args=_PRODUCER,
        )
        logging.getLogger().removeHandler(heard)
        if not self.handler.enabled:
            raise ConnectionError(f"it has switched itself off: {heard.error!r}")
        self._sends = _Sends(self.handler.producer)

    def drain(self, seconds: float) -> int:
        """Flush it, after the timers that do so too."""
        self.handler.flush()
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join(seconds)
        self.handler.flush()
        self.handler.producer.flush(seconds)
        return self._sends.acknowledged
