"""The mock cluster's process, the reader's, and what is fetched from the brokers."""

import subprocess
import sys
import time
from collections import Counter

import orjson
import pytest
from confluent_kafka import Producer

from kiel_logging.demo.batches import batch_totals, read_headers
from kiel_logging.demo.cluster import client_config, first_offsets, topics_on
from kiel_logging.demo.phases import plan
from kiel_logging.demo.reader import reading
from kiel_logging.demo.tally import compare
from kiel_logging.records import TopicPartition

_PATIENCE_S = 30.0


def test_the_mock_cluster_ends_with_its_stdin():
    """It prints three addresses, and ends by itself when whoever started it is gone."""
    with subprocess.Popen(
        [sys.executable, "-m", "kiel_logging.demo.mock_cluster"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        addresses = process.stdout.readline().strip().split(",")
        process.stdin.close()
        assert process.wait(_PATIENCE_S) == 0
    assert len(addresses) == 3


def _value(record_id):
    document = {"time": "2026-01-02T00:00:00.000000Z", "record_id": record_id, "text": "x" * 200}
    return orjson.dumps(document)


def _produce(cluster, topic, record_ids, codec="snappy"):
    producer = Producer({**client_config(cluster), "compression.type": codec})
    for record_id in record_ids:
        producer.produce(topic, _value(record_id), key=str(record_id % 5).encode())
    assert producer.flush(_PATIENCE_S) == 0


def _finish(reader):
    reader.finish()
    deadline = time.monotonic() + _PATIENCE_S
    while reader.tally is None and time.monotonic() < deadline:
        reader.receive(0.1)
    assert reader.tally is not None
    return reader.tally


def test_what_is_planted_in_kafka_is_found(cluster):
    """The reader reads to the end while others write; a loss and a duplicate show in its tally."""
    phases = plan(100, rate=1_000)
    with topics_on(cluster, keep=True) as leaders:
        partitions = [each for each in leaders if each.topic == "shop.app"]
        with reading(client_config(cluster), partitions, phases) as reader:
            _produce(cluster, "shop.app", [*range(50), *range(51, 100)])
            _produce(cluster, "shop.app", [7])
            tally = _finish(reader)
    differences = compare({"shop.app": range(100)}, {"shop.app": tally.topics["shop.app"].ids})
    assert differences.lost == Counter({"shop.app": 1})
    assert differences.duplicated == Counter({"shop.app": 1})
    assert tally.records == reader.read == 100
    assert len(tally.topics["shop.app"].keys) == 5
    assert tally.skipped == 0


@pytest.mark.parametrize(
    ("codec", "topic"),
    [("none", "shop.audit"), ("gzip", "shop.errors"), ("snappy", "shop.access.INFO")],
)
def test_batches_are_read_as_the_brokers_keep_them(cluster, codec, topic):
    """The raw batches have every record, the codec they were written with, and its effect."""
    with topics_on(cluster, keep=True) as all_leaders:
        leaders = {at: address for at, address in all_leaders.items() if at.topic == topic}
        _produce(cluster, topic, range(500), codec)
        totals = batch_totals(leaders, first_offsets(cluster, leaders))[topic]
    assert totals.records == 500
    assert set(totals.codecs) == {codec}
    json_bytes = sum(len(_value(record_id)) for record_id in range(500))
    assert (totals.size < json_bytes) == (codec != "none")


def test_a_batch_that_was_cut_is_left_out(cluster):
    """Brokers cut a fetch where max_bytes is reached: half a batch or half a header is none."""
    assert list(read_headers(bytes(60))) == []
    assert list(read_headers(bytes(8) + (1_000).to_bytes(4, "big") + bytes(200))) == []


def test_leaders_are_known(cluster):
    """Every partition of every topic has a leader at one of the three brokers."""
    with topics_on(cluster, keep=True) as leaders:
        assert set(leaders.values()) <= set(cluster.brokers.split(","))
        assert TopicPartition("shop.app", 0) in leaders
