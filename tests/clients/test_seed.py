"""The sentences of the seed document about the Producer, one by one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tornado import gen

from kiel_logging import clients, constants
from kiel_logging.errors import BrokerRejected, NoBrokersAvailable, PartitionerError
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.wire.error_codes import ErrorCode
from tests.network.quick import QUICK, quick_producer, send_all, to_partition, values


@pytest.mark.gen_test
async def test_the_first_snippet() -> None:
    """Connect and produce with `yield` inside a `gen.coroutine`."""
    async with FakeCluster(brokers=2) as cluster:
        producer = clients.Producer(
            cluster.addresses,
            key_maker=None,
            partitioner=None,
            serializer=None,
            compression=None,
            batch_size=1,
            required_acks=1,
            ack_timeout=500,  # milliseconds
        )

        @gen.coroutine
        def run() -> Any:
            yield producer.connect()
            yield producer.produce("example.topic", {"my": "message"})

        await run()
        ((record,),) = [r for r in cluster.records("example.topic").values() if r]
        assert (record.key, record.value) == (None, b'{"my": "message"}')
        await producer.close()


def test_only_the_brokers_are_required() -> None:
    """Everything else has a default, and making a producer needs no loop and no broker."""
    assert "not connected" in repr(clients.Producer(["kafka01", "kafka02"]))


@pytest.mark.gen_test
async def test_bootstrap_hosts_are_attempted_one_at_a_time() -> None:
    """The list is gone through in order until there is metadata."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.brokers[0].stop()
        async with quick_producer(cluster):
            assert {request.node_id for request in cluster.requests} == {1}


@pytest.mark.gen_test
async def test_no_bootstrap_host_answers() -> None:
    """Then connect() raises, and says so of each."""
    async with FakeCluster(brokers=2) as cluster:
        for broker in cluster.brokers:
            broker.stop()
        with pytest.raises(NoBrokersAvailable) as failure:
            await quick_producer(cluster).connect()
        assert all(address in str(failure.value) for address in cluster.addresses)


# -- which message goes where -------------------------------------------------------------------


@pytest.mark.gen_test
async def test_the_key_maker_takes_the_message(cluster: FakeCluster) -> None:
    """Its value is stored along with the full message."""
    async with quick_producer(cluster, key_maker=lambda msg: msg.get("user_id")) as producer:
        await send_all(producer, "logs", [{"user_id": "ann", "n": 1}, {"n": 2}])
    stored = [(record.key, json.loads(record.value)) for record in cluster.records("logs")[0]]
    assert stored == [(b"ann", {"user_id": "ann", "n": 1}), (None, {"n": 2})]


@pytest.mark.gen_test
async def test_an_error_of_the_key_maker_reaches_the_caller(cluster: FakeCluster) -> None:
    """produce() fails with the KeyError, and nothing is sent."""
    async with quick_producer(cluster, key_maker=lambda msg: msg["user_id"]) as producer:
        with pytest.raises(KeyError, match="user_id"):
            await producer.produce("logs", {})
        await producer.produce("logs", {"user_id": 7})
    assert [record.key for record in cluster.records("logs")[0]] == [b"7"]


@pytest.mark.gen_test
async def test_the_partitioner_takes_key_and_partitions() -> None:
    """It gets the key as the key maker made it, and the numbers of the topic's partitions."""
    seen: list[Any] = []

    def partitioner(key: Any, partitions: Any) -> int:
        seen.append((key, list(partitions)))
        return partitions[key % len(partitions)]

    async with FakeCluster(brokers=2, logs=3) as cluster:
        options = {"key_maker": lambda msg: msg["n"], "partitioner": partitioner}
        async with quick_producer(cluster, **options) as producer:
            for n in range(4):
                await producer.produce("logs", {"n": n})
        assert seen == [(n, [0, 1, 2]) for n in range(4)]
        placed = {p: [r.key for r in records] for p, records in cluster.records("logs").items()}
        assert placed == {0: [b"0", b"3"], 1: [b"1"], 2: [b"2"]}


@pytest.mark.gen_test
async def test_the_modulo_strategy_spreads_evenly() -> None:
    """An incrementing key value and the modulo operator fill partitions alike."""
    counter = 0

    def key_maker(_msg: Any) -> int:
        nonlocal counter
        counter += 1
        return counter

    def partitioner(key: int, partitions: Any) -> int:
        return partitions[key % len(partitions)]

    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("example.topic", 3)
        options = {"key_maker": key_maker, "partitioner": partitioner, "batch_size": 6}
        async with quick_producer(cluster, **options) as producer:
            await send_all(producer, "example.topic", [{"how": "now", "brown": "cow"}] * 12)
        assert [len(r) for r in cluster.records("example.topic").values()] == [4, 4, 4]


