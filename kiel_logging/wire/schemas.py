"""The messages of the protocol that this client speaks, as tables.

Each request and its response is a struct: fields in the order in which they are written, each with
the versions that have it. Names and order are Kafka's own; the structs within a message stand in
front of it. The tests compare every message in every version that is spoken with a second
implementation, byte by byte.

Source: https://kafka.apache.org/protocol#protocol_messages; KIP-482 (flexible versions).
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final, Literal, NamedTuple, TypeAlias


class Api(IntEnum):
    """The requests this client sends, by Kafka's API keys."""

    PRODUCE = 0
    FETCH = 1
    METADATA = 3
    SASL_HANDSHAKE = 17
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    DESCRIBE_CONFIGS = 32
    SASL_AUTHENTICATE = 36
    DESCRIBE_QUORUM = 55


Primitive: TypeAlias = Literal[
    "bool", "int8", "int16", "int32", "int64", "uuid", "error", "string", "bytes"
]
"""``error`` is an int16 that becomes an ErrorCode. Times are integers, in milliseconds."""

_NEVER: Final = 1_000
"""A version that there will not be."""


class Array(NamedTuple):
    """Any number of elements of one kind.

    Where ``kept`` names fields, each element that is read becomes a plain tuple of these alone.
    """

    of: "Primitive | tuple[Field, ...]"
    kept: tuple[str, ...] = ()


class Field(NamedTuple):
    """A field: its kind is a primitive, an array, or a tuple of fields, which is a struct.

    Versions ``since`` to ``until`` have it, and those from ``nullable`` on allow a null in it. A
    field with a ``tag`` is optional and stands behind all others. ``default`` is the value of a
    field that a request does not set, or that a response leaves out.
    """

    name: str
    kind: "Primitive | Array | tuple[Field, ...]"
    since: int = 0
    until: int = _NEVER
    nullable: int = _NEVER
    tag: int | None = None
    default: Any = None

    def is_in(self, version: int) -> bool:
        """Return whether messages of ``version`` have this field."""
        return self.since <= version <= self.until

    def is_nullable(self, version: int) -> bool:
        """Return whether a null is allowed in ``version``."""
        return version >= self.nullable


Struct: TypeAlias = tuple[Field, ...]
Kind: TypeAlias = Primitive | Array | Struct


class Schema(NamedTuple):
    """A request and its response.

    Versions from ``flexible`` on have compact lengths and tagged fields (KIP-482).
    """

    flexible: int
    request: Struct
    response: Struct


# Produce

_BATCHES: Final = (Field("index", "int32"), Field("records", "bytes", nullable=0))
_RECORD_ERRORS: Final = (
    Field("batch_index", "int32"),
    Field("batch_index_error_message", "string", nullable=8),
)
_CURRENT_LEADER: Final = (Field("leader_id", "int32"), Field("leader_epoch", "int32"))
_NO_LEADER: Final = {"leader_id": -1, "leader_epoch": -1}
_PRODUCED: Final = (
    Field("index", "int32"),
    Field("error_code", "error"),
    Field("base_offset", "int64"),
    Field("log_append_time_ms", "int64", since=2),
    Field("log_start_offset", "int64", since=5),
    Field("record_errors", Array(_RECORD_ERRORS), since=8),
    Field("error_message", "string", since=8, nullable=8),
    Field("current_leader", _CURRENT_LEADER, since=10, tag=0, default=_NO_LEADER),
)
_TOPIC: Final = (Field("name", "string", until=12), Field("topic_id", "uuid", since=13))
_NODE_ENDPOINTS: Final = (
    Field("node_id", "int32"),
    Field("host", "string"),
    Field("port", "int32"),
    Field("rack", "string", nullable=10),
)
_PRODUCE: Final = Schema(
    flexible=9,
    request=(
        Field("transactional_id", "string", since=3, nullable=3),
        Field("acks", "int16"),
        Field("timeout_ms", "int32"),
        Field("topic_data", Array((*_TOPIC, Field("partition_data", Array(_BATCHES))))),
    ),
    response=(
        Field("responses", Array((*_TOPIC, Field("partition_responses", Array(_PRODUCED))))),
        Field("throttle_time_ms", "int32", since=1),
        Field("node_endpoints", Array(_NODE_ENDPOINTS), since=10, tag=0, default=()),
    ),
)

# Fetch; up to the last version without tagged fields in its request.

