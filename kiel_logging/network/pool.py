"""Connections that several engines on one loop share: one to each address.

The law: each engine has its own lease, view of the cluster, retries and limits. The end of a lease
ends the requests of that engine alone; a connection is closed with the last lease of it. Responses
come in order, so one engine's requests may wait behind another's.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from kiel_logging.config.options import Address
from kiel_logging.errors import BrokerError, ConnectionLost
from kiel_logging.network.connection import Connection
from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api

Open: TypeAlias = Callable[[Address], Coroutine[Any, Any, Connection]]


class ConnectionPool:
    """Opens one connection to an address for all engines that want one."""

    def __init__(self) -> None:
        self._lines: dict[Address, _Line] = {}

    def __repr__(self) -> str:
        return f"<ConnectionPool {list(self._lines)}>"

    async def connect(self, open_connection: Open, address: Address) -> "Lease":
        """Return a lease of the connection to ``address``; open it if there is none.

        Raises as ``open_connection`` does, for all engines that wait for it.
        """
        line = self._lines.get(address)
        if line is None or line.is_over:
            line = self._lines[address] = _Line(asyncio.ensure_future(open_connection(address)))
        lease = Lease(line)
        line.leases.append(lease)
        try:
            lease.connection = await asyncio.shield(line.opening)
        except BaseException:
            line.end(lease)
            raise
        return lease


class _Line:
    """A connection, open or being opened, and its leases."""

    def __init__(self, opening: "asyncio.Future[Connection]") -> None:
        self.opening = opening
        self.leases: list[Lease] = []
        opening.add_done_callback(self._opened)

    def _opened(self, _opening: "asyncio.Future[Connection]") -> None:
        if (connection := self._connection()) is not None:
            connection.on_close = functools.partial(self._lost, connection)
            if not self.leases:
                connection.close()

    def _connection(self) -> Connection | None:
        """Return the connection if it was opened; it may be closed by now."""
        opening = self.opening
        failed = not opening.done() or opening.cancelled() or opening.exception() is not None
        return None if failed else opening.result()

    @property
    def is_over(self) -> bool:
        """Whether the connection could not be opened, or is closed."""
        connection = self._connection()
        gone = self.opening.done() and (connection is None or connection.closed is not None)
        return gone or not self.leases

    def _lost(self, connection: Connection, why: BrokerError) -> None:
        for lease in list(self.leases):
            lease.lost(connection, why)

    def end(self, lease: "Lease") -> None:
        """Note that ``lease`` is over; close what has no other."""
        self.leases.remove(lease)
        if self.leases:
            return
        if not self.opening.done():
            self.opening.cancel()
        elif (connection := self._connection()) is not None:
            connection.close()


class Lease:
    """The part of a connection that one engine has, and uses as it would a whole one.

    Attributes:
        connection: set before the engine gets the lease.
        is_to_blame: whether a request of this engine was the oldest when the connection was lost.
        on_close: called when the connection was lost, or the lease was closed.
    """

    connection: Connection

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._closed: BrokerError | None = None
        self._pending: set[asyncio.Future[Any]] = set()
        self.is_to_blame = False
        self.on_close: Any = None

    def __repr__(self) -> str:
        return f"<Lease of {self.connection}>"

    @property
    def address(self) -> Address:
        """The broker's, as it was named."""
        return self.connection.address

    @property
    def closed(self) -> BrokerError | None:
        """Why it is over; None while requests can be sent."""
        return self._closed or self.connection.closed

    def version(self, api: Api) -> int:
        """Return the version of ``api`` that is spoken; raises as the connection does."""
        return self.connection.version(api)

    def send(self, api: Api, request: Request, timeout: float) -> "asyncio.Future[Any]":
        """Send ``request`` and return a future of its response; see Connection."""
        if self._closed is not None:
            response = asyncio.get_running_loop().create_future()
            response.set_exception(ConnectionLost(*self._closed.args))
            return response
        response = self.connection.send(api, request, timeout)
        self._pending.add(response)
        response.add_done_callback(self._pending.discard)
        return response

    def lost(self, connection: Connection, why: BrokerError) -> None:
        """The connection was closed."""
        self.is_to_blame = connection.oldest in self._pending
        if self.on_close is not None:
            self.on_close(why)

    def close(self) -> None:
        """End it; what is still unanswered ends with ConnectionLost."""
        if self._closed is not None:
            return
        text = f"the connection to {self.address} was closed by us"
        self._closed = ConnectionLost(text)
        for response in list(self._pending):
            if not response.done():
                response.set_exception(ConnectionLost(text))
        if self.on_close is not None:
            self.on_close(self._closed)
        self._line.end(self)


Link: TypeAlias = Connection | Lease
"""How an engine reaches a broker."""
