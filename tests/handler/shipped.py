"""Loggers to a handler, and the records that a cluster got from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, Final

from kiel_logging import KafkaHandler, Stats
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.batches import StoredRecord
from kiel_logging.wire.error_codes import ErrorCode

QUICK: Final[dict[str, Any]] = {
    "linger_ms": 1,
    "retry_backoff_ms": 5,
    "retry_backoff_max_ms": 20,
    "close_timeout_ms": 5_000,
}
"""Options that let no test wait."""

HELD_BACK: Final[dict[str, Any]] = {"linger_ms": 60_000, "batch_size": 10_000}
"""Options that keep all records in the buffer until `flush()` or `close()`."""

MakeHandler = Callable[..., KafkaHandler]


class Collecting(logging.Handler):
    """Keeps the LogRecords that it gets."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        """The texts of those that came, in their order."""
        return [record.getMessage() for record in self.records]


def logger_to(handler: logging.Handler, name: str = "shop.cart") -> logging.Logger:
    """A logger that nothing else knows of."""
    logger = logging.Logger(name, logging.DEBUG)
    logger.addHandler(handler)
    return logger


def stored_records(cluster: FakeKafka, topic: str = "logs") -> list[StoredRecord]:
    """Every record of a topic, in order for each partition; none where there is no topic."""
    if not cluster.call(lambda c: c.count(topic)):
        return []
    return [record for part in cluster.records(topic).values() for record in part]


def stored(cluster: FakeKafka, topic: str = "logs") -> list[dict[str, Any]]:
    """Every record of a topic as a consumer of JSON would read it."""
    return [json.loads(record.value or b"") for record in stored_records(cluster, topic)]


def messages(cluster: FakeKafka, topic: str = "logs") -> list[str]:
    """The message of every record of a topic, but for the summaries of what was lost."""
    return [f["message"] for f in stored(cluster, topic) if f["logger"] != "kiel_logging"]


def summaries(cluster: FakeKafka, topic: str = "logs") -> list[dict[str, Any]]:
    """The records in which the handler reports what a topic lacks."""
    return [fields for fields in stored(cluster, topic) if fields["logger"] == "kiel_logging"]


def keys(cluster: FakeKafka, topic: str = "logs") -> list[bytes | None]:
    """The key of every record of a topic."""
    return [record.key for record in stored_records(cluster, topic)]


def total(stats: Stats) -> int:
    """What `emitted` must always be."""
    ended = stats.delivered + stats.failed + stats.dropped_total + stats.left_out_total
    return ended + stats.buffered + stats.in_flight + stats.spooled


def outstanding(handler: KafkaHandler) -> int:
    """How many records are with the engine: the policy can no longer choose among them."""
    shipper = handler._lifecycle.pipeline._loop_thread.shipper
    return shipper.outbox.engine.accumulator.outstanding if shipper is not None else 0


def stop_broker(cluster: FakeKafka) -> None:
    """From now on nothing listens at the broker's port, until `start_broker()`."""
    cluster.on_broker(0, lambda broker: broker.stop())


def start_broker(cluster: FakeKafka) -> None:
    """It listens again, and has what it had."""
    cluster.on_broker(0, lambda broker: broker.start())


def refuse_everything(cluster: FakeKafka, topic: str | None = None) -> None:
    """From now on no record (of partition 0 of `topic`) is stored; none is worth a retry."""
    only = None if topic is None else (topic, 0)
    cluster.call(lambda c: c.produce_error(ErrorCode.policy_violation, times=10**6, only=only))


def fail(*_arguments: Any) -> Any:
    """A function of the user's that does not work."""
    raise RuntimeError("no way")
