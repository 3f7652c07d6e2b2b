"""One connection: every request on it ends, whatever the other side does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.config.options import Address
from kiel_logging.errors import (
    BrokerError,
    BrokerUnreachable,
    ConnectionLost,
    ListenerMismatch,
    ProtocolError,
    RequestTimedOut,
    UnsupportedBroker,
)
from kiel_logging.network import connection as connection_module
from kiel_logging.network.connection import Connection
from kiel_logging.network.opening import open_connection
from kiel_logging.network.resolver import SocketAddress, resolve
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.testing.replies import HANG_UP
from kiel_logging.wire import messages
from kiel_logging.wire.metadata import metadata_request, read_metadata
from kiel_logging.wire.schemas import Api
from tests.network.quick import let_time_pass

Fault = Callable[[FakeBroker], None]


async def dial(broker: FakeBroker, *, timeout: float = 5.0) -> Connection:
    """A connection to `broker`, hands shaken."""
    return await open_connection(
        Address("127.0.0.1", broker.port), resolve=resolve, client_id="test", timeout=timeout
    )


def ask(connection: Connection, timeout: float = 30.0) -> asyncio.Future[Any]:
    """Asks for the brokers: any request would do."""
    request = metadata_request(connection.version(Api.METADATA), [])
    return connection.send(Api.METADATA, request, timeout)


def descriptor_connected_to(port: int) -> int:
    """The number of this process's socket that is connected to `port`."""
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
            if copy.getpeername()[1:2] == (port,):
                return number
    raise AssertionError("there is no such socket")


# -- every request ends -------------------------------------------------------------------------


async def test_a_hang_up_fails_every_pending_request_with_its_cause() -> None:
    """When the broker hangs up, or we do, each pending request ends with its own exception."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        broker.stall("Metadata")
        pending = [ask(connection) for _ in range(3)]
        await broker.received("Metadata")
        broker.hang_up()
        ends = await asyncio.gather(*pending, return_exceptions=True)
        assert [type(end) for end in ends] == [ConnectionLost] * 3
        assert all(f"connection to {broker.address} was lost" in str(end) for end in ends)
        assert len({id(end) for end in ends}) == 3
        connection = await dial(broker)
        pending = [ask(connection), ask(connection)]
        connection.close()
        for response in pending:
            with pytest.raises(ConnectionLost, match="closed by us"):
                await response


async def test_closing_leaves_a_file_alone_that_took_the_descriptor(tmp_path: Path) -> None:
    """Programs close descriptors that they don't know; the next file gets the number."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        number = descriptor_connected_to(broker.port)
        with (tmp_path / "own").open("wb") as own:
            os.dup2(own.fileno(), number)
            connection.close()
            assert os.path.sameopenfile(own.fileno(), number)
            os.close(number)


@pytest.mark.parametrize(
    "announced", [struct.pack(">ii", 4, 77), struct.pack(">i", messages.MOST_BYTES) + bytes(1000)]
)
async def test_a_response_to_no_request_closes_the_connection(announced: bytes) -> None:
    """Its size is enough: none of its bytes are waited for."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        closed = asyncio.get_running_loop().create_future()
        connection.on_close = closed.set_result
        broker.push(announced)
        assert "answered a request that was not made" in str(await closed)


async def test_a_request_timeout_closes_the_connection_and_fails_the_others() -> None:
    """Responses come in order: behind one that does not come nothing else can be expected."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        broker.stall("Metadata")
        pending = [ask(connection, timeout=30), ask(connection, timeout=0.02)]
        for response in pending:
            with pytest.raises(RequestTimedOut, match="did not answer METADATA within 20 ms"):
                await response
        assert isinstance(connection.closed, RequestTimedOut)


def _cut_after(size: int) -> Fault:
    return lambda broker: broker.hang_up_mid_response("Metadata", size)


