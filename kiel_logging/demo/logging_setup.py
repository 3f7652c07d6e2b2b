"""How the shop's logging is configured, and where its records must therefore end up.

:func:`logging_config` is what a program would write; :func:`topics_of` says the same a second
time, independently of ``logging`` and of the handlers, because it is what the result is held
against.
"""

import logging
from typing import Any, Final

APP: Final = "shop.app"
ERRORS: Final = "shop.errors"
AUDIT: Final = "shop.audit"
ACCESS: Final = "shop.access"

_ACCESS_LEVELS: Final = ("INFO", "WARNING", "ERROR")

TOPICS: Final = (APP, ERRORS, AUDIT, *(f"{ACCESS}.{level}" for level in _ACCESS_LEVELS))
"""Every topic of the demo, without the prefix of the run."""


def logging_config(brokers: str, compression: str | None, prefix: str = "") -> dict[str, Any]:
    """Return the dictionary for ``logging.config.dictConfig``.

    ``brokers`` is a comma-separated list of host:port, ``prefix`` is put before every topic.
    """
    kafka = {
        "class": "kiel_logging.KafkaHandler",
        "brokers": brokers.split(","),
        "compression": compression,
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            # What the application says.
            "app": {**kafka, "topic": f"{prefix}{APP}"},
            # Its errors a second time, in a topic that somebody is woken by.
            "errors": {**kafka, "topic": f"{prefix}{ERRORS}", "level": "ERROR"},
            # Who did what. With the user as the key, a user's actions stay in order.
            "audit": {**kafka, "topic": f"{prefix}{AUDIT}", "key_field": "user_id"},
            # One topic per level, from a template; spread evenly.
            "access": {
                **kafka,
                "topic": f"{prefix}{ACCESS}.{{levelname}}",
                "partitioner": "round_robin",
            },
        },
        "loggers": {
            "shop": {"level": "INFO", "handlers": ["app", "errors"], "propagate": False},
            "shop.audit": {"level": "INFO", "handlers": ["audit"], "propagate": False},
            "shop.access": {"level": "INFO", "handlers": ["access"], "propagate": False},
        },
    }


def topics_of(logger: str, level: int) -> tuple[str, ...]:
    """Return the topics (without the prefix) that a record of this logger and level belongs in."""
    if logger == "shop.audit":
        return (AUDIT,)
    if logger == "shop.access":
        return (f"{ACCESS}.{logging.getLevelName(level)}",)
    return (APP, ERRORS) if level >= logging.ERROR else (APP,)
