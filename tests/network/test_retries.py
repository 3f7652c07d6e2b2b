"""Faults on the way: messages are sent again where that may help, else fail, and are never lost."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from kiel_logging.errors import BrokerRejected, DeliveryTimeout, RecordTooLarge
from kiel_logging.network.engine import Engine
from kiel_logging.records import TopicPartition
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.replies import HANG_UP
from kiel_logging.wire.error_codes import ErrorCode
from tests.network.owner import Owner, append, engine_for, pass_time
from tests.network.quick import quick_producer, send_all, to_partition, values

# One for each outcome; tests/delivery/test_retry.py has those of all errors.
RETRIABLE = [
    *(ErrorCode.corrupt_message, ErrorCode.request_timed_out, ErrorCode.not_leader_or_follower),
    *(ErrorCode.unknown_topic_or_partition, ErrorCode.kafka_storage_error),
]
FINAL = [
    *(ErrorCode.topic_authorization_failed, ErrorCode.invalid_record),
    ErrorCode.unknown_server_error,
]


@pytest.mark.parametrize("code", RETRIABLE, ids=lambda code: code.name)
@pytest.mark.parametrize("acks", [1, -1])
async def test_retriable_errors_are_retried_in_order(code: ErrorCode, acks: int) -> None:
    """Messages of a partition stay in order."""
    async with FakeCluster(brokers=2, logs=1) as cluster:
        options = {"batch_size": 4, "required_acks": acks, "partitioner": to_partition(0)}
        async with quick_producer(cluster, **options) as producer:
            cluster.produce_error(code, times=3)
            await send_all(producer, "logs", range(12))
        assert values(cluster, "logs") == [b"%d" % n for n in range(12)]


@pytest.mark.parametrize("code", FINAL, ids=lambda code: code.name)
async def test_final_errors_fail_the_batch(code: ErrorCode) -> None:
    """An error that would only repeat itself ends its records at once, with its number. Another
    partition of the same request has its own result."""
    options = {"batch_size": 3, "key_maker": int, "partitioner": lambda key, _partitions: key}
    async with (
        FakeCluster(brokers=1, logs=2) as cluster,
        quick_producer(cluster, **options) as producer,
    ):
        cluster.produce_error(code, only=("logs", 1))
        bad, good = await send_all(producer, "logs", [1, 0])
        await producer.flush()
        assert (await good).partition == 0
        with pytest.raises(BrokerRejected, match=f"{code.name.upper()} .*logs") as refusal:
            await bad
        assert refusal.value.error_code == code
        await send_all(producer, "logs", [1, 0])
        await producer.flush()
        assert (values(cluster, "logs", 1), len(values(cluster, "logs"))) == ([b"1"], 2)


async def test_no_answer_to_a_batch_that_was_not_stored() -> None:
    """The broker hangs up, or garbage comes: the batch is sent again over another connection."""
    async with FakeCluster(brokers=1, logs=1) as cluster, quick_producer(cluster) as producer:
        cluster.brokers[0].on_next("Produce", HANG_UP)
        assert (await (await producer.produce("logs", 1))).offset == 0
        cluster.brokers[0].send_garbage(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "Produce")
        assert (await (await producer.produce("logs", 2))).offset == 1
        assert values(cluster, "logs") == [b"1", b"2"]


@pytest.mark.parametrize("after_bytes", [0, 3, 9])
async def test_a_cut_after_the_batch_was_stored(after_bytes: int) -> None:
    """Without idempotence the batch may be there twice, but it is never lost."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.brokers[0].hang_up_mid_response("Produce", after_bytes)
        async with quick_producer(cluster, idempotence=False) as producer:
            metadata = await (await producer.produce("logs", 1))
            assert values(cluster, "logs")[metadata.offset] == b"1"
            assert set(values(cluster, "logs")) == {b"1"}


@pytest.mark.parametrize("after_bytes", [0, 3, 9])
async def test_a_cut_after_the_batch_was_stored_with_idempotence(after_bytes: int) -> None:
    """With required_acks=-1 the broker recognises what it has already: stored once (KIP-98)."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.brokers[0].hang_up_mid_response("Produce", after_bytes)
        async with quick_producer(cluster, required_acks=-1) as producer:
            assert (await (await producer.produce("logs", 1))).offset == 0
            assert (await (await producer.produce("logs", 2))).offset == 1
            assert values(cluster, "logs") == [b"1", b"2"]


async def test_many_cuts_with_idempotence() -> None:
    """However often connections are cut, every message is stored once and in order."""
    async with FakeCluster(brokers=2, logs=2) as cluster:
        options = {"batch_size": 4, "required_acks": -1, "partitioner": "round_robin"}
        async with quick_producer(cluster, **options) as producer:
            for turn in range(10):
                for broker in cluster.brokers:
                    broker.hang_up_mid_response("Produce", turn)
                await send_all(producer, "logs", range(turn * 4, turn * 4 + 4))
        assert values(cluster, "logs", 0) == [b"%d" % n for n in range(0, 40, 2)]
        assert values(cluster, "logs", 1) == [b"%d" % n for n in range(1, 40, 2)]


@pytest.mark.parametrize("code", [ErrorCode.request_timed_out, ErrorCode.network_exception])
async def test_an_error_although_the_batch_was_stored(code: ErrorCode) -> None:
    """A broker that stores and then says no gets the batch again, and stores it once."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.produce_error(code, times=2, stored=True)
        async with quick_producer(cluster, required_acks=-1) as producer:
            assert (await (await producer.produce("logs", 1))).offset == 0
            assert values(cluster, "logs") == [b"1"]


