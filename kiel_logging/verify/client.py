"""Clients of Kafka, from the command line and a librdkafka or Java configuration.

One table says which of our options has which name at librdkafka.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from kiel_logging.config.credentials import Secret
from kiel_logging.config.properties import options_from
from kiel_logging.confluent import READ_ALL
from kiel_logging.errors import ConfigurationError
from kiel_logging.verify.options import CannotVerify
from kiel_logging.verify.window import Retention

_CONSUMER: Final = {
    **READ_ALL,
    "group.id": "kiel-verify",
    "client.id": "kiel-verify",
    "allow.auto.create.topics": False,
    # Records that are deleted while they are read must not be skipped in silence.
    "auto.offset.reset": "error",
    "check.crcs": True,
    # Ahead of the checker, for each partition; by default it would be 100,000 records of each.
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 16 * 1024,
    # When that much is there, the next records are asked for after so long; by default a second.
    "fetch.queue.backoff.ms": 10,
    # Other partitions are asked for when this answer is there; by default that may take 500.
    "fetch.wait.max.ms": 50,
}


def _same(value: Any) -> Any:
    return value.read() if isinstance(value, Secret) else value


def _endpoint_algorithm(checked: bool) -> str:
    return "https" if checked else "none"


_NAMES: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "brokers": ("bootstrap.servers", _same),
    "security_protocol": ("security.protocol", _same),
    "ssl_cafile": ("ssl.ca.location", _same),
    "ssl_certfile": ("ssl.certificate.location", _same),
    "ssl_keyfile": ("ssl.key.location", _same),
    "ssl_password": ("ssl.key.password", _same),
    "ssl_check_hostname": ("ssl.endpoint.identification.algorithm", _endpoint_algorithm),
    "ssl_verify_certificate": ("enable.ssl.certificate.verification", _same),
    "sasl_mechanism": ("sasl.mechanism", _same),
    "sasl_username": ("sasl.username", _same),
    "sasl_password": ("sasl.password", _same),
}


def connection_config(consumer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what any client of the same brokers is configured with."""
    names = {name for name, _ in _NAMES.values()} | {"client.id", "log_level"}
    return {name: value for name, value in consumer.items() if name in names}


def consumer_config(
    config: str | None, brokers: str | None, *, uncommitted: bool = False
) -> dict[str, Any]:
    """Return the configuration of a consumer; ``brokers`` win over those of the file ``config``.

    Raises:
        CannotVerify: the file can't be read or makes no sense, or no brokers are named.
    """
    try:
        options = options_from(config) if config else {}
    except ConfigurationError as error:
        raise CannotVerify(str(error)) from error
    if brokers:
        options["brokers"] = brokers
    if not options.get("brokers"):
        raise CannotVerify("no brokers: give --brokers, or bootstrap.servers in --config")
    if "ssl_certfile" in options:
        options.setdefault("ssl_keyfile", options["ssl_certfile"])  # Java's stores hold both
    theirs = {
        name: convert(options[ours]) for ours, (name, convert) in _NAMES.items() if ours in options
    }
    isolation = "read_uncommitted" if uncommitted else "read_committed"
    return {**_CONSUMER, **theirs, "isolation.level": isolation}


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
