"""Logging on a running event loop: the loop continues, whatever the brokers do."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.log import app_log

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import MakeHandler, logger_to, messages, stored


@contextmanager
def held_still(handler: KafkaHandler) -> Iterator[None]:
    """Nothing happens on the handler's own thread: waiting for it would take for ever."""
    runner = handler._lifecycle.pipeline._loop_thread.runner
    with runner.gate:
        yield


async def log_on_the_loop(handler: KafkaHandler, count: int) -> list[str]:
    """Log `count` records; return what ran on the loop, in order."""
    done: list[str] = []
    logger = logger_to(handler)
    for number in range(count):
        asyncio.get_running_loop().call_soon(done.append, f"callback {number}")
        logger.info("%d", number)
        done.append(f"logged {number}")
        await asyncio.sleep(0)
    return done


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "drop_lowest"])
def test_a_full_buffer_while_the_broker_is_away(
    cluster: FakeKafka, make_handler: MakeHandler, overflow: str
) -> None:
    """The loop's callbacks run in between, one for each record: logging does not wait for the
    brokers or for the handler's thread."""
    cluster.on_broker(0, lambda broker: broker.stop())
    handler = make_handler(buffer_records=8, overflow=overflow, close_timeout_ms=20)
    logger_to(handler).info("the thread runs")
    with held_still(handler):
        done = asyncio.run(log_on_the_loop(handler, 50))
    assert done == [f"{what} {n}" for n in range(50) for what in ("logged", "callback")]
    stats = handler.stats()
    assert (stats.emitted, stats.dropped) == (51, {"buffer_full": {"INFO": 43}})


def test_the_first_record_of_all(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """It starts the handler's thread and its loop; the running loop stays the running one."""
    handler = make_handler()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        logger_to(handler).info("x")
        assert asyncio.get_running_loop() is loop
        assert asyncio.get_event_loop() is loop
        assert await asyncio.to_thread(handler.flush) == 0

    asyncio.run(main(), debug=True)
    assert messages(cluster) == ["x"]


def test_tasks_keep_their_order_and_have_a_name(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Many tasks log at once; what each logged arrives in its order."""
    handler = make_handler()
    logger = logger_to(handler)

    async def work() -> None:
        for number in range(20):
            logger.info("%d", number)
            await asyncio.sleep(0)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(work(), name=name)

    asyncio.run(main())
    handler.flush()
    found = [(fields["task"], fields["message"]) for fields in stored(cluster)]
    for name in "abc":
        assert [text for task, text in found if task == name] == [str(n) for n in range(20)]


def test_tornado(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Callbacks of a Tornado loop log, Tornado's own loggers among them."""
    handler, loop = make_handler(), IOLoop(make_current=False)
    before = app_log.level
    app_log.setLevel(logging.INFO)
    app_log.addHandler(handler)
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        app_log.info("%d", count)
        if count == 5:
            periodic.stop()
            loop.stop()

    async def start() -> None:
        periodic.start()

    periodic = PeriodicCallback(tick, 1)
    try:
        loop.run_sync(start)
        loop.start()
    finally:
        app_log.removeHandler(handler)
        app_log.setLevel(before)
        loop.close()
    assert handler.flush() == 0
    assert messages(cluster) == ["1", "2", "3", "4", "5"]


def test_what_asyncio_complains_of(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """The records of the program's own loop are shipped; only those of the handler's are not."""
    handler, logger = make_handler(), logging.getLogger("asyncio")
    logger.addHandler(handler)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: {}["missing"])
        await asyncio.sleep(0)

    try:
        asyncio.run(main())
    finally:
        logger.removeHandler(handler)
    handler.flush()
    [fields] = stored(cluster)
    assert (fields["logger"], fields["exception"]["type"]) == ("asyncio", "KeyError")


def test_a_loop_logs_while_another_thread_shuts_logging_down(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """The flush waits for the broker; the loop, which is what lets the broker answer, does not
    wait for the flush."""
    handler = make_handler(linger_ms=60_000)
    logger = logger_to(handler)
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    logger.info("early")

    undelivered: list[int] = []

    def shut_down() -> None:
        with handler.lock:  # type: ignore[union-attr] # as logging.shutdown() does
            undelivered.append(handler.flush())

    thread = threading.Thread(target=shut_down)
    thread.start()
    cluster.received("Produce")

    async def main() -> None:
        for number in range(10):
            logger.info("%d", number)
            await asyncio.sleep(0)
        assert undelivered == []  # it still waits
        cluster.on_broker(0, lambda broker: broker.resume())
        await asyncio.to_thread(thread.join)

    asyncio.run(main())
    assert handler.flush() == 0
    assert messages(cluster) == ["early", *[str(number) for number in range(10)]]
