"""Brokers that give no producer id: idempotence is done without, unless it was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from kiel_logging.errors import BrokerRejected, KielError, UnsupportedBroker
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.wire.error_codes import ErrorCode
from tests.network.owner import Owner, append, engine_for
from tests.network.quick import quick_producer, values

INIT_PRODUCER_ID = 22


def refuse(cluster: FakeCluster) -> None:
    """This user may not write idempotently."""
    code = ErrorCode.cluster_authorization_failed
    cluster.on("InitProducerId", lambda _, answer: answer() | {"error_code": code})


def not_know(cluster: FakeCluster) -> None:
    """The brokers are look-alikes."""
    for broker in cluster.brokers:
        del broker.node.versions[INIT_PRODUCER_ID]


HOW = pytest.mark.parametrize(
    ("how", "error"), [(refuse, BrokerRejected), (not_know, UnsupportedBroker)]
)


@HOW
@pytest.mark.parametrize("defers", [True, False], ids=["handler", "producer"])
async def test_idempotence_that_was_not_asked_for(
    how: Callable[[FakeCluster], None],
    error: type[KielError],
    defers: bool,
    heard: asyncio.Queue[str],
) -> None:
    """All arrives, in order; one warning says why and what to do."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        how(cluster)
        async with engine_for(cluster, Owner(defers=defers), required_acks=-1) as (engine, owner):
            for token in range(20):
                append(engine, "logs", token)
            await owner.until_delivered(*range(20))
        assert values(cluster, "logs") == [b"%d" % token for token in range(20)]
        assert owner.deferrals == []
        text = heard.get_nowait()
        assert "without idempotence" in text
        assert "set idempotence=False" in text
        assert heard.empty()


@HOW
async def test_idempotence_that_was_asked_for(
    how: Callable[[FakeCluster], None], error: type[KielError]
) -> None:
    """It is an error, at once, that says what to do."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        how(cluster)
        options = {"required_acks": -1, "idempotence": True}
        async with quick_producer(cluster, **options) as producer:
            with pytest.raises(error, match="set idempotence=False"):
                await (await producer.produce("logs", 1))
