"""Brokers that don't take every codec: old ones, and look-alikes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.errors import BrokerRejected
from kiel_logging.testing.batches import decode_batch
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.wire.error_codes import ErrorCode
from tests.network.owner import append, engine_for
from tests.network.quick import quick_producer, values


def take_uncompressed(cluster: FakeCluster) -> None:
    """Refuse all other batches."""

    def reply(request: Any, default: Callable[[], Any]) -> Any:
        (topic,) = request["topic_data"]
        (partition,) = topic["partition_data"]
        if decode_batch(partition["records"], 0).codec != "none":
            cluster.produce_error(ErrorCode.unsupported_compression_type)
        return default()

    cluster.on("Produce", reply)


@pytest.mark.parametrize("acks", [1, -1])
async def test_a_codec_that_is_refused_is_given_up(acks: int, heard: asyncio.Queue[str]) -> None:
    """All arrives, in order, uncompressed; one warning says why and what to do."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        take_uncompressed(cluster)
        async with engine_for(cluster, required_acks=acks, compression="snappy") as (engine, owner):
            for token in range(20):
                append(engine, "logs", token)
            await owner.until_delivered(*range(20))
        assert values(cluster, "logs") == [b"%d" % token for token in range(20)]
        text = heard.get_nowait()
        assert "compressed with snappy" in text
        assert "set compression" in text
        assert heard.empty()


async def test_a_broker_that_refuses_uncompressed_records() -> None:
    """There is nothing to fall back to: the error has the broker's answer."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.produce_error(ErrorCode.unsupported_compression_type, times=10**6)
        async with quick_producer(cluster, compression="gzip") as producer:
            with pytest.raises(BrokerRejected, match="UNSUPPORTED_COMPRESSION_TYPE"):
                await (await producer.produce("logs", 1))
