"""Answers that brokers can't mean are not believed, and other brokers are asked in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from kiel_logging import diagnostics
from kiel_logging.clients import Producer
from kiel_logging.delivery import troubles
from kiel_logging.network import cluster as cluster_module
from kiel_logging.network import connection as connection_module
from kiel_logging.network.cluster import Node
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.replies import HANG_UP, STALL
from kiel_logging.testing.sasl import Sasl
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.metadata import Broker
from tests.network.quick import QUICK, quick_producer, values

NOWHERE = f"{'x' * 64}.invalid"
"""No name server has to be asked for it, for a label has at most 63 characters."""
DAYS = timedelta(days=24) // timedelta(milliseconds=1)


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another broker is asked after 20 ms, the bootstrap brokers after 50 at the latest."""
    monkeypatch.setattr(cluster_module, "_PATIENCE", 0.02)
    monkeypatch.setattr(cluster_module, "_LONGEST", 0.05)


def advertise(**changes: Any) -> Callable[[Any, Callable[[], Any]], Any]:
    """A Metadata reply in which every broker says something else of itself."""

    def reply(_request: Any, default: Callable[[], Any]) -> Any:
        answer = default()
        return answer | {"brokers": tuple(broker | changes for broker in answer["brokers"])}

    return reply


# -- throttling ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("milliseconds", "seconds"),
    [(-1, 0.0), (0, 0.0), (1_500, 1.5), (60_000, 60.0), (60_001, 60.0), (2**31 - 1, 60.0)],
)
def test_no_broker_throttles_for_longer_than_a_minute(milliseconds: int, seconds: float) -> None:
    """Quotas ask for a second or so; 24 days would be for ever."""
    node = Node(Broker(0, "kafka", 9092))
    node.mute(1000.0, milliseconds)
    assert node.can_take(1000.0 + seconds)
    assert seconds == 0 or not node.can_take(1000.0 + seconds - 0.001)


async def test_throttling_ends_with_the_connection() -> None:
    """A broker that was restarted knows nothing of it."""
    async with FakeCluster(brokers=1, logs=1) as cluster, quick_producer(cluster) as producer:
        cluster.brokers[0].on_next(
            "Produce", lambda _request, default: default() | {"throttle_time_ms": DAYS}
        )
        await producer.produce("logs", 1)
        cluster.brokers[0].hang_up()
        await producer.produce("logs", 2)
        assert values(cluster, "logs") == [b"1", b"2"]


# -- brokers that don't answer -------------------------------------------------------------------


@pytest.mark.parametrize("acks", [1, -1], ids=["without idempotence", "with idempotence"])
@pytest.mark.usefixtures("no_patience")
async def test_three_silent_brokers_are_enough(acks: int) -> None:
    """Out of a thousand: then the bootstrap brokers are asked again, which may know better."""
    async with FakeCluster(brokers=1) as cluster, FakeBroker() as silent:
        cluster.add_topic("logs", 1)
        silent.accept_and_ignore()

        def a_thousand(_request: Any, default: Callable[[], Any]) -> Any:
            answer = default()
            (broker,) = answer["brokers"]
            gone = tuple(broker | {"node_id": n, "port": silent.port} for n in range(1000))
            return answer | {"brokers": gone}

        for _ in range(2):  # the bootstrap brokers don't know better at once
            cluster.brokers[0].on_next("Metadata", a_thousand)
        async with quick_producer(cluster, required_acks=acks) as producer:
            await producer.produce("logs", 1)
            assert silent.connections_accepted <= 10
        silent.resume()


@pytest.mark.usefixtures("no_patience")
async def test_the_only_broker_is_asked_through_the_bootstrap_list_too() -> None:
    """When it leaves a request unanswered for long: that connection may be what is wrong."""
    async with FakeCluster(brokers=1) as cluster:
        for topic in ("first", "second"):
            cluster.add_topic(topic, 1)
        async with quick_producer(cluster, request_timeout_ms=60_000) as producer:
            await producer.produce("first", 1)
            asked = len(await cluster.received("Metadata"))
            cluster.brokers[0].on_next("Metadata", STALL)
            waiting = asyncio.ensure_future(producer.produce("second", 2))
            unanswered, again = (await cluster.received("Metadata", asked + 2))[asked:]
            assert unanswered.connection != again.connection
            cluster.brokers[0].resume()
            await waiting


