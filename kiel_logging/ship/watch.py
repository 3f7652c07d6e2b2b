"""The daemon's figures: for Prometheus, its health, and a table on a terminal."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.spool.orphans import Backlog
from kiel_logging.printable import printable
from kiel_logging.ship.daemon import Daemon

_LOOPBACK: Final = ("127.0.0.1", "localhost")
_WIDTH: Final = 26


class _Local(ThreadingHTTPServer):
    """Serves on a Unix socket."""

    address_family = socket.AF_UNIX
    daemon_threads = True

    def server_bind(self) -> None:
        """Make the socket's file, in place of one that a dead process left."""
        path = Path(str(self.server_address))
        if path.is_socket():
            path.unlink()
        self.socket.bind(str(path))


def serve(place: str, daemon: Daemon) -> ThreadingHTTPServer:
    """Answer ``/metrics`` and ``/healthz`` at a port of the loopback, or a Unix socket.

    Args:
        place: a port, ``127.0.0.1:port``, or the path of the socket.
        daemon: what it is about.

    Raises:
        ConfigurationError: it can't be had, or would be open to other hosts.
    """

    class Page(BaseHTTPRequestHandler):
        """Answers the two paths."""

        def do_GET(self) -> None:  # the base's name
            status, text = _answer(self.path, daemon)
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def address_string(self) -> str:
            """Return the client's name, of which a Unix socket has none."""
            return "local"

        def log_message(self, *_: Any) -> None:
            """Keep silent: stderr is for troubles."""

    host, _, port = place.rpartition(":")
    try:
        if port.isdecimal() and (host or "127.0.0.1") in _LOOPBACK:
            server: ThreadingHTTPServer = ThreadingHTTPServer(("127.0.0.1", int(port)), Page)
        elif "/" in place and hasattr(socket, "AF_UNIX"):
            server = _Local(place, Page)  # type: ignore[arg-type] # a path
        else:
            raise ConfigurationError(
                f"--http={place!r} must be a port of the loopback, or the path of a Unix socket"
            )
    except (OSError, OverflowError) as error:
        raise ConfigurationError(f"--http={place!r} can't be had: {error}") from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _answer(path: str, daemon: Daemon) -> tuple[int, str]:
    if path == "/metrics":
        return 200, "".join(figures(daemon))
    if path == "/healthz":
        troubles = [str(one.error) for one in daemon.stats().troubles]
        healthy = daemon.is_alive
        document = {"alive": healthy, "troubles": troubles}
        return 200 if healthy else 503, json.dumps(document) + "\n"
    return 404, "/metrics or /healthz\n"


def figures(daemon: Daemon) -> Iterator[str]:
    """Yield the lines for Prometheus; those of streams are added up by topic."""
    stats, backlogs = daemon.stats(), daemon.backlogs()
    yield from _figure("records_delivered_total", "counter", stats.recovered + stats.delivered)
    yield "# TYPE kiel_ship_records_failed_total counter\n"
    for kind, records in sorted(daemon.failures.items()):
        yield f'kiel_ship_records_failed_total{{error="{kind}"}} {records}\n'
    yield from _figure("records_in_flight", "gauge", stats.in_flight)
    yield from _figure("connections", "gauge", daemon.pipeline.connections())
    yield from _figure("writers", "gauge", len({one.instance for one in backlogs}))
    waiting, streams, oldest = Counter[str](), Counter[str](), dict[str, float]()
    for one in backlogs:
        streams[one.topic] += 1
        waiting[one.topic] += one.bytes
        if one.oldest is not None:
            oldest[one.topic] = min(one.oldest, oldest.get(one.topic, one.oldest))
    now = time.time()
    ages = {topic: max(0.0, now - oldest[topic]) if topic in oldest else 0.0 for topic in streams}
    for name, values in (
        ("streams", streams),
        ("backlog_bytes", waiting),
        ("backlog_oldest_seconds", ages),
    ):
        yield f"# TYPE kiel_ship_{name} gauge\n"
        for topic in sorted(streams):
            yield f'kiel_ship_{name}{{topic="{topic}"}} {values[topic]:g}\n'
    yield "# TYPE kiel_ship_troubles gauge\n"
    for kind, number in sorted(Counter(one.kind for one in stats.troubles).items()):
        yield f'kiel_ship_troubles{{kind="{kind}"}} {number}\n'


def _figure(name: str, kind: str, value: int) -> Iterator[str]:
    yield f"# TYPE kiel_ship_{name} {kind}\n"
    yield f"kiel_ship_{name} {value}\n"


def table(daemon: Daemon, rows: int) -> Iterator[str]:
    """Yield the lines of a table of the streams with the most bytes, ``rows`` lines in all."""
    stats, backlogs, now = daemon.stats(), daemon.backlogs(), time.time()
    writers = len({one.instance for one in backlogs})
    yield (
        f"{stats.recovered + stats.delivered:,} records delivered, {daemon.failures.total():,} "
        f"given up, {stats.in_flight:,} in flight, {daemon.pipeline.connections()} connections"
    )
    yield f"{writers:,} writers, {len(backlogs):,} streams"
    for trouble in stats.troubles[:3]:
        yield printable(f"! {trouble.error}")[:120]
    yield f"{'topic':{_WIDTH}}{'written by':>12}{'bytes':>14}{'oldest':>10}"
    largest = sorted(backlogs, key=lambda one: one.bytes, reverse=True)
    for one in largest[: max(0, rows - 6)]:
        yield _row(one, now)


def _row(one: Backlog, now: float) -> str:
    age = "" if one.oldest is None else f"{max(0.0, now - one.oldest):,.0f} s"
    name = printable(one.topic)[:_WIDTH]
    writer = f"pid {one.pid}" if one.living else "gone"
    return f"{name:{_WIDTH}}{writer:>12}{one.bytes:>14,}{age:>10}"