_WANTED: Final = (
    Field("partition", "int32"),
    Field("current_leader_epoch", "int32", since=9, default=-1),
    Field("fetch_offset", "int64"),
    Field("log_start_offset", "int64", since=5, default=-1),
    Field("partition_max_bytes", "int32"),
)
_FORGOTTEN: Final = (Field("topic", "string"), Field("partitions", Array("int32")))
_ABORTED: Final = (Field("producer_id", "int64"), Field("first_offset", "int64"))
_FETCHED: Final = (
    Field("partition_index", "int32"),
    Field("error_code", "error"),
    Field("high_watermark", "int64"),
    Field("last_stable_offset", "int64", since=4),
    Field("log_start_offset", "int64", since=5),
    Field("aborted_transactions", Array(_ABORTED), since=4, nullable=4),
    Field("preferred_read_replica", "int32", since=11),
    Field("records", "bytes", nullable=0),
)
_FETCH: Final = Schema(
    flexible=12,
    request=(
        Field("replica_id", "int32", default=-1),
        Field("max_wait_ms", "int32"),
        Field("min_bytes", "int32"),
        Field("max_bytes", "int32", since=3),
        Field("isolation_level", "int8", since=4, default=0),
        Field("session_id", "int32", since=7, default=0),
        Field("session_epoch", "int32", since=7, default=-1),
        Field("topics", Array((Field("topic", "string"), Field("partitions", Array(_WANTED))))),
        Field("forgotten_topics_data", Array(_FORGOTTEN), since=7, default=()),
        Field("rack_id", "string", since=11, default=""),
    ),
    response=(
        Field("throttle_time_ms", "int32", since=1),
        Field("error_code", "error", since=7),
        Field("session_id", "int32", since=7),
        Field("responses", Array((Field("topic", "string"), Field("partitions", Array(_FETCHED))))),
    ),
)

# Metadata has thousands of brokers and partitions. Python's garbage collector, which holds up all
# threads, visits dicts with lists in them again and again, and plain tuples of numbers and texts
# only once.

_ASKED_TOPICS: Final = (Field("topic_id", "uuid", since=10), Field("name", "string", nullable=10))
_BROKERS: Final = (
    Field("node_id", "int32"),
    Field("host", "string"),
    Field("port", "int32"),
    Field("rack", "string", since=1, nullable=1),
)
_PARTITIONS: Final = (
    Field("error_code", "error"),
    Field("partition_index", "int32"),
    Field("leader_id", "int32"),
    Field("leader_epoch", "int32", since=7),
    Field("replica_nodes", Array("int32")),
    Field("isr_nodes", Array("int32")),
    Field("offline_replicas", Array("int32"), since=5),
)
_TOPICS: Final = (
    Field("error_code", "error"),
    Field("name", "string", nullable=12),
    Field("topic_id", "uuid", since=10),
    Field("is_internal", "bool", since=1),
    Field("partitions", Array(_PARTITIONS, ("partition_index", "leader_id", "leader_epoch"))),
    Field("topic_authorized_operations", "int32", since=8),
)
_METADATA: Final = Schema(
    flexible=9,
    request=(
        Field("topics", Array(_ASKED_TOPICS), nullable=1),
        Field("allow_auto_topic_creation", "bool", since=4),
        Field("include_cluster_authorized_operations", "bool", since=8, until=10, default=False),
        Field("include_topic_authorized_operations", "bool", since=8, default=False),
    ),
    response=(
        Field("throttle_time_ms", "int32", since=3),
        Field("brokers", Array(_BROKERS, ("node_id", "host", "port"))),
        Field("cluster_id", "string", since=2, nullable=2),
        Field("controller_id", "int32", since=1),
        Field("topics", Array(_TOPICS)),
        Field("cluster_authorized_operations", "int32", since=8, until=10),
        Field("error_code", "error", since=13),
    ),
)

# ApiVersions; the tagged fields of its response, which describe features of the cluster, are
# skipped.

_API_KEYS: Final = (
    Field("api_key", "int16"),
    Field("min_version", "int16"),
    Field("max_version", "int16"),
)
_API_VERSIONS: Final = Schema(
    flexible=3,
    request=(
        Field("client_software_name", "string", since=3),
        Field("client_software_version", "string", since=3),
    ),
    response=(
        Field("error_code", "error"),
        Field("api_keys", Array(_API_KEYS)),
        Field("throttle_time_ms", "int32", since=1),
    ),
)

