"""A topic that is made again with fewer partitions gets the queued records, in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kiel_logging.testing.cluster import FakeCluster
from tests.network.owner import append, engine_for, pass_time
from tests.network.quick import quick_producer, send_all

WITH_IDS = pytest.mark.parametrize("version", [13, 9], ids=["topic ids", "no topic ids"])


def shrink(cluster: FakeCluster, partitions: int = 1) -> None:
    """Make the topic again."""
    cluster.delete_topic("logs")
    cluster.add_topic("logs", partitions)


def by_number(key: int, partitions: list[int]) -> int:
    """A partitioner."""
    return partitions[key % len(partitions)]


def numbers(cluster: FakeCluster) -> list[int]:
    """The values of all records that are stored, by partition and in order."""
    parts = cluster.records("logs").values()
    return [int(record.value or b"") for part in parts for record in part]


@WITH_IDS
async def test_a_producer_s_messages_are_stored(version: int) -> None:
    """Those of partitions that are gone too; each future says where."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.set_versions("Metadata", 0, version)
        cluster.add_topic("logs", 3)
        options: dict[str, Any] = {
            "batch_size": 30,
            "key_maker": lambda message: message,
            "partitioner": by_number,
            "required_acks": -1,
        }
        async with quick_producer(cluster, **options) as producer:
            await asyncio.gather(*await send_all(producer, "logs", range(30)))
            shrink(cluster)
            stored = await asyncio.gather(*await send_all(producer, "logs", range(30, 60)))
        assert {(one.topic, one.partition) for one in stored} == {("logs", 0)}
        assert sorted(one.offset for one in stored) == list(range(30))
        assert sorted(numbers(cluster)) == list(range(30, 60))


@WITH_IDS
async def test_records_that_wait_for_a_partition_that_is_gone(version: int) -> None:
    """It never had a leader; later records of its key come behind."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.set_versions("Metadata", 0, version)
        cluster.add_topic("logs", 3)
        cluster.move_leader("logs", 2, None)
        async with engine_for(cluster, partitioner=by_number) as (engine, owner):
            append(engine, "logs", *range(10), key=2)
            await owner.until(lambda: engine.stalled.records == 10)
            shrink(cluster)
            append(engine, "logs", *range(10, 20), key=2)
            await owner.until_delivered(*range(20))
            append(engine, "logs", *range(20, 30), key=2)
            await owner.until_delivered(*range(20, 30))
            assert engine.stalled.partitions == {}
        assert numbers(cluster) == list(range(30))
        assert owner.errors == {}


async def test_a_batch_in_flight_comes_back_in_front() -> None:
    """While it is out, later records of its key wait behind it."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("logs", 2, leaders=[0, 1])
        async with engine_for(cluster, partitioner=by_number) as (engine, owner):
            append(engine, "logs", 0, key=0)
            append(engine, "logs", 1, key=1)
            await owner.until_delivered(0, 1)
            cluster.brokers[1].stall("Produce")
            append(engine, "logs", 2, key=1)
            await cluster.received("Produce", 3)
            shrink(cluster)
            engine.sender.cluster.want_refresh()
            pass_time(engine, owner, 1.0)
            await owner.until_looked(lambda: engine.accumulator.blocked)
            append(engine, "logs", 3, 4, key=1)
            cluster.brokers[1].hang_up()
            await owner.until_delivered(2, 3, 4)
        assert numbers(cluster) == [2, 3, 4]
        assert owner.errors == {}


async def test_no_record_comes_in_between() -> None:
    """From the moment when the new partitions are known, new records wait for the one in flight."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("logs", 2, leaders=[0, 1])
        async with engine_for(cluster, partitioner=by_number) as (engine, owner):
            append(engine, "logs", 0, key=0)
            await owner.until_delivered(0)
            cluster.brokers[1].stall("Produce")
            append(engine, "logs", 1, key=1)
            await cluster.received("Produce", 2)
            found: list[object] = []

            def look() -> None:
                if engine.topology.partitions("logs") == [0]:
                    found.append(engine.where("logs", 1))

            owner.at_clock = look
            shrink(cluster)
            engine.sender.cluster.want_refresh()
            pass_time(engine, owner, 1.0)
            await owner.until_looked(lambda: found)
            assert found[0] is None
            cluster.brokers[1].hang_up()
            await owner.until_delivered(1)
