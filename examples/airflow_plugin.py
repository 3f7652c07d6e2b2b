"""A plugin of Airflow that ships what tasks log, with the names of DAG, task and run.

It belongs in Airflow's plugins folder. A shipper runs on each host that runs tasks:
kiel-logging ship --spool-dir /var/spool/kiel --brokers localhost:9092
"""

import logging
import os
import sys
from typing import Any, ClassVar

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from kiel_logging import SpoolHandler

log = logging.getLogger("shop.airflow")
of_the_task: dict[str, Any] = {}
handler = SpoolHandler(
    os.environ.get("SPOOL_DIR", "/var/spool/kiel"),
    "shop.airflow",
    key_field="run_id",
    context=lambda: of_the_task,
)


@hookimpl
def on_task_instance_running(task_instance: Any) -> None:
    """Hang the handler on the root in the task's process, where Airflow has configured logging."""
    for name in ("dag_id", "task_id", "run_id", "try_number", "map_index"):
        of_the_task[name] = getattr(task_instance, name)
    logging.getLogger().addHandler(handler)


@hookimpl
def on_task_instance_failed(error: str | BaseException | None) -> None:
    """Ship the exception that ends a task: Airflow's own record of it doesn't pass logging."""
    exception = error if isinstance(error, BaseException) else None
    log.error("task failed: %s", error, exc_info=exception)


class ShipTaskLogs(AirflowPlugin):
    """Tells Airflow of the hooks above."""

    name = "ship_task_logs"
    listeners: ClassVar = [sys.modules[__name__]]
