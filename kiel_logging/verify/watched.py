"""The figures of ``verify --watch`` for Prometheus, over HTTP."""

import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kiel_logging.verify import names
from kiel_logging.verify.errors import CannotVerify
from kiel_logging.verify.verdict import State, TopicVerdict


class Watched:
    """Serves the figures of the last round to anybody who asks.

    Args:
        address: host and port to listen at; None to serve nothing.
    """

    def __init__(self, address: tuple[str, int] | None) -> None:
        self._text = b""
        if address is not None:
            self._serve(address)

    def _serve(self, address: tuple[str, int]) -> None:
        watched = self

        class Page(BaseHTTPRequestHandler):
            """Answers each request with all figures."""

            def do_GET(self) -> None:  # the base's name
                text = watched._text
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Keep silent: stderr is for troubles."""

        try:
            server = ThreadingHTTPServer(address, Page)
        except OSError as error:
            host, port = address
            raise CannotVerify(f"--metrics: {host}:{port} can't be had: {error}") from error
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def note(self, verdicts: Iterable[TopicVerdict], *, strict: bool) -> None:
        """Take the figures of a round."""
        self._text = "".join(_lines(list(verdicts), strict)).encode()


def _lines(verdicts: list[TopicVerdict], strict: bool) -> Iterator[str]:
    yield "# TYPE kiel_verify_complete gauge\n"
    for one in verdicts:
        complete = one.state(strict=strict) is State.COMPLETE
        yield f'kiel_verify_complete{{topic="{one.topic}"}} {int(complete)}\n'
    yield "# TYPE kiel_verify_records gauge\n"
    for one in verdicts:
        yield f'kiel_verify_records{{topic="{one.topic}"}} {one.records}\n'
    yield "# TYPE kiel_verify_findings gauge\n"
    for one in verdicts:
        counts = one.counts()
        for name in names.FINDINGS:
            labels = f'topic="{one.topic}",finding="{name}"'
            yield f"kiel_verify_findings{{{labels}}} {counts[name]}\n"
    yield "# TYPE kiel_verify_last_round_timestamp_seconds gauge\n"
    yield f"kiel_verify_last_round_timestamp_seconds {time.time():.3f}\n"
