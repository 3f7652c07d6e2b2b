"""One cluster per Kafka version, shared by all tests that don't break it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka import KAFKA_3, KAFKA_4, KafkaCluster, kafka_unavailable_reason

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test below this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kafka)


def require_kafka(version: str) -> None:
    """Skip, and say why, where Apache Kafka can't be run; fail where it has to be."""
    reason = kafka_unavailable_reason(version)
    if reason is None:
        return
    if os.environ.get("KIEL_REQUIRE_KAFKA"):
        pytest.fail(f"KIEL_REQUIRE_KAFKA is set, and Kafka can't be run: {reason}")
    pytest.skip(f"Kafka can't be run: {reason}")


@pytest.fixture(scope="session")
def kafka_4() -> Iterator[KafkaCluster]:
    """Three brokers of the current release."""
    require_kafka(KAFKA_4)
    with KafkaCluster(KAFKA_4) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka_3() -> Iterator[KafkaCluster]:
    """Three brokers of the last release before 4."""
    require_kafka(KAFKA_3)
    with KafkaCluster(KAFKA_3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def secured_kafka() -> Iterator[KafkaCluster]:
    """Three brokers of the current release, with every secured listener and with ACLs."""
    require_kafka(KAFKA_4)
    with KafkaCluster(KAFKA_4, secured=True) as cluster:
        yield cluster


@pytest.fixture(params=["kafka_4", "kafka_3"])
def cluster(request: pytest.FixtureRequest) -> KafkaCluster:
    """Return each version in turn."""
    cluster: KafkaCluster = request.getfixturevalue(request.param)
    return cluster


@pytest.fixture
def topic() -> str:
    """Return a topic name that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"
