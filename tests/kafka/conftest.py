"""Apache Kafka clusters, shared by all tests of a process.

A test that breaks its cluster asks for `breakable`, which is whole again afterwards.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chaos import ProxiedCluster
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
    """Three brokers of the current release, with every secured listener and with ACLs too."""
    require_kafka(KAFKA_4)
    with KafkaCluster(KAFKA_4, secured=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def secured_kafka(kafka_4: KafkaCluster) -> KafkaCluster:
    """The same cluster, for tests of its secured listeners."""
    return kafka_4


@pytest.fixture(scope="session")
def kafka_3() -> Iterator[KafkaCluster]:
    """Three brokers of the last release before 4."""
    require_kafka(KAFKA_3)
    with KafkaCluster(KAFKA_3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka_to_break() -> Iterator[ProxiedCluster]:
    """Three brokers of the current release, for `breakable`."""
    require_kafka(KAFKA_4)
    with ProxiedCluster(KAFKA_4, secured=True) as cluster:
        yield cluster


@pytest.fixture
def breakable(kafka_to_break: ProxiedCluster) -> Iterator[ProxiedCluster]:
    """A cluster whose brokers a test may kill and freeze; it is whole before and after."""
    yield kafka_to_break
    kafka_to_break.recover()


@pytest.fixture(params=["kafka_4", "kafka_3"])
def cluster(request: pytest.FixtureRequest) -> KafkaCluster:
    """Each release in turn."""
    cluster: KafkaCluster = request.getfixturevalue(request.param)
    return cluster


@pytest.fixture
def topic() -> str:
    """A topic name that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"
