"""Kafka's administration: topics and their leaders, and what users may do.

Kafka notifies no one, so every wait is a condition with a deadline, and all of them go through
`_poll`, the only place that polls. The controller answers before the brokers know of a change:
each call here returns when every running broker acts on it, so that a test can rely on it.
"""

import contextlib
import io
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, TypeVar

from confluent_kafka import ElectionType, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

# Their types are not exported where the documentation has them.
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._metadata import ClusterMetadata, TopicMetadata
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic
from kio.schema.describe_acls.v3.request import DescribeAclsRequest
from kio.schema.describe_acls.v3.response import DescribeAclsResponse
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i8, i32

from .security import Security

TIMEOUT: Final = 30.0
_POLL: Final = 0.05
_TRY_AGAIN: Final = (KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_CONTROLLER)
_EVERYBODY: Final = "*"
_ANY_HOST: Final = "*"
_SCRAM: Final = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
_ITERATIONS: Final = 4096  # the fewest that Kafka allows
_Answer = TypeVar("_Answer")


class ClusterError(RuntimeError):
    """The cluster did not do in time what it was asked; the message has the brokers' logs."""


class Admin(ABC):
    """Administers the cluster at `bootstrap`."""

    def __init__(self) -> None:
        """Connect to no broker yet."""
        self._admin: AdminClient | None = None

    @property
    @abstractmethod
    def bootstrap(self) -> list[str]:
        """The address of every broker, also of those that are down."""

    @property
    @abstractmethod
    def broker_ids(self) -> tuple[int, ...]:
        """The id of every broker, also of those that are down."""

    @property
    @abstractmethod
    def running(self) -> Sequence[int]:
        """The ids of the brokers that are up."""

    @property
    @abstractmethod
    def security(self) -> Security:
        """The secured listeners and the credentials for them."""

    @abstractmethod
    def address(self, broker_id: int) -> str:
        """Return the address of one broker's PLAINTEXT listener."""

    @abstractmethod
    def _check(self) -> None:
        """Raise ClusterError if it is pointless to wait any longer."""

    @abstractmethod
    def _diagnosis(self) -> str:
        """Return the text that explains a wait in vain."""

    # -- topics ---------------------------------------------------------------------------------

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
        self._wait_led(name, partitions)

    def configure_topic(self, topic: str, config: Mapping[str, str]) -> None:
        """Set some of a topic's settings, and leave the others."""
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self._request(lambda admin: admin.incremental_alter_configs([resource])[resource])

    def add_partitions(self, topic: str, total: int) -> None:
        """Grow a topic to `total` partitions and wait until every one has a leader."""
        grown = NewPartitions(topic, total)
        self._request(
            lambda admin: admin.create_partitions([grown])[topic], KafkaError.INVALID_PARTITIONS
        )
        self._wait_led(topic, total)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and wait until the brokers have forgotten it."""
        self._request(
            lambda admin: admin.delete_topics([topic])[topic], KafkaError.UNKNOWN_TOPIC_OR_PART
        )
        self.wait_gone(topic)

    def wait_gone(self, topic: str) -> None:
        """Wait until the brokers have forgotten a topic."""
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
            lambda cluster: topic in cluster.topics and _preferred(cluster.topics[topic]),
            f"the preferred leaders of {topic}",
        )

    def wait_in_sync(self, topic: str | None = None, timeout: float = TIMEOUT) -> None:
        """Wait until every replica of `topic`, or of all topics, is in sync."""
        self._wait_until(
            lambda cluster: (
                (topic is None or topic in cluster.topics)
                and all(map(_in_sync, _some(cluster, topic)))
            ),
            f"every replica of {topic or 'every topic'} to be in sync",
            timeout,
        )

    def wait_leader(self, topic: str, partition: int, timeout: float = TIMEOUT) -> int:
        """Wait until a broker that is up leads a partition, and return its id."""
        cluster = self._wait_until(
            lambda cluster: any(
                found.partitions[partition].leader in cluster.brokers
                for found in _some(cluster, topic)
                if partition in found.partitions
            ),
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

    def _wait_led(self, topic: str, partitions: int) -> None:
        self._wait_until(
            lambda cluster: topic in cluster.topics and _led(cluster.topics[topic]) == partitions,
            f"leaders for {partitions} partitions of {topic}",
        )

    def _topic(self, name: str) -> TopicMetadata:
        found = self._wait_until(lambda cluster: name in cluster.topics, f"topic {name}")
        return found.topics[name]

    # -- rights and passwords -------------------------------------------------------------------

    def deny(self, user: str, topic: str, operation: str = "ALL") -> None:
        """Deny a topic to one user; all others may still use it.

        Args:
            user: as brokers know it: a SASL user, a token's subject, a certificate's name. Not
                ANONYMOUS, the user of PLAINTEXT and SSL, which may do everything.
            operation: a name of confluent_kafka.admin.AclOperation. With `WRITE` clients see the
                topic and may not write to it; with `DESCRIBE` and `ALL` they don't see it.
        """
        # A topic with any ACL is closed to all users that no ACL lets in.
        self._create(_acl(_EVERYBODY, topic, "ALL", AclPermissionType.ALLOW))
        self._create(_acl(user, topic, operation, AclPermissionType.DENY))
        wanted = AclOperation[operation].value
        self._poll(
            lambda: all(wanted in each for each in self._denied(user, topic)),
            f"{user} to be denied {topic}",
        )

    def allow(self, user: str, topic: str) -> None:
        """Undo every `deny` of a topic to a user."""
        undone = AclBindingFilter(
            ResourceType.TOPIC,
            topic,
            ResourcePatternType.LITERAL,
            f"User:{user}",
            _ANY_HOST,
            AclOperation.ANY,
            AclPermissionType.DENY,
        )
        self._request(lambda admin: admin.delete_acls([undone])[undone])
        self._poll(lambda: not any(self._denied(user, topic)), f"{user} to be allowed {topic}")

    def change_password(self, user: str, password: str) -> None:
        """Give a user, who need not exist yet, a password for both SCRAM mechanisms.

        Authenticated connections stay. PLAIN keeps the password of `security.users`.
        """
        for mechanism in _SCRAM:  # Kafka takes one alteration of a user per request
            info = ScramCredentialInfo(mechanism, _ITERATIONS)
            self._alter(UserScramCredentialUpsertion(user, info, password.encode()))
        for broker_id in self.running:
            address = self.security.address("SASL_PLAINTEXT", broker_id)
            self._poll(
                partial(_lets_in, address, user, password),
                f"broker {broker_id} to let {user} in with the new password",
            )

    def _create(self, acl: AclBinding) -> None:
        self._request(lambda admin: admin.create_acls([acl])[acl])

    def _alter(self, user: UserScramCredentialUpsertion) -> None:
        self._request(lambda admin: admin.alter_user_scram_credentials([user])[user.user])

    def _denied(self, user: str, topic: str) -> list[set[int]]:
        return [_denied_by(self.address(each), user, topic) for each in self.running]

    # -- asking and waiting ---------------------------------------------------------------------

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
                # Negative codes are librdkafka's own: the request got lost.
                if (code >= 0 and code not in _TRY_AGAIN) or time.monotonic() > deadline:
                    raise
                lost = True
            else:
                return

    def _wait_until(
        self, condition: Callable[[ClusterMetadata], bool], what: str, timeout: float = TIMEOUT
    ) -> ClusterMetadata:
        """Return the first metadata that satisfies `condition`."""

        def metadata() -> ClusterMetadata | None:
            found = self._metadata()
            return found if found is not None and condition(found) else None

        return self._poll(metadata, what, timeout)

    def _poll(
        self, ask: Callable[[], _Answer | None], what: str, timeout: float = TIMEOUT
    ) -> _Answer:
        """Return the first answer that is true."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._check()
            with contextlib.suppress(ConnectionRefusedError):  # a broker that does not listen yet
                if answer := ask():
                    return answer
            time.sleep(_POLL)
        raise ClusterError(f"waited {timeout:.0f} s for {what}\n{self._diagnosis()}")

    def _metadata(self) -> ClusterMetadata | None:
        try:
            return self._client().list_topics(timeout=2)
        except KafkaException:
            return None  # no broker answered yet


