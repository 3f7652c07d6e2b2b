"""Opening a connection: check and look up the address, connect, encrypt, shake hands, authenticate.

Each step has the same time, and its own error, which is the only report of a failure.
"""

import asyncio
import contextlib
import logging
import re
import socket
import ssl
import stat
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.log import gen_log

from kiel_logging import native_sockets
from kiel_logging.config.credentials import Secret
from kiel_logging.config.options import MOST_HOST, Address
from kiel_logging.config.security import ClientCredentials, SecurityOptions
from kiel_logging.errors import (
    BrokerError,
    BrokerUnreachable,
    ConfigurationError,
    ConnectionLost,
    SecurityError,
)
from kiel_logging.native_sockets import identity
from kiel_logging.network.connection import Connection
from kiel_logging.network.resolver import Resolve, SocketAddress
from kiel_logging.network.sasl import Authenticator
from kiel_logging.network.tls import Tls, translate
from kiel_logging.network.tokens import RunAside, Tokens
from kiel_logging.wire.messages import MOST_BYTES

_HOST: Final = re.compile(r"[^\s/\x00-\x20\x7f-\x9f]+")

_KEEP_ALIVE: Final[Mapping[str, int]] = {
    "TCP_KEEPIDLE": 30,  # seconds of silence until the first probe: Azure forgets after 240
    "TCP_KEEPALIVE": 30,  # the same on macOS
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 30_000,  # milliseconds that what was sent may stay unacknowledged
}


class Security(NamedTuple):
    """Makes connections secure; None where they are not encrypted, or not authenticated."""

    tls: Tls | None = None
    authenticator: Authenticator | None = None


def secure(options: SecurityOptions, run_aside: RunAside) -> Security:
    """Return what ``options`` ask for; ``run_aside`` runs beside the loop what may take long.

    The files that they name are read when the first connection is made.
    """
    tls = None if options.tls is None else Tls(options.tls)
    if (sasl := options.sasl) is None:
        return Security(tls)
    tokens = None
    if (provider := sasl.token_provider) is not None:
        tokens = Tokens(lambda: _ask(provider), run_aside, time.time)
    encrypted = tls is not None
    return Security(
        tls, Authenticator(sasl, encrypted=encrypted, tokens=tokens, run_aside=run_aside)
    )


def _ask(provider: Secret) -> Any:
    given = provider.reveal()
    if isinstance(given, ClientCredentials):
        from kiel_logging.network.token_endpoint import fetch  # not everybody needs HTTP

        return fetch(given)
    return given()


async def open_connection(
    address: Address,
    *,
    resolve: Resolve,
    client_id: str,
    timeout: float,
    max_idle: float = 0,
    security: Security = Security(),  # noqa: B008 # immutable
) -> Connection:
    """Connect to ``address``, trying every address of its host, shake hands, authenticate.

    ``timeout``, in seconds, holds for the look-up, each attempt to connect, and the handshakes.
    The connection closes itself after ``max_idle`` seconds without a request; 0 is never.

    Raises:
        BrokerError: none of the addresses took the connection, or no Kafka broker answered.
        SecurityError: one did, but it or we are not accepted.
    """
    candidates = await look_up_address(address, resolve, timeout)
    stream = await connect_any(address, candidates, timeout, security.tls)
    connection = Connection(stream, address, client_id, max_idle=max_idle)
    try:
        await shake_hands(connection, stream, timeout, security)
        if security.authenticator is not None:
            await connection.authenticate(security.authenticator, timeout)
    except BaseException:
        connection.close()
        raise
    return connection


# The steps of it, for those who report each.


async def look_up_address(
    address: Address, resolve: Resolve, timeout: float
) -> Sequence[SocketAddress]:
    """Return every address of the host; raise BrokerUnreachable if there is none."""
    _check(address)
    try:
        async with asyncio.timeout(timeout):
            return await resolve(address)
    except TimeoutError:
        raise BrokerUnreachable(
            f"the host name of {address} did not resolve within {timeout * 1000:.0f} ms: "
            "is the name server up?"
        ) from None


def _check(address: Address) -> None:
    """Refuse an address before a name server is asked for it or a connection is tried to it.

    Raises:
        BrokerUnreachable: a broker advertises it all the same.
    """
    host, port = address
    if not 0 < port < 65536:
        raise BrokerUnreachable(f"{address} is no address: a port is a number from 1 to 65535")
    if not 0 < len(host) <= MOST_HOST or not _HOST.fullmatch(host):
        raise BrokerUnreachable(f"{address} is no address: that can't be the name of a host")


