"""The first contact: bootstrap brokers are asked one at a time, in order."""

from __future__ import annotations

import asyncio
import re

import pytest

from kiel_logging.clients import Producer
from kiel_logging.delivery import troubles
from kiel_logging.errors import NoBrokersAvailable, UnsupportedBroker
from kiel_logging.network import cluster as cluster_module
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.replies import HANG_UP
from tests.network.owner import engine_for
from tests.network.quick import QUICK, let_time_pass, quick_producer, to_partition, values


async def test_the_first_that_answers_is_enough() -> None:
    """Brokers behind the first good one are left alone."""
    async with FakeCluster(brokers=3) as cluster, quick_producer(cluster):
        assert [len(broker.requests) for broker in cluster.brokers] == [2, 0, 0]
        assert [broker.connections_accepted for broker in cluster.brokers] == [1, 0, 0]


async def test_dead_brokers_are_passed_over_in_order() -> None:
    """Each bootstrap broker is tried until one answers with metadata."""
    async with FakeCluster(brokers=3) as cluster:
        cluster.brokers[0].stop()
        cluster.brokers[1].on("ApiVersions", HANG_UP)
        async with quick_producer(cluster) as producer:
            assert " connected " in repr(producer)
        assert [request.node_id for request in cluster.requests] == [1, 2, 2]


async def test_the_error_has_the_reason_of_every_attempt() -> None:
    """When no broker answers, the error has what each met, in the order of the attempts."""
    async with FakeCluster(brokers=3) as cluster:
        refusing, stalling, web = cluster.brokers
        refusing.stop()
        stalling.stall("ApiVersions")
        web.send_garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        brokers = ["no-such-host.invalid", *cluster.addresses]
        producer = Producer(brokers, **QUICK, connect_timeout_ms=10_000)
        connecting = asyncio.ensure_future(producer.connect())
        await stalling.received("ApiVersions")
        let_time_pass(10.0)
        with pytest.raises(NoBrokersAvailable) as failure:
            await connecting
        reasons = [
            "no-such-host.invalid:9092 does not resolve",
            f"no connection to {refusing.address}",
            f"{stalling.address} did not answer API_VERSIONS",
            f"{web.address} announced a response of .* bytes: that is HTTP",
        ]
        assert re.search(".*; .*".join(reasons), str(failure.value))
        await producer.close()


async def test_a_broker_without_an_answer_to_metadata_is_passed_over() -> None:
    """A bootstrap broker that shakes hands and then stalls costs one request timeout."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.brokers[0].stall("Metadata")
        producer = quick_producer(cluster, request_timeout_ms=10_000)
        connecting = asyncio.ensure_future(producer.connect())
        await cluster.received("Metadata")
        let_time_pass(10.0)
        await connecting
        assert " connected " in repr(producer)
        assert [r.node_id for r in cluster.requests if r.api == "Metadata"] == [0, 1]
        await producer.close()


async def test_connecting_again_after_a_failure() -> None:
    """connect() may be repeated when the brokers come up later."""
    async with FakeBroker() as broker:
        broker.stop()
        producer = Producer([broker.address], **QUICK)
        with pytest.raises(NoBrokersAvailable):
            await producer.connect()
        broker.start()
        await producer.connect()
        assert " connected " in repr(producer)
        await producer.close()


async def test_a_broker_that_is_too_old_is_what_matters() -> None:
    """It is there, and is named rather than those that are down."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.brokers[0].stop()
        cluster.brokers[1].set_versions("Produce", 0, 2)
        with pytest.raises(UnsupportedBroker, match=rf"{cluster.addresses[1]}.*older than"):
            await quick_producer(cluster).connect()


async def test_a_newer_broker_behind_one_that_is_too_old() -> None:
    """In the middle of an upgrade, a broker that is too old is passed over like a dead one."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.brokers[0].set_versions("Produce", 0, 2)
        async with quick_producer(cluster) as producer:
            assert " connected " in repr(producer)


async def test_the_bootstrap_list_is_asked_again_when_no_known_broker_answers() -> None:
    """A cluster that moved altogether is found again through the bootstrap brokers (KIP-1102)."""
    async with FakeCluster(brokers=3) as cluster:
        seed, former, present = cluster.brokers
        seed.node.fenced = present.node.fenced = True
        cluster.add_topic("logs", 1, leaders=[former.node_id])
        producer = Producer([seed.address], **QUICK, partitioner=to_partition(0))
        async with producer:
            await producer.produce("logs", 1)
            former.stop()
            former.node.fenced, present.node.fenced = True, False
            cluster.move_leader("logs", 0, present.node_id)
            await producer.produce("logs", 2)
            assert values(cluster, "logs") == [b"1", b"2"]
            assert "Produce" in {request.api for request in present.requests}


async def test_trouble_in_the_background_is_logged(
    heard: asyncio.Queue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning says what is wrong, and another one that it is over: perhaps no code waits."""
    monkeypatch.setattr(troubles, "CALM", 0.05)
    async with FakeCluster(brokers=1, logs=1) as cluster, quick_producer(cluster) as producer:
        await producer.produce("logs", 1)
        cluster.brokers[0].stop()
        waiting = asyncio.ensure_future(producer.produce("logs", 2))
        while not (await heard.get()).startswith("Kafka can't be reached: "):
            pass  # that of the broker, which may be seen first
        cluster.brokers[0].start()
        await waiting
        while not re.match("over, after [0-9]+ s: Kafka can't be reached", await heard.get()):
            pass


async def test_a_stalled_broker_does_not_keep_others_from_being_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Metadata that one broker owes us is got from another after a while."""
    monkeypatch.setattr(cluster_module, "_PATIENCE", 0.05)
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("first", 1, leaders=[0])
        cluster.add_topic("second", 1, leaders=[1])
        async with quick_producer(cluster, request_timeout_ms=60_000) as producer:
            await producer.produce("first", 1)
            await producer.produce("second", 1)
            cluster.add_topic("third", 1, leaders=[1])
            cluster.brokers[0].stall("Metadata")
            metadata = await producer.produce("third", 1)
            assert metadata.result().partition == 0
            cluster.brokers[0].resume()


async def test_a_refresh_that_is_cancelled_begins_no_other() -> None:
    """A loop that ends cancels all tasks that it has; a task that came later would be left."""

    def refreshes() -> set[asyncio.Task[object]]:
        return {task for task in asyncio.all_tasks() if "Cluster._refresh" in repr(task)}

    async with FakeCluster() as cluster:
        cluster.brokers[0].stall("ApiVersions")
        async with engine_for(cluster) as (engine, owner):
            await cluster.received("ApiVersions")
            (refreshing,) = refreshes()
            refreshing.cancel()
            await asyncio.wait([refreshing])
            turns = owner.turns
            engine.poke()
            await owner.until_looked(lambda: owner.turns > turns)
            assert refreshes() == set()
