"""KafkaHandler's own options, checked; those of its conversion, spool and chain have their places.

Every check raises ConfigurationError, which names the option, the value and what is allowed.
"""

import inspect
import logging
from collections.abc import Mapping
from typing import Any, Final

from kiel_logging.config.credentials import hidden
from kiel_logging.config.options import parameters
from kiel_logging.config.table import FLAG, POSITIVE_MILLISECONDS, did_you_mean, one_of
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.buffer import OVERFLOW

_PASSED_THROUGH: Final = parameters()

_ALIASES: Final = {
    "acks": "required_acks",
    "additional_fields": "fields",
    "bootstrap_servers": "brokers",
    "compression_type": "compression",
    "enable_idempotence": "idempotence",
    "hosts_list": "brokers",
    "sasl_plain_password": "sasl_password",
    "sasl_plain_username": "sasl_username",
    "sasl_oauth_token_provider": "sasl_token_provider",
    "value_serializer": "serializer",
}
"""Names that other clients have for the same options."""

_NEEDLESS: Final = {
    "api_version": "the versions are negotiated with each broker",
    "retries": "a record is retried until delivery_timeout_ms",
}
"""Options of other clients, and why this handler needs none of the kind."""


def parameters_of(handler: type) -> dict[str, inspect.Parameter]:
    """Return every option that a handler of this class takes, with its default."""
    found = dict(_PASSED_THROUGH)
    for kind in reversed(handler.__mro__):
        if issubclass(kind, logging.Handler) and "__init__" in vars(kind):
            found |= inspect.signature(kind).parameters
    return found


def hide(options: Mapping[str, Any], handler: type) -> dict[str, Any]:
    """Return ``options`` with a Secret in place of each secret, and of each unknown value.

    An unknown name may be that of a secret, misspelt.
    """
    return hidden(options, {*parameters_of(handler), "acks"})  # AuditHandler refuses this by value


def refuse_unknown(options: Mapping[str, Any], handler: type) -> None:
    """See that ``options``, which ``handler`` does not name, are the Producer's."""
    for name in options:
        if name not in _PASSED_THROUGH:
            raise ConfigurationError(f"KafkaHandler has no option {name!r}{_hint(name, handler)}")


def _hint(name: str, handler: type) -> str:
    if name in _NEEDLESS:
        return f": leave it out, for {_NEEDLESS[name]}"
    if name in _ALIASES:
        return f": did you mean {_ALIASES[name]!r}?"
    return did_you_mean(name, parameters_of(handler))


def overflow_choice(value: object) -> str:
    """Return ``value`` if it is a policy."""
    policy: str = one_of(*OVERFLOW).check("overflow", value)
    return policy


def level_choice(value: Any) -> Any:
    """Return a level, or what logging itself will say is none."""
    known = logging.getLevelNamesMapping()
    if not isinstance(value, str) or value in known:
        return value
    raise ConfigurationError(
        f"level={value!r} must be a number, or one of {', '.join(map(repr, known))}"
        f"{did_you_mean(value.upper(), known)}"
    )


def logger_choice(value: object) -> logging.Logger | None:
    """Return the logger that ``internal_logger`` stands for."""
    if value is None or isinstance(value, logging.Logger):
        return value
    if isinstance(value, str) and value:
        return logging.getLogger(value)
    raise ConfigurationError(
        f"internal_logger={value!r} must be a logging.Logger, the name of one, or None for stderr"
    )


def check_flag(name: str, value: object) -> bool:
    """Return ``value`` if it is True or False."""
    flag: bool = FLAG.check(name, value)
    return flag


def check_positive(name: str, value: object) -> float:
    """Return ``value`` if it is a number of milliseconds above 0."""
    time: float = POSITIVE_MILLISECONDS.check(name, value)
    return time
