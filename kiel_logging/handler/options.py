"""The options of the handlers: the table of them, and the checks that they pass.

A new option is a row of HandlerKeywords, from which editors, ``help()``, the documentation and the
checks have it, and a field of HandlerOptions, if the handler's parts are to see it.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypedDict

from kiel_logging.config.credentials import FORMS, Secret, Secretive, hidden
from kiel_logging.config.options import (
    ACKS,
    CODEC,
    PARTITIONER,
    PRODUCER,
    Address,
    BrokersKeyword,
    KeyMaker,
    ProducerOptions,
    SharedKeywords,
    producer_options,
)
from kiel_logging.config.security import SecurityKeywords
from kiel_logging.config.table import (
    FLAG,
    FLAG_OR_NONE,
    FUNCTION,
    INT32,
    POSITIVE_MILLISECONDS,
    REQUIRED,
    TEXT,
    Kind,
    Option,
    checked,
    did_you_mean,
    milliseconds,
    one_of,
    or_none,
    refuse_unknown,
    rows,
    seconds,
    whole,
)
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.buffer import BLOCK, DROP_NEWEST, OVERFLOW
from kiel_logging.handler.fallback import fallback_target
from kiel_logging.handler.ledger import OnError
from kiel_logging.journal.locks import CAN_LOCK
from kiel_logging.partitioners import Partitioner
from kiel_logging.proof.chain import SEALED_BY_SHIPPER, SHORTEST_KEY, Chain, Keyring
from kiel_logging.record.route import Topic
from kiel_logging.record.value import Format
from kiel_logging.serializers import Serializer
from kiel_logging.topics import is_topic

if TYPE_CHECKING:
    from kiel_logging.handler.signing import Signing

ALWAYS: Final = "always"
FULL: Final = "full"
SMALLEST_MEMORY: Final = 4096
"""Room for one record at least, and for what is kept with it."""

_SMALLEST_SPOOL: Final = 1024 * 1024
_NO_LIMIT: Final = INT32
_DEFAULT_SPOOL: Final = 1024**3


def _is_path(value: object) -> bool:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    return isinstance(path, str) and path != "" and "\0" not in path


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= _SMALLEST_SPOOL


_A_LEVEL: Final = Kind('a number, or a name such as "INFO"')
_FIELD_NAME: Final = or_none("the name of a record's field", TEXT)
_NAMES: Final = Kind("a list of names of fields")
_MAPPING: Final = Kind("a mapping of names")
_LOGGER: Final = or_none(
    "a logging.Logger, the name of one, or None for stderr",
    Kind("", lambda value: isinstance(value, logging.Logger) or TEXT.fits(value)),
)
_DIRECTORY: Final = or_none("the path of a directory", Kind("", _is_path))
_SIZE: Final = or_none(
    f"a whole number, at least {_SMALLEST_SPOOL}, or None for no bound", Kind("", _is_size)
)
_TOPIC: Final = or_none(
    "a name that Kafka allows for a topic", Kind("", lambda value: is_topic(value))
)
_PLACE: Final = or_none(
    "the path of a file, a URL that begins with http:// or https://, a callable that takes bytes, "
    "or {'timestamp': URL, 'to': one of these}",
    Kind("", lambda value: callable(value) or isinstance(value, Mapping) or _is_path(value)),
)
_MODE: Final = one_of("overflow", ALWAYS)


# -- the table -------------------------------------------------------------------------------------


class RecordKeywords(TypedDict, total=False):
    """The options of all handlers: what a record becomes, and who learns of losses."""

    level: Annotated[int | str, logging.NOTSET, _A_LEVEL]
    """The lowest level that is shipped."""
    key_field: Annotated[str | None, None, _FIELD_NAME]
    """The field that a record's key is taken from: one of its dict, an extra's, or a LogRecord's
    attribute; a dotted path reaches into nested extras. Records without it have no key."""
    key_maker: Annotated[KeyMaker | None, None, FUNCTION]
    """Makes the key from the record's dict, in place of ``key_field``."""
    headers: Annotated[Mapping[str, str] | None, None, _MAPPING]
    """Record headers: name -> field, as for ``key_field``."""
    format: Annotated[
        str | Format, "json", Kind('"json", "ecs", "otel", "gelf", "text", or a callable')
    ]
    """How the value is laid out: "json" (the fields), "ecs" (Elastic Common Schema), "otel"
    (OpenTelemetry's log data model, as OTLP/JSON), "gelf", "text" (as another handler with this
    handler's Formatter writes it), or a callable that takes the fields and the LogRecord and
    returns a mapping, str or bytes."""
    serializer: Annotated[Serializer | None, None, FUNCTION]
    """Takes what the format made, returns str or bytes; JSON by default."""
    context: Annotated[
        Callable[[], Mapping[str, Any]] | Mapping[str, ContextVar[Any]] | None,
        None,
        Kind("a callable that returns a mapping, or a mapping of names to ContextVars"),
    ]
    """Fields from the surroundings of the call."""
    fields: Annotated[Mapping[str, Any] | None, None, _MAPPING]
    """Static fields for every record."""
    rename: Annotated[Mapping[str, str] | None, None, _MAPPING]
    """Old names of fields -> new ones."""
    exclude: Annotated[Iterable[str] | None, None, _NAMES]
    """Names of fields that are left out; a dotted path reaches into nested ones."""
    redact: Annotated[Iterable[str] | None, None, _NAMES]
    """Names of fields whose values are hidden, at any depth, in everything that is made of a
    record: "password" also hides ``db_password`` and ``userPassword``. An object in which no names
    can be found is shown by its type alone."""
    fallback: Annotated[
        logging.Handler | str | None, None, Kind("a logging.Handler or the name of one")
    ]
    """Gets the LogRecords which did not reach Kafka. It is called on the thread that logs (dropped)
    or on the loop thread (given up)."""
    on_error: Annotated[OnError | None, None, FUNCTION]
    """Called with an exception and a number of records whenever records are lost: at once, or for a
    full buffer at most every 10 s. Called with 0 records when the brokers reject records for now,
    which wait, and once a minute while that lasts."""
    internal_logger: Annotated[logging.Logger | str | None, None, _LOGGER]
    """Gets the handler's own messages, and what was logged while shipping."""


