"""setup(): a handler by one call, with what the environment says.

An option that is not given comes from a variable, ``KIEL_LOGGING_`` and its name. OpenTelemetry's
variables, which deployments set for all programs, become fields of every record.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Unpack
from urllib.parse import unquote

from kiel_logging.config.credentials import hidden
from kiel_logging.config.options import Brokers
from kiel_logging.config.table import AUTOMATIC, OTHER_NAMES, did_you_mean
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.kafka_handler import KafkaHandler
from kiel_logging.handler.options import HANDLER, HandlerKeywords
from kiel_logging.handler.record_options import level_choice
from kiel_logging.record.route import Topic
from kiel_logging.uncaught import capture_uncaught as capture
from kiel_logging.uncaught import release_uncaught

PREFIX: Final = "KIEL_LOGGING_"
_FILE: Final = "_FILE"
_SECRETS: Final = (
    *("sasl_username", "sasl_password", "ssl_password"),
    *("chain_key", "endorse_key"),
)
_LISTS: Final = ("exclude", "redact")
_MAPPINGS: Final = ("fields", "headers", "rename")
_FLAGS: Final = ("capture_uncaught", "capture_warnings", "idempotence", "flush_on_sigterm")
_NUMBERS: Final = ("compression_level", "dedupe", "spool_max_bytes")
_OBJECTS: Final = (
    *("before_send", "context", "key_maker", "on_error", "sasl_token_provider", "serializer"),
    "ssl_context",
)
"""Options whose values are objects of the program."""

_OWN: Final = ("logger", "capture_uncaught", "capture_warnings")
"""Parameters of ``setup()`` that are no options of the handler."""

_IN_WORDS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class _Setup(NamedTuple):
    """The handler that ``setup()`` made for a logger, and the loggers that it hangs on."""

    handler: KafkaHandler
    loggers: tuple[logging.Logger, ...]


_made: Final[dict[str, _Setup]] = {}
_lock: Final = threading.RLock()


def setup(
    brokers: Brokers | None = None,
    topic: Topic | None = None,
    *,
    logger: str | logging.Logger | None = None,
    capture_uncaught: bool | None = None,
    capture_warnings: bool | None = None,
    **options: Unpack[HandlerKeywords],
) -> KafkaHandler:
    """Hang a KafkaHandler on a logger, and return it.

    An option that is not given comes from the environment: ``KIEL_LOGGING_BROKERS``,
    ``KIEL_LOGGING_TOPIC``, and so on. ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES``
    become fields of every record. Another call for the same logger replaces the handler.

    Args:
        brokers: as of KafkaHandler.
        topic: as of KafkaHandler.
        logger: a logger, or the name of one; the root by default.
        capture_uncaught: whether exceptions that nothing catches, in the main thread, in other
            threads, in ``__del__`` and in asyncio's tasks, are shipped with their tracebacks.
        capture_warnings: whether Python's warnings are shipped.
        options: of KafkaHandler; ``level`` is that of the logger, "INFO" by default.

    Raises:
        ConfigurationError: names the option, the value and what is allowed.
        SpoolError: there can be no files in ``spool_dir``.
    """
    given = {
        "brokers": brokers,
        "topic": topic,
        "logger": logger,
        "capture_uncaught": capture_uncaught,
        "capture_warnings": capture_warnings,
    }
    given = {name: value for name, value in given.items() if value is not None}
    values = {**from_environment(os.environ), **given, **hidden({**options}, HANDLER)}
    del options  # some tools show local variables with a traceback
    for name in ("brokers", "topic"):
        if name not in values:
            variable = PREFIX + name.upper()
            raise ConfigurationError(f"setup() needs {name}: give it, or set {variable}")
    if fields := {**resource(os.environ), **(values.get("fields") or {})}:
        values["fields"] = fields
    level = level_choice(values.pop("level", "INFO"))
    target = values.pop("logger", None)
    target = target if isinstance(target, logging.Logger) else logging.getLogger(target)
    uncaught, warns = (values.pop(name, False) for name in _OWN[1:])
    # asyncio logs exceptions that no task's owner looks at; the root has these records anyway.
    more = {"asyncio": uncaught, "py.warnings": warns} if target.parent is not None else {}
    loggers = (target, *(logging.getLogger(name) for name, wanted in more.items() if wanted))
    handler = KafkaHandler(**values)
    target.setLevel(level)
    if warns:
        logging.captureWarnings(True)
    if uncaught:
        capture(handler)
    _replace(target.name, _Setup(handler, loggers))
    return handler


def _replace(name: str, made: _Setup) -> None:
    """Hang a handler on its loggers, and close the one that an earlier call made."""
    with _lock:
        before = _made.get(name)
        _made[name] = made
        for logger in made.loggers:
            logger.addHandler(made.handler)
    if before is not None:
        release_uncaught(before.handler)
        for logger in before.loggers:
            logger.removeHandler(before.handler)
        before.handler.close()


# -- the environment -------------------------------------------------------------------------------


def from_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the options that are set by variables, by their names.

    Raises:
        ConfigurationError: names the variable, and what is allowed; shows no secret.
    """
    found: dict[str, Any] = {}
    for variable, text in variables.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        secret = name.removesuffix(_FILE.lower())
        if name in _SECRETS:
            found[name] = {"env": variable}
        elif secret != name and secret in _SECRETS:
            found[secret] = {"file": text}
        else:
            found[name] = _read(variable, name, text)
    return found


