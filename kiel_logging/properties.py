"""A librdkafka or Java client configuration as options of ours.

One table says which key means what; what has no meaning here is named in one warning.

Source: librdkafka's CONFIGURATION.md, Kafka's ProducerConfig; java.util.Properties for the files.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias

from kiel_logging.credentials import hidden
from kiel_logging.diagnostics import report
from kiel_logging.errors import ConfigurationError

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


def _secret(value: Any) -> Any:
    return value if isinstance(value, Mapping) else str(value)


def _checks_host_name(value: Any) -> bool:
    return _text(value).lower() not in ("", "none")


_PARTITIONERS: Final = {"murmur2": "murmur2", "murmur2_random": "murmur2", "random": "random"}

_MEANINGS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "bootstrap.servers": ("brokers", _text),
    "metadata.broker.list": ("brokers", _text),
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
    "ssl.ca.location": ("ssl_cafile", _text),
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
_STORES: Final = {"ssl.truststore.location": "ssl.truststore.type"} | {
    "ssl.keystore.location": "ssl.keystore.type"
}
_JAAS_OPTION: Final = re.compile(
    r"""([\w.$-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s;"']+))"""
)
_JAAS_ESCAPE: Final = re.compile(r"\\(.)")
_JAAS_NAMES: Final = {"username": "sasl_username", "password": "sasl_password"}


def options_from(properties: Properties) -> dict[str, Any]:
    """Return the options that ``properties`` amount to; None as a value is as good as no key.

    Secrets are hidden.

    Raises:
        ConfigurationError: a value can't be what its key needs, two keys contradict each other, or
            the file can't be read. No secret is in its text, nor in a local variable.
    """
    try:
        return _options(_given(properties))
    except ConfigurationError as error:
        wrong = str(error)
    finally:
        del properties
    raise ConfigurationError(wrong)


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    _refuse_java_stores(given)
    options: dict[str, Any] = {}
    ignored = []
    for key, value in given.items():
        if key == _JAAS and (found := _from_jaas(_text(value))):
            _add(options, key, hidden(found))
        elif key in _MEANINGS:
            name, convert = _MEANINGS[key]
            _add(options, key, hidden({name: _converted(key, value, convert)}))
        elif key not in _STORES.values():
            ignored.append(str(key))
    if options.get("idempotence"):
        options.setdefault("required_acks", -1)  # the default of both, and the only one that goes
    if ignored:
        report(
            logging.WARNING,
            "these properties have no meaning here and are ignored: %s",
            ", ".join(sorted(ignored)),
        )
    return options


def _given(properties: object) -> dict[str, Any]:
    if isinstance(properties, Mapping):
        # By their keys: a dictConfig's mapping resolves "ext://" and "cfg://" in that way only.
        given = {key: properties[key] for key in properties}
        return {key: value for key, value in given.items() if value is not None}
    if isinstance(properties, str | PathLike):
        return _read(Path(properties))
    raise ConfigurationError(
        "properties must be a mapping, or the path of a Java properties file, not "
        f"{type(properties).__name__}"
    )


def complete(found: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was found among properties with the caller's own ``options``, which win.

    Raises:
        ConfigurationError: neither names a broker.
    """
    both = {**found, **options}
    if "brokers" not in both:
        raise ConfigurationError("the properties have no bootstrap.servers, nor is brokers given")
    return both


def _add(options: dict[str, Any], key: str, more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if options.get(name, value) != value:
            raise ConfigurationError(f"{key} contradicts another property for {name}")
        options[name] = value


def _converted(key: str, value: Any, convert: Callable[[Any], Any]) -> Any:
    try:
        return convert(value)
    except (KeyError, TypeError, ValueError):
        shown = "" if key in _SECRETS else f"={value!r}"
        raise ConfigurationError(f"{key}{shown} has no meaning here") from None


def _refuse_java_stores(given: Mapping[str, Any]) -> None:
    for location, kind in _STORES.items():
        if location in given and _text(given.get(kind, "JKS")).upper() != "PEM":
            raise ConfigurationError(
                f"{location} is a Java key store: export it as PEM, and set {kind}=PEM"
            )


def _from_jaas(config: str) -> dict[str, str]:
    """Return user name and password, where a login module has them; OAUTHBEARER's has none."""
    return {
        _JAAS_NAMES[name]: bare or _JAAS_ESCAPE.sub(_escaped, double or single)
        for name, double, single, bare in _JAAS_OPTION.findall(config)
        if name in _JAAS_NAMES
    }


# Java's file format.

_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_KEY: Final = re.compile(r"((?:[^\\\s:=]|\\.)*)[ \t\f]*[:=]?[ \t\f]*(.*)", re.DOTALL)


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        why = getattr(error, "strerror", None) or "it is not UTF-8 text, or that is no path"
        raise ConfigurationError(f"properties: {path} can't be read: {why}") from None
    pairs = (_KEY.fullmatch(line) for line in _logical_lines(text))
    return {_unescape(pair[1]): _unescape(pair[2]) for pair in pairs if pair is not None}


def _logical_lines(text: str) -> Iterator[str]:
    """Yield lines without comments; one that ends in a backslash goes on in the next."""
    whole = ""
    for line in re.split(r"\r\n|\r|\n", text):
        part = line.lstrip(" \t\f")
        if not whole and (not part or part[0] in "#!"):
            continue
        if (len(part) - len(part.rstrip("\\"))) % 2:
            whole += part[:-1]
            continue
        yield whole + part
        whole = ""
    if whole:
        yield whole


def _escaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) == 5 else _ESCAPES.get(code, code)


def _unescape(text: str) -> str:
    # Java writes what is beyond U+FFFF as two escapes, the halves of one character.
    halves = _ESCAPE.sub(_escaped, text).encode("utf-16-le", "surrogatepass")
    return halves.decode("utf-16-le", "replace")
