"""Brokers that can't be reached, each in its own way, on loopback."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import Final


@contextmanager
def closed_port() -> Iterator[str]:
    """No process listens: connections are refused."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield _address(bound)


@contextmanager
def silent_port() -> Iterator[str]:
    """Connections are taken, and nothing is ever answered."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=128)) as listening:
        yield _address(listening)


@contextmanager
def unknown_name() -> Iterator[str]:
    """The name does not resolve (RFC 6761)."""
    yield "no-such-broker.invalid:9092"


@contextmanager
def firewall() -> Iterator[str]:
    """Packets are dropped: the queue of a listener that accepts no connection is full."""
    with ExitStack() as sockets:
        listening = sockets.enter_context(
            closing(socket.create_server(("127.0.0.1", 0), backlog=0))
        )
        for _ in range(4):
            waiting = sockets.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield _address(listening)


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()
    return f"{host}:{port}"


WAYS: Final[Mapping[str, Callable[[], AbstractContextManager[str]]]] = {
    "closed port": closed_port,
    "silent port": silent_port,
    "unknown name": unknown_name,
    "firewall": firewall,
}