async def test_a_broker_that_does_not_answer_is_left_and_asked_again() -> None:
    """A request timeout ends the connection, and the batch goes out on another."""
    async with (
        FakeCluster(brokers=1, logs=1) as cluster,
        quick_producer(cluster, request_timeout_ms=300, required_acks=-1) as producer,
    ):
        cluster.brokers[0].stall("Produce", after_effect=True)
        message = asyncio.ensure_future(producer.produce("logs", 1))
        await cluster.received("Produce", 2)
        cluster.brokers[0].resume()
        assert (await (await message)).offset == 0
        connections = {request.connection for request in await cluster.received("Produce")}
        assert len(connections) >= 2
        assert values(cluster, "logs") == [b"1"]


IN_A_MINUTE: dict[str, Any] = {"delivery_timeout_ms": 60_000}


async def time_out(engine: Engine, owner: Owner, token: int) -> str:
    """Put the clock a minute forward, and return the message of the error."""
    pass_time(engine, owner, 60.0)
    await owner.until(lambda: token in owner.errors)
    assert type(owner.errors[token]) is DeliveryTimeout
    return str(owner.errors[token])


async def test_the_delivery_timeout_names_the_last_cause() -> None:
    """The last error is part of it."""
    async with (
        FakeCluster(brokers=1, logs=1) as cluster,
        engine_for(cluster, Owner(defers=False), **IN_A_MINUTE) as (engine, owner),
    ):
        cluster.produce_error(ErrorCode.not_enough_replicas, times=10**6)
        append(engine, "logs", 1)
        await cluster.received("Produce", 2)  # the first was answered
        found = await time_out(engine, owner, 1)
        assert re.search(r"logs\[0\] within 60000 ms: .*NOT_ENOUGH_REPL", found)


@pytest.mark.parametrize("acks", [1, -1], ids=["", "idempotent"])
async def test_the_delivery_timeout_names_a_dead_broker(acks: int) -> None:
    """Where the leader can't be reached, that is the cause; later records of the partition arrive
    when the broker is back."""
    options = {**IN_A_MINUTE, "required_acks": acks}
    async with (
        FakeCluster(brokers=1, logs=1) as cluster,
        engine_for(cluster, Owner(defers=False), **options) as (engine, owner),
    ):
        append(engine, "logs", 1)
        await owner.until_delivered(1)
        cluster.brokers[0].stop()
        append(engine, "logs", 2)
        await owner.until(lambda: engine.is_stalled(TopicPartition("logs", 0)))
        found = await time_out(engine, owner, 2)
        assert re.search(r"logs\[0\] within 60000 ms: .*(lost|refused)", found)
        cluster.brokers[0].start()
        append(engine, "logs", 3)
        await owner.until_delivered(3)
        assert values(cluster, "logs") == [b"1", b"3"]


async def test_an_answer_without_a_partition() -> None:
    """A response without a result for a batch decides nothing: the batch is sent again."""
    async with FakeCluster(brokers=1, logs=1) as cluster, quick_producer(cluster) as producer:
        nothing = {"responses": ()}
        cluster.brokers[0].on_next("Produce", lambda _request, default: default() | nothing)
        await producer.produce("logs", 1)
        assert b"1" in values(cluster, "logs")
        assert len(await cluster.received("Produce")) == 2


async def test_a_batch_that_the_broker_finds_too_large_is_split() -> None:
    """Halves are sent until they fit; flush waits for all of them (KAFKA-19479)."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.state.max_message_bytes = 400
        async with quick_producer(cluster, batch_size=100, required_acks=-1) as producer:
            messages = await send_all(producer, "logs", ["x" * 50 + str(n) for n in range(20)])
            assert await producer.flush() == 0
            assert [(await message).offset for message in messages] == list(range(20))
        assert len(cluster.batches("logs")[0]) > 1


async def test_a_single_message_that_the_broker_finds_too_large() -> None:
    """A message that can't be split any further fails, with advice."""
    async with FakeCluster(brokers=1, logs=1) as cluster, quick_producer(cluster) as producer:
        cluster.state.max_message_bytes = 400
        with pytest.raises(RecordTooLarge, match=r"whose max.message.bytes is less: send less"):
            await producer.produce("logs", "x" * 500)
        assert (await (await producer.produce("logs", "x"))).offset == 0
