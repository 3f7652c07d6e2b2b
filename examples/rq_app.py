"""Jobs of RQ, whose records are in a file before RQ's work horse ends by ``os._exit()``.

kiel-logging ship --spool-dir /var/spool/kiel --brokers localhost:9092
rq worker --path examples --config rq_app
"""

import logging
import os

from rq import get_current_job

from kiel_logging import SpoolHandler

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost")  # RQ reads it, as of any config
SPOOL_DIR = os.environ.get("SPOOL_DIR", "/var/spool/kiel")

log = logging.getLogger("shop")


def of_the_job() -> dict[str, str | None]:
    """Return what each record that is logged in a job has, also those of libraries."""
    job = get_current_job()
    return {"job_id": job.id, "job": job.func_name} if job else {}


logging.getLogger().setLevel("INFO")
logging.getLogger().addHandler(
    SpoolHandler(SPOOL_DIR, "shop.jobs", key_field="job_id", context=of_the_job)
)


def pay(order: int) -> None:
    """Log as anywhere."""
    log.info("order %d paid", order, extra={"order": order})
