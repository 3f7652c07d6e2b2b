"""How long the brokers keep a topic's records, as far as this user may know."""

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from kiel_logging.verify.client import connection_config
from kiel_logging.verify.window import Retention

_MOST_S: Final = 10.0
_FOR_EVER: Final = -1


def retention(config: Mapping[str, Any], topic: str, timeout: float) -> Retention | None:
    """Return the retention of ``topic``; None if the brokers don't say.

    Args:
        config: the consumer's.
        topic: its name.
        timeout: seconds to wait.
    """
    settings: dict[str, Any] = {**connection_config(config), "error_cb": lambda _: None}
    admin = AdminClient(settings)
    asked = ConfigResource(ResourceType.TOPIC, topic)
    seconds = min(timeout, _MOST_S)
    try:
        answers = admin.describe_configs([asked], request_timeout=seconds)
        found = answers[asked].result(seconds)
        ms, size = (int(found[name].value) for name in ("retention.ms", "retention.bytes"))
        deletes = "delete" in found["cleanup.policy"].value
    except (KafkaException, KeyError, TypeError, ValueError, TimeoutError):
        return None
    if not deletes:
        return Retention(None)
    return Retention(None if ms == _FOR_EVER else ms, by_size=size != _FOR_EVER)
