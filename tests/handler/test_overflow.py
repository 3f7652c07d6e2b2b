"""The overflow policies, end to end: a broker that is away, a buffer that is full, and what arrives
once the broker is back."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from kiel_logging.testing import FakeKafka
from tests.handler.shipped import (
    HELD_BACK,
    Collecting,
    MakeHandler,
    logger_to,
    messages,
    outstanding,
    start_broker,
    stop_broker,
    stored,
    summaries,
    total,
)
from tests.support.waiting import in_threads, until

LEVELS = ["DEBUG", "INFO", "WARNING", "DEBUG", "INFO", "ERROR", "INFO", "ERROR"]
"""Eight records, numbered, of these levels; there is room for four."""


def log_all(logger: logging.Logger, levels: list[str]) -> None:
    """Log a record of each level; its message is its number."""
    for number, level in enumerate(levels):
        logger.log(logging.getLevelName(level), "%d", number)


@pytest.mark.parametrize(
    ("overflow", "arrive", "dropped"),
    [
        ("drop_newest", "0123", {"INFO": 2, "ERROR": 2}),
        ("drop_oldest", "4567", {"DEBUG": 2, "INFO": 1, "WARNING": 1}),
        # 4 drives out 3, 5 drives out 0; 6 finds only its own level; 7 drives out the newer INFO.
        ("drop_lowest", "1257", {"DEBUG": 2, "INFO": 2}),
        ("block", "0123", {"INFO": 2, "ERROR": 2}),
    ],
)
def test_a_full_buffer(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    overflow: str,
    arrive: str,
    dropped: dict[str, int],
) -> None:
    """Records that are kept arrive in the order of the calls; others are counted by level."""
    stop_broker(cluster)
    handler = make_handler(**HELD_BACK, buffer_records=4, overflow=overflow, block_timeout_ms=1)
    log_all(logger_to(handler), LEVELS)
    stats = handler.stats()
    assert (stats.emitted, stats.buffered, total(stats)) == (8, 4, 8)
    assert stats.dropped == {"buffer_full": dropped}
    start_broker(cluster)
    handler.close()
    assert messages(cluster) == list(arrive)
    assert handler.stats().delivered == 4 + len(summaries(cluster))


@pytest.mark.parametrize(
    ("overflow", "arrive"),
    [("drop_newest", "ab"), ("drop_oldest", "bc"), ("drop_lowest", "ab"), ("block", "ab")],
)
def test_a_bound_on_memory(
    cluster: FakeKafka, make_handler: MakeHandler, overflow: str, arrive: str
) -> None:
    """Large records fill the buffer by their size, however few they are."""
    stop_broker(cluster)
    handler = make_handler(**HELD_BACK, buffer_memory=20_000, overflow=overflow, block_timeout_ms=1)
    logger = logger_to(handler)
    for letter in "abc":
        logger.info(letter * 8_000)
    stats = handler.stats()
    assert (stats.dropped, stats.buffered) == ({"buffer_full": {"INFO": 1}}, 2)
    assert 16_000 < stats.memory <= 20_000
    start_broker(cluster)
    handler.close()
    assert [message[0] for message in messages(cluster)] == list(arrive)


def test_what_is_delivered_makes_room(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A buffer that was full takes records again as soon as the broker is back."""
    stop_broker(cluster)
    handler = make_handler(buffer_records=2)
    logger = logger_to(handler)
    for number in range(3):
        logger.info("%d", number)
    start_broker(cluster)
    handler.flush()
    cluster.stored("logs", 3)  # with the summary
    logger.info("3")
    handler.close()
    assert messages(cluster) == ["0", "1", "3"]


@pytest.mark.parametrize(
    ("overflow", "arrive"),
    [("drop_oldest", ["0", "1", "9", "10", "11", "12", "13", "14"]), ("drop_lowest", None)],
)
def test_what_is_with_the_producer_is_not_shed(
    cluster: FakeKafka, make_handler: MakeHandler, overflow: str, arrive: list[str] | None
) -> None:
    """A quarter of the buffer is on its way, DEBUG or not; the policy chooses among the rest."""
    stop_broker(cluster)
    handler = make_handler(**HELD_BACK, buffer_records=8, overflow=overflow)
    logger = logger_to(handler)
    for number in range(4):
        logger.debug("%d", number)
    until(lambda: handler.flush(timeout=0.02) == 4 and outstanding(handler) == 2)
    for number in range(4, 15):
        logger.info("%d", number)
    start_broker(cluster)
    handler.close()
    # drop_lowest: 2 and 3 give way to 8 and 9, then nothing is lower than what comes.
    assert messages(cluster) == (arrive or ["0", "1", "4", "5", "6", "7", "8", "9"])