async def shake_hands(
    connection: Connection, stream: IOStream, timeout: float, security: Security
) -> None:
    """Ask for the broker's versions, and translate the errors that mean TLS; raise BrokerError."""
    try:
        await connection.handshake(timeout)
    except BrokerError as error:
        # In TLS 1.3 our certificate is refused after the handshake, when something is read.
        if isinstance(stream.error, ssl.SSLError) and not isinstance(
            stream.error, ssl.SSLEOFError | ssl.SSLZeroReturnError
        ):
            raise translate(stream.error, connection.address) or error from None
        if not isinstance(error, ConnectionLost):
            raise
        hint = "does that port speak TLS (security_protocol)?"
        if security.tls is not None:
            hint = "does it want a client's certificate (ssl_certfile)?"
        raise ConnectionLost(f"{error}, before its first answer: {hint}") from None


async def connect_any(
    address: Address, candidates: Sequence[SocketAddress], timeout: float, tls: Tls | None
) -> IOStream:
    """Return a stream to the first of ``candidates`` that takes the connection, encrypted by
    ``tls``; raise BrokerUnreachable or SecurityError."""
    context = None if tls is None else _context(tls)
    failures = []
    for family, sockaddr in candidates:
        try:
            return await _connect(family, sockaddr, timeout, context, address.host)
        except (OSError, StreamClosedError, TimeoutError) as cause:
            error = getattr(cause, "real_error", None) or cause
            if context is not None and (meant := translate(error, address)) is not None:
                raise meant from None
            failures.append(f"{sockaddr[0]}: {_reason(cause, timeout)}")
    raise BrokerUnreachable(
        f"no connection to {address} ({'; '.join(failures)}): "
        "is the broker up, and is this its address?"
    )


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        return tls.context()
    except ConfigurationError as error:  # a file that was there is gone, or half written
        raise SecurityError(str(error)) from None


# Tornado logs a warning for what it raises as well, for every attempt and every broker.

_raised_too: Final[ContextVar[bool]] = ContextVar("kiel_logging_raised_too", default=False)


def _is_news(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING or not _raised_too.get()


gen_log.addFilter(_is_news)  # by what runs, not by the text: a program may have other streams


class _Quiet(IOStream):
    """Also leaves a descriptor alone that is no longer its own: ``close()`` would close a file of
    the program."""

    def __init__(self, socket: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(socket, *args, **kwargs)
        self._file = identity(socket.fileno())

    def close_fd(self) -> None:
        file = identity(self.socket.fileno())
        # The program may have been quicker than __init__().
        if file is None or file != self._file or not stat.S_ISSOCK(file.mode):
            self.socket.detach()
        super().close_fd()

    def _handle_events(self, fd: Any, events: int) -> None:
        before = _raised_too.set(True)
        try:
            super()._handle_events(fd, events)
        finally:
            _raised_too.reset(before)


class _QuietTls(_Quiet, SSLIOStream):
    pass


async def _connect(
    family: socket.AddressFamily,
    sockaddr: tuple[Any, ...],
    timeout: float,
    context: ssl.SSLContext | None,
    host: str,
) -> IOStream:
    plain = native_sockets.sockets().socket(family, socket.SOCK_STREAM)
    if context is None:
        stream: IOStream = _Quiet(plain, max_buffer_size=2 * MOST_BYTES)
    else:
        stream = _QuietTls(plain, max_buffer_size=2 * MOST_BYTES, ssl_options=context)
    try:
        stream.set_nodelay(True)
        _keep_alive(stream.socket)
        async with asyncio.timeout(timeout):
            # For TLS it is the handshake that is awaited.
            await stream.connect(sockaddr, server_hostname=host if context is not None else None)
    except BaseException:
        stream.close()
        raise
    return stream


def _keep_alive(connected: socket.socket) -> None:
    """Have the system notice a dead peer within a minute, and middleboxes that it is in use."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if (option := getattr(socket, name, None)) is not None:  # not every system has each
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.IPPROTO_TCP, option, value)


def _reason(cause: BaseException, timeout: float) -> str:
    if isinstance(cause, TimeoutError):
        return f"no answer within {timeout * 1000:.0f} ms"
    if isinstance(cause, StreamClosedError):
        return str(cause.real_error or "the connection was closed")
    return str(cause)
