"""Topics that the brokers reject for now wait, each by itself, where the owner defers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.errors import (
    BrokerRejected,
    ProducerClosed,
    TopicAuthorizationFailed,
    UnknownTopic,
)
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.wire.error_codes import ErrorCode
from tests.network.owner import (
    FOREVER,
    LONG,
    append,
    engine_for,
    pass_time,
    requests,
)
from tests.network.quick import round_trip, to_partition, values


@pytest.fixture(autouse=True)
def long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait ends by itself: the clock has to be put forward."""
    monkeypatch.setattr("kiel_logging.delivery.deferral.FIRST", LONG)
    monkeypatch.setattr("kiel_logging.delivery.deferral.MOST", LONG)
    monkeypatch.setattr("kiel_logging.network.watch._AGAIN", LONG)


def forbid(cluster: FakeCluster, topic: str = "bad") -> None:
    """No record may be written to it."""
    code = ErrorCode.topic_authorization_failed
    for partition in range(len(cluster.state.topics[topic].partitions)):
        cluster.produce_error(code, times=FOREVER, only=(topic, partition))


def allow(cluster: FakeCluster) -> None:
    """Every record may be written."""
    for broker in cluster.brokers:
        broker.node.produce_faults.clear()


async def test_a_rejected_topic_waits_and_others_continue() -> None:
    """In order, and it arrives in order when it is allowed."""
    async with FakeCluster(brokers=1) as cluster:
        for topic in ("bad", "good"):
            cluster.add_topic(topic, 1)
        forbid(cluster)
        async with engine_for(cluster) as (engine, owner):
            append(engine, "bad", 1, 2)
            await owner.until_deferred()
            append(engine, "bad", 3)
            append(engine, "good", 4, 5)
            await owner.until_delivered(4, 5)
            assert cluster.count("bad") == 0
            assert engine.is_deferred("bad")
            assert not engine.is_deferred("good")
            allow(cluster)
            pass_time(engine, owner, LONG)
            await owner.until_delivered(1, 2, 3)
            assert not engine.is_deferred("bad")
        assert values(cluster, "bad") == [b"1", b"2", b"3"]
        assert values(cluster, "good") == [b"4", b"5"]
        assert owner.errors == {}
        ((topic, error),) = owner.deferrals
        assert topic == "bad"
        assert isinstance(error, TopicAuthorizationFailed)


async def test_one_batch_is_tried_after_a_wait() -> None:
    """Of one partition of many; when it is rejected the topic waits again."""
    async with FakeCluster(brokers=3, bad=6) as cluster:
        forbid(cluster)
        async with engine_for(cluster, partitioner="round_robin") as (engine, owner):
            append(engine, "bad", *range(12))
            await owner.until_deferred()
            await owner.until_all_wait(engine)
            sent = requests(cluster, "Produce")
            pass_time(engine, owner, LONG)
            await owner.until_deferred(2)
            assert requests(cluster, "Produce") == sent + 1
            allow(cluster)
            pass_time(engine, owner, LONG)
            await owner.until_delivered(*range(12))
        assert owner.errors == {}


async def test_nothing_is_asked_or_looked_at_during_a_wait() -> None:
    """No request is sent, and the engine has no turn."""
    async with FakeCluster(brokers=1, bad=2) as cluster:
        forbid(cluster)
        async with engine_for(cluster, partitioner="round_robin") as (engine, owner):
            append(engine, "bad", 1, 2, 3)
            await owner.until_deferred()
            await owner.until_all_wait(engine)
            cluster.move_leader("bad", 1, None)
            turns, seen = owner.turns, len(cluster.requests)
            await round_trip(cluster)
            own = requests(cluster, "ApiVersions") - 1  # that of the round trip
            assert own == 1 + 1  # to the bootstrap broker, and to the leader
            assert [one.api for one in cluster.requests[seen:]] == ["ApiVersions", "Metadata"]
            assert owner.turns == turns


