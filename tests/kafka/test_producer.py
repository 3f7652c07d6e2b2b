"""The Producer against Apache Kafka; Java and librdkafka read the topics."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from kiel_logging import clients
from kiel_logging.errors import BrokerRejected, RecordTooLarge, UnknownTopic
from kiel_logging.partitioners import Murmur2
from tests.support.console_consumer import (
    ConsumedRecord,
    confluent_consume,
    java_console_consumer,
)
from tests.support.kafka import KAFKA_4, KafkaCluster

MESSAGES = 500
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


def by_offset(records: list[ConsumedRecord]) -> list[ConsumedRecord]:
    """Return records in the order of their partitions."""
    return sorted(records, key=lambda record: (record.partition, record.offset))


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("acks", [1, -1])
async def test_both_readers_find_what_was_produced(
    cluster: KafkaCluster, topic: str, acks: int
) -> None:
    """Values, keys, headers, timestamps and tombstones are stored as they were produced, with each
    codec, which here has a partition to itself."""
    cluster.create_topic(topic, partitions=len(CODECS))
    for number, codec in enumerate(CODECS):
        producer = clients.Producer(
            cluster.bootstrap,
            key_maker=lambda message: message and message["n"],
            partitioner=lambda _key, partitions, number=number: partitions[number],
            compression=codec,
            batch_size=100,
            required_acks=acks,
            ack_timeout=5000,
        )
        async with producer:
            for n in range(MESSAGES):
                message = {"n": n, "text": "grüße " * 5}
                await producer.produce(topic, message, headers={"n": str(n)}, timestamp=10**12 + n)
            await producer.produce(topic, None, timestamp=10**12)
            assert await producer.flush(30) == 0
    # Java first: it waits for the count, and with acks=1 the followers may not have all of it yet.
    by_java = by_offset(java_console_consumer(cluster, topic, count=(MESSAGES + 1) * len(CODECS)))
    found = by_offset(confluent_consume(cluster.bootstrap, topic))
    assert by_java == found
    for number in range(len(CODECS)):
        stored = [record for record in found if record.partition == number]
        assert [record.key for record in stored[:-1]] == [b"%d" % n for n in range(MESSAGES)]
        assert [record.timestamp for record in stored[:-1]] == [10**12 + n for n in range(MESSAGES)]
        assert stored[7].headers == (("n", b"7"),)
        assert json.loads(stored[7].value or b"") == {"n": 7, "text": "grüße " * 5}
        assert (stored[-1].key, stored[-1].value) == (None, None)


@pytest.mark.gen_test(timeout=60)
async def test_without_acks_messages_are_stored_all_the_same(
    cluster: KafkaCluster, topic: str
) -> None:
    """acks=0: there is no acknowledgement, and on a healthy cluster nothing is missing."""
    cluster.create_topic(topic, partitions=1)
    async with clients.Producer(cluster.bootstrap, required_acks=-1) as producer:
        await producer.produce(topic, 0)  # from here on the leader knows that it is one
    async with clients.Producer(cluster.bootstrap, required_acks=0, batch_size=100) as producer:
        for n in range(1, MESSAGES):
            future = await producer.produce(topic, n)
        assert await producer.flush(30) == 0
        assert future.result().offset == -1
        stored = by_offset(java_console_consumer(cluster, topic, count=MESSAGES))
    assert [int(record.value or b"") for record in stored] == list(range(MESSAGES))


@pytest.mark.gen_test(timeout=60)
async def test_metadata_says_where_a_message_is(cluster: KafkaCluster, topic: str) -> None:
    """Topic, partition and offset of a delivery are those at which a consumer finds it."""
    cluster.create_topic(topic, partitions=3)
    async with clients.Producer(cluster.bootstrap, required_acks=-1) as producer:
        delivered = [(await producer.produce(topic, n)).result() for n in range(20)]
    found = {
        (record.partition, record.offset): record
        for record in confluent_consume(cluster.bootstrap, topic)
    }
    for n, metadata in enumerate(delivered):
        record = found[metadata.partition, metadata.offset]
        assert (record.value, record.timestamp) == (b"%d" % n, metadata.timestamp)


@pytest.mark.gen_test(timeout=60)
async def test_log_append_time_is_reported(cluster: KafkaCluster, topic: str) -> None:
    """On a topic with LogAppendTime the delivery has the broker's time."""
    config = {"message.timestamp.type": "LogAppendTime"}
    cluster.create_topic(topic, partitions=1, config=config)
    async with clients.Producer(cluster.bootstrap, required_acks=-1) as producer:
        metadata = (await producer.produce(topic, "x", timestamp=1)).result()
    [record] = confluent_consume(cluster.bootstrap, topic)
    assert metadata.timestamp == record.timestamp > 1


