"""One pass through the package on Apache Kafka: what `make test` runs of the tests with Kafka.

Three brokers are started once, with secured listeners beside the plain one.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from kiel_logging import AuditHandler, Producer
from tests.handler.shipped import logger_to
from tests.kafka.test_proof import verify
from tests.support.console_consumer import confluent_consume, java_console_consumer
from tests.support.kafka import KafkaCluster

pytestmark = pytest.mark.smoke

_SECRET = "the secret of this chain"
_RECORDS = 1_000


@pytest.mark.gen_test(timeout=60)
async def test_a_producer_on_a_secured_listener(secured_kafka: KafkaCluster, topic: str) -> None:
    """Each message is acknowledged over TLS and SCRAM, and the Java consumer reads it."""
    security = secured_kafka.security
    secured_kafka.create_topic(topic, partitions=3)
    producer = Producer(
        security.bootstrap("SASL_SSL"),
        key_maker=lambda message: message["n"],
        compression="snappy",
        batch_size=100,
        required_acks=-1,
        security_protocol="SASL_SSL",
        ssl_cafile=str(security.ca_file),
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="alice",
        sasl_password=security.users["alice"],
    )
    async with producer:
        futures = [await producer.produce(topic, {"n": n}) for n in range(_RECORDS)]
        assert await producer.flush(30) == 0
        for future in futures:
            future.result()
    records = java_console_consumer(secured_kafka, topic, count=_RECORDS)
    assert sorted(int(record.key or b"") for record in records) == list(range(_RECORDS))


def test_an_audit_stream(secured_kafka: KafkaCluster, topic: str, tmp_path: Path) -> None:
    """Records that go through the spool are stored once, and `verify` calls the topic complete."""
    secured_kafka.create_topic(topic, partitions=3)
    with closing(
        AuditHandler(
            secured_kafka.bootstrap,
            topic,
            key_field="user",
            chain_key=_SECRET,
            spool="always",
            spool_dir=str(tmp_path),
        )
    ) as handler:
        logger = logger_to(handler)
        for number in range(_RECORDS):
            logger.info("%d", number, extra={"user": f"u{number % 20}"})
    stats = handler.stats()
    assert (stats.dropped_total, stats.failed, stats.spooled) == (0, 0, 0)
    measured = stats.delivery
    assert measured.latency.count == measured.batch_records.sum == stats.delivered
    assert measured.bytes_uncompressed >= measured.bytes_sent >= measured.batch_bytes.sum
    stored = [
        json.loads(one.value or b"") for one in confluent_consume(secured_kafka.bootstrap, topic)
    ]
    numbers = [int(one["message"]) for one in stored if one["logger"] == "shop.cart"]
    assert sorted(numbers) == list(range(_RECORDS))
    status, found = verify(secured_kafka, topic, _SECRET)
    assert (status, found["counts"]) == (0, {})
    assert list(tmp_path.iterdir()) == []
