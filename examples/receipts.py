"""Receipts: a payment is confirmed only when the brokers have stored its log records.

KAFKA_BROKERS=localhost:9092 python examples/receipts.py
"""

import asyncio
import logging
import os
import sys

from kiel_logging import KafkaHandler
from kiel_logging.errors import NotAcknowledged

audit = logging.getLogger("audit")
handler = KafkaHandler(
    os.environ.get("KAFKA_BROKERS", "localhost:9092"),
    "shop.payments",
    key_field="order",
)


async def charge(order: str) -> None:
    """Log two records. Tasks and threads that start inside the block belong to it."""
    audit.info("charging %s", order, extra={"order": order})
    await asyncio.to_thread(audit.info, "charged %s", order, extra={"order": order})


async def pay(order: str) -> bool:
    """Charge an order; return whether all its log records are stored."""
    try:
        async with handler.receipts(timeout=5.0) as receipts:
            await charge(order)
    except NotAcknowledged as error:
        for missing in error.undelivered:
            print(f"not stored: {missing.message}: {missing.reason}", file=sys.stderr)
        return False
    for receipt in receipts:
        print(f"{receipt.topic}[{receipt.partition}]@{receipt.offset}: {receipt.message}")
    return True


async def main() -> int:
    """Pay two orders at once, each with separate receipts; return 1 unless both are stored."""
    return 0 if all(await asyncio.gather(pay("17"), pay("18"))) else 1


if __name__ == "__main__":
    audit.setLevel(logging.INFO)
    audit.addHandler(handler)
    sys.exit(asyncio.run(main()))
