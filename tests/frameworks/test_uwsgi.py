"""uWSGI's page."""

from __future__ import annotations

import os
import signal
import sysconfig
import urllib.error
from pathlib import Path

import pytest

from kiel_logging.testing import FakeKafka
from tests.frameworks.server import ROOT, by_request, command, serving

pytest.importorskip("pyuwsgi", reason="installed on Linux alone")

pytestmark = pytest.mark.slow
RUN = ["1" if part == "2" else part for part in command("uwsgi", "uwsgi .* --processes 2 .*")]
"""With one worker: once it has answered, it is ready for signals."""
READY = 'running "unix_signal:15'


@pytest.mark.parametrize(
    "more",
    [
        pytest.param([], id="forks with Python's hooks"),
        pytest.param(["--lazy-apps"], id="applications in the workers"),
        pytest.param(["--max-requests", "3"], id="workers replaced"),
    ],
)
def test_requests_a_reload_and_the_end(
    fake_kafka: FakeKafka, tmp_path: Path, more: list[str]
) -> None:
    """Records of a request have its id; workers that are replaced, reloaded or ended lose none."""
    # A reload executes it again; pyuwsgi takes the interpreter that made the environment.
    path = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
    with serving([*RUN, *more], fake_kafka, tmp_path / "log", PYTHONPATH=path) as server:
        server.says(READY)
        for number in range(10):
            assert server.get(f"/{number}", f"r-{number}") == "Hello\n"
        server.process.send_signal(signal.SIGHUP)
        server.says(READY, 2)
        for number in range(10, 20):
            server.get(f"/{number}", f"r-{number}", starts=2)
        assert server.end(signal.SIGTERM) == 0
    sent = sorted((f"r-{number}", f"request /{number}") for number in range(20))
    assert by_request(fake_kafka, "shop.uwsgi") == sent


def test_a_worker_that_is_killed(fake_kafka: FakeKafka, tmp_path: Path) -> None:
    """With ``spool="always"`` its successor sends what it logged before harakiri."""
    variables = {
        "KIEL_LOGGING_LINGER_MS": "60000",  # nothing is sent before a worker ends
        "KIEL_LOGGING_SPOOL": "always",
        "KIEL_LOGGING_SPOOL_DIR": str(tmp_path / "spool"),
    }
    run = [*RUN, "--harakiri", "1"]
    with serving(run, fake_kafka, tmp_path / "log", **variables) as server:
        server.says(READY)
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            server.get("/slow", "r-1")
        server.get("/next", "r-2")
        assert server.end(signal.SIGTERM) == 0
    assert by_request(fake_kafka, "shop.uwsgi") == [
        ("r-1", "request /slow"),
        ("r-2", "request /next"),
    ]


def test_a_fork_that_may_hang_workers_is_reported(fake_kafka: FakeKafka, tmp_path: Path) -> None:
    """With neither of the page's two options, and with the one that does not help."""
    run = [*RUN[:-1], "--wsgi-file", "uwsgi_app.py", "--master", "--enable-threads"]
    with serving([*run, "--py-call-osafterfork"], fake_kafka, tmp_path / "log") as server:
        server.says("kiel_logging: uWSGI is about to fork")
        os.killpg(server.process.pid, signal.SIGKILL)  # a worker may hang, as reported
