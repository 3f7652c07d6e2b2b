"""The metrics of many processes: prometheus_client's multiprocess mode."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from kiel_logging.testing.kafka import FakeKafka
from tests.support.waiting import until

PROGRAM: Final = """
import logging, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads
from kiel_logging import KafkaHandler, prometheus
prometheus.write_multiprocess()
prometheus.write_multiprocess()  # a second call changes nothing
handler = KafkaHandler(sys.argv[1:], "logs", linger_ms=60_000)
handler.name = "kafka"
logger = logging.getLogger("shop")
logger.addHandler(handler)

def log(count):
    for _ in range(count): logger.warning("x")
    assert handler.flush() == 0

log(3)
if not (killed := os.fork()):
    log(10)
    sys.stdin.read()  # until it is killed, or the test fails
    os._exit(1)
if not os.fork():
    log(10)
    logging.shutdown()
    os._exit(0)
os.wait()
print(killed, flush=True)
sys.stdin.read()
log(1)
handler.close()
os.wait()
"""


class Scrape(dict[str, dict[tuple[str, ...], float]]):
    """The metrics of all processes: name -> values of labels -> value."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        for family in MultiProcessCollector(CollectorRegistry(), path=str(directory)).collect():
            for sample in family.samples:
                labels = tuple(sample.labels.values())
                self.setdefault(sample.name, {})[labels] = sample.value

    def __call__(self, name: str, *labels: str) -> float:
        """Return the value of a series of the handler."""
        return self.get(f"kiel_logging_{name}", {}).get(("kafka", *labels), 0.0)


def scrape_value(directory: Path, name: str) -> float | None:
    """Return a value; None while prometheus_client makes a file, which it can't read meanwhile."""
    with contextlib.suppress(struct.error):
        return Scrape(directory)(name)
    return None


@pytest.mark.programs
def test_forked_processes_are_added_up(tmp_path: Path) -> None:
    """Counts of living, ended and killed processes are added; gauges are those of the living."""
    with FakeKafka(topics={"logs": 1}) as kafka:
        parent = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *kafka.addresses],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        )
        with parent:
            assert parent.stdout is not None
            killed = int(parent.stdout.readline())
            until(lambda: scrape_value(tmp_path, "records_delivered_total") == 3 + 10 + 10)
            until(lambda: scrape_value(tmp_path, "connections") == 2)
            os.kill(killed, signal.SIGKILL)
            mark_process_dead(killed, str(tmp_path))  # as gunicorn's hook child_exit does
            found = Scrape(tmp_path)
            assert found("records_delivered_total") == 23
            assert found("connections") == 1
            parent.communicate(timeout=60)
        assert parent.returncode == 0
        found = Scrape(tmp_path)
    assert found("records_delivered_total") == found("records_emitted_total") == 24
    assert found("delivery_latency_seconds_count") == 24
    assert found("delivery_latency_seconds_bucket", "+Inf") == 24
    assert found("batch_records_bucket", "3.0") == 2
    assert found("batch_records_bucket", "10.0") == found("batch_records_count") == 4
    assert found("batch_records_sum") == 24
    assert found("connections") == found("records_buffered") == 0
    assert found("records_dropped_total", "INFO", "buffer_full") == 0


@pytest.mark.programs
def test_the_variable_must_be_set() -> None:
    """prometheus_client chooses when it is imported; later it would share nothing."""
    code = """
import os, pytest
from kiel_logging import prometheus
from kiel_logging.errors import ConfigurationError
os.environ["PROMETHEUS_MULTIPROC_DIR"] = "/"
with pytest.raises(ConfigurationError, match="before prometheus_client is imported"):
    prometheus.write_multiprocess()
"""
    environment = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