class HandlerKeywords(RecordKeywords, SharedKeywords, total=False):
    """The keyword-only options of KafkaHandler, and keys of its entry in a dictConfig."""

    partitioner: Annotated[str | Partitioner | None, "murmur2", PARTITIONER]
    """Chooses the partition. With "murmur2" records of one key stay in order."""
    compression: Annotated[str | None, "snappy", CODEC]
    """The codec."""
    batch_size: Annotated[int, 1_000, whole(1)]
    """How many records are worth sending at once."""
    linger_ms: Annotated[float, 50.0, milliseconds(0)]
    """Milliseconds after which records are sent although the batch isn't full."""
    required_acks: Annotated[int, -1, ACKS]
    """When a record counts as delivered."""
    ack_timeout: Annotated[int, 30_000, whole(1)]
    """Milliseconds that the leader may wait for the other replicas."""
    delivery_timeout_ms: Annotated[float, _NO_LIMIT, milliseconds(1)]
    """Milliseconds after which a record is given up. Without a limit a record leaves the buffer by
    being delivered, by the overflow policy, or by ``close()``."""
    buffer_records: Annotated[int, 100_000, whole(1)]
    """Most records that wait to be delivered."""
    buffer_memory: Annotated[int, 64 * 1024 * 1024, whole(SMALLEST_MEMORY)]
    """Most bytes of memory for records that wait to be delivered."""
    overflow: Annotated[str, DROP_NEWEST, one_of(*OVERFLOW)]
    """Which records give way when there are more; "drop_lowest" drops DEBUG before INFO before
    WARNING, "block" lets the caller wait."""
    block_timeout_ms: Annotated[float, 5_000.0, POSITIVE_MILLISECONDS]
    """Milliseconds that the caller waits with "block", before its record is dropped."""
    spool_dir: Annotated[str | os.PathLike[str] | None, None, _DIRECTORY]
    """A directory, on a local disk, for records that memory can't hold, that the brokers don't take
    in time, or that are left at the end. The next process with this directory sends them. Only its
    user may write to it."""
    spool: Annotated[str | None, None, or_none(_MODE.description, _MODE)]
    """With ``spool_dir``: "overflow", the default, or "always": each record is in a file before its
    logging call returns, so that a SIGKILL loses nothing."""
    spool_max_bytes: Annotated[int | None, _DEFAULT_SPOOL, _SIZE]
    """Most bytes that this handler has on disk and the brokers have not acknowledged."""
    spool_synchronous: Annotated[str, "normal", one_of("normal", FULL)]
    """With "full" and spool="always", each logging call waits until its record would survive a
    power cut."""
    chain: Annotated[bool, False, FLAG]
    """Whether each record also bears a digest of itself and of the one before it, so that
    ``kiel-logging verify`` finds what was taken out or changed; and whether streams have a start
    record and an end record."""
    chain_key: Annotated[
        Secretive | list[Secretive] | None, None, Kind(f"{FORMS}, or a list of these")
    ]
    """A secret of 16 bytes or more, without which no one can compute the digests. Of a list the
    first seals; the others are former ones, for records that dead processes left in
    ``spool_dir``. See ``rotate_key()``."""
    sign: Annotated[bool, False, FLAG]
    """Whether each instance signs checkpoints of its streams with a key that is made for it and
    dies with it; needs ``chain`` and the extra `proof`."""
    endorse_key: Annotated[
        Secretive | Callable[[str], str] | None,
        None,
        Kind(f"{FORMS}, or a callable that takes a text and returns it as a signed note"),
    ]
    """The Ed25519 private key, in PEM form, of a host or deployment that vouches for the keys of
    instances."""
    checkpoint_topic: Annotated[str | None, None, _TOPIC]
    """A topic that signed checkpoints go to as well."""
    anchor: Annotated[
        str | os.PathLike[str] | Callable[[bytes], object] | Mapping[str, Any] | None, None, _PLACE
    ]
    """A place outside of Kafka that signed checkpoints go to as well: lines of JSON in a file,
    bodies for an HTTP endpoint, or bytes for a callable, which may block. With ``{"timestamp":
    URL, "to": place}`` they go there with a timestamp of that authority (RFC 3161)."""
    flush_on_sigterm: Annotated[bool | None, None, FLAG_OR_NONE]
    """Whether SIGTERM delivers what is buffered before it does what it did. By default, None, it
    does where it would end the process at once, which loses records: a program that handles the
    signal ends in its own way."""
    close_timeout_ms: Annotated[float, 10_000.0, POSITIVE_MILLISECONDS]
    """Milliseconds that ``close()``, or a ``flush()`` without a timeout, may take to deliver what
    is buffered."""