def _truncated(broker: FakeBroker) -> None:
    """A whole frame whose content ends too soon; the handshake was request 0, so this is 1."""

    def reply(_request: Any, default: Callable[[], Any]) -> bytes:
        body = broker.requests[-1].encode(default())[4:-5]
        return struct.pack(">i", len(body)) + body

    broker.on_next("Metadata", reply)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (lambda b: b.on_next("Metadata", HANG_UP), ConnectionLost, "was lost"),
        (_cut_after(2), ConnectionLost, "was lost"),
        (_cut_after(4), ConnectionLost, "was lost"),
        (_cut_after(11), ConnectionLost, "was lost"),
        (_truncated, ProtocolError, "METADATA v.* can't be decoded"),
        (lambda b: b.wrong_correlation_id("Metadata", 9), ProtocolError, "that was not made"),
        (lambda b: b.wrong_correlation_id("Metadata", 1), ProtocolError, "out of turn"),
        (lambda b: b.announce_frame(2**31 - 1, "Metadata"), ProtocolError, "2147483647 bytes"),
        (lambda b: b.announce_frame(-1, "Metadata"), ProtocolError, "-1 bytes"),
        (lambda b: b.send_garbage(struct.pack(">i", 2) + b"ab", "Metadata"), ProtocolError, "of 2"),
        (lambda b: b.send_garbage(b"HTTP/1.1 400 No\r\n\r\n", "Metadata"), ProtocolError, "HTTP"),
    ],
    ids=[
        "hang up",
        "cut in the size",
        "cut behind the size",
        "cut in the content",
        "truncated content",
        "wrong correlation id",
        "out of turn",
        "frame of 2 GB",
        "negative size",
        "no room for a correlation id",
        "HTTP",
    ],
)
async def test_a_wrong_answer_fails_all_that_is_pending(
    fault: Fault, error: type[BrokerError], message: str
) -> None:
    """After a wrong answer nothing on a connection can be trusted: it is closed with the cause."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        fault(broker)
        pending = [ask(connection), ask(connection)]
        for response in pending:
            with pytest.raises(error, match=message):
                await response
        assert isinstance(connection.closed, error)


@pytest.mark.parametrize(
    ("topics", "error", "message"),
    [
        ([], ProtocolError, "of 307200 bytes: at most 262144 can be right"),
        (["logs"], ConnectionLost, "it hung up"),
    ],
    ids=["no topic", "one topic"],
)
async def test_a_response_has_no_more_bytes_than_were_asked_for(
    topics: list[str], error: type[BrokerError], message: str
) -> None:
    """Of no topic there are not 300 KiB to say; of one there may be, and they are waited for."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        broker.stall("Metadata")
        request = metadata_request(connection.version(Api.METADATA), topics)
        response = connection.send(Api.METADATA, request, 5)
        await broker.received("Metadata")
        broker.push(struct.pack(">i", 300 * 1024))
        broker.hang_up()
        with pytest.raises(error, match=message):
            await response


async def test_sending_on_a_closed_connection_fails_with_the_cause() -> None:
    """A request that comes too late gets the cause, at once."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        connection.close(ConnectionLost("the cat pulled the cable"))
        with pytest.raises(ConnectionLost, match="the cat pulled the cable"):
            await ask(connection)
        request = metadata_request(connection.version(Api.METADATA), [])
        with pytest.raises(ConnectionLost, match="the cat pulled the cable"):
            await connection.post(Api.METADATA, request, 5.0)


async def test_on_close_is_called_once_with_the_first_cause() -> None:
    """Closing again changes nothing."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        causes: list[BrokerError] = []
        connection.on_close = causes.append
        connection.close(ConnectionLost("first"))
        connection.close(ConnectionLost("second"))
        assert [str(cause) for cause in causes] == ["first"]


async def test_the_response_to_a_cancelled_request_is_dropped() -> None:
    """A caller that gave up does not harm the connection, or others on it."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        broker.stall("Metadata")
        given_up, wanted = ask(connection), ask(connection)
        await broker.received("Metadata")
        given_up.cancel()
        broker.resume()
        assert read_metadata(await wanted).brokers[0].port == broker.port
        assert connection.closed is None
        connection.close()


async def test_responses_go_to_their_own_requests() -> None:
    """Requests that are pending together are answered each with its own response."""
    async with FakeBroker() as broker:
        broker.state.add_topic("a", 1)
        broker.state.add_topic("b", 2)
        connection = await dial(broker)
        version = connection.version(Api.METADATA)
        pending = [
            connection.send(Api.METADATA, metadata_request(version, [topic]), 5)
            for topic in ("a", "b", "a")
        ]
        answers = [
            read_metadata(response, ["a", "b"]) for response in await asyncio.gather(*pending)
        ]
        assert [list(answer.topics) for answer in answers] == [["a"], ["b"], ["a"]]
        connection.close()


# -- silence -----------------------------------------------------------------------------------


@pytest.fixture
def no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any time without a request is too long; a broker has 20 ms to say that it is there."""
    monkeypatch.setattr(connection_module, "QUIET", 0.0)
    monkeypatch.setattr(connection_module, "_PROBE_LEAST", 0.02)
    monkeypatch.setattr(connection_module, "_PROBE_MOST", 0.02)


