"""Log records to Kafka with one dictConfig entry.

KAFKA_BROKERS=localhost:9092 python examples/dictconfig.py
"""

import logging
import logging.config
import os

from kiel_logging import KafkaHandler

CONFIG = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "kafka": {
            "class": "kiel_logging.KafkaHandler",
            "brokers": os.environ.get("KAFKA_BROKERS", "localhost:9092"),
            "topic": "shop.{levelname}",
            "key_field": "user_id",
        },
        "console": {"class": "logging.StreamHandler"},
    },
    "root": {"level": "INFO", "handlers": ["kafka", "console"]},
}


def kafka_handler() -> KafkaHandler:
    """Return the handler that dictConfig made: ``logging.getHandlerByName("kafka")`` in 3.12."""
    [handler] = (one for one in logging.getLogger().handlers if one.name == "kafka")
    assert isinstance(handler, KafkaHandler)
    return handler


def main() -> None:
    """Log a little of everything, and show what became of it; the exit delivers the rest."""
    logging.config.dictConfig(CONFIG)
    logger = logging.getLogger("shop.checkout")
    logger.info("order placed", extra={"user_id": "ada", "order": {"id": 17, "total": "9.90"}})
    logger.warning("stock is low", extra={"user_id": "ada", "article": "teapot"})
    try:
        raise ValueError("card declined")
    except ValueError:
        logger.exception("payment failed", extra={"user_id": "bob"})
    kafka_handler().flush()
    print(kafka_handler().stats())


if __name__ == "__main__":
    main()
