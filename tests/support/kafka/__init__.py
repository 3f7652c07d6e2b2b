"""Apache Kafka itself, run from its Maven artifacts for the tests and for developers."""

from .artifacts import (
    DEFAULT_VERSION,
    KAFKA_3,
    KAFKA_4,
    VERSIONS,
    Distribution,
    KafkaUnavailableError,
    kafka_unavailable_reason,
)
from .cluster import KafkaCluster
from .topics import ClusterError

__all__ = [
    "DEFAULT_VERSION",
    "KAFKA_3",
    "KAFKA_4",
    "VERSIONS",
    "ClusterError",
    "Distribution",
    "KafkaCluster",
    "KafkaUnavailableError",
    "kafka_unavailable_reason",
]
