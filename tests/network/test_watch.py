"""Trouble that lasts is logged while it lasts, whatever it is, and so is its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.delivery import troubles
from kiel_logging.network import cluster as cluster_module
from kiel_logging.network import watch
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.replies import HANG_UP, STALL
from kiel_logging.wire.error_codes import ErrorCode
from tests.network.owner import append, engine_for, pass_time

MANY = 10**6
A_MOMENT = 300


@pytest.fixture(autouse=True)
def frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble is over after milliseconds."""
    monkeypatch.setattr(troubles, "CALM", 0.05)
    monkeypatch.setattr(troubles, "PERIOD", 0.02)
    monkeypatch.setattr(watch, "_OFTEN", 0.0)
    monkeypatch.setattr(watch, "_AGAIN", 0.01)


def reject(error: ErrorCode) -> Callable[[FakeCluster], None]:
    """Every batch, for now."""
    return lambda cluster: cluster.produce_error(error, times=MANY)


def throttle(cluster: FakeCluster) -> None:
    """Each answer says to wait."""
    cluster.on("Produce", lambda _, answer: answer() | {"throttle_time_ms": A_MOMENT})


TROUBLES: dict[str, tuple[Callable[[FakeCluster], Any], str, str]] = {
    "replicas": (
        reject(ErrorCode.not_enough_replicas),
        "topic 'logs': the broker answered NOT_ENOUGH_REPLICAS",
        "lower min.insync.replicas",
    ),
    "timeouts": (
        reject(ErrorCode.request_timed_out),
        "topic 'logs': the broker answered REQUEST_TIMED_OUT",
        "raise ack_timeout",
    ),
    "authorization": (
        reject(ErrorCode.topic_authorization_failed),
        "topic 'logs': the broker answered TOPIC_AUTHORIZATION_FAILED",
        "allow this client's user to Write",
    ),
    "no leader": (
        lambda cluster: cluster.move_leader("logs", 0, None),
        "topic 'logs': logs[0] has no leader that is known",
        "its brokers must come back",
    ),
    "hanging up": (
        lambda cluster: cluster.on("Produce", HANG_UP),
        "broker 127.0.0.1:",
        "the broker's log may say why",
    ),
    "silence": (
        lambda cluster: cluster.on("Produce", STALL),
        "broker 127.0.0.1:",
        "is it overloaded",
    ),
    "throttling": (throttle, "broker 127.0.0.1:", "raise the quota"),
}


def recover(cluster: FakeCluster) -> None:
    """All is well again."""
    (broker,) = cluster.brokers
    broker.clear_faults()
    broker.resume()
    if cluster.state.topics["logs"].partitions[0].leader is None:
        cluster.move_leader("logs", 0, 0)


@pytest.mark.parametrize("name", TROUBLES)
async def test_trouble_is_logged_while_it_lasts(
    name: str, heard: asyncio.Queue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its subject, the reason with advice, since when, how many records wait; then its end."""
    begin, begins_with, advice = TROUBLES[name]
    async with (
        FakeCluster(brokers=1, logs=1) as cluster,
        engine_for(cluster) as (engine, owner),
    ):
        append(engine, "logs", 0)
        await owner.until_delivered(0)
        monkeypatch.setattr(troubles, "PATIENCE", 0.02)
        if name == "silence":
            monkeypatch.setattr(cluster_module, "SLOW", 0.02)
        begin(cluster)
        append(engine, "logs", 1)
        if name != "no leader":
            await cluster.received("Produce", 2)
        append(engine, "logs", 2)  # throttling holds up the next record only
        text = await heard.get()
        assert text.startswith(begins_with)
        assert advice in text
        assert " (since 2" in text
        assert "records wait, " in text
        assert [one.subject for one in engine.troubles] == [text[: text.index(": ")]]
        recover(cluster)
        while not (text := await heard.get()).startswith("over, after "):
            pass  # the same trouble by another name: a broker that is gone meanwhile
        assert begins_with[:10] in text
        await owner.until_delivered(1, 2)
        await owner.until_looked(lambda: engine.troubles == ())


async def test_a_producer_id_that_is_not_granted(
    heard: asyncio.Queue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers that have none for now are reported, though that may pass."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        code = ErrorCode.coordinator_load_in_progress
        cluster.on("InitProducerId", lambda _, answer: answer() | {"error_code": code})
        async with engine_for(cluster, required_acks=-1) as (engine, owner):
            append(engine, "logs", 0)
            await cluster.received("InitProducerId")
            monkeypatch.setattr(troubles, "PATIENCE", 0.02)
            assert "no producer id: the broker answered COORDINATOR_LOAD" in await heard.get()
            recover(cluster)
            await owner.until_delivered(0)
            assert "over, after " in await heard.get()


async def test_topics_that_wait_for_kafka_are_not_reported_besides(
    heard: asyncio.Queue[str],
) -> None:
    """There is one reason, and one report: that no broker can be reached."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.brokers[0].stop()
        async with engine_for(cluster) as (engine, owner):
            append(engine, "logs", 0)
            assert (await heard.get()).startswith("Kafka can't be reached: ")
            pass_time(engine, owner, troubles.PATIENCE)
            looks = owner.turns
            await owner.until_looked(lambda: owner.turns > looks + 20)
            assert [one.subject for one in engine.troubles] == ["Kafka can't be reached"]


async def test_brokers_that_never_answer(
    heard: asyncio.Queue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is reported long before they may no longer do so."""
    monkeypatch.setattr(cluster_module, "SLOW", 0.05)
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.brokers[0].accept_and_ignore()
        async with engine_for(cluster, connect_timeout_ms=60_000) as (engine, _owner):
            append(engine, "logs", 0)
            text = await heard.get()
            assert text.startswith("Kafka can't be reached: no broker has answered for ")
            assert cluster.addresses[0] in text
            cluster.brokers[0].resume()
