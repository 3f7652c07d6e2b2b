"""The options that all handlers have in common, and those of SpoolHandler.

Nothing here loads what sends: a program that only appends starts as fast as one with a FileHandler.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypedDict

from kiel_logging.config.table import (
    FLAG,
    FUNCTION,
    INT32,
    POSITIVE_MILLISECONDS,
    REQUIRED,
    TEXT,
    Kind,
    checked,
    did_you_mean,
    one_of,
    or_none,
    refuse_unknown,
    rows,
    whole,
)
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.buffer import BLOCK, DROP_NEWEST
from kiel_logging.handler.fallback import fallback_target
from kiel_logging.handler.ledger import OnError
from kiel_logging.handler.limits import LimitOptions, is_rate, limit_options
from kiel_logging.journal.locks import CAN_LOCK
from kiel_logging.proof.chain import SEALED_BY_SHIPPER, Keyring
from kiel_logging.record.route import Topic
from kiel_logging.record.value import Format
from kiel_logging.serializers import Serializer

if TYPE_CHECKING:
    from kiel_logging.config.credentials import Secret
    from kiel_logging.config.options import Address
    from kiel_logging.handler.signing import Signing

FULL: Final = "full"
SMALLEST_MEMORY: Final = 4096
"""Room for one record at least, and for what is kept with it."""

_SMALLEST_SPOOL: Final = 1024 * 1024
DEFAULT_SPOOL: Final = 1024**3
CLOSE_TIMEOUT_MS: Final = 10_000.0


def is_path(value: object) -> bool:
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
_RATE: Final = or_none(
    '"<records>/s", "/m" or "/h", perhaps followed by " burst <records>", such as "100/s" or '
    '"6000/m burst 500"',
    Kind("", is_rate),
)
_SHARES: Final = Kind('a mapping of levels to shares from 0 to 1, such as {"DEBUG": 0.01}')
_SOME_SECONDS: Final = or_none(
    "a number of seconds above 0",
    Kind(
        "",
        lambda value: (
            isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= INT32
        ),
    ),
)
SPOOL_SIZE: Final = or_none(
    f"a whole number, at least {_SMALLEST_SPOOL}, or None for no bound", Kind("", _is_size)
)


# -- the table -------------------------------------------------------------------------------------


class RecordKeywords(TypedDict, total=False):
    """The options of all handlers: what a record becomes, and who learns of losses."""

    level: Annotated[int | str, logging.NOTSET, _A_LEVEL]
    """The lowest level that is shipped."""
    key_field: Annotated[str | None, None, _FIELD_NAME]
    """The field that a record's key is taken from: one of its dict, an extra's, or a LogRecord's
    attribute; a dotted path reaches into nested extras. Records without it have no key."""
    key_maker: Annotated[Callable[[Any], Any] | None, None, FUNCTION]
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
    before_send: Annotated[
        Callable[[dict[str, Any]], Mapping[str, Any] | None] | None, None, FUNCTION
    ]
    """Has the last look at a record: takes its fields, as a dict of plain JSON types that it may
    change, and returns those to ship, or None to leave the record out. ``redact`` hides what it
    adds. Not called for the handler's own records."""
    rate_limit: Annotated[str | None, None, _RATE]
    """How many records each call site may ship: "100/s" is 100 at once and 100 a second."""
    sample: Annotated[Mapping[str, float] | None, None, _SHARES]
    """By level, the share of records that is shipped: {"DEBUG": 0.01, "INFO": 0.1}. Levels that it
    does not name are shipped whole. All records of one key are, or none."""
    dedupe: Annotated[float | None, None, _SOME_SECONDS]
    """Seconds for which records that repeat another one are left out: same call site, level and
    message."""
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


