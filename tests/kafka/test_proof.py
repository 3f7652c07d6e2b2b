"""`kiel-logging verify` of the records that a handler shipped to Apache Kafka."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.cli import main
from tests.handler.process.child import run_by_hand
from tests.handler.shipped import logger_to
from tests.support.kafka import KafkaCluster
from tests.support.waiting import in_threads

_PATIENCE_S = 60.0
_SECRET = "s3cret-of-the-chain"
_THREADS, _EACH = 4, 2_500


def verify(
    cluster: KafkaCluster, topic: str, secret: str | None = None, *words: str
) -> tuple[int, dict[str, Any]]:
    """Run `kiel-logging verify`; return its exit status and its report of the topic."""
    command = [sys.executable, "-m", "kiel_logging", "verify", "--json", "--topic", topic]
    command += ["--brokers", ",".join(cluster.bootstrap), *words]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    if secret is not None:
        command += ["--key-env", "AUDIT_KEY"]
        environment["AUDIT_KEY"] = secret
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_PATIENCE_S, env=environment
    )
    assert done.stderr == ""
    (report,) = json.loads(done.stdout)["topics"]
    return done.returncode, report


def harm(report: dict[str, Any]) -> dict[str, int]:
    """The findings and their counts, but for the absence of a key."""
    return {name: count for name, count in report["counts"].items() if name != "unsigned"}


def log_from_threads(logger: logging.Logger) -> None:
    """Ten thousand records with a hundred keys."""

    def log(thread: int) -> None:
        for number in range(_EACH):
            logger.info("%d", number, extra={"user": f"{thread}-{number % 25}"})

    in_threads(log, range(_THREADS))


@pytest.mark.parametrize(
    ("options", "secret", "events"),
    [
        ({}, None, 0),
        ({"chain": True}, None, 2),
        ({"chain": True, "chain_key": {"env": "CHAIN_KEY"}}, _SECRET, 2),
    ],
    ids=["numbers", "chain", "key"],
)
def test_what_is_shipped_is_complete(
    kafka_4: KafkaCluster,
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    secret: str | None,
    events: int,
) -> None:
    """Ten thousand records of four threads, over six partitions."""
    monkeypatch.setenv("CHAIN_KEY", _SECRET)
    kafka_4.create_topic(topic, partitions=6)
    handler = KafkaHandler(kafka_4.bootstrap, topic, key_field="user", **options)
    with closing(handler):
        log_from_threads(logger_to(handler))
    status, report = verify(kafka_4, topic, secret)
    (instance,) = report["instances"]
    count = _THREADS * _EACH + events
    assert (status, report["verdict"], harm(report)) == (0, "complete", {})
    assert (instance["records"], instance["first"], instance["last"]) == (count, 1, count)
    assert instance["chained"] == bool(options)


def test_a_stream_whose_key_changes(
    kafka_4: KafkaCluster, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is complete with both keys, though its program was killed behind the change; a record of
    each key has a proof, which needs no Kafka and no key."""
    kafka_4.create_topic(topic)
    kafka_4.create_topic(f"{topic}-cp")
    openssl = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", "host.pem"]
    subprocess.run(openssl, cwd=tmp_path, check=True)
    openssl = ["openssl", "pkey", "-in", "host.pem", "-pubout", "-out", "host.pub"]
    subprocess.run(openssl, cwd=tmp_path, check=True)
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text(_SECRET)
    new.write_text(f"another-{_SECRET}")
    options: dict[str, Any] = {
        "chain": True,
        "sign": True,
        "checkpoint_topic": f"{topic}-cp",
        "endorse_key": {"file": str(tmp_path / "host.pem")},
        "spool": "always",
        "spool_dir": str(tmp_path / "spool"),
    }
    code = f"""
handler = make(topic={topic!r}, chain_key={{"file": {str(old)!r}}})
for number in range(100): log.info("%d", number)
handler.flush()
handler.rotate_key({{"file": {str(new)!r}}})
for number in range(100): log.info("%d", number)
handler.flush()
for number in range(100): log.info("%d", number)
os.kill(os.getpid(), 9)
"""
    killed = run_by_hand(code, brokers=kafka_4.bootstrap, **options)
    assert killed.returncode == -9, killed.stderr
    keys = [{"file": str(new)}, {"file": str(old)}]
    successor = KafkaHandler(kafka_4.bootstrap, topic, chain_key=keys, **options)
    with closing(successor), successor.receipts(_PATIENCE_S) as receipts:
        logger_to(successor).info("next")
    words = ["--key-file", str(old), "--key-file", str(new)]
    words += ["--trust", str(tmp_path / "host.pub"), "--checkpoints", f"{topic}-cp"]
    status, report = verify(kafka_4, topic, None, *words)
    assert (status, report["proof"], set(report["counts"]) - {"repeated"}) == (0, "key", set())
    assert verify(kafka_4, topic, None, *words[:2])[0] == 2
    place = ["--brokers", ",".join(kafka_4.bootstrap), "--topic", topic, "--partition", "0"]
    for offset, number in ((0, 1), (receipts[0].offset, 2)):
        assert main(["prove", *place, "--offset", str(offset)]) == 0
        (tmp_path / "proof").write_text(capsys.readouterr().out)
        assert main(["verify", "--proof", str(tmp_path / "proof"), *words[4:6]]) == 0
        assert f"has number {number} of" in capsys.readouterr().out