@pytest.mark.gen_test
async def test_by_default_a_random_partition_is_chosen() -> None:
    """Over many messages every partition gets some."""
    async with FakeCluster(brokers=1, logs=4) as cluster:
        async with quick_producer(cluster, batch_size=400) as producer:
            await send_all(producer, "logs", range(400))
        assert all(cluster.records("logs").values())


@pytest.mark.parametrize("choice", [9, -1, None, "0", 0.5, [0]])
@pytest.mark.parametrize("known", [True, False], ids=["known topic", "unknown topic"])
@pytest.mark.gen_test
async def test_a_partition_that_does_not_exist(choice: Any, known: bool) -> None:
    """A wrong answer of the partitioner is reported, and harms no other message."""
    async with FakeCluster(brokers=1, logs=2) as cluster:
        choices = [0, choice, 0] if known else [choice, 0]
        partitioner = lambda _key, _partitions: choices.pop(0)  # noqa: E731
        async with quick_producer(cluster, partitioner=partitioner) as producer:
            if known:
                await producer.produce("logs", 0)
            with pytest.raises(PartitionerError, match=r"it must return one of the part.*\[0, 1\]"):
                await producer.produce("logs", 1)
            await producer.produce("logs", 2)
        assert values(cluster, "logs")[-1] == b"2"
        assert b"1" not in values(cluster, "logs")


@pytest.mark.gen_test
async def test_an_error_of_the_partitioner_reaches_the_caller(cluster: FakeCluster) -> None:
    """For a topic that is known, produce() raises it at once."""
    choose = iter([0])
    partitioner = lambda _key, _partitions: next(choose)  # noqa: E731
    async with quick_producer(cluster, partitioner=partitioner, batch_size=2) as producer:
        await (await producer.produce("logs", 1))
        with pytest.raises((StopIteration, RuntimeError)):
            await producer.produce("logs", 2)


