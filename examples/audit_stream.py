"""An audit stream for a whole app, each entry acknowledged by all in-sync replicas.

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
        # It attaches itself to the logger "audit", which no level can silence.
        "audit": {
            "class": "kiel_logging.AuditHandler",
            "brokers": os.environ.get("KAFKA_BROKERS", "localhost:9092"),
            "topic": "shop.audit",
            "key_field": "actor",  # the actions of one actor stay in order
            "spool_dir": os.environ.get("SPOOL_DIR", "audit-spool"),
            "compression": "gzip",
        },
    },
    "root": {"level": "ERROR"},
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
    """Record a few actions; return 1 unless all of them were acknowledged."""
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
