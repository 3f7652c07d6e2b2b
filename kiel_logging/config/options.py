"""The Producer's options: the table of them, and the checks that they pass when it is made.

The rest of the package gets ProducerOptions: checked values in the units that it computes with,
seconds and bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypedDict

from kiel_logging.config.security import SecurityKeywords, SecurityOptions, security_options
from kiel_logging.config.table import (
    FLAG_OR_NONE,
    FUNCTION,
    REQUIRED,
    TEXT,
    Kind,
    checked,
    milliseconds,
    rows,
    seconds,
    whole,
)
from kiel_logging.errors import ConfigurationError
from kiel_logging.partitioners import NAMED, Partitioner
from kiel_logging.partitioners import partitioner as partitioner_choice
from kiel_logging.printable import printable
from kiel_logging.serializers import Serializer, json_serializer
from kiel_logging.wire.compression import CHOICES, LEVELS, Codec, codec

KeyMaker: TypeAlias = Callable[[Any], Any]
Brokers: TypeAlias = str | Sequence[str]

ALL_ACKS: Final = -1
DEFAULT_PORT: Final = 9092
MOST_HOST: Final = 255
"""Characters of a host name (RFC 1035)."""

_SMALLEST_REQUEST: Final = 1024

ACKS: Final = Kind(
    "1 (the leader has it), -1 (all in-sync replicas have it) or 0 (don't wait)",
    lambda value: not isinstance(value, bool) and value in (-1, 0, 1),
)
CODEC: Final = Kind(f"{CHOICES} or None")
LEVEL: Final = Kind(
    "a whole number: "
    + ", ".join(f"{levels[0]} to {levels[-1]} for {name}" for name, levels in LEVELS.items())
)
PARTITIONER: Final = Kind(
    f"{', '.join(map(repr, NAMED))}, or a callable (key, partitions) -> partition"
)


# -- the table -------------------------------------------------------------------------------------
# The defaults of options that the original kiel does not have are the Java client's, where it has
# them.


class BrokersKeyword(TypedDict, total=False):
    """Of every client."""

    brokers: Annotated[
        Brokers, REQUIRED, Kind('a list of "host" or "host:port", or one comma-separated string')
    ]
    """Bootstrap brokers, asked one at a time, in order; the port is 9092 when left out, IPv6 stands
    in brackets."""


class SharedKeywords(SecurityKeywords, total=False):
    """Options that the Producer and the handlers have in common."""

    compression_level: Annotated[int | None, None, LEVEL]
    """The codec's own measure of effort; None is its default."""
    max_request_size: Annotated[int, 1_048_576, whole(_SMALLEST_REQUEST)]
    """Most bytes of a request, and so of a message, uncompressed."""
    idempotence: Annotated[bool | None, None, FLAG_OR_NONE]
    """Whether brokers drop repeats, so that each message is stored once and in order; only
    ``required_acks=-1`` allows it (KIP-98). None uses it then, unless the brokers refuse it or
    don't know it, which is logged; True insists on it."""
    request_timeout_ms: Annotated[float, 30_000.0, milliseconds(1)]
    """Milliseconds that a broker has to answer."""
    retry_backoff_ms: Annotated[float, 100.0, milliseconds(1)]
    """Milliseconds before the first retry; doubles with each."""
    retry_backoff_max_ms: Annotated[float, 1_000.0, milliseconds(1)]
    """Most milliseconds between two retries."""
    client_id: Annotated[str, "kiel_logging", TEXT]
    """How the brokers' logs and quotas call this client."""
    connect_timeout_ms: Annotated[float, 10_000.0, milliseconds(1)]
    """Milliseconds for each attempt to connect."""
    connections_max_idle_ms: Annotated[float, 540_000.0, milliseconds(0)]
    """Milliseconds after which a connection that nothing was sent on is closed, 0 for never.
    Brokers close theirs after ten minutes. Set it to less than load balancers and firewalls on the
    way keep idle connections."""
    metadata_max_age_ms: Annotated[float, 300_000.0, milliseconds(1)]
    """Milliseconds after which brokers are asked again who leads what."""
    topic_creation_timeout_ms: Annotated[float, 10_000.0, milliseconds(0)]
    """Milliseconds that an unknown topic has to come into being."""


