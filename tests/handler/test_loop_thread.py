"""The loop thread: fed from other threads, it waits for nobody and nobody waits for it in vain."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.errors import BrokerUnreachable
from kiel_logging.handler.loop_thread import SLICE, resolve_on_a_daemon
from kiel_logging.options import Address
from tests.support.threaded_fake_cluster import ThreadedFakeCluster

QUICK = {"linger_ms": 1, "retry_backoff_ms": 5, "retry_backoff_max_ms": 20}


@pytest.fixture
def cluster() -> Iterator[ThreadedFakeCluster]:
    """One broker on a thread, with a topic `logs` of one partition."""
    with ThreadedFakeCluster(brokers=1) as threaded:
        threaded.add_topic("logs", 1)
        yield threaded


def logger_to(handler: logging.Handler) -> logging.Logger:
    """A logger that nothing else knows of."""
    logger = logging.Logger("shop", logging.DEBUG)
    logger.addHandler(handler)
    return logger


def messages(cluster: ThreadedFakeCluster) -> list[str]:
    """What is stored, in order."""
    return [json.loads(record.value or b"")["message"] for record in cluster.records("logs")[0]]


def shipping_threads() -> list[threading.Thread]:
    """The threads of all handlers."""
    return [thread for thread in threading.enumerate() if thread.name == "kiel_logging"]


class Gate:
    """A partitioner that holds the loop thread up while it is closed."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._reached = threading.Event()
        self.open()

    def __call__(self, _key: Any, partitions: Any) -> int:
        self._reached.set()
        self._open.wait(20)
        return partitions[0]

    def close(self) -> None:
        """Hold up the next record."""
        self._reached.clear()
        self._open.clear()

    def open(self) -> None:
        """Let everything pass."""
        self._open.set()

    def wait_until_held_up(self) -> None:
        """Wait until the loop thread stands before the gate."""
        assert self._reached.wait(20)


def test_the_thread_is_a_daemon_that_ends_with_the_handler(cluster: ThreadedFakeCluster) -> None:
    """Python does not wait for it at exit; close() does."""
    before = shipping_threads()
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK)
    (thread,) = [thread for thread in shipping_threads() if thread not in before]
    assert thread.daemon
    handler.close()
    assert not thread.is_alive()


def test_flush_waits_for_what_is_being_fed(cluster: ThreadedFakeCluster) -> None:
    """When flush() comes while records are on their way into the producer, it waits for all."""
    gate, count = Gate(), 20 * SLICE
    handler = KafkaHandler(cluster.addresses, "logs", partitioner=gate, **QUICK)
    with closing(handler):
        logger = logger_to(handler)
        logger.info("first")
        assert handler.flush() == 0
        gate.close()
        for number in range(count):
            logger.info("%d", number)
        gate.wait_until_held_up()
        gate.open()
        assert handler.flush() == 0
        assert cluster.call(lambda c: c.count("logs")) == count + 1


