"""The health of a handler: one word for probes, why, and how long the oldest record has waited."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler, SpoolHandler
from kiel_logging.handler.health import RECENT, Health, health_of
from kiel_logging.handler.ledger import Trouble
from kiel_logging.testing import FakeKafka
from kiel_logging.wire.error_codes import ErrorCode
from tests.handler.shipped import HELD_BACK, MakeHandler, start_broker, stop_broker
from tests.support.waiting import until

TROUBLE = Trouble(subject="topic 'logs'", kind="X", error="a reason: advice", since=0.0, records=2)
NOW = 1_000.0


@pytest.mark.parametrize(
    ("signs", "status", "reasons"),
    [
        ({}, "ok", ()),
        ({"oldest": 5.0}, "ok", ()),
        ({"is_alive": False}, "failing", ("has ended",)),
        ({"is_full": True}, "failing", ("the buffer is full",)),
        ({"lost_at": NOW - 3}, "failing", ("records were lost 3 s ago",)),
        ({"lost_at": NOW - RECENT}, "ok", ()),
        ({"disk_fails": True}, "degraded", ("spool_dir",)),
        (
            {"troubles": (TROUBLE,)},
            "degraded",
            ("topic 'logs': a reason: advice (2 records wait)",),
        ),
        (
            {"troubles": (TROUBLE,), "is_full": True},
            "failing",
            ("the buffer is full", "topic 'logs'"),
        ),
    ],
    ids=str,
)
def test_the_judgement(signs: dict[str, Any], status: str, reasons: tuple[str, ...]) -> None:
    """Losses make it failing, waiting makes it degraded; the worst comes first."""
    health = health_of(NOW, **signs)
    assert health.status == status
    assert len(health.reasons) == len(reasons)
    assert all(want in one for want, one in zip(reasons, health.reasons, strict=True))
    assert health.oldest == signs.get("oldest")


def log(handler: logging.Handler, level: int = logging.INFO, ago: float = 0.0) -> None:
    """Give the handler a record that was made so many seconds ago."""
    handler.handle(
        logging.makeLogRecord({"msg": "x", "levelno": level, "created": time.time() - ago})
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Troubles are reported at once."""
    monkeypatch.setattr("kiel_logging.delivery.troubles.PATIENCE", 0.0)


FINE = Health(status="ok", reasons=(), oldest=None)


@pytest.mark.usefixtures("impatient")
def test_brokers_that_are_away_for_a_while(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """The handler is degraded while its records wait, and well again when all are delivered."""
    handler = make_handler(retry_backoff_max_ms=20)
    assert handler.health() == FINE
    stop_broker(cluster)
    log(handler, ago=100.0)
    log(handler)
    until(lambda: handler.health().status == "degraded")
    assert "wait)" in handler.health().reasons[0]
    until(lambda: (handler.health().oldest or 0.0) >= 100.0)
    start_broker(cluster)
    until(lambda: handler.health() == FINE)
    assert handler.stats().delivered == 2


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "drop_lowest"])
def test_the_oldest_record_in_the_buffer(make_handler: MakeHandler, overflow: str) -> None:
    """Whatever its level is; none when all is sent."""
    handler = make_handler(overflow=overflow, **HELD_BACK)
    log(handler, logging.ERROR, ago=100.0)
    log(handler, logging.DEBUG, ago=50.0)
    oldest = handler.health().oldest
    assert oldest is not None
    assert oldest >= 100.0
    handler.flush()
    assert handler.health() == FINE


def test_a_topic_whose_partitions_are_not_known(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Its records are held, and count."""
    cluster.on_broker(0, lambda broker: broker.stall("Metadata"))
    handler = make_handler()
    log(handler, ago=100.0)
    cluster.received("Metadata")
    oldest = handler.health().oldest
    assert oldest is not None
    assert oldest >= 100.0
    cluster.on_broker(0, lambda broker: broker.resume())
    assert handler.flush() == 0
    assert handler.health() == FINE


def test_a_full_buffer(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """The next record would be dropped; for a minute after a drop the handler is failing."""
    stop_broker(cluster)
    handler = make_handler(buffer_records=2, close_timeout_ms=20, **HELD_BACK)
    log(handler)
    log(handler)
    assert [one.partition(",")[0] for one in handler.health().reasons] == ["the buffer is full"]
    log(handler)
    health = handler.health()
    assert health.status == "failing"
    assert [one[:12] for one in health.reasons[:2]] == ["the buffer i", "records were"]


def test_records_that_the_brokers_refuse(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """They are lost, and the handler is failing for a minute, though all others arrive."""
    cluster.call(lambda c: c.produce_error(ErrorCode.invalid_record))
    handler = make_handler()
    log(handler)
    handler.flush()
    log(handler)
    handler.flush()
    assert handler.stats().failed == 1
    health = handler.health()
    assert health.status == "failing"
    assert health.reasons[0].startswith("records were lost")


def test_records_on_disk(cluster: FakeKafka, spooling: MakeHandler) -> None:
    """They count like those in memory; also those that a handler before it left."""
    stop_broker(cluster)
    before = spooling(close_timeout_ms=20)
    log(before, ago=100.0)
    before.close()
    handler = spooling(close_timeout_ms=20)
    log(handler, ago=50.0)
    until(lambda: (handler.health().oldest or 0.0) >= 100.0)
    start_broker(cluster)
    until(lambda: handler.stats().recovered == 1)
    assert handler.flush() == 0
    until(lambda: handler.health().oldest is None)


@pytest.fixture
def spool_handler(tmp_path: Path) -> Iterator[SpoolHandler]:
    """A handler that appends to a small spool."""
    with closing(SpoolHandler(tmp_path, "logs", spool_max_bytes=1024 * 1024)) as handler:
        yield handler


def test_a_spool_handler(spool_handler: SpoolHandler) -> None:
    """It is well while the disk takes its records; of what was sent it knows nothing."""
    log(spool_handler, ago=100.0)
    assert spool_handler.health() == FINE
    for _ in range(20):
        spool_handler.handle(logging.makeLogRecord({"msg": "x" * 100_000}))
    assert spool_handler.health().status == "failing"


def test_a_closed_handler(make_handler: MakeHandler) -> None:
    """It delivered all, and is well."""
    handler: KafkaHandler = make_handler()
    log(handler)
    handler.close()
    assert handler.health() == FINE
