"""The loop thread gets work from other threads, doesn't wait for them, and answers in time."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.config.options import Address
from kiel_logging.errors import BrokerUnreachable
from kiel_logging.handler.loop_thread import LoopThread, State
from kiel_logging.handler.pausing_loop import resolve_on_a_daemon
from kiel_logging.handler.shipper import SLICE
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
    """The stored messages, in order."""
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


# -- its life -----------------------------------------------------------------------------------


@pytest.fixture
def others() -> list[threading.Thread]:
    """The threads of handlers that are not this test's."""
    return shipping_threads()


def test_the_thread_starts_with_the_first_record(
    cluster: ThreadedFakeCluster, others: list[threading.Thread]
) -> None:
    """A handler that nothing is logged to costs no thread and no connection."""
    with closing(KafkaHandler(cluster.addresses, "logs", **QUICK)) as handler:
        assert handler.flush() == 0
        assert shipping_threads() == others
        assert cluster.requests() == []
        logger_to(handler).info("x")
        assert len(shipping_threads()) == len(others) + 1
        logger_to(handler).info("y")
        assert len(shipping_threads()) == len(others) + 1


def test_the_thread_is_a_daemon_that_ends_with_the_handler(
    cluster: ThreadedFakeCluster, others: list[threading.Thread]
) -> None:
    """Python does not wait for it at exit; close() does."""
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK)
    logger_to(handler).info("x")
    (thread,) = [thread for thread in shipping_threads() if thread not in others]
    assert thread.daemon
    handler.close()
    assert not thread.is_alive()
    assert messages(cluster) == ["x"]


def test_a_handler_that_was_never_used_is_closed_without_a_thread(
    cluster: ThreadedFakeCluster, others: list[threading.Thread]
) -> None:
    """Nothing was ever to be sent."""
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK)
    handler.close()
    assert shipping_threads() == others
    assert cluster.requests() == []


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
def no_threads(cluster: ThreadedFakeCluster, monkeypatch: pytest.MonkeyPatch) -> NoThreads:
    """From now on none can be started; the cluster has its own."""
    return NoThreads(monkeypatch)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_where_no_thread_can_be_started_flush_ships(
    cluster: ThreadedFakeCluster, no_threads: NoThreads, host: str
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
    cluster: ThreadedFakeCluster, no_threads: NoThreads, capsys: pytest.CaptureFixture[str]
) -> None:
    """And leaves nothing open."""
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK)
    logger_to(handler).info("x")
    handler.close()
    assert messages(cluster) == ["x"]
    assert handler.stats().delivered == 1
    assert capsys.readouterr().err == ""


def test_where_no_thread_can_be_started_close_gives_up_at_its_timeout(
    cluster: ThreadedFakeCluster, no_threads: NoThreads, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with a thread."""
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK, close_timeout_ms=30)
    logger_to(handler).info("x")
    handler.close()
    assert handler.stats().failed == 1
    assert "1 log record did not reach Kafka" in capsys.readouterr().err


def test_a_thread_is_started_as_soon_as_one_can_be(
    cluster: ThreadedFakeCluster, no_threads: NoThreads, others: list[threading.Thread]
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
    cluster: ThreadedFakeCluster, monkeypatch: pytest.MonkeyPatch
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


class Ship:
    """Stands in for a Shipper, and for its feed: notes which thread does what."""

    def __init__(self) -> None:
        self.did: list[tuple[str, str]] = []

    def note(self, what: str) -> None:
        """It happened here."""
        self.did.append((what, threading.current_thread().name))

    def start(self) -> None:
        """Connect."""
        self.note("start")

    def look(self, full: bool) -> None:
        """There is something."""
        self.note(f"look({full})")

    async def flush(self, timeout: float) -> None:
        """Ship."""
        self.note("flush")

    async def close(self, timeout: float) -> None:
        """Ship, and end."""
        self.note("close")


def loop_thread(ship: Ship, on_start: Callable[[], None] = lambda: None) -> LoopThread:
    """One that runs the stand-in."""
    return LoopThread(lambda _pool: ship, on_start)  # type: ignore[arg-type, return-value]


def test_the_shipper_runs_on_the_thread() -> None:
    """All of it, in the order in which it was asked for."""
    ship = Ship()
    thread = loop_thread(ship)
    thread.wake(False)
    thread.flush(20)
    thread.wake(True)
    thread.stop(20)
    in_order = list(dict.fromkeys(ship.did))  # it may look once more than it was asked to
    assert in_order == [
        ("start", "kiel_logging"),
        ("look(False)", "kiel_logging"),
        ("flush", "kiel_logging"),
        ("look(True)", "kiel_logging"),
        ("close", "kiel_logging"),
    ]


def test_states() -> None:
    """NEW, RUNNING, STOPPED; nothing runs after that."""
    ship = Ship()
    thread = loop_thread(ship)
    states = [thread.state]
    thread.wake(False)
    states.append(thread.state)
    thread.stop(20)
    states.append(thread.state)
    did = list(ship.did)
    thread.wake(False)
    thread.flush(20)
    thread.stop(20)
    assert states == [State.NEW, State.RUNNING, State.STOPPED]
    assert thread.state is State.STOPPED
    assert ship.did == did


def test_a_flush_in_the_middle_of_a_start_is_done_by_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal handler's, or another thread's: no two threads run the loop."""
    ship = Ship()
    thread = loop_thread(ship)
    start = threading.Thread.start

    def start_and_flush(new: threading.Thread) -> None:
        start(new)
        if new.name == "kiel_logging":
            thread.flush(20)

    monkeypatch.setattr(threading.Thread, "start", start_and_flush)
    thread.wake(False)
    thread.stop(20)
    assert ("flush", "kiel_logging") in ship.did
    assert {name for _, name in ship.did} == {"kiel_logging"}


def test_what_comes_before_the_start_comes_once(no_threads: NoThreads) -> None:
    """Also when it takes several attempts."""
    starts: list[str] = []
    ship = Ship()
    thread = loop_thread(ship, lambda: starts.append("start"))
    thread.wake(False)
    thread.wake(False)
    no_threads.end()
    thread.wake(False)
    thread.stop(20)
    assert starts == ["start"]
    assert ("look(False)", "kiel_logging") in ship.did


# -- shipping -----------------------------------------------------------------------------------


def test_flush_waits_for_what_is_being_fed(cluster: ThreadedFakeCluster) -> None:
    """When flush() comes while records are on their way into the producer, it waits for all."""
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
        assert handler.flush() == 0
        assert cluster.call(lambda c: c.count("logs")) == count + 1


def test_a_burst_before_the_end_is_delivered(
    cluster: ThreadedFakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """flush() and close(), as logging.shutdown() calls them, lose nothing of a burst."""
    gate, count = Gate(), 3 * SLICE
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


def test_flush_on_the_loop_thread_itself(cluster: ThreadedFakeCluster) -> None:
    """Code on that thread can't wait for the loop: a flush returns immediately instead of never."""
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
    assert "1 log record did not reach Kafka" in capsys.readouterr().err
    assert handler.stats().failed == 1


def test_giving_up_leaves_no_task_behind(
    cluster: ThreadedFakeCluster, caplog: pytest.LogCaptureFixture
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
    cluster: ThreadedFakeCluster,
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
