"""Python log records to Kafka: a logging.Handler and a Tornado/asyncio Producer.

The public names, imported when first used: ``import kiel_logging`` alone costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kiel_logging import constants

if TYPE_CHECKING:
    from kiel_logging.clients import Producer
    from kiel_logging.config.security import ClientCredentials, Token
    from kiel_logging.configuration import setup
    from kiel_logging.delivery_stats import DeliveryStats
    from kiel_logging.errors import KielError
    from kiel_logging.handler.audit_handler import AuditHandler
    from kiel_logging.handler.health import Health
    from kiel_logging.handler.kafka_handler import KafkaHandler
    from kiel_logging.handler.ledger import Stats, Trouble
    from kiel_logging.handler.receipts import Receipts
    from kiel_logging.handler.spool_handler import SpoolHandler
    from kiel_logging.records import Receipt, RecordMetadata, TopicPartition

__version__ = constants.VERSION

__all__ = [
    "AuditHandler",
    "ClientCredentials",
    "DeliveryStats",
    "Health",
    "KafkaHandler",
    "KielError",
    "Producer",
    "Receipt",
    "Receipts",
    "RecordMetadata",
    "SpoolHandler",
    "Stats",
    "Token",
    "TopicPartition",
    "Trouble",
    "__version__",
    "setup",
]

_HOMES = {
    "AuditHandler": "kiel_logging.handler.audit_handler",
    "ClientCredentials": "kiel_logging.config.security",
    "DeliveryStats": "kiel_logging.delivery_stats",
    "Health": "kiel_logging.handler.health",
    "KafkaHandler": "kiel_logging.handler.kafka_handler",
    "KielError": "kiel_logging.errors",
    "Producer": "kiel_logging.clients",
    "Receipt": "kiel_logging.records",
    "Receipts": "kiel_logging.handler.receipts",
    "RecordMetadata": "kiel_logging.records",
    "SpoolHandler": "kiel_logging.handler.spool_handler",
    "Stats": "kiel_logging.handler.ledger",
    "Token": "kiel_logging.config.security",
    "Trouble": "kiel_logging.handler.ledger",
    "TopicPartition": "kiel_logging.records",
    "setup": "kiel_logging.configuration",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