class SpoolKeywords(RecordKeywords, total=False):
    """The keyword-only options of SpoolHandler, and keys of its entry in a dictConfig."""

    overflow: Annotated[str, DROP_NEWEST, one_of(DROP_NEWEST, BLOCK)]
    """What happens to a record that the disk does not take, or that ``spool_max_bytes`` has no room
    for: "drop_newest" drops it, "block" lets the caller wait and tries again."""
    block_timeout_ms: Annotated[float, 5_000.0, POSITIVE_MILLISECONDS]
    """Milliseconds that the caller waits with "block", before its record is dropped."""
    spool_max_bytes: Annotated[int | None, _DEFAULT_SPOOL, _SIZE]
    """Most bytes of segments that this handler has on disk and no shipper has removed yet."""
    spool_synchronous: Annotated[str, "normal", one_of("normal", FULL)]
    """With "full" each logging call waits until its record would survive a power cut."""
    chain: Annotated[bool, False, FLAG]
    """Whether the shipper gives each record a digest of itself and of the one before it, with its
    own ``--chain-key``, so that ``kiel-logging verify`` finds what was taken out or changed."""
    max_request_size: Annotated[int, 1_048_576, whole(SMALLEST_MEMORY)]
    """Most bytes of a record; the shipper has to have as much, and the topic's
    ``max.message.bytes``."""


class DirectoryKeyword(TypedDict, total=False):
    """Where a SpoolHandler's records wait for the shipper."""

    spool_dir: Annotated[
        str | os.PathLike[str], REQUIRED, Kind("the path of a directory", _is_path)
    ]
    """The directory, on a local disk, that a ``kiel-logging ship`` looks into."""


class TopicKeyword(TypedDict, total=False):
    """Where a handler's records go."""

    topic: Annotated[
        Topic, REQUIRED, Kind("a name, a template, or a callable that takes the LogRecord")
    ]
    """Where records go; a template is one over the LogRecord's attributes, such as
    ``"logs.{levelname}"``."""