class SpoolKeywords(RecordKeywords, total=False):
    """The keyword-only options of SpoolHandler, and keys of its entry in a dictConfig."""

    overflow: Annotated[str, DROP_NEWEST, one_of(DROP_NEWEST, BLOCK)]
    """What happens to a record that the disk does not take, or that ``spool_max_bytes`` has no room
    for: "drop_newest" drops it, "block" lets the caller wait and tries again."""
    block_timeout_ms: Annotated[float, 5_000.0, POSITIVE_MILLISECONDS]
    """Milliseconds that the caller waits with "block", before its record is dropped."""
    spool_max_bytes: Annotated[int | None, DEFAULT_SPOOL, SPOOL_SIZE]
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

    spool_dir: Annotated[str | os.PathLike[str], REQUIRED, Kind("the path of a directory", is_path)]
    """The directory, on a local disk, that a ``kiel-logging ship`` looks into."""


class TopicKeyword(TypedDict, total=False):
    """Where a handler's records go."""

    topic: Annotated[
        Topic, REQUIRED, Kind("a name, a template, or a callable that takes the LogRecord")
    ]
    """Where records go; a template is one over the LogRecord's attributes, such as
    ``"logs.{levelname}"``."""


SPOOLED: Final = rows(DirectoryKeyword, TopicKeyword, RecordKeywords, SpoolKeywords)
CONVERSION: Final = (
    *("topic", "key_field", "key_maker", "headers", "format", "serializer"),
    *("context", "fields", "rename", "exclude", "redact", "before_send"),
)
"""Those that say what is made of a record."""


# -- the checks ------------------------------------------------------------------------------------


class SpoolOptions(NamedTuple):
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

    ``conversion`` and ``engine`` are as they were given: Conversion and ``producer_options()``
    check them.
    """

    level: Any
    batch_size: int
    linger: float
    automatic_linger: bool
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
    limits: LimitOptions | None
    keyring: Keyring | None = field(repr=False)
    chain_key: "Secret | None" = field(repr=False)
    signing: "Signing | None"
    spool: SpoolOptions | None
    brokers: "tuple[Address, ...]"
    conversion: Mapping[str, Any] = field(repr=False)
    engine: Mapping[str, Any] = field(repr=False)


def spool_handler_options(**given: Any) -> HandlerOptions:
    """Check the options of a SpoolHandler, which has no brokers.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
    """
    refuse_unknown("SpoolHandler", given, SPOOLED)
    values = checked(SPOOLED, given)
    check_locks()
    spool = SpoolOptions(
        path=Path(values["spool_dir"]).absolute(),
        always=True,
        max_bytes=values["spool_max_bytes"],
        full=values["spool_synchronous"] == FULL,
    )
    return HandlerOptions(
        level=level_choice(values["level"]),
        batch_size=1,
        linger=0.0,
        automatic_linger=False,
        required_acks=-1,
        buffer_records=1,
        buffer_memory=SMALLEST_MEMORY,
        overflow=values["overflow"],
        block_timeout=values["block_timeout_ms"] / 1000,
        close_timeout=CLOSE_TIMEOUT_MS / 1000,
        max_request_size=values["max_request_size"],
        fallback=fallback_target(values["fallback"]),
        on_error=values["on_error"],
        internal_logger=logger_choice(values["internal_logger"]),
        flush_on_sigterm=False,
        limits=limit_options(values),
        keyring=Keyring(SEALED_BY_SHIPPER) if values["chain"] else None,
        chain_key=None,
        signing=None,
        spool=spool,
        brokers=(),
        conversion={name: values[name] for name in CONVERSION},
        engine={},
    )


def level_choice(value: Any) -> Any:
    """Return a level; logging itself refuses most of what is none."""
    known = logging.getLevelNamesMapping()
    if not isinstance(value, str) or value in known:
        return value
    raise ConfigurationError(
        f"level={value!r} must be a number, or one of {', '.join(map(repr, known))}"
        f"{did_you_mean(value.upper(), known)}"
    )


def logger_choice(value: logging.Logger | str | None) -> logging.Logger | None:
    return logging.getLogger(value) if isinstance(value, str) else value


def check_locks() -> None:
    if not CAN_LOCK:
        raise ConfigurationError(
            "spool_dir needs a Unix: by its file locks processes agree which of them sends what "
            "another has left, and this Python has none; leave spool_dir out"
        )
