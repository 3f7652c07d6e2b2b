"""gunicorn's page."""

from __future__ import annotations

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kiel_logging.testing import FakeKafka
from tests.frameworks.server import EXAMPLES, by_request, command, serving, values
from tests.support.waiting import until

SYNC, GTHREAD, GEVENT = (
    command("gunicorn", f"gunicorn --bind 127.0.0.1:8000{rest}")
    for rest in ("$", " --worker-class gthread .*", " --worker-class gevent")
)
READY = """
def post_worker_init(worker):
    worker.log.info("Ready for signals")
"""
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(SYNC, id="sync"),
        pytest.param([*SYNC, "--preload"], id="sync, preloaded"),
        pytest.param(GTHREAD, id="gthread"),
        pytest.param(GEVENT, id="gevent"),
        pytest.param([*GEVENT, "--preload"], id="gevent, preloaded"),
        pytest.param([*GEVENT, "--max-requests", "5"], id="gevent, workers replaced"),
    ],
)
def test_requests_a_reload_and_the_end(
    fake_kafka: FakeKafka, tmp_path: Path, run: list[str]
) -> None:
    """Three records of each request have its id, the access log's too, while others are answered;
    workers that are replaced, reloaded or ended lose none, and so does the master."""
    log, cwd = tmp_path / "log", shutil.copytree(EXAMPLES / "gunicorn_app", tmp_path / "app")
    with (cwd / "gunicorn.conf.py").open("a") as settings:
        settings.write(READY)

    def ready(workers: int) -> None:
        """Wait for workers that have their signal handlers; until then they have the master's."""

        def are_ready() -> bool:
            text = log.read_text()
            return text.count("Ready for signals") == workers + text.count("Autorestarting")

        until(are_ready)

    def ask(number: int) -> None:
        assert server.get(f"/{number}", f"r-{number}") == "Hello\n"

    with (
        serving([*run, "--no-control-socket"], fake_kafka, log, cwd) as server,
        ThreadPoolExecutor(4) as clients,
    ):
        ready(2)
        list(clients.map(ask, range(20)))
        if "--max-requests" not in run:  # which a reload interrupts
            server.process.send_signal(signal.SIGHUP)
            ready(4)
        list(clients.map(ask, range(20, 40)))
        ready(4 if "--max-requests" not in run else 2)
        assert server.end(signal.SIGTERM) == 0
    assert "Traceback" not in log.read_text()
    found = by_request(fake_kafka, "shop.gunicorn")
    for number in range(40):
        messages = [text for id_, text in found if id_ == f"r-{number}" and "Worker" not in text]
        access, begin, end = sorted(messages)
        assert f'"GET /{number} HTTP/1.1" 200' in access
        assert (begin, end) == (f"begin /{number}", f"end /{number}")
    own = [one["message"] for one in values(fake_kafka, "shop.gunicorn")]
    assert own.count("Shutting down: Master") == 1
    booted = [text for text in own if text.startswith("Booting worker")]
    ended = [text for text in own if text.startswith("Worker exiting")]
    assert len(booted) == len(ended) >= 3
