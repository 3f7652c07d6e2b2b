"""A framework's own server, as its page says to start it, with the example that the page shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kiel_logging.testing import FakeKafka
from tests.support.waiting import PATIENCE, complaints, until

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "frameworks"
EXAMPLES = ROOT / "examples"
_ASSIGNMENT = re.compile(r"[A-Z_]+=")
_NOTICED = r"restarting server|etected change|changed, reloading"
_URL = r"(?:http://|TCP address )(127\.0\.0\.1:[1-9]\d*)"


def command(page: str, pattern: str) -> list[str]:
    """Return the command of a page whose start matches, on a port that the system chooses.

    The variables in front of it are left out; ``serving()`` sets them.
    """
    lines = (PAGES / f"{page}.rst").read_text(encoding="utf-8").splitlines()
    parts = (shlex.split(line, comments=True) for line in lines if line.startswith("    "))
    plain = ([one for one in found if not _ASSIGNMENT.match(one)] for found in parts)
    [found] = (one for one in plain if re.match(pattern, " ".join(one)))
    return [part.replace("8000", "0") for part in found]


class Server:
    """A process that serves, and what it and its children have written."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def says(self, pattern: str, times: int = 1) -> str:
        """Wait until it has written something ``times`` times; return the last."""
        found: list[str] = []

        def is_there() -> bool:
            found[:] = re.findall(pattern, self.log.read_text(errors="replace"))
            return len(found) >= times or self.process.poll() is not None

        until(is_there)
        assert len(found) >= times, self.log.read_text(errors="replace")
        return found[times - 1]

    def reload(self, source: Path) -> None:
        """Change a source file until the server says that it noticed.

        Reloaders compare times of files with those that they saw first, some time after the start.
        """

        def is_noticed() -> bool:
            source.touch()
            return re.search(_NOTICED, self.log.read_text(errors="replace")) is not None

        until(is_noticed)

    def get(self, path: str, request_id: str = "r-17", starts: int = 1) -> str:
        """Return the answer to a request, at the address of its first or a later start."""
        url = f"http://{self.says(_URL, starts)}"
        request = urllib.request.Request(url + path, headers={"X-Request-ID": request_id})
        answers: list[bytes] = []

        def is_answered() -> bool:
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                    answers.append(response.read())
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionRefusedError):
                    raise
            return bool(answers)

        until(is_answered)  # some name their address before they listen
        return answers[0].decode()

    def end(self, number: int) -> int:
        """Send a signal; return the status. The handler has complained of nothing."""
        self.process.send_signal(number)
        status = self.process.wait(60)
        lines = complaints(self.log.read_text(errors="replace"))
        assert [one for one in lines if "kiel_logging:" in one] == []
        return status


@contextmanager
def serving(
    command: list[str], kafka: FakeKafka, log: Path, cwd: Path = EXAMPLES, **variables: str
) -> Iterator[Server]:
    """Run a server until the end of the block."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    known = {"PATH": path, "KIEL_LOGGING_BROKERS": ",".join(kafka.addresses)}
    environment = {**os.environ, **known, "PYTHONUNBUFFERED": "1", **variables}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield Server(process, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def values(kafka: FakeKafka, topic: str) -> list[dict[str, Any]]:
    """Return the values of all records of a topic."""
    return [record.value for record in kafka.arrived(topic)]


def by_request(kafka: FakeKafka, topic: str) -> list[tuple[str, str]]:
    """Return the id of its request and the message of each record that has one, sorted."""
    found = values(kafka, topic)
    return sorted((one["request_id"], one["message"]) for one in found if "request_id" in one)
