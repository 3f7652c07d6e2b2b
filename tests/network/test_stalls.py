"""Partitions that can't be sent to: the engine knows which, and why, and says when that changes."""

from __future__ import annotations

import pytest

from kiel_logging.delivery.accumulator import UNKNOWN
from kiel_logging.errors import BrokerUnreachable, ConnectionLost, NoLeader
from kiel_logging.records import TopicPartition
from tests.network.owner import Owner, append, engine_for
from tests.support.fake_cluster import ErrorCode, FakeCluster

LOGS_0, LOGS_1 = TopicPartition("logs", 0), TopicPartition("logs", 1)


def by_number(key: int, partitions: list[int]) -> int:
    """A partitioner: the key is the partition."""
    return partitions[key]


@pytest.mark.gen_test
async def test_a_partition_without_a_leader() -> None:
    """It is told with its reason; the other one is served; it arrives when there is a leader."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("logs", 2)
        cluster.move_leader("logs", 0, None)
        owner = Owner()
        async with engine_for(owner, cluster, partitioner=by_number) as engine:
            append(engine, "logs", 1, 2, 3, key=0)
            append(engine, "logs", 4, key=1)
            await owner.until(lambda: engine.is_stalled(LOGS_0))
            await owner.until_delivered(4)
            await owner.until(lambda: engine.stalled.records == 3)
            assert not engine.is_stalled(LOGS_1)
            assert isinstance(engine.stalled.partitions[LOGS_0].error, NoLeader)
            cluster.move_leader("logs", 0, 0)
            await owner.until_delivered(1, 2, 3)
            await owner.until(lambda: not engine.is_stalled(LOGS_0))
            assert engine.stalled.records == 0


@pytest.mark.gen_test
async def test_a_partition_whose_leader_is_down() -> None:
    """The reason is the error of its broker; it is reached again, as soon as it is there."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("logs", 2, leaders=[0, 1])
        owner = Owner()
        async with engine_for(owner, cluster, partitioner=by_number) as engine:
            append(engine, "logs", 0, key=0)
            append(engine, "logs", 1, key=1)
            await owner.until_delivered(0, 1)
            cluster.brokers[0].stop()
            append(engine, "logs", 2, key=0)
            await owner.until(lambda: engine.is_stalled(LOGS_0))
            error = engine.stalled.partitions[LOGS_0].error
            assert isinstance(error, BrokerUnreachable | ConnectionLost)
            append(engine, "logs", 3, key=1)
            await owner.until_delivered(3)
            cluster.brokers[0].start()
            await owner.until_delivered(2)
            await owner.until(lambda: not engine.is_stalled(LOGS_0))


@pytest.mark.gen_test
async def test_a_partition_whose_replicas_are_not_in_sync() -> None:
    """Its leader answers, and never takes anything."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 2)
        cluster.produce_error(ErrorCode.not_enough_replicas, times=10**6, only=("logs", 0))
        owner = Owner()
        async with engine_for(owner, cluster, partitioner=by_number) as engine:
            append(engine, "logs", 1, key=0)
            append(engine, "logs", 2, key=1)
            await owner.until(lambda: engine.is_stalled(LOGS_0))
            await owner.until_delivered(2)
            cluster.brokers[0].node.produce_faults.clear()
            await owner.until_delivered(1)


@pytest.mark.gen_test
async def test_records_of_an_unknown_topic() -> None:
    """They are stalled until it is known."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.state.auto_create = False
        cluster.add_topic("logs", 1)
        owner = Owner()
        async with engine_for(owner, cluster) as engine:
            append(engine, "new", 1, 2)
            append(engine, "logs", 3)
            await owner.until(lambda: engine.is_stalled(TopicPartition("new", UNKNOWN)))
            await owner.until_delivered(3)
            await owner.until(lambda: engine.stalled.records == 2)
            cluster.add_topic("new", 1)
            await owner.until_delivered(1, 2)
            await owner.until(lambda: engine.stalled.records == 0)


@pytest.mark.gen_test
async def test_nothing_counts_as_stalled_while_all_brokers_are_down() -> None:
    """No partition is better off than another."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 2)
        owner = Owner()
        async with engine_for(owner, cluster, partitioner=by_number) as engine:
            append(engine, "logs", 0, key=0)
            await owner.until_delivered(0)
            cluster.brokers[0].stop()
            append(engine, "logs", 1, key=0)
            await owner.until(lambda: engine.is_stalled(LOGS_0))
            assert engine.stalled.records == 0
