"""``kiel-logging verify`` on Apache Kafka: a chained topic, copies of it with a defect each."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.kafka import test_proof
from tests.support.console_consumer import confluent_consume
from tests.support.kafka import KafkaCluster
from tests.support.kafka.admin import quiet
from tests.support.stamped_topics import produce
from tests.support.stamper import Stamped, Stamper
from tests.verify.topic import shipped

_PATIENCE_S = 60.0
_SECRET = b"s3cret of the chain"


def verify(cluster: KafkaCluster, topic: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Run `kiel-logging verify` with the key of the chain."""
    return test_proof.verify(cluster, topic, _SECRET.decode(), *words)


def stored(cluster: KafkaCluster, topic: str) -> list[list[Stamped]]:
    """The records of a topic, by partition, as a mirror reads them."""
    partitions: list[list[Stamped]] = [[], [], []]
    for one in confluent_consume(cluster.bootstrap, topic):
        partitions[one.partition].append(Stamped(one.key, one.value, one.headers))
    return partitions


def write(cluster: KafkaCluster, topic: str, partitions: list[list[Stamped]]) -> None:
    """Make a topic of three partitions."""
    cluster.create_topic(topic, partitions=3)
    for number, records in enumerate(partitions):
        produce(",".join(cluster.bootstrap), topic, records, number)


def remove(records: list[Stamped]) -> None:
    """Leave one out."""
    del records[100]


def alter(records: list[Stamped]) -> None:
    """Change one."""
    records[100] = records[100]._replace(value=b"nothing happened")


def swap(records: list[Stamped]) -> None:
    """Let two change places."""
    records[100], records[101] = records[101], records[100]


def replay(records: list[Stamped]) -> None:
    """Write some again."""
    records += records[90:100]


def strip(records: list[Stamped]) -> None:
    """Take the digest from one."""
    records[100] = records[100]._replace(headers=records[100].headers[:-1])


DEFECTS: dict[str, tuple[Callable[[list[Stamped]], None], int, dict[str, int], int]] = {
    "none": (lambda records: None, 0, {}, 0),
    "removed": (remove, 1, {"removed": 1}, 100),
    "altered": (alter, 1, {"altered": 1}, 100),
    "swapped": (swap, 1, {"swapped": 1}, 101),
    "replayed": (replay, 0, {"repeated": 10}, 334),
    "stripped": (strip, 1, {"altered": 1}, 100),
}


def test_a_defect_each(kafka_4: KafkaCluster, topic: str) -> None:
    """Each is found under its name, where it is."""
    for name, (harm, status, counts, offset) in DEFECTS.items():
        own = f"{topic}-{name}"
        partitions = shipped(1_000, partitions=3, stamper=Stamper(secret=_SECRET, topic=own))
        harm(partitions[1])
        write(kafka_4, own, partitions)
        got, report = verify(kafka_4, own)
        assert (name, got, report["counts"]) == (name, status, counts)
        for finding in counts:
            example = report["instances"][0]["findings"][finding]["examples"][0]
            place = (example["partition"], example["offset"])
            # A gap is shown by the record behind it, which is of the next partition.
            assert place == ((2, 100) if name == "removed" else (1, offset))


def test_a_mirror(kafka_4: KafkaCluster, topic: str) -> None:
    """A stream of another topic is found; it is right if this is a mirror of that one."""
    write(kafka_4, topic, shipped(100, partitions=3, stamper=Stamper(secret=_SECRET, topic=topic)))
    mirror = f"{topic}-mirror"
    (one, *others) = stored(kafka_4, topic)
    write(kafka_4, mirror, [one, [], [record for records in others for record in records]])
    assert verify(kafka_4, mirror)[1]["counts"] == {"renamed": 102}
    status, report = verify(kafka_4, mirror, "--origin", topic)
    assert (status, report["counts"]) == (0, {})


def test_an_older_kafka(kafka_3: KafkaCluster, topic: str) -> None:
    """The same."""
    write(
        kafka_3, topic, shipped(1_000, partitions=3, stamper=Stamper(secret=_SECRET, topic=topic))
    )
    assert verify(kafka_3, topic)[0] == 0