def test_drop_lowest_keeps_errors_through_a_flood(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """However many lower records come before and after, no ERROR is lost while there is room."""
    stop_broker(cluster)
    handler = make_handler(**HELD_BACK, buffer_records=40, overflow="drop_lowest")
    logger = logger_to(handler)
    for number in range(500):
        logger.log(logging.ERROR if number % 25 == 0 else logging.DEBUG, "%d", number)
    assert handler.stats().dropped == {"buffer_full": {"DEBUG": 460}}
    start_broker(cluster)
    handler.close()
    errors = [fields["message"] for fields in stored(cluster) if fields["level"] == "ERROR"]
    assert errors == [str(number) for number in range(0, 500, 25)]


def test_block_waits_for_the_broker(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Logging threads wait instead of losing records, and continue when there is room."""
    stop_broker(cluster)
    handler = make_handler(buffer_records=4, overflow="block", block_timeout_ms=60_000)
    logger = logger_to(handler)

    def log() -> None:
        for number in range(1, 50):
            logger.info("%d", number)

    logger.info("0")
    logging_thread = threading.Thread(target=log)
    logging_thread.start()
    while handler.stats().emitted < 4:
        handler.flush(timeout=0.001)
    assert handler.stats().emitted == 4
    start_broker(cluster)
    logging_thread.join()
    assert handler.flush() == 0
    assert messages(cluster) == [str(number) for number in range(50)]
    assert handler.stats().dropped == {}


def test_close_ends_the_wait(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """No thread waits for room in a handler that is closed: its record opens it again."""
    stop_broker(cluster)
    fallback = Collecting()
    handler = make_handler(
        buffer_records=2,
        overflow="block",
        block_timeout_ms=60_000,
        close_timeout_ms=20,
        fallback=fallback,
    )
    logger = logger_to(handler)
    logger.info("first")
    logging_thread = threading.Thread(target=lambda: log_all(logger, ["INFO"] * 2))
    logging_thread.start()
    while handler.stats().emitted < 2:
        handler.flush(timeout=0.001)
    handler.close()
    logging_thread.join()
    stats = handler.stats()
    assert (stats.emitted, stats.failed, stats.buffered, stats.dropped) == (3, 2, 1, {})
    assert sorted(fallback.messages) == ["0", "first"]
    start_broker(cluster)
    assert handler.flush(20.0) == 0
    assert messages(cluster) == ["1"]


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "drop_lowest", "block"])
def test_a_record_that_no_buffer_takes(
    cluster: FakeKafka, make_handler: MakeHandler, overflow: str
) -> None:
    """One that is larger than the whole buffer is dropped at once, and drives out no other."""
    handler = make_handler(
        **HELD_BACK, buffer_memory=5_000, overflow=overflow, block_timeout_ms=60_000
    )
    logger = logger_to(handler)
    logger.debug("small")
    logger.error("x" * 6_000)
    assert handler.stats().dropped == {"buffer_full": {"ERROR": 1}}
    handler.close()
    assert messages(cluster) == ["small"]


def test_many_threads_on_a_full_buffer(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Each thread's records that arrive are in its order, and none is lost uncounted."""
    handler = make_handler(buffer_records=20, batch_size=5, overflow="drop_oldest")
    logger = logger_to(handler)

    def log(who: int) -> None:
        for number in range(200):
            logger.info("%d", number, extra={"who": who})

    in_threads(log, range(4))
    handler.close()
    arrived: dict[Any, list[int]] = {}
    for fields in stored(cluster):
        if fields["logger"] != "kiel_logging":
            arrived.setdefault(fields["who"], []).append(int(fields["message"]))
    assert all(numbers == sorted(set(numbers)) for numbers in arrived.values())
    # Not dropped_total: a summary of the handler's own may have had to make room as well.
    dropped = handler.stats().dropped["buffer_full"]["INFO"]
    assert sum(map(len, arrived.values())) == 800 - dropped