def quiet(bootstrap: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a client that retries silently."""
    return {
        "bootstrap.servers": ",".join(bootstrap),
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
        "socket.timeout.ms": 5000,  # else a paused broker keeps its requests for ever
        "log_level": 0,
        "error_cb": lambda error: None,  # brokers that are down are the point here
    }


def _some(cluster: ClusterMetadata, topic: str | None) -> list[TopicMetadata]:
    """Return one topic, or all: a broker that is just up may not know it yet."""
    return [found for name, found in cluster.topics.items() if topic in (None, name)]


def _led(topic: TopicMetadata) -> int:
    return sum(partition.leader >= 0 for partition in topic.partitions.values())


def _preferred(topic: TopicMetadata) -> bool:
    return all(each.leader == each.replicas[0] for each in topic.partitions.values())


def _in_sync(topic: TopicMetadata) -> bool:
    return all(
        each.leader >= 0 and set(each.isrs) == set(each.replicas)
        for each in topic.partitions.values()
    )


def _acl(user: str, topic: str, operation: str, kind: AclPermissionType) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        f"User:{user}",
        _ANY_HOST,
        AclOperation[operation],
        kind,
    )


# An admin client asks any broker; these two ask one.


def _lets_in(address: str, user: str, password: str) -> bool:
    """Whether a broker lets a user in by SCRAM; `address` is of its SASL_PLAINTEXT listener."""
    credentials = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
    }
    try:
        # The client knows no other broker yet, so the answer is from this one.
        AdminClient({**quiet([address]), **credentials}).list_topics(timeout=2)
    except KafkaException:
        return False
    return True


def _denied_by(address: str, user: str, topic: str) -> set[int]:
    """Return the operations (AclOperation) on a topic that a broker denies to a user."""
    request = DescribeAclsRequest(
        resource_type_filter=i8(ResourceType.TOPIC.value),
        resource_name_filter=topic,
        principal_filter=f"User:{user}",
        host_filter=None,
        operation=i8(AclOperation.ANY.value),
        permission_type=i8(AclPermissionType.DENY.value),
    )
    buffer = io.BytesIO()
    schema: Any = request.__header_schema__
    header = schema(
        request_api_key=request.__api_key__,
        request_api_version=request.__version__,
        correlation_id=i32(0),
        client_id="tests",
    )
    entity_writer(schema)(buffer, header)
    entity_writer(DescribeAclsRequest)(buffer, request)
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 5.0) as connection:
        connection.sendall(struct.pack(">i", buffer.tell()) + buffer.getvalue())
        with connection.makefile("rb") as stream:
            (size,) = struct.unpack(">i", stream.read(4))
            body = stream.read(size)
    _, offset = entity_reader(DescribeAclsResponse.__header_schema__)(body, 0)
    response, _ = entity_reader(DescribeAclsResponse)(body, offset)
    return {acl.operation for resource in response.resources for acl in resource.acls}
