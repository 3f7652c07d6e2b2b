"""An agent that drops the OTLP requests it gets over HTTP. Prints its address; ends with stdin."""

import asyncio
import sys

from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler


class _Logs(RequestHandler):
    def post(self) -> None:
        """Accept all: an empty answer says so."""
        self.set_header("Content-Type", "application/x-protobuf")


async def _main() -> None:
    listener, port = bind_unused_port()
    HTTPServer(Application([("/v1/logs", _Logs)])).add_socket(listener)
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())
