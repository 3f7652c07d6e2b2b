"""The options of KafkaHandler and AuditHandler: the table of them, and the checks that they pass.

A new option is a row of HandlerKeywords, from which editors, ``help()``, the documentation and the
checks have it, and a field of HandlerOptions, if the handler's parts are to see it. Those of
SpoolHandler, and those that all handlers have, are in ``record_options.py``.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypedDict

from kiel_logging.config.credentials import FORMS, Secret, Secretive, hidden
from kiel_logging.config.options import (
    ACKS,
    CODEC,
    PARTITIONER,
    PRODUCER,
    BrokersKeyword,
    SharedKeywords,
    producer_options,
)
from kiel_logging.config.security import SecurityKeywords
from kiel_logging.config.table import (
    AUTOMATIC,
    AUTOMATIC_LINGER_MS,
    FLAG,
    FLAG_OR_NONE,
    INT32,
    POSITIVE_MILLISECONDS,
    Kind,
    Option,
    checked,
    milliseconds,
    one_of,
    or_automatic,
    or_none,
    refuse_unknown,
    rows,
    seconds,
    whole,
)
from kiel_logging.delivery.pace import full_batch
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.buffer import DROP_NEWEST, OVERFLOW
from kiel_logging.handler.fallback import fallback_target
from kiel_logging.handler.limits import limit_options
from kiel_logging.handler.record_options import (
    CLOSE_TIMEOUT_MS,
    CONVERSION,
    DEFAULT_SPOOL,
    FULL,
    SMALLEST_MEMORY,
    SPOOL_SIZE,
    HandlerOptions,
    RecordKeywords,
    SpoolOptions,
    TopicKeyword,
    check_locks,
    is_path,
    level_choice,
    logger_choice,
)
from kiel_logging.partitioners import Partitioner
from kiel_logging.proof.chain import SHORTEST_KEY, Chain, Keyring
from kiel_logging.serializers import is_topic

if TYPE_CHECKING:
    from kiel_logging.handler.signing import Signing

ALWAYS: Final = "always"
_NO_LIMIT: Final = INT32

_DIRECTORY: Final = or_none("the path of a directory", Kind("", is_path))
_TOPIC: Final = or_none(
    "a name that Kafka allows for a topic", Kind("", lambda value: is_topic(value))
)
_PLACE: Final = or_none(
    "the path of a file, a URL that begins with http:// or https://, a callable that takes bytes, "
    "or {'timestamp': URL, 'to': one of these}",
    Kind("", lambda value: callable(value) or isinstance(value, Mapping) or is_path(value)),
)
_MODE: Final = one_of("overflow", ALWAYS)


# -- the table -------------------------------------------------------------------------------------


class HandlerKeywords(RecordKeywords, SharedKeywords, total=False):
    """The keyword-only options of KafkaHandler, and keys of its entry in a dictConfig."""

    partitioner: Annotated[str | Partitioner | None, "murmur2", PARTITIONER]
    """Chooses the partition. With "murmur2" records of one key stay in order."""
    compression: Annotated[str | None, "snappy", CODEC]
    """The codec."""
    batch_size: Annotated[int | Literal["automatic"], AUTOMATIC, or_automatic(whole(1))]
    """How many records are worth sending at once: by default 4,000, or as many as
    take an eighth of a small buffer."""
    linger_ms: Annotated[float | Literal["automatic"], AUTOMATIC, or_automatic(milliseconds(0))]
    """Milliseconds after which records are sent although the batch isn't full: by default at once
    if none were sent in the last 50, or as soon as that is so."""
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
    WARNING, "block" lets the caller wait. A quarter of the buffer is on its way to the brokers, and
    none of that is dropped for others."""
    block_timeout_ms: Annotated[float, 5_000.0, POSITIVE_MILLISECONDS]
    """Milliseconds that the caller waits with "block", before its record is dropped."""
    spool_dir: Annotated[str | os.PathLike[str] | None, None, _DIRECTORY]
    """A directory, on a local disk, for records that memory can't hold, that the brokers don't take
    in time, or that are left at the end. The next process with this directory sends them. Only its
    user may write to it."""
    spool: Annotated[str | None, None, or_none(_MODE.description, _MODE)]
    """With ``spool_dir``: "overflow", the default, or "always": each record is in a file before its
    logging call returns, so that a SIGKILL loses nothing."""
    spool_max_bytes: Annotated[int | None, DEFAULT_SPOOL, SPOOL_SIZE]
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
    close_timeout_ms: Annotated[float, CLOSE_TIMEOUT_MS, POSITIVE_MILLISECONDS]
    """Milliseconds that ``close()``, or a ``flush()`` without a timeout, may take to deliver what
    is buffered."""


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
AUDIT: Final = HANDLER | rows(LoggerKeyword)
_FOR_SIGNATURES: Final = ("sign", "endorse_key", "checkpoint_topic", "anchor")
_FOR_THE_ENGINE: Final = (PRODUCER.keys() & HANDLER.keys()) - {
    *("key_maker", "serializer", "buffer_memory")
}


# -- the checks ------------------------------------------------------------------------------------


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
    automatic_linger = values["linger_ms"] == AUTOMATIC
    if automatic_linger:
        values["linger_ms"] = AUTOMATIC_LINGER_MS
    if values["batch_size"] == AUTOMATIC:
        values["batch_size"] = full_batch(values["buffer_records"], values["buffer_memory"])
    engine = {name: values[name] for name in _FOR_THE_ENGINE}
    producer = producer_options(**engine)
    found = {
        **values,
        **seconds(values),
        "automatic_linger": automatic_linger,
        "level": level_choice(values["level"]),
        "fallback": fallback_target(values["fallback"]),
        "internal_logger": logger_choice(values["internal_logger"]),
        "limits": limit_options(values),
        "keyring": _keyring(values["chain"], values["chain_key"]),
        "signing": _signing(values),
        "spool": _spool(values),
        "brokers": producer.brokers,
        "conversion": {name: values[name] for name in CONVERSION},
        "engine": engine,
    }
    return HandlerOptions(**{one.name: found[one.name] for one in fields(HandlerOptions)})


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
    check_locks()
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
