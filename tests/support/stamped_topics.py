"""Stamped records into a topic, by an independent client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Producer

from tests.support.stamper import Stamped

_PATIENCE_S = 30.0


def produce(
    brokers: str,
    topic: str,
    records: Iterable[Stamped],
    partition: int = 0,
    *,
    timestamp: int = 0,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write the records in their order to one partition, at a time in milliseconds, or now."""
    servers = {"bootstrap.servers": brokers, "log_level": 0, "linger.ms": 5}
    producer = Producer({**servers, **(config or {})})
    faults: list[object] = []
    for key, value, headers in records:
        producer.produce(
            topic,
            value,
            key,
            partition,
            timestamp=timestamp,
            headers=list(headers),
            on_delivery=lambda error, _: faults.append(error) if error else None,
        )
        producer.poll(0)
    assert producer.flush(_PATIENCE_S) == 0
    assert not faults
