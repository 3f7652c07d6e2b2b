"""The daemon's figures: for Prometheus, its health, and a table on a terminal."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.spool.orphans import Backlog
from kiel_logging.metrics import METRICS, text_lines
from kiel_logging.printable import printable
from kiel_logging.ship.daemon import NAME, Daemon

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
    """Yield the lines for Prometheus: of streams, added up by topic, and those of any handler."""
    stats, backlogs, traffic = daemon.stats(), daemon.backlogs(), daemon.traffic()
    yield from _family("records_delivered_total", "counter", traffic.sent, "topic")
    yield from _family("batches_delivered_total", "counter", traffic.batches, "topic")
    yield from _family("records_failed_total", "counter", traffic.given_up, "topic", "error")
    yield from _family("rejections_total", "counter", traffic.rejections, "topic", "error")
    yield from _family("records_in_flight", "gauge", {(): stats.in_flight})
    yield from _family("connections", "gauge", {(): stats.delivery.connections})
    yield from _family("writers", "gauge", {(): len({one.instance for one in backlogs})})
    for name, by_topic in _sums(backlogs).items():
        yield from _family(name, "gauge", by_topic, "topic")
    yield from _family("troubles", "gauge", Counter(one.kind for one in stats.troubles), "kind")
    health = daemon.pipeline.health()
    for metric in METRICS:
        values = {(NAME, *key): value for key, value in metric.values(stats, health).items()}
        labels = ("handler", *metric.labels)
        yield from text_lines(metric.exposed_name, metric.kind, metric.text, labels, values)


def _family(name: str, kind: str, values: Mapping[Any, float], *labels: str) -> Iterator[str]:
    """Yield the lines of a metric; the keys of ``values`` are one label, or a tuple of them."""
    by_key = {(key,) if isinstance(key, str) else key: values[key] for key in dict(values)}
    return text_lines(f"kiel_ship_{name}", kind, "", labels, by_key)


def _sums(backlogs: Iterable[Backlog]) -> dict[str, dict[str, float]]:
    """Return how much waits, by the name of the figure and by topic."""
    now = time.time()
    names = "streams", "backlog_bytes", "backlog_records", "backlog_oldest_seconds"
    streams, sizes, records, ages = found = [dict[str, float]() for _ in names]
    for one in backlogs:
        for by_topic, number in ((streams, 1), (sizes, one.bytes), (records, one.records)):
            by_topic[one.topic] = by_topic.get(one.topic, 0) + number
        age = 0.0 if one.oldest is None else max(0.0, now - one.oldest)
        ages[one.topic] = max(age, ages.get(one.topic, 0.0))
    return dict(zip(names, found, strict=True))


def table(daemon: Daemon, rows: int) -> Iterator[str]:
    """Yield the lines of a table of the streams with the most bytes, ``rows`` lines in all."""
    stats, backlogs, traffic = daemon.stats(), daemon.backlogs(), daemon.traffic()
    now = time.time()
    writers = len({one.instance for one in backlogs})
    yield (
        f"{traffic.sent.total():,} records delivered in {traffic.batches.total():,} batches, "
        f"{traffic.given_up.total():,} given up, {stats.in_flight:,} in flight, "
        f"{stats.delivery.connections} connections"
    )
    sent = stats.delivery
    yield (
        f"{writers:,} writers, {len(backlogs):,} streams; on average {sent.latency.mean:,.3f} s "
        f"from call to acknowledgement, {sent.batch_records.mean:,.0f} records and "
        f"{sent.batch_bytes.mean:,.0f} bytes a batch; {sent.retries:,} batches sent again"
    )
    notes = [f"! {trouble.error}" for trouble in stats.troubles[:3]]
    for found, what in (
        (traffic.given_up, "records given up"),
        (traffic.rejections, "times rejected for now"),
    ):
        notes += [
            f"! topic {topic!r}: {number:,} {what}: {kind}"
            for (topic, kind), number in found.most_common(3)
        ]
    for note in notes:
        yield printable(note)[:120]
    yield f"{'topic':{_WIDTH}}{'written by':>12}{'records':>12}{'bytes':>14}{'oldest':>10}"
    largest = sorted(backlogs, key=lambda one: one.bytes, reverse=True)
    for one in largest[: max(0, rows - 4 - len(notes))]:
        yield _row(one, now)


def _row(one: Backlog, now: float) -> str:
    age = "" if one.oldest is None else f"{max(0.0, now - one.oldest):,.0f} s"
    name = printable(one.topic)[:_WIDTH]
    writer = f"pid {one.pid}" if one.living else "gone"
    return f"{name:{_WIDTH}}{writer:>12}{one.records:>12,}{one.bytes:>14,}{age:>10}"
