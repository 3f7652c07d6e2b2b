"""The fake cluster on its own loop thread, for tests that are not coroutines.

Threads meet in `call` and `wait`: everything else goes through them, so no state is read while
the loop changes it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from tornado.ioloop import IOLoop

from kiel_logging.testing.batches import StoredBatch, StoredRecord
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.frames import Api, ReceivedRequest, api_key_of

T = TypeVar("T")
_TIMEOUT = 30.0


class ThreadedFakeCluster:
    """`with ThreadedFakeCluster(brokers=3) as cluster:`; timeouts are seconds."""

    def __init__(self, brokers: int = 3) -> None:
        self._count = brokers
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-cluster", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(_TIMEOUT):
            raise TimeoutError("the fake cluster's loop did not start")
        self.call(FakeCluster.start)
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.wait(FakeCluster.close)
        finally:
            self._loop.add_callback(self._loop.stop)
            self._thread.join(_TIMEOUT)

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

    # -- FakeCluster, from another thread ------------------------------------------------------

    @property
    def addresses(self) -> list[str]:
        """Bootstrap addresses of all brokers."""
        return self.call(lambda c: c.addresses)

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