async def test_a_topic_that_does_not_exist_waits() -> None:
    """It is asked for again after the wait only; others continue; it arrives when it is there."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.state.auto_create = False
        cluster.add_topic("good", 1)
        async with engine_for(cluster, topic_creation_timeout_ms=10) as (engine, owner):
            append(engine, "new", 1, 2)
            await owner.until_deferred()
            assert isinstance(owner.deferrals[0][1], UnknownTopic)
            for token in (4, 5):  # the metadata that was wanted before
                pass_time(engine, owner, 1.0)
                append(engine, "good", token)
                await owner.until_delivered(token)
            asked = requests(cluster, "Metadata")
            pass_time(engine, owner, 1.0)
            append(engine, "new", 3)
            append(engine, "good", 6)
            await owner.until_delivered(6)
            assert requests(cluster, "Metadata") == asked
            pass_time(engine, owner, LONG)
            await owner.until_deferred(2)
            cluster.add_topic("new", 1)
            pass_time(engine, owner, LONG)
            await owner.until_delivered(1, 2, 3)
        assert values(cluster, "new") == [b"1", b"2", b"3"]
        assert owner.errors == {}


async def test_a_topic_that_is_deleted_waits_for_the_next_of_its_name() -> None:
    """Records that were queued for its partitions stay, in front of later ones."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.state.auto_create = False
        cluster.add_topic("logs", 1)
        async with engine_for(cluster, topic_creation_timeout_ms=10) as (engine, owner):
            append(engine, "logs", 1)
            await owner.until_delivered(1)
            cluster.delete_topic("logs")
            append(engine, "logs", 2)
            await owner.until_deferred()
            append(engine, "logs", 3)
            cluster.add_topic("logs", 1)
            pass_time(engine, owner, LONG)
            await owner.until_delivered(2, 3)
        assert values(cluster, "logs") == [b"2", b"3"]
        assert owner.errors == {}


def _topic_error(code: ErrorCode) -> Callable[[Any, Callable[[], Any]], Any]:
    def reply(_request: Any, default: Callable[[], Any]) -> Any:
        answer = default()
        nothing = {"error_code": code, "partitions": ()}
        return answer | {"topics": tuple(topic | nothing for topic in answer["topics"])}

    return reply


async def test_a_topic_that_may_not_be_described_waits() -> None:
    """The brokers reject it when they are asked for its partitions."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.on("Metadata", _topic_error(ErrorCode.topic_authorization_failed))
        async with engine_for(cluster) as (engine, owner):
            append(engine, "logs", 1)
            await owner.until_deferred()
            cluster.brokers[0].clear_faults()
            pass_time(engine, owner, LONG)
            await owner.until_delivered(1)
        assert owner.errors == {}


async def test_a_topic_of_a_wrong_name_does_not_wait() -> None:
    """That is the fault of its records."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.on("Metadata", _topic_error(ErrorCode.invalid_topic_exception))
        async with engine_for(cluster) as (engine, owner):
            append(engine, "logs", 1)
            await owner.until(lambda: owner.errors)
        assert isinstance(owner.errors[1], BrokerRejected)
        assert owner.deferrals == []


async def test_all_topics_wait_for_a_producer_id() -> None:
    """The brokers grant none to this user; each topic is reported, and arrives in the end."""

    def forbidden(_request: Any, default: Callable[[], Any]) -> Any:
        return default() | {"error_code": ErrorCode.cluster_authorization_failed}

    async with FakeCluster(brokers=1) as cluster:
        for topic in ("a", "b"):
            cluster.add_topic(topic, 1)
        cluster.on("InitProducerId", forbidden)
        options = {"required_acks": -1, "idempotence": True}
        async with engine_for(cluster, **options) as (engine, owner):
            append(engine, "a", 1)
            append(engine, "b", 2)
            await owner.until_deferred(2)
            assert {topic for topic, _ in owner.deferrals} == {"a", "b"}
            asked = requests(cluster, "InitProducerId")
            await round_trip(cluster)
            assert requests(cluster, "InitProducerId") == asked
            cluster.brokers[0].clear_faults()
            pass_time(engine, owner, LONG)
            await owner.until_delivered(1, 2)
        assert owner.errors == {}


async def test_records_that_wait_end_with_the_engine() -> None:
    """Those of a rejected topic, and those of an unknown one."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.state.auto_create = False
        cluster.add_topic("bad", 1)
        forbid(cluster)
        async with engine_for(cluster, topic_creation_timeout_ms=10) as (engine, owner):
            append(engine, "bad", 1)
            append(engine, "new", 2)
            await owner.until_deferred(2)
        assert {type(error) for error in owner.errors.values()} == {ProducerClosed}
        assert owner.errors.keys() == {1, 2}


@pytest.mark.parametrize("times", [1, 3])
async def test_batches_behind_a_rejected_one_do_not_overtake_it(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """They would be stored, for the topic is rejected a few times only."""
    monkeypatch.setattr("kiel_logging.delivery.deferral.FIRST", 0.001)
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.produce_error(ErrorCode.topic_authorization_failed, times=times)
        small = {"max_request_size": 1024, "partitioner": to_partition(0), "required_acks": -1}
        async with engine_for(cluster, **small) as (engine, owner):
            append(engine, "logs", *range(100))
            await owner.until_delivered(*range(100))
        assert values(cluster, "logs") == [b"%d" % number for number in range(100)]
