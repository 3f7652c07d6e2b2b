"""The page of AWS Lambda: its own runtime client runs the example, and is frozen between calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

import pytest

from kiel_logging.testing import FakeKafka
from tests.docs.pages import ROOT
from tests.support.waiting import PATIENCE, until

LIMIT = 60.0
"""Seconds that an invocation may take."""


class Runtime(ThreadingHTTPServer):
    """The runtime API of Lambda: hands out invocations, and takes the answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Invocations)
        self.events: Queue[tuple[str, dict[str, Any]]] = Queue()
        self.answers: Queue[tuple[str, Any]] = Queue()


class Invocations(BaseHTTPRequestHandler):
    """Source: docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html."""

    server: Runtime

    def do_GET(self) -> None:
        """Answer with the next invocation, when there is one."""
        number, event = self.server.events.get()
        body = json.dumps(event).encode()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", number)
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + LIMIT) * 1000)))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:::function:shop")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Take an answer: .../invocation/NUMBER/response, or .../error."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answers.put((self.path.rsplit("/", 1)[1], json.loads(body)))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


class Function:
    """A function that is frozen but for its invocations."""

    def __init__(self, runtime: Runtime, process: subprocess.Popen[bytes]) -> None:
        self._runtime = runtime
        self._process = process
        self._count = 0

    def invoke(self, event: dict[str, Any]) -> tuple[str, Any]:
        """Return whether it answers with a response or an error, and that."""
        self._count += 1
        self._runtime.events.put((f"r-{self._count}", event))
        self._process.send_signal(signal.SIGCONT)
        answer = self._runtime.answers.get(timeout=PATIENCE)
        self._process.send_signal(signal.SIGSTOP)
        return answer


@contextmanager
def function(kafka: FakeKafka, **variables: str) -> Iterator[Function]:
    """Run the example as Lambda runs it."""
    with Runtime() as runtime:
        threading.Thread(target=runtime.serve_forever, daemon=True).start()
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "examples"),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}",
            "KIEL_LOGGING_BROKERS": ",".join(kafka.addresses),
            "KIEL_LOGGING_LINGER_MS": "600000",
            **variables,
        }
        command = [sys.executable, "-m", "awslambdaric", "lambda_app.handler"]
        process = subprocess.Popen(command, env=environment)
        try:
            yield Function(runtime, process)
        finally:
            process.kill()
            process.wait()
            runtime.shutdown()


def arrived(kafka: FakeKafka) -> list[tuple[str, str]]:
    """Return the request and the message of each record."""
    values = [one.value for one in kafka.arrived("shop.functions")]
    return [(one["request_id"], one["message"]) for one in values]


def test_records_arrive_before_the_answer(fake_kafka: FakeKafka) -> None:
    """All that an invocation logged, also one that fails, is in Kafka while it is frozen."""
    with function(fake_kafka, LOG_SECONDS=f"{LIMIT}") as run:
        assert run.invoke({"order": 17}) == ("response", "paid")
        assert arrived(fake_kafka) == [("r-1", "order 17 paid")]
        kind, error = run.invoke({})
        assert (kind, error["errorType"]) == ("error", "KeyError")
        assert arrived(fake_kafka)[1:] == [("r-2", "failed")]
        fake_kafka.hang_up()  # as a broker does to a client that says nothing for long
        assert run.invoke({"order": 18}) == ("response", "paid")
        assert arrived(fake_kafka)[2:] == [("r-3", "order 18 paid")]


@pytest.mark.slow
def test_kafka_is_away(fake_kafka: FakeKafka) -> None:
    """An invocation answers in its time, and its records go with the next one."""
    fake_kafka.stall()
    with function(fake_kafka, LOG_SECONDS="0.5") as run:
        assert run.invoke({"order": 17}) == ("response", "paid")
        assert arrived(fake_kafka) == []
        fake_kafka.recover()
        until(lambda: run.invoke({"order": 18})[0] == "response" and arrived(fake_kafka) != [])
        assert arrived(fake_kafka)[0] == ("r-1", "order 17 paid")