class ProducerKeywords(SharedKeywords, total=False):
    """The keyword-only options of Producer."""

    linger_ms: Annotated[float, 5.0, milliseconds(0)]
    """Milliseconds after which messages are sent although the batch isn't full."""
    delivery_timeout_ms: Annotated[float, 120_000.0, milliseconds(1)]
    """Milliseconds after which a message is given up; one that is out to a broker by then has until
    its request ends, at most ``request_timeout_ms`` more."""
    buffer_memory: Annotated[int, 32 * 1024 * 1024, whole(_SMALLEST_REQUEST)]
    """Most bytes of memory for messages that are not delivered yet."""
    max_block_ms: Annotated[float, 60_000.0, milliseconds(0)]
    """Milliseconds that ``produce()`` waits for room in ``buffer_memory``."""


class _OriginalKeywords(BrokersKeyword, total=False):
    """The options of the original kiel, in its order."""

    key_maker: Annotated[KeyMaker | None, None, FUNCTION]
    """``message -> key``, by default None for all messages. In Kafka a key is stored as bytes: None
    as null, str as UTF-8, int as decimal digits."""
    partitioner: Annotated[str | Partitioner | None, None, PARTITIONER]
    """Chooses the partition: "random" (the default), "round_robin", "murmur2" (as the Java client),
    "crc32" and "fnv1a" (as librdkafka), "consistent"."""
    serializer: Annotated[Serializer | None, None, FUNCTION]
    """``message -> str or bytes``, by default ``json.dumps``."""
    compression: Annotated[str | None, None, CODEC]
    """The codec. If brokers refuse it, messages are sent uncompressed, which is logged."""
    batch_size: Annotated[int, 1, whole(1)]
    """How many messages, over all topics, are collected before they are sent."""
    required_acks: Annotated[int, 1, ACKS]
    """When a message counts as delivered."""
    ack_timeout: Annotated[int, 500, whole(1)]
    """Milliseconds that the leader may wait for the other replicas."""


class AllProducerKeywords(_OriginalKeywords, ProducerKeywords, total=False):
    """All options of Producer."""


PRODUCER: Final = rows(
    BrokersKeyword, _OriginalKeywords, SecurityKeywords, SharedKeywords, ProducerKeywords
)


# -- the checks ------------------------------------------------------------------------------------


