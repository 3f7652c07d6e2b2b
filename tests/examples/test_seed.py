"""Every snippet of the seed document runs with only its import changed.

The snippets name brokers such as kafka01; here those names resolve to a broker of the test's.
"""

from __future__ import annotations

import json
import runpy
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tornado.gen import convert_yielded

from kiel_logging.errors import ProducerClosed
from kiel_logging.testing.cluster import FakeCluster

SEED = Path(__file__).parents[2] / "examples" / "seed"
SEED_BROKERS = ("kafka01", "kafka02", "broker01")

ENDING = {
    "produce": ("run", "example.topic", 1),
    "key_maker": ("run", "activity.logins", 2),
    "partitioner": ("run", "example.topic", 6),
    "consistent_hashing": ("run", "activity.logins", 3),
    "custom_serializer": ("produce", "example.things", 1),
    "compression": ("run", "example.topic", 2),
}
ENDLESS = {
    "modulo": ("produce", "example.topic"),
    "batching": ("send", "topics.colors"),
}


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the seed's host names resolve to a port on loopback."""
    real = socket.getaddrinfo

    def start(port: int) -> None:
        def getaddrinfo(host: str, asked_port: int, *args: Any, **kwargs: Any) -> Any:
            if host not in SEED_BROKERS:
                return real(host, asked_port, *args, **kwargs)
            if kwargs.get("flags", 0) & socket.AI_NUMERICHOST:
                raise socket.gaierror(socket.EAI_NONAME, "not a number")
            return real("127.0.0.1", port, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return start


def test_every_snippet_is_run() -> None:
    """No file of the seed's is left out of the tables above."""
    assert {path.stem for path in SEED.glob("*.py")} == {*ENDING, *ENDLESS}


@pytest.mark.gen_test(timeout=20)
@pytest.mark.parametrize("name", ENDING)
async def test_a_snippet_delivers_what_it_produces(
    name: str, name_server: Callable[[int], None]
) -> None:
    """A snippet that ends has delivered its messages by then."""
    function, topic, count = ENDING[name]
    async with FakeCluster(brokers=1) as cluster:
        name_server(cluster.brokers[0].port)
        snippet = runpy.run_path(str(SEED / f"{name}.py"))
        await convert_yielded(snippet[function]())
        assert cluster.count(topic) == count
        await _close_all(snippet)


@pytest.mark.gen_test(timeout=20)
@pytest.mark.parametrize("name", ENDLESS)
async def test_an_endless_snippet_goes_on_delivering(
    name: str, name_server: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snippet that loops for ever delivers message after message until its producer is closed."""
    function, topic = ENDLESS[name]
    async with FakeCluster(brokers=1) as cluster:
        name_server(cluster.brokers[0].port)
        made: list[Any] = []
        snippet = runpy.run_path(str(SEED / f"{name}.py"))
        producer_type = snippet["clients"].Producer
        make = producer_type.__init__
        monkeypatch.setattr(
            producer_type,
            "__init__",
            lambda self, *a, **k: (made.append(self), make(self, *a, **k))[1],
        )
        running = convert_yielded(snippet[function]())
        await cluster.stored(topic, 30)
        for producer in [*made, *_producers(snippet)]:
            await producer.close()
        with pytest.raises(ProducerClosed):
            await running


@pytest.mark.gen_test(timeout=20)
async def test_the_modulo_strategy_spreads_evenly(name_server: Callable[[int], None]) -> None:
    """The partitioner snippet sends keys 0 to 5 round the partitions in turn."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.add_topic("example.topic", 3)
        name_server(cluster.brokers[0].port)
        snippet = runpy.run_path(str(SEED / "partitioner.py"))
        await convert_yielded(snippet["run"]())
        stored = cluster.records("example.topic")
        numbers = {
            partition: [json.loads(record.value or b"")["n"] for record in records]
            for partition, records in stored.items()
        }
        assert numbers == {0: [0, 3], 1: [1, 4], 2: [2, 5]}
        await _close_all(snippet)


def _producers(snippet: dict[str, Any]) -> list[Any]:
    kind = snippet["clients"].Producer
    return [value for value in snippet.values() if isinstance(value, kind)]


async def _close_all(snippet: dict[str, Any]) -> None:
    for producer in _producers(snippet):
        await producer.close()