@pytest.mark.usefixtures("no_silence")
async def test_a_broker_that_was_silent_is_asked_whether_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the request, which then goes its way."""
    monkeypatch.setattr(connection_module, "_PROBE_MOST", 10.0)
    monkeypatch.setattr(connection_module, "_PROBE_LEAST", 10.0)
    async with FakeBroker() as broker:
        connection = await dial(broker)
        assert read_metadata(await ask(connection)).brokers[0].port == broker.port
        assert [r.api for r in broker.requests] == ["ApiVersions", "ApiVersions", "Metadata"]
        connection.close()


@pytest.mark.usefixtures("no_silence")
async def test_a_connection_that_was_forgotten_takes_no_request() -> None:
    """Held requests, with or without a response, fail soon, were surely not done, and the option is
    named."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        broker.stall("ApiVersions")
        request = metadata_request(connection.version(Api.METADATA), [])
        pending = [ask(connection), ask(connection), connection.post(Api.METADATA, request, 5.0)]
        for response in pending:
            with pytest.raises(ConnectionLost, match=r"was idle .* connections_max_idle_ms"):
                await response
        assert {request.api for request in broker.requests} == {"ApiVersions"}


@pytest.mark.usefixtures("no_silence")
async def test_a_broker_that_owes_an_answer_is_not_silent() -> None:
    """It is busy: only an idle one is asked."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        broker.stall("Metadata")
        pending = [ask(connection)]
        await broker.received("Metadata")
        pending.append(ask(connection))
        await asyncio.sleep(0)
        broker.resume()
        await asyncio.gather(*pending)
        assert [r.api for r in broker.requests[1:]] == ["ApiVersions", "Metadata", "Metadata"]
        connection.close()


async def test_an_idle_connection_closes_itself() -> None:
    """After the time that it was given; one that waits for an answer is not idle."""
    async with FakeBroker() as broker:
        address = Address("127.0.0.1", broker.port)
        options = {"resolve": resolve, "client_id": "test", "timeout": 5, "max_idle": 0.02}
        broker.stall("Metadata")
        busy = await open_connection(address, **options)
        response = ask(busy)
        for _ in range(2):
            idle = await open_connection(address, **options)
            closed = asyncio.get_running_loop().create_future()
            idle.on_close = closed.set_result
            assert "was idle and closed" in str(await closed)
        assert busy.closed is None
        broker.resume()
        await response
        busy.close()


async def test_the_system_watches_idle_connections() -> None:
    """Middleboxes see that they are in use, and a peer that is gone is noticed within a minute."""
    async with FakeBroker() as broker:
        connection = await dial(broker)
        plain = connection._stream.socket
        assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 60
        connection.close()


# -- connecting ---------------------------------------------------------------------------------


async def test_every_address_of_a_host_is_tried() -> None:
    """A name that resolves to IPv6 first reaches a broker that listens on IPv4 only. If no address
    takes the connection, the error has the reason of each."""
    async with FakeBroker() as broker:

        async def both(address: Address) -> list[SocketAddress]:
            assert address.host == "two-faced"
            return [
                (socket.AF_INET6, ("::1", broker.port, 0, 0)),
                (socket.AF_INET, ("127.0.0.1", broker.port)),
            ]

        address = Address("two-faced", broker.port)
        connection = await open_connection(address, resolve=both, client_id="me", timeout=5)
        assert read_metadata(await ask(connection)).brokers[0].port == broker.port
        assert {request.client_id for request in broker.requests} == {"me"}
        connection.close()
        broker.stop()
        with pytest.raises(BrokerUnreachable, match=r"\(::1: .*; 127.0.0.1: .*refused"):
            await open_connection(address, resolve=both, client_id="test", timeout=5)


async def test_host_names_are_looked_up() -> None:
    """By the system's resolver; a misspelt one is said to be one."""
    async with FakeBroker() as broker:
        address = Address("localhost", broker.port)
        options = {"resolve": resolve, "client_id": "test", "timeout": 5}
        (await open_connection(address, **options)).close()
        with pytest.raises(BrokerUnreachable, match=r"no-such-host.invalid:9092 does not resolve"):
            await open_connection(Address("no-such-host.invalid", 9092), **options)


@pytest.mark.parametrize("port", [-1, 0, 65536, 70_000, 2**31 - 1])
async def test_a_port_that_there_is_not(port: int) -> None:
    """Brokers may advertise one; the system would take some of them for another."""
    with pytest.raises(BrokerUnreachable, match=f":{port} is no address: a port is a number"):
        await open_connection(
            Address("127.0.0.1", port), resolve=no_lookup, client_id="test", timeout=5
        )


