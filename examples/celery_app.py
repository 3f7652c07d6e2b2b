"""A Celery worker whose records, and those of its tasks, go to Kafka with the task's id.

KIEL_LOGGING_BROKERS=localhost:9092 celery --workdir examples -A celery_app worker --loglevel INFO
"""

import logging
import os

from celery import Celery, current_task
from celery.signals import setup_logging
from celery.utils.log import get_task_logger

import kiel_logging

redis = os.environ.get("REDIS_URL", "redis://localhost")
app = Celery("shop", broker=redis, backend=redis)
log = get_task_logger(__name__)


def of_the_task() -> dict[str, str]:
    """Return what each record that is logged in a task has, also those of libraries."""
    task = current_task
    return {"task_id": task.request.id, "task_name": task.name} if task else {}


@setup_logging.connect
def log_to_kafka(loglevel: int, **_signal: object) -> None:
    """Configure logging in place of Celery, before the pool is forked."""
    logging.basicConfig()  # stderr
    kiel_logging.setup(
        topic="shop.celery", level=loglevel, key_field="task_id", context=of_the_task
    )


@app.task
def pay(order: int) -> None:
    """Log as anywhere."""
    log.info("order %d paid", order, extra={"order": order})
