"""`flush()` returns how many records are still undelivered, for every cause of delay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, NamedTuple

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka
from tests.handler.process.child import run_by_hand, said
from tests.handler.shipped import (
    HELD_BACK,
    QUICK,
    MakeHandler,
    logger_to,
    refuse_everything,
    start_broker,
    stop_broker,
    total,
)

SHORT: Final = 0.05
LONG: Final = 60.0


def nothing(cluster: FakeKafka) -> None:
    """Hold up no delivery."""


def stall(cluster: FakeKafka) -> None:
    """Have the broker take requests and not answer them."""
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))


def resume(cluster: FakeKafka) -> None:
    """Have the broker answer."""
    cluster.on_broker(0, lambda broker: broker.resume())


class Case(NamedTuple):
    """Ten records of which some are left, and none once it is over."""

    left: int
    begin: Callable[[FakeKafka], None]
    end: Callable[[FakeKafka], None]
    options: dict[str, Any] = {}  # noqa: RUF012 # it is never changed


CASES: Final = {
    "all is well": Case(0, nothing, nothing),
    "all wait for a batch to fill": Case(0, nothing, nothing, HELD_BACK),
    "in flight": Case(10, stall, resume),
    "one in flight, the others behind it": Case(10, stall, resume, {"batch_size": 1}),
    "some with the producer, others queued": Case(10, stall, resume, {"buffer_records": 12}),
    "dropped ones are not undelivered": Case(4, stall, resume, {"buffer_records": 4}),
    "no broker was ever there": Case(10, stop_broker, start_broker),
    "refused ones are given up": Case(0, refuse_everything, nothing),
}


@pytest.mark.parametrize("case", CASES)
def test_flush_counts_what_is_left(
    cluster: FakeKafka, make_handler: MakeHandler, case: str
) -> None:
    """It returns the number of records that are left, and 0 once nothing is in the way."""
    left, begin, end, options = CASES[case]
    handler = make_handler(**options)
    logger = logger_to(handler)
    begin(cluster)
    for number in range(10):
        logger.info("%d", number)
    if left:
        assert handler.flush(0) == handler.flush(SHORT) == left
    else:
        assert handler.flush(LONG) == 0
    end(cluster)
    assert handler.flush(LONG) == 0
    assert handler.stats().emitted == total(handler.stats())


def test_a_flush_ends_although_the_loop_thread_is_held_up(make_handler: MakeHandler) -> None:
    """All records are left then."""
    handler = make_handler()
    logger = logger_to(handler)
    assert handler.flush(LONG) == 0
    logger.info("the thread runs")
    assert handler.flush(LONG) == 0
    runner = handler._lifecycle.pipeline._loop_thread.runner
    with runner.gate:
        for _ in range(3):
            logger.info("queued")
        assert handler.flush(0) == 3
    assert handler.flush(LONG) == 0


def test_a_flush_ends_where_no_thread_can_ship(
    cluster: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread can be started, and this one runs another loop."""

    def refuse(*_arguments: Any) -> None:
        raise RuntimeError("can't start new thread")

    async def flush() -> int:
        return handler.flush(SHORT)

    handler = KafkaHandler(cluster.addresses, "logs", **QUICK)
    with closing(handler):
        monkeypatch.setattr(threading.Thread, "start", refuse)
        logger_to(handler).info("left")
        assert asyncio.run(flush()) == 1
        monkeypatch.undo()
        assert handler.flush(LONG) == 0


def test_later_records_belong_to_another_flush(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """A flush ends when the records before it are delivered, though threads never stop logging."""
    handler = make_handler(batch_size=5, buffer_records=500, overflow="block")
    logger = logger_to(handler)
    over = threading.Event()

    def log() -> None:
        while not over.is_set():
            logger.info("another")

    others = threading.Thread(target=log)
    others.start()
    try:
        for _ in range(5):
            assert handler.flush(LONG) == 0
    finally:
        over.set()
        others.join()
    assert handler.flush(LONG) == 0
    assert handler.stats().emitted == total(handler.stats())


HELD_AT_ITS_END = """
import threading
handler = make()
log.info("the thread runs")
assert handler.flush(60.0) == 0
begun = threading.Event()
flushing = threading.Thread(target=lambda: (begun.set(), handler.flush(600.0)), daemon=True)
with handler._lifecycle.pipeline._loop_thread.runner.gate:
    flushing.start()
    begun.wait()
    handler.close()  # it gives up the loop, which is held, and has it stop before all else
flushing.join(60.0)
say(ended=not flushing.is_alive())
"""


@pytest.mark.programs
def test_a_flush_that_a_close_overtakes_ends_with_it(cluster: FakeKafka) -> None:
    """It must not wait out its timeout: the loop is stopped before it begins the flush."""
    program = run_by_hand(HELD_AT_ITS_END, brokers=cluster.addresses, close_timeout_ms=100)
    assert said(program) == {"ended": True}
