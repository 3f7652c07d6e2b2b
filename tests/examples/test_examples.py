"""The other examples, each run as a separate program, as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.demo.cluster import mock_cluster
from kiel_logging.testing import FakeKafka
from tests.support.stamps import without_stamp
from tests.support.waiting import complaints

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def cluster() -> Iterator[FakeKafka]:
    """Three brokers for a child process to log to."""
    with FakeKafka(brokers=3) as cluster:
        yield cluster


def environment(cluster: FakeKafka, **more: str) -> dict[str, str]:
    """Return the environment in which an example finds the brokers."""
    brokers = ",".join(cluster.addresses)
    known = {"KAFKA_BROKERS": brokers, "KIEL_LOGGING_BROKERS": brokers}
    return {**os.environ, **known, **more}


def run(example: str, cluster: FakeKafka, **more: str) -> subprocess.CompletedProcess[str]:
    """Run an example to its end; it must end well."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / example)],
        env=environment(cluster, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def fields(cluster: FakeKafka, topic: str) -> list[dict[str, Any]]:
    """Return the log records of a topic as dicts, oldest first."""
    stored = [record for records in cluster.records(topic).values() for record in records]
    decoded = [json.loads(record.value or b"") for record in stored]
    return sorted(decoded, key=lambda record: str(record["time"]))


def keys(cluster: FakeKafka, topic: str) -> list[bytes | None]:
    """Return the keys of a topic's records, sorted."""
    stored = [record for records in cluster.records(topic).values() for record in records]
    return sorted((record.key for record in stored), key=str)


def test_dictconfig(cluster: FakeKafka) -> None:
    """One dictConfig entry ships by level, keyed by user, with the exception's parts."""
    done = run("dictconfig.py", cluster)
    assert "delivered=3" in done.stdout
    [order] = fields(cluster, "shop.INFO")
    assert order["order"] == {"id": 17, "total": "9.90"}
    assert keys(cluster, "shop.WARNING") == [b"ada"]
    [failure] = fields(cluster, "shop.ERROR")
    assert failure["exception"]["type"] == "ValueError"
    assert failure["exception"]["message"] == "card declined"


def test_dictconfig_yaml(cluster: FakeKafka) -> None:
    """The same works from a YAML file, with a key from a nested extra."""
    run("dictconfig_yaml.py", cluster)
    assert [record["message"] for record in fields(cluster, "shop.app")] == [
        "cart opened",
        "order placed",
    ]
    assert keys(cluster, "shop.app") == [b"17", b"17"]


def test_audit_stream(cluster: FakeKafka, tmp_path: Path) -> None:
    """The audit stream's entries are acknowledged by the time the program ends."""
    finished = run("audit_stream.py", cluster, SPOOL_DIR=str(tmp_path))
    assert "delivered=4" in finished.stdout  # with the start record
    assert keys(cluster, "shop.audit") == [None, None, b"ada", b"ada", b"bob"]
    assert list(tmp_path.iterdir()) == []


def test_receipts(cluster: FakeKafka) -> None:
    """Each order gets the receipts of its records alone, which are stored where these say."""
    told = run("receipts.py", cluster).stdout.splitlines()
    stored = {
        f"shop.payments[{partition}]@{record.offset}: {json.loads(record.value or b'')['message']}"
        for partition, records in cluster.records("shop.payments").items()
        for record in records
    }
    assert set(told) == stored
    by_order = [[line.partition(": ")[2] for line in told if line.endswith(n)] for n in "78"]
    assert by_order == [[f"charging 1{n}", f"charged 1{n}"] for n in "78"]


@pytest.mark.slow
def test_audit_examples_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Run one after another, and again: verify finds each stream complete, as it has its topic."""
    with mock_cluster() as mock:
        for example in ("receipts.py", "audit_stream.py", "audit_app.py") * 2:
            finished = subprocess.run(
                [sys.executable, str(EXAMPLES / example)],
                env={**os.environ, "KAFKA_BROKERS": mock.brokers},
                cwd=tmp_path,  # where the spools are, by default
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert finished.returncode == 0
            no_key = "kiel_logging: an AuditHandler has no chain_key"
            assert [x for x in complaints(finished.stderr) if not x.startswith(no_key)] == []
    assert "shop.transfers is complete" in finished.stdout


def test_structlog_app(cluster: FakeKafka) -> None:
    """The event dict arrives as fields, and what is bound to the context on every record."""
    run("structlog_app.py", cluster)
    placed, library, failed = fields(cluster, "shop.app")
    assert (placed["message"], placed["user"]) == ("order 4711 placed", "ada")
    assert placed["order"] == {"id": 4711, "total": "9.90"}
    assert (library["logger"], library["message"]) == ("library", "payment took 950 ms")
    assert (failed["attempt"], failed["exception"]["type"]) == (2, "ValueError")
    assert (failed["level"], failed["function"]) == ("ERROR", "main")
    assert [record["request_id"] for record in (placed, library, failed)] == ["r-17"] * 3
    assert keys(cluster, "shop.app") == [b"r-17"] * 3
    assert "extra" not in placed


def test_loguru_app(cluster: FakeKafka) -> None:
    """Bound values arrive as fields; loguru's levels and tracebacks arrive too."""
    run("loguru_app.py", cluster)
    [placed] = fields(cluster, "shop.INFO")
    assert (placed["message"], placed["user"]) == ("order 4711 placed", "ada")
    assert (placed["order"], placed["function"]) == ({"id": 4711}, "main")
    [paid] = fields(cluster, "shop.SUCCESS")
    assert (paid["level"], paid["logger"], paid["request_id"]) == ("SUCCESS", "__main__", "r-17")
    assert paid["name_"] == "card"
    [failed] = fields(cluster, "shop.ERROR")
    assert failed["message"] == "payment failed"
    assert failed["exception"]["message"] == "card declined"
    assert keys(cluster, "shop.ERROR") == [b"ada"]
    assert "extra" not in placed


def test_formats_and_context(cluster: FakeKafka) -> None:
    """Each record is an ECS document that knows its request; no card number is in any."""
    run("formats_and_context.py", cluster)
    stored = [record for part in cluster.records("shop.ecs").values() for record in part]
    documents = [json.loads(record.value or b"") for record in stored]
    by_request = {
        request: sorted(d["message"] for d in documents if d.get("http") == request_of(request))
        for request in ("r-1", "r-2")
    }
    both = ["card declined", "paying"]
    assert by_request == {"r-1": both, "r-2": both}
    assert {d["organization"]["id"] for d in documents} == {"acme", "umbrella", "none"}
    assert all(d["service"] == {"name": "shop", "environment": "production"} for d in documents)
    assert all({"@timestamp", "log.level", "ecs.version"} <= d.keys() for d in documents)
    [payment, _] = [d["payment"] for d in documents if d["message"] == "paying"]
    assert payment == {"card_number": "[redacted]", "total": 9.9}
    headers = {without_stamp(record.headers) for record in stored}
    assert (("level", b"WARNING"), ("tenant", b"acme")) in headers


def request_of(number: str) -> dict[str, Any]:
    """What ECS has of a request with this id."""
    return {"request": {"id": number}}


def test_otel_app(cluster: FakeKafka) -> None:
    """Records have the ids of the span that the SDK exports, and the name of the service."""
    span = json.loads(run("otel_app.py", cluster, OTEL_SERVICE_NAME="shop").stdout)
    started, paid = fields(cluster, "shop.app")
    assert "trace_id" not in started
    ids = [paid["trace_id"], paid["span_id"]]
    assert ids == [span["context"][name].removeprefix("0x") for name in ("trace_id", "span_id")]
    assert {one["service.name"] for one in (started, paid)} == {"shop"}
