"""Receipts in asyncio and Tornado programs: their loop keeps running, their tasks count."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tornado import gen
from tornado.ioloop import IOLoop

from kiel_logging import KafkaHandler
from kiel_logging.errors import NotAcknowledged
from kiel_logging.handler.receipts import _notify_loop
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import HELD_BACK, MakeHandler, fail, logger_to, messages
from tests.handler.test_receipts import LONG, SHORT, resume_when_asked, stalled, texts


@contextmanager
def held_still(handler: KafkaHandler) -> Iterator[None]:
    """Nothing happens on the handler's own thread."""
    runner = handler._lifecycle.pipeline._loop_thread.runner
    with runner.gate:
        yield


# -- asyncio --------------------------------------------------------------------------------------


def test_leaving_is_awaited(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """As with `with`: what was logged is acknowledged, without the linger."""
    handler = make_handler(**HELD_BACK)

    async def main() -> None:
        async with handler.receipts(LONG) as receipts:
            logger_to(handler).info("paid")
            await asyncio.sleep(0)
            logger_to(handler).info("shipped")
        assert [(r.offset, r.message) for r in receipts] == [(0, "paid"), (1, "shipped")]

    asyncio.run(main())
    assert messages(cluster) == ["paid", "shipped"]


def test_the_loop_goes_on_while_the_handler_does_nothing(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Leaving a block does not stop the program's loop: it is another task that lets the handler's
    thread work again."""
    handler = make_handler()
    logger_to(handler).info("the thread runs")
    assert handler.flush() == 0

    async def block() -> list[str]:
        async with handler.receipts(LONG) as receipts:
            logger_to(handler).info("paid")
            left.set()
        return texts(receipts)

    async def main() -> None:
        task = asyncio.ensure_future(block())
        with held_still(handler):
            await left.wait()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
        assert await task == ["paid"]

    left = asyncio.Event()
    asyncio.run(main())


def test_tasks_and_threads_of_a_block_count(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Those that begin in it, with a copy of its context; an executor's threads have none."""
    handler = make_handler()
    logger = logger_to(handler)

    async def work(text: str) -> None:
        await asyncio.sleep(0)
        logger.info(text)

    async def main() -> None:
        before = asyncio.ensure_future(work("a task from before"))
        async with handler.receipts(LONG) as receipts:
            await asyncio.gather(before, work("gathered"))
            await asyncio.create_task(work("a task"))
            async with asyncio.TaskGroup() as group:
                group.create_task(work("of a group"))
            await asyncio.to_thread(logger.info, "a thread")
            await asyncio.get_running_loop().run_in_executor(None, logger.info, "an executor")
        assert texts(receipts) == ["gathered", "a task", "of a group", "a thread"]

    asyncio.run(main())
    assert handler.flush() == 0
    assert len(messages(cluster)) == 6


def test_a_task_that_outlives_its_block(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Leaving doesn't wait for what it has yet to log."""
    handler = make_handler()
    logger = logger_to(handler)

    async def work() -> None:
        logger.info("in time")
        begun.set()
        await over.wait()
        logger.info("late")

    async def main() -> None:
        async with handler.receipts(LONG) as receipts:
            task = asyncio.create_task(work())
            await begun.wait()
        over.set()
        await task
        assert texts(receipts) == ["in time"]

    begun, over = asyncio.Event(), asyncio.Event()
    asyncio.run(main())
    assert handler.flush() == 0
    assert messages(cluster) == ["in time", "late"]


def test_blocks_of_tasks_side_by_side(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Each has its own records, and the block around them has all."""
    handler = make_handler(batch_size=10)
    logger = logger_to(handler)

    async def request(number: int) -> list[str]:
        async with handler.receipts(LONG) as receipts:
            for step in range(3):
                logger.info("%d.%d", number, step)
                await asyncio.sleep(0)
        return texts(receipts)

    async def main() -> None:
        async with handler.receipts(LONG) as receipts:
            found = await asyncio.gather(*map(request, range(50)))
        assert found == [[f"{number}.{step}" for step in range(3)] for number in range(50)]
        assert sorted(texts(receipts)) == sorted(text for texts in found for text in texts)
        assert sorted(r.offset for r in receipts) == list(range(150))

    asyncio.run(main())


def test_what_is_not_acknowledged_is_raised(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Lost for good, or not known in time."""
    lost, waiting = make_handler(serializer=fail), make_handler()

    async def log(handler: KafkaHandler, timeout: float) -> None:
        async with handler.receipts(timeout):
            logger_to(handler).info("paid")

    with pytest.raises(NotAcknowledged, match="unserialisable"):
        asyncio.run(log(lost, LONG))
    with stalled(cluster), pytest.raises(NotAcknowledged, match="not acknowledged within"):
        asyncio.run(log(waiting, SHORT))


def test_an_error_in_an_asynchronous_block(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """It wins, and has a note of what is not stored."""
    handler = make_handler(serializer=lambda fields: fail() if "bad" in fields else b"good")

    async def log() -> None:
        async with handler.receipts(LONG) as receipts:
            logger_to(handler).info("good")
            logger_to(handler).info("lost", extra={"bad": True})
            found.append(receipts)
            raise KeyError("missing")

    found = []
    with pytest.raises(KeyError) as raised:
        asyncio.run(log())
    assert "1 of 2 log records were not acknowledged: 'lost'" in raised.value.__notes__[0]
    assert texts(found[0]) == ["good"]


# -- cancellation ---------------------------------------------------------------------------------


def test_a_task_that_is_cancelled_in_the_block(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """It ends at once, whatever the brokers do; the record is on its way."""
    handler = make_handler(**HELD_BACK)

    async def block() -> None:
        async with handler.receipts(LONG):
            logger_to(handler).info("paid")
            logged.set()
            await asyncio.sleep(LONG)

    async def main() -> None:
        task = asyncio.create_task(block())
        await logged.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not handler._blocks

    logged = asyncio.Event()
    with stalled(cluster):
        asyncio.run(main())
    cluster.stored("logs", 1)
    assert messages(cluster) == ["paid"]


def test_a_task_that_is_cancelled_while_it_leaves(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """It ends immediately, and later deliveries of the handler disturb no task."""
    handler = make_handler()

    async def block() -> None:
        async with handler.receipts(LONG) as receipts:
            logger_to(handler).info("paid")
            begun.set()
            found.append(receipts)

    async def main() -> None:
        task = asyncio.create_task(block())
        await begun.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not handler._blocks
        assert [one.message for one in found[0].undelivered] == ["paid"]
        await asyncio.to_thread(cluster.on_broker, 0, lambda broker: broker.resume())
        assert await asyncio.to_thread(handler.flush) == 0
        async with handler.receipts(LONG) as receipts:
            logger_to(handler).info("again")
        assert texts(receipts) == ["again"]

    begun, found = asyncio.Event(), []
    with stalled(cluster):
        asyncio.run(main())
    assert messages(cluster) == ["paid", "again"]


def test_a_loop_that_is_closed_while_records_are_on_their_way(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """A block that is never left harms nothing."""
    handler = make_handler()
    loop = asyncio.new_event_loop()

    async def block() -> None:
        async with handler.receipts(LONG):
            logger_to(handler).info("paid")

    with stalled(cluster):
        task = loop.create_task(block())
        for _ in range(3):
            loop.run_until_complete(asyncio.sleep(0))
        assert not task.done()
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        loop.close()
    assert handler.flush() == 0
    assert messages(cluster) == ["paid"]


def test_a_loop_is_told_twice_or_too_late() -> None:
    """A record that comes when all are settled makes them settled again; it is no error."""
    errors: list[object] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: errors.append(context))
        settled = loop.create_future()
        found.append((loop, settled))
        for _ in range(2):
            _notify_loop(loop, settled)
        await settled
        await asyncio.sleep(0)

    found: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
    asyncio.run(main())
    _notify_loop(*found[0])
    assert errors == []


def test_a_time_limit_around_a_block(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """The shorter of both counts."""
    handler = make_handler()

    async def main() -> None:
        async with asyncio.timeout(SHORT), handler.receipts(LONG):
            logger_to(handler).info("paid")

    with stalled(cluster), pytest.raises(TimeoutError):
        asyncio.run(main())


# -- both kinds -----------------------------------------------------------------------------------


def test_with_in_a_coroutine(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """It works, and blocks the loop: for programs whose loop may wait."""
    handler = make_handler()

    async def main() -> list[str]:
        with handler.receipts(LONG) as receipts:
            logger_to(handler).info("paid")
            asyncio.get_running_loop().call_soon(done.append, "a callback")
        assert done == []
        return texts(receipts)

    done: list[str] = []
    assert asyncio.run(main()) == ["paid"]


def test_a_block_that_ends_in_another_context(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """As those of asynchronous fixtures may."""
    handler = make_handler()

    async def main() -> None:
        receipts = handler.receipts(LONG)
        context = contextvars.copy_context()
        await asyncio.get_running_loop().create_task(receipts.__aenter__(), context=context)
        context.run(logger_to(handler).info, "inside")
        logger_to(handler).info("outside")
        await receipts.__aexit__(None, None, None)
        assert texts(receipts) == ["inside"]

    asyncio.run(main())


# -- Tornado --------------------------------------------------------------------------------------


def test_a_coroutine_on_tornado_s_loop(
    cluster: FakeKafka, make_handler: MakeHandler, io_loop: IOLoop
) -> None:
    """`async with` waits on it while its callbacks run."""
    handler = make_handler()
    callbacks: list[str] = []

    async def main() -> list[str]:
        async with handler.receipts(LONG) as receipts:
            logger_to(handler).info("paid")
            IOLoop.current().add_callback(callbacks.append, "ran")
            IOLoop.current().run_in_executor(None, resume_when_asked, cluster)
        return texts(receipts)

    with stalled(cluster):
        assert io_loop.run_sync(main, timeout=LONG) == ["paid"]
    assert callbacks == ["ran"]


def test_a_generator_on_tornado_s_loop(
    cluster: FakeKafka, make_handler: MakeHandler, io_loop: IOLoop
) -> None:
    """`gen.coroutine` keeps its context over what it yields; there is no `async with` in it."""
    handler = make_handler()
    logger = logger_to(handler)

    @gen.coroutine
    def work():
        with handler.receipts(LONG) as receipts:
            logger.info("one")
            yield gen.moment
            logger.info("two")
        return texts(receipts)

    assert io_loop.run_sync(work, timeout=LONG) == ["one", "two"]
