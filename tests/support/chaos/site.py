"""Where faults strike: a cluster behind proxies, and one producer's traffic to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from kiel_logging import clients
from tests.support.console_consumer import ConsumedRecord, java_console_consumer
from tests.support.kafka import DEFAULT_VERSION, KafkaCluster
from tests.support.kafka.security import HOST

from .proxy import Proxy, address_of, listen
from .report import Report, check
from .retry_log import RetryLog
from .traffic import PARTITIONS, Traffic, numbered_options


class ProxiedCluster(KafkaCluster):
    """A cluster whose brokers each have a second listener, which a proxy can stand before."""

    def __init__(
        self, version: str = DEFAULT_VERSION, brokers: int = 3, *, secured: bool = False
    ) -> None:
        """Take the proxies' ports."""
        self._listening = {broker: listen(HOST) for broker in range(1, brokers + 1)}
        advertised = {broker: address_of(each) for broker, each in self._listening.items()}
        super().__init__(version, brokers, advertised=advertised, secured=secured)

    def _close(self) -> None:
        super()._close()
        for each in self._listening.values():
            each.close()

    def proxies(self) -> dict[int, Proxy]:
        """Return a proxy for each broker, to be entered on the loop that is to run it."""
        return {
            broker: Proxy(each, (HOST, self.proxied_port(broker)))
            for broker, each in self._listening.items()
        }

    def recover(self) -> None:
        """Start and resume the brokers that a failed fault left behind."""
        down = [each for each in self.broker_ids if self.pid(each) is None]
        self.each(lambda broker: self.start(broker) if broker in down else self.resume(broker))
        self.wait_brokers(*self.broker_ids)
        self.wait_in_sync(timeout=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Traffic to a topic of a cluster, and the means to disturb and to observe it."""

    cluster: KafkaCluster
    topic: str
    traffic: Traffic
    retries: RetryLog
    proxies: Mapping[int, Proxy] = field(default_factory=dict)

    async def endure(self, *strikes: Callable[["Site"], Awaitable[None]]) -> None:
        """Run the traffic while one of `strikes` follows the other."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.traffic.run())
            for strike in strikes:
                await strike(self)
            self.traffic.finish()

    async def aside(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a blocking function while the loop, and the producer on it, runs."""
        return await asyncio.to_thread(call, *args, **options)

    async def leader(self) -> int:
        """Return the broker that leads the first partition."""
        return int(await self.aside(self.cluster.wait_leader, self.topic, 0))

    async def in_sync(self) -> None:
        """Wait until every replica has everything."""
        await self.aside(self.cluster.wait_in_sync, self.topic, timeout=60.0)

    async def read_back(self) -> list[ConsumedRecord]:
        """Read the topic with the Java consumer; return it in order of partition and offset."""
        records: list[ConsumedRecord] = await self.aside(
            java_console_consumer, self.cluster, self.topic, count=self.traffic.produced
        )
        return sorted(records, key=lambda record: (record.partition, record.offset))

    def check(self, stored: list[ConsumedRecord]) -> Report:
        """Compare the records read back with those produced."""
        consumed: dict[int, list[int]] = {}
        for record in stored:
            consumed.setdefault(record.partition, []).append(int(record.value or b"-1"))
        return check(self.traffic.expected(), consumed)


@asynccontextmanager
async def open_site(
    cluster: ProxiedCluster,
    topic: str,
    messages: int,
    *,
    proxied: bool,
    kind: type[clients.Producer] = clients.Producer,
    **options: Any,
) -> AsyncIterator[Site]:
    """Make `topic` and a producer, of `kind` and with `options`, for at least `messages`."""
    await asyncio.to_thread(cluster.create_topic, topic, PARTITIONS)
    async with AsyncExitStack() as stack:
        retries = stack.enter_context(RetryLog())
        proxies = cluster.proxies() if proxied else {}
        for proxy in proxies.values():
            await stack.enter_async_context(proxy)
        brokers = [proxy.address for proxy in proxies.values()] or cluster.bootstrap
        producer = kind(brokers, **numbered_options(**options))
        stack.push_async_callback(producer.close, timeout=5)
        await producer.connect()
        yield Site(
            cluster=cluster,
            topic=topic,
            traffic=Traffic(producer, topic, messages),
            retries=retries,
            proxies=proxies,
        )
