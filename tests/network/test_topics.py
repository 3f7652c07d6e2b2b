"""Topics that are created, refused, deleted, created again."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.errors import (
    BrokerRejected,
    DeliveryTimeout,
    TopicAuthorizationFailed,
    UnknownTopic,
)
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.wire.error_codes import ErrorCode
from tests.network.owner import Owner, append, engine_for, pass_time
from tests.network.quick import quick_producer, send_all, to_partition, values


async def test_an_unknown_topic_that_is_not_created() -> None:
    """The messages fail after topic_creation_timeout_ms, with advice."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.state.auto_create = False
        options = {"topic_creation_timeout_ms": 60_000}
        async with engine_for(cluster, Owner(defers=False), **options) as (engine, owner):
            append(engine, "new", 1)
            await cluster.received("Metadata", 3)
            assert owner.errors == {}
            pass_time(engine, owner, 60.0)
            await owner.until(lambda: owner.errors)
            assert type(owner.errors[1]) is UnknownTopic
            assert re.search(r"'new' does not exist.*within 60000 ms: cre", str(owner.errors[1]))


async def test_a_topic_that_comes_late() -> None:
    """A topic that was given up once is asked for again when it is used again."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.state.auto_create = False
        async with quick_producer(cluster, topic_creation_timeout_ms=10) as producer:
            with pytest.raises(UnknownTopic):
                await producer.produce("late", 1)
            cluster.add_topic("late", 1)
            assert (await (await producer.produce("late", 2))).offset == 0


def _topic_error(code: ErrorCode) -> Callable[[Any, Callable[[], Any]], Any]:
    def reply(_request: Any, default: Callable[[], Any]) -> Any:
        answer = default()
        nothing = {"error_code": code, "partitions": ()}
        return answer | {"topics": tuple(topic | nothing for topic in answer["topics"])}

    return reply


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (ErrorCode.invalid_topic_exception, BrokerRejected),
        (ErrorCode.topic_authorization_failed, TopicAuthorizationFailed),
    ],
)
async def test_a_topic_that_the_brokers_refuse(
    code: ErrorCode, error: type[BrokerRejected]
) -> None:
    """A refusal for good fails the messages at once, and not those of other topics."""
    async with FakeCluster(brokers=1, logs=1) as cluster, quick_producer(cluster) as producer:
        cluster.on("Metadata", _topic_error(code))
        with pytest.raises(error, match=f"{code.name.upper()}.*'logs'") as refusal:
            await producer.produce("logs", 1)
        assert refusal.value.error_code == code
        cluster.brokers[0].clear_faults()
        assert (await (await producer.produce("logs", 2))).offset == 0


@pytest.mark.parametrize(("metadata", "produce"), [(13, 13), (12, 12), (9, 9)])
async def test_a_topic_that_is_deleted_and_created_again(metadata: int, produce: int) -> None:
    """The messages go to the new topic, whether or not the brokers have ids for topics. Its leader
    is believed, though the epochs of a topic start again with it."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.set_versions("Metadata", 0, metadata)
        cluster.set_versions("Produce", 0, produce)
        cluster.add_topic("logs", 1, leaders=[1])
        for leader in (0, 1, 0):
            cluster.move_leader("logs", 0, leader)
        async with quick_producer(cluster) as producer:
            await producer.produce("logs", 1)
            cluster.delete_topic("logs")
            cluster.add_topic("logs", 1, leaders=[1])
            await producer.produce("logs", 2)
            assert values(cluster, "logs") == [b"2"]


async def test_messages_for_a_deleted_topic() -> None:
    """When a topic is gone for good, its messages fail within the topic creation timeout."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.state.auto_create = False
        cluster.add_topic("logs", 1)
        async with quick_producer(cluster, topic_creation_timeout_ms=30) as producer:
            await producer.produce("logs", 1)
            cluster.delete_topic("logs")
            with pytest.raises(UnknownTopic):
                await producer.produce("logs", 2)


async def test_order_is_kept_while_a_topic_comes_into_being() -> None:
    """Messages that waited for their topic stay in front of those that came later."""
    async with FakeCluster(brokers=1) as cluster:
        options = {"batch_size": 100, "partitioner": to_partition(0)}
        async with quick_producer(cluster, **options) as producer:
            await send_all(producer, "new", range(5))
            await cluster.received("Metadata", 2)
            await send_all(producer, "new", range(5, 10))
            assert await producer.flush() == 0
            await send_all(producer, "new", range(10, 15))
            assert await producer.flush() == 0
        assert values(cluster, "new") == [b"%d" % n for n in range(15)]


async def test_no_metadata_for_a_topic_within_the_delivery_timeout() -> None:
    """Messages that wait for a topic have the same time as all others."""
    async with (
        FakeCluster(brokers=1) as cluster,
        engine_for(cluster, Owner(defers=False), delivery_timeout_ms=60_000) as (engine, owner),
    ):
        cluster.brokers[0].stop()
        append(engine, "logs", 1)
        await owner.until_looked(lambda: engine.sender.cluster.trouble)
        pass_time(engine, owner, 60.0)
        await owner.until(lambda: owner.errors)
        assert type(owner.errors[1]) is DeliveryTimeout
        assert re.search(r"logs within 60000 ms: .*(?i:refused)", str(owner.errors[1]))
