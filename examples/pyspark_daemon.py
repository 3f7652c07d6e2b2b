"""PySpark's daemon with a handler that all Python workers of an executor inherit.

kiel-logging ship --spool-dir /var/spool/kiel --brokers localhost:9092
spark-submit --conf spark.python.daemon.module=pyspark_daemon job.py
"""

import logging
import os

from pyspark import TaskContext, daemon

from kiel_logging import SpoolHandler


def of_the_task() -> dict[str, int]:
    """Return what each record that is logged in a task has, also those of libraries."""
    task = TaskContext.get()
    if task is None:
        return {}
    return {
        "stage": task.stageId(),
        "partition": task.partitionId(),
        "attempt": task.taskAttemptId(),
    }


logging.getLogger().setLevel("INFO")
logging.getLogger().addHandler(
    SpoolHandler(os.environ.get("SPOOL_DIR", "/var/spool/kiel"), "shop.spark", context=of_the_task)
)

if __name__ == "__main__":
    daemon.manager()
