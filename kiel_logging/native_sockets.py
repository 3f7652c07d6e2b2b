"""Selectors and sockets as the interpreter made them; see ``native.py``."""

import os
import socket
import stat
from types import SimpleNamespace
from typing import Any, Final

from kiel_logging.native import is_patched, original

DefaultSelector: Final[Any] = original("selectors", "DefaultSelector")
_socket: Final[Any] = original("socket", "socket")


def _socketpair() -> tuple[socket.socket, socket.socket]:
    """Return what ``socket.socketpair()`` returns; that one makes its sockets of a class that was
    replaced, and one of gevent's makes a hub, which on the loop thread waits for the program's."""
    one, other = original("_socket", "socketpair")()
    return _socket(fileno=one.detach()), _socket(fileno=other.detach())


_originals: Final[Any] = SimpleNamespace(
    socket=_socket,
    socketpair=_socketpair,
    getaddrinfo=original("_socket", "getaddrinfo"),
)


def sockets() -> Any:
    """Return the functions of the module ``socket``: whatever else a program put there, a proxy's
    for one, is meant for every connection."""
    return _originals if is_patched() else socket


def identity(number: int) -> tuple[int, int] | None:
    """Return which file a descriptor stands for; None when it is closed.

    Programs close descriptors that they don't know, as daemons do. The number may then be that of a
    file of the program.
    """
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_socket(number: int) -> bool:
    """Whether a descriptor is a socket's."""
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False