def test_a_burst_before_the_end_is_delivered(
    cluster: ThreadedFakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """flush() and close(), as logging.shutdown() calls them, lose nothing of a burst."""
    gate, count = Gate(), 20 * SLICE
    handler = KafkaHandler(cluster.addresses, "logs", partitioner=gate, **QUICK)
    logger = logger_to(handler)
    logger.info("first")
    assert handler.flush() == 0
    gate.close()
    for number in range(count):
        logger.info("%d", number)
    gate.wait_until_held_up()
    gate.open()
    handler.flush()
    handler.close()
    assert capsys.readouterr().err == ""
    assert handler.stats().delivered == count + 1


def test_logging_goes_on_while_the_loop_thread_is_held_up(cluster: ThreadedFakeCluster) -> None:
    """Whoever logs waits neither for the loop thread nor for what it waits for."""
    gate = Gate()
    handler = KafkaHandler(cluster.addresses, "logs", partitioner=gate, **QUICK)
    with closing(handler):
        logger = logger_to(handler)
        logger.info("first")
        handler.flush()
        gate.close()
        logger.info("0")
        gate.wait_until_held_up()
        for number in range(1, 1000):
            logger.info("%d", number)
        gate.open()
        handler.flush()
        cluster.stored("logs", 1001)
    assert messages(cluster) == ["first", *map(str, range(1000))]


def test_flush_on_the_loop_thread_itself(cluster: ThreadedFakeCluster) -> None:
    """Whoever runs there can't wait for the loop: it returns at once instead of for ever."""
    told: list[int] = []

    def partitioner(_key: Any, partitions: Any) -> int:
        told.append(handler.flush())
        return partitions[0]

    handler = KafkaHandler(cluster.addresses, "logs", partitioner=partitioner, **QUICK)
    with closing(handler):
        logger_to(handler).info("x")
        assert handler.flush() == 0
    assert told == [1]
    assert messages(cluster) == ["x"]


def test_each_record_wakes_the_loop_only_when_it_must(cluster: ThreadedFakeCluster) -> None:
    """Records that come while others linger share their batch."""
    handler = KafkaHandler(cluster.addresses, "logs", **{**QUICK, "linger_ms": 20_000})
    with closing(handler):
        for number in range(50):
            logger_to(handler).info("%d", number)
        assert handler.flush() == 0
    assert [len(batch.records) for batch in cluster.batches("logs")[0]] == [50]


def test_stop_gives_up_at_its_timeout(
    cluster: ThreadedFakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broker that takes the records and never answers does not keep close() from ending."""
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK, close_timeout_ms=30)
    logger_to(handler).info("x")
    cluster.received("Produce")
    handler.close()
    assert "1 log records did not reach Kafka" in capsys.readouterr().err
    assert handler.stats().failed == 1


def test_giving_up_leaves_no_task_behind(
    cluster: ThreadedFakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """What still waits for a broker when close() gives up is cancelled, not forgotten."""
    cluster.on_broker(0, lambda broker: broker.accept_and_ignore())
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK, close_timeout_ms=20)
    logger_to(handler).info("x")
    handler.close()
    del handler
    gc.collect()
    assert "Task was destroyed" not in caplog.text


def test_a_name_that_takes_for_ever_to_resolve_does_not_keep_close(
    cluster: ThreadedFakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Names are looked up beside the loop, which goes on and can be stopped."""
    asked, answer = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo

    def slow(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "slow.invalid" and not options.get("flags"):
            asked.set()
            answer.wait(20)
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    handler = KafkaHandler("slow.invalid", "logs", **QUICK, close_timeout_ms=30)
    logger_to(handler).info("x")
    assert asked.wait(20)
    handler.close()
    answer.set()
    assert handler.stats().emitted == 1
    del handler
    gc.collect()
    assert "1 log records did not reach Kafka" in capsys.readouterr().err


# -- names --------------------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_resolving_a_name() -> None:
    """localhost has an address that can be connected to."""
    found = await resolve_on_a_daemon(Address("localhost", 9092))
    assert {sockaddr[0] for _, sockaddr in found} & {"127.0.0.1", "::1"}
    assert {sockaddr[1] for _, sockaddr in found} == {9092}


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)]
)
@pytest.mark.gen_test
async def test_resolving_an_address(host: str, family: socket.AddressFamily) -> None:
    """An address is what it is."""
    ((found, sockaddr),) = await resolve_on_a_daemon(Address(host, 9092))
    assert (found, sockaddr[:2]) == (family, (host, 9092))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 64 + ".invalid", "a..b"])
@pytest.mark.gen_test
async def test_resolving_what_is_no_name(host: str) -> None:
    """The error names it, and is ours."""
    with pytest.raises(BrokerUnreachable, match=f"{host}:9092 does not resolve"):
        await resolve_on_a_daemon(Address(host, 9092))


@pytest.mark.gen_test
async def test_a_look_up_that_nobody_waits_for_any_more() -> None:
    """Its result is dropped."""
    looking = asyncio.ensure_future(resolve_on_a_daemon(Address("localhost", 9092)))
    await asyncio.sleep(0)
    looking.cancel()
    again = await resolve_on_a_daemon(Address("localhost", 9092))
    assert looking.cancelled()
    assert again
