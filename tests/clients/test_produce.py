"""produce(): what is stored, where, and what is refused."""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from typing import Any

import pytest

from kiel_logging.errors import (
    BrokerRejected,
    BufferFull,
    HeaderTypeError,
    InvalidTopic,
    KeyTypeError,
    ProducerClosed,
    RecordTooLarge,
    TimestampError,
    ValueTypeError,
)
from kiel_logging.records import RecordMetadata
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.wire.error_codes import ErrorCode
from tests.network.quick import quick_producer, send_all, to_partition, values

NOON = 1_700_000_000_123
MIDNIGHT = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.gen_test
async def test_the_future_tells_where_the_message_is() -> None:
    """Topic, partition, offset and timestamp are those of the stored record."""
    async with FakeCluster(brokers=2, logs=3) as cluster:
        async with quick_producer(cluster, batch_size=6, partitioner="round_robin") as producer:
            messages = [await producer.produce("logs", n, timestamp=NOON + n) for n in range(6)]
            told = [await message for message in messages]
        assert told == [RecordMetadata("logs", n % 3, n // 3, NOON + n) for n in range(6)]
        for n, (_, partition, offset, timestamp) in enumerate(told):
            record = cluster.records("logs")[partition][offset]
            assert (record.value, record.timestamp) == (b"%d" % n, timestamp)


@pytest.mark.gen_test
async def test_the_timestamp_is_now_when_left_out(cluster: FakeCluster) -> None:
    """Messages bear the time at which they were produced."""
    async with quick_producer(cluster) as producer:
        before = time.time_ns() // 1_000_000
        metadata = await (await producer.produce("logs", 1))
        assert before <= metadata.timestamp <= time.time_ns() // 1_000_000
        assert producer.stats().latency.count == 1


@pytest.mark.gen_test
async def test_the_brokers_own_timestamp_is_told(cluster: FakeCluster) -> None:
    """With LogAppendTime the broker's time counts, not the message's."""

    def stamped(_request: Any, default: Any) -> Any:
        answer = default()
        (topic,) = answer["responses"]
        (part,) = topic["partition_responses"]
        part["log_append_time_ms"] = int(MIDNIGHT.timestamp() * 1000)
        return answer

    cluster.on("Produce", stamped)
    async with quick_producer(cluster) as producer:
        told = (await (await producer.produce("logs", 1))).timestamp
        assert told == MIDNIGHT.timestamp() * 1000


@pytest.mark.gen_test
async def test_a_message_is_stored_as_bytes() -> None:
    """Key, value and headers are encoded; None is a tombstone, which no serializer gets."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        options: dict[str, Any] = {"key_maker": len, "serializer": "<{}>".format}
        async with quick_producer(cluster, **options) as producer:
            await producer.produce("logs", "é", headers={"trace": "é", "none": None})
        async with quick_producer(cluster, key_maker=lambda _message: "ann") as producer:
            await producer.produce("logs", None, headers=[("again", b"1"), ("again", b"2")])
        first, second = cluster.records("logs")[0]
    assert (first.key, first.value) == (b"1", "<é>".encode())
    assert first.headers == (("trace", "é".encode()), ("none", None))
    assert (second.key, second.value) == (b"ann", None)
    assert second.headers == (("again", b"1"), ("again", b"2"))


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"message": {"key": 1.5}}, KeyTypeError, "the key maker returned float"),
        ({"message": {"value": 7}}, ValueTypeError, "the serializer returned int"),
        ({"headers": {"a": 1}}, HeaderTypeError, "the header 'a' is int"),
        ({"headers": {"\ud800": b""}}, HeaderTypeError, "has no UTF-8 form"),
        ({"timestamp": -1}, TimestampError, "whole number of milliseconds since 1970"),
        ({"topic": "a/b"}, InvalidTopic, "has characters that Kafka refuses"),
        ({"topic": None}, InvalidTopic, "must be str, not NoneType"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
@pytest.mark.gen_test
async def test_a_message_that_can_not_be_stored_harms_no_other(
    cluster: FakeCluster, wrong: dict[str, Any], error: type[Exception], text: str
) -> None:
    """Its error is raised to its caller, and the batch goes out without it."""
    options: dict[str, Any] = {
        "key_maker": lambda message: message.get("key"),
        "serializer": lambda message: message.get("value", ""),
    }
    async with quick_producer(cluster, batch_size=100, **options) as producer:
        good = await producer.produce("logs", {})
        with pytest.raises(error, match=text):
            await producer.produce(**{"topic": "logs", "message": {}, **wrong})
        assert (await good).offset == 0
    assert cluster.count("logs") == 1


@pytest.mark.gen_test
async def test_a_message_larger_than_a_request(cluster: FakeCluster) -> None:
    """It is refused at once, with what to do about it."""
    async with quick_producer(cluster, max_request_size=2048) as producer:
        with pytest.raises(RecordTooLarge, match=r"max_request_size \(2048\): send less, or"):
            await producer.produce("logs", "x" * 2048)
        await producer.produce("logs", "x" * 1024)
    assert cluster.count("logs") == 1


@pytest.mark.gen_test
async def test_messages_for_a_new_topic_keep_their_order() -> None:
    """Messages that waited for the topic go first."""
    async with FakeCluster(brokers=2) as cluster:
        options = {"batch_size": 10, "partitioner": to_partition(1)}
        async with quick_producer(cluster, **options) as producer:
            await send_all(producer, "new", range(35))
        assert values(cluster, "new", 1) == [b"%d" % n for n in range(35)]


@pytest.mark.gen_test
async def test_a_cancelled_future_harms_no_other(cluster: FakeCluster) -> None:
    """A caller that stops waiting for one message does not cancel the batch."""
    async with quick_producer(cluster, batch_size=100) as producer:
        messages = await send_all(producer, "logs", range(3))
        messages[1].cancel()
        assert await producer.flush() == 0
        assert [(await messages[n]).offset for n in (0, 2)] == [0, 2]
    assert cluster.count("logs") == 3


@pytest.mark.gen_test
async def test_a_cancelled_produce_harms_no_other(cluster: FakeCluster) -> None:
    """If the caller gives up the message that filled the batch, the batch continues."""
    async with quick_producer(cluster, batch_size=2) as producer:
        cluster.brokers[0].stall("Produce")
        first = await producer.produce("logs", 1)
        filling = asyncio.ensure_future(producer.produce("logs", 2))
        await cluster.received("Produce")
        filling.cancel()
        cluster.brokers[0].resume()
        assert (await first).offset == 0
        assert await producer.flush() == 0
    assert values(cluster, "logs") == [b"1", b"2"]


@pytest.mark.gen_test
async def test_a_failure_that_nobody_waits_for_is_logged(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """A message is never lost silently."""
    cluster.produce_error(ErrorCode.policy_violation)
    async with quick_producer(cluster, batch_size=100) as producer:
        await send_all(producer, "logs", range(3))
        await producer.flush()
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.name.startswith("kiel_logging")
    assert record.getMessage().startswith("3 messages for logs[0] were not delivered: ")
    assert "POLICY_VIOLATION" in record.getMessage()


@pytest.mark.gen_test
async def test_every_message_of_a_failed_batch_fails(cluster: FakeCluster) -> None:
    """Each future gets the broker's answer."""
    cluster.produce_error(ErrorCode.policy_violation)
    async with quick_producer(cluster, batch_size=3) as producer:
        messages = await send_all(producer, "logs", range(2))
        with pytest.raises(BrokerRejected):
            await producer.produce("logs", 2)
        assert [type(message.exception()) for message in messages] == [BrokerRejected] * 2


@pytest.mark.gen_test
async def test_concurrent_callers() -> None:
    """Many coroutines may produce at once; everything arrives once, in order for each."""
    async with FakeCluster(brokers=3, logs=3) as cluster:
        options = {
            "batch_size": 7,
            "required_acks": -1,
            "key_maker": lambda message: message[0],
            "partitioner": "murmur2",
        }
        async with quick_producer(cluster, **options) as producer:

            async def shout(who: int) -> None:
                for n in range(50):
                    await producer.produce("logs", [who, n])

            await asyncio.gather(*(shout(who) for who in range(8)))
        stored = [r.value for part in cluster.records("logs").values() for r in part]
        for who in range(8):
            mine = [value for value in stored if value and value.startswith(b"[%d," % who)]
            assert mine == [b"[%d, %d]" % (who, n) for n in range(50)]


# -- the buffer's bound -------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_full_buffer_is_waited_for(cluster: FakeCluster) -> None:
    """produce() takes no more than buffer_memory, and resumes when there is room."""
    async with quick_producer(cluster, batch_size=100, buffer_memory=5000) as producer:
        cluster.brokers[0].stall("Produce")
        first = await producer.produce("logs", "x" * 3000)
        await cluster.received("Produce")
        waiting = asyncio.ensure_future(producer.produce("logs", "y" * 3000))
        other = asyncio.ensure_future(producer.produce("logs", "z"))
        await asyncio.wait([waiting, other], timeout=0.01)
        assert not waiting.done()
        assert not other.done()
        cluster.brokers[0].resume()
        await first
        assert (await (await waiting)).offset == 1
        assert (await (await other)).offset == 2


@pytest.mark.gen_test
async def test_a_buffer_that_stays_full(cluster: FakeCluster) -> None:
    """After max_block_ms the caller gets an error, and the message is not sent."""
    options = {"batch_size": 100, "buffer_memory": 5000, "max_block_ms": 10}
    async with quick_producer(cluster, **options) as producer:
        cluster.brokers[0].stall("Produce")
        await producer.produce("logs", "x" * 3000)
        with pytest.raises(BufferFull, match="buffer_memory=5000 was used up"):
            await producer.produce("logs", "y" * 3000)
        cluster.brokers[0].resume()
    assert cluster.count("logs") == 1


@pytest.mark.gen_test
async def test_a_message_that_no_buffer_holds() -> None:
    """It is refused at once rather than waited for."""
    async with (
        FakeCluster(brokers=1) as cluster,
        quick_producer(cluster, buffer_memory=2000) as producer,
    ):
        with pytest.raises(BufferFull, match="can't fit into buffer_memory=2000: raise it"):
            await producer.produce("logs", "x" * 3000)


@pytest.mark.gen_test
async def test_closing_turns_away_who_waits_for_room(cluster: FakeCluster) -> None:
    """No call waits for a producer that is closed."""
    producer = quick_producer(cluster, batch_size=100, buffer_memory=5000)
    async with producer:
        cluster.brokers[0].stall("Produce")
        await producer.produce("logs", "x" * 3000)
        waiting = asyncio.ensure_future(producer.produce("logs", "y" * 3000))
        await cluster.received("Produce")
        await producer.close(timeout=0)
        with pytest.raises(ProducerClosed):
            await waiting