class KeywordsBesideTopic(BrokersKeyword, HandlerKeywords, total=False):
    """All options of KafkaHandler but the topic."""


class LoggerKeyword(TypedDict, total=False):
    """The option that AuditHandler adds."""

    logger: Annotated[str, "audit", Kind("the name of a logger, and not the root's")]
    """The stream's own logger."""


HANDLER: Final = rows(
    BrokersKeyword,
    TopicKeyword,
    SecurityKeywords,
    SharedKeywords,
    RecordKeywords,
    HandlerKeywords,
)
SPOOLED: Final = rows(DirectoryKeyword, TopicKeyword, RecordKeywords, SpoolKeywords)
AUDIT: Final = HANDLER | rows(LoggerKeyword)
CONVERSION: Final = (
    *("topic", "key_field", "key_maker", "headers", "format", "serializer"),
    *("context", "fields", "rename", "exclude", "redact"),
)
"""Those that say what is made of a record."""

_FOR_SIGNATURES: Final = ("sign", "endorse_key", "checkpoint_topic", "anchor")
_FOR_THE_ENGINE: Final = (PRODUCER.keys() & HANDLER.keys()) - {
    *("key_maker", "serializer", "buffer_memory")
}


# -- the checks ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolOptions:
    """Where and how to spool.

    ``always``: each record is in its journal before its logging call returns. ``full``: and the
    disk has confirmed it. ``fleet``: the directories whose writers leave it to this process to
    send their records, also while they live.
    """

    path: Path
    always: bool
    max_bytes: int | None
    full: bool
    fleet: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerOptions:
    """A handler's options, checked; times in seconds, sizes in bytes.

    ``conversion`` and ``engine`` are as they were given: Conversion and ``producer()`` check them.
    """

    level: Any
    batch_size: int
    required_acks: int
    buffer_records: int
    buffer_memory: int
    overflow: str
    block_timeout: float
    close_timeout: float
    max_request_size: int
    fallback: logging.Handler | str | None
    on_error: OnError | None
    internal_logger: logging.Logger | None
    flush_on_sigterm: bool | None
    keyring: Keyring | None = field(repr=False)
    chain_key: Secret | None = field(repr=False)
    signing: "Signing | None"
    spool: SpoolOptions | None
    brokers: tuple[Address, ...]
    conversion: Mapping[str, Any] = field(repr=False)
    engine: Mapping[str, Any] = field(repr=False)

    def producer(self) -> ProducerOptions:
        """Return the options of a new engine, with a new partitioner and a new codec."""
        return producer_options(**self.engine)


def table_of(handler: type[logging.Handler]) -> dict[str, Option]:
    """Return the options that a handler of this class takes, a subclass's own among them."""
    import inspect

    table: dict[str, Option] = {}
    for kind in handler.__mro__:
        if "__init__" in vars(kind) and issubclass(kind, logging.Handler):
            for name, one in inspect.signature(vars(kind)["__init__"]).parameters.items():
                table[name] = Option(one.default, Kind(""), kind)
    return table | HANDLER


def handler_options(**given: Any) -> HandlerOptions:
    """Check the options of a handler; those that are left out have their defaults.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
    """
    refuse_unknown("KafkaHandler", given, HANDLER)
    given = hidden(given)
    values = checked(HANDLER, given)
    if values["partitioner"] is None:
        values["partitioner"] = HANDLER["partitioner"].default
    engine = {name: values[name] for name in _FOR_THE_ENGINE}
    producer = producer_options(**engine)
    found = {
        **values,
        **seconds(values),
        "level": _level(values["level"]),
        "fallback": fallback_target(values["fallback"]),
        "internal_logger": _logger(values["internal_logger"]),
        "keyring": _keyring(values["chain"], values["chain_key"]),
        "signing": _signing(values),
        "spool": _spool(values),
        "brokers": producer.brokers,
        "conversion": {name: values[name] for name in CONVERSION},
        "engine": engine,
    }
    return HandlerOptions(**{one.name: found[one.name] for one in fields(HandlerOptions)})


