"""The requests that are sent: how many, in which version, and with which contents."""

from __future__ import annotations

import asyncio

import pytest

from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.frames import ReceivedRequest
from tests.network.owner import append, engine_for, pass_time, requests
from tests.network.quick import quick_producer, round_trip, send_all, to_partition, values

TOPIC_NAMES = 12
"""The highest Produce version in which topics go by name (KIP-516)."""


def parts(request: ReceivedRequest) -> list[tuple[str, int]]:
    """The partitions that a Produce request carries batches for."""
    return [
        (topic["name"], partition["index"])
        for topic in request.payload["topic_data"]
        for partition in topic["partition_data"]
    ]


async def test_one_request_carries_many_topics_and_partitions() -> None:
    """Everything that is due at one broker goes there in one request."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.set_versions("Produce", 0, TOPIC_NAMES)
        cluster.add_topic("a", 2, leaders=[0, 0])
        cluster.add_topic("b", 2, leaders=[0, 1])
        async with quick_producer(cluster, batch_size=4, partitioner="round_robin") as producer:
            await asyncio.gather(*(producer.produce(topic, 1) for topic in "aabb"))
            requests = await cluster.received("Produce")
            assert {request.node_id: sorted(parts(request)) for request in requests} == {
                0: [("a", 0), ("a", 1), ("b", 0)],
                1: [("b", 1)],
            }
            assert len(requests) == 2


async def test_messages_of_a_partition_share_a_batch() -> None:
    """Records that are due together for one partition are one batch: compressed together."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        async with quick_producer(cluster, batch_size=50, compression="gzip") as producer:
            await send_all(producer, "logs", range(50))
        (batch,) = cluster.batches("logs")[0]
        assert (len(batch.records), batch.codec) == (50, "gzip")


async def test_one_batch_of_a_partition_is_in_flight_at_a_time() -> None:
    """While a batch is out the next one grows, so that a retry can't overtake."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        async with quick_producer(cluster) as producer:
            cluster.brokers[0].stall("Produce")
            messages = [asyncio.ensure_future(producer.produce("logs", 0))]
            await cluster.received("Produce")
            messages += [asyncio.ensure_future(producer.produce("logs", n)) for n in (1, 2)]
            cluster.brokers[0].resume()
            await asyncio.gather(*messages)
        assert [len(batch.records) for batch in cluster.batches("logs")[0]] == [1, 2]
        assert values(cluster, "logs") == [b"0", b"1", b"2"]


async def test_at_most_five_requests_in_flight_for_each_broker() -> None:
    """A slow broker is not buried under requests: the rest waits here."""
    async with FakeCluster(brokers=1, logs=8) as cluster:
        options = {"batch_size": 8, "max_request_size": 1024, "partitioner": "round_robin"}
        async with quick_producer(cluster, **options) as producer:
            cluster.brokers[0].stall("Produce")
            messages = [
                asyncio.ensure_future(producer.produce("logs", "x" * 700)) for _ in range(8)
            ]
            await cluster.received("Produce")
            assert "buffered=3 in_flight=5" in repr(producer)
            cluster.brokers[0].resume()
            await asyncio.gather(*messages)
            assert cluster.count("logs") == 8
            assert "buffered=0 in_flight=0" in repr(producer)


async def test_a_request_is_no_larger_than_max_request_size() -> None:
    """Batches that don't fit into one request together go in several."""
    async with FakeCluster(brokers=1, logs=4) as cluster:
        options = {"batch_size": 8, "max_request_size": 2048, "partitioner": "round_robin"}
        async with quick_producer(cluster, **options) as producer:
            await send_all(producer, "logs", ["x" * 600] * 8)
            sizes = [
                sum(
                    len(partition["records"])
                    for topic in request.payload["topic_data"]
                    for partition in topic["partition_data"]
                )
                for request in await cluster.received("Produce")
            ]
            assert len(sizes) > 1
            assert max(sizes) <= 2048


@pytest.mark.parametrize("version", range(7, 14))
@pytest.mark.parametrize("acks", [0, 1, -1])
async def test_every_version_of_produce(version: int, acks: int) -> None:
    """From Kafka 2.1 (v7) to topic ids (v13), with every kind of acknowledgement."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.set_versions("Produce", 0, version)
        async with quick_producer(cluster, required_acks=acks, ack_timeout=1234) as producer:
            metadata = await (await producer.produce("logs", "hello", headers={"h": "1"}))
            await cluster.stored("logs")
        (record,) = cluster.records("logs")[0]
        assert (record.value, record.headers) == (b'"hello"', (("h", b"1"),))
        assert metadata.offset == (0 if acks else -1)
        (request,) = await cluster.received("Produce")
        assert (request.version, request.payload["acks"]) == (version, acks)
        assert request.payload["timeout_ms"] == 1234
        assert cluster.complaints == []


@pytest.mark.parametrize("version", range(7, 14))
async def test_every_version_of_metadata(version: int) -> None:
    """Topics and leaders are understood in every version; without topic ids, names are used."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.set_versions("Metadata", 0, version)
        async with quick_producer(cluster) as producer:
            assert (await (await producer.produce("new", 1))).topic == "new"
            (request,) = await cluster.received("Produce")
        assert request.version == (13 if version >= 10 else 12)
        assert cluster.complaints == []


async def test_without_acknowledgement_an_error_costs_the_connection_only() -> None:
    """With required_acks=0 a broker can only hang up; later messages arrive all the same."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        async with quick_producer(cluster, required_acks=0) as producer:
            await producer.produce("logs", 1)
            await cluster.stored("logs")
            cluster.brokers[0].hang_up()
            await round_trip(cluster)  # the hang-up is known by now
            await producer.produce("logs", 2)
            await cluster.stored("logs", 2)
        assert values(cluster, "logs") == [b"1", b"2"]


async def test_a_throttled_broker_is_left_alone_for_a_while() -> None:
    """A throttle time in a response is kept on our side (KIP-219)."""
    async with FakeCluster(brokers=1, logs=1) as cluster, engine_for(cluster) as (engine, owner):
        cluster.brokers[0].on_next(
            "Produce", lambda _, answer: answer() | {"throttle_time_ms": 60_000}
        )
        append(engine, "logs", 1)
        await owner.until_delivered(1)
        append(engine, "logs", 2)
        await round_trip(cluster)
        assert requests(cluster, "Produce") == 1
        pass_time(engine, owner, 60.0)
        await owner.until_delivered(2)


async def test_one_connection_to_each_broker_that_is_needed() -> None:
    """Other brokers are not connected to, but for the first question."""
    async with FakeCluster(brokers=3) as cluster:
        cluster.add_topic("logs", 1, leaders=[2])
        async with quick_producer(cluster, partitioner=to_partition(0)) as producer:
            await send_all(producer, "logs", range(5))
        assert cluster.brokers[1].connections_accepted == 0
        assert {r.node_id for r in cluster.requests if r.api == "Produce"} == {2}
