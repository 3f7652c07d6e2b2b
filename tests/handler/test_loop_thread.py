"""The loop thread gets work from other threads, doesn't wait for them, and answers in time."""

from __future__ import annotations

import asyncio
import errno
import gc
import queue
import socket
import threading
from contextlib import closing
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.config.options import Address
from kiel_logging.errors import BrokerUnreachable
from kiel_logging.handler.pausing_loop import resolve_on_a_daemon
from kiel_logging.handler.shipper import SLICE
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import logger_to, messages

QUICK = {"linger_ms": 1, "retry_backoff_ms": 5, "retry_backoff_max_ms": 20}


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


# -- its life -----------------------------------------------------------------------------------


@pytest.fixture
def others() -> list[threading.Thread]:
    """The threads of handlers that are not this test's."""
    return shipping_threads()


def test_the_thread_starts_with_the_first_record(
    cluster: FakeKafka, others: list[threading.Thread]
) -> None:
    """A handler that nothing is logged to costs no thread and no connection, not even to close."""
    with closing(KafkaHandler(cluster.addresses, "logs", **QUICK)) as handler:
        assert handler.flush() == 0
        assert shipping_threads() == others
        assert cluster.requests() == []
        handler.close()  # nothing was ever to be sent
        assert (shipping_threads(), cluster.requests()) == (others, [])
        logger_to(handler).info("x")
        assert len(shipping_threads()) == len(others) + 1
        logger_to(handler).info("y")
        assert len(shipping_threads()) == len(others) + 1


def test_the_thread_is_a_daemon_that_ends_with_the_handler(
    cluster: FakeKafka, others: list[threading.Thread]
) -> None:
    """Python does not wait for it at exit; close() does."""
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK)
    logger_to(handler).info("x")
    (thread,) = [thread for thread in shipping_threads() if thread not in others]
    assert thread.daemon
    handler.close()
    assert not thread.is_alive()
    assert messages(cluster) == ["x"]


class NoThreads:
    """Python as it is on its way out: no thread can be started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(threading.Thread, "start", self._refuse)

    def _refuse(self, *_arguments: Any) -> None:
        self.asked += 1
        raise RuntimeError("can't start new thread")

    def end(self) -> None:
        """Threads can be started again."""
        self._monkeypatch.undo()


@pytest.fixture
def no_threads(cluster: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> NoThreads:
    """From now on none can be started; the cluster has its own."""
    return NoThreads(monkeypatch)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_where_no_thread_can_be_started_flush_ships(
    cluster: FakeKafka, no_threads: NoThreads, host: str
) -> None:
    """On the thread that flushes, as often as it is asked to."""
    port = cluster.addresses[0].rpartition(":")[2]
    with closing(KafkaHandler(f"{host}:{port}", "logs", **QUICK)) as handler:
        logger_to(handler).info("x")
        logger_to(handler).info("y")
        assert handler.stats().buffered == 2
        assert handler.flush() == 0
        assert messages(cluster) == ["x", "y"]
        logger_to(handler).info("z")
        assert handler.flush() == 0
    assert no_threads.asked > 0
    assert messages(cluster) == ["x", "y", "z"]


def test_where_no_thread_can_be_started_close_ships(
    cluster: FakeKafka, no_threads: NoThreads, capsys: pytest.CaptureFixture[str]
) -> None:
    """And leaves nothing open."""
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK)
    logger_to(handler).info("x")
    handler.close()
    assert messages(cluster) == ["x"]
    assert handler.stats().delivered == 1
    assert capsys.readouterr().err == ""


def test_a_thread_is_started_as_soon_as_one_can_be(
    cluster: FakeKafka, no_threads: NoThreads, others: list[threading.Thread]
) -> None:
    """It may have been a moment's lack; what was logged meanwhile is shipped too."""
    with closing(KafkaHandler(cluster.addresses, "logs", **QUICK, batch_size=2)) as handler:
        logger_to(handler).info("x")
        no_threads.end()
        logger_to(handler).info("y")
        assert len(shipping_threads()) == len(others) + 1
        cluster.stored("logs", 2)
    assert messages(cluster) == ["x", "y"]