_INIT_PRODUCER_ID: Final = Schema(
    flexible=2,
    request=(
        Field("transactional_id", "string", nullable=0),
        Field("transaction_timeout_ms", "int32"),
        Field("producer_id", "int64", since=3, default=-1),
        Field("producer_epoch", "int16", since=3, default=-1),
    ),
    response=(
        Field("throttle_time_ms", "int32"),
        Field("error_code", "error"),
        Field("producer_id", "int64"),
        Field("producer_epoch", "int16"),
    ),
)

# DescribeConfigs

_RESOURCES: Final = (
    Field("resource_type", "int8"),
    Field("resource_name", "string"),
    Field("configuration_keys", Array("string"), nullable=0),
)
_SYNONYMS: Final = (
    Field("name", "string"),
    Field("value", "string", nullable=0),
    Field("source", "int8"),
)
_CONFIGS: Final = (
    Field("name", "string"),
    Field("value", "string", nullable=0),
    Field("read_only", "bool"),
    Field("config_source", "int8", since=1),
    Field("is_sensitive", "bool"),
    Field("synonyms", Array(_SYNONYMS), since=1),
    Field("config_type", "int8", since=3),
    Field("documentation", "string", since=3, nullable=0),
)
_CONFIG_RESULTS: Final = (
    Field("error_code", "error"),
    Field("error_message", "string", nullable=0),
    Field("resource_type", "int8"),
    Field("resource_name", "string"),
    Field("configs", Array(_CONFIGS)),
)
_DESCRIBE_CONFIGS: Final = Schema(
    flexible=4,
    request=(
        Field("resources", Array(_RESOURCES)),
        Field("include_synonyms", "bool", since=1, default=False),
        Field("include_documentation", "bool", since=3, default=False),
    ),
    response=(
        Field("throttle_time_ms", "int32"),
        Field("results", Array(_CONFIG_RESULTS)),
    ),
)

# DescribeQuorum

_QUORUM_ASKED: Final = (
    Field("topic_name", "string"),
    Field("partitions", Array((Field("partition_index", "int32"),))),
)
_REPLICA_STATES: Final = (
    Field("replica_id", "int32"),
    Field("log_end_offset", "int64"),
    Field("last_fetch_timestamp", "int64", since=1),
    Field("last_caught_up_timestamp", "int64", since=1),
)
_QUORUMS: Final = (
    Field("partition_index", "int32"),
    Field("error_code", "error"),
    Field("leader_id", "int32"),
    Field("leader_epoch", "int32"),
    Field("high_watermark", "int64"),
    Field("current_voters", Array(_REPLICA_STATES)),
    Field("observers", Array(_REPLICA_STATES)),
)
_DESCRIBE_QUORUM: Final = Schema(
    flexible=0,
    request=(Field("topics", Array(_QUORUM_ASKED)),),
    response=(
        Field("error_code", "error"),
        Field(
            "topics", Array((Field("topic_name", "string"), Field("partitions", Array(_QUORUMS))))
        ),
    ),
)

# SASL

_SASL_HANDSHAKE: Final = Schema(
    flexible=_NEVER,
    request=(Field("mechanism", "string"),),
    response=(Field("error_code", "error"), Field("mechanisms", Array("string"))),
)
_SASL_AUTHENTICATE: Final = Schema(
    flexible=2,
    request=(Field("auth_bytes", "bytes"),),
    response=(
        Field("error_code", "error"),
        Field("error_message", "string", nullable=0),
        Field("auth_bytes", "bytes"),
        Field("session_lifetime_ms", "int64", since=1),
    ),
)

SCHEMAS: Final[Mapping[Api, Schema]] = {
    Api.PRODUCE: _PRODUCE,
    Api.FETCH: _FETCH,
    Api.METADATA: _METADATA,
    Api.SASL_HANDSHAKE: _SASL_HANDSHAKE,
    Api.API_VERSIONS: _API_VERSIONS,
    Api.INIT_PRODUCER_ID: _INIT_PRODUCER_ID,
    Api.DESCRIBE_CONFIGS: _DESCRIBE_CONFIGS,
    Api.SASL_AUTHENTICATE: _SASL_AUTHENTICATE,
    Api.DESCRIBE_QUORUM: _DESCRIBE_QUORUM,
}
