"""What a running cluster is asked for by Kafka's admin protocol: topics and their leaders.

Kafka notifies nobody, so every wait is a condition on the metadata with a deadline, and
all of them go through `_poll`: the only place that polls.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import ElectionType, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

# Their types are not exported where the documentation has them.
from confluent_kafka.admin._metadata import ClusterMetadata, TopicMetadata
from confluent_kafka.cimpl import NewPartitions, NewTopic

TIMEOUT = 30.0
_POLL = 0.05
_Answer = TypeVar("_Answer")
_TRY_AGAIN = (KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_CONTROLLER)


class ClusterError(RuntimeError):
    """The cluster did not do what was asked of it in time; the message has the brokers' logs."""


class Topics(ABC):
    """The topics of the cluster at `bootstrap`."""

    def __init__(self) -> None:
        """Connect to nobody yet."""
        self._admin: AdminClient | None = None

    @property
    @abstractmethod
    def bootstrap(self) -> list[str]:
        """The address of every broker, also of those that are down."""

    @property
    @abstractmethod
    def broker_ids(self) -> tuple[int, ...]:
        """The id of every broker, also of those that are down."""

    @abstractmethod
    def _check(self) -> None:
        """Raise ClusterError when waiting on is pointless."""

    @abstractmethod
    def _diagnosis(self) -> str:
        """Return what helps to understand a wait that was in vain."""

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        replication: int | None = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Create a topic and wait until every partition has a leader."""
        copies = min(3, len(self.broker_ids)) if replication is None else replication
        topic = NewTopic(
            name, num_partitions=partitions, replication_factor=copies, config=dict(config or {})
        )
        self._request(
            lambda admin: admin.create_topics([topic])[name], KafkaError.TOPIC_ALREADY_EXISTS
        )
        self._await_leaders(name, partitions)

    def add_partitions(self, topic: str, total: int) -> None:
        """Grow a topic to `total` partitions and wait until every one has a leader."""
        grown = NewPartitions(topic, total)
        self._request(
            lambda admin: admin.create_partitions([grown])[topic], KafkaError.INVALID_PARTITIONS
        )
        self._await_leaders(topic, total)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and wait until the brokers have forgotten it."""
        self._request(
            lambda admin: admin.delete_topics([topic])[topic], KafkaError.UNKNOWN_TOPIC_OR_PART
        )
        self._wait_until(lambda cluster: topic not in cluster.topics, f"the end of topic {topic}")

    def leader(self, topic: str, partition: int) -> int:
        """Return the id of the broker that leads a partition now, -1 when none does."""
        return int(self._topic(topic).partitions[partition].leader)

    def elect_preferred(self, topic: str) -> None:
        """Make the first replica of every partition its leader again, and wait for it."""
        partitions = [TopicPartition(topic, number) for number in self._topic(topic).partitions]
        self._request(
            lambda admin: admin.elect_leaders(ElectionType.PREFERRED, partitions),
            KafkaError.ELECTION_NOT_NEEDED,
        )
        self._wait_until(
            lambda cluster: _preferred(cluster.topics[topic]), f"the preferred leaders of {topic}"
        )

    def wait_in_sync(self, topic: str | None = None, timeout: float = TIMEOUT) -> None:
        """Wait until every replica of `topic`, or of all topics, is in sync."""
        self._wait_until(
            lambda cluster: all(
                _in_sync(found) for name, found in cluster.topics.items() if topic in (None, name)
            ),
            f"every replica of {topic or 'every topic'} to be in sync",
            timeout,
        )

    def wait_leader(self, topic: str, partition: int, timeout: float = TIMEOUT) -> int:
        """Wait until a broker that is up leads a partition, and return its id."""
        cluster = self._wait_until(
            lambda cluster: cluster.topics[topic].partitions[partition].leader in cluster.brokers,
            f"a leader for {topic}-{partition}",
            timeout,
        )
        return int(cluster.topics[topic].partitions[partition].leader)

    def wait_brokers(self, *broker_ids: int, timeout: float = TIMEOUT) -> None:
        """Wait until all of `broker_ids` serve."""
        self._wait_until(
            lambda cluster: set(broker_ids) <= set(cluster.brokers),
            f"brokers {sorted(broker_ids)} to serve",
            timeout,
        )

    def _await_leaders(self, topic: str, partitions: int) -> None:
        self._wait_until(
            lambda cluster: topic in cluster.topics and _led(cluster.topics[topic]) == partitions,
            f"leaders for {partitions} partitions of {topic}",
        )

    def _topic(self, name: str) -> TopicMetadata:
        found = self._wait_until(lambda cluster: name in cluster.topics, f"topic {name}")
        return found.topics[name]

    def _client(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(quiet(self.bootstrap))
        return self._admin

    def _request(
        self, ask: Callable[[AdminClient], Future[Any]], done_before: int | None = None
    ) -> None:
        """Ask until a broker answers; after a lost answer `done_before` is a success too."""
        deadline = time.monotonic() + TIMEOUT
        lost = False
        while True:
            try:
                ask(self._client()).result(TIMEOUT)
            except KafkaException as error:
                code = error.args[0].code()
                if lost and code == done_before:
                    return
                # Negative codes are librdkafka's own: nobody refused, the request got lost.
                if (code >= 0 and code not in _TRY_AGAIN) or time.monotonic() > deadline:
                    raise
                lost = True
            else:
                return

    def _wait_until(
        self,
        condition: Callable[[ClusterMetadata], bool],
        what: str,
        timeout: float = TIMEOUT,
    ) -> ClusterMetadata:
        """Return the first metadata that satisfies `condition`."""

        def metadata() -> ClusterMetadata | None:
            found = self._metadata()
            return found if found is not None and condition(found) else None

        return self._poll(metadata, what, timeout)

    def _poll(
        self, ask: Callable[[], _Answer | None], what: str, timeout: float = TIMEOUT
    ) -> _Answer:
        """Return the first answer that is one: neither None nor False."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._check()
            if answer := ask():
                return answer
            time.sleep(_POLL)
        raise ClusterError(f"waited {timeout:.0f} s for {what}\n{self._diagnosis()}")

    def _metadata(self) -> ClusterMetadata | None:
        try:
            return self._client().list_topics(timeout=2)
        except KafkaException:
            return None  # nobody answered yet


def quiet(bootstrap: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a client that keeps trying and says nothing of it."""
    return {
        "bootstrap.servers": ",".join(bootstrap),
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
        "socket.timeout.ms": 5000,  # else a paused broker keeps its requests for ever
        "log_level": 0,
        "error_cb": lambda error: None,  # brokers that are down are the point here
    }


def _led(topic: TopicMetadata) -> int:
    return sum(partition.leader >= 0 for partition in topic.partitions.values())


def _preferred(topic: TopicMetadata) -> bool:
    return all(each.leader == each.replicas[0] for each in topic.partitions.values())


def _in_sync(topic: TopicMetadata) -> bool:
    return all(
        each.leader >= 0 and set(each.isrs) == set(each.replicas)
        for each in topic.partitions.values()
    )
