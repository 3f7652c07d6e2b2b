"""The pages of Airflow and PySpark, which are too large to install for tests.

Each example runs below a stand-in for its framework, which forks and calls it as the framework
does. Children end by os._exit(), and their parent is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kiel_logging.testing import FakeKafka, SentRecord
from tests.frameworks.server import EXAMPLES

LISTENERS = "def hookimpl(function): return function\n"
PLUGINS = "class AirflowPlugin: pass\n"
TASKS = '''
"""As Airflow 3's supervisor: a child for each task, which configures logging, calls the listeners
and the task, and ends by os._exit()."""
import logging.config, os, types
import airflow_plugin

(listener,) = airflow_plugin.ShipTaskLogs.listeners
for number in range(2):
    if os.fork() == 0:
        console = {"class": "logging.StreamHandler"}
        root = {"level": "INFO", "handlers": ["console"]}
        logging.config.dictConfig({
            "version": 1, "disable_existing_loggers": False,
            "handlers": {"console": console}, "root": root,
        })
        listener.on_task_instance_running(types.SimpleNamespace(
            dag_id="shop", task_id="pay", run_id=f"r-{number}", try_number=1, map_index=-1
        ))
        logging.getLogger("shop").info("order %d", number)
        try:
            raise ValueError("card declined")
        except ValueError as error:
            listener.on_task_instance_failed(error)
        os._exit(1)
for number in range(2): os.wait()
os.kill(os.getpid(), 9)
'''

PYSPARK = '''
"""As pyspark.daemon: a child for each worker, which runs tasks one after another."""
import logging, os, types

class TaskContext:
    current = None

    @classmethod
    def get(cls):
        return cls.current

    def __init__(self, number): self.number = number
    def stageId(self): return 0
    def partitionId(self): return self.number
    def taskAttemptId(self): return self.number

def manager():
    for worker in range(2):
        if os.fork() == 0:
            for number in range(2):
                TaskContext.current = TaskContext(2 * worker + number)
                logging.getLogger("shop").info("order %d paid", 2 * worker + number)
            os._exit(0)
    for worker in range(2): os.wait()
    os.kill(os.getpid(), 9)

daemon = types.SimpleNamespace(manager=manager)
'''


def shipped(kafka: FakeKafka, place: Path, topic: str, *program: str) -> list[SentRecord]:
    """Run a program, beside modules in ``place``, to its violent end; ship what it left."""
    spool = str(place / "kiel")
    more = {"PYTHONPATH": f"{place}:{EXAMPLES}", "SPOOL_DIR": spool}
    done = subprocess.run(
        [sys.executable, *program], env={**os.environ, **more}, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    ship = ["ship", "--once", "--spool-dir", spool, "--brokers", kafka.addresses[0]]
    subprocess.run([sys.executable, "-m", "kiel_logging", *ship], check=True, timeout=60)
    return kafka.arrived(topic)


@pytest.mark.slow
def test_airflow(fake_kafka: FakeKafka, tmp_path: Path) -> None:
    """Records of tasks, and of the exceptions that end them, have the tasks' names."""
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "listeners.py").write_text(LISTENERS)
    (tmp_path / "airflow" / "plugins_manager.py").write_text(PLUGINS)
    found = shipped(fake_kafka, tmp_path, "shop.airflow", "-c", TASKS)
    assert sorted((one.value["run_id"], one.value["message"]) for one in found) == [
        ("r-0", "order 0"),
        ("r-0", "task failed: card declined"),
        ("r-1", "order 1"),
        ("r-1", "task failed: card declined"),
    ]
    assert all(one.key == one.value["run_id"].encode() for one in found)
    [error] = {one.value["exception"]["type"] for one in found if "exception" in one.value}
    assert error == "ValueError"


def test_pyspark(fake_kafka: FakeKafka, tmp_path: Path) -> None:
    """Each record of the daemon's workers has its task."""
    (tmp_path / "pyspark.py").write_text(PYSPARK)
    found = shipped(fake_kafka, tmp_path, "shop.spark", "-m", "pyspark_daemon")
    assert sorted((one.value["partition"], one.value["message"]) for one in found) == [
        (number, f"order {number} paid") for number in range(4)
    ]
