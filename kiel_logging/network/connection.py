"""One connection to one broker: requests out, responses in, in order.

The law: every request that was sent ends, with its response or with the reason why there is none.
The only module that catches what sockets raise; everyone else sees BrokerError.
"""

import asyncio
import itertools
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from kio.schema.errors import ErrorCode
from tornado.iostream import IOStream, StreamClosedError

from kiel_logging.constants import VERSION
from kiel_logging.errors import (
    BrokerError,
    BrokerUnreachable,
    ConnectionLost,
    ProtocolError,
    RequestTimedOut,
    UnsupportedBroker,
)
from kiel_logging.network.resolver import Resolve, SocketAddress
from kiel_logging.options import Address
from kiel_logging.wire import messages, versions
from kiel_logging.wire.messages import Api

MAX_FRAME: Final = 64 * 1024 * 1024
"""Most bytes of a response. The metadata of 100,000 partitions takes about 5 MB."""

# What the first four bytes say when the port speaks something else.
_TLS_ALERT: Final = 0x15
_HTTP: Final = int.from_bytes(b"HTTP", "big")


class _Pending(NamedTuple):
    """A request whose response is awaited."""

    api: Api
    version: int
    response: "asyncio.Future[Any]"
    timer: asyncio.TimerHandle


class Connection:
    """An open connection. Made by ``open_connection``.

    Attributes:
        address: the broker's, as it was named.
        closed: why it was closed, None while it is open.
    """

    def __init__(self, stream: IOStream, address: Address, client_id: str) -> None:
        self._stream = stream
        self._client_id = client_id
        self._correlation_ids = itertools.count()
        self._pending: dict[int, _Pending] = {}
        self._versions: versions.Versions = {}
        self.address = address
        self.closed: BrokerError | None = None
        self.on_close: Callable[[BrokerError], None] | None = None
        self._reading = asyncio.ensure_future(self._read_responses())

    def __repr__(self) -> str:
        state = "open" if self.closed is None else f"closed: {self.closed}"
        return f"<Connection to {self.address} {state} pending={len(self._pending)}>"

    async def handshake(self, timeout: float) -> None:
        """Ask the broker which versions it knows; ``timeout`` in seconds.

        Raises:
            BrokerError: it is no Kafka broker, or one that is too old.
        """
        response = await self._api_versions(versions.SUPPORTED[Api.API_VERSIONS].highest, timeout)
        if response.error_code == ErrorCode.unsupported_version:
            response = await self._api_versions(0, timeout)
        self._versions = versions.read_api_versions(response)
        for api in versions.REQUIRED:
            self.version(api)

    def _api_versions(self, version: int, timeout: float) -> "asyncio.Future[Any]":
        request = versions.api_versions_request(version, VERSION)
        return self.send(Api.API_VERSIONS, request, timeout)

    def version(self, api: Api) -> int:
        """Return the version of ``api`` that is spoken on this connection.

        Raises:
            UnsupportedBroker: there is none.
        """
        try:
            return versions.negotiate(api, self._versions)
        except UnsupportedBroker as error:
            raise UnsupportedBroker(f"{self.address}: {error}") from None

    def send(self, api: Api, request: Any, timeout: float) -> "asyncio.Future[Any]":
        """Send ``request`` and return a future of its response.

        The future raises ConnectionLost, ProtocolError or, after ``timeout`` seconds,
        RequestTimedOut. A broker that misses one timeout answers nothing behind it either, for
        responses come in order: the connection is closed.
        """
        loop = asyncio.get_running_loop()
        response = loop.create_future()
        if self.closed is not None:
            response.set_exception(_again(self.closed))
            return response
        correlation_id = next(self._correlation_ids) & 0x7FFFFFFF
        frame = messages.encode_request(request, correlation_id, self._client_id)
        timer = loop.call_later(timeout, self._time_out, api, timeout)
        self._pending[correlation_id] = _Pending(api, request.__version__, response, timer)
        self._write(frame)
        return response

    async def post(self, api: Api, request: Any, timeout: float) -> None:
        """Send a request that gets no response (Produce with acks 0); return when it is written.

        Raises:
            ConnectionLost: the connection was cut before.
            RequestTimedOut: the broker did not take it within ``timeout`` seconds.
        """
        if self.closed is not None:
            raise _again(self.closed)
        correlation_id = next(self._correlation_ids) & 0x7FFFFFFF
        frame = messages.encode_request(request, correlation_id, self._client_id)
        try:
            async with asyncio.timeout(timeout):
                await self._stream.write(frame)
        except StreamClosedError as cause:
            raise self._lost(cause) from cause
        except TimeoutError:
            self._time_out(api, timeout)
            raise _again(self.closed or self._lost(StreamClosedError())) from None

    def _write(self, frame: bytes) -> None:
        try:
            self._stream.write(frame)
        except StreamClosedError as cause:
            self.close(self._lost(cause))

    async def _read_responses(self) -> None:
        try:
            while True:
                frame = await self._stream.read_bytes(await self._read_size())
                self._answer(frame)
        except StreamClosedError as cause:
            self.close(self._lost(cause))
        except ProtocolError as error:
            self.close(error)
        except Exception as bug:  # ours; whoever waits for a response must hear of it
            self.close(ProtocolError(f"reading from {self.address} failed: {bug!r}"))

    async def _read_size(self) -> int:
        (size,) = messages.SIZE.unpack(await self._stream.read_bytes(messages.SIZE.size))
        if 0 <= size <= MAX_FRAME:
            return int(size)
        raise ProtocolError(
            f"{self.address} announced a response of {size} bytes: {_what_speaks_so(size)}"
        )

    def _answer(self, frame: bytes) -> None:
        correlation_id = messages.correlation_id_of(frame)
        if correlation_id not in self._pending:
            raise ProtocolError(f"{self.address} answered a request that was not made")
        if correlation_id != next(iter(self._pending)):
            raise ProtocolError(f"{self.address} answered out of turn: responses come in order")
        pending = self._pending.pop(correlation_id)
        pending.timer.cancel()
        if pending.response.done():
            return  # its caller was cancelled
        try:
            response = messages.decode_response(frame, pending.api, pending.version)
        except ProtocolError as error:
            located = ProtocolError(f"{self.address}: {error}")
            pending.response.set_exception(located)
            raise _again(located) from None
        pending.response.set_result(response)

    def _time_out(self, api: Api, timeout: float) -> None:
        self.close(
            RequestTimedOut(
                f"{self.address} did not answer {api.name} within {timeout * 1000:.0f} ms"
            )
        )

    def _lost(self, cause: StreamClosedError) -> BrokerError:
        why = cause.real_error or "it hung up"
        return ConnectionLost(f"the connection to {self.address} was lost: {why}")

    def close(self, why: BrokerError | None = None) -> None:
        """Close it; what is still unanswered ends with ``why``."""
        if self.closed is not None:
            return
        self.closed = why or ConnectionLost(f"the connection to {self.address} was closed by us")
        self._stream.close()
        if self._reading is not asyncio.current_task():
            self._reading.cancel()
        pending, self._pending = self._pending, {}
        for request in pending.values():
            request.timer.cancel()
            if not request.response.done():
                request.response.set_exception(_again(self.closed))
        if self.on_close is not None:
            self.on_close(self.closed)


