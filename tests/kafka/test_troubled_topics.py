"""Three topics of one handler: one is forbidden, one has no leader, the third must not notice."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytest

from kiel_logging import KafkaHandler
from tests.handler.shipped import logger_to, total
from tests.kafka.conftest import require_kafka
from tests.kafka.test_secured import logged_in
from tests.support.console_consumer import available, confluent_consume
from tests.support.examples import THOROUGH
from tests.support.kafka import KAFKA_4, KafkaCluster
from tests.support.waiting import until

_TROUBLE_S: Final = 60.0 if THOROUGH else 8.0
_BEFORE: Final = 100
"""Records whose latency is taken before there is any trouble."""
_TIMES: Final = 5
"""How many times longer the median may become: a busy machine's noise, no waiting for others."""
_TROUBLED: Final = ("forbidden", "leaderless")
_EVERY: Final = 0.01


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    """Three brokers of a test's own, for one of them is killed."""
    require_kafka(KAFKA_4)
    with KafkaCluster(KAFKA_4, secured=True) as cluster:
        yield cluster


def create_on(cluster: KafkaCluster, name: str, brokers: set[int]) -> str:
    """Create a topic without copies, which is on one of `brokers`; return its name."""
    for attempt in range(30):
        topic = f"{name}-{attempt}"
        cluster.create_topic(topic, replication=1)
        if cluster.leader(topic, 0) in brokers:
            return topic
    raise AssertionError(f"{name} never was on {brokers}")


def numbers(cluster: KafkaCluster, topic: str) -> list[int]:
    """Those in a topic, without what the handler says itself."""
    found = confluent_consume(cluster.bootstrap, topic)
    fields = [json.loads(one.value or b"") for one in sorted(found, key=lambda one: one.offset)]
    return [int(one["message"]) for one in fields if one["logger"] != "kiel_logging"]


class Load:
    """Logs to both troubled topics until it is stopped."""

    def __init__(self, logger: logging.Logger, topics: tuple[str, ...], most: int | None) -> None:
        self.count = 0
        self._logger = logger
        self._topics = topics
        self._most = most
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(_EVERY):
            if self._most is None or self.count < self._most:
                for topic in self._topics:
                    self._logger.info("%d", self.count, extra={"area": topic})
                self.count += 1

    def stop(self) -> None:
        """Return when it has ended."""
        self._over.set()
        self._thread.join()


class Healthy:
    """Logs to the healthy topic, and measures until each record is stored."""

    def __init__(self, handler: KafkaHandler, topic: str) -> None:
        self.count = 0
        self._handler = handler
        self._logger = logger_to(handler)
        self._topic = topic

    def latency(self) -> float:
        """Log one; return the seconds until the brokers have it."""
        begun = time.monotonic()
        with self._handler.receipts(timeout=30.0) as receipts:
            self._logger.info("%d", self.count, extra={"area": self._topic})
        assert len(receipts) == 1
        self.count += 1
        return time.monotonic() - begun


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["always", "overflow", None])
def test_two_troubled_topics_and_a_healthy_one(
    cluster: KafkaCluster, topic: str, tmp_path: Path, mode: str | None
) -> None:
    """The healthy one's records take no longer; all arrive, in order, when the trouble is over."""
    dead, *others = cluster.broker_ids
    names = {
        "forbidden": create_on(cluster, f"{topic}-forbidden", set(others)),
        "leaderless": create_on(cluster, f"{topic}-leaderless", {dead}),
        "healthy": create_on(cluster, f"{topic}-healthy", set(others)),
    }
    troubled = tuple(names[each] for each in _TROUBLED)
    options: dict[str, Any] = logged_in(cluster.security, "SASL_PLAINTEXT", "PLAIN", "bob")
    if mode is not None:
        options |= {"spool_dir": tmp_path / "spool", "spool": mode, "chain": True}
    # Without a spool memory has to hold what waits: half of the buffer may.
    options |= {"buffer_records": 2_000}
    with closing(KafkaHandler(topic="{area}", **options)) as handler:
        healthy = Healthy(handler, names["healthy"])
        load = Load(logger_to(handler), troubled, most=None if mode else 400)
        try:
            until(lambda: all(available(cluster.bootstrap, one) for one in troubled))
            before = [healthy.latency() for _ in range(_BEFORE)]
            cluster.deny("bob", names["forbidden"], "WRITE")
            cluster.kill(dead)
            until(lambda: handler.stats().undelivered > 50)
            forbidden = available(cluster.bootstrap, names["forbidden"])
            during = []
            deadline = time.monotonic() + _TROUBLE_S
            while time.monotonic() < deadline:
                during.append(healthy.latency())
            waiting = handler.stats()
            assert available(cluster.bootstrap, names["forbidden"]) == forbidden
        finally:
            load.stop()
            cluster.start(dead)
            # Rights are asked of all brokers: this one has to be back for that.
            cluster.wait_leader(names["leaderless"], 0)
            cluster.allow("bob", names["forbidden"])
        logged = load.count
        until(lambda: handler.flush(10.0) == 0, 150.0)
        stats = handler.stats()
    usual, troubled_ms, longest = (
        1e3 * one for one in (median(before), median(during), max(during))
    )
    print(
        f"{mode}: median of {len(before)} before {usual:.1f} ms, of {len(during)} during "
        f"{troubled_ms:.1f} ms, longest {longest:.0f} ms; {logged} for each troubled topic, "
        f"{waiting.undelivered} waited"
    )
    assert troubled_ms < _TIMES * usual
    assert numbers(cluster, names["healthy"]) == list(range(healthy.count))
    for one in troubled:
        assert numbers(cluster, one) == list(range(logged))
    assert (stats.failed, stats.dropped_total, total(stats)) == (0, 0, stats.emitted)
    if mode is not None:
        assert list((tmp_path / "spool").iterdir()) == []
