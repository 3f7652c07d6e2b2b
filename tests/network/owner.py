"""An engine without a Producer around it, its owner, and a clock that can be put forward."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from kiel_logging.config.options import producer_options
from kiel_logging.delivery.batch import Batch
from kiel_logging.network.engine import Engine
from kiel_logging.network.resolver import resolve
from kiel_logging.records import Record, TopicPartition
from kiel_logging.testing.cluster import FakeCluster
from tests.network.quick import QUICK

PATIENCE = 20.0
FOREVER = 10**6
LONG = 3600.0


class Owner:
    """Keeps its records for as long as it takes; tokens are the values of the records."""

    keeps = False
    backlog = 0
    time_to_store: int | None = None

    def __init__(self, *, defers: bool = True) -> None:
        self.defers = defers
        self.delivered_at: dict[Any, TopicPartition] = {}
        self.errors: dict[Any, Exception] = {}
        self.deferrals: list[tuple[str, Exception]] = []
        self.keys: dict[Any, Any] = {}
        self.skew = 0.0
        self.at_clock: Callable[[], object] = lambda: None
        self.turns = self.resumed = 0
        self._reports = asyncio.Event()

    def clock(self) -> float:
        """Seconds; the engine asks at the beginning of each of its turns, too."""
        self.turns += 1
        self.at_clock()
        return time.monotonic() + self.skew

    def delivered(self, batch: Batch, base_offset: int, log_append_time: int | None) -> None:
        """Note where."""
        self.delivered_at |= dict.fromkeys(batch.tokens, batch.topic_partition)
        self._reports.set()

    def failed(self, tokens: Sequence[Any], error: Exception) -> None:
        """Note why."""
        self.errors |= dict.fromkeys(tokens, error)
        self._reports.set()

    def key_of(self, token: Any) -> Any:
        """The one that it was appended with."""
        return self.keys[token]

    def deferred(self, topic: str, error: Exception) -> None:
        """Note the topic, and why."""
        self.deferrals.append((topic, error))
        self._reports.set()

    def present_time(self) -> int | None:
        """It is given in `time_to_store`."""
        return self.time_to_store

    def troubled(self, error: Exception) -> None:
        """It is logged."""

    def resume(self) -> None:
        """Look again at what is waited for."""
        self.resumed += 1
        self._reports.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return once the condition holds, which a report to the owner makes true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._reports.clear()
                await self._reports.wait()

    async def until_looked(self, condition: Callable[[], Any]) -> None:
        """Return once the condition holds, which no report makes true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0)

    async def until_all_wait(self, engine: Engine) -> None:
        """Return once the engine expects no answer, and has nothing to do within a minute."""
        sender, cluster = engine.sender, engine.sender.cluster

        def waits() -> bool:
            asked = cluster._refreshing or any(node.in_flight for node in cluster.nodes.values())
            timer, now = sender._timer, asyncio.get_running_loop().time()
            soon = sender._turn_handle is not None or (
                timer is not None and timer.when() < now + 60
            )
            return not asked and not soon

        await self.until_looked(waits)

    async def until_deferred(self, times: int = 1) -> None:
        """Return once so many waits have begun."""
        await self.until(lambda: len(self.deferrals) >= times)

    async def until_delivered(self, *tokens: Any) -> None:
        """Return once the brokers have all of them."""
        await self.until(lambda: self.delivered_at.keys() >= set(tokens))


@asynccontextmanager
async def engine_for(
    cluster: FakeCluster, owner: Owner | None = None, **options: Any
) -> AsyncIterator[tuple[Engine, Owner]]:
    """An engine that was started, and is closed without waiting; its owner defers by default."""
    owner = owner or Owner()
    quick = {**QUICK, "delivery_timeout_ms": 10**9}
    checked = producer_options(brokers=cluster.addresses, **{**quick, **options})
    engine = Engine(checked, owner, resolve=resolve, run_aside=asyncio.to_thread, clock=owner.clock)
    engine.start()
    try:
        yield engine, owner
    finally:
        await engine.close(0.0)


def append(engine: Engine, topic: str, *tokens: int, key: Any = None) -> None:
    """Append a record for each token, and send them at once."""
    owner: Any = engine.sender._deliveries
    for token in tokens:
        owner.keys[token] = key
        engine.append(topic, key, Record(None, b"%d" % token, (), 0), token)
    engine.send_now()


def pass_time(engine: Engine, owner: Owner, seconds: float) -> None:
    """Let the engine find its clock put forward."""
    owner.skew += seconds
    engine.poke()


def requests(cluster: FakeCluster, api: str) -> int:
    """How many of a kind came."""
    return sum(request.api == api for request in cluster.requests)
