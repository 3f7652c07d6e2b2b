"""The mock cluster's process, and the reader's."""

import json
import subprocess
import sys

from confluent_kafka import Producer

from kiel_logging.demo.cluster import mock_cluster
from kiel_logging.demo.reader import Tally, reading
from kiel_logging.demo.shop import TOPICS
from tests.support.waiting import until

_PATIENCE_S = 30.0


def test_the_mock_cluster_ends_with_its_standard_input():
    """It prints three addresses, and ends by itself when the program that started it is gone."""
    with subprocess.Popen(
        [sys.executable, "-m", "kiel_logging.demo.cluster"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        addresses = process.stdout.readline().strip().split(",")
        process.stdin.close()
        assert process.wait(_PATIENCE_S) == 0
    assert len(addresses) == 3


def test_a_mock_broker_is_stopped_and_started():
    """As lines of the program's standard input say: it is refused, and then there again."""
    with mock_cluster() as cluster:
        client = Producer(cluster.client_config)

        def brokers():
            return len(client.list_topics("shop.app", _PATIENCE_S).brokers)

        for line, number in ((b"", 3), (b"down 1\n", 2), (b"up 1\n", 3)):
            cluster.control.write(line)
            cluster.control.flush()
            until(lambda number=number: brokers() == number)


def test_the_reader_ends_with_its_standard_input(cluster):
    """As the mock cluster does."""
    arguments = json.dumps([cluster.brokers, cluster.partitions()])
    with subprocess.Popen(
        [sys.executable, "-m", "kiel_logging.demo.reader", arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        assert process.wait(_PATIENCE_S) == 0


def _produce(cluster, topic, record_ids):
    producer = Producer(cluster.client_config)
    for number in record_ids:
        value = {"time": "2026-01-02T00:00:00.000000Z", "record_id": number, "session": "s"}
        producer.produce(topic, json.dumps(value).encode(), key=str(number % 5).encode())
    assert producer.flush(_PATIENCE_S) == 0


def test_planted_faults_in_kafka_are_found(cluster):
    """The reader reads to the end while others write; a loss and a duplicate show in the tally."""
    partitions = [each for each in cluster.partitions() if each.topic == "shop.app"]
    with reading(cluster, partitions) as finish:
        _produce(cluster, "shop.app", [*range(50), *range(51, 100)])
        _produce(cluster, "shop.app", [7])
        tally = Tally([("shop.app", number) for number in range(100)], finish())
    assert (tally.lost, tally.extra, tally.skipped) == (1, 1, 0)
    assert tally.keys["shop.app"] == 5
    assert any(one.value for one in tally.arrivals)


def test_all_topics_are_there(cluster):
    """Each of the shop's topics has a partition 0, with a leader."""
    partitions = cluster.partitions()
    assert {(each.topic, each.partition) for each in partitions} >= {
        (f"shop.{name}", 0) for name in TOPICS
    }