def spool_handler_options(**given: Any) -> HandlerOptions:
    """Check the options of a SpoolHandler, which has no brokers.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
    """
    refuse_unknown("SpoolHandler", given, SPOOLED)
    values = checked(SPOOLED, given)
    _check_locks()
    spool = SpoolOptions(
        path=Path(values["spool_dir"]).absolute(),
        always=True,
        max_bytes=values["spool_max_bytes"],
        full=values["spool_synchronous"] == FULL,
    )
    return HandlerOptions(
        level=_level(values["level"]),
        batch_size=1,
        required_acks=-1,
        buffer_records=1,
        buffer_memory=SMALLEST_MEMORY,
        overflow=values["overflow"],
        block_timeout=values["block_timeout_ms"] / 1000,
        close_timeout=HANDLER["close_timeout_ms"].default / 1000,
        max_request_size=values["max_request_size"],
        fallback=fallback_target(values["fallback"]),
        on_error=values["on_error"],
        internal_logger=_logger(values["internal_logger"]),
        flush_on_sigterm=False,
        keyring=Keyring(SEALED_BY_SHIPPER) if values["chain"] else None,
        chain_key=None,
        signing=None,
        spool=spool,
        brokers=(),
        conversion={name: values[name] for name in CONVERSION},
        engine={},
    )


def _level(value: Any) -> Any:
    """Return a level; logging itself refuses most of what is none."""
    known = logging.getLevelNamesMapping()
    if not isinstance(value, str) or value in known:
        return value
    raise ConfigurationError(
        f"level={value!r} must be a number, or one of {', '.join(map(repr, known))}"
        f"{did_you_mean(value.upper(), known)}"
    )


def _logger(value: logging.Logger | str | None) -> logging.Logger | None:
    return logging.getLogger(value) if isinstance(value, str) else value


def _keyring(chain: bool, key: Secret | None) -> Keyring | None:
    if key is None:
        return Keyring(Chain.of()) if chain else None
    keys = [one.check() for one in key.each()]
    if not keys:
        raise ConfigurationError("chain_key is an empty list: give a key, or leave it out")
    if not chain:
        raise ConfigurationError("chain_key is of no use without chain=True: give both, or neither")
    return Keyring(*map(chain_of, keys))


def chain_of(key: Secret) -> Chain:
    """Return the chain of a key, which is read once, and not kept.

    Raises:
        ConfigurationError: it can't be read, or is too short; never shows it.
    """
    data = key.read_bytes()
    if len(data) >= SHORTEST_KEY:
        return Chain.of(data)
    del data
    raise ConfigurationError(
        f"chain_key has fewer than {SHORTEST_KEY} bytes, and could be guessed: make one by "
        "`python -c 'import secrets; print(secrets.token_hex(32))'`"
    )


def _signing(values: Mapping[str, Any]) -> "Signing | None":
    if all(values[name] == HANDLER[name].default for name in _FOR_SIGNATURES):
        return None
    from kiel_logging.handler.signing import signing_choice  # few need it

    return signing_choice(values)


def _spool(values: Mapping[str, Any]) -> SpoolOptions | None:
    directory = values["spool_dir"]
    if directory is None:
        for name in ("spool", "spool_max_bytes", "spool_synchronous"):
            if values[name] != HANDLER[name].default:
                raise ConfigurationError(
                    f"{name} is of no use without spool_dir: give both, or neither"
                )
        return None
    _check_locks()
    if values["required_acks"] == 0:
        raise ConfigurationError(
            "spool_dir and required_acks=0 contradict each other: brokers that acknowledge nothing "
            "never let a record leave the disk; set required_acks to -1 or 1"
        )
    if values["delivery_timeout_ms"] < _NO_LIMIT:
        raise ConfigurationError(
            f"spool_dir and delivery_timeout_ms={values['delivery_timeout_ms']!r} contradict each "
            "other: what is spooled waits until the brokers take it; leave delivery_timeout_ms out"
        )
    return SpoolOptions(
        path=Path(directory).absolute(),  # of now: the program may change its directory
        always=values["spool"] == ALWAYS,
        max_bytes=values["spool_max_bytes"],
        full=values["spool_synchronous"] == FULL,
    )


def _check_locks() -> None:
    if not CAN_LOCK:
        raise ConfigurationError(
            "spool_dir needs a Unix: by its file locks processes agree which of them sends what "
            "another has left, and this Python has none; leave spool_dir out"
        )
