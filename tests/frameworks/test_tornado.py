"""Tornado's page."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from kiel_logging.testing import FakeKafka
from tests.frameworks.server import EXAMPLES, by_request, command, serving


def test_requests_a_reload_and_the_end(fake_kafka: FakeKafka, tmp_path: Path) -> None:
    """Records of a request have its id, in the access log's topic as well; a reload, which is an
    execv(), and SIGTERM lose none."""
    app = tmp_path / "tornado_app.py"
    shutil.copy(EXAMPLES / app.name, app)
    run = command("tornado", "python tornado_app.py")
    log = tmp_path / "log"
    with serving(run, fake_kafka, log, tmp_path, PORT="0", DEBUG="1") as server:
        assert server.get("/hello/ada") == "Hello, ada\n"
        server.reload(app)
        server.get("/hello/bob", "r-18", starts=2)
        assert server.end(signal.SIGTERM) == 0
    greeted = [("r-17", "greeting ada"), ("r-18", "greeting bob")]
    assert by_request(fake_kafka, "shop.app") == greeted
    requests = [("r-17", "GET /hello/ada"), ("r-18", "GET /hello/bob")]
    assert by_request(fake_kafka, "shop.access") == requests
    first, second = fake_kafka.arrived("shop.access")
    assert (first.key, first.value["status"]) == (b"127.0.0.1", 200)
    assert second.value["user_agent"].startswith("Python-urllib")
    app_records = [record.value for record in fake_kafka.arrived("shop.app")]
    assert app_records[-1]["message"] == "stopped"
    [reload] = [one for one in app_records if "restarting" in one["message"]]
    assert reload["logger"] == "tornado.general"
