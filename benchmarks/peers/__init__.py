"""The ways to log that are compared, by name. Each is imported in the process that measures it."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final

from .peer import Destination, Peer

OURS: Final = "ours"
NULL: Final = "null"
BEST: Final = ("confluent-orjson", "confluent-polling")
"""The hand-tuned one that is to be beaten, in its two forms: each measure quotes the better one."""

PEERS: Final[Mapping[str, str]] = {
    NULL: "null:Null",
    "queue-handler": "queues:Queued",
    "confluent-json": "confluent:confluent_json",
    "confluent-orjson": "confluent:confluent_orjson",
    "confluent-polling": "confluent:confluent_polling",
    "confluent-asyncio": "on_a_loop:confluent_asyncio",
    "confluent-queued": "queued_confluent:QueuedConfluent",
    "kafka-python": "kafka_python:KafkaPython",
    "aiokafka": "on_a_loop:aiokafka",
    "kafka-logging-handler": "kafka_logging_handler:KafkaLoggingHandler",
    "otlp-agent": "otlp:OtlpAgent",
    OURS: "ours:Ours",
}
"""Name -> module and factory."""

GUARANTEES: Final[Mapping[str, str]] = {
    "ours-spool": "ours:WithSpool",
    "ours-chain": "ours:WithChain",
    "ours-receipts": "ours:WithReceipts",
}
"""The same for our handler with what it may guarantee besides, for ``--guarantees``."""

OWN_RECORDS: Final = {"ours-chain": 2}
"""Records of the handler's own, which may be stored besides: of a chain its start and its end."""

SPOOLED: Final[Mapping[str, str]] = {
    "file": "spooled:File",
    "file-fsync": "spooled:SyncedFile",
    "no-spool": "spooled:no_spool",
    "overflow": "spooled:overflow",
    "always": "spooled:always",
    "full": "spooled:full",
}
"""The same for those that ``benchmarks.spooled`` compares."""


def factory(name: str) -> Callable[[Destination], Peer]:
    """Import what makes the peer of that name.

    Raises:
        ImportError: its library is not installed, or does not fit the others.
    """
    module, _, attribute = {**PEERS, **GUARANTEES, **SPOOLED}[name].partition(":")
    made: Callable[[Destination], Peer] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return made
