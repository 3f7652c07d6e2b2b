"""The Producer's options, checked once, when it is made.

Each check is one function that names the option, the value and what is allowed. What the rest of
the package gets are checked values in the units it computes with: seconds and bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any, Final, NamedTuple, TypeAlias

from kiel_logging.config.security import SECURITY, SecurityOptions, security_options
from kiel_logging.config.table import FLAG_OR_NONE, FUNCTION, TEXT, milliseconds, whole
from kiel_logging.errors import ConfigurationError
from kiel_logging.partitioners import Partitioner
from kiel_logging.partitioners import partitioner as partitioner_choice
from kiel_logging.printable import printable
from kiel_logging.serializers import Serializer, json_serializer
from kiel_logging.wire.compression import Codec, codec

KeyMaker: TypeAlias = Callable[[Any], Any]
Brokers: TypeAlias = str | Sequence[str]

DEFAULT_PORT: Final = 9092
MOST_HOST: Final = 255
"""Characters of a host name (RFC 1035)."""

# The defaults of what the seed doesn't name are the Java client's, where it has the option.
DEFAULT_LINGER_MS: Final = 5.0
DEFAULT_CLIENT_ID: Final = "kiel_logging"
DEFAULT_REQUEST_TIMEOUT_MS: Final = 30_000.0
DEFAULT_DELIVERY_TIMEOUT_MS: Final = 120_000.0
DEFAULT_RETRY_BACKOFF_MS: Final = 100.0
DEFAULT_RETRY_BACKOFF_MAX_MS: Final = 1_000.0
DEFAULT_METADATA_MAX_AGE_MS: Final = 300_000.0
DEFAULT_TOPIC_CREATION_TIMEOUT_MS: Final = 10_000.0
DEFAULT_CONNECT_TIMEOUT_MS: Final = 10_000.0
DEFAULT_CONNECTIONS_MAX_IDLE_MS: Final = 540_000.0
"""Brokers close idle connections after ten minutes (connections.max.idle.ms): less than that."""

DEFAULT_MAX_BLOCK_MS: Final = 60_000.0
DEFAULT_MAX_REQUEST_SIZE: Final = 1_048_576
DEFAULT_BUFFER_MEMORY: Final = 32 * 1024 * 1024
_SMALLEST_REQUEST: Final = 1024

_TIMES: Final = {
    "linger_ms": DEFAULT_LINGER_MS,
    "request_timeout_ms": DEFAULT_REQUEST_TIMEOUT_MS,
    "delivery_timeout_ms": DEFAULT_DELIVERY_TIMEOUT_MS,
    "retry_backoff_ms": DEFAULT_RETRY_BACKOFF_MS,
    "retry_backoff_max_ms": DEFAULT_RETRY_BACKOFF_MAX_MS,
    "metadata_max_age_ms": DEFAULT_METADATA_MAX_AGE_MS,
    "topic_creation_timeout_ms": DEFAULT_TOPIC_CREATION_TIMEOUT_MS,
    "connect_timeout_ms": DEFAULT_CONNECT_TIMEOUT_MS,
    "connections_max_idle_ms": DEFAULT_CONNECTIONS_MAX_IDLE_MS,
    "max_block_ms": DEFAULT_MAX_BLOCK_MS,
}

_MAY_BE_ZERO: Final = (
    "connections_max_idle_ms",
    "linger_ms",
    "max_block_ms",
    "topic_creation_timeout_ms",
)

ALL_ACKS: Final = -1


class Address(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = printable(self.host, MOST_HOST)  # brokers advertise what they like
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


class ProducerOptions(NamedTuple):
    """What a Producer was told, checked; times in seconds, sizes in bytes."""

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


def producer_options(
    brokers: Brokers,
    *,
    key_maker: KeyMaker | None = None,
    partitioner: str | Partitioner | None = None,
    serializer: Serializer | None = None,
    compression: str | None = None,
    compression_level: int | None = None,
    batch_size: int = 1,
    required_acks: int = 1,
    ack_timeout: int = 500,
    client_id: str = DEFAULT_CLIENT_ID,
    max_request_size: int = DEFAULT_MAX_REQUEST_SIZE,
    buffer_memory: int = DEFAULT_BUFFER_MEMORY,
    idempotence: bool | None = None,
    **times_and_security: Any,
) -> ProducerOptions:
    """Check the options of a Producer; see there.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
    """
    given = times_and_security
    security = {name: given.pop(name) for name in SECURITY.intersection(given)}
    times: dict[str, float] = {**_TIMES, **given}
    durations = {name: _seconds(name, value) for name, value in times.items()}
    _check_times(times)
    return ProducerOptions(
        brokers=parse_brokers(brokers),
        key_maker=FUNCTION.check("key_maker", key_maker) or _no_key,
        partitioner=partitioner_choice(partitioner),
        serializer=FUNCTION.check("serializer", serializer) or json_serializer,
        codec=codec(compression, compression_level),
        batch_size=check_whole("batch_size", batch_size, least=1),
        required_acks=_check_acks(required_acks),
        ack_timeout_ms=check_whole("ack_timeout", ack_timeout, least=1),
        client_id=TEXT.check("client_id", client_id),
        max_request_size=check_whole("max_request_size", max_request_size, least=_SMALLEST_REQUEST),
        buffer_memory=check_whole("buffer_memory", buffer_memory, least=_SMALLEST_REQUEST),
        idempotence=_check_idempotence(idempotence, required_acks),
        idempotence_required=idempotence is True,
        security=security_options(**security),
        **{name.removesuffix("_ms"): seconds for name, seconds in durations.items()},
    )


def parameters() -> dict[str, Parameter]:
    """Return every option of a Producer, with its default."""
    found = {**signature(producer_options).parameters, **signature(security_options).parameters}
    del found["times_and_security"]
    for name, time in _TIMES.items():
        found[name] = Parameter(name, Parameter.KEYWORD_ONLY, default=time)
    return found


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
    if text.count(":") > 1:
        raise ConfigurationError(f"brokers has {broker!r}: write IPv6 in brackets, '[::1]:9092'")
    host, colon, port = text.partition(":")
    return host, _parse_port(port, broker) if colon else DEFAULT_PORT


def _parse_port(text: str, broker: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536:
        return int(text)
    raise ConfigurationError(f"brokers has {broker!r}: the port must be a number from 1 to 65535")


def _no_key(_message: Any) -> None:
    return None


def check_whole(name: str, value: object, *, least: int) -> int:
    """Return ``value`` if it is a whole number from ``least`` to what Kafka's int32 holds.

    Raises:
        ConfigurationError: it is not.
    """
    number: int = whole(least).check(name, value)
    return number


def _check_acks(value: object) -> int:
    if isinstance(value, bool) or value not in (-1, 0, 1):
        raise ConfigurationError(
            f"required_acks={value!r} must be 1 (the leader has it), -1 (all in-sync replicas "
            "have it) or 0 (don't wait)"
        )
    return int(value)


def _check_idempotence(value: object, required_acks: int) -> bool:
    if value is None:
        return required_acks == ALL_ACKS
    FLAG_OR_NONE.check("idempotence", value)
    if value and required_acks != ALL_ACKS:
        raise ConfigurationError(
            f"idempotence=True and required_acks={required_acks!r} contradict each other: "
            "only required_acks=-1 lets brokers tell a repeat from a new message"
        )
    return value is True


def _check_times(times: Mapping[str, float]) -> None:
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


def _seconds(name: str, value: object) -> float:
    time: float = milliseconds(0 if name in _MAY_BE_ZERO else 1).check(name, value)
    return time / 1000
