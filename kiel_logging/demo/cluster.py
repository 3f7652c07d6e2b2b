"""The brokers of a run and its topics: made before the shop opens, gone afterwards."""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Final

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from kiel_logging.confluent import reason, watermarks
from kiel_logging.demo.errors import DemoError
from kiel_logging.demo.logging_setup import TOPICS
from kiel_logging.printable import printable
from kiel_logging.records import TopicPartition

_PATIENCE_S: Final = 30.0
_ANSWER_S: Final = 5.0
_PARTITIONS: Final = 4
"""Per topic, on a real cluster. The mock one makes as many by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Where the records go. ``brokers`` is a comma-separated list of host:port."""

    brokers: str
    prefix: str
    is_mock: bool

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics of the run, with its prefix."""
        return tuple(self.prefix + topic for topic in TOPICS)


@contextmanager
def mock_cluster() -> Iterator[Cluster]:
    """Yield a mock cluster that runs in a process of its own.

    Raises:
        DemoError: it did not come up.
    """
    command = [sys.executable, "-m", "kiel_logging.demo.mock_cluster"]
    with subprocess.Popen(  # noqa: S603 - the command is the line above
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Cluster(brokers=_first_line(process), prefix="", is_mock=True)
        finally:
            _end(process)


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()  # ends by itself: the child gives up after 30 s
    if not line:
        raise DemoError(f"the mock cluster did not start: exit status {process.wait(_PATIENCE_S)}")
    return line


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def real_cluster(brokers: str) -> Cluster:
    """Return the cluster at ``brokers``, with a topic prefix that no other run has.

    Raises:
        DemoError: none of them answers.
    """
    try:
        AdminClient({"bootstrap.servers": brokers, "log_level": 0}).list_topics(timeout=_ANSWER_S)
    except KafkaException as cause:
        raise DemoError(f"no broker answers at {brokers}: {reason(cause)}") from cause
    now = datetime.now(UTC)
    prefix = f"kiel-demo-{now:%Y%m%d-%H%M%S}-{token_hex(2)}."
    return Cluster(brokers=brokers, prefix=prefix, is_mock=False)


@contextmanager
def topics_on(cluster: Cluster, *, keep: bool) -> Iterator[Mapping[TopicPartition, str]]:
    """Yield the leader's address of every partition; afterwards drop what was created.

    Raises:
        DemoError: the cluster does not answer, or refuses the topics.
    """
    client = AdminClient(client_config(cluster))
    if not cluster.is_mock:
        _create(client, cluster)
    try:
        yield _leaders(cluster)
    finally:
        if not cluster.is_mock and not keep:
            _delete(client, cluster)


def client_config(cluster: Cluster) -> dict[str, str | int | float | bool]:
    """Return what every confluent-kafka client of the demo is configured with."""
    return {"bootstrap.servers": cluster.brokers, "log_level": 0}


def first_offsets(
    cluster: Cluster, partitions: Iterable[TopicPartition]
) -> Mapping[TopicPartition, int]:
    """Return the offset of the oldest record that the brokers still hold, per partition.

    Raises:
        KafkaException: a broker does not answer.
    """
    consumer = Consumer({**client_config(cluster), "group.id": "kiel-demo"})
    try:
        return {at: watermarks(consumer, at, _PATIENCE_S)[0] for at in partitions}
    finally:
        consumer.close()


def _create(client: AdminClient, cluster: Cluster) -> None:
    topics = [NewTopic(name, num_partitions=_PARTITIONS) for name in cluster.topics]
    try:
        for created in client.create_topics(topics, request_timeout=_PATIENCE_S).values():
            created.result(_PATIENCE_S)
    except (KafkaException, TimeoutError) as cause:
        raise DemoError(f"can't create topics at {cluster.brokers}: {reason(cause)}") from cause


def _delete(client: AdminClient, cluster: Cluster) -> None:
    try:
        for deleted in client.delete_topics(list(cluster.topics)).values():
            deleted.result(_PATIENCE_S)
    except (KafkaException, TimeoutError) as cause:
        why = printable(reason(cause))
        sys.stderr.write(f"the topics {cluster.prefix}* are still there: {why}\n")


def _leaders(cluster: Cluster) -> Mapping[TopicPartition, str]:
    # A producer, because only a producer's question makes the mock cluster create a topic.
    client = Producer(client_config(cluster))
    deadline = time.monotonic() + _PATIENCE_S
    leaders: dict[TopicPartition, str] = {}
    for topic in cluster.topics:
        leaders |= _leaders_of(client, topic, deadline)
    return leaders


def _leaders_of(client: Producer, topic: str, deadline: float) -> Mapping[TopicPartition, str]:
    while time.monotonic() < deadline:
        try:
            metadata = client.list_topics(topic, timeout=_PATIENCE_S)
        except KafkaException as cause:
            raise DemoError(f"no broker answers: {reason(cause)}") from cause
        partitions = metadata.topics[topic].partitions
        leaders = [metadata.brokers.get(each.leader) for each in partitions.values()]
        if leaders and all(leaders):
            return {
                TopicPartition(topic, partition): f"{broker.host}:{broker.port}"
                for partition, broker in zip(partitions, leaders, strict=True)
                if broker is not None
            }
        time.sleep(0.05)
    raise DemoError(f"{topic} has no leaders after {_PATIENCE_S:.0f} s")