def test_transactions(kafka_4: KafkaCluster, topic: str) -> None:
    """Aborted records are not there, and the brokers' control records are no gap."""
    stamper = Stamper(secret=_SECRET, topic=topic)
    kafka_4.create_topic(topic)
    producer: Any = Producer({**quiet(kafka_4.bootstrap), "transactional.id": topic})
    producer.init_transactions(_PATIENCE_S)
    for aborted in (False, True, False, True):
        producer.begin_transaction()
        for _ in range(10):
            record = (
                Stamper(topic=topic).stamp(b"aborted") if aborted else stamper.stamp(b"committed")
            )
            producer.produce(topic, record.value, headers=list(record.headers))
        if aborted:
            producer.flush(_PATIENCE_S)
            producer.abort_transaction(_PATIENCE_S)
        else:
            producer.commit_transaction(_PATIENCE_S)
    status, report = verify(kafka_4, topic, "--running")
    assert (status, report["records"], report["counts"]) == (0, 20, {})
    status, report = verify(kafka_4, topic, "--running", "--uncommitted")
    assert (status, report["records"]) == (1, 40)


def delete_oldest(cluster: KafkaCluster, topic: str, partition: int, before: int) -> None:
    """As retention does, or an administrator."""
    admin = AdminClient(quiet(cluster.bootstrap))
    for deleted in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        deleted.result(_PATIENCE_S)


@pytest.mark.parametrize(
    ("age", "status", "found"), [(0, 1, "purged"), (30 * 86_400, 0, "expired")]
)
def test_a_topic_that_lost_its_oldest_records(
    kafka_4: KafkaCluster, topic: str, age: int, status: int, found: str
) -> None:
    """Records older than the topic's retention are no loss; younger ones were deleted by hand."""
    partitions = shipped(1_000, partitions=3, stamper=Stamper(secret=_SECRET, topic=topic))
    week = {"retention.ms": str(7 * 86_400_000)}
    kafka_4.create_topic(topic, partitions=3, config=week)
    now = round(time.time()) * 1000
    producer: Any = Producer(quiet(kafka_4.bootstrap))
    for partition, records in enumerate(partitions):
        for at, (key, value, headers) in enumerate(records):
            # The brokers delete whole segments: a young record keeps this one.
            when = now - age * 1000 if at < 200 else now
            producer.produce(topic, value, key, partition, headers=list(headers), timestamp=when)
    assert producer.flush(_PATIENCE_S) == 0
    delete_oldest(kafka_4, topic, 1, 100)
    got, report = verify(kafka_4, topic)
    assert (got, report["counts"]) == (status, {found: 100})
    assert verify(kafka_4, topic, "--strict")[0] == status


def test_a_partition_of_junk_excuses_nothing(kafka_4: KafkaCluster, topic: str) -> None:
    """An administrator adds a partition that begins late, and removes records from the others."""
    partitions = shipped(300, partitions=3, stamper=Stamper(secret=_SECRET, topic=topic))
    partitions[2] = [record for at, record in enumerate(partitions[2]) if at % 3]
    kafka_4.create_topic(topic, partitions=4)
    for number, records in enumerate(partitions):
        produce(",".join(kafka_4.bootstrap), topic, records, number)
    produce(",".join(kafka_4.bootstrap), topic, [Stamped(None, b"x", ())], 3)
    delete_oldest(kafka_4, topic, 3, 1)
    status, report = verify(kafka_4, topic)
    assert (status, report["counts"]) == (1, {"removed": 33, "purged": 1})


