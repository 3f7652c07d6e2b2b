"""Cells of a notebook that logs to Kafka."""

# %% Set up. Run again, it replaces the handler.
import asyncio
import logging

import nest_asyncio

import kiel_logging

kafka = kiel_logging.setup(topic="shop.notebooks", fields={"notebook": "orders"})
log = logging.getLogger("orders")

# %% Log as anywhere.
log.info("read %d orders", 17)

# %% Wait until Kafka has it.
with kafka.receipts() as receipts:
    log.info("checked")
print(f"{receipts[0].topic}[{receipts[0].partition}]@{receipts[0].offset}")


# %% Run coroutines from a cell by asyncio.run().
async def publish(order: int) -> None:
    """Stand for a library that calls asyncio.run() itself."""
    log.info("order %d published", order)


nest_asyncio.apply()
asyncio.run(publish(17))
