"""Topics of one handler that real brokers reject for a while, or delete and make again."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import closing
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.errors import TopicAuthorizationFailed
from tests.handler.shipped import logger_to
from tests.support.console_consumer import confluent_consume
from tests.support.kafka import KafkaCluster
from tests.support.waiting import until

KEYS = 7


@pytest.fixture
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rejected topic is tried again within a second."""
    monkeypatch.setattr("kiel_logging.delivery.deferral.FIRST", 0.2)
    monkeypatch.setattr("kiel_logging.delivery.deferral.MOST", 1.0)


def log(handler: KafkaHandler, first: int, count: int, **extra: Any) -> None:
    """Log numbered records of a few keys."""
    logger = logger_to(handler)
    for number in range(first, first + count):
        logger.info("x", extra={"number": number, "user": str(number % KEYS), **extra})


def by_key(cluster: KafkaCluster, topic: str) -> dict[str, list[int]]:
    """The numbers that are stored for each key, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for record in confluent_consume(cluster.bootstrap, topic):
        fields = json.loads(record.value or b"")
        if "number" in fields:
            found[fields["user"]].append(fields["number"])
    return dict(found)


@pytest.mark.timeout(180)
def test_a_topic_is_made_again_with_fewer_partitions(cluster: KafkaCluster, topic: str) -> None:
    """All that is logged afterwards arrives, in the order of each key."""
    cluster.create_topic(topic, partitions=6)
    handler = KafkaHandler(
        cluster.bootstrap, topic, key_field="user", overflow="block", block_timeout_ms=60_000
    )
    with closing(handler):
        log(handler, 0, 5_000)
        assert handler.flush(60) == 0
        # While nothing is logged: the handler's questions would make the topic by themselves.
        cluster.delete_topic(topic)
        cluster.create_topic(topic, partitions=2)
        log(handler, 5_000, 20_000)
        assert handler.flush(60) == 0
        stats = handler.stats()
        assert (stats.failed, stats.dropped_total) == (0, 0)
    assert by_key(cluster, topic) == {
        str(key): [number for number in range(5_000, 25_000) if number % KEYS == key]
        for key in range(KEYS)
    }


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("soon_again")
@pytest.mark.parametrize("operation", ["WRITE", "ALL"])
def test_a_right_is_taken_away_and_given_back(
    secured_kafka: KafkaCluster, topic: str, operation: str
) -> None:
    """The topic waits, another one does not; all arrives, in order, and nothing fails."""
    good, bad = f"{topic}.good", f"{topic}.bad"
    for each in (good, bad):
        secured_kafka.create_topic(each, partitions=3)
    security = secured_kafka.security
    errors: list[tuple[type[Exception], int]] = []
    handler = KafkaHandler(
        security.bootstrap("SASL_SSL"),
        topic + ".{area}",
        key_field="user",
        security_protocol="SASL_SSL",
        ssl_cafile=str(security.ca_file),
        sasl_mechanism="PLAIN",
        sasl_username="carol",
        sasl_password=security.users["carol"],
        on_error=lambda error, records: errors.append((type(error), records)),
    )
    with closing(handler):
        log(handler, 0, 100, area="bad")
        assert handler.flush(60) == 0
        secured_kafka.deny("carol", bad, operation)
        log(handler, 100, 100, area="bad")
        until(lambda: bool(errors))
        log(handler, 0, 1_000, area="good")
        log(handler, 200, 100, area="bad")
        until(lambda: handler.stats().delivered >= 1_100)
        secured_kafka.allow("carol", bad)
        assert handler.flush(60) == 0
        assert handler.stats().failed == 0
    assert set(errors) == {(TopicAuthorizationFailed, 0)}
    for each, count in ((good, 1_000), (bad, 300)):
        assert by_key(secured_kafka, each) == {
            str(key): list(range(key, count, KEYS)) for key in range(KEYS)
        }
