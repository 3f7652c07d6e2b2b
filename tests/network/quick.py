"""Producers that do in milliseconds what others do in seconds, and a watch over their loop."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from kiel_logging.clients import Producer
from kiel_logging.network import connection
from kiel_logging.records import RecordMetadata
from kiel_logging.testing.cluster import FakeCluster

QUICK = {"linger_ms": 1, "retry_backoff_ms": 5, "retry_backoff_max_ms": 20}


def quick_producer(cluster: FakeCluster, **options: Any) -> Producer:
    """A producer, not yet connected, that knows all brokers of `cluster`."""
    return Producer(cluster.addresses, **{**QUICK, **options})


def to_partition(partition: int) -> Any:
    """A partitioner that always chooses the same."""
    return lambda _key, _partitions: partition


def values(cluster: FakeCluster, topic: str, partition: int = 0) -> list[bytes | None]:
    """The values that are stored in one partition, in order."""
    return [record.value for record in cluster.records(topic)[partition]]


async def send_all(
    producer: Producer, topic: str, messages: Iterable[Any]
) -> list[asyncio.Future[RecordMetadata]]:
    """Produce one message after the other, and return their futures."""
    return [await producer.produce(topic, message) for message in messages]


def let_time_pass(seconds: float) -> None:
    """Put the clock of the running loop forward: timers that end within `seconds` end now.

    The timeout of the test is one of them, after 30 seconds.
    """
    loop = asyncio.get_running_loop()
    clock = loop.time
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]
    loop.call_soon(int)  # it may be about to wait, by the clock of before


async def round_trip(cluster: FakeCluster) -> None:
    """Let everything that is on its way over loopback sockets arrive."""
    async with quick_producer(cluster):
        pass


@pytest.fixture(autouse=True)
def short_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets sessions end after milliseconds."""
    monkeypatch.setattr(connection, "RENEW_LEAST", 0.0)


@pytest.fixture(autouse=True)
def quiet_loop(io_loop: IOLoop) -> Iterator[None]:
    """Fails a test that leaves a task behind, or an exception that is never looked at."""
    complaints: list[dict[str, Any]] = []
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    yield
    left_behind = asyncio.all_tasks(loop)
    gc.collect()
    assert complaints == []
    assert left_behind == set()


@pytest.fixture
def heard() -> Iterator[asyncio.Queue[str]]:
    """The messages that the package logs, as they come."""
    said: asyncio.Queue[str] = asyncio.Queue()
    listener = logging.Handler(logging.INFO)
    listener.emit = lambda record: said.put_nowait(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("kiel_logging")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(listener)
    yield said
    logger.removeHandler(listener)
    logger.setLevel(level)
