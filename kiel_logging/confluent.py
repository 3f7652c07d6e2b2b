"""Helpers for the commands that read with confluent-kafka, an independent client.

Besides the commands themselves, only this module imports it.
"""

import socket
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Assignment

from kiel_logging.records import TopicPartition

READ_ALL: Final = {
    # Partitions are assigned, not shared in a group, and no offset is ever committed.
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # Reports the end of each partition, even of an empty one.
    "enable.partition.eof": True,
    "log_level": 0,
}
"""Options to read whole partitions. A ``group.id`` is required too, and used for nothing."""


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
