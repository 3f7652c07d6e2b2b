"""A topic is read with confluent-kafka, each part of each record: ``python -m ... BROKERS TOPIC``.

What ``kiel-logging verify`` is compared with. As few modules as can be.
"""

import sys
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

_MESSAGES: Final = 5_000


def read(brokers: str, topic: str) -> int:
    """Return how many records the topic has."""
    consumer: Any = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "benchmark",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = consumer.list_topics(timeout=30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, one, 0) for one in partitions])
    records, left = 0, len(partitions)
    while left:
        for message in consumer.consume(_MESSAGES, 0.2):
            if message.error() is not None:
                left -= 1
                continue
            message.partition(), message.offset(), message.timestamp()
            message.key(), message.value(), message.headers()
            records += 1
    consumer.close()
    return records


if __name__ == "__main__":
    brokers, topic = sys.argv[1:]
    print(read(brokers, topic))
