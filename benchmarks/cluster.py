"""The broker that all cases of a run send to: Apache Kafka, or librdkafka's mock cluster."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

# Their types are not exported where the documentation has them.
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from tests.support.kafka import DEFAULT_VERSION, KafkaCluster, kafka_unavailable_reason

KAFKA: Final = "kafka"
MOCK: Final = "mock"

_PATIENCE: Final = 60.0
_MOCK_PARTITIONS: Final = 4

_NOT_YET: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
"""Errors that are over once all brokers know a topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where the records go.

    Attributes:
        name: what it is, with its version.
        brokers: host:port, comma-separated.
        fixed_partitions: how many any topic has; 0 where it can be chosen.
        stop: takes the brokers away; None where that can't be done.
        start: brings them back.
    """

    name: str
    brokers: str
    fixed_partitions: int = 0
    stop: Callable[[], None] | None = None
    start: Callable[[], None] | None = None
    admin: AdminClient = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "admin", AdminClient(self._settings()))

    def create(self, topics: tuple[str, ...], partitions: int) -> None:
        """Create topics and wait until each partition has a leader."""
        if not self.fixed_partitions:
            new = [NewTopic(name, partitions, 1) for name in topics]
            for created in self.admin.create_topics(new).values():
                created.result(_PATIENCE)
        self._await_leaders(topics, self.fixed_partitions or partitions)

    def delete(self, topics: tuple[str, ...]) -> None:
        """Delete topics, so that the next case finds the broker as this one did."""
        if not self.fixed_partitions:
            for deleted in self.admin.delete_topics(list(topics)).values():
                deleted.result(_PATIENCE)

    def stored(self, topics: tuple[str, ...], partitions: int) -> int:
        """Return how many records the topics hold, by their end offsets."""
        asked = {
            TopicPartition(topic, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
            for topic in topics
            for partition in range(self.fixed_partitions or partitions)
        }
        deadline = time.monotonic() + _PATIENCE
        while True:
            answers = self.admin.list_offsets(asked, request_timeout=_PATIENCE).values()
            try:
                return sum(answer.result(_PATIENCE).offset for answer in answers)
            except KafkaException as error:  # a leader may not know yet that it is one
                if error.args[0].code() not in _NOT_YET or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _settings(self) -> dict[str, str | int | float | bool]:
        return {"bootstrap.servers": self.brokers, "log_level": 0}

    def _await_leaders(self, topics: tuple[str, ...], partitions: int) -> None:
        # A producer, because only a producer's question makes the mock cluster create a topic.
        client = Producer(self._settings())
        deadline = time.monotonic() + _PATIENCE
        for topic in topics:
            while _led(client, topic) != partitions:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{topic} has no leaders after {_PATIENCE:.0f} s")
                time.sleep(0.05)


def _led(client: Producer, topic: str) -> int:
    try:
        found = client.list_topics(topic, timeout=_PATIENCE).topics[topic]
    except KafkaException:
        return 0
    return sum(each.leader >= 0 for each in found.partitions.values())


@contextmanager
def cluster(choice: str | None) -> Iterator[Cluster]:
    """Yield the cluster that is asked for: KAFKA, MOCK, an address, or None for the best there is.

    Raises:
        KafkaUnavailableError: KAFKA can't be had here; says why.
    """
    if choice not in (None, KAFKA, MOCK):
        yield Cluster(name=f"the cluster at {choice}", brokers=choice)
    elif choice == MOCK or (choice is None and _missing() is not None):
        with _mock() as found:
            yield found
    else:
        with _apache_kafka() as found:
            yield found


def _missing() -> str | None:
    reason = kafka_unavailable_reason()
    if reason is not None:
        print(f"No Apache Kafka here, so the mock cluster has to do: {reason}", file=sys.stderr)
    return reason


@contextmanager
def _apache_kafka() -> Iterator[Cluster]:
    # One broker: on a small machine three would compete with what is measured.
    with KafkaCluster(brokers=1) as kafka:
        (broker,) = kafka.broker_ids
        yield Cluster(
            name=f"Apache Kafka {DEFAULT_VERSION}, one broker",
            brokers=",".join(kafka.bootstrap),
            stop=lambda: kafka.kill(broker),
            start=lambda: kafka.start(broker),
        )


@contextmanager
def _mock() -> Iterator[Cluster]:
    command = [sys.executable, "-m", "kiel_logging.demo.cluster"]
    with subprocess.Popen(  # noqa: S603 # the line above
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Cluster(
                name="librdkafka's mock cluster, three brokers",
                brokers=process.stdout.readline().strip(),
                fixed_partitions=_MOCK_PARTITIONS,
                # It can't come back on its ports: frozen, it is away too.
                stop=lambda: process.send_signal(signal.SIGSTOP),
                start=lambda: process.send_signal(signal.SIGCONT),
            )
        finally:
            process.send_signal(signal.SIGCONT)
            process.stdin.close()
