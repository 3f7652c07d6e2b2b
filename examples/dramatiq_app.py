"""Actors of dramatiq, whose records go to Kafka with the message's id.

KIEL_LOGGING_BROKERS=localhost:9092 dramatiq --path examples -- dramatiq_app
"""

import logging
import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage

import kiel_logging

log = logging.getLogger("shop")


def of_the_message() -> dict[str, str]:
    """Return what each record that is logged in an actor has, also those of libraries."""
    message = CurrentMessage.get_current_message()
    return {"message_id": message.message_id, "actor": message.actor_name} if message else {}


# Each worker process imports this module.
kiel_logging.setup(topic="shop.actors", key_field="message_id", context=of_the_message)

broker = RedisBroker(url=os.environ.get("REDIS_URL", "redis://localhost"))
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)


@dramatiq.actor
def pay(order: int) -> None:
    """Log as anywhere."""
    log.info("order %d paid", order, extra={"order": order})
