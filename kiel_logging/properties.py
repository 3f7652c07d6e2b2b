"""A librdkafka or Java client configuration as options of ours.

One table says which key means what; what has no meaning here is named in one warning.

Source: librdkafka's CONFIGURATION.md, Kafka's ProducerConfig.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from kiel_logging.credentials import hidden
from kiel_logging.diagnostics import report
from kiel_logging.errors import ConfigurationError
from kiel_logging.properties_file import read_properties, unescaped
from kiel_logging.security import OAUTHBEARER, PLAINTEXT, without_use

Properties: TypeAlias = Mapping[str, Any] | str | PathLike[str]
"""Keys and values, or the path of a Java properties file."""

_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


def _text(value: Any) -> str:
    return str(value).strip()


def _whole(value: Any) -> int:
    return int(_text(value))


def _milliseconds(value: Any) -> float:
    return float(_text(value))


def _boolean(value: Any) -> bool:
    return _BOOLEANS[_text(value).lower()]


def _acks(value: Any) -> int:
    return -1 if _text(value).lower() == "all" else _whole(value)


def _compression(value: Any) -> str | None:
    name = _text(value).lower()
    return None if name == "none" else name


def _brokers(value: Any) -> str:
    """Leave out what other clients allow here: protocols, and commas too many."""
    names = (name.strip().rpartition("://")[2] for name in _text(value).split(","))
    return ",".join(filter(None, names))


def _authorities(value: Any) -> str | None:
    path = _text(value)
    return None if path == "probe" else path  # librdkafka's word for the system's


def _secret(value: Any) -> Any:
    return value if isinstance(value, Mapping) else str(value)


def _checks_host_name(value: Any) -> bool:
    return _text(value).lower() not in ("", "none")


_PARTITIONERS: Final = {"murmur2": "murmur2", "murmur2_random": "murmur2", "random": "random"}

_MEANINGS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "bootstrap.servers": ("brokers", _brokers),
    "metadata.broker.list": ("brokers", _brokers),
    "client.id": ("client_id", _text),
    "acks": ("required_acks", _acks),
    "request.required.acks": ("required_acks", _acks),
    "enable.idempotence": ("idempotence", _boolean),
    "compression.type": ("compression", _compression),
    "compression.codec": ("compression", _compression),
    "compression.level": ("compression_level", _whole),
    "partitioner": ("partitioner", lambda value: _PARTITIONERS[_text(value)]),
    "linger.ms": ("linger_ms", _milliseconds),
    "queue.buffering.max.ms": ("linger_ms", _milliseconds),
    "batch.num.messages": ("batch_size", _whole),
    "max.request.size": ("max_request_size", _whole),
    "message.max.bytes": ("max_request_size", _whole),
    "buffer.memory": ("buffer_memory", _whole),
    "max.block.ms": ("max_block_ms", _milliseconds),
    "request.timeout.ms": ("request_timeout_ms", _milliseconds),
    "delivery.timeout.ms": ("delivery_timeout_ms", _milliseconds),
    "message.timeout.ms": ("delivery_timeout_ms", _milliseconds),
    "retry.backoff.ms": ("retry_backoff_ms", _milliseconds),
    "retry.backoff.max.ms": ("retry_backoff_max_ms", _milliseconds),
    "metadata.max.age.ms": ("metadata_max_age_ms", _milliseconds),
    "topic.metadata.refresh.interval.ms": ("metadata_max_age_ms", _milliseconds),
    "socket.connection.setup.timeout.ms": ("connect_timeout_ms", _milliseconds),
    "security.protocol": ("security_protocol", _text),
    "ssl.ca.location": ("ssl_cafile", _authorities),
    "ssl.certificate.location": ("ssl_certfile", _text),
    "ssl.key.location": ("ssl_keyfile", _text),
    "ssl.key.password": ("ssl_password", _secret),
    "ssl.truststore.location": ("ssl_cafile", _text),
    "ssl.keystore.location": ("ssl_certfile", _text),
    "ssl.endpoint.identification.algorithm": ("ssl_check_hostname", _checks_host_name),
    "enable.ssl.certificate.verification": ("ssl_verify_certificate", _boolean),
    "sasl.mechanism": ("sasl_mechanism", _text),
    "sasl.mechanisms": ("sasl_mechanism", _text),
    "sasl.username": ("sasl_username", _secret),
    "sasl.password": ("sasl_password", _secret),
}

_SECRETS: Final = ("ssl.key.password", "sasl.password", "sasl.jaas.config")
_JAAS: Final = "sasl.jaas.config"
_NO_BROKERS: Final = "the properties have no bootstrap.servers, nor is brokers given"
_STORES: Final = {
    "ssl.truststore.location": "ssl.truststore.type",
    "ssl.keystore.location": "ssl.keystore.type",
}
_MAY_BE_EMPTY: Final = (
    *_STORES,
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
)
_PEM_TEXTS: Final = {
    "ssl.ca.pem": "ssl_cafile",
    "ssl.truststore.certificates": "ssl_cafile",
    "ssl.certificate.pem": "ssl_certfile",
    "ssl.keystore.certificate.chain": "ssl_certfile",
    "ssl.key.pem": "ssl_keyfile",
    "ssl.keystore.key": "ssl_keyfile",
}
_NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})
_JAAS_OPTION: Final = re.compile(
    r"""([\w.$-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s;"']+))"""
)
_JAAS_ESCAPE: Final = re.compile(r"\\(.)")
_JAAS_NAMES: Final = {"username": "sasl_username", "password": "sasl_password"}


def complete(properties: Properties, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that ``properties`` amount to, with the caller's ``own``, which win.

    Raises:
        ConfigurationError: as of ``options_from``, or no broker is named. No secret is in its text,
            nor in a local variable.
    """
    own = hidden(own)
    try:
        options = {**_used(options_from(properties, own), own), **own}
    except ConfigurationError as error:
        wrong = str(error)
    else:
        wrong = "" if "brokers" in options else _NO_BROKERS
    finally:
        del properties
    if wrong:
        raise ConfigurationError(wrong)  # a new one: the frames below have all properties
    return options


def options_from(properties: Properties, own: Mapping[str, Any] = _NO_OPTIONS) -> dict[str, Any]:
    """Return the options that ``properties`` amount to, except ``own``; secrets are hidden.

    None as a value is as good as no key.

    Raises:
        ConfigurationError: a value can't be what its key needs, two keys contradict each other, or
            the file can't be read.
    """
    given = _given(properties)
    found: dict[str, Any] = {}
    ignored = []
    for key, value in given.items():
        if key == _JAAS and (login := _from_jaas(_text(value))):
            _add(found, key, {name: value for name, value in login.items() if name not in own})
        elif key in _MEANINGS:
            name, convert = _MEANINGS[key]
            if name not in own:
                _refuse_java_store(key, name, given)
                _add(found, key, {name: _converted(key, name, value, convert)})
        elif key not in _STORES.values():
            ignored.append(str(key))
    if found.get("idempotence"):
        found.setdefault("required_acks", -1)  # the default of both, and the only one that goes
    _warn_of(ignored)
    return found


def _warn_of(ignored: Sequence[str]) -> None:
    if ignored:
        report(
            logging.WARNING,
            "these properties have no meaning here and are ignored: %s",
            ", ".join(sorted(ignored)),
        )
    for key in sorted(_PEM_TEXTS.keys() & set(ignored)):
        report(
            logging.WARNING,
            "%s is not read: write it into a file, and give the path of that as %s",
            key,
            _PEM_TEXTS[key],
        )


def _used(found: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what other clients ignore as well: options of what is not spoken."""
    both = {**found, **own}
    protocol = str(both.get("security_protocol", PLAINTEXT)).upper()
    unused = without_use(protocol, found)
    if not unused and str(both.get("sasl_mechanism")).upper() == OAUTHBEARER:
        unused = [name for name in ("sasl_username", "sasl_password") if name in found]
    if unused:
        report(
            logging.WARNING,
            "what the properties say of %s has no use with security_protocol=%r and "
            "sasl_mechanism=%r, and is ignored",
            ", ".join(sorted(unused)),
            protocol,
            both.get("sasl_mechanism"),
        )
    if "ssl_context" in own:  # in place of all of them
        unused += [name for name in found if name.startswith("ssl_")]
    return {name: value for name, value in found.items() if name not in unused}


def _given(properties: object) -> dict[str, Any]:
    if isinstance(properties, Mapping):
        # By their keys: a dictConfig's mapping resolves "ext://" and "cfg://" in that way only.
        given = {key: properties[key] for key in properties}
    elif isinstance(properties, str | PathLike):
        given = read_properties(Path(properties))
    else:
        raise ConfigurationError(
            "properties must be a mapping, or the path of a Java properties file, not "
            f"{type(properties).__name__}"
        )
    return {key: value for key, value in given.items() if not _left_out(key, value)}


def _left_out(key: object, value: object) -> bool:
    return value is None or (key in _MAY_BE_EMPTY and _text(value) == "")


def _add(options: dict[str, Any], key: str, more: Mapping[str, Any]) -> None:
    for name, value in hidden(more).items():
        if options.get(name, value) != value:
            raise ConfigurationError(f"{key} contradicts another property for {name}")
        options[name] = value


def _converted(key: str, name: str, value: Any, convert: Callable[[Any], Any]) -> Any:
    try:
        return convert(value)
    except (KeyError, TypeError, ValueError):
        shown = "" if key in _SECRETS else f"={value!r}"
        raise ConfigurationError(
            f"{key}{shown} has no meaning here: change it, or give {name} besides, which wins"
        ) from None


def _refuse_java_store(key: str, name: str, given: Mapping[str, Any]) -> None:
    if key in _STORES and _text(given.get(_STORES[key], "JKS")).upper() != "PEM":
        raise ConfigurationError(
            f"{key} is a Java or PKCS#12 key store: export it as PEM (`keytool -list -rfc` for "
            f"certificates, `openssl pkcs12` for a key) and set {_STORES[key]}=PEM, or give {name} "
            "besides, which wins"
        )


def _from_jaas(config: str) -> dict[str, str]:
    """Return user name and password, where a login module has them; OAUTHBEARER's has none."""
    return {
        _JAAS_NAMES[name]: bare or _JAAS_ESCAPE.sub(unescaped, double or single)
        for name, double, single, bare in _JAAS_OPTION.findall(config)
        if name in _JAAS_NAMES
    }
