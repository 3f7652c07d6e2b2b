"""Partitions and topics that can't be sent to do not hold up those that can, without a spool."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.errors import BufferFull
from kiel_logging.partitioners import Murmur2
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.cluster import FakeCluster
from tests.handler.shipped import HELD_BACK, MakeHandler, logger_to, outstanding, stored, total
from tests.support.waiting import until

BUFFER: Final = 300
"""Records: a window of 75, and 150 that may wait for what is stalled."""

ROUNDS: Final = 30
PARTITIONS: Final = [0, 1, 2]
USERS: Final[dict[int, str]] = {
    Murmur2()(f"user {number}", PARTITIONS): f"user {number}" for number in range(20)
}
"""One key for each partition."""

Log = Callable[[logging.Logger, int], None]


@pytest.fixture
def shared(cluster: FakeKafka) -> str:
    """A topic of three partitions, of which the first has no leader."""
    cluster.add_topic("shared", len(PARTITIONS))
    cluster.call(lambda c: c.move_leader("shared", 0, None))
    return "shared"


def numbers(cluster: FakeKafka, topic: str, user: str | None = None) -> list[int]:
    """Those that arrived, of one user or of all; without what the handler says itself."""
    fields = stored(cluster, topic)
    return [one["number"] for one in fields if "number" in one and user in (None, one.get("user"))]


def log_to_all(logger: logging.Logger, number: int) -> None:
    """Log one record for each partition, and ten for that without a leader."""
    for user in (*USERS.values(), *[USERS[0]] * 9):
        logger.info("x", extra={"user": user, "number": number})


def rounds(handler: logging.Handler, cluster: FakeKafka, topic: str, log: Log) -> None:
    """Log round after round; each of them brings two healthy records, which arrive."""
    logger = logger_to(handler)
    for number in range(ROUNDS):
        log(logger, number)
        until(lambda number=number: len(numbers(cluster, topic)) >= 2 * (number + 1))  # type: ignore[misc]


def keyed(make_handler: MakeHandler, topic: str, **options: Any) -> KafkaHandler:
    """A handler whose records go by user."""
    return make_handler(topic, key_field="user", buffer_records=BUFFER, **options)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param({"overflow": "drop_newest"}, id="drop_newest"),
        pytest.param({"overflow": "drop_oldest"}, id="drop_oldest"),
        pytest.param({"overflow": "drop_lowest"}, id="drop_lowest"),
        pytest.param({"overflow": "block", "block_timeout_ms": 1}, id="block"),
    ],
)
def test_a_partition_without_a_leader(
    cluster: FakeKafka, make_handler: MakeHandler, shared: str, policy: dict[str, Any]
) -> None:
    """Healthy ones get all their records; half a buffer waits for the others, and more fails."""
    errors: list[tuple[type[Exception], int]] = []
    handler = keyed(
        make_handler, shared, **policy, on_error=lambda error, n: errors.append((type(error), n))
    )
    rounds(handler, cluster, shared, log_to_all)
    for partition in (1, 2):
        assert numbers(cluster, shared, USERS[partition]) == list(range(ROUNDS))
    stats = handler.stats()
    assert total(stats) == stats.emitted
    assert stats.dropped_total == 0
    assert stats.failed == sum(count for _, count in errors) > 0
    assert {error for error, _ in errors} == {BufferFull}
    cluster.call(lambda c: c.move_leader(shared, 0, 0))
    assert handler.flush(20.0) == 0
    waited = numbers(cluster, shared, USERS[0])
    of_the_dead = [number for number in range(ROUNDS) for _ in range(10)]
    assert len(waited) == len(of_the_dead) - stats.failed >= BUFFER // 2
    if policy["overflow"] == "drop_oldest":
        assert waited == of_the_dead[-len(waited) :]
    else:
        assert waited == of_the_dead[: len(waited)]
    # A summary of what was lost may still be under way.
    until(lambda: outstanding(handler) == 0)
    assert handler._lifecycle.pipeline._loop_thread.shipper.outbox.engine.accumulator.memory == 0


def test_nothing_makes_way_for_as_long_as_a_block_may_last(
    cluster: FakeKafka, make_handler: MakeHandler, shared: str
) -> None:
    """With "block", all that is logged waits: for the leader, or for room."""
    handler = keyed(make_handler, shared, overflow="block", block_timeout_ms=3_600_000)
    logger = logger_to(handler)
    for number in range(BUFFER // 12):
        log_to_all(logger, number)
    assert handler.flush(0.05) > 0
    window, waiting = BUFFER // 4, BUFFER // 2
    assert outstanding(handler) <= window + waiting
    cluster.call(lambda c: c.move_leader(shared, 0, 0))
    assert handler.flush(20.0) == 0
    assert handler.stats().failed == handler.stats().dropped_total == 0
    assert len(numbers(cluster, shared)) == 12 * (BUFFER // 12)


def test_records_are_found_behind_those_of_a_stalled_partition(
    cluster: FakeKafka, make_handler: MakeHandler, shared: str
) -> None:
    """Though these fill the window, and nothing comes or is delivered any more."""
    handler = keyed(make_handler, shared, **HELD_BACK, close_timeout_ms=50)
    logger = logger_to(handler)
    for user in (*[USERS[0]] * (BUFFER // 3), USERS[1]):
        logger.info("x", extra={"user": user, "number": 0})
    handler._lifecycle.start_shutdown()
    until(lambda: numbers(cluster, shared, USERS[1]) == [0])


def test_what_waits_is_not_given_up_while_nothing_is_delivered(
    cluster: FakeKafka, make_handler: MakeHandler, shared: str
) -> None:
    """No other partition is better off: the policy chooses among all that is buffered."""
    for partition in (1, 2):
        cluster.call(lambda c, partition=partition: c.move_leader(shared, partition, None))  # type: ignore[misc]
    handler = keyed(make_handler, shared)
    logger = logger_to(handler)
    for number in range(ROUNDS):
        log_to_all(logger, number)
    until(lambda: handler.stats().dropped_total > 0)
    stats = handler.stats()
    assert (stats.failed, stats.buffered) == (0, BUFFER)
    for partition in PARTITIONS:
        cluster.call(lambda c, partition=partition: c.move_leader(shared, partition, 0))  # type: ignore[misc]
    assert handler.flush(20.0) == 0
    assert handler.stats().failed == 0


def test_a_missing_topic_of_a_template(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """It holds up no other, though nothing of it is with a partition yet."""
    cluster.call(lambda c: setattr(c.state, "auto_create", False))
    cluster.add_topic("good", 1)

    def log_to_both(logger: logging.Logger, number: int) -> None:
        for area in ("good", "good", *["missing"] * 10):
            logger.info("x", extra={"area": area, "number": number})

    handler = make_handler("{area}", buffer_records=BUFFER)
    rounds(handler, cluster, "good", log_to_both)
    cluster.add_topic("missing", 1)
    assert handler.flush(30.0) == 0
    arrived = numbers(cluster, "missing")
    logged = [number for number in range(ROUNDS) for _ in range(10)]
    assert arrived == logged[: len(arrived)]
    assert len(arrived) >= BUFFER // 2
    stats = handler.stats()
    assert stats.dropped_total == 0
    failed, own = len(logged) - len(arrived), stats.emitted - 12 * ROUNDS
    assert 0 < failed <= stats.failed <= failed + own  # a summary may have been one too many


@pytest.mark.parametrize(
    ("version", "left"), [(13, 2), (13, 1), (9, 1)], ids=["two are left", "one", "no topic ids"]
)
def test_a_topic_that_is_made_again_with_fewer_partitions(
    cluster: FakeKafka, make_handler: MakeHandler, version: int, left: int
) -> None:
    """Records for those that are gone arrive elsewhere, in the order of each key."""
    cluster.call(lambda c: c.set_versions("Metadata", 0, version))
    cluster.add_topic("shared", 3)
    handler = keyed(make_handler, "shared", overflow="block", block_timeout_ms=60_000)
    logger = logger_to(handler)

    def log_more(first: int, count: int) -> None:
        for number in range(first, first + count):
            logger.info("x", extra={"user": USERS[number % 3], "number": number})

    log_more(0, 30)
    assert handler.flush(20.0) == 0
    cluster.call(lambda c: c.move_leader("shared", 2, None))
    log_more(30, 120)
    until(lambda: len(numbers(cluster, "shared")) == 110)

    def make_again(fake: FakeCluster) -> None:
        fake.delete_topic("shared")
        fake.add_topic("shared", left)

    cluster.call(make_again)
    log_more(150, 900)
    assert handler.flush(20.0) == 0
    stats = handler.stats()
    assert (stats.failed, stats.dropped_total) == (0, 0)
    arrived = set(numbers(cluster, "shared"))
    assert arrived.issuperset(range(150, 1050))
    assert arrived.issuperset(range(32, 150, 3))
    parts = cluster.records("shared")
    for user in USERS.values():
        of_the_user = numbers(cluster, "shared", user)
        assert of_the_user == sorted(set(of_the_user))
        keys = [record.key for record in parts[Murmur2()(user, list(range(left)))]]
        assert keys.count(user.encode()) == len(of_the_user)


def test_records_are_found_behind_a_large_backlog_of_a_stalled_partition(
    cluster: FakeKafka, spooling: MakeHandler, shared: str
) -> None:
    """However much waits on disk in front of them, and without any new records."""
    count = 10 * BUFFER
    handler = keyed(spooling, shared, overflow="block", close_timeout_ms=50)
    logger = logger_to(handler)
    for number in range(count):
        logger.info("x", extra={"user": USERS[0], "number": number})
    logger.info("x", extra={"user": USERS[1], "number": 0})
    until(lambda: numbers(cluster, shared, USERS[1]) == [0])
    assert numbers(cluster, shared, USERS[0]) == []
    cluster.call(lambda c: c.move_leader(shared, 0, 0))
    assert handler.flush(30.0) == 0
    assert numbers(cluster, shared, USERS[0]) == list(range(count))
