"""connect(), flush() and close(): a producer's life."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tornado import gen

from kiel_logging.clients import Producer
from kiel_logging.errors import NoBrokersAvailable, ProducerClosed
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.wire.error_codes import ErrorCode
from tests.network.quick import QUICK, quick_producer, send_all, values


@pytest.mark.gen_test
async def test_repr_tells_the_state() -> None:
    """A debugger shows the state of a producer as it is."""
    async with FakeCluster(brokers=1) as cluster:
        producer = Producer(cluster.addresses)
        (address,) = cluster.addresses
        empty = "<Accumulator buffered=0 in_flight=0>"
        assert repr(producer) == f"<Producer {address} not connected {empty}>"
        await producer.connect()
        assert repr(producer) == f"<Producer {address} connected {empty}>"
        await producer.close()
        assert repr(producer) == f"<Producer {address} closed {empty}>"


@pytest.mark.gen_test
async def test_yield_works_for_everything(cluster: FakeCluster) -> None:
    """connect, produce, flush and close inside `gen.coroutine`."""

    @gen.coroutine
    def life() -> Any:
        producer = quick_producer(cluster, batch_size=10)
        yield producer.connect()
        future = yield producer.produce("logs", 1)
        left = yield producer.flush()
        metadata = yield future
        yield producer.close()
        return left, metadata.offset

    assert await life() == (0, 0)


@pytest.mark.gen_test
async def test_async_with_connects_and_closes(cluster: FakeCluster) -> None:
    """Messages that are produced inside are delivered at the end of the block."""
    async with quick_producer(cluster, batch_size=100, linger_ms=60_000) as producer:
        await send_all(producer, "logs", range(3))
        assert cluster.count("logs") == 0
    assert cluster.count("logs") == 3
    await cluster.until(lambda: cluster.brokers[0].open_connections == 0)
    with pytest.raises(ProducerClosed):
        await producer.produce("logs", 4)


@pytest.mark.gen_test
async def test_an_error_inside_async_with_is_not_hidden(cluster: FakeCluster) -> None:
    """The block's own error comes out, and what was produced is delivered all the same."""

    async def fail_inside() -> None:
        async with quick_producer(cluster, batch_size=100) as producer:
            await producer.produce("logs", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_inside()
    assert cluster.count("logs") == 1


@pytest.mark.gen_test
async def test_connecting_twice() -> None:
    """The second time there is nothing to do."""
    async with FakeCluster(brokers=1) as cluster, quick_producer(cluster) as producer:
        asked = len(cluster.requests)
        await producer.connect()
        assert len(cluster.requests) == asked


@pytest.mark.gen_test
async def test_produce_before_connect(cluster: FakeCluster) -> None:
    """It connects by itself, once for all that came, and keeps their order."""
    producer = quick_producer(cluster)
    await asyncio.gather(*(producer.produce("logs", n) for n in range(5)))
    assert values(cluster, "logs") == [b"0", b"1", b"2", b"3", b"4"]
    await producer.close()


@pytest.mark.gen_test
async def test_produce_without_any_broker() -> None:
    """Where it can't connect, the message is refused, and the next one tries again."""
    async with FakeCluster(brokers=1) as cluster:
        producer = quick_producer(cluster)
        cluster.brokers[0].stop()
        with pytest.raises(NoBrokersAvailable):
            await producer.produce("logs", 1)
        cluster.brokers[0].start()
        await producer.produce("logs", 2)
        assert cluster.count("logs") == 1
        await producer.close()


@pytest.mark.gen_test
async def test_a_cancelled_close_ends_everything_at_once(cluster: FakeCluster) -> None:
    """Many bound it by wait_for(close(), ...): nothing stays behind, and no call hangs."""
    producer = quick_producer(cluster, batch_size=100)
    cluster.brokers[0].stall("Produce")
    delivery = await producer.produce("logs", 1)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(producer.close(), 0.05)
    await producer.close()
    with pytest.raises(ProducerClosed):
        delivery.result()


@pytest.mark.gen_test
async def test_whoever_waited_for_room_is_not_let_into_a_closed_producer(
    cluster: FakeCluster,
) -> None:
    """Room that is found when it is too late is no room: the message is refused, not forgotten."""
    producer = quick_producer(cluster, batch_size=100, buffer_memory=2000)
    first = await producer.produce("logs", "x" * 1000)
    waiting = asyncio.ensure_future(producer.produce("logs", "y" * 1000))
    await first
    await producer.close()
    try:
        assert (await waiting).done()
    except ProducerClosed:
        assert cluster.count("logs") == 1


@pytest.mark.gen_test
async def test_everything_after_close() -> None:
    """connect and produce say that it is closed; flush and close have nothing to do."""
    async with FakeCluster(brokers=1) as cluster:
        producer = quick_producer(cluster)
        await producer.connect()
        await producer.close()
        with pytest.raises(ProducerClosed, match="make a new one"):
            await producer.connect()
        with pytest.raises(ProducerClosed, match="make a new one"):
            await producer.produce("logs", 1)
        assert await producer.flush() == 0
        await producer.close()
        assert "closed" in repr(producer)


@pytest.mark.gen_test
async def test_closing_a_producer_that_was_never_connected() -> None:
    """There is nothing to close, and nothing is asked of any broker."""
    async with FakeCluster(brokers=1) as cluster:
        producer = quick_producer(cluster)
        await producer.close()
        assert "closed" in repr(producer)
        assert cluster.requests == []


@pytest.mark.gen_test
async def test_flush_delivers_without_waiting_for_the_linger(cluster: FakeCluster) -> None:
    """Everything that is buffered goes out now, for two flushes at once; then there is nothing."""
    cluster.add_topic("shop", 2)
    async with quick_producer(cluster, batch_size=100, linger_ms=60_000) as producer:
        messages = await send_all(producer, "shop", range(5))
        assert await asyncio.gather(producer.flush(), producer.flush()) == [0, 0]
        assert await producer.flush() == 0
        assert all(message.done() for message in messages)
        assert cluster.count("shop") == 5


@pytest.mark.gen_test
async def test_flush_ends_with_its_timeout(cluster: FakeCluster) -> None:
    """It returns how many messages are undelivered then; they are delivered later."""
    async with quick_producer(cluster, batch_size=100) as producer:
        cluster.brokers[0].stall("Produce")
        await send_all(producer, "logs", range(3))
        assert await producer.flush(timeout=0.02) == 3
        cluster.brokers[0].resume()
        assert await producer.flush() == 0
    assert values(cluster, "logs") == [b"0", b"1", b"2"]


async def flush_while_more_comes(cluster: FakeCluster, producer: Producer) -> tuple[int, bool]:
    """Flush one message, and produce another meanwhile to a broker that stalls.

    Returns what flush() said, and whether the later message had ended by then.
    """
    fast, slow = cluster.brokers
    cluster.add_topic("fast", 1, leaders=[0])
    cluster.add_topic("slow", 1, leaders=[1])
    for topic in ("fast", "slow"):
        await (await producer.produce(topic, 0))
    fast.stall("Produce")
    slow.stall("Produce")
    await producer.produce("fast", 1)
    flushing = asyncio.ensure_future(producer.flush())
    await fast.received("Produce", 2)
    later = await producer.produce("slow", 2)
    await slow.received("Produce", 2)
    fast.resume()
    told = await flushing
    ended = later.done()
    slow.resume()
    return told, ended


@pytest.mark.gen_test
async def test_flush_does_not_wait_for_what_came_after_it() -> None:
    """It is over, and returns 0, when what was there at its start has ended, whatever comes."""
    async with FakeCluster(brokers=2) as cluster, quick_producer(cluster, batch_size=9) as producer:
        assert await flush_while_more_comes(cluster, producer) == (0, False)


@pytest.mark.gen_test
async def test_flush_counts_failures_as_ended(cluster: FakeCluster) -> None:
    """Messages that can't be delivered do not keep flush waiting."""
    cluster.produce_error(ErrorCode.policy_violation)
    async with quick_producer(cluster, batch_size=100) as producer:
        messages = await send_all(producer, "logs", range(2))
        assert await producer.flush() == 0
        assert all(message.exception() for message in messages)


@pytest.mark.gen_test
async def test_close_fails_what_is_not_delivered_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """Messages in flight, queued, and waiting for a topic: each future ends, and it is logged."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.state.auto_create = False
        cluster.add_topic("logs", 1)
        producer = quick_producer(cluster, batch_size=100)
        await producer.connect()
        cluster.brokers[0].stall("Produce")
        in_flight = await producer.produce("logs", 1)
        await cluster.received("Produce")
        queued = await producer.produce("logs", 2)
        held = await producer.produce("unknown", 3)
        with caplog.at_level(logging.CRITICAL + 1, "kiel_logging.network"):
            await producer.close(timeout=0.01)
        for message in (in_flight, queued, held):
            with pytest.raises(ProducerClosed, match="closed before the brokers acknowledged"):
                await message
        assert "buffered=0 in_flight=0" in repr(producer)


@pytest.mark.gen_test
async def test_close_ends_a_flush_that_waits(cluster: FakeCluster) -> None:
    """No call waits for a closed producer."""
    producer = quick_producer(cluster, batch_size=100)
    await producer.connect()
    cluster.brokers[0].stall("Produce")
    await producer.produce("logs", 1)
    flushing = asyncio.ensure_future(producer.flush())
    await cluster.received("Produce")
    await producer.close(timeout=0)
    await flushing
    assert flushing.done()


@pytest.mark.gen_test
async def test_close_is_not_kept_by_brokers_that_do_not_answer() -> None:
    """A timeout for close() holds, whatever is being asked of whom."""
    async with FakeCluster(brokers=3) as cluster:
        producer = Producer(cluster.addresses, **QUICK, metadata_max_age_ms=1)
        await producer.connect()
        first, *others = cluster.brokers
        first.stall("Metadata")
        for broker in others:
            broker.accept_and_ignore()
        await cluster.received("Metadata", len(await cluster.received("Metadata")) + 1)
        closing = asyncio.ensure_future(producer.close(timeout=0))
        await asyncio.wait([closing], timeout=20)
        in_time = closing.done()
        for broker in cluster.brokers:
            broker.clear_faults()
        await closing
        assert in_time


@pytest.mark.gen_test
async def test_close_while_connecting() -> None:
    """A producer that is closed before it is connected never says that it is connected."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.brokers[0].stall("Metadata")
        producer = quick_producer(cluster)
        connecting = asyncio.ensure_future(producer.connect())
        await cluster.received("Metadata")
        await producer.close(timeout=0)
        cluster.brokers[0].resume()
        await asyncio.wait([connecting])
        assert "closed" in repr(producer)
        assert connecting.cancelled() or isinstance(connecting.exception(), ProducerClosed)


@pytest.mark.gen_test
async def test_a_cancelled_connect_may_be_repeated() -> None:
    """Nothing is left of the first attempt."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.brokers[0].stall("Metadata")
        producer = quick_producer(cluster)
        connecting = asyncio.ensure_future(producer.connect())
        await cluster.received("Metadata")
        connecting.cancel()
        await asyncio.wait([connecting])
        cluster.brokers[0].clear_faults()
        async with producer:
            assert " connected " in repr(producer)
        await cluster.until(lambda: cluster.brokers[0].open_connections == 0)
