"""The command as a user runs it."""

import os
import re
import signal
import subprocess
import sys

import pytest
from confluent_kafka.admin import AdminClient

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
    """500 records arrive exactly once, and the last lines say so."""
    done = _demo("--records", "500", "--threads", "3", "--compression", compression)
    assert (done.returncode, done.stderr) == (0, "")
    shown = " ".join(done.stdout.split())
    assert re.search(r"exactly once: 500 logged, 5\d\d to be delivered", shown)
    assert "0 lost, 0 too many, 0 out of order." in shown
    ratio = re.search(r"a ratio of ([\d.]+)\.", shown)
    assert (float(ratio[1]) > 1) == (compression != "none")


def test_a_terminal_that_knows_only_ascii():
    """The shop's visitors write in every language: their letters are escaped."""
    done = subprocess.run(
        [sys.executable, "-m", "kiel_logging", "demo", "--records", "300"],
        capture_output=True,
        timeout=_PATIENCE_S,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_brokers_alone():
    """``--cluster`` prints the variable by which ``setup()`` finds them, and keeps them."""
    command = [sys.executable, "-m", "kiel_logging", "demo", "--cluster"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            name, _, brokers = running.stdout.readline().strip().partition("=")
            assert name == "export KIEL_LOGGING_BROKERS"
            assert len(AdminClient({"bootstrap.servers": brokers}).list_topics().brokers) == 3
            running.send_signal(signal.SIGINT)
            assert running.wait(_PATIENCE_S) == 130
        finally:
            running.kill()


@pytest.mark.slow
def test_brokers_that_do_not_answer(unused_port):
    """A cluster that is not there is one line on stderr and exit status 2."""
    done = _demo("--brokers", f"127.0.0.1:{unused_port}")
    assert done.returncode == 2
    assert f"no broker answers at 127.0.0.1:{unused_port}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_host_name_that_does_not_resolve():
    """It is called that, by its name."""
    done = _demo("--brokers", "nowhere.invalid:9092")
    assert done.returncode == 2
    assert "the host name nowhere.invalid does not resolve" in done.stderr
    assert len(done.stderr.splitlines()) == 1
