"""Three topics of one handler: one is forbidden, one has no leader, the third must not notice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

import pytest

from kiel_logging import KafkaHandler
from tests.handler.shipped import logger_to, total
from tests.kafka.test_secured import logged_in
from tests.support.console_consumer import available, confluent_consume
from tests.support.examples import THOROUGH
from tests.support.kafka import KafkaCluster
from tests.support.waiting import until

TROUBLE_S: Final = 60.0 if THOROUGH else 8.0
BEFORE: Final = 100
"""Records whose latency is taken before there is any trouble."""
TIMES: Final = 5
"""How many times longer the median may become: a busy machine's noise, no waiting for others."""
MODES: Final = ("always", "overflow", None)


def create_on(cluster: KafkaCluster, name: str, brokers: set[int]) -> str:
    """Create a topic without copies, which is on one of `brokers`; return its name."""
    for attempt in range(30):
        topic = f"{name}-{attempt}"
        cluster.create_topic(topic, replication=1)
        if cluster.leader(topic, 0) in brokers:
            return topic
    raise AssertionError(f"{name} never was on {brokers}")


def numbers(cluster: KafkaCluster, topic: str) -> list[int]:
    """Those in a topic, without the handler's events."""
    found = confluent_consume(cluster.bootstrap, topic)
    fields = [json.loads(one.value or b"") for one in sorted(found, key=lambda one: one.offset)]
    return [int(one["message"]) for one in fields if one["logger"] != "kiel_logging"]


class Program:
    """One handler; a thread logs to two troubled topics, and the test to a healthy one.

    Attributes:
        usual, troubled: seconds until a healthy record was stored, before and during the trouble.
        logged: the records in each troubled topic.
    """

    def __init__(self, cluster: KafkaCluster, topic: str, mode: str | None, spool: Path) -> None:
        dead, *others = cluster.broker_ids
        self.forbidden = create_on(cluster, f"{topic}-{mode}-forbidden", set(others))
        self.leaderless = create_on(cluster, f"{topic}-{mode}-leaderless", {dead})
        self.healthy = create_on(cluster, f"{topic}-{mode}-healthy", set(others))
        options: dict[str, Any] = logged_in(cluster.security, "SASL_PLAINTEXT", "PLAIN", "bob")
        if mode is not None:
            options |= {"spool_dir": spool, "spool": mode, "chain": True}
        # Without a spool memory has to hold all that waits: half of the buffer may.
        self._most = 800 if mode is None else None
        self.handler = KafkaHandler(topic="{area}", buffer_records=2_000, **options)
        self.usual: list[float] = []
        self.troubled: list[float] = []
        self.logged = 0
        self._healthy = 0
        self._logger = logger_to(self.handler)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._load)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _load(self) -> None:
        while not self._over.wait(0.01):
            if self._most is None or self.handler.stats().undelivered < self._most:
                for topic in (self.forbidden, self.leaderless):
                    self._logger.info("%d", self.logged, extra={"area": topic})
                self.logged += 1

    def wait_stored(self, cluster: KafkaCluster) -> None:
        """Wait until both troubled topics have a record."""
        until(
            lambda: all(available(cluster.bootstrap, t) for t in (self.forbidden, self.leaderless))
        )

    def latency(self) -> float:
        """Log to the healthy topic; return the seconds until the brokers have the record."""
        begun = time.monotonic()
        with self.handler.receipts(timeout=30.0) as receipts:
            self._logger.info("%d", self._healthy, extra={"area": self.healthy})
        assert len(receipts) == 1
        self._healthy += 1
        return time.monotonic() - begun

    def check(self, cluster: KafkaCluster) -> None:
        """All that was logged is stored, once and in order, and was not late where all was well."""
        usual, troubled = (1e3 * median(one) for one in (self.usual, self.troubled))
        print(
            f"{self.handler}: median of {len(self.usual)} before {usual:.1f} ms, of "
            f"{len(self.troubled)} during {troubled:.1f} ms, longest "
            f"{1e3 * max(self.troubled):.0f} ms; {self.logged} for each troubled topic"
        )
        assert troubled < TIMES * usual
        assert numbers(cluster, self.healthy) == list(range(self._healthy))
        for topic in (self.forbidden, self.leaderless):
            assert numbers(cluster, topic) == list(range(self.logged))
        stats = self.handler.stats()
        assert (stats.failed, stats.dropped_total, total(stats)) == (0, 0, stats.emitted)


@contextmanager
def trouble(cluster: KafkaCluster, programs: list[Program]) -> Iterator[None]:
    """Forbid the forbidden topics and kill the broker that leads the leaderless ones."""
    dead = cluster.broker_ids[0]
    try:
        for one in programs:
            cluster.deny("bob", one.forbidden, "WRITE")
        cluster.kill(dead)
        yield
    finally:
        # All brokers are asked for rights: this one has to be back for that.
        cluster.start(dead)
        for one in programs:
            cluster.wait_leader(one.leaderless, 0)
            cluster.allow("bob", one.forbidden)


@pytest.mark.timeout(600)
def test_two_troubled_topics_and_a_healthy_one(
    breakable: KafkaCluster, topic: str, tmp_path: Path
) -> None:
    """With each way to spool and without: the healthy topic's records take no longer; all records
    arrive, in order, when the trouble is over."""

    def stored() -> list[int]:
        return [available(breakable.bootstrap, one.forbidden) for one in programs]

    with ExitStack() as handlers:
        programs = [Program(breakable, topic, mode, tmp_path / str(mode)) for mode in MODES]
        for one in programs:
            handlers.enter_context(closing(one.handler))
        with ExitStack() as stack:
            for one in programs:
                stack.enter_context(one)
                one.wait_stored(breakable)
            for _, one in product(range(BEFORE), programs):
                one.usual.append(one.latency())
            stack.enter_context(trouble(breakable, programs))
            until(lambda: all(one.handler.stats().undelivered > 50 for one in programs))
            before = stored()
            deadline = time.monotonic() + TROUBLE_S  # by the clock: its length is the trouble
            while time.monotonic() < deadline:
                for one in programs:
                    one.troubled.append(one.latency())
            assert stored() == before
        until(lambda: all(one.handler.flush(10.0) == 0 for one in programs), 150.0)
    for one in programs:
        one.check(breakable)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
