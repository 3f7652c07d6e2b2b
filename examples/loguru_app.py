"""loguru with a KafkaHandler as its sink: bound values arrive as fields.

KIEL_LOGGING_BROKERS=localhost:9092 python examples/loguru_app.py
"""

import logging
import os
from typing import Any

from loguru import logger

from kiel_logging import KafkaHandler


def lift_bound(record: logging.LogRecord) -> bool:
    """Turn bound values, which loguru keeps in one dict, into fields, as extra= of logging would.

    A name that the LogRecord needs itself gets an underscore.
    """
    attributes = vars(record)
    for name, value in attributes.pop("extra", {}).items():
        attributes[f"{name}_" if name in attributes else name] = value
    return True


def message_only(_record: Any) -> str:
    """Return loguru's format for the message alone: the rest, with the traceback, are fields."""
    return "{message}"


def main() -> None:
    """Log with bound and contextual values, and an exception."""
    kafka = KafkaHandler(
        os.environ.get("KIEL_LOGGING_BROKERS", "localhost:9092"),
        "shop.{levelname}",  # loguru's own levels, such as SUCCESS, among them
        key_field="user",
    )
    kafka.addFilter(lift_bound)
    logger.remove()
    logger.add(kafka, level="INFO", format=message_only)

    log = logger.bind(user="ada")
    log.info("order {} placed", 4711, order={"id": 4711})
    with logger.contextualize(request_id="r-17"):
        log.success("paid", name="card")
        try:
            raise ValueError("card declined")
        except ValueError:
            log.exception("payment failed")


if __name__ == "__main__":
    main()
