"""Selectors and sockets as the interpreter made them; see ``native.py``."""

import os
import socket
import stat
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

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


class File(NamedTuple):
    """Which file a descriptor stands for, and of which kind it is."""

    device: int
    inode: int
    mode: int


def identity(number: int) -> File | None:
    """Return which file a descriptor stands for; None when it is closed.

    Programs close descriptors that they don't know, as daemons do. The number may then be that of a
    file of the program.
    """
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return File(status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode))
