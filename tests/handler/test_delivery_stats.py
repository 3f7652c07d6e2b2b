"""The stats of batches say what a cluster saw, whatever went wrong."""

from __future__ import annotations

import gzip
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import DeliveryStats, KafkaHandler
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.batches import StoredBatch, decode_batch
from kiel_logging.wire.error_codes import ErrorCode
from tests.handler.shipped import HELD_BACK, QUICK, logger_to, start_broker, stop_broker
from tests.support.waiting import until


def sent_batches(cluster: FakeKafka) -> list[StoredBatch]:
    """All batches of all requests, those that were not stored included."""
    requests = cluster.received("Produce", 0)
    topics = [topic for one in requests for topic in one.payload["topic_data"]]
    parts = [part for topic in topics for part in topic["partition_data"]]
    return [decode_batch(part["records"], 0) for part in parts]


def uncompressed(batch: StoredBatch) -> int:
    """The bytes of a batch, with its records as they are before gzip."""
    return len(batch.raw[:61]) + len(gzip.decompress(batch.raw[61:]))


def check_sums(stats: DeliveryStats, batches: list[StoredBatch], delivered: int) -> None:
    """Check that each attempt ended once, each record has a latency, and the bytes are right."""
    acknowledged = stats.batch_records.count
    assert acknowledged + stats.errors.total() == len(batches)
    assert acknowledged == stats.batch_bytes.count
    assert stats.latency.count == stats.batch_records.sum == delivered
    assert stats.bytes_sent == sum(len(batch.raw) for batch in batches)
    assert stats.bytes_uncompressed == sum(map(uncompressed, batches)) > stats.bytes_sent
    for histogram in (stats.latency, stats.batch_records, stats.batch_bytes):
        *_, (_, last) = histogram.cumulative()
        assert last == sum(histogram.counts) == histogram.count


def test_a_run_with_everything_that_goes_wrong(cluster: FakeKafka) -> None:
    """Rejections, lost answers, a broker that is away and one that throttles are all counted."""
    options: dict[str, Any] = {**QUICK, **HELD_BACK, "compression": "gzip"}
    handler = KafkaHandler(cluster.addresses, "logs", **options)
    logger = logger_to(handler)

    def log(records: int) -> None:
        for number in range(records):
            logger.info("%d %s", number, "x" * 100, extra={"user": "ada"})
        assert handler.flush() == 0

    def failed_connections() -> Counter[str]:
        return handler.stats().delivery.connection_errors

    log(20)
    cluster.call(lambda c: c.produce_error(ErrorCode.not_enough_replicas, times=2))
    log(7)
    cluster.on_broker(0, lambda broker: broker.hang_up_mid_response("Produce"))
    log(1)
    throttle = {"throttle_time_ms": 30}
    cluster.on_broker(0, lambda one: one.on_next("Produce", lambda _, answer: answer() | throttle))
    log(1)
    assert handler.stats().delivery.connections == 1
    stop_broker(cluster)
    logger.info("x")
    until(lambda: handler.flush(timeout=0.01) == 1 and "BrokerUnreachable" in failed_connections())
    start_broker(cluster)
    log(1)
    handler.close()

    stats = handler.stats()
    delivery, batches = stats.delivery, sent_batches(cluster)
    check_sums(delivery, batches, delivered=stats.delivered)
    assert stats.delivered == 31
    assert delivery.errors["NOT_ENOUGH_REPLICAS"] == 2
    assert delivery.errors["ConnectionLost"] >= 1
    assert delivery.retries == delivery.errors.total()
    assert delivery.throttled == pytest.approx(0.03)
    assert delivery.connections == 0
    first, *_ = batches
    assert len(first.records) == 20
    assert delivery.batch_bytes.sum <= delivery.bytes_sent


def test_latency_is_from_the_logging_call(cluster: FakeKafka) -> None:
    """A record that was made long ago counts as late by so much; one from the future as 0."""
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK)
    logger = logger_to(handler)
    for ago in (1000.0, -500.0):
        record = logger.makeRecord("shop", 20, "x.py", 1, "x", (), None)
        record.created = time.time() - ago
        handler.handle(record)
    handler.close()
    latency = handler.stats().delivery.latency
    assert latency.count == 2
    assert 1000 <= latency.sum < 2000
    assert dict(latency.cumulative())[300.0] == 1


def test_records_on_disk(cluster: FakeKafka, tmp_path: Path) -> None:
    """Their bytes are counted until the brokers have them; those of a handler before count too."""
    stop_broker(cluster)
    options: dict[str, Any] = {**QUICK, "spool_dir": tmp_path, "spool": "always"}
    handler = KafkaHandler(cluster.addresses, "logs", **{**options, "close_timeout_ms": 20})
    assert handler.stats().spool_bytes == 0
    logger_to(handler).info("x" * 1000)
    found = handler.stats().spool_bytes
    assert 1000 < found < 3000
    handler.close()
    another = KafkaHandler(cluster.addresses, "logs", **options)
    logger_to(another).info("x" * 1000)
    until(lambda: another.stats().spool_bytes > 1.5 * found)
    start_broker(cluster)
    until(lambda: another.stats().recovered == 1)
    another.flush()
    until(lambda: another.stats().spool_bytes == 0)
    stats = another.stats()
    another.close()
    assert stats.delivery.latency.count == stats.delivered + stats.recovered == 2
