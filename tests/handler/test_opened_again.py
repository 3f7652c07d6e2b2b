"""A record after close(): dictConfig closes all handlers, those that are still in use as well."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import (
    HELD_BACK,
    QUICK,
    MakeHandler,
    logger_to,
    messages,
    start_broker,
    stop_broker,
    stored_records,
    total,
)
from tests.support.stamps import audited, events, harm, marks


def test_a_record_after_close(
    cluster: FakeKafka, make_handler: MakeHandler, spooled: dict[str, Any]
) -> None:
    """It is delivered, as often as the handler is closed, and the ledger continues."""
    handler = make_handler(**spooled)
    logger = logger_to(handler)
    for number in range(3):
        logger.info("%d", number)
        handler.close()
        assert "closed" in repr(handler)
    logger.info("3")
    assert "open" in repr(handler)
    assert handler.flush() == 0
    stats = handler.stats()
    assert (stats.emitted, stats.delivered, total(stats)) == (4, 4, 4)
    assert messages(cluster) == ["0", "1", "2", "3"]


def test_each_time_is_an_instance_of_its_own(
    cluster: FakeKafka, make_handler: MakeHandler, spooled: dict[str, Any]
) -> None:
    """Chains end with close(); the next one begins with number 1, and both are complete."""
    handler = make_handler(chain=True, **spooled)
    for number in range(2):
        for _ in range(5):
            logger_to(handler).info("%d", number)
        handler.close()
    assert harm(audited(cluster.records("logs"))) == {}
    assert len({marks(record)["instance"] for record in stored_records(cluster)}) == 2
    assert [name for name, _ in events(cluster.records("logs"))] == ["start", "end"] * 2


def test_what_close_left_on_disk(cluster: FakeKafka, spooling: MakeHandler) -> None:
    """The handler that is opened again sends it, in front, and counts it as delivered."""
    stop_broker(cluster)
    handler = spooling(close_timeout_ms=20)
    logger = logger_to(handler)
    for number in range(5):
        logger.info("%d", number)
    handler.close()
    assert (handler.stats().spooled, handler.stats().emitted) == (5, 5)
    start_broker(cluster)
    logger.info("5")
    assert handler.flush(20.0) == 0
    stats = handler.stats()
    assert (stats.emitted, stats.delivered, stats.spooled, stats.recovered) == (6, 6, 0, 0)
    assert messages(cluster) == ["0", "1", "2", "3", "4", "5"]


def test_another_handler_may_send_what_close_left(
    cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path
) -> None:
    """Then it is counted once, by that one; the ledger of each still adds up."""
    stop_broker(cluster)
    options = {"spool_dir": tmp_path, "spool": "always", "close_timeout_ms": 20}
    first, second = make_handler(**options), make_handler(**options)
    logger_to(first).info("x")
    first.close()
    start_broker(cluster)
    logger_to(second).info("y")
    assert second.flush(20.0) == 0
    assert (first.stats().spooled, second.stats().recovered) == (1, 1)
    assert [total(one.stats()) for one in (first, second)] == [1, 1]
    assert messages(cluster) == ["x", "y"]


def test_drops_of_all_times_are_in_the_ledger(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """By reason and level, whether a later time had them as well or not."""
    stop_broker(cluster)
    handler = make_handler(buffer_records=1, **{**HELD_BACK, "close_timeout_ms": 1})
    for level in ("INFO", "ERROR"):
        for _ in range(3):
            logger_to(handler).log(logging.getLevelNamesMapping()[level], "x")
        handler.close()
    stats = handler.stats()
    assert stats.dropped == {"buffer_full": {"INFO": 2, "ERROR": 2}}
    assert (stats.failed, stats.emitted, total(stats)) == (2, 6, 6)


def test_a_block_with_a_close_in_it(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Receipts are of both times."""
    handler = make_handler()
    logger = logger_to(handler)
    with handler.receipts(20.0) as receipts:
        logger.info("before")
        handler.close()
        logger.info("after")
    assert [(one.message, one.offset) for one in receipts] == [("before", 0), ("after", 1)]


def test_threads_that_log_while_it_is_closed(
    cluster: FakeKafka, make_handler: MakeHandler, spooled: dict[str, Any]
) -> None:
    """Whatever a call was about to do when another thread closed the handler: no record is lost,
    none is counted twice."""
    handler = make_handler(**spooled)
    logger = logger_to(handler)

    def log(thread: int) -> None:
        for number in range(300):
            logger.info("%d %d", thread, number)

    threads = [threading.Thread(target=log, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        handler.close()
        stats = handler.stats()
        assert stats.emitted == total(stats)
    handler.close()
    stats = handler.stats()
    assert (stats.emitted, stats.delivered) == (1200, 1200)
    expected = [f"{thread} {number}" for thread in range(4) for number in range(300)]
    assert Counter(messages(cluster)) == Counter(expected)


def test_a_handler_is_closed_once_only(
    cluster: FakeKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second close() reports no loss again; it and flush() have nothing to do."""
    stop_broker(cluster)
    handler = KafkaHandler(cluster.addresses, "logs", **{**QUICK, "close_timeout_ms": 1})
    logger_to(handler).info("x")
    handler.close()
    before = handler.stats()
    handler.close()
    assert (handler.flush(), handler.stats()) == (0, before)
    assert capsys.readouterr().err.count("did not reach Kafka") == 1