@pytest.mark.parametrize(
    "host",
    ["", "a b", "a\0b", "evil\n\x1b[2J", "/etc/passwd", "a" * 256, "a\u2028b", "\x9b"],
    ids=ascii,
)
async def test_a_host_that_can_have_no_such_name(host: str) -> None:
    """No name server is asked for it, and the error can be printed."""
    with pytest.raises(BrokerUnreachable, match="can't be the name of a host") as error:
        await open_connection(Address(host, 9092), resolve=no_lookup, client_id="test", timeout=5)
    assert str(error.value).isprintable()


async def no_lookup(address: Address) -> list[SocketAddress]:
    """Fails the test."""
    raise AssertionError(f"{address} was looked up")


@contextlib.contextmanager
def full_backlog() -> Iterator[SocketAddress]:
    """An address whose queue of new connections is full: the next attempt gets no answer."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield socket.AF_INET, listener.getsockname()


async def test_no_answer_to_the_attempt_to_connect() -> None:
    """Packets that vanish are waited for no longer than the connect timeout."""
    with full_backlog() as candidate:

        async def resolve_to_it(_address: Address) -> list[SocketAddress]:
            return [candidate]

        with pytest.raises(BrokerUnreachable, match="no answer within 30 ms"):
            await open_connection(
                Address("black-hole", 9092), resolve=resolve_to_it, client_id="test", timeout=0.03
            )


async def test_a_port_that_accepts_and_never_answers() -> None:
    """The handshake has the connect timeout too, and leaves no connection behind."""
    async with FakeBroker() as broker:
        broker.stall("ApiVersions")
        dialling = asyncio.ensure_future(dial(broker, timeout=10.0))
        await broker.received("ApiVersions")
        let_time_pass(10.0)
        with pytest.raises(RequestTimedOut, match="did not answer API_VERSIONS within 10000 ms"):
            await dialling
        broker.resume()
        await broker.until(lambda: broker.open_connections == 0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "that is HTTP, not Kafka"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "is this really a Kafka broker's port"),
        (b"220 mail ESMTP\r\n", "is this really a Kafka broker's port"),
        (b"\x00\x00\x00\x0a\x00\x00\x00\x00" + b"\xff" * 6, "is this really a Kafka broker's port"),
        (b"\x00\x00\x00\x00", "no correlation id"),
        (b"\x00\x00\x00\x04\x00\x00\x00\x09", "that was not made"),
        (struct.pack(">iihi", 10, 0, 0, 0), "no versions|can't be decoded"),
        (struct.pack(">iihi", 10, 0, 0, 2**31 - 1), "can't be decoded"),
    ],
    ids=[
        "HTTP",
        "SSH",
        "SMTP",
        "garbage in a frame",
        "empty frame",
        "other correlation id",
        "no versions",
        "array of 2 billion",
    ],
)
async def test_a_port_of_another_service(answer: bytes, message: str) -> None:
    """It is refused with a hint at what it may be."""
    async with FakeBroker() as broker:
        broker.send_garbage(answer, "ApiVersions")
        with pytest.raises(ProtocolError, match=message):
            await dial(broker)
        await broker.until(lambda: broker.open_connections == 0)


async def test_a_port_that_speaks_tls() -> None:
    """Its alert differs from other garbage: the port is right, the protocol is not."""
    async with FakeBroker() as broker:
        broker.send_garbage(b"\x15\x03\x03\x00\x02\x02\x46", "ApiVersions")
        with pytest.raises(ListenerMismatch, match="speaks TLS, and this connection is plaintext"):
            await dial(broker)


@pytest.mark.parametrize("highest", [0, 1, 2, 3, 4])
async def test_api_versions_falls_back_to_version_0(highest: int) -> None:
    """A broker that does not know our ApiVersions is asked again in version 0 (KIP-511)."""
    async with FakeBroker() as broker:
        broker.set_versions("ApiVersions", 0, highest)
        connection = await dial(broker)
        asked = [request.version for request in broker.requests]
        assert asked == ([3] if highest >= 3 else [3, 0])
        assert connection.version(Api.PRODUCE) == 13
        connection.close()


@pytest.mark.parametrize(
    ("api", "versions", "message"),
    [
        ("Produce", (0, 6), "PRODUCE v0 to v6.*older than Kafka 2.1, upgrade it"),
        ("Metadata", (14, 20), "METADATA v14 to v20.*newer than this client"),
    ],
)
async def test_no_version_in_common(api: str, versions: tuple[int, int], message: str) -> None:
    """Too old and too new brokers are refused, and it is said which side to upgrade."""
    async with FakeBroker() as broker:
        broker.set_versions(api, *versions)
        with pytest.raises(UnsupportedBroker, match=message):
            await dial(broker)
        await broker.until(lambda: broker.open_connections == 0)
