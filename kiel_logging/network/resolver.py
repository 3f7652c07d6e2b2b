"""Host names to addresses, without blocking the loop where that is possible."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from kiel_logging import native_sockets
from kiel_logging.config.options import Address
from kiel_logging.errors import BrokerUnreachable

SocketAddress: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]

Resolve: TypeAlias = Callable[[Address], Awaitable[Sequence[SocketAddress]]]
"""Returns every address of a host, in the order to try them; raises BrokerUnreachable."""


async def resolve(address: Address) -> Sequence[SocketAddress]:
    """Look ``address`` up, on the loop's executor where a name server may have to be asked.

    Raises:
        BrokerUnreachable: the name does not resolve.
    """
    if numeric := parse_numeric(address):
        return numeric
    try:
        pending = asyncio.get_running_loop().run_in_executor(None, look_up, address)
    except RuntimeError:
        # The interpreter is on its way out and its executors take no more work; what is still
        # buffered has to go out all the same.
        return look_up(address)
    return await pending


def parse_numeric(address: Address) -> Sequence[SocketAddress]:
    """Return ``address`` if its host is an IP address already, else nothing, without a look-up."""
    try:
        return _look_up(address, socket.AI_NUMERICHOST)
    except BrokerUnreachable:
        return ()


def look_up(address: Address) -> Sequence[SocketAddress]:
    """Look ``address`` up, blocking; raises as ``resolve`` does."""
    return _look_up(address, 0)


def _look_up(address: Address, flags: int) -> Sequence[SocketAddress]:
    host, port = address
    try:
        sockets = native_sockets.sockets()
        found = sockets.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as cause:
        raise BrokerUnreachable(f"the host name of {address} does not resolve ({cause})") from cause
    return list(dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found))
