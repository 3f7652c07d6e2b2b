"""One connection to one broker: requests out, responses in, in order.

The law: every request that was sent ends, with its response or with the reason why there is none.
The only module that catches what sockets raise; everyone else sees BrokerError.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from kio.schema.errors import ErrorCode
from tornado.iostream import IOStream, StreamClosedError

from kiel_logging.constants import VERSION
from kiel_logging.errors import (
    BrokerError,
    ConnectionLost,
    ListenerMismatch,
    ProtocolError,
    RequestTimedOut,
    SecurityError,
    UnsupportedBroker,
)
from kiel_logging.network.authentication import Authenticator
from kiel_logging.options import Address
from kiel_logging.wire import messages, versions
from kiel_logging.wire.messages import Api

_RENEW_AT: Final = 0.85
"""The part of a session's lifetime after which we say again who we are, as the Java client does."""

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


class _Held(NamedTuple):
    """A request that waits until who we are has been told again."""

    api: Api
    request: Any
    timeout: float
    response: "asyncio.Future[Any]"


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
        self._served = False
        self._authenticator: Authenticator | None = None
        self._held: list[_Held] | None = None
        self._session_timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
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
        response = asyncio.get_running_loop().create_future()
        if self.closed is not None:
            response.set_exception(_again(self.closed))
        elif self._held is not None:
            self._held.append(_Held(api, request, timeout, response))
        else:
            self._transmit(api, request, timeout, response)
        return response

    def _transmit(
        self, api: Api, request: Any, timeout: float, response: "asyncio.Future[Any]"
    ) -> None:
        correlation_id = next(self._correlation_ids) & 0x7FFFFFFF
        frame = messages.encode_request(request, correlation_id, self._client_id)
        timer = asyncio.get_running_loop().call_later(timeout, self._time_out, api, timeout)
        self._pending[correlation_id] = _Pending(api, request.__version__, response, timer)
        self._write(frame)

    async def post(self, api: Api, request: Any, timeout: float) -> None:
        """Send a request that gets no response (Produce with acks 0); return when it is written.

        Raises:
            ConnectionLost: the connection was cut before.
            RequestTimedOut: the broker did not take it within ``timeout`` seconds.
        """
        if self._renewing is not None:
            await asyncio.wait([self._renewing])
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

    # Who we are.

    async def authenticate(self, authenticator: Authenticator, timeout: float) -> None:
        """Tell the broker who we are, now and before each session ends; ``timeout`` in seconds.

        Raises:
            SecurityError: it does not accept us, or is not what it claims to be.
            BrokerError: the connection was lost.
        """
        self._authenticator = authenticator
        lifetime = await authenticator.authenticate(_Line(self, timeout))
        if lifetime > 0:
            self._session_timer = asyncio.get_running_loop().call_later(
                lifetime * _RENEW_AT, self._renew, timeout
            )

    def _renew(self, timeout: float) -> None:
        self._renewing = asyncio.ensure_future(self._authenticate_again(timeout))

    async def _authenticate_again(self, timeout: float) -> None:
        """Begin a new session (KIP-368); requests are held, for brokers take none in between."""
        assert self._authenticator is not None
        self._held = []
        try:
            await self.authenticate(self._authenticator, timeout)
        except BrokerError as error:
            self.close(error)
        except Exception as bug:  # ours; a session that is not renewed ends in the middle
            self.close(ProtocolError(f"renewing the session with {self.address} failed: {bug!r}"))
        finally:
            self._renewing = None
            self._release()

    def _release(self) -> None:
        held, self._held = self._held or [], None
        for request in held:
            if request.response.done():
                continue  # its caller was cancelled
            if self.closed is None:
                self._transmit(*request)
            else:
                request.response.set_exception(_again(self.closed))

    async def _read_responses(self) -> None:
        try:
            while True:
                frame = await self._stream.read_bytes(await self._read_size())
                self._answer(frame)
        except StreamClosedError as cause:
            self.close(self._lost(cause))
        except (ProtocolError, SecurityError) as error:
            self.close(error)
        except OSError as cause:  # tornado lets some of those through
            self.close(ConnectionLost(f"the connection to {self.address} was lost: {cause}"))
        except Exception as bug:  # ours; whoever waits for a response must hear of it
            self.close(ProtocolError(f"reading from {self.address} failed: {bug!r}"))

    async def _read_size(self) -> int:
        (size,) = messages.SIZE.unpack(await self._stream.read_bytes(messages.SIZE.size))
        if 0 <= size <= MAX_FRAME:
            return int(size)
        if size >> 24 == _TLS_ALERT:
            raise ListenerMismatch(
                f"{self.address} speaks TLS, and this connection is plaintext: set "
                "security_protocol, or check the port in brokers"
            )
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
        self._served = self._served or pending.api is not Api.API_VERSIONS
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
        text = f"the connection to {self.address} was lost: {why}"
        if self._versions and not self._served and self._authenticator is None:
            text += ", upon the first request; does that listener want SASL (security_protocol)?"
        return ConnectionLost(text)

    def close(self, why: BrokerError | None = None) -> None:
        """Close it; what is still unanswered ends with ``why``."""
        if self.closed is not None:
            return
        self.closed = why or ConnectionLost(f"the connection to {self.address} was closed by us")
        self._stream.close()
        self._end_session()
        if self._reading is not asyncio.current_task():
            self._reading.cancel()
        pending, self._pending = self._pending, {}
        for request in pending.values():
            request.timer.cancel()
            if not request.response.done():
                request.response.set_exception(_again(self.closed))
        if self.on_close is not None:
            self.on_close(self.closed)

    def _end_session(self) -> None:
        if self._session_timer is not None:
            self._session_timer.cancel()
        if self._renewing is not None and self._renewing is not asyncio.current_task():
            self._renewing.cancel()  # it releases what is held
        elif self._renewing is None:
            self._release()


class _Line:
    """A connection for its authenticator, whose requests are not held."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self.address = connection.address

    def version(self, api: Api) -> int:
        """Return the version of ``api`` that is spoken."""
        return self._connection.version(api)

    async def ask(self, api: Api, request: Any) -> Any:
        """Send ``request`` and return its response."""
        response = asyncio.get_running_loop().create_future()
        if self._connection.closed is not None:
            raise _again(self._connection.closed)
        self._connection._transmit(api, request, self._timeout, response)
        return await response


def _again(error: BrokerError) -> BrokerError:
    """Return a copy: an exception that is raised in many places gathers all their tracebacks."""
    return type(error)(*error.args)


def _what_speaks_so(size: int) -> str:
    if size == _HTTP:
        return "that is HTTP, not Kafka; check the port in brokers"
    return f"at most {MAX_FRAME} can be right; is this really a Kafka broker's port?"
