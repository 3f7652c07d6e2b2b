"""The brokers of a run and its topics: made before the shop opens, removed afterwards.

As a program (``python -m kiel_logging.demo.cluster``) this is three mock brokers. librdkafka,
inside the confluent-kafka wheel, has a mock cluster that speaks Kafka's protocol on loopback
sockets and keeps records in memory (the newest 5 MB of a partition). The program prints their
addresses as one line, stops and starts brokers as lines of its standard input say ("down 1",
"up 1"), and ends with it, so it can't outlive the demo.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL, c_char_p, c_void_p
from secrets import token_hex
from typing import IO, Final, NamedTuple

from confluent_kafka import KafkaException, Producer, cimpl
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from kiel_logging.confluent import no_answer, reason
from kiel_logging.demo.shop import TOPICS
from kiel_logging.output import CannotRun
from kiel_logging.printable import printable
from kiel_logging.records import TopicPartition

_PATIENCE_S: Final = 30.0


class Cluster(NamedTuple):
    """Brokers (a comma-separated list of host:port), and the prefix of the run's topics.

    ``control`` takes the lines that stop and start mock brokers.
    """

    brokers: str
    prefix: str = "shop."
    control: IO[bytes] | None = None

    @property
    def topics(self) -> list[str]:
        """The topics of the run, with its prefix."""
        return [self.prefix + name for name in TOPICS]

    @property
    def client_config(self) -> dict[str, str | int | float | bool]:
        """The configuration of each confluent-kafka client."""
        return {"bootstrap.servers": self.brokers, "log_level": 0}

    def partitions(self) -> list[TopicPartition]:
        """Return the partitions of all topics, as soon as the brokers know them.

        Raises:
            KafkaException: no broker answers.
        """
        # A producer: only a producer's question makes the mock cluster create a topic.
        client, found = Producer(self.client_config), []
        for name in self.topics:
            while not (known := client.list_topics(name, _PATIENCE_S).topics[name].partitions):
                time.sleep(0.05)
            found += [TopicPartition(name, number) for number in known]
        return found


@contextmanager
def child(module: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a module of the demo in a process, with pipes, that ends with the block.

    Its process group is its own, so Ctrl-C does not reach it, not even while it imports.
    """
    command = [sys.executable, "-m", f"kiel_logging.demo.{module}", *arguments]
    with subprocess.Popen(  # noqa: S603 - the line above
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def mock_cluster() -> Iterator[Cluster]:
    """Yield a mock cluster in a separate process; raise CannotRun if it does not start."""
    with child("cluster") as process:
        assert process.stdout is not None
        if not (brokers := process.stdout.readline().decode().strip()):
            raise CannotRun("the mock cluster did not start, see above")
        yield Cluster(brokers, control=process.stdin)


@contextmanager
def real_cluster(brokers: str, *, keep: bool) -> Iterator[Cluster]:
    """Yield the cluster at ``brokers``, with new topics, which are deleted unless ``keep``.

    Raises:
        CannotRun: no broker answers, or they refuse to create the topics.
    """
    cluster = Cluster(brokers, f"kiel-demo-{token_hex(4)}.")
    client = AdminClient(cluster.client_config)
    try:
        client.list_topics(timeout=5.0)
        new = [NewTopic(name, num_partitions=4) for name in cluster.topics]
        for created in client.create_topics(new).values():
            created.result(_PATIENCE_S)
    except (KafkaException, TimeoutError) as cause:
        raise CannotRun(no_answer(brokers, cause)) from cause
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


def main() -> None:
    """Start the mock brokers, print their addresses, and obey standard input until it ends."""
    # Ctrl-C reaches all programs of a terminal; the demo stops this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # confluent_kafka has no function that stops a broker; the librdkafka that it loads has.
    library = CDLL(cimpl.__file__)
    for function in ("conf_new", "new", "handle_mock_cluster"):
        getattr(library, f"rd_kafka_{function}").restype = c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = c_char_p
    config = c_void_p(library.rd_kafka_conf_new())
    for name, value in ((b"test.mock.num.brokers", b"3"), (b"log_level", b"0")):
        library.rd_kafka_conf_set(config, name, value, None, 0)
    client = c_void_p(library.rd_kafka_new(0, config, None, 0))  # 0: a producer
    cluster = c_void_p(library.rd_kafka_handle_mock_cluster(client))
    sys.stdout.write(library.rd_kafka_mock_cluster_bootstraps(cluster).decode() + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        state, broker = line.split()
        getattr(library, f"rd_kafka_mock_broker_set_{state}")(cluster, int(broker))


if __name__ == "__main__":
    main()