async def test_known_brokers_are_asked_again_after_the_bootstrap_brokers() -> None:
    """The bootstrap brokers may be the ones that are gone for good."""
    async with FakeCluster(brokers=3) as cluster:
        seed, former, present = cluster.brokers
        seed.node.fenced = True
        cluster.set_versions("Produce", 3, 9)  # without hints at the new leader
        cluster.add_topic("logs", 1, leaders=[former.node_id])
        async with Producer([seed.address], **QUICK, required_acks=-1) as producer:
            await producer.produce("logs", 1)
            seed.on("ApiVersions", HANG_UP)
            former.stop()
            present.stop()
            waiting = asyncio.ensure_future(producer.produce("logs", 2))
            await seed.received("ApiVersions", len(seed.requests) + 6)
            cluster.move_leader("logs", 0, present.node_id)
            former.start()
            present.start()
            await waiting
            assert values(cluster, "logs") == [b"1", b"2"]


async def test_a_broker_without_metadata_sends_the_client_to_the_bootstrap_brokers() -> None:
    """REBOOTSTRAP_REQUIRED, from Metadata v13 on: the cluster has moved (KIP-1102)."""
    async with FakeCluster(brokers=2) as cluster:
        seed, known = cluster.brokers
        seed.node.fenced = True
        cluster.add_topic("logs", 1, leaders=[known.node_id])
        nothing = {"error_code": ErrorCode.rebootstrap_required, "brokers": (), "topics": ()}
        known.on("Metadata", lambda _, default: default() | nothing)
        async with Producer([seed.address], **QUICK) as producer:
            await producer.produce("logs", 1)
        assert values(cluster, "logs") == [b"1"]
        assert [r.node_id for r in cluster.requests if r.api == "Metadata"] == [0, 1, 0]


async def test_a_refusal_does_not_last() -> None:
    """Once the password is right again, messages go out; that takes no new producer."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        sasl = Sasl(users={"alice": "right"})
        cluster.brokers[0].require_sasl(sasl)
        options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
        alice = {**options, "sasl_username": "alice", "sasl_password": "right"}
        async with quick_producer(cluster, **alice, required_acks=-1) as producer:
            sasl.users["alice"] = "changed"
            cluster.brokers[0].hang_up()
            waiting = asyncio.ensure_future(producer.produce("logs", 1))
            await cluster.received("SaslAuthenticate", 4)
            sasl.users["alice"] = "right"
            await waiting
            assert values(cluster, "logs") == [b"1"]


async def test_sessions_are_not_renewed_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short a broker says that they are: it would have no time for anything else."""
    monkeypatch.setattr(connection_module, "RENEW_LEAST", 60.0)
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.brokers[0].require_sasl(Sasl(users={"alice": "x"}, lifetimes=[1] * 100))
        options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
        alice = {**options, "sasl_username": "alice", "sasl_password": "x"}
        async with quick_producer(cluster, **alice) as producer:
            for n in range(50):
                await producer.produce("logs", n)
        sessions = await cluster.received("SaslHandshake")
        assert len(sessions) == cluster.brokers[0].connections_accepted


@pytest.mark.parametrize("times", [1, 2])
async def test_a_producer_id_that_there_can_not_be_is_asked_for_again(times: int) -> None:
    """Nothing is sent under it."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        for _ in range(times):
            cluster.brokers[0].on_next(
                "InitProducerId",
                lambda _request, default: default() | {"producer_id": -7},
            )
        async with quick_producer(cluster, required_acks=-1) as producer:
            await producer.produce("logs", 1)
        (batch,) = cluster.batches("logs")[0]
        assert batch.producer_id > 0
        assert len(await cluster.received("InitProducerId")) == times + 1


# -- reports -------------------------------------------------------------------------------------


@pytest.mark.parametrize("acks", [1, -1], ids=["without idempotence", "with idempotence"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"host": NOWHERE},
        {"host": "evil\n\x1b[2J"},
        {"port": 1},
        {"port": 70_000},
    ],
    ids=["a name that does not resolve", "no name", "a port that is closed", "no port"],
)
async def test_advertised_listeners_out_of_reach_are_called_that(
    acks: int, wrong: dict[str, Any], heard: asyncio.Queue[str]
) -> None:
    """The option brokers is right, for a broker answered there, and is not named."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.on("Metadata", advertise(**wrong))
        async with quick_producer(cluster, required_acks=acks, delivery_timeout_ms=60_000) as it:
            waiting = asyncio.ensure_future(it.produce("logs", 1))
            text = await heard.get()
            assert "for broker 0 (advertised.listeners), which can't be reached from here" in text
            assert "option brokers" not in text
            assert text.isprintable()
            await cluster.received("Metadata", 6)
            assert heard.empty()
            cluster.brokers[0].clear_faults()
            await waiting


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request", b"\x15\x03\x03\x00\x02\x02\x46"])
async def test_an_advertised_port_of_another_kind_is_called_that(
    says: bytes, heard: asyncio.Queue[str]
) -> None:
    """Another server, or a listener with TLS; the port in brokers is right."""
    async with FakeCluster(brokers=1, logs=1) as cluster, FakeBroker() as another:
        another.on("ApiVersions", says)
        cluster.on("Metadata", advertise(port=another.port))
        async with quick_producer(cluster, delivery_timeout_ms=60_000) as producer:
            waiting = asyncio.ensure_future(producer.produce("logs", 1))
            text = await heard.get()
            assert "for broker 0 (advertised.listeners), which is the wrong listener" in text
            cluster.brokers[0].clear_faults()
            await waiting


