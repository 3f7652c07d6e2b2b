"""The command as a user runs it."""

import os
import re
import subprocess
import sys

import pytest

_PATIENCE_S = 90.0


def _demo(*words):
    return subprocess.run(
        [sys.executable, "-m", "kiel_logging", "demo", *words],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"},
    )


@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_the_demo_against_the_mock_cluster(compression):
    """500 records arrive exactly once, and the output says so without a progress bar."""
    done = _demo("--records", "500", "--threads", "3", "--compression", compression)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = " ".join(done.stdout.split())
    assert re.search(r"exactly once: 500 logged, 5\d\d to be delivered", said)
    assert "0 lost, 0 duplicated, 0 out of order." in said
    assert compression in said
    assert "\r" not in done.stdout
    assert "\x1b" not in done.stdout


def test_brokers_that_do_not_answer(unused_port):
    """A cluster that is not there is one line on stderr and exit status 2."""
    done = _demo("--brokers", f"127.0.0.1:{unused_port}")
    assert done.returncode == 2
    assert f"no broker answers at 127.0.0.1:{unused_port}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
