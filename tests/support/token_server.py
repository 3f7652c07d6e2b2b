"""An authorization server on loopback: one token endpoint, which answers as a test wants."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: str


@dataclass
class TokenServer:
    """The requests that came, and the answer to them.

    Attributes:
        url: of its endpoint.
        asked: the requests so far.
        status: of its answers.
        answer: their body; a mapping becomes JSON.
        headers: of its answers.
        write: writes an answer in place of all that.
        ended: set when the server ends, for a ``write`` that hangs.
    """

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    status: int = 200
    answer: Any = field(default_factory=lambda: {"access_token": "t0", "expires_in": 300})
    headers: dict[str, str] = field(default_factory=dict)
    write: Callable[[Any], None] | None = None
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def token_server(context: ssl.SSLContext | None = None) -> Iterator[TokenServer]:
    """Run one, with TLS if there is a ``context``."""
    server_state = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            headers = {name.title(): value for name, value in self.headers.items()}
            server_state.asked.append(Asked(self.path, headers, body))
            if server_state.write is not None:
                server_state.write(self.wfile)
                return
            answer = server_state.answer
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(server_state.status)
            for name, value in {"Content-Length": str(len(data)), **server_state.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST  # noqa: N815 # its name

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_arguments: object) -> None:
            """A client that hung up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if context is None else "https"
    server_state.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/oauth2/token"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server_state
    finally:
        server_state.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
