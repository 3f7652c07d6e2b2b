"""Brokers that hang up on what is too large for them, instead of answering."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from kiel_logging.delivery import deferral
from kiel_logging.errors import RecordTooLarge
from kiel_logging.records import Record
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.replies import HANG_UP
from tests.network.owner import Owner, engine_for

LIMIT: Final = 100_000


def hang_up_above(cluster: FakeCluster, limit: int = LIMIT) -> list[int]:
    """Hang up on larger Produce requests; the sizes of all come to be in the list."""
    sizes: list[int] = []

    def reply(request: Any, default: Any) -> Any:
        size = sum(
            len(partition["records"])
            for topic in request["topic_data"]
            for partition in topic["partition_data"]
        )
        sizes.append(size)
        return HANG_UP if size > limit else default()

    cluster.on("Produce", reply)
    return sizes


def append(engine: Any, owner: Owner, tokens: range, size: int, key: Any = None) -> None:
    """Append records of `size` bytes, to be sent when all are there."""
    for token in tokens:
        owner.keys[token] = key
        engine.append("logs", key, Record(None, b"%08d" % token + b"x" * size, (), 0), token)


@pytest.mark.parametrize("acks", [1, -1])
@pytest.mark.parametrize("partitions", [1, 12])
async def test_requests_become_smaller(
    acks: int, partitions: int, heard: asyncio.Queue[str]
) -> None:
    """After the second hang-up: all arrives, once and in order, and that is reported once."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", partitions)
        sizes = hang_up_above(cluster)
        options = {"required_acks": acks, "batch_size": 10**6, "partitioner": by_number}
        async with engine_for(cluster, **options) as (engine, owner):
            for partition in range(partitions):
                count = 600 // partitions
                first = 1000 * partition
                append(engine, owner, range(first, first + count), 1000, partition)
            engine.send_now()
            text = await heard.get()
            assert "hangs up on requests of " in text
            assert "max_request_size" in text
            await owner.until(lambda: len(owner.delivered_at) == 600)
            assert heard.empty()
        assert sum(size > LIMIT for size in sizes) <= 5
        for number, stored in cluster.records("logs").items():
            numbers = [int((record.value or b"")[:8]) for record in stored]
            assert numbers == [1000 * number + n for n in range(600 // partitions)]


def by_number(key: int, partitions: list[int]) -> int:
    """A partitioner: the key is the partition."""
    return partitions[key]


async def test_a_single_record_costs_itself_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up, for it can't be halved; those before and behind it arrive."""
    monkeypatch.setattr(deferral, "FIRST", 0.02)
    async with FakeCluster(brokers=1, logs=1) as cluster:
        hang_up_above(cluster)
        async with engine_for(cluster, required_acks=-1) as (engine, owner):
            append(engine, owner, range(5), 10)
            append(engine, owner, range(5, 6), 2 * LIMIT)
            append(engine, owner, range(6, 10), 10)
            engine.send_now()
            await owner.until_delivered(*range(5), *range(6, 10))
            assert isinstance(owner.errors[5], RecordTooLarge)
            assert "socket.request.max.bytes" in str(owner.errors[5])
