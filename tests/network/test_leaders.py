"""Leaders move, die and come back; every message arrives all the same, in order."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kiel_logging.testing.cluster import FakeCluster
from tests.network.owner import PATIENCE
from tests.network.quick import quick_producer, round_trip, send_all, to_partition, values


async def test_a_moved_leader_is_found_by_its_hint() -> None:
    """The error of a former leader names the new one, so that no metadata is needed (KIP-951)."""
    async with FakeCluster(brokers=3) as cluster:
        cluster.add_topic("logs", 1, leaders=[0])
        async with quick_producer(cluster) as producer:
            await producer.produce("logs", 1)
            cluster.on("Metadata", lambda request, default: _never_answered())
            cluster.move_leader("logs", 0, 2)
            await producer.produce("logs", 2)
            assert values(cluster, "logs") == [b"1", b"2"]
            assert cluster.brokers[2].requests[-1].api == "Produce"
            cluster.brokers[0].hang_up()
            for broker in cluster.brokers:
                broker.clear_faults()


async def _never_answered() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("version", [7, 9])
async def test_a_moved_leader_is_found_by_a_refresh(version: int) -> None:
    """Before Produce v10 there is no hint: the metadata names the leader."""
    async with FakeCluster(brokers=3) as cluster:
        cluster.add_topic("logs", 1, leaders=[0])
        cluster.set_versions("Produce", 0, version)
        async with quick_producer(cluster) as producer:
            await producer.produce("logs", 1)
            cluster.move_leader("logs", 0, 2)
            await producer.produce("logs", 2)
            assert values(cluster, "logs") == [b"1", b"2"]


async def test_a_leader_that_comes_back_gets_what_waited() -> None:
    """While the only leader is down messages wait, and they arrive in order when it is up again."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("logs", 1, leaders=[1])
        async with quick_producer(cluster, batch_size=3) as producer:
            await send_all(producer, "logs", [0, 1, 2])
            cluster.brokers[1].stop()
            asked = len(cluster.brokers[0].requests)
            messages = await send_all(producer, "logs", [3, 4])
            await cluster.brokers[0].until(lambda: len(cluster.brokers[0].requests) > asked)
            cluster.brokers[1].start()
            messages += await send_all(producer, "logs", [5])
            assert await producer.flush() == 0
            assert values(cluster, "logs") == [b"%d" % n for n in range(6)]
            assert [(await message).offset for message in messages] == [3, 4, 5]


async def test_a_leader_that_dies_is_replaced() -> None:
    """When another broker takes over, it gets what the dead one did not acknowledge."""
    async with FakeCluster(brokers=3) as cluster:
        cluster.add_topic("logs", 1, leaders=[1])
        async with quick_producer(cluster) as producer:
            await producer.produce("logs", 1)
            cluster.brokers[1].stop()
            cluster.move_leader("logs", 0, 2)
            metadata = await (await producer.produce("logs", 2))
            assert metadata.offset == 1
            assert values(cluster, "logs") == [b"1", b"2"]


async def test_a_broker_that_restarts_on_another_port() -> None:
    """The metadata names its address."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("logs", 1, leaders=[1])
        moving = cluster.brokers[1]
        async with quick_producer(cluster) as producer:
            await producer.produce("logs", 1)
            former = moving.port
            moving.stop()
            moving.node.port = 0
            moving.start()
            assert moving.port != former
            await producer.produce("logs", 2)
            assert values(cluster, "logs") == [b"1", b"2"]


async def test_an_idle_connection_that_the_broker_closed_costs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Brokers tidy up idle connections; the next message opens another, without a retry."""
    async with FakeCluster(brokers=1, logs=1) as cluster, quick_producer(cluster) as producer:
        await producer.produce("logs", 1)
        cluster.brokers[0].hang_up()
        await round_trip(cluster)  # the hang-up is known by now
        with caplog.at_level(logging.DEBUG, "kiel_logging"):
            await producer.produce("logs", 2)
        assert values(cluster, "logs") == [b"1", b"2"]
        assert "is sent again" not in caplog.text


async def test_a_new_topic_is_asked_for_at_once() -> None:
    """The pause between refreshes is for repeated questions, not for one about a new topic."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        patient = {"retry_backoff_ms": 60_000, "retry_backoff_max_ms": 60_000}
        producer = quick_producer(cluster, **patient)
        await producer.connect()
        message = asyncio.ensure_future(producer.produce("logs", 1))
        await asyncio.wait([message], timeout=PATIENCE)
        delivered = message.done()
        await asyncio.gather(producer.close(timeout=0), message, return_exceptions=True)
        assert delivered


async def test_metadata_that_gets_old_is_asked_for_again() -> None:
    """Partitions that were added meanwhile get messages after metadata_max_age_ms."""
    async with FakeCluster(brokers=2, logs=1) as cluster:
        newest = lambda _key, partitions: partitions[-1]  # noqa: E731
        producer = quick_producer(cluster, metadata_max_age_ms=10, partitioner=newest)
        async with producer:
            assert (await (await producer.produce("logs", 1))).partition == 0
            cluster.add_partitions("logs", 2)
            asked = len(await cluster.received("Metadata"))
            await cluster.received("Metadata", asked + 2)
            assert (await (await producer.produce("logs", 2))).partition == 2


async def test_each_partition_goes_to_its_own_leader() -> None:
    """A broker gets only records of partitions that it leads, so nothing is refused."""
    async with FakeCluster(brokers=3) as cluster:
        cluster.add_topic("logs", 6, leaders=[0, 1, 2, 2, 1, 0])
        async with quick_producer(cluster, batch_size=12, partitioner="round_robin") as producer:
            await send_all(producer, "logs", range(12))
            assert all(len(records) == 2 for records in cluster.records("logs").values())
            asked = [request.node_id for request in await cluster.received("Produce", 3)]
            assert sorted(asked) == [0, 1, 2]
            assert cluster.complaints == []


async def test_order_is_kept_while_a_leader_moves_to_and_fro() -> None:
    """However often a partition changes hands, its messages are stored once and in order."""
    async with FakeCluster(brokers=3) as cluster:
        cluster.add_topic("logs", 1, leaders=[0])
        async with quick_producer(cluster, batch_size=5, partitioner=to_partition(0)) as producer:
            for turn in range(6):
                cluster.move_leader("logs", 0, turn % 3)
                await send_all(producer, "logs", range(turn * 5, turn * 5 + 5))
            assert values(cluster, "logs") == [b"%d" % n for n in range(30)]
