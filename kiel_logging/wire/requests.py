"""The small requests and their responses, whatever their version.

Metadata, Produce and ApiVersions have modules of their own. Source:
https://kafka.apache.org/protocol#protocol_messages, and the KIPs named below.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from kiel_logging.errors import ProtocolError
from kiel_logging.printable import printable
from kiel_logging.records import TopicPartition
from kiel_logging.wire.codec import Message
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.messages import Request
from kiel_logging.wire.schemas import Api

# -- InitProducerId: KIP-98 ------------------------------------------------------------------------

# Only a transactional producer's are remembered for a time, so this is not used; 0 is refused.
_TRANSACTION_TIMEOUT_MS: Final = 60_000


class ProducerId(NamedTuple):
    """A broker's answer: a producer id and its epoch, or an error."""

    error_code: ErrorCode | int
    producer_id: int
    producer_epoch: int


def init_producer_id_request(version: int) -> Request:
    """Return the request for a new producer id, without a transaction."""
    fields = {"transactional_id": None, "transaction_timeout_ms": _TRANSACTION_TIMEOUT_MS}
    return Request(Api.INIT_PRODUCER_ID, version, fields)


def read_producer_id(response: Message) -> ProducerId:
    """Return the answer in an InitProducerId response.

    Raises:
        ProtocolError: it grants a producer id, or an epoch, that there can't be.
    """
    answer = ProducerId(*(response[name] for name in ProducerId._fields))
    granted = answer.error_code == ErrorCode.none
    if granted and (answer.producer_id < 0 or answer.producer_epoch < 0):
        raise ProtocolError(
            f"a broker granted the producer id {answer.producer_id} with epoch "
            f"{answer.producer_epoch}: neither can be negative"
        )
    return answer


# -- DescribeConfigs: a topic's settings -----------------------------------------------------------

MAX_MESSAGE_BYTES: Final = "max.message.bytes"

_TOPIC: Final = 2


def topic_configs_request(version: int, topic: str, *names: str) -> Request:
    """Return the request for settings of ``topic``."""
    resource = {"resource_type": _TOPIC, "resource_name": topic, "configuration_keys": names}
    return Request(Api.DESCRIBE_CONFIGS, version, {"resources": (resource,)})


def read_topic_configs(response: Message) -> Mapping[str, str] | ErrorCode | int:
    """Return the settings that have a value, or the error in their place."""
    error: ErrorCode | int = ErrorCode.unknown_server_error
    for result in response["results"]:
        if (error := result["error_code"]) == ErrorCode.none:
            return {one["name"]: one["value"] for one in result["configs"] if one["value"]}
    return error


def max_message_bytes_request(version: int, topic: str) -> Request:
    """Return the request for the most bytes that ``topic`` takes in a batch."""
    return topic_configs_request(version, topic, MAX_MESSAGE_BYTES)


def read_max_message_bytes(response: Message) -> int | None:
    """Return the value; None where the broker does not give it (this client may not ask)."""
    found = read_topic_configs(response)
    value = found.get(MAX_MESSAGE_BYTES, "") if isinstance(found, Mapping) else ""
    return int(value) if value.isdecimal() else None


# -- SaslHandshake and SaslAuthenticate: KIP-43, KIP-152, KIP-368 ----------------------------------

HANDSHAKE_VERSION: Final = 1
"""The one that is followed by SaslAuthenticate requests."""

_MOST_SAID: Final = 300
"""Characters of a broker's reason for a refusal."""


class Authenticated(NamedTuple):
    """One answer of the broker's: its bytes, and in the last how many seconds the session has.

    ``lifetime`` 0 is one without an end.
    """

    error: ErrorCode | int
    message: str | None
    auth_bytes: bytes
    lifetime: float


def sasl_handshake_request(mechanism: str) -> Request:
    """Return the request that names the mechanism."""
    return Request(Api.SASL_HANDSHAKE, HANDSHAKE_VERSION, {"mechanism": mechanism})


def read_sasl_handshake(response: Message) -> tuple[ErrorCode | int, tuple[str, ...]]:
    """Return the broker's answer to the name, and the names that it offers."""
    return response["error_code"], response["mechanisms"]


def sasl_authenticate_request(version: int, auth_bytes: bytes) -> Request:
    """Return the request that carries the client's next bytes."""
    return Request(Api.SASL_AUTHENTICATE, version, {"auth_bytes": auth_bytes})


def read_sasl_authenticate(response: Message) -> Authenticated:
    """Return the broker's answer to the bytes."""
    milliseconds = response.get("session_lifetime_ms", 0)  # from version 1 on
    message = response["error_message"]
    return Authenticated(
        error=response["error_code"],
        message=None if message is None else printable(message, _MOST_SAID),
        auth_bytes=response["auth_bytes"],
        lifetime=max(0, milliseconds) / 1000,
    )


# -- Fetch: the one batch that was just written ----------------------------------------------------

_MOST_FETCHED: Final = 64 * 1024
"""Bytes: the first batch comes whole, however large it is."""


def fetch_request(version: int, where: TopicPartition, offset: int, wait_ms: int) -> Request:
    """Return the request for what a partition has from ``offset`` on."""
    most = {"partition_max_bytes": _MOST_FETCHED}
    partition = {"partition": where.partition, "fetch_offset": offset, **most}
    topics = ({"topic": where.topic, "partitions": (partition,)},)
    fields = {"max_wait_ms": wait_ms, "min_bytes": 1, "max_bytes": _MOST_FETCHED, "topics": topics}
    return Request(Api.FETCH, version, fields)


def read_fetch(response: Message) -> tuple[ErrorCode | int, bytes]:
    """Return the error of the one partition that was asked for, and its batches."""
    if response["error_code"] != ErrorCode.none:
        return response["error_code"], b""
    for topic in response["responses"]:
        for partition in topic["partitions"]:
            return partition["error_code"], partition["records"] or b""
    return ErrorCode.none, b""


# -- DescribeQuorum: the clock of the cluster's controller, KIP-595, KIP-836 -----------------------


def quorum_request(version: int) -> Request:
    """Return the request for what the controller knows of the other voters."""
    topic = {"topic_name": "__cluster_metadata", "partitions": ({"partition_index": 0},)}
    return Request(Api.DESCRIBE_QUORUM, version, {"topics": (topic,)})


def read_controller_time(response: Message) -> int | None:
    """Return the milliseconds since 1970 by the controller's clock; None where it does not say.

    It notes when each voter had the whole log; for itself that is now.
    """
    for topic in response["topics"]:
        for partition in topic["partitions"]:
            for voter in partition["current_voters"]:
                time = voter["last_caught_up_timestamp"]
                if voter["replica_id"] == partition["leader_id"] and time > 0:
                    return int(time)
    return None