@pytest.mark.gen_test(timeout=60)
async def test_a_batch_too_large_for_its_topic_is_split(cluster: KafkaCluster, topic: str) -> None:
    """MESSAGE_TOO_LARGE: halves until it fits, in order, and flush() waits for the parts."""
    config = {"max.message.bytes": "5000"}
    cluster.create_topic(topic, partitions=1, config=config)
    async with clients.Producer(
        cluster.bootstrap, required_acks=-1, batch_size=100, serializer=lambda n: f"{n:0900d}"
    ) as producer:
        futures = [await producer.produce(topic, n) for n in range(99)]
        assert await producer.flush(30) == 0
        assert all(future.done() for future in futures)
        assert [future.result().offset for future in futures] == list(range(99))
    stored = by_offset(confluent_consume(cluster.bootstrap, topic))
    assert [int(record.value or b"") for record in stored] == list(range(99))


@pytest.mark.gen_test(timeout=60)
async def test_a_single_message_too_large_fails_alone(cluster: KafkaCluster, topic: str) -> None:
    """Its error names its size and topic, and the broker's limit; its batch's others arrive."""
    config = {"max.message.bytes": "5000"}
    cluster.create_topic(topic, partitions=1, config=config)
    async with clients.Producer(
        cluster.bootstrap, required_acks=-1, batch_size=100, serializer=str
    ) as producer:
        small = await producer.produce(topic, "small")
        large = await producer.produce(topic, "L" * 9000)
        after = await producer.produce(topic, "after")
        assert await producer.flush(30) == 0
        assert (small.result().offset, after.result().offset) == (0, 1)
        with pytest.raises(RecordTooLarge, match=rf"message of 9\d\d\d bytes.*{topic}.*5000"):
            large.result()


@pytest.mark.gen_test(timeout=60)
async def test_an_unknown_topic_is_an_error_soon(topic: str) -> None:
    """Where topics aren't created by themselves, a missing one is UnknownTopic, and soon."""
    with KafkaCluster(KAFKA_4, brokers=1, config={"auto.create.topics.enable": "false"}) as cluster:
        async with clients.Producer(cluster.bootstrap, topic_creation_timeout_ms=500) as producer:
            with pytest.raises(UnknownTopic, match=topic):
                await producer.produce(topic, "x")


@pytest.mark.gen_test(timeout=60)
async def test_a_compacted_topic_refuses_a_message_without_a_key(
    cluster: KafkaCluster, topic: str
) -> None:
    """The error has the broker's reason: here INVALID_RECORD and why."""
    cluster.create_topic(topic, partitions=1, config={"cleanup.policy": "compact"})
    async with clients.Producer(cluster.bootstrap) as producer:
        with pytest.raises(BrokerRejected, match=r"INVALID_RECORD \(87\)") as raised:
            await producer.produce(topic, "x")
    assert raised.value.error_code == 87


@pytest.mark.gen_test(timeout=60)
async def test_a_topic_deleted_and_made_again_is_recovered_from(
    cluster: KafkaCluster, topic: str
) -> None:
    """Messages go to the new topic, from offset 0 on, without a new producer."""
    cluster.create_topic(topic, partitions=1)
    async with clients.Producer(cluster.bootstrap, required_acks=-1) as producer:
        for n in range(3):
            await producer.produce(topic, n)
        cluster.delete_topic(topic)
        cluster.create_topic(topic, partitions=1)
        again = [(await producer.produce(topic, n)).result().offset for n in range(3)]
    assert again == [0, 1, 2]
    assert len(confluent_consume(cluster.bootstrap, topic)) == 3


@pytest.mark.gen_test(timeout=60)
async def test_added_partitions_are_used(cluster: KafkaCluster, topic: str) -> None:
    """After metadata_max_age_ms a topic's new partitions get messages too."""
    cluster.create_topic(topic, partitions=1)
    async with clients.Producer(
        cluster.bootstrap,
        partitioner=lambda _key, partitions: partitions[-1],
        metadata_max_age_ms=100,
    ) as producer:
        await producer.produce(topic, "old")
        cluster.add_partitions(topic, 2)
        partition = 0
        while partition == 0:  # bounded by the test's own timeout
            partition = (await producer.produce(topic, "new")).result().partition
    assert partition == 1


def test_murmur2_places_keys_as_the_java_client_does(kafka_4: KafkaCluster) -> None:
    """The same partition for 2,000 keys of all lengths, from the Java client itself."""
    rng = random.Random(17)
    keys = [rng.randbytes(length % 40) for length in range(2000)]
    java = kafka_4.distribution.java
    class_path = kafka_4.distribution.class_path
    source = Path(__file__).with_name("Murmur2Vectors.java")
    finished = subprocess.run(
        [java, "-cp", class_path, str(source), "7"],
        input="".join(f"{key.hex()}\n" for key in keys),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    ours = Murmur2()
    assert [int(line) for line in finished.stdout.split()] == [ours(key, range(7)) for key in keys]