def _read(variable: str, name: str, text: str) -> Any:
    if name not in HANDLER and name not in _OWN:
        other = OTHER_NAMES.get(name)
        hint = f": did you mean {other!r}?" if other else did_you_mean(name, (*HANDLER, *_OWN))
        raise ConfigurationError(f"{variable}: KafkaHandler has no option {name!r}{hint}")
    if name in _OBJECTS:
        raise ConfigurationError(f"{variable}: {name} takes an object; give it to setup()")
    read, allowed = _reader(name)
    try:
        return read(text)
    except (KeyError, ValueError):
        raise ConfigurationError(f"{variable}={text!r} must be {allowed}") from None


def _reader(name: str) -> tuple[Callable[[str], Any], str]:
    """Return the function that reads an option's text, and which texts there are."""
    default = HANDLER[name].default if name in HANDLER else None
    if name in _FLAGS or isinstance(default, bool):
        return _flag, "true or false"
    if name == "level":
        return _level, ""
    if name in _NUMBERS or default == AUTOMATIC or isinstance(default, int | float):
        return _number, "a number"
    if name in _MAPPINGS:
        return _pairs, "names and values, as in a=1,b=2"
    if name == "sample":
        return _shares, "levels and shares, as in DEBUG=0.01,INFO=0.1"
    return (_list if name in _LISTS else str), ""


def _flag(text: str) -> bool:
    return _IN_WORDS[text.strip().lower()]


def _number(text: str) -> int | float | str:
    if text == AUTOMATIC:
        return text
    try:
        return int(text)
    except ValueError:
        return float(text)


def _list(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _pairs(text: str) -> dict[str, str]:
    """Read OpenTelemetry's form of a mapping, in which values are percent-encoded."""
    pairs = (one.split("=", 1) for one in _list(text))
    return {name.strip(): unquote(value.strip()) for name, value in pairs}


def _shares(text: str) -> dict[str, float]:
    return {name: float(share) for name, share in _pairs(text).items()}


def _level(text: str) -> int | str:
    return int(text) if text.isdigit() else text.upper()


def resource(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the fields that OpenTelemetry's variables describe the program with.

    Source: the specification of the SDK's variables; pairs that are none are left out.
    """
    pairs = [one for one in _list(variables.get("OTEL_RESOURCE_ATTRIBUTES", "")) if "=" in one]
    fields = _pairs(",".join(pairs))
    if service := variables.get("OTEL_SERVICE_NAME"):
        fields["service.name"] = service
    return fields