def _again(error: BrokerError) -> BrokerError:
    """Return a copy: an exception that is raised in many places gathers all their tracebacks."""
    return type(error)(*error.args)


def _what_speaks_so(size: int) -> str:
    if size == _HTTP:
        return "that is HTTP, not Kafka; check the port in brokers"
    if size >> 24 == _TLS_ALERT:
        return "that is TLS, and this connection is plaintext; check the port in brokers"
    return f"at most {MAX_FRAME} can be right; is this really a Kafka broker's port?"


async def open_connection(
    address: Address, *, resolve: Resolve, client_id: str, timeout: float
) -> Connection:
    """Connect to ``address``, trying every address of its host, and shake hands.

    ``timeout``, in seconds, holds for the look-up, each attempt to connect, and the handshake.

    Raises:
        BrokerError: none of the addresses took the connection, or no Kafka broker answered.
    """
    try:
        async with asyncio.timeout(timeout):
            candidates = await resolve(address)
    except TimeoutError:
        raise BrokerUnreachable(
            f"the host name of {address} did not resolve within {timeout * 1000:.0f} ms: "
            "is the name server up?"
        ) from None
    stream = await _connect_any(address, candidates, timeout)
    connection = Connection(stream, address, client_id)
    try:
        await connection.handshake(timeout)
    except BaseException:
        connection.close()
        raise
    return connection


async def _connect_any(
    address: Address, candidates: Sequence[SocketAddress], timeout: float
) -> IOStream:
    failures = []
    for family, sockaddr in candidates:
        try:
            return await _connect(family, sockaddr, timeout)
        except (OSError, StreamClosedError, TimeoutError) as cause:
            failures.append(f"{sockaddr[0]}: {_reason(cause, timeout)}")
    raise BrokerUnreachable(
        f"no connection to {address} ({'; '.join(failures)}): "
        "is the broker up, and is this its address?"
    )


async def _connect(
    family: socket.AddressFamily, sockaddr: tuple[Any, ...], timeout: float
) -> IOStream:
    stream = IOStream(socket.socket(family, socket.SOCK_STREAM), max_buffer_size=2 * MAX_FRAME)
    try:
        stream.set_nodelay(True)
        async with asyncio.timeout(timeout):
            await stream.connect(sockaddr)
    except BaseException:
        stream.close()
        raise
    return stream


def _reason(cause: BaseException, timeout: float) -> str:
    if isinstance(cause, TimeoutError):
        return f"no answer within {timeout * 1000:.0f} ms"
    if isinstance(cause, StreamClosedError):
        return str(cause.real_error or "the connection was closed")
    return str(cause)
