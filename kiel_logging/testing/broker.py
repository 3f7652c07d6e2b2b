"""A small Kafka broker on a real loopback socket.

The only module of the fake cluster that knows sockets. Nothing here sleeps, unless a test sets
`delay`: it awaits `received`, `stored` or `until`, and closing ends every one of them.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.tcpserver import TCPServer

from kiel_logging.testing.frames import (
    PRODUCE,
    Api,
    ReceivedRequest,
    UnreadableRequestError,
    api_key_of,
    decode_request,
)
from kiel_logging.testing.happenings import Happenings, Observed
from kiel_logging.testing.replies import HANG_UP, STALL, default_reply
from kiel_logging.testing.sasl import SASL_VERSIONS, Sasl
from kiel_logging.testing.state import ClusterState, Node, ProduceFault

_LARGEST_REQUEST = 100 * 1024 * 1024


Reply = Any
"""What `on` takes: an answer, or a callable (fields of the request, default) -> answer.

``default()`` returns the answer of a healthy broker; the records of a Produce request are stored
when it is called first.

An answer is a dict of the response's fields, an `Answer`, bytes (written as they are), None (no
response), HANG_UP, STALL, or an awaitable of one of these.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response whose bytes go out damaged."""

    response: Any
    correlation_shift: int = 0
    cut_at: int | None = None
    """Hang up behind so many bytes of the frame, its length included."""

    def encode(self, request: ReceivedRequest) -> bytes:
        """The bytes to send; a sender of cut ones hangs up."""
        if self.response in (None, HANG_UP):
            return b""
        frame = request.encode(self.response, self.correlation_shift)
        return frame if self.cut_at is None else frame[: self.cut_at]


def stall_after_effect(_request: Any, default: Callable[[], Any]) -> Any:
    """The request takes effect, but its response is held back."""
    default()
    return STALL


class _Listener(TCPServer):
    def __init__(
        self, accepted: Callable[[IOStream], None], tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(ssl_options=tls)
        self._accepted = accepted

    def handle_stream(self, stream: IOStream, address: Any) -> None:  # noqa: ARG002 # Tornado's
        self._accepted(stream)


class FakeBroker(Observed):
    """One broker; alone it is a cluster of one, otherwise its cluster creates it."""

    def __init__(
        self,
        node_id: int = 0,
        *,
        state: ClusterState | None = None,
        happenings: Happenings | None = None,
    ) -> None:
        super().__init__(happenings or Happenings(), node_id)
        self.node = Node(node_id)
        self._once: list[tuple[int | None, Reply]] = []
        self._standing: dict[int | None, Reply] = {}
        self.state = state or ClusterState()
        self.state.nodes[node_id] = self.node
        self._is_alone = happenings is None
        self._listener: _Listener | None = None
        self._placeholder: socket.socket | None = None
        self._connections: dict[asyncio.Task[None], IOStream] = {}
        self._accepted_count = 0
        self._ignoring = False
        self.delay = 0.0
        """Seconds by which each answer to records is late."""
        self._resumed = asyncio.Event()
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        listening = "listening" if self._listener else "stopped"
        return f"<FakeBroker {self.node_id} {listening} on {self.address}>"

    # -- what a test reads ---------------------------------------------------------------------

    @property
    def node_id(self) -> int:
        """The id in Metadata."""
        return self.node.node_id

    @property
    def port(self) -> int:
        """Stays the same over stop() and start()."""
        return self.node.port

    @property
    def address(self) -> str:
        """A bootstrap address."""
        return f"127.0.0.1:{self.port}"

    @property
    def is_listening(self) -> bool:
        """Whether it takes connections."""
        return self._listener is not None

    @property
    def open_connections(self) -> int:
        """Connections that neither side has closed."""
        return len(self._connections)

    @property
    def connections_accepted(self) -> int:
        """Connections since the broker was made."""
        return self._accepted_count

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listens, on the same port as before if there was one; needs a current IOLoop."""
        sockets = bind_sockets(self.port, "127.0.0.1", family=socket.AF_INET, reuse_port=True)
        if self._placeholder:
            self._placeholder.close()
            self._placeholder = None
        self.node.port = sockets[0].getsockname()[1]
        self._listener = _Listener(self._accept, self._tls)
        self._listener.add_sockets(sockets)
        return self

    def use_tls(self, context: ssl.SSLContext | None) -> None:
        """From the next start() on: TLS with that context, or plaintext again."""
        self._tls = context

    def require_sasl(self, sasl: Sasl | None) -> None:
        """From now on clients of all brokers have to authenticate; None ends that."""
        self.state.sasl = sasl
        for node in self.state.nodes.values():
            for api_key, versions in SASL_VERSIONS.items():
                node.versions[api_key] = versions

    def stop(self) -> None:
        """Dies: connections are closed, new ones refused until start()."""
        if self._listener:
            self._placeholder = _bound_but_not_listening(self.port)
            self._listener.stop()
            self._listener = None
        self.hang_up()

    async def close(self) -> None:
        """Ends everything, then raises what a test's own reply raised, if one did."""
        self.stop()
        if self._placeholder:
            self._placeholder.close()
            self._placeholder = None
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._is_alone:
            self.happenings.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    # -- replies and faults ----------------------------------------------------------------------
    # Those for one request come first, in order, then the standing ones; api None means any API.

    def on(self, api: Api | None, reply: Reply) -> None:
        """Replies so to every request of that API; see Reply."""
        self._standing[_key(api)] = reply

    def on_next(self, api: Api | None, reply: Reply) -> None:
        """Replies so to one request; several queue up."""
        self._once.append((_key(api), reply))

    def set_versions(self, api: Api, lowest: int, highest: int) -> None:
        """Advertises and serves these versions; hangs up on requests in others."""
        self.node.versions[api_key_of(api)] = (lowest, highest)

    def produce_error(
        self,
        error_code: int,
        times: float = 1,
        only: str | tuple[str, int] | None = None,
        *,
        stored: bool = False,
    ) -> None:
        """Fails the next Produce requests (that touch `only`, a topic or a partition); `stored`
        appends all the same."""
        fault = ProduceFault(error_code, times, only, stored)
        self.node.produce_faults.append(fault)

    def hang_up_mid_response(self, api: Api | None, after_bytes: int = 0) -> None:
        """The next request takes effect, but only so many bytes of its response arrive."""
        self.on_next(api, lambda _, default: Answer(response=default(), cut_at=after_bytes))

    def stall(self, api: Api | None = None, *, after_effect: bool = False) -> None:
        """Answers nothing until resume(); `after_effect` stores the records before that."""
        self.on(api, stall_after_effect if after_effect else STALL)

    def send_garbage(self, data: bytes, api: Api | None = None) -> None:
        """Answers the next request with exactly these bytes."""
        self.on_next(api, data)

    def announce_frame(self, size: int, api: Api | None = None) -> None:
        """Answers the next request with the length of a frame, and with nothing behind it."""
        self.on_next(api, struct.pack(">i", size))

    def wrong_correlation_id(self, api: Api | None = None, shift: int = 1) -> None:
        """Answers the next request as if it were another one."""
        self.on_next(api, lambda _, default: Answer(response=default(), correlation_shift=shift))

    def hang_up(self) -> None:
        """Closes all open connections now."""
        for task, stream in list(self._connections.items()):
            stream.close()
            task.cancel()

    def accept_and_ignore(self) -> None:
        """Connections from now on are accepted but not read from, until resume()."""
        self._ignoring = True

    def push(self, data: bytes) -> None:
        """Writes bytes that answer no request to every open connection."""
        for stream in self._connections.values():
            stream.write(data)

    def resume(self) -> None:
        """Ends stall() and accept_and_ignore(); all requests that wait are answered now."""
        stalls = STALL, stall_after_effect
        self._standing = {key: one for key, one in self._standing.items() if one not in stalls}
        self._ignoring = False
        self._resumed.set()
        self._resumed = asyncio.Event()

    def clear_faults(self) -> None:
        """Back to a healthy broker."""
        self._once.clear()
        self._standing.clear()
        self.node.produce_faults.clear()
        self.delay = 0.0
        self.resume()

    # -- connections ---------------------------------------------------------------------------

    def _accept(self, stream: IOStream) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(stream, self._accepted_count))
        self._accepted_count += 1
        self._connections[task] = stream
        task.add_done_callback(self._ended)
        self.happenings.happened()

    def _ended(self, task: asyncio.Task[None]) -> None:
        # A task that was cancelled before its first step has not closed its stream.
        self._connections.pop(task).close()
        if not task.cancelled() and (error := task.exception()):
            self.happenings.failures.append(error)
        self.happenings.happened()

    async def _serve(self, stream: IOStream, connection: int) -> None:
        """Takes one request after the other, like a real broker: responses keep their order."""
        try:
            if self._ignoring:
                await self._resumed.wait()
            while True:
                request = decode_request(
                    await _read_frame(stream),
                    self.node.versions,
                    node_id=self.node_id,
                    connection=connection,
                )
                await self._handle(stream, request)
        except UnreadableRequestError as error:
            self._complain(str(error))
        except StreamClosedError:
            pass
        finally:
            stream.close()

    async def _handle(self, stream: IOStream, request: ReceivedRequest) -> None:
        self.happenings.requests.append(request)
        if request.trailing:
            self._complain(f"{request.trailing} bytes behind {request.api} v{request.version}")
        reply = self._take(request.api_key)
        self.happenings.happened()
        default = cache(lambda: default_reply(self.state, self.node, request))  # it stores once
        if reply is None:
            reply = default()
        elif callable(reply):
            reply = reply(request.payload, default)
        self.happenings.happened()  # records may be stored now, however late the answer is
        delay = self.delay if request.api_key == PRODUCE else 0.0
        answer = await self._settled(stream, reply, default, delay)
        self.happenings.happened()
        await _send(stream, answer, request)

    def _take(self, api_key: int) -> Reply | None:
        """Return the reply for a request that has just come in; None for the default."""
        for position, (key, reply) in enumerate(self._once):
            if key in (None, api_key):
                del self._once[position]
                return reply
        return self._standing.get(api_key, self._standing.get(None))

    def _complain(self, what: str) -> None:
        self.happenings.complaints.append(f"broker {self.node_id}: {what}")

    async def _settled(
        self, stream: IOStream, reply: Any, default: Callable[[], Any], delay: float
    ) -> Any:
        """Waits for slow replies, but no longer than the client keeps the connection."""
        if reply is not STALL and not inspect.isawaitable(reply) and not delay:
            return reply
        task = asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            task.cancel()

        stream.set_close_callback(cancel)
        answer = await reply if inspect.isawaitable(reply) else reply
        if delay:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._resumed.wait(), delay)
        if answer is STALL:
            await self._resumed.wait()
            answer = default()
        stream.set_close_callback(None)
        return answer


def _bound_but_not_listening(port: int) -> socket.socket:
    """Keep the port for start(): connections to it are refused, and no other process gets it.

    It shares the port with the listener, so that there is no moment at which neither has it.
    """
    placeholder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    placeholder.bind(("127.0.0.1", port))
    return placeholder


async def _read_frame(stream: IOStream) -> bytes:
    (size,) = struct.unpack(">i", await stream.read_bytes(4))
    if not 0 <= size <= _LARGEST_REQUEST:
        raise UnreadableRequestError(f"a request of {size} bytes")
    return await stream.read_bytes(size)


async def _send(stream: IOStream, answer: Any, request: ReceivedRequest) -> None:
    if answer is HANG_UP:
        raise StreamClosedError
    if answer is None:
        return
    if isinstance(answer, bytes):
        await stream.write(answer)
    elif isinstance(answer, Answer):
        await stream.write(answer.encode(request))
        if answer.cut_at is not None:
            raise StreamClosedError
    else:
        await stream.write(request.encode(answer))


def _key(api: Api | None) -> int | None:
    return None if api is None else api_key_of(api)
