"""The brokers of a run and its topics: made before the shop opens, removed afterwards."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import IO, Final, NamedTuple

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from kiel_logging.confluent import no_answer, reason
from kiel_logging.demo.shop import TOPICS
from kiel_logging.printable import printable
from kiel_logging.records import TopicPartition

_PATIENCE_S: Final = 30.0


class DemoError(Exception):
    """The demo can't run, or can't continue; users see the message as it is."""


class Cluster(NamedTuple):
    """Brokers (a comma-separated list of host:port), and the prefix of the run's topics."""

    brokers: str
    prefix: str = "shop."

    @property
    def topics(self) -> list[str]:
        """The topics of the run, with its prefix."""
        return [self.prefix + name for name in TOPICS]

    @property
    def client_config(self) -> dict[str, str | int | float | bool]:
        """The configuration of each confluent-kafka client."""
        return {"bootstrap.servers": self.brokers, "log_level": 0}

    def partitions(self) -> list[TopicPartition]:
        """Return all partitions, as soon as each has a leader.

        Raises:
            DemoError: the brokers don't answer, or don't agree on leaders within half a minute.
        """
        # A producer: only a producer's question makes the mock cluster create a topic.
        client, deadline = Producer(self.client_config), time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            try:
                found = [client.list_topics(name, timeout=_PATIENCE_S) for name in self.topics]
            except KafkaException as cause:
                raise DemoError(no_answer(self.brokers, cause)) from cause
            topics = [one.topics[name] for one, name in zip(found, self.topics, strict=True)]
            if all(topic.partitions for topic in topics) and all(
                one.leader >= 0 for topic in topics for one in topic.partitions.values()
            ):
                return [TopicPartition(one.topic, at) for one in topics for at in one.partitions]
            time.sleep(0.05)
        raise DemoError(f"the topics {self.prefix}* have no leaders after {_PATIENCE_S:.0f} s")


@contextmanager
def child(module: str, *arguments: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Run a module of the demo in a process that ends with the block; yield pipes to and from it.

    Its process group is its own, so Ctrl-C does not reach it, not even while it imports.
    """
    command = [sys.executable, "-m", f"kiel_logging.demo.{module}", *arguments]
    with subprocess.Popen(  # noqa: S603 - the line above
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdin, process.stdout
        finally:
            process.kill()


@contextmanager
def mock_cluster() -> Iterator[Cluster]:
    """Yield a mock cluster in a separate process; raise DemoError if it does not start."""
    with child("mock_cluster") as (_, stdout):
        if not (brokers := stdout.readline().decode().strip()):
            raise DemoError("the mock cluster did not start, see above")
        yield Cluster(brokers)


@contextmanager
def real_cluster(brokers: str, *, keep: bool) -> Iterator[Cluster]:
    """Yield the cluster at ``brokers``, with new topics, which are deleted unless ``keep``.

    Raises:
        DemoError: no broker answers, or they refuse to create the topics.
    """
    cluster = Cluster(brokers, f"kiel-demo-{token_hex(4)}.")
    client = AdminClient(cluster.client_config)
    try:
        client.list_topics(timeout=5.0)
        new = [NewTopic(name, num_partitions=4) for name in cluster.topics]
        for created in client.create_topics(new).values():
            created.result(_PATIENCE_S)
    except (KafkaException, TimeoutError) as cause:
        raise DemoError(no_answer(brokers, cause)) from cause
    try:
        yield cluster
    finally:
        if not keep:
            try:
                for deleted in client.delete_topics(cluster.topics).values():
                    deleted.result(_PATIENCE_S)
            except (KafkaException, TimeoutError) as cause:
                why = printable(reason(cause))
                sys.stderr.write(f"{cluster.prefix}* are still there: {why}\n")
