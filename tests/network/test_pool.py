"""Connections that several engines share: each has a lease, and ends by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kiel_logging.config.options import Address
from kiel_logging.errors import BrokerUnreachable, ConnectionLost
from kiel_logging.network.connection import Connection
from kiel_logging.network.opening import open_connection
from kiel_logging.network.pool import ConnectionPool, Lease
from kiel_logging.network.resolver import resolve
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.wire.metadata import metadata_request, read_metadata
from kiel_logging.wire.schemas import Api


async def open_one(address: Address) -> Connection:
    """A connection, hands shaken."""
    return await open_connection(address, resolve=resolve, client_id="test", timeout=5.0)


async def leases(broker: FakeBroker, pool: ConnectionPool, count: int) -> list[Lease]:
    """So many engines' leases, asked for at the same time."""
    address = Address("127.0.0.1", broker.port)
    return await asyncio.gather(*(pool.connect(open_one, address) for _ in range(count)))


def ask(lease: Lease) -> asyncio.Future[Any]:
    """Asks for the brokers: any request would do."""
    request = metadata_request(lease.version(Api.METADATA), [])
    return lease.send(Api.METADATA, request, 30.0)


async def test_one_connection_for_all() -> None:
    """As long as any has a lease; then it is closed, and the next one opens another."""
    async with FakeBroker() as broker:
        pool = ConnectionPool()
        first, second = await leases(broker, pool, 2)
        (third,) = await leases(broker, pool, 1)
        for lease in (first, second, third):
            assert read_metadata(await ask(lease), frozenset()).brokers
            lease.close()
        assert broker.connections_accepted == 1
        await broker.until(lambda: not broker.open_connections)
        (fourth,) = await leases(broker, pool, 1)
        assert broker.connections_accepted == 2
        fourth.close()


async def test_the_end_of_a_lease() -> None:
    """Its own requests end, with their reason; those of the others get their answers, in order."""
    async with FakeBroker() as broker:
        first, second = await leases(broker, ConnectionPool(), 2)
        broker.stall("Metadata")
        mine, theirs = ask(first), ask(second)
        await broker.received("Metadata")
        reasons: list[Exception] = []
        first.on_close = reasons.append
        first.close()
        with pytest.raises(ConnectionLost, match="closed by us"):
            await mine
        with pytest.raises(ConnectionLost, match="closed by us"):
            await ask(first)
        assert (len(reasons), second.closed) == (1, None)
        broker.resume()
        assert read_metadata(await theirs, frozenset()).brokers
        assert read_metadata(await ask(second), frozenset()).brokers
        second.close()


async def test_a_connection_that_is_lost() -> None:
    """All notice; to blame is the engine whose request was the oldest, and no other."""
    async with FakeBroker() as broker:
        pool = ConnectionPool()
        parts = await leases(broker, pool, 3)
        reasons: list[Exception] = []
        for lease in parts:
            lease.on_close = reasons.append
        broker.stall("Metadata")
        pending = [ask(parts[1]), ask(parts[0]), ask(parts[1])]
        await broker.received("Metadata")
        broker.hang_up()
        ends = await asyncio.gather(*pending, return_exceptions=True)
        assert [type(end) for end in ends] == [ConnectionLost] * 3
        assert [lease.is_to_blame for lease in parts] == [False, True, False]
        assert len(reasons) == 3
        assert all(lease.closed for lease in parts)
        (again,) = await leases(broker, pool, 1)
        assert again.closed is None
        for lease in (*parts, again):
            lease.close()


async def test_a_connection_that_can_not_be_opened() -> None:
    """All that wait learn why; the next one tries again."""
    async with FakeBroker() as broker:
        pool, address = ConnectionPool(), Address("127.0.0.1", broker.port)
        broker.stop()
        attempts = [pool.connect(open_one, address) for _ in range(2)]
        ends = await asyncio.gather(*attempts, return_exceptions=True)
        assert [type(end) for end in ends] == [BrokerUnreachable] * 2
        broker.start()
        (lease,) = await leases(broker, pool, 1)
        assert read_metadata(await ask(lease), frozenset()).brokers
        lease.close()


async def test_engines_that_give_up_while_it_is_opened() -> None:
    """It is opened for those that still wait, and not at all if none does."""
    async with FakeBroker() as broker:
        pool, address = ConnectionPool(), Address("127.0.0.1", broker.port)
        gate, begun, ended = asyncio.Event(), 0, 0

        async def open_later(address: Address) -> Connection:
            nonlocal begun, ended
            begun += 1
            try:
                await gate.wait()
            except asyncio.CancelledError:
                ended += 1
                raise
            return await open_one(address)

        first, second = (asyncio.ensure_future(pool.connect(open_later, address)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        gate.set()
        lease = await second
        lease.close()
        gate.clear()
        third = asyncio.ensure_future(pool.connect(open_later, address))
        await asyncio.sleep(0)
        third.cancel()
        await asyncio.wait([third])
        await asyncio.sleep(0)
        assert (begun, ended) == (2, 1)
        await broker.until(lambda: not broker.open_connections)
