"""Partitions that can't be sent to: the engine knows which, and why, and says when that changes."""

from __future__ import annotations

import pytest

from kiel_logging.delivery.accumulator import UNKNOWN
from kiel_logging.errors import BrokerUnreachable, ConnectionLost, NoLeader
from kiel_logging.records import TopicPartition
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.wire.error_codes import ErrorCode
from tests.network.owner import LONG, append, engine_for, pass_time
from tests.network.quick import values

LOGS_0, LOGS_1 = TopicPartition("logs", 0), TopicPartition("logs", 1)


@pytest.fixture(autouse=True)
def long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait of a deferred topic ends by itself: the clock has to be put forward."""
    monkeypatch.setattr("kiel_logging.delivery.deferral.FIRST", LONG)
    monkeypatch.setattr("kiel_logging.delivery.deferral.MOST", LONG)


def by_number(key: int, partitions: list[int]) -> int:
    """A partitioner: the key is the partition."""
    return partitions[key]


async def test_a_partition_without_a_leader() -> None:
    """It is known with its reason; the other one is served; all arrives when there is a leader."""
    async with FakeCluster(brokers=2, logs=2) as cluster:
        cluster.move_leader("logs", 0, None)
        async with engine_for(cluster, partitioner=by_number) as (engine, owner):
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


async def test_a_partition_whose_leader_is_down() -> None:
    """The reason is the error of its broker; it is reached again, as soon as it is there."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("logs", 2, leaders=[0, 1])
        async with engine_for(cluster, partitioner=by_number) as (engine, owner):
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


async def test_records_of_an_unknown_topic() -> None:
    """They are stalled until it is known."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.state.auto_create = False
        cluster.add_topic("logs", 1)
        async with engine_for(cluster) as (engine, owner):
            append(engine, "new", 1, 2)
            append(engine, "logs", 3)
            await owner.until(lambda: engine.is_stalled(TopicPartition("new", UNKNOWN)))
            await owner.until_delivered(3)
            await owner.until(lambda: engine.stalled.records == 2)
            cluster.add_topic("new", 1)
            await owner.until_delivered(1, 2)
            await owner.until(lambda: engine.stalled.records == 0)


async def test_nothing_counts_as_stalled_while_all_brokers_are_down() -> None:
    """No partition is better off than another."""
    async with (
        FakeCluster(brokers=1, logs=2) as cluster,
        engine_for(cluster, partitioner=by_number) as (engine, owner),
    ):
        append(engine, "logs", 0, key=0)
        await owner.until_delivered(0)
        cluster.brokers[0].stop()
        append(engine, "logs", 1, key=0)
        await owner.until(lambda: engine.is_stalled(LOGS_0))
        assert engine.stalled.records == 0


# -- records are taken out again -------------------------------------------------------------------


def everything(_where: TopicPartition) -> bool:
    """All partitions."""
    return True


async def test_evicted_records_are_as_if_they_had_not_been_appended() -> None:
    """In order, of the partitions that are asked for; they can be appended again."""
    async with FakeCluster(brokers=1, logs=2) as cluster:
        for partition in (0, 1):
            cluster.move_leader("logs", partition, None)
        async with engine_for(cluster, partitioner=by_number) as (engine, owner):
            for token in range(4):
                append(engine, "logs", token, key=token % 2)
            await owner.until(lambda: engine.stalled.records == 4)
            assert engine.evict(LOGS_0.__eq__) == [0, 2]
            assert engine.accumulator.outstanding == 2
            append(engine, "logs", 0, 2, 4, key=0)
            for partition in (0, 1):
                cluster.move_leader("logs", partition, 0)
            await owner.until_delivered(*range(5))
        assert values(cluster, "logs", 0) == [b"0", b"2", b"4"]
        assert owner.errors == {}


async def test_a_batch_that_the_brokers_may_have_is_not_evicted() -> None:
    """Those behind it are."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.brokers[0].stall("Produce")
        async with engine_for(cluster, required_acks=-1) as (engine, owner):
            append(engine, "logs", 1)
            await cluster.received("Produce")
            append(engine, "logs", 2)
            cluster.brokers[0].hang_up()
            await owner.until(lambda: engine.accumulator.in_flight == 0)
            assert engine.evict(everything) == [2]
            cluster.brokers[0].clear_faults()
            await owner.until_delivered(1)
        assert values(cluster, "logs") == [b"1"]


async def test_a_leader_is_looked_for_though_all_was_evicted() -> None:
    """The owner is called when there is one, though it appended nothing meanwhile."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.move_leader("logs", 0, None)
        async with engine_for(cluster) as (engine, owner):
            append(engine, "logs", 1)
            await owner.until(lambda: engine.is_stalled(LOGS_0))
            assert engine.evict(everything) == [1]
            await cluster.received("Metadata", 1 + len(cluster.requests))
            assert engine.is_stalled(LOGS_0)
            cluster.move_leader("logs", 0, 0)
            await owner.until(lambda: not engine.is_stalled(LOGS_0))


async def test_a_broker_is_looked_for_though_all_was_evicted() -> None:
    """The owner is called when it can be reached."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("logs", 1, leaders=[1])
        async with engine_for(cluster) as (engine, owner):
            cluster.brokers[1].stop()
            append(engine, "logs", 1)
            await owner.until(lambda: engine.is_stalled(LOGS_0))
            assert engine.evict(everything) == [1]
            cluster.brokers[1].start()
            await owner.until(lambda: not engine.is_stalled(LOGS_0))


async def test_a_topic_is_looked_for_though_all_was_evicted() -> None:
    """The owner is called when it exists, after the wait."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.state.auto_create = False
        new = TopicPartition("new", UNKNOWN)
        async with engine_for(cluster, topic_creation_timeout_ms=10) as (engine, owner):
            append(engine, "new", 1)
            await owner.until_deferred()
            await owner.until(lambda: engine.is_stalled(new))
            assert engine.evict(everything) == [1]
            assert engine.where("new", None) is None
            cluster.add_topic("new", 1)
            pass_time(engine, owner, LONG)
            await owner.until(lambda: not engine.is_stalled(new))
            assert not engine.is_deferred("new")
            assert engine.where("new", None) == TopicPartition("new", 0)


async def test_the_end_of_a_wait_is_reported_though_all_was_evicted() -> None:
    """A rejected batch has no numbers: it is evicted as well."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.produce_error(ErrorCode.topic_authorization_failed)
        async with engine_for(cluster, required_acks=-1) as (engine, owner):
            append(engine, "logs", 1)
            await owner.until(lambda: engine.is_stalled(LOGS_0))
            assert engine.evict(everything) == [1]
            pass_time(engine, owner, LONG)
            await owner.until(lambda: not engine.is_stalled(LOGS_0))
            assert not engine.is_deferred("logs")
            append(engine, "logs", 1)
            await owner.until_delivered(1)
        assert values(cluster, "logs") == [b"1"]


async def test_the_end_of_a_wait_is_reported_though_nothing_is_queued() -> None:
    """All that was rejected has expired."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.produce_error(ErrorCode.topic_authorization_failed)
        options = {"delivery_timeout_ms": 60_000, "request_timeout_ms": 1_000}
        async with engine_for(cluster, **options) as (engine, owner):
            append(engine, "logs", 1)
            await owner.until_deferred()
            pass_time(engine, owner, 100.0)
            await owner.until(lambda: owner.errors)
            await owner.until(lambda: not engine.is_stalled(LOGS_0))
            resumed = owner.resumed
            pass_time(engine, owner, LONG)
            await owner.until(lambda: owner.resumed > resumed)
            assert not engine.is_deferred("logs")
