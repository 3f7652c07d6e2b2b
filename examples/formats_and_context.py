"""An asyncio program whose records are ECS documents, each with the request that it belongs to.

KAFKA_BROKERS=localhost:9092 python examples/formats_and_context.py
"""

import asyncio
import logging
import logging.config
import os
from contextvars import ContextVar

# Each task has its own value. The handler reads it on the thread that logs, at that moment.
request_id: ContextVar[str] = ContextVar("request_id")
tenant: ContextVar[str] = ContextVar("tenant", default="none")

log = logging.getLogger("shop.checkout")


def config(brokers: str) -> dict[str, object]:
    """Return a dictConfig. In a text file the ContextVars are written 'ext://module.name'."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "kafka": {
                "class": "kiel_logging.KafkaHandler",
                "brokers": brokers,
                "topic": "shop.ecs",
                "format": "ecs",  # Elasticsearch takes it as it is
                "context": {"http.request.id": request_id, "organization.id": tenant},
                "fields": {"service.name": "shop", "service.environment": "production"},
                "redact": ["password", "card_number"],  # at any depth
                # A consumer can route records by their headers without reading the values.
                "headers": {"level": "levelname", "tenant": "organization.id"},
            },
        },
        "root": {"level": "INFO", "handlers": ["kafka"]},
    }


async def handle(number: int, who: str) -> None:
    """Handle a request. The logging calls don't mention its id; their records have it."""
    request_id.set(f"r-{number}")
    tenant.set(who)
    log.info("paying", extra={"payment": {"card_number": "4111 1111 1111 1111", "total": 9.9}})
    await asyncio.sleep(0)  # the other request continues here
    log.warning("card declined")


async def main() -> None:
    """Handle two requests at once."""
    logging.config.dictConfig(config(os.environ.get("KAFKA_BROKERS", "localhost:9092")))
    await asyncio.gather(handle(1, "acme"), handle(2, "umbrella"))
    log.info("done")


if __name__ == "__main__":
    asyncio.run(main())
