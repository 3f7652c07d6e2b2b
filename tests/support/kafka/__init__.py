"""Apache Kafka itself, run from its Maven artifacts for the tests and for developers."""

from .admin import ClusterError
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
from .security import LISTENERS, MECHANISMS, ClientCertificate, Security, unsecured_token

__all__ = [
    "DEFAULT_VERSION",
    "KAFKA_3",
    "KAFKA_4",
    "LISTENERS",
    "MECHANISMS",
    "VERSIONS",
    "ClientCertificate",
    "ClusterError",
    "Distribution",
    "KafkaCluster",
    "KafkaUnavailableError",
    "Security",
    "kafka_unavailable_reason",
    "unsecured_token",
]
