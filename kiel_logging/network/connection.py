"""One connection to one broker: requests out, responses in, in order.

The law: every request that was sent ends, with its response or with the reason why there is none.
A response that was not asked for, or is larger than its request allows, closes the connection.
The only module that catches the errors of sockets; all others see BrokerError.
"""

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from tornado.iostream import IOStream, StreamClosedError

from kiel_logging.config.options import Address
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
from kiel_logging.network.sasl import Authenticator
from kiel_logging.wire import messages, versions
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api

_RENEW_AT: Final = 0.85
"""The part of a session's lifetime after which it is renewed, as in the Java client."""

RENEW_LEAST: Final = 3.0
"""Seconds from one session to the next at least, however short the broker says that they are."""

QUIET: Final = 3.0
"""Seconds of silence after which the broker is asked whether it is still there, before a request
is sent to it. A middlebox that forgot an idle connection lets everything vanish that comes later on
it: the request would take its whole timeout, and may have been done or not."""

_PROBE_LEAST: Final = 0.25
_PROBE_MOST: Final = 2.0
_PROBE_PATIENCE: Final = 10
"""The broker has so many times as long to answer that as its first answer took, within these
bounds in seconds. If it takes longer all the same, the price of the mistake is a new connection."""

_NO_TIMEOUT: Final = 3600.0  # seconds: another one is shorter

# The first four bytes when the port speaks something else.
_TLS_ALERT: Final = 0x15
_HTTP: Final = int.from_bytes(b"HTTP", "big")


class _Pending(NamedTuple):
    """A request whose response is awaited."""

    api: Api
    version: int
    most: int
    size: int
    whole: bool
    response: "asyncio.Future[Any]"
    timer: asyncio.TimerHandle


class _Held(NamedTuple):
    """A request that waits for the end of a probe, or of an authentication."""

    api: Api
    request: Request
    timeout: float
    response: "asyncio.Future[Any]"


