"""``kiel-logging check`` on Apache Kafka: a cluster in order, and each trouble that it can have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.cli import main
from tests.kafka.conftest import require_kafka
from tests.kafka.test_secured import logged_in
from tests.support.kafka import KAFKA_4, KafkaCluster
from tests.support.waiting import until

SOUND = {"min.insync.replicas": "2"}


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """A call of the command for a handler with such options; returns status and findings."""

    def call(*words: str, **options: Any) -> tuple[int, dict[str, Any]]:
        handler = {"class": "kiel_logging.KafkaHandler", **options}
        path = tmp_path / "logging.json"
        path.write_text(json.dumps({"version": 1, "handlers": {"kafka": handler}}))
        status = main(["check", "--json", "--dictconfig", f"{path}:kafka", *words])
        return status, json.loads(capsys.readouterr().out)

    return call


def not_ok(document: dict[str, Any]) -> list[tuple[str, str]]:
    """The check and the verdict of each finding that asks for something."""
    findings = document["findings"]
    return [(one["check"], one["verdict"]) for one in findings if one["verdict"] != "ok"]


def create(
    cluster: KafkaCluster,
    check: Any,
    topic: str,
    partitions: int = 1,
    config: dict[str, str] | None = None,
) -> None:
    """Create a topic, and wait until each broker knows it."""
    cluster.create_topic(topic, partitions, config=SOUND if config is None else config)
    for address in cluster.bootstrap:
        until(lambda: ("topic", "fail") not in not_ok(check(brokers=[address], topic=topic)[1]))  # noqa: B023


def test_a_cluster_in_order(cluster: KafkaCluster, topic: str, check: Any) -> None:
    """Each release: all is ok, and one record goes there and back."""
    create(cluster, check, topic, 2)
    status, found = check("--send", brokers=cluster.bootstrap, topic=topic)
    assert (status, not_ok(found)) == (0, [])
    texts = {one["check"]: one["text"] for one in found["findings"]}
    assert "3 replicas of each partition, 3 in sync" in texts["replicas"]
    assert "may write" in texts["permission"]
    assert "as it was sent" in texts["read back"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({**SOUND, "max.message.bytes": "1000"}, [("size", "warn")]),
        ({**SOUND, "compression.type": "gzip"}, [("compression", "warn")]),
        ({**SOUND, "message.timestamp.type": "LogAppendTime"}, []),
    ],
    ids=str,
)
def test_a_topic_s_settings(
    kafka_4: KafkaCluster,
    topic: str,
    check: Any,
    config: dict[str, str],
    expected: list[tuple[str, str]],
) -> None:
    """Those that do not go with the handler's options, and those that a broker changes records
    for; the cluster says the time, and an acknowledgement does too."""
    create(kafka_4, check, topic, config=config)
    status, found = check("--send", brokers=kafka_4.bootstrap, topic=topic)
    assert not_ok(found) == expected
    assert status == int(any(verdict == "fail" for _, verdict in expected))
    clocks = [one for one in found["findings"] if one["check"] == "clock"]
    assert len(clocks) == 1 + ("LogAppendTime" in config.values())


def test_more_in_sync_than_there_are(cluster: KafkaCluster, topic: str, check: Any) -> None:
    """Each release: these brokers ask for all replicas then, and older ones accept nothing."""
    create(cluster, check, topic, config={"min.insync.replicas": "4"})
    status, found = check("--send", brokers=cluster.bootstrap, topic=topic)
    assert (status, not_ok(found)) == (0, [("acks", "warn")])


def test_fewer_in_sync_than_are_asked_for(breakable: KafkaCluster, topic: str, check: Any) -> None:
    """A broker is down, and all of them have to have a record: it is refused."""
    create(breakable, check, topic, config={"min.insync.replicas": "3"})
    down = next(one for one in breakable.broker_ids if one != breakable.leader(topic, 0))
    breakable.kill(down)
    found: dict[str, Any] = {}

    def is_noticed() -> bool:
        found.update(check("--send", brokers=breakable.bootstrap, topic=topic)[1])
        return ("acks", "fail") in not_ok(found)

    until(is_noticed, 60.0)
    assert {("replicas", "warn"), ("acks", "fail"), ("send", "fail")} <= set(not_ok(found))
    [sent] = [one for one in found["findings"] if one["check"] == "send"]
    assert "NOT_ENOUGH_REPLICAS" in sent["text"]


def test_a_topic_that_is_not_there(kafka_4: KafkaCluster, topic: str, check: Any) -> None:
    """And is not made by looking for it."""
    for _ in range(2):
        status, found = check("--send", brokers=kafka_4.bootstrap, topic=topic)
        assert (status, not_ok(found)) == (1, [("topic", "fail")])


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("WRITE", [("permission", "fail"), ("send", "fail")]),
        ("READ", []),
        ("DESCRIBE_CONFIGS", [("settings", "warn")]),
        ("ALL", [("topic", "fail")]),
    ],
)
def test_a_user_without_permission(
    kafka_4: KafkaCluster, topic: str, check: Any, operation: str, expected: list[tuple[str, str]]
) -> None:
    """The check finds the denial before it sends a record, and the broker's answer agrees."""
    create(kafka_4, check, topic)
    kafka_4.deny("bob", topic, operation)
    options = logged_in(kafka_4.security, "SASL_PLAINTEXT", "PLAIN", "bob")
    status, found = check("--send", topic=topic, **options)
    kafka_4.allow("bob", topic)
    assert not_ok(found) == expected
    assert status == int(any(verdict == "fail" for _, verdict in expected))


@pytest.fixture(scope="module")
def misplaced() -> Iterator[KafkaCluster]:
    """A broker with a second listener that is advertised at a port where nothing listens."""
    require_kafka(KAFKA_4)
    with KafkaCluster(KAFKA_4, brokers=1, advertised={1: "127.0.0.1:1"}) as cluster:
        yield cluster


def test_a_wrong_advertised_listener(misplaced: KafkaCluster, topic: str, check: Any) -> None:
    """It is called that: the option brokers is right, and the broker behind it answers."""
    misplaced.create_topic(topic)
    right, wrong = misplaced.bootstrap, [f"127.0.0.1:{misplaced.proxied_port(1)}"]
    assert ("advertised", "fail") not in not_ok(check(brokers=right, topic=topic)[1])
    status, found = check("--send", brokers=wrong, topic=topic)
    assert status == 1
    failed = [one for one in found["findings"] if one["verdict"] == "fail"]
    assert [one["check"] for one in failed] == ["advertised", "send"]
    assert "broker 1 advertises 127.0.0.1:1 (advertised.listeners)" in failed[0]["text"]
    assert "no fault of the option brokers" in failed[0]["advice"]
