"""The target of a check: the options of a handler, from the command line, a file or a dictConfig.

A handler of a dictConfig is not made: its class checks the options as ever, and then gives them.
"""

import json
import logging.config
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from kiel_logging.config.options import ProducerOptions, producer_options
from kiel_logging.config.properties import complete
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.options import HANDLER, handler_options
from kiel_logging.handler.record_handler import RecordHandler
from kiel_logging.handler.record_options import HandlerOptions, SpoolOptions
from kiel_logging.handler.spool_handler import SpoolHandler
from kiel_logging.record.route import is_name
from kiel_logging.serializers import check_topic

_ANY: Final = "any"
"""Stands for a topic that is not named."""

_NOT_OURS: Final = ("class", "()", ".", "level", "formatter", "filters")
"""Keys of a dictConfig that logging itself reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The options of now.

    ``producer`` is None for a SpoolHandler, which has no brokers; ``topic`` where it depends on the
    record and none was named.
    """

    producer: ProducerOptions | None
    codec: str
    topic: str | None
    spool: SpoolOptions | None
    shared: bool


def target(
    *,
    brokers: str | None,
    config: str | None,
    dictconfig: str | None,
    topic: str | None,
    spool_dir: str | None,
) -> Target:
    """Return the target of a command line.

    Raises:
        ConfigurationError: an option is wrong, or none says where the brokers are.
    """
    if topic is not None:
        check_topic(topic)
    if dictconfig is not None:
        if brokers or config or spool_dir:
            raise ConfigurationError(
                "--dictconfig says it all: leave --brokers, --config and --spool-dir out"
            )
        kind, options = _from_dictconfig(dictconfig)
        return _target(options, topic, shared=issubclass(kind, SpoolHandler))
    given: dict[str, Any] = {}
    if brokers is not None:
        given["brokers"] = brokers
    if config is not None:
        given = complete(config, given, HANDLER)
    if "brokers" not in given:
        raise ConfigurationError("no brokers are named: give --brokers, --config or --dictconfig")
    if spool_dir is not None:
        given["spool_dir"] = spool_dir
        given.pop("delivery_timeout_ms", None)  # of another client; a spool has none
    return _target(handler_options(topic=topic or _ANY, **given), topic, named=topic is not None)


def _target(
    options: HandlerOptions, topic: str | None, *, named: bool = True, shared: bool = False
) -> Target:
    own = options.conversion["topic"]
    return Target(
        producer=producer_options(**options.engine) if options.brokers else None,
        codec=options.engine.get("compression") or "",
        topic=topic or (own if named and is_name(own) else None),
        spool=options.spool,
        shared=shared,
    )


class _Options(Exception):
    """Carries a handler's options out of the code that would make it."""

    def __init__(self, options: HandlerOptions) -> None:
        super().__init__("the options of a handler")
        self.options = options


def _from_dictconfig(place: str) -> tuple[type[RecordHandler], HandlerOptions]:
    file, colon, name = place.rpartition(":")
    if not (file and colon and name):
        raise ConfigurationError(f"--dictconfig={place!r} must be a file, ':' and a handler's name")
    document = _read(Path(file))
    entry = document["handlers"].get(name)
    if not isinstance(entry, Mapping):
        known = ", ".join(map(repr, document["handlers"])) or "none"
        raise ConfigurationError(f"{file} has no handler {name!r}; it has {known}")
    made = logging.config.DictConfigurator(document)
    wrapped = made.config["handlers"][name]
    given = {key: wrapped[key] for key in wrapped if key not in _NOT_OURS}
    maker = wrapped.get("()") or wrapped.get("class")
    try:
        maker = made.resolve(maker) if isinstance(maker, str) else maker
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    kind = getattr(maker, "__self__", maker)  # of a class method, its class
    if not (isinstance(kind, type) and issubclass(kind, RecordHandler)):
        raise ConfigurationError(
            f"{file}: the handler {name!r} is made by {maker!r}, and not by a handler of "
            "kiel_logging: give its options as --brokers or --config"
        )
    stand_in = _stand_in(kind)
    make = stand_in if kind is maker else maker.__func__.__get__(stand_in)
    try:
        make(**given)
    except _Options as found:
        return kind, found.options
    except TypeError as error:
        raise ConfigurationError(f"{file}: the handler {name!r}: {error}") from None
    raise ConfigurationError(f"{file}: the handler {name!r} has no options that can be checked")


def _stand_in(kind: Any) -> Any:
    def give(_self: object, options: HandlerOptions, _pipeline: object) -> NoReturn:
        raise _Options(options)

    return type(kind.__name__, (kind,), {"_set_up": give, "__module__": kind.__module__})


def _read(path: Path) -> dict[str, Any]:
    """Return a dictConfig from a file of JSON, TOML or YAML; it may be under the key "logging"."""
    try:
        text = path.read_text(encoding="utf-8")
        document = _parsed(path, text)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from None
    except ValueError as error:  # of JSON and of TOML
        raise ConfigurationError(f"{path} can't be read: {error}") from None
    for one in (document, document.get("logging") if isinstance(document, dict) else None):
        if isinstance(one, dict) and isinstance(one.get("handlers"), dict):
            return one
    raise ConfigurationError(f"{path} is no dictConfig: it has no 'handlers'")


def _parsed(path: Path, text: str) -> Any:
    if path.suffix in (".yaml", ".yml"):
        try:
            import yaml
        except ImportError:
            raise ConfigurationError(f"{path} is YAML: run `pip install PyYAML`") from None
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{path} can't be read: {error}") from None
    if path.suffix == ".toml":
        import tomllib

        return tomllib.loads(text)
    return json.loads(text)
