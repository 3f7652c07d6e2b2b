"""The outbox of a handler: it has a window, the rest stays where the policy can choose."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from kiel_logging.testing import FakeKafka
from tests.handler.shipped import MakeHandler, logger_to, messages

PATIENCE = 20.0


class Counting:
    """A partitioner: the producer asks it for each record that it takes."""

    def __init__(self) -> None:
        self._taken = threading.Semaphore(0)

    def __call__(self, key: Any, partitions: Sequence[int]) -> int:
        self._taken.release()
        return partitions[0]

    def wait(self, records: int) -> None:
        """Wait until the producer took so many more."""
        for _ in range(records):
            assert self._taken.acquire(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("bounds", "window"),
    [
        pytest.param({"buffer_records": 40}, 10, id="a quarter of the records"),
        pytest.param({"buffer_records": 3}, 1, id="one at least"),
        pytest.param({"buffer_memory": 40_000, "batch_size": 1}, 5, id="a quarter of the bytes"),
    ],
)
def test_only_a_window_is_with_the_producer(
    cluster: FakeKafka, make_handler: MakeHandler, bounds: dict[str, int], window: int
) -> None:
    """While the brokers don't answer, all but the window makes room for what is newer."""
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    taken = Counting()
    handler = make_handler(partitioner=taken, overflow="drop_oldest", **bounds)
    logger = logger_to(handler)
    for number in range(window):
        logger.info("%d %s", number, "x" * 1_500)
    taken.wait(window)
    for number in range(window, 200):
        logger.info("%d %s", number, "x" * 1_500)
    before = handler.stats()
    cluster.on_broker(0, lambda broker: broker.resume())
    handler.flush()
    numbers = [int(message.split()[0]) for message in messages(cluster)]
    newest = 200 - before.buffered - before.in_flight + window
    assert before.dropped_total == newest - window > 100
    assert numbers == [*range(window), *range(newest, 200)]


@pytest.mark.parametrize("known", [False, True], ids=["a new topic", "a topic that is known"])
def test_a_partitioner_that_raises_costs_only_its_record(
    cluster: FakeKafka, make_handler: MakeHandler, known: bool
) -> None:
    """It counts as failed; the others are delivered."""

    def partitioner(key: Any, partitions: Sequence[int]) -> int:
        if key == "bad":
            raise ValueError("no partition for this one")
        return partitions[0]

    errors: list[tuple[str, int]] = []
    handler = make_handler(
        key_field="user",
        partitioner=partitioner,
        on_error=lambda error, records: errors.append((str(error), records)),
    )
    logger = logger_to(handler)
    for user in ("ann", "bad", "bob"):
        logger.info(user, extra={"user": user})
        if known:
            handler.flush()
    handler.flush()
    assert messages(cluster) == ["ann", "bob"]
    assert handler.stats().failed == 1
    assert [records for _, records in errors] == [1]
    assert "no partition for this one" in errors[0][0]


def test_long_keys_are_not_remembered(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Where a key goes is remembered; keys may be of any length, and each may come only once."""
    handler = make_handler(key_field="user")
    logger = logger_to(handler)
    logger.info("hello")
    assert handler.flush() == 0
    tracemalloc.start()
    try:
        for number in range(300):
            logger.info("hello", extra={"user": f"{number} {'n' * 50_000}"})
            if number % 20 == 0:
                assert handler.flush() == 0
        assert handler.flush() == 0
        keys = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, __file__)])
    finally:
        tracemalloc.stop()
    assert sum(trace.size for trace in keys.traces) < 1_000_000
