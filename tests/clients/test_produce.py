"""produce(): what is stored, where, and what is refused."""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from dataclasses import replace
from typing import Any

import pytest
from kio.static.primitive import TZAware

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
from tests.network.quick import quick_producer, send_all, to_partition, values
from tests.support.fake_cluster import ErrorCode, FakeCluster

NOON = 1_700_000_000_123
MIDNIGHT = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.gen_test
async def test_the_future_tells_where_the_message_is() -> None:
    """Topic, partition, offset and timestamp are those of the stored record."""
    async with FakeCluster(brokers=2) as cluster:
        cluster.add_topic("logs", 3)
        async with quick_producer(cluster, batch_size=6, partitioner="round_robin") as producer:
            messages = [await producer.produce("logs", n, timestamp=NOON + n) for n in range(6)]
            told = [await message for message in messages]
        assert told == [RecordMetadata("logs", n % 3, n // 3, NOON + n) for n in range(6)]
        for n, (_, partition, offset, timestamp) in enumerate(told):
            record = cluster.records("logs")[partition][offset]
            assert (record.value, record.timestamp) == (b"%d" % n, timestamp)


@pytest.mark.gen_test
async def test_the_timestamp_is_now_when_left_out() -> None:
    """Messages bear the time at which they were produced."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
        async with quick_producer(cluster) as producer:
            before = time.time_ns() // 1_000_000
            metadata = await (await producer.produce("logs", 1))
            assert before <= metadata.timestamp <= time.time_ns() // 1_000_000


@pytest.mark.gen_test
async def test_the_brokers_own_timestamp_is_told() -> None:
    """With LogAppendTime the broker's time counts, not the message's."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)

        def stamped(_request: Any, default: Any) -> Any:
            answer = default()
            (topic,) = answer.responses
            (part,) = topic.partition_responses
            part = replace(part, log_append_time=TZAware.parse(MIDNIGHT))
            return replace(answer, responses=(replace(topic, partition_responses=(part,)),))

        cluster.on("Produce", stamped)
        async with quick_producer(cluster) as producer:
            told = (await (await producer.produce("logs", 1))).timestamp
            assert told == MIDNIGHT.timestamp() * 1000


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        (None, None),
        (b"\xff\x00", b"\xff\x00"),
        ("é", "é".encode()),
        (42, b"42"),
        (-7, b"-7"),
        ("", b""),
        (10**30, b"1" + b"0" * 30),
    ],
)
@pytest.mark.gen_test
async def test_keys_are_stored_as_bytes(key: Any, stored: bytes | None) -> None:
    """None as null, bytes as they are, str as UTF-8, int as decimal digits."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
        async with quick_producer(cluster, key_maker=lambda _message: key) as producer:
            await producer.produce("logs", 1)
        assert cluster.records("logs")[0][0].key == stored


@pytest.mark.parametrize(
    "key", [1.5, True, ["a"], {"a": 1}, object()], ids=lambda k: type(k).__name__
)
@pytest.mark.gen_test
async def test_other_keys_are_refused(key: Any) -> None:
    """The error names the type."""
    async with (
        FakeCluster(brokers=1) as cluster,
        quick_producer(cluster, key_maker=lambda _message: key) as producer,
    ):
        with pytest.raises(KeyTypeError, match=f"returned {type(key).__name__}"):
            await producer.produce("logs", 1)


@pytest.mark.parametrize("value", [1, ["a"], {"a": 1}, 1.5, bytearray(b"x")], ids=str)
@pytest.mark.gen_test
async def test_a_serializer_that_returns_something_else(value: Any) -> None:
    """A serializer returns str or bytes; the error names what it returned."""
    async with (
        FakeCluster(brokers=1) as cluster,
        quick_producer(cluster, serializer=lambda _message: value) as producer,
    ):
        with pytest.raises(ValueTypeError, match=f"returned {type(value).__name__}"):
            await producer.produce("logs", 1)


@pytest.mark.parametrize(
    ("serialized", "stored"), [("é", "é".encode()), (b"\xff", b"\xff"), ("", b"")]
)
@pytest.mark.gen_test
async def test_values_are_stored_as_bytes(serialized: Any, stored: bytes) -> None:
    """str as UTF-8, bytes as they are."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
        async with quick_producer(cluster, serializer=lambda _message: serialized) as producer:
            await producer.produce("logs", 1)
        assert values(cluster, "logs") == [stored]


