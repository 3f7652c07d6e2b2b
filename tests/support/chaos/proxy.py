"""A TCP proxy on loopback that knows Kafka's frames, so as to cut a connection inside one.

Kafka's frames: a size in four bytes, then a header that starts with the api key (two bytes), its
version (two) and the correlation id (four) in requests, with the correlation id in responses.
"""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import NamedTuple, Self

_SIZE = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")
_CORRELATION_ID = struct.Struct(">i")
_PRODUCE = 0


class Way(Enum):
    """Which way a frame goes."""

    REQUEST = "request"
    RESPONSE = "response"


class _Cut(NamedTuple):
    """An order to cut the next Produce frame that goes `way`."""

    way: Way
    share: float
    done: "asyncio.Future[None]"


def listen(host: str) -> socket.socket:
    """Return a socket that listens on a free port; it outlives the proxies that serve it."""
    return socket.create_server((host, 0))


def address_of(listening: socket.socket) -> str:
    """Return where a socket listens, as clients write it."""
    host, port = listening.getsockname()
    return f"{host}:{port}"


class Proxy:
    """Forwards connections from `listening` to `upstream` and back, on the running loop."""

    def __init__(self, listening: socket.socket, upstream: tuple[str, int]) -> None:
        """Prepare a proxy that serves within its `async with`."""
        self._listening = listening
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._cut: _Cut | None = None
        self.cuts = 0

    def __repr__(self) -> str:
        return f"<Proxy {self.address} to port {self._upstream[1]} cuts={self.cuts}>"

    @property
    def address(self) -> str:
        """Where it listens."""
        return address_of(self._listening)

    async def __aenter__(self) -> Self:
        # A duplicate: the server closes what it was given.
        self._server = await asyncio.start_server(self._accept, sock=self._listening.dup())
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.cancel()
        while self._links:
            await asyncio.wait(self._links)

    async def cut(self, way: Way, share: float) -> None:
        """Pass on only `share` of the next Produce frame that goes `way`, then hang up.

        Returns when that is done. At least the first byte goes through, and never the last.
        """
        assert self._cut is None, "one cut at a time"
        self._cut = _Cut(way, share, asyncio.get_running_loop().create_future())
        try:
            await self._cut.done
        finally:
            self._cut = None

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        link = asyncio.ensure_future(self._serve(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            broker_reader, broker_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            await _hang_up(writer)  # the broker is down
            return
        try:
            await self._link(reader, writer, broker_reader, broker_writer)
        finally:
            await _hang_up(writer, broker_writer)

    async def _link(
        self,
        reader: StreamReader,
        writer: StreamWriter,
        broker_reader: StreamReader,
        broker_writer: StreamWriter,
    ) -> None:
        """Pump both ways until either end hangs up, or the link is cut."""
        produces: set[int] = set()

        def is_produce_request(frame: bytes) -> bool:
            api, _, correlation_id = _REQUEST.unpack_from(frame, _SIZE.size)
            if api == _PRODUCE:
                produces.add(correlation_id)
            return bool(api == _PRODUCE)

        def is_produce_response(frame: bytes) -> bool:
            (correlation_id,) = _CORRELATION_ID.unpack_from(frame, _SIZE.size)
            return correlation_id in produces

        pumps = (
            asyncio.ensure_future(pump)
            for pump in (
                self._pump(Way.REQUEST, reader, broker_writer, is_produce_request),
                self._pump(Way.RESPONSE, broker_reader, writer, is_produce_response),
            )
        )
        running = set(pumps)
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in running:
                pump.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _pump(
        self,
        way: Way,
        reader: StreamReader,
        writer: StreamWriter,
        is_produce: Callable[[bytes], bool],
    ) -> None:
        try:
            while True:
                frame = await _read_frame(reader)
                cut = self._cut
                # Asked of every frame: a response is known by the request that went before.
                if is_produce(frame) and cut is not None and cut.way is way and not cut.done.done():
                    passed = min(max(1, int(len(frame) * cut.share)), len(frame) - 1)
                    writer.write(frame[:passed])
                    self.cuts += 1
                    cut.done.set_result(None)
                    await writer.drain()
                    return
                writer.write(frame)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # one end hung up


async def _read_frame(reader: StreamReader) -> bytes:
    prefix = await reader.readexactly(_SIZE.size)
    return prefix + await reader.readexactly(*_SIZE.unpack(prefix))


async def _hang_up(*writers: StreamWriter) -> None:
    for writer in writers:
        writer.close()
    for writer in writers:
        with suppress(ConnectionError):  # the other side was faster
            await writer.wait_closed()
