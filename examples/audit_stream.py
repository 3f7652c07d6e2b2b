"""An app-wide audit stream: who did what, each entry acknowledged by all in-sync replicas.

KAFKA_BROKERS=localhost:9092 python examples/audit_stream.py
"""

import logging
import logging.config
import os
import sys

audit = logging.getLogger("audit")

CONFIG = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "audit": {
            "class": "kiel_logging.KafkaHandler",
            "brokers": os.environ.get("KAFKA_BROKERS", "localhost:9092"),
            "topic": "audit",
            "key_field": "actor",  # one actor's deeds stay in order
            "required_acks": -1,
            "compression": "gzip",
        },
    },
    # The stream is its own: no other logger's level or handlers have a say in it.
    "loggers": {"audit": {"level": "INFO", "handlers": ["audit"], "propagate": False}},
}


def record(actor: str, action: str, subject: str, **details: object) -> None:
    """Put one entry into the stream."""
    audit.info(
        "%s %s %s",
        actor,
        action,
        subject,
        extra={"actor": actor, "action": action, "subject": subject, "details": details},
    )


def main() -> int:
    """Record a few deeds; return 1 unless every one of them was acknowledged."""
    logging.config.dictConfig(CONFIG)
    record("ada", "granted", "role:admin", to="bob")
    record("bob", "deleted", "invoice:17", reason="duplicate")
    record("ada", "revoked", "role:admin", of="bob")
    [handler] = audit.handlers
    handler.flush()
    stats = handler.stats()  # type: ignore[attr-defined] # a KafkaHandler's
    print(stats)
    return 0 if stats.delivered == stats.emitted else 1


if __name__ == "__main__":
    sys.exit(main())