@pytest.mark.parametrize("words", [(), ("--strict",), ("--running", "--grace", "1")])
def test_records_behind_an_open_transaction_were_not_checked(
    kafka_4: KafkaCluster, topic: str, words: tuple[str, ...]
) -> None:
    """A consumer does not see them, so nothing shows whether they are whole."""
    write(kafka_4, topic, shipped(30, partitions=3, stamper=Stamper(secret=_SECRET, topic=topic)))
    producer: Any = Producer({**quiet(kafka_4.bootstrap), "transactional.id": topic})
    producer.init_transactions(_PATIENCE_S)
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    producer.flush(_PATIENCE_S)
    behind = Stamper("b" * 32, secret=_SECRET, topic=topic)
    produce(",".join(kafka_4.bootstrap), topic, shipped(3, stamper=behind)[0])
    try:
        status, report = verify(kafka_4, topic, *words)
        assert (status, report["counts"]) == (2, {"unstable": 6})
    finally:
        producer.abort_transaction(_PATIENCE_S)
    assert verify(kafka_4, topic, *words)[0] == 0


def test_a_span_of_time(kafka_4: KafkaCluster, topic: str) -> None:
    """Records that are missing inside of it count; those outside do not."""
    partitions = shipped(1_000, partitions=3, stamper=Stamper(secret=_SECRET, topic=topic))
    kafka_4.create_topic(topic, partitions=3)
    producer: Any = Producer(quiet(kafka_4.bootstrap))
    began = round(time.time()) * 1000 - 3_600_000  # what is older could be deleted meanwhile
    for partition, records in enumerate(partitions):
        for at, (key, value, headers) in enumerate(records):
            if (partition, at) not in {(1, 50), (1, 300)}:
                producer.produce(
                    topic, value, key, partition, headers=list(headers), timestamp=began + at * 1000
                )
    assert producer.flush(_PATIENCE_S) == 0
    assert verify(kafka_4, topic)[1]["counts"] == {"removed": 2}

    def span(since: int, until: int) -> tuple[int, int, int]:
        first, last = (datetime.fromtimestamp(began / 1000 + at, UTC) for at in (since, until))
        words = ("--since", first.isoformat(), "--until", last.isoformat())
        status, report = verify(kafka_4, topic, *words)
        return status, report["records"], report["counts"].get("removed", 0)

    assert span(100, 200) == (0, 300, 0)
    assert span(100, 320) == (1, 659, 1)
    assert span(20, 120) == (1, 299, 1)


def test_a_topic_that_may_not_be_asked_for_is_not_created(
    kafka_4: KafkaCluster, topic: str
) -> None:
    """Though the brokers create topics for every client that asks for them."""
    command = [sys.executable, "-m", "kiel_logging", "verify", "--topic", topic]
    done = subprocess.run(
        [*command, "--brokers", ",".join(kafka_4.bootstrap)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"there is no topic '{topic}'" in done.stderr
    known = AdminClient(quiet(kafka_4.bootstrap)).list_topics(timeout=_PATIENCE_S).topics
    assert topic not in known


@pytest.mark.parametrize(
    ("user", "password", "listener", "expected"),
    [
        ("bob", None, "SASL_SSL", None),
        ("bob", "wrong", "SASL_SSL", "SASL authentication error"),
        ("bob", None, "WRONG_HOST", "certificate verify failed"),
    ],
    ids=["right", "wrong password", "wrong host"],
)
def test_a_secured_cluster(
    secured_kafka: KafkaCluster,
    topic: str,
    tmp_path: Path,
    user: str,
    password: str | None,
    listener: str,
    expected: str | None,
) -> None:
    """By a Java client's properties; an error says what is wrong, without the password."""
    write(secured_kafka, topic, shipped(100, partitions=3, stamper=Stamper(topic=topic)))
    security = secured_kafka.security
    config, secret = tmp_path / "client.properties", password or security.users[user]
    config.write_text(
        f"bootstrap.servers={','.join(security.bootstrap(listener))}\n"
        "security.protocol=SASL_SSL\n"
        "sasl.mechanism=SCRAM-SHA-256\n"
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n"
        f'    username="{user}" password="{secret}";\n'
        f"ssl.truststore.location={security.ca_file}\n"
        "ssl.truststore.type=PEM\n"
    )
    command = [sys.executable, "-m", "kiel_logging", "verify", "--topic", topic]
    done = subprocess.run(
        [*command, "--config", str(config), "--timeout", "5"], capture_output=True, text=True
    )
    assert secret not in done.stdout + done.stderr
    if expected is None:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 2
        assert expected in done.stderr