@pytest.mark.usefixtures("no_patience")
async def test_a_listener_that_does_not_answer_is_reported_before_its_time_is_up(
    heard: asyncio.Queue[str],
) -> None:
    """Ten seconds would be long, and behind a firewall nothing is ever refused."""
    async with FakeCluster(brokers=1) as cluster, FakeBroker() as silent:
        silent.accept_and_ignore()
        cluster.add_topic("logs", 1)
        cluster.on("Metadata", advertise(port=silent.port))
        async with quick_producer(cluster, connect_timeout_ms=60_000) as producer:
            waiting = asyncio.ensure_future(producer.produce("logs", 1))
            assert "(advertised.listeners), and nothing answers there yet" in await heard.get()
            cluster.brokers[0].clear_faults()
            await waiting
        silent.resume()


async def test_few_troubles_are_reported_at_once(
    heard: asyncio.Queue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that names forty others, each out of reach, hides nothing else with them."""
    monkeypatch.setattr(diagnostics, "MOST", 1000)
    monkeypatch.setattr(diagnostics, "MOST_OF_A_KIND", 1000)
    count = 40
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("logs", count)
        for partition in cluster.state.topics["logs"].partitions:
            partition.leader = partition.index

        def many(_request: Any, default: Callable[[], Any]) -> Any:
            answer = default()
            (broker,) = answer["brokers"]
            dead = tuple(broker | {"node_id": n, "port": 70_000 + n} for n in range(count))
            return answer | {"brokers": dead}

        cluster.on("Metadata", many)
        options = {"partitioner": "round_robin", "linger_ms": 0, "batch_size": count}
        async with quick_producer(cluster, **options) as producer:
            messages = [asyncio.ensure_future(producer.produce("logs", n)) for n in range(count)]
            told = [await heard.get() for _ in range(troubles.MOST)]
            await cluster.received("Metadata", 12)
            assert len(set(told)) == troubles.MOST
            assert heard.empty()
            cluster.brokers[0].clear_faults()
            for partition in cluster.state.topics["logs"].partitions:
                partition.leader, partition.leader_epoch = 0, 1
            await asyncio.gather(*messages)


async def test_trouble_that_comes_and_goes_is_reported_once(heard: asyncio.Queue[str]) -> None:
    """It is over in between, several times a second."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        cluster.on(
            "InitProducerId",
            lambda _request, default: default() | {"producer_id": -7},
        )
        async with quick_producer(cluster, required_acks=-1) as producer:
            message = asyncio.ensure_future(producer.produce("logs", 1))
            assert "producer id" in await heard.get()
            await cluster.received("InitProducerId", 10)
            assert heard.empty()
            cluster.brokers[0].clear_faults()
            await message


# -- idle connections ----------------------------------------------------------------------------


@pytest.mark.parametrize("acks", [0, 1, -1])
async def test_a_connection_that_was_forgotten_costs_nothing(
    acks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages go out over another one, once, though there is no idempotence."""
    monkeypatch.setattr(connection_module, "_PROBE_LEAST", 0.01)
    monkeypatch.setattr(connection_module, "_PROBE_MOST", 0.01)
    async with FakeCluster(brokers=1, logs=1) as cluster:
        options = {"required_acks": acks, "idempotence": False, "request_timeout_ms": 60_000}
        async with quick_producer(cluster, **options) as producer:
            await producer.produce("logs", 1)
            await cluster.stored("logs", 1)
            monkeypatch.setattr(connection_module, "QUIET", 0.0)
            cluster.brokers[0].on_next("ApiVersions", STALL)
            await producer.produce("logs", 2)
            await cluster.stored("logs", 2)
            monkeypatch.setattr(connection_module, "QUIET", 60.0)
        assert values(cluster, "logs") == [b"1", b"2"]


async def test_a_connection_that_closed_itself_is_made_again() -> None:
    """connections_max_idle_ms; nothing is reported, for nothing is wrong."""
    async with FakeCluster(brokers=1, logs=1) as cluster:
        async with quick_producer(cluster, connections_max_idle_ms=20) as producer:
            for n in range(3):
                await producer.produce("logs", n)
                await cluster.until(lambda: cluster.brokers[0].open_connections == 0)
        assert values(cluster, "logs") == [b"0", b"1", b"2"]
