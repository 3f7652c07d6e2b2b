"""Brokers that turn out to belong to another cluster than before."""

from __future__ import annotations

import asyncio

import pytest

from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.wire.error_codes import ErrorCode
from tests.network.owner import append, engine_for


def belong_to(cluster: FakeCluster, name: str | None) -> None:
    """The brokers name this cluster as theirs."""
    cluster.on("Metadata", lambda _, answer: answer() | {"cluster_id": name})


async def look(cluster: FakeCluster) -> None:
    """Have the metadata asked for."""
    asked = sum(request.api == "Metadata" for request in cluster.requests)
    cluster.produce_error(ErrorCode.not_leader_or_follower)
    await cluster.received("Metadata", asked + 1)


async def test_another_cluster_is_reported(heard: asyncio.Queue[str]) -> None:
    """Once, with both names and advice; records continue, under another producer id."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        async with engine_for(cluster, required_acks=-1) as (engine, owner):
            append(engine, "logs", 1)
            await owner.until_delivered(1)
            belong_to(cluster, "other\x1b[2J")
            cluster.produce_error(ErrorCode.not_leader_or_follower)
            append(engine, "logs", 2)
            text = await heard.get()
            assert "belongs to the cluster other\\x1b[2J" in text
            assert "to fake-cluster" in text
            assert "check the option brokers" in text
            await owner.until_delivered(2)  # before or after the news, whichever was faster
            append(engine, "logs", 3)
            await owner.until_delivered(3)
        assert heard.empty()
        assert len(await cluster.received("InitProducerId", 2)) == 2
        first, *_, last = cluster.batches("logs")[0]
        assert first.producer_id != last.producer_id
        renewed = [b for b in cluster.batches("logs")[0] if b.producer_id == last.producer_id]
        assert renewed[0].base_sequence == 0


@pytest.mark.parametrize("name", [None, "fake-cluster"])
async def test_the_same_cluster_is_no_news(name: str | None, heard: asyncio.Queue[str]) -> None:
    """Brokers that name none are no news either."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        async with engine_for(cluster, required_acks=-1) as (engine, owner):
            append(engine, "logs", 1)
            await owner.until_delivered(1)
            belong_to(cluster, name)
            asked = asyncio.ensure_future(look(cluster))
            await asyncio.sleep(0)
            append(engine, "logs", 2)
            await owner.until_delivered(2)
            await asked
        assert heard.empty()
        assert len(await cluster.received("InitProducerId")) == 1
