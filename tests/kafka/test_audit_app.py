"""The example of an audit stream, from a request to the topic that was verified."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.kafka import KafkaCluster
from tests.support.waiting import complaints

EXAMPLE = Path(__file__).parents[2] / "examples" / "audit_app.py"


def test_the_audit_app(kafka_4: KafkaCluster, topic: str, tmp_path: Path) -> None:
    """Every transfer is confirmed, and `verify` calls the topic complete."""
    kafka_4.create_topic(topic, partitions=3)
    # On a busy machine the brokers take longer than the example waits for them.
    program = tmp_path / "audit_app.py"
    program.write_text(EXAMPLE.read_text().replace("timeout=2.0", "timeout=30.0"))
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o700)
    finished = subprocess.run(
        [sys.executable, str(program)],
        env={
            **os.environ,
            "KAFKA_BROKERS": ",".join(kafka_4.bootstrap),
            "TOPIC": topic,
            "SPOOL_DIR": str(spool),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert complaints(finished.stderr) == []
    assert finished.returncode == 0
    assert finished.stdout.count(" 201 ") == 3
    assert finished.stdout.count(f"{topic}[") == 6
    assert "complete" in finished.stdout
    assert list(spool.iterdir()) == []
