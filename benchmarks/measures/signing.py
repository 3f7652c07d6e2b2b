"""Records are logged to a sealed stream: ``python -m ... BROKERS TOPIC RECORDS [key] [sign]``.

Prints the CPU time of the process for each, in microseconds, until all is acknowledged.
"""

import logging
import sys
import time
from typing import Any, Final

from kiel_logging import KafkaHandler

KEY: Final = "a key of the benchmark, not secret"
_WARM_UP: Final = 2_000
_PATIENCE_S: Final = 600.0


def log(brokers: str, topic: str, records: int, *words: str) -> float:
    """Log and return the microseconds."""
    options: dict[str, Any] = {"chain_key": KEY} if "key" in words else {}
    handler = KafkaHandler(
        brokers,
        topic,
        key_field="user_id",
        chain=True,
        sign="sign" in words,
        overflow="block",
        block_timeout_ms=_PATIENCE_S * 1000,
        **options,
    )
    logger = logging.Logger("shop.checkout")
    logger.addHandler(handler)

    def some(count: int) -> None:
        for number in range(count):
            fields = {"user_id": f"ada{number % 50}", "total": "9.90", "page": "/cart/checkout"}
            logger.info("order %d placed", number, extra=fields)
        handler.flush(_PATIENCE_S)

    some(_WARM_UP)
    began = time.process_time()
    some(records)
    took = time.process_time() - began
    handler.close()
    assert not handler.stats().undelivered
    return took / records * 1e6


if __name__ == "__main__":
    brokers, topic, records, *words = sys.argv[1:]
    print(log(brokers, topic, int(records), *words))