@pytest.mark.gen_test
async def test_none_is_a_tombstone() -> None:
    """None is stored as null, without the serializer, so that compaction deletes the key."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
        async with quick_producer(cluster, key_maker=lambda _message: "ann") as producer:
            await producer.produce("logs", None)
        (record,) = cluster.records("logs")[0]
        assert (record.key, record.value) == (b"ann", None)


@pytest.mark.parametrize(
    ("headers", "stored"),
    [
        (None, ()),
        ({}, ()),
        ({"trace": "é", "raw": b"\x00", "none": None}, "mapping"),
        ([("again", b"1"), ("again", b"2")], (("again", b"1"), ("again", b"2"))),
        (iter([("once", "1")]), (("once", b"1"),)),
    ],
    ids=["None", "empty", "mapping", "pairs", "iterator"],
)
@pytest.mark.gen_test
async def test_headers(headers: Any, stored: Any) -> None:
    """A mapping or pairs; str values as UTF-8, keys may repeat (KIP-82)."""
    if stored == "mapping":
        stored = (("trace", "é".encode()), ("raw", b"\x00"), ("none", None))
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
        async with quick_producer(cluster) as producer:
            await producer.produce("logs", 1, headers=headers)
        assert cluster.records("logs")[0][0].headers == stored


@pytest.mark.parametrize("headers", [{1: b""}, {"a": 1}, [("a", ["b"])]])
@pytest.mark.gen_test
async def test_wrong_headers_are_refused(headers: Any) -> None:
    """The error is the caller's, and nothing is sent."""
    async with FakeCluster(brokers=1) as cluster, quick_producer(cluster) as producer:
        with pytest.raises(HeaderTypeError):
            await producer.produce("logs", 1, headers=headers)


@pytest.mark.parametrize("timestamp", ["noon", 1.5, True, -1, 2**63, -(2**63) - 1], ids=str)
@pytest.mark.gen_test
async def test_a_timestamp_that_can_not_be_stored_harms_no_other_message(timestamp: Any) -> None:
    """The error of one message is raised to its caller, and to no other."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
        async with quick_producer(cluster, batch_size=100) as producer:
            good = await producer.produce("logs", 1)
            with pytest.raises(TimestampError, match="whole number of milliseconds since 1970"):
                await producer.produce("logs", 2, timestamp=timestamp)
            assert (await good).offset == 0


@pytest.mark.gen_test
async def test_a_header_that_can_not_be_stored_harms_no_other_message() -> None:
    """A lone surrogate has no UTF-8."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
        async with quick_producer(cluster, batch_size=100) as producer:
            good = await producer.produce("logs", 1)
            with pytest.raises(HeaderTypeError, match="has no UTF-8 form"):
                await producer.produce("logs", 2, headers={"\ud800": b""})
            assert (await good).offset == 0


@pytest.mark.parametrize("topic", ["", ".", "..", "a/b", "ü", "x" * 250, None, b"logs", "a\n"])
@pytest.mark.gen_test
async def test_topic_names_that_kafka_refuses(topic: Any) -> None:
    """They are refused here, before anybody is asked."""
    async with FakeCluster(brokers=1) as cluster, quick_producer(cluster) as producer:
        with pytest.raises(InvalidTopic):
            await producer.produce(topic, 1)


@pytest.mark.gen_test
async def test_a_message_larger_than_a_request() -> None:
    """It is refused at once, with what to do about it."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
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
async def test_a_cancelled_future_harms_no_other() -> None:
    """A caller that stops waiting for one message does not cancel the batch."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
        async with quick_producer(cluster, batch_size=100) as producer:
            messages = await send_all(producer, "logs", range(3))
            messages[1].cancel()
            assert await producer.flush() == 0
            assert [(await messages[n]).offset for n in (0, 2)] == [0, 2]
        assert cluster.count("logs") == 3


@pytest.mark.gen_test
async def test_a_cancelled_produce_harms_no_other() -> None:
    """If the caller gives up the message that filled the batch, the batch continues."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
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
async def test_a_failure_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A message is never lost silently."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
        cluster.produce_error(ErrorCode.policy_violation)
        async with quick_producer(cluster, batch_size=100) as producer:
            await send_all(producer, "logs", range(3))
            await producer.flush()
        (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert record.name.startswith("kiel_logging")
        assert record.getMessage().startswith("3 messages for logs[0] were not delivered: ")
        assert "POLICY_VIOLATION" in record.getMessage()


@pytest.mark.gen_test
async def test_every_message_of_a_failed_batch_fails() -> None:
    """Each future gets the broker's answer."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
        cluster.produce_error(ErrorCode.policy_violation)
        async with quick_producer(cluster, batch_size=3) as producer:
            messages = await send_all(producer, "logs", range(2))
            with pytest.raises(BrokerRejected):
                await producer.produce("logs", 2)
            assert [type(message.exception()) for message in messages] == [BrokerRejected] * 2


@pytest.mark.gen_test
async def test_concurrent_callers() -> None:
    """Many coroutines may produce at once; everything arrives once, in order for each."""
    async with FakeCluster(brokers=3) as cluster:
        cluster.add_topic("logs", 3)
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
async def test_a_full_buffer_is_waited_for() -> None:
    """produce() takes no more than buffer_memory, and resumes when there is room."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
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
async def test_a_buffer_that_stays_full() -> None:
    """After max_block_ms the caller gets an error, and the message is not sent."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
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
async def test_closing_turns_away_who_waits_for_room() -> None:
    """No call waits for a producer that is closed."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", 1)
        producer = quick_producer(cluster, batch_size=100, buffer_memory=5000)
        async with producer:
            cluster.brokers[0].stall("Produce")
            await producer.produce("logs", "x" * 3000)
            waiting = asyncio.ensure_future(producer.produce("logs", "y" * 3000))
            await cluster.received("Produce")
            await producer.close(timeout=0)
            with pytest.raises(ProducerClosed):
                await waiting