class Connection:
    """An open connection. Made by ``open_connection``.

    Args:
        max_idle: seconds without a request after which it is closed; 0 for never.

    Attributes:
        address: the broker's, as it was named.
        closed: why it was closed, None while it is open.
        oldest: the response that was awaited for longest when it was closed; None if none was.
        is_to_blame: whether its own requests may be the reason why it was lost; see Lease.
    """

    is_to_blame = True

    def __init__(
        self, stream: IOStream, address: Address, client_id: str, *, max_idle: float = 0
    ) -> None:
        self._stream = stream
        self._client_id = client_id
        self._correlation_ids = itertools.count()
        self._pending: dict[int, _Pending] = {}
        self._versions: versions.Versions = {}
        self.address = address
        self.closed: BrokerError | None = None
        self.oldest: asyncio.Future[Any] | None = None
        self.on_close: Callable[[BrokerError], None] | None = None
        self._served = False
        self._authenticator: Authenticator | None = None
        self._held: list[_Held] | None = None
        self._holding: asyncio.Task[None] | None = None
        self._session_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._used_at = self._loop.time()
        self._probe_patience = _PROBE_MOST
        self._max_idle = max_idle
        self._idle_timer: asyncio.TimerHandle | None = None
        if max_idle:
            self._idle_timer = self._loop.call_later(max_idle, self._close_if_idle)
        self._reading = asyncio.ensure_future(self._read_responses())

    def __repr__(self) -> str:
        state = "open" if self.closed is None else f"closed: {self.closed}"
        return f"<Connection to {self.address} {state} pending={len(self._pending)}>"

    async def handshake(self, timeout: float) -> None:
        """Ask the broker which versions it knows; ``timeout`` in seconds.

        Raises:
            BrokerError: it is no Kafka broker, or one that is too old.
        """
        asked_at = self._loop.time()
        response = await self._api_versions(versions.SUPPORTED[Api.API_VERSIONS].highest, timeout)
        patience = _PROBE_PATIENCE * (self._loop.time() - asked_at)
        self._probe_patience = min(_PROBE_MOST, max(_PROBE_LEAST, patience))
        if response["error_code"] == ErrorCode.unsupported_version:
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

    def send(self, api: Api, request: Request, timeout: float) -> "asyncio.Future[Any]":
        """Send ``request`` and return a future of its response.

        The future raises ConnectionLost, ProtocolError or, after ``timeout`` seconds,
        RequestTimedOut. A broker that misses one timeout answers nothing behind it either, for
        responses come in order: the connection is closed.
        """
        response = self._loop.create_future()
        self._probe_if_quiet()
        if self.closed is not None:
            response.set_exception(_again(self.closed))
        elif self._held is not None:
            self._held.append(_Held(api, request, timeout, response))
        else:
            self._transmit(api, request, timeout, response)
        return response

    def _transmit(
        self, api: Api, request: Request, timeout: float, response: "asyncio.Future[Any]"
    ) -> None:
        correlation_id, frame = self._encode(request)
        timer = self._loop.call_later(timeout, self._time_out, api, timeout)
        most = messages.most_bytes(request)
        self._pending[correlation_id] = _Pending(
            api, request.version, most, len(frame), request.whole, response, timer
        )
        try:
            self._stream.write(frame)
        except StreamClosedError as cause:
            self.close(self._lost(cause))

    def _encode(self, request: Request) -> tuple[int, bytes]:
        """Return the next correlation id, and the frame that is about to be written."""
        correlation_id = next(self._correlation_ids) & 0x7FFFFFFF
        self._used_at = self._loop.time()
        return correlation_id, messages.encode_request(request, correlation_id, self._client_id)

    async def post(self, api: Api, request: Request, timeout: float) -> None:
        """Send a request that gets no response (Produce with acks 0); return when it is written.

        Raises:
            ConnectionLost: the connection was cut before.
            RequestTimedOut: the broker did not take it within ``timeout`` seconds.
        """
        self._probe_if_quiet()
        while self._holding is not None:
            await asyncio.wait([self._holding])
        if self.closed is not None:
            raise _again(self.closed)
        _, frame = self._encode(request)
        try:
            async with asyncio.timeout(timeout):
                await self._stream.write(frame)
        except StreamClosedError as cause:
            raise self._lost(cause) from cause
        except TimeoutError:
            self._time_out(api, timeout)
            raise _again(self.closed or self._lost(StreamClosedError())) from None

    async def ask_now(self, api: Api, request: Request, timeout: float) -> Any:
        """Return the response to a request that is sent while others are held.

        Raises as the future of ``send()`` does.
        """
        if self.closed is not None:
            raise _again(self.closed)
        response = self._loop.create_future()
        self._transmit(api, request, timeout, response)
        return await response

    # Authentication.

    async def authenticate(self, authenticator: Authenticator, timeout: float) -> None:
        """Authenticate, now and before each session ends; ``timeout`` in seconds.

        Raises:
            SecurityError: it does not accept us, or is not what it claims to be.
            BrokerError: the connection was lost.
        """
        self._authenticator = authenticator
        lifetime = await authenticator.authenticate(self, timeout)
        if lifetime > 0:
            wait = max(RENEW_LEAST, lifetime * _RENEW_AT)
            self._session_timer = self._loop.call_later(wait, self._renew, timeout)

    def _renew(self, timeout: float) -> None:
        """Begin a new session (KIP-368); brokers take no requests in between."""
        assert self._authenticator is not None
        if self._holding is not None:  # it is being probed, which does not take long
            self._session_timer = self._loop.call_later(_PROBE_MOST, self._renew, timeout)
        else:
            self._hold(functools.partial(self.authenticate, self._authenticator, timeout))

    # Requests that are held meanwhile.

    def _hold(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._held = []
        self._holding = asyncio.ensure_future(self._hold_during(work))

    async def _hold_during(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except BrokerError as error:
            self.close(error)
        except Exception as bug:  # ours; what is held must not be held for ever
            self.close(ProtocolError(f"asking {self.address} in between failed: {bug!r}"))
        finally:
            self._holding = None
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

    # Silence.

    def _probe_if_quiet(self) -> None:
        quiet = self._loop.time() - self._used_at
        idle = self._versions and not self._pending and self._held is None and self.closed is None
        if idle and quiet > QUIET:
            self._hold(functools.partial(self._probe, quiet))

    async def _probe(self, quiet: float) -> None:
        request = versions.api_versions_request(0, VERSION)
        try:
            async with asyncio.timeout(self._probe_patience):
                await self.ask_now(Api.API_VERSIONS, request, _NO_TIMEOUT)
        except TimeoutError:
            raise ConnectionLost(
                f"the connection to {self.address} was lost: it was idle for {quiet:.0f} s, and "
                "now nothing answers on it; set connections_max_idle_ms to less than what lies in "
                "between (a load balancer, a firewall) keeps idle connections"
            ) from None

    def _close_if_idle(self) -> None:
        left = self._used_at + self._max_idle - self._loop.time()
        if self._pending or self._holding is not None:
            left = self._max_idle
        if left <= 0:
            self.close(ConnectionLost(f"the connection to {self.address} was idle and closed"))
        else:
            self._idle_timer = self._loop.call_later(left, self._close_if_idle)

    # Responses.

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
        except Exception as bug:  # in this package; what waits for a response has to end
            self.close(ProtocolError(f"reading from {self.address} failed: {bug!r}"))

    async def _read_size(self) -> int:
        (size,) = messages.SIZE.unpack(await self._stream.read_bytes(messages.SIZE.size))
        awaited = next(iter(self._pending.values()), None)
        most = messages.MOST_BYTES if awaited is None else awaited.most
        if 0 <= size <= most:
            if awaited is None:
                raise ProtocolError(f"{self.address} answered a request that was not made")
            return int(size)
        if size >> 24 == _TLS_ALERT:
            raise ListenerMismatch(
                f"{self.address} speaks TLS, and this connection is plaintext: set "
                "security_protocol, or check the port in brokers"
            )
        raise ProtocolError(
            f"{self.address} announced a response of {size} bytes: {_what_speaks_so(size, most)}"
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
        self._used_at = self._loop.time()
        if pending.response.done():
            return  # its caller was cancelled
        try:
            response = messages.decode_response(frame, pending.api, pending.version, pending.whole)
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
        awaited = next(iter(self._pending.values()), None)
        if awaited is not None and awaited.api is Api.PRODUCE:
            text += (
                f", upon records of {awaited.size} bytes; the broker's log may say why, unless a "
                "proxy hung up"
            )
        elif self._versions and not self._served and self._authenticator is None:
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
        self.oldest = next((one.response for one in pending.values()), None)
        for request in pending.values():
            request.timer.cancel()
            if not request.response.done():
                request.response.set_exception(_again(self.closed))
        if self.on_close is not None:
            self.on_close(self.closed)

    def _end_session(self) -> None:
        for timer in (self._session_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        holding, self._holding = self._holding, None
        if holding is not None and holding is not asyncio.current_task():
            holding.cancel()
        self._release()  # a task that is cancelled before its first step would not


def _again(error: BrokerError) -> BrokerError:
    """Return a copy: an exception that is raised in many places gathers all their tracebacks."""
    return type(error)(*error.args)


def _what_speaks_so(size: int, most: int) -> str:
    if size == _HTTP:
        return "that is HTTP, not Kafka; check the port in brokers"
    return f"at most {most} can be right; is this really a Kafka broker's port?"
