"""Log records, from logger.info() through a dictConfig to Apache Kafka and the Java consumer."""

from __future__ import annotations

import json
import logging
import logging.config
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from tests.support.console_consumer import (
    ConsumedRecord,
    confluent_consume,
    java_console_consumer,
)
from tests.support.kafka import KafkaCluster
from tests.support.waiting import complaints

THREADS = 8
RECORDS = 100_000
KEYS = 5


@pytest.fixture
def configure() -> Iterator[Callable[..., KafkaHandler]]:
    """Configures logging with one KafkaHandler on the logger ``kafka_test``; undone at the end."""
    made: list[KafkaHandler] = []

    def configure(cluster: KafkaCluster, topic: str, **options: Any) -> KafkaHandler:
        handler = {
            "class": "kiel_logging.KafkaHandler",
            "brokers": cluster.bootstrap,
            "topic": topic,
            **options,
        }
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"kafka": handler},
                "loggers": {
                    "kafka_test": {"level": "INFO", "handlers": ["kafka"], "propagate": False}
                },
            }
        )
        [configured] = logging.getLogger("kafka_test").handlers
        assert isinstance(configured, KafkaHandler)
        made.append(configured)
        return configured

    yield configure
    logger = logging.getLogger("kafka_test")
    for handler in made:
        logger.removeHandler(handler)
        handler.close()


def log_from_threads(threads: int, records: int) -> None:
    """Log numbered records from many threads; no two threads share a key."""
    logger = logging.getLogger("kafka_test")

    def work(thread: int) -> None:
        for number in range(records // threads):
            extra = {"user_id": f"{thread}-{number % KEYS}", "worker": thread, "number": number}
            logger.info("record %d of thread %d", number, thread, extra=extra)

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def numbers_by_thread_and_key(records: list[ConsumedRecord]) -> dict[tuple[int, str], list[int]]:
    """Return, for each thread and key, the record numbers in the order of the partition."""
    numbers = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.partition, record.offset)):
        fields = json.loads(record.value or b"")
        assert (record.key or b"").decode() == fields["user_id"]
        numbers[fields["worker"], fields["user_id"]].append(fields["number"])
    return numbers


@pytest.mark.timeout(300)
@pytest.mark.parametrize("compression", ["snappy", "gzip", None])
def test_a_hundred_thousand_records_arrive_once_and_in_order(
    kafka_4: KafkaCluster,
    topic: str,
    configure: Callable[..., KafkaHandler],
    compression: str | None,
) -> None:
    """100,000 records of 8 threads are each there once, in order per thread and key."""
    kafka_4.create_topic(topic, partitions=6)
    # Calls wait for room: a busy machine delivers more slowly than eight threads log.
    handler = configure(
        kafka_4,
        topic,
        key_field="user_id",
        compression=compression,
        overflow="block",
        block_timeout_ms=60_000,
    )
    log_from_threads(THREADS, RECORDS)
    assert handler.flush(60) == 0
    assert handler.stats().delivered == RECORDS
    consumed = java_console_consumer(kafka_4, topic, count=RECORDS, timeout_ms=30_000)
    per_thread = RECORDS // THREADS
    assert numbers_by_thread_and_key(consumed) == {
        (thread, f"{thread}-{key}"): list(range(key, per_thread, KEYS))
        for thread in range(THREADS)
        for key in range(KEYS)
    }


def test_every_version_stores_what_was_logged(
    cluster: KafkaCluster, topic: str, configure: Callable[..., KafkaHandler]
) -> None:
    """A record's dict, key and time are the same for the Java consumer and for librdkafka."""
    handler = configure(cluster, f"{topic}.{{levelname}}", key_field="order.id")
    logger = logging.getLogger("kafka_test")
    logger.info("order %s placed", "№ 17", extra={"order": {"id": 17}})
    assert handler.flush(30) == 0
    [by_java] = java_console_consumer(cluster, f"{topic}.INFO", count=1)
    [by_librdkafka] = confluent_consume(cluster.bootstrap, f"{topic}.INFO")
    assert by_java == by_librdkafka
    assert by_java.key == b"17"
    fields = json.loads(by_java.value or b"")
    assert fields["message"] == "order № 17 placed"
    assert fields["order"] == {"id": 17}


def test_records_that_brokers_refuse_cost_themselves_only(
    kafka_4: KafkaCluster, topic: str, configure: Callable[..., KafkaHandler]
) -> None:
    """One that is from a clock two hours ahead is stored under the present time, as it was logged;
    one without a key is not, for the topic is compacted. All others are stored."""
    kafka_4.create_topic(topic, config={"cleanup.policy": "compact"})
    handler = configure(kafka_4, topic, key_field="number", linger_ms=1_000)
    logger = logging.getLogger("kafka_test")
    ahead = time.time() + 7_200
    for number in range(100):
        record = logger.makeRecord("shop", logging.INFO, "f", 1, "x", (), None)
        if number != 50:
            record.__dict__["number"] = number
        if number == 70:
            record.created = ahead
        logger.handle(record)
    assert handler.flush(30) == 0
    assert handler.stats().delivered == 99
    consumed = confluent_consume(kafka_4.bootstrap, topic)
    assert [int(one.key or b"") for one in consumed] == [n for n in range(100) if n != 50]
    (wrong,) = [one for one in consumed if one.key == b"70"]
    assert wrong.timestamp / 1000 < time.time()
    assert datetime.fromisoformat(json.loads(wrong.value or b"")["time"]).timestamp() > (
        time.time() + 3_600
    )


def test_a_program_that_does_nothing_but_log_loses_nothing(
    cluster: KafkaCluster, topic: str
) -> None:
    """`python -c` with three log calls and no other care delivers three records."""
    config = {
        "version": 1,
        "handlers": {
            "kafka": {
                "class": "kiel_logging.KafkaHandler",
                "brokers": cluster.bootstrap,
                "topic": topic,
            }
        },
        "root": {"level": "INFO", "handlers": ["kafka"]},
    }
    program = (
        "import logging, logging.config\n"
        f"logging.config.dictConfig({config!r})\n"
        "for word in ('one', 'two', 'three'): logging.info(word)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert complaints(finished.stderr) == []
    stored = confluent_consume(cluster.bootstrap, topic)
    assert sorted(json.loads(record.value or b"")["message"] for record in stored) == [
        "one",
        "three",
        "two",
    ]


def test_receipts_say_where_records_are(
    cluster: KafkaCluster, topic: str, configure: Callable[..., KafkaHandler]
) -> None:
    """A consumer finds each of 1,000 records at the partition and offset of its receipt."""
    cluster.create_topic(topic, partitions=6)
    handler = configure(cluster, topic, key_field="user_id", batch_size=50)
    logger = logging.getLogger("kafka_test")
    with handler.receipts(timeout=60) as receipts:
        for number in range(1000):
            logger.info("record %d", number, extra={"user_id": f"user {number % 97}"})
    assert [receipt.message for receipt in receipts] == [f"record {n}" for n in range(1000)]
    found = {
        (record.partition, record.offset): json.loads(record.value or b"")["message"]
        for record in confluent_consume(cluster.bootstrap, topic)
    }
    assert len(found) == 1000
    assert {(r.partition, r.offset): r.message for r in receipts} == found
    assert {receipt.topic for receipt in receipts} == {topic}
