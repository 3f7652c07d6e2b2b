"""The records of a topic, as a consumer would read them."""

from __future__ import annotations

import json
import logging
from typing import Any

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka


def stored(cluster: FakeKafka, topic: str = "logs") -> list[dict[str, Any]]:
    """The records of a topic of one partition, in order."""
    return [json.loads(record.value or b"") for record in cluster.records(topic)[0]]


def messages(cluster: FakeKafka, topic: str = "logs") -> list[str]:
    """Their messages."""
    return [fields["message"] for fields in stored(cluster, topic)]


def logger_to(*handlers: logging.Handler) -> logging.Logger:
    """A logger that nothing else knows of."""
    logger = logging.Logger("shop.cart", logging.DEBUG)
    for handler in handlers:
        logger.addHandler(handler)
    return logger


def kafka_handler_of(name: str | None = None) -> KafkaHandler:
    """The one KafkaHandler of a logger, of the root logger by default."""
    [handler] = [h for h in logging.getLogger(name).handlers if isinstance(h, KafkaHandler)]
    return handler
