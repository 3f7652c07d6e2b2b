"""The pages of Celery, RQ and dramatiq: real workers, on a Redis in memory.

Nothing is shipped because time passes: ``linger_ms`` is longer than any test, so records arrive
because a process has ended, or not at all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiel_logging.testing import FakeKafka, SentRecord
from tests.docs.pages import blocks
from tests.frameworks.server import EXAMPLES, PAGES, command, serving

TASKS = 7
ENQUEUE = f"""
import os, redis, rq
queue = rq.Queue(connection=redis.Redis.from_url(os.environ["REDIS_URL"]))
for number in range({TASKS}): queue.enqueue("{{}}", number)
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def redis() -> Iterator[str]:
    """Return the URL of a Redis."""
    start = [sys.executable, str(Path(__file__).with_name("redis_server.py"))]
    with subprocess.Popen(start, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"redis://127.0.0.1:{server.stdout.readline().strip()}"
        server.kill()


@pytest.fixture
def variables(redis: str, fake_kafka: FakeKafka, tmp_path: Path) -> dict[str, str]:
    """Return what is in the environment of workers, and of programs that have work for them."""
    return {
        "PYTHONPATH": str(EXAMPLES),
        "KIEL_LOGGING_BROKERS": ",".join(fake_kafka.addresses),
        "KIEL_LOGGING_LINGER_MS": "600000",
        "SPOOL_DIR": str(tmp_path / "kiel"),
        "REDIS_URL": redis,
    }


def run(command: list[str], variables: dict[str, str]) -> None:
    """Run a program to its good end."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **variables}
    subprocess.run(command, env=environment, check=True, timeout=90)


def python(code: str) -> list[str]:
    """Return the command that runs code."""
    return [sys.executable, "-c", code]


def of_tasks(kafka: FakeKafka, topic: str, key: str) -> list[SentRecord]:
    """Return the records that tasks logged: of each order one, with its task's id as the key."""
    found = [one for one in kafka.arrived(topic) if "order" in one.value]
    assert sorted(one.value["message"] for one in found) == [
        f"order {n} paid" for n in range(TASKS)
    ]
    assert len({one.value[key] for one in found}) == TASKS
    assert all(one.key == one.value[key].encode() for one in found)
    return found


def test_celery(fake_kafka: FakeKafka, variables: dict[str, str], tmp_path: Path) -> None:
    """Children of the prefork pool deliver when they are replaced, and at a warm shutdown."""
    start = [*command("celery", "celery"), "--concurrency", "2", "--max-tasks-per-child", "3"]
    with serving(start, fake_kafka, tmp_path / "log", **variables) as worker:
        sent = f"[it.pay.delay(number) for number in range({TASKS})]"
        run(python(f"import celery_app as it\nfor one in {sent}: one.get()"), variables)
        assert worker.end(signal.SIGTERM) == 0
    found = of_tasks(fake_kafka, "shop.celery", "task_id")
    assert len({one.value["process"] for one in found}) >= 3
    assert {one.value["task_name"] for one in found} == {"celery_app.pay"}
    celerys = [one.value for one in fake_kafka.arrived("shop.celery") if "order" not in one.value]
    ended = [one for one in celerys if "succeeded" in one["message"]]
    assert {one["task_id"] for one in ended} == {one.value["task_id"] for one in found}
    assert any(one["message"].endswith(" ready.") for one in celerys)


def test_rq(fake_kafka: FakeKafka, variables: dict[str, str]) -> None:
    """Each job's records are on disk before its work horse ends by os._exit(), and are shipped."""
    run(python(ENQUEUE.format("rq_app.pay")), variables)
    run([*command("rq", "rq worker --config"), "--burst"], variables)
    assert fake_kafka.arrived("shop.jobs") == []
    here = {"/var/spool/kiel": variables["SPOOL_DIR"], "kafka01:9092": fake_kafka.addresses[0]}
    ship = [here.get(one, one) for one in command("rq", "kiel-logging ship")]
    run([*ship, "--once"], variables)
    found = of_tasks(fake_kafka, "shop.jobs", "job_id")
    assert len({one.value["process"] for one in found}) == TASKS
    assert {one.value["job"] for one in found} == {"rq_app.pay"}


def test_rq_with_a_flush(fake_kafka: FakeKafka, variables: dict[str, str], tmp_path: Path) -> None:
    """With the page's worker class, a KafkaHandler delivers at the end of each job."""
    (block,) = blocks(PAGES / "rq.rst")
    job = "def pay(number): logging.info('order %d paid', number, extra={'order': number})"
    (tmp_path / "rq_flush.py").write_text(f"{block.text}\n\nimport logging\n\n{job}\n")
    variables["PYTHONPATH"] = str(tmp_path)
    run(python(ENQUEUE.format("rq_flush.pay")), variables)
    worker = [*command("rq", "rq worker --worker-class"), "--burst"]
    run([*worker, "--url", variables["REDIS_URL"]], variables)
    found = [one.value for one in fake_kafka.arrived("shop.jobs") if "order" in one.value]
    assert sorted(one["order"] for one in found) == list(range(TASKS))


def test_dramatiq(fake_kafka: FakeKafka, variables: dict[str, str], tmp_path: Path) -> None:
    """Each worker process delivers what its actors logged, at SIGTERM."""
    start = [*command("dramatiq", "dramatiq"), "--processes", "2"]
    with serving(start, fake_kafka, tmp_path / "log", **variables) as worker:
        sent = f"[it.pay.send(number) for number in range({TASKS})]"
        run(python(f"import dramatiq_app as it; {sent}; it.broker.join('default')"), variables)
        worker.says("is ready for action", 2)
        assert worker.end(signal.SIGTERM) == 0
    found = of_tasks(fake_kafka, "shop.actors", "message_id")
    assert {one.value["actor"] for one in found} == {"pay"}
    values = [one.value for one in fake_kafka.arrived("shop.actors")]
    ready = {one["process"] for one in values if "is ready" in one["message"]}
    assert len(ready) == 2
