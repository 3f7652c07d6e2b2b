"""Sentry's page."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.testing import FakeKafka
from tests.frameworks.server import command, serving, values
from tests.support.waiting import complaints

pytestmark = pytest.mark.slow


class Sentry(ThreadingHTTPServer):
    """Takes envelopes, as Sentry does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Intake)
        self.events: list[dict[str, Any]] = []

    @property
    def dsn(self) -> str:
        """The address for a client."""
        return f"http://key@127.0.0.1:{self.server_port}/1"


class _Intake(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Keep the events of an envelope, which is lines of JSON."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        items = [json.loads(line) for line in body.splitlines() if line]
        assert isinstance(self.server, Sentry)
        self.server.events += [one for one in items if one.get("level") in ("error", "fatal")]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Be silent."""


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    """A Sentry of the test's own."""
    with Sentry() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(command: list[str], kafka: FakeKafka, sentry: Sentry, log: Path) -> int:
    """Run a program to its end; the handler has complained of nothing."""
    variables = {"SENTRY_DSN": sentry.dsn, "KIEL_LOGGING_LEVEL": "DEBUG"}
    with serving(command, kafka, log, **variables) as program:
        status = program.process.wait(60)
    assert [one for one in complaints(log.read_text()) if "kiel_logging:" in one] == []
    return status


def test_the_error_and_what_led_to_it(
    fake_kafka: FakeKafka, sentry: Sentry, tmp_path: Path
) -> None:
    """Both have the error with one trace id, Sentry the other record as a breadcrumb; at level
    DEBUG, with records of Sentry's own transport, the program ends as ever."""
    program = command("sentry", "python sentry_app.py")
    assert run(program, fake_kafka, sentry, tmp_path / "log") == 0
    own = [one for one in values(fake_kafka, "shop.app") if one["logger"] == "shop.checkout"]
    assert [one["message"] for one in own] == ["order placed", "payment failed"]
    [event] = sentry.events
    assert event["exception"]["values"][0]["type"] == "ValueError"
    assert {one["trace_id"] for one in own} == {event["contexts"]["trace"]["trace_id"]}
    breadcrumbs = [one["message"] for one in event["breadcrumbs"]["values"]]
    assert breadcrumbs == ["order placed"]


UNCAUGHT = """
import sentry_sdk, kiel_logging
{first}
{second}
raise ValueError("card declined")
"""
INIT, SETUP = "sentry_sdk.init()", "kiel_logging.setup(topic='shop.app', capture_uncaught=True)"


@pytest.mark.parametrize(("first", "second"), [(INIT, SETUP), (SETUP, INIT)])
def test_an_uncaught_exception(
    fake_kafka: FakeKafka, sentry: Sentry, tmp_path: Path, first: str, second: str
) -> None:
    """Both have it, in whichever order they were set up, and stderr shows it once."""
    log = tmp_path / "log"
    code = UNCAUGHT.format(first=first, second=second)
    assert run([sys.executable, "-c", code], fake_kafka, sentry, log) == 1
    assert log.read_text().count("ValueError: card declined") == 1
    found = [one for one in values(fake_kafka, "shop.app") if one["level"] == "CRITICAL"]
    assert [one["exception"]["message"] for one in found] == ["card declined"]
    assert [one["exception"]["values"][0]["value"] for one in sentry.events] == ["card declined"]
