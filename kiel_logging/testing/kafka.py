"""FakeKafka: a cluster on its own thread, for tests of any kind.

Threads meet in `call` and `wait`: everything else goes through them, so no state is read while
the loop changes it.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Self, TypeVar

from tornado.ioloop import IOLoop

from kiel_logging.testing.batches import StoredBatch, StoredRecord
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.frames import Api, ReceivedRequest, api_key_of
from kiel_logging.testing.sasl import Sasl
from kiel_logging.testing.sent import SentRecord
from kiel_logging.wire.error_codes import ErrorCode

T = TypeVar("T")
_TIMEOUT = 30.0


class FakeKafka:
    """Kafka brokers in this process, on loopback ports that the system chooses.

    They speak Kafka's protocol as far as producers use it, keep records in memory, and check what
    Kafka checks: checksums, sequence numbers, sizes, leaders. ``with FakeKafka() as kafka:`` starts
    and ends them. Faults last until ``recover()``, if a method does not say otherwise. All methods
    may be called from any thread; a fault is in effect when its method returns.

    Args:
        brokers: how many.
        topics: names and numbers of partitions. A topic that is asked for and is not there is made,
            with one partition.
        users: names and passwords; clients have to authenticate, with SASL PLAIN or SCRAM.
        tls: what the brokers present; without it they speak plaintext.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        topics: Mapping[str, int] | None = None,
        users: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._count = brokers
        self._topics = dict(topics or {})
        self._users = None if users is None else dict(users)
        self._tls = tls
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-kafka", daemon=True)

    def __repr__(self) -> str:
        return f"<FakeKafka of {self._count} {'brokers' if self._count > 1 else 'broker'}>"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(_TIMEOUT):
            raise TimeoutError("the fake cluster's loop did not start")
        self.call(self._start)
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.wait(FakeCluster.close)
        finally:
            self._loop.add_callback(self._loop.stop)
            self._thread.join(_TIMEOUT)

    def _start(self, cluster: FakeCluster) -> None:
        cluster.state.auto_create_partitions = 1
        for name, partitions in self._topics.items():
            cluster.add_topic(name, partitions)
        for broker in cluster.brokers:
            broker.use_tls(self._tls)
        if self._users is not None:
            cluster.brokers[0].require_sasl(Sasl(self._users))
        cluster.start()

    def _run(self) -> None:
        self._loop = IOLoop(make_current=False)
        self._aio: asyncio.AbstractEventLoop = self._loop.asyncio_loop
        asyncio.set_event_loop(self._aio)
        self._cluster = FakeCluster(self._count)
        self._loop.add_callback(self._started.set)
        self._loop.start()
        asyncio.set_event_loop(None)
        self._loop.close(all_fds=True)

    # -- where the threads meet ----------------------------------------------------------------

    def call(self, function: Callable[[FakeCluster], T]) -> T:
        """Runs `function(cluster)` on the loop thread: `call(lambda c: c.brokers[0].stop())`."""

        async def run() -> T:
            return function(self._cluster)

        return asyncio.run_coroutine_threadsafe(run(), self._aio).result(_TIMEOUT)

    def wait(
        self, function: Callable[[FakeCluster], Coroutine[Any, Any, T]], timeout: float = _TIMEOUT
    ) -> T:
        """Awaits `function(cluster)` there: `wait(lambda c: c.until(...))`."""

        async def run() -> T:
            return await asyncio.wait_for(function(self._cluster), timeout)

        return asyncio.run_coroutine_threadsafe(run(), self._aio).result()

    # -- what arrived ----------------------------------------------------------------------------

    @property
    def addresses(self) -> list[str]:
        """Bootstrap addresses of all brokers: ``brokers=`` of a handler or a Producer."""
        return self.call(lambda c: c.addresses)

    def arrived(self, topic: str, count: int = 0, timeout: float = _TIMEOUT) -> list[SentRecord]:
        """Return the records of ``topic``, by partition and offset.

        It waits until there are ``count`` of them, at most ``timeout`` seconds.

        Raises:
            TimeoutError: fewer came.
        """

        async def read(cluster: FakeCluster) -> list[SentRecord]:
            if topic not in cluster.state.topics and not count:
                return []
            return [
                SentRecord.stored(topic, partition, record)
                for partition, records in (await cluster.stored(topic, count)).items()
                for record in records
            ]

        try:
            return self.wait(read, timeout)
        except TimeoutError:
            there = self.call(lambda c: c.count(topic))
            raise TimeoutError(
                f"{there} of {count} records arrived in topic {topic!r} within {timeout:g} s"
            ) from None

    # -- faults ----------------------------------------------------------------------------------

    def down(self, broker: int | None = None) -> None:
        """Stop a broker, or all: connections are cut, and new ones refused."""
        self._each(FakeBroker.stop, broker)

    def up(self, broker: int | None = None) -> None:
        """Start a broker, or all, that are down, at the same addresses, with their records."""
        self._each(lambda one: one.is_listening or one.start(), broker)

    def reject(
        self, topic: str, error: int | str = ErrorCode.not_enough_replicas, times: float = math.inf
    ) -> None:
        """Answer the next ``times`` requests with records of ``topic`` with an error.

        Args:
            error: Kafka's name (``"TOPIC_AUTHORIZATION_FAILED"``) or number of it.
        """
        code = _code(error)
        self.call(lambda c: c.produce_error(code, times, topic))

    def slow(self, seconds: float) -> None:
        """Answer each request with records so many seconds late; they are stored at once."""
        self._each(lambda one: setattr(one, "delay", seconds))

    def stall(self) -> None:
        """Take requests, and answer none; records are stored at ``recover()``."""
        self._each(FakeBroker.stall)

    def lose_answers(self, times: int = 1) -> None:
        """Store the records of the next ``times`` requests of each broker, and cut the connection
        in place of an answer: a client can't know whether they are stored."""
        for _ in range(times):
            self._each(lambda one: one.hang_up_mid_response("Produce"))

    def hang_up(self) -> None:
        """Cut all connections; new ones are accepted."""
        self._each(FakeBroker.hang_up)

    def recover(self) -> None:
        """End all faults."""
        self._each(FakeBroker.clear_faults)
        self.up()

    def _each(self, function: Callable[[FakeBroker], object], broker: int | None = None) -> None:
        def run(cluster: FakeCluster) -> None:
            for one in cluster.brokers if broker is None else [cluster.brokers[broker]]:
                function(one)

        self.call(run)

    # -- FakeCluster, from another thread ------------------------------------------------------

    @property
    def complaints(self) -> list[str]:
        """FakeCluster.complaints."""
        return self.call(lambda c: c.complaints)

    def requests(self, api: Api | None = None) -> list[ReceivedRequest]:
        """The requests so far, of one API or of all."""
        found = self.call(lambda c: c.requests)
        return found if api is None else [r for r in found if r.api_key == api_key_of(api)]

    def add_topic(self, name: str, partitions: int = 1, leaders: list[int] | None = None) -> None:
        """FakeCluster.add_topic."""
        self.call(lambda c: c.add_topic(name, partitions, leaders))

    def records(self, topic: str) -> dict[int, list[StoredRecord]]:
        """FakeCluster.records."""
        return self.call(lambda c: c.records(topic))

    def batches(self, topic: str) -> dict[int, list[StoredBatch]]:
        """FakeCluster.batches."""
        return self.call(lambda c: c.batches(topic))

    def received(
        self,
        api: Api,
        count: int = 1,
        where: Callable[[ReceivedRequest], bool] | None = None,
        timeout: float = _TIMEOUT,
    ) -> list[ReceivedRequest]:
        """FakeCluster.received, but blocks."""
        return self.wait(lambda c: c.received(api, count, where), timeout)

    def stored(
        self, topic: str, count: int = 1, timeout: float = _TIMEOUT
    ) -> dict[int, list[StoredRecord]]:
        """FakeCluster.stored, but blocks."""
        return self.wait(lambda c: c.stored(topic, count), timeout)

    def on_broker(self, node_id: int, function: Callable[[FakeBroker], T]) -> T:
        """Runs `function(broker)` on the loop thread: `on_broker(0, lambda b: b.hang_up())`."""
        return self.call(lambda c: function(c.brokers[node_id]))


def _code(error: int | str) -> int:
    """Return Kafka's number of an error.

    Raises:
        ValueError: there is no error of that name.
    """
    if isinstance(error, int):
        return error
    try:
        return ErrorCode[error.lower()]
    except KeyError:
        names = ", ".join(code.name.upper() for code in ErrorCode)
        raise ValueError(f"error={error!r} is no error of Kafka's; use one of {names}") from None