class Address(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = printable(self.host, MOST_HOST)  # brokers advertise what they like
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


class ProducerOptions(NamedTuple):
    """The options of an engine, checked; times in seconds, sizes in bytes."""

    brokers: tuple[Address, ...]
    key_maker: KeyMaker
    partitioner: Partitioner
    serializer: Serializer
    codec: Codec
    batch_size: int
    required_acks: int
    ack_timeout_ms: int
    client_id: str
    linger: float
    request_timeout: float
    delivery_timeout: float
    retry_backoff: float
    retry_backoff_max: float
    metadata_max_age: float
    topic_creation_timeout: float
    connect_timeout: float
    connections_max_idle: float
    max_block: float
    max_request_size: int
    buffer_memory: int
    idempotence: bool
    idempotence_required: bool
    security: SecurityOptions


def producer_options(**given: Any) -> ProducerOptions:
    """Check the options of a Producer; those that are left out have their defaults.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
    """
    values = checked(PRODUCER, given)
    _check_times(values)
    kept = {name: values[name] for name in ProducerOptions._fields if name in values}
    return ProducerOptions(
        **{
            **kept,
            **seconds(values),
            "brokers": parse_brokers(values["brokers"]),
            "key_maker": values["key_maker"] or _no_key,
            "partitioner": partitioner_choice(values["partitioner"]),
            "serializer": values["serializer"] or json_serializer,
            "codec": codec(values["compression"], values["compression_level"]),
            "ack_timeout_ms": values["ack_timeout"],
            "idempotence": _idempotence(values["idempotence"], values["required_acks"]),
            "idempotence_required": values["idempotence"] is True,
            "security": security_options(
                **{name: values[name] for name in SecurityKeywords.__annotations__}
            ),
        }
    )


def _no_key(_message: Any) -> None:
    return None


def _idempotence(value: bool | None, required_acks: int) -> bool:
    if value and required_acks != ALL_ACKS:
        raise ConfigurationError(
            f"idempotence=True and required_acks={required_acks!r} contradict each other: "
            "only required_acks=-1 lets brokers tell a repeat from a new message"
        )
    return required_acks == ALL_ACKS if value is None else value


def _check_times(times: Mapping[str, Any]) -> None:
    delivery, request, linger = (
        times[name] for name in ("delivery_timeout_ms", "request_timeout_ms", "linger_ms")
    )
    if delivery < linger + request:
        raise ConfigurationError(
            f"delivery_timeout_ms={delivery!r} is less than linger_ms={linger!r} plus "
            f"request_timeout_ms={request!r}: not even one attempt would fit"
        )
    first, most = times["retry_backoff_ms"], times["retry_backoff_max_ms"]
    if most < first:
        raise ConfigurationError(
            f"retry_backoff_max_ms={most!r} is less than retry_backoff_ms={first!r}"
        )


def parse_brokers(brokers: Brokers) -> tuple[Address, ...]:
    """Return the addresses in a list of ``"host"`` or ``"host:port"``, or one such string.

    The port is 9092 when left out; IPv6 addresses go in brackets.

    Raises:
        ConfigurationError: there are none, or one is misspelt.
    """
    if isinstance(brokers, str):
        brokers = [broker for broker in brokers.split(",") if broker.strip()]
    elif not isinstance(brokers, list | tuple):
        raise ConfigurationError(
            f"brokers={brokers!r} must be a list of 'host' or 'host:port', or one "
            "comma-separated string"
        )
    if any(isinstance(broker, str) and "@" in broker for broker in brokers):
        raise ConfigurationError(  # shows none of it: a password stands in front of the "@"
            "brokers has an '@': each is 'host' or 'host:port'; say who you are by sasl_username "
            "and sasl_password"
        )
    addresses = tuple(_parse_broker(broker) for broker in brokers)
    if not addresses:
        raise ConfigurationError("brokers is empty: name at least one, 'host' or 'host:port'")
    return addresses


def _parse_broker(broker: object) -> Address:
    if not isinstance(broker, str):
        raise ConfigurationError(f"brokers has {broker!r}: each must be str, 'host' or 'host:port'")
    text = broker.strip()
    if "/" in text:
        raise ConfigurationError(f"brokers has {broker!r}: leave out the '...://'")
    host, port = _split_port(text, broker)
    if not host or any(character.isspace() or character in "[]" for character in host):
        raise ConfigurationError(f"brokers has {broker!r}: that is no host name or address")
    return Address(host, port)


def _split_port(text: str, broker: str) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigurationError(f"brokers has {broker!r}: write IPv6 as '[::1]:9092'")
        return host, _parse_port(rest[1:], broker) if rest else DEFAULT_PORT
    if "," in text:
        raise ConfigurationError(f"brokers has {broker!r}: give each address as an item of its own")
    if text.count(":") > 1:
        raise ConfigurationError(f"brokers has {broker!r}: write IPv6 in brackets, '[::1]:9092'")
    host, colon, port = text.partition(":")
    return host, _parse_port(port, broker) if colon else DEFAULT_PORT


def _parse_port(text: str, broker: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536:
        return int(text)
    raise ConfigurationError(f"brokers has {broker!r}: the port must be a number from 1 to 65535")
