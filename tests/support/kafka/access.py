"""What changes at run time about who may do what: ACLs of topics, passwords of users.

The controller answers before the brokers have heard of a change. Each call here returns when
every broker that runs goes by the change, so that a test can rely on it at once.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Final

from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType

# Their types are not exported where the documentation has them.
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from .one_broker import denied_by, lets_in
from .security import Security
from .topics import Topics

_EVERYBODY: Final = "*"
_ANY_HOST: Final = "*"
_SCRAM: Final = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
_ITERATIONS: Final = 4096  # the fewest that Kafka allows


class Access(Topics):
    """The users of the cluster, and what they may do with its topics."""

    @property
    @abstractmethod
    def security(self) -> Security:
        """The secured listeners and the credentials for them."""

    @property
    @abstractmethod
    def running(self) -> Sequence[int]:
        """The ids of the brokers that are up."""

    @abstractmethod
    def address(self, broker_id: int) -> str:
        """Return the address of one broker's PLAINTEXT listener."""

    def deny(self, user: str, topic: str, operation: str = "ALL") -> None:
        """Refuse a topic to a user, and to nobody else.

        Args:
            user: as brokers know it: a SASL user, a token's subject, a certificate's name. Not
                ANONYMOUS, who comes in by PLAINTEXT and SSL and may do everything.
            operation: a name of confluent_kafka.admin.AclOperation, such as `WRITE`, with
                which clients are told about the topic and then refused; `DESCRIBE` and `ALL`
                refuse to tell.
        """
        # A topic with any ACL is closed to all whom none of them lets in.
        self._create(_acl(_EVERYBODY, topic, "ALL", AclPermissionType.ALLOW))
        self._create(_acl(user, topic, operation, AclPermissionType.DENY))
        self._poll(lambda: self._all_refuse(user, topic, operation), f"{user} to be denied {topic}")

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
        self._poll(lambda: self._none_refuses(user, topic), f"{user} to be allowed {topic}")

    def change_password(self, user: str, password: str) -> None:
        """Give a user a password for both SCRAM mechanisms; a new user is made.

        Connections that are authenticated stay. PLAIN goes on with the password of
        `security.users`, which does not change.
        """
        for mechanism in _SCRAM:  # Kafka takes one alteration of a user per request
            self._alter(_credential(user, mechanism, password))
        for broker_id in self.running:
            address = self.security.address("SASL_PLAINTEXT", broker_id)
            self._poll(
                partial(lets_in, address, user, password),
                f"broker {broker_id} to let {user} in with the new password",
            )

    def _create(self, acl: AclBinding) -> None:
        self._request(lambda admin: admin.create_acls([acl])[acl])

    def _alter(self, credential: UserScramCredentialAlteration) -> None:
        user = credential.user
        self._request(lambda admin: admin.alter_user_scram_credentials([credential])[user])

    def _all_refuse(self, user: str, topic: str, operation: str) -> bool:
        return all(AclOperation[operation].value in each for each in self._refused(user, topic))

    def _none_refuses(self, user: str, topic: str) -> bool:
        return not any(self._refused(user, topic))

    def _refused(self, user: str, topic: str) -> list[set[int]]:
        return [denied_by(self.address(each), user, topic) for each in self.running]


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


def _credential(
    user: str, mechanism: ScramMechanism, password: str
) -> UserScramCredentialUpsertion:
    info = ScramCredentialInfo(mechanism, _ITERATIONS)
    return UserScramCredentialUpsertion(user, info, password.encode())