def test_where_there_are_no_files_for_a_loop_the_record_waits(
    cluster: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program does not notice; the record is sent as soon as there are files again."""
    refused = threading.Event()

    def refuse(*_arguments: Any) -> None:
        refused.set()
        raise OSError(errno.EMFILE, "Too many open files")

    with closing(KafkaHandler(cluster.addresses, "logs", **QUICK)) as handler:
        monkeypatch.setattr(socket, "socketpair", refuse)
        logger_to(handler).info("x")
        assert refused.wait(20)
        assert handler.stats().buffered == 1
        monkeypatch.undo()
        cluster.stored("logs", 1)
    gc.collect()
    assert messages(cluster) == ["x"]


def test_a_flush_in_the_middle_of_a_start_is_done_by_the_thread(
    cluster: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler's, or another thread's: no two threads run the loop."""
    start, ran_on = threading.Thread.start, set[str]()

    def start_and_flush(new: threading.Thread) -> None:
        start(new)
        if new.name == "kiel_logging":
            handler.flush(20)

    def partitioner(_key: Any, partitions: Any) -> int:
        ran_on.add(threading.current_thread().name)
        return partitions[0]

    handler = KafkaHandler(cluster.addresses, "logs", partitioner=partitioner, **QUICK)
    with closing(handler):
        monkeypatch.setattr(threading.Thread, "start", start_and_flush)
        logger_to(handler).info("x")
        monkeypatch.undo()
        assert handler.flush() == 0
    assert (messages(cluster), ran_on) == (["x"], {"kiel_logging"})


@pytest.mark.parametrize("threads", [True, False], ids=["a thread", "no thread"])
def test_close_gives_up_at_its_timeout(
    cluster: FakeKafka,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    threads: bool,
) -> None:
    """A broker that takes the records and never answers does not keep close() from ending."""
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK, close_timeout_ms=30)
    if not threads:
        NoThreads(monkeypatch)
    logger_to(handler).info("x")
    if threads:
        cluster.received("Produce")
    handler.close()
    assert handler.stats().failed == 1
    assert "1 log record did not reach Kafka" in capsys.readouterr().err


# -- shipping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["flush", "close"])
def test_a_burst_that_is_on_its_way_is_waited_for(
    cluster: FakeKafka, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    """flush() and close() come while records are on their way into the producer, and lose none."""
    gate, count = Gate(), 3 * SLICE
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
        getattr(handler, end)()
        assert handler.stats().delivered == cluster.call(lambda c: c.count("logs")) == count + 1
    assert capsys.readouterr().err == ""


def test_logging_goes_on_while_the_loop_thread_is_held_up(cluster: FakeKafka) -> None:
    """Logging threads don't wait for the loop thread, or for anything that it waits for."""
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


def test_flush_on_the_loop_thread_itself(cluster: FakeKafka) -> None:
    """Code on that thread can't wait for the loop: a flush returns immediately instead of never,
    and others wait as long as ever."""
    told: queue.SimpleQueue[int] = queue.SimpleQueue()

    def partitioner(_key: Any, partitions: Any) -> int:
        told.put(handler.flush())
        return partitions[0]

    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    handler = KafkaHandler(cluster.addresses, "logs", partitioner=partitioner, **QUICK)
    with closing(handler):
        logger_to(handler).info("x")
        assert told.get(timeout=20) == 1
        cluster.on_broker(0, lambda broker: broker.resume())
        assert handler.flush() == 0
    assert messages(cluster) == ["x"]


def test_each_record_wakes_the_loop_only_when_it_must(cluster: FakeKafka) -> None:
    """Records that come while others linger share their batch."""
    handler = KafkaHandler(cluster.addresses, "logs", **{**QUICK, "linger_ms": 20_000})
    with closing(handler):
        for number in range(50):
            logger_to(handler).info("%d", number)
        assert handler.flush() == 0
    assert [len(batch.records) for batch in cluster.batches("logs")[0]] == [50]


def test_giving_up_leaves_no_task_behind(
    cluster: FakeKafka, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks that wait for a broker when close() gives up are cancelled, not forgotten."""
    cluster.on_broker(0, lambda broker: broker.accept_and_ignore())
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK, close_timeout_ms=20)
    logger_to(handler).info("x")
    handler.close()
    del handler
    gc.collect()
    assert "Task was destroyed" not in caplog.text


def test_a_name_that_takes_for_ever_to_resolve_does_not_keep_close(
    cluster: FakeKafka,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Names are looked up beside the loop, which continues and can be stopped."""
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
    assert "1 log record did not reach Kafka" in capsys.readouterr().err


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