@pytest.mark.gen_test
async def test_an_error_of_the_partitioner_for_a_topic_that_is_not_known_yet() -> None:
    """Partitions can be chosen only later: the error is in the message's future."""
    async with FakeCluster(brokers=1) as cluster:
        options = {"partitioner": lambda key, _partitions: 1 // key, "key_maker": int}
        async with quick_producer(cluster, **options, batch_size=9) as producer:
            bad = await producer.produce("new", 0)
            good = await producer.produce("new", 1)
            with pytest.raises(ZeroDivisionError):
                await bad
            assert (await good).partition == 1


# -- compression and serialization --------------------------------------------------------------


@pytest.mark.gen_test
async def test_messages_need_not_be_dictionaries() -> None:
    """A serializer takes whatever is produced."""

    class Thing:
        def __init__(self, stuff: str) -> None:
            self.stuff = stuff

        def serialize(self) -> str:
            return json.dumps({"stuff": self.stuff})

    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("example.things", 1)
        async with quick_producer(cluster, serializer=lambda msg: msg.serialize()) as producer:
            await producer.produce("example.things", Thing(stuff="foo"))
        assert values(cluster, "example.things") == [b'{"stuff": "foo"}']


@pytest.mark.parametrize(
    ("message", "stored"),
    [({"my": "message"}, b'{"my": "message"}'), ([1, None], b"[1, null]"), ("é", b'"\\u00e9"')],
)
@pytest.mark.gen_test
async def test_the_default_serializer_is_json_dumps(
    cluster: FakeCluster, message: Any, stored: bytes
) -> None:
    """Whatever json.dumps takes is a message."""
    async with quick_producer(cluster) as producer:
        await producer.produce("logs", message)
    assert values(cluster, "logs") == [stored]


@pytest.mark.parametrize("message", [object(), {1, 2}, float("nan"), b"bytes"])
@pytest.mark.gen_test
async def test_a_message_that_has_no_json_form(message: Any) -> None:
    """The serializer's error reaches the caller, and nothing is sent."""
    async with FakeCluster(brokers=1) as cluster, quick_producer(cluster) as producer:
        with pytest.raises((TypeError, ValueError)):
            await producer.produce("logs", message)
        assert await producer.flush() == 0
        assert cluster.count("logs") == 0


@pytest.mark.parametrize(
    "compression", [None, constants.GZIP, constants.SNAPPY, constants.LZ4, constants.ZSTD]
)
@pytest.mark.gen_test
async def test_every_compression(cluster: FakeCluster, compression: str | None) -> None:
    """The batch says its codec, and what comes out is what went in."""
    if compression in (constants.LZ4, constants.ZSTD):
        pytest.importorskip({constants.LZ4: "lz4", constants.ZSTD: "zstandard"}[compression])
    async with quick_producer(cluster, compression=compression, batch_size=20) as producer:
        await send_all(producer, "logs", ["the same words " * 9 + str(n) for n in range(20)])
    (batch,) = cluster.batches("logs")[0]
    assert batch.codec == (compression or "none")
    assert [json.loads(r.value)[-2:].strip() for r in batch.records] == [str(n) for n in range(20)]


# -- batch size and acks ------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_with_a_batch_size_of_one_each_produce_is_a_delivery(cluster: FakeCluster) -> None:
    """When produce() returns, the message is stored."""
    async with quick_producer(cluster) as producer:
        for count in range(1, 4):
            future = await producer.produce("logs", count)
            assert future.done()
            assert cluster.count("logs") == count


@pytest.mark.gen_test
async def test_a_sequential_loop_with_a_batch_size_of_ten() -> None:
    """The seed's loop: nothing waits but every tenth message, and that for all ten."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("topics.colors", 2)
        producer = clients.Producer(
            cluster.addresses, batch_size=10, compression=constants.GZIP, linger_ms=60_000
        )

        @gen.coroutine
        def send() -> Any:
            stored = []
            for _ in range(30):
                yield producer.produce("topics.colors", {"color": "red"})
                stored.append(cluster.count("topics.colors"))
            return stored

        await producer.connect()
        assert await send() == [0] * 9 + [10] * 10 + [20] * 10 + [30]
        await producer.close()


@pytest.mark.gen_test
async def test_the_batch_size_counts_over_all_topics() -> None:
    """Messages for different topics fill a batch together."""
    async with (
        FakeCluster(brokers=1) as cluster,
        quick_producer(cluster, batch_size=3, linger_ms=10_000) as producer,
    ):
        for topic in ("a", "b", "c"):
            await producer.produce(topic, 1)
        assert [cluster.count(topic) for topic in "abc"] == [1, 1, 1]


@pytest.mark.gen_test
async def test_a_batch_that_does_not_fill_is_sent_after_the_linger(cluster: FakeCluster) -> None:
    """Nothing lies unsent for ever."""
    async with quick_producer(cluster, batch_size=1000, linger_ms=5) as producer:
        messages = await send_all(producer, "logs", range(3))
        assert not any(message.done() for message in messages)
        assert [(await message).offset for message in messages] == [0, 1, 2]


@pytest.mark.gen_test
async def test_the_message_that_fills_a_batch_raises_what_went_wrong_with_another(
    cluster: FakeCluster,
) -> None:
    """An error anywhere in the batch is raised where a caller waits for the batch."""
    serializer = lambda message: message  # noqa: E731
    options = {"batch_size": 2, "linger_ms": 10_000, "serializer": serializer}
    async with quick_producer(cluster, **options) as producer:
        first = await producer.produce("refused", b"1")
        cluster.on("Metadata", _refuse_topic("refused"))
        with pytest.raises(BrokerRejected, match="INVALID_TOPIC_EXCEPTION"):
            await producer.produce("logs", b"2")
        assert first.exception() is not None
    assert values(cluster, "logs") == [b"2"]


def _refuse_topic(name: str) -> Any:
    nothing = {"error_code": ErrorCode.invalid_topic_exception, "partitions": ()}

    def reply(_request: Any, default: Any) -> Any:
        answer = default()
        topics = (t | nothing if t["name"] == name else t for t in answer["topics"])
        return answer | {"topics": tuple(topics)}

    return reply


@pytest.mark.parametrize("acks", [0, 1, -1])
@pytest.mark.gen_test
async def test_required_acks_and_ack_timeout_are_told_to_the_broker(
    cluster: FakeCluster, acks: int
) -> None:
    """They are the broker's to keep."""
    async with quick_producer(cluster, required_acks=acks, ack_timeout=777) as producer:
        await producer.produce("logs", 1)
        (request,) = await cluster.received("Produce")
    assert request.payload["acks"] == acks
    assert request.payload["timeout_ms"] == 777


@pytest.mark.gen_test
async def test_two_producers_on_one_loop(cluster: FakeCluster) -> None:
    """Producers share nothing."""
    first = clients.Producer(cluster.addresses, **QUICK, partitioner=to_partition(0))
    async with first, quick_producer(cluster, serializer=str) as second:
        await asyncio.gather(first.produce("logs", "a"), second.produce("logs", "b"))
    assert sorted(values(cluster, "logs")) == [b'"a"', b"b"]
