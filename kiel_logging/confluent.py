"""Helpers for the commands that read with confluent-kafka, an independent client.

Besides the commands themselves, only this module imports it. Clients are configured by the command
line and by a librdkafka or Java configuration; one table says which of our options has which name
at librdkafka.
"""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Assignment

from kiel_logging.config.credentials import Secret
from kiel_logging.config.properties import options_from
from kiel_logging.errors import ConfigurationError
from kiel_logging.records import TopicPartition

READ_ALL: Final = {
    # Partitions are assigned, not shared in a group, and no offset is ever committed.
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # Reports the end of each partition, even of an empty one.
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    "queued.max.messages.kbytes": 16 * 1024,
    # When that much is there, the next records are asked for after so long; by default a second.
    "fetch.queue.backoff.ms": 10,
    "log_level": 0,
}
"""Options to read whole partitions. A ``group.id`` is required too, and used for nothing."""

_NO_OFFSET: Final = -1
_HIGHER_THAN_ANY: Final = 1 << 62


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


def consumer_config(
    config: str | None, brokers: str | None, *, uncommitted: bool = False
) -> dict[str, Any]:
    """Return the configuration of a consumer that reads whole partitions.

    Args:
        config: a file of a librdkafka or Java client that says how to connect.
        brokers: they win over those of the file.
        uncommitted: whether records of open transactions are shown.

    Raises:
        ConfigurationError: the file can't be read or makes no sense, or no brokers are named.
    """
    options = options_from(config) if config else {}
    if brokers:
        options["brokers"] = brokers
    if not options.get("brokers"):
        raise ConfigurationError("no brokers: give --brokers, or bootstrap.servers in --config")
    if "ssl_certfile" in options:
        options.setdefault("ssl_keyfile", options["ssl_certfile"])  # Java's stores hold both
    theirs = {
        name: convert(options[ours]) for ours, (name, convert) in _NAMES.items() if ours in options
    }
    level = "read_uncommitted" if uncommitted else "read_committed"
    return {**READ_ALL, **theirs, "isolation.level": level}


def connection_config(consumer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what any client of the same brokers is configured with."""
    names = {name for name, _ in _NAMES.values()} | {"client.id", "log_level"}
    return {name: value for name, value in consumer.items() if name in names}


def reason(error: Exception) -> str:
    """Return what a confluent-kafka call failed with, in words."""
    cause = error.args[0] if error.args else "no answer in time"
    return cause.str() if isinstance(cause, KafkaError) else str(cause)


def watermarks(consumer: Consumer, partition: TopicPartition, timeout: float) -> tuple[int, int]:
    """Return the oldest offset that is held of a partition, and the next one to be written.

    Raises:
        KafkaException: no broker answers.
    """
    both = consumer.get_watermark_offsets(Assignment(*partition), timeout=timeout)
    if both is None:
        raise KafkaException(f"no broker answered for the offsets of {partition}")
    low, high = both
    return low, high


def partitions_of(
    consumer: Consumer, topics: Sequence[str], timeout: float
) -> Iterator[TopicPartition]:
    """Yield the partitions of ``topics``.

    Raises:
        KafkaException: no broker answers, or one of the topics is not there.
    """
    # All of them: asking for one by its name could create it.
    known = consumer.list_topics(timeout=timeout).topics
    for topic in topics:
        if topic not in known:
            raise KafkaException(f"there is no topic {topic!r}, or this user may not see it")
        if known[topic].error is not None:
            raise KafkaException(f"topic {topic!r}: {known[topic].error.str()}")
        yield from (TopicPartition(topic, number) for number in sorted(known[topic].partitions))


def offsets_at(
    consumer: Consumer, partitions: Sequence[TopicPartition], when: int | None, timeout: float
) -> dict[TopicPartition, int]:
    """Return the first offsets of ``when``, in milliseconds, or later; empty if it is None.

    A partition without such a record has an offset that is higher than any.

    Raises:
        KafkaException: no broker answers.
    """
    if when is None:
        return {}
    asked = [Assignment(*at, when) for at in partitions]
    found = {}
    for one in consumer.offsets_for_times(asked, timeout=timeout):
        if one.error is not None:
            raise KafkaException(one.error)
        at = TopicPartition(one.topic, one.partition)
        found[at] = one.offset if one.offset > _NO_OFFSET else _HIGHER_THAN_ANY
    return found


def is_end(message: Message) -> bool:
    """Return whether this message only marks the end of a partition.

    Raises:
        KafkaException: it is an error.
    """
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    return error is not None


def no_answer(brokers: str, error: Exception) -> str:
    """Return why no broker answers at ``brokers``, a comma-separated list of host:port.

    Host names that don't resolve are named; librdkafka reports them like closed ports.
    """
    unknown = [host for host in map(_host, brokers.split(",")) if not _resolves(host)]
    if not unknown:
        return f"no broker answers at {brokers}: {reason(error)}"
    names = (
        f"host name {unknown[0]} does"
        if len(unknown) == 1
        else f"host names {', '.join(unknown)} do"
    )
    return f"no broker answers at {brokers}: the {names} not resolve; check the spelling, and DNS"


def _host(address: str) -> str:
    host, colon, port = address.strip().rpartition(":")
    return (host if colon and port.isdecimal() else address.strip()).strip("[]")


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):  # UnicodeError: a label is empty, or longer than 63 characters
        return False
