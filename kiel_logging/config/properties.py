"""Translates a librdkafka or Java client configuration to the Producer's options.

One table says what each key means; one warning names the keys without a meaning here.

Source: librdkafka's CONFIGURATION.md, Kafka's ProducerConfig.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from kiel_logging.config.credentials import Secret, hidden, revealed
from kiel_logging.config.java_values import ConfigProviders, read_properties, unescaped
from kiel_logging.config.oauth_properties import KEYS as OAUTH_KEYS
from kiel_logging.config.oauth_properties import provider_from
from kiel_logging.config.options import PRODUCER
from kiel_logging.config.security import OAUTHBEARER, PLAINTEXT, without_use
from kiel_logging.config.table import AUTOMATIC, AUTOMATIC_LINGER_MS, INT32, Option
from kiel_logging.diagnostics import report
from kiel_logging.errors import ConfigurationError
from kiel_logging.wire.compression import LEVELS

Properties: TypeAlias = Mapping[str, Any] | str | PathLike[str]
"""Keys and values, or the path of a Java properties file."""


_HIGHEST_LEVEL: Final = max(levels[-1] for levels in LEVELS.values())

_BOOLEANS: Final = {
    **dict.fromkeys(("true", "t", "1"), True),
    **dict.fromkeys(("false", "f", "0"), False),
}
_PARTITIONERS: Final = {
    "random": "random",
    # librdkafka's of one name with and without "_random" differ for messages without a key only.
    **dict.fromkeys(("consistent", "consistent_random"), "crc32"),
    **dict.fromkeys(("murmur2", "murmur2_random"), "murmur2"),
    **dict.fromkeys(("fnv1a", "fnv1a_random"), "fnv1a"),
    # Java's classes.
    "DefaultPartitioner": "murmur2",
    "RoundRobinPartitioner": "round_robin",
}


def _text(value: Any) -> str:
    return str(value).strip()


def _whole(value: Any) -> int:
    return min(int(_text(value)), INT32)


def _request_size(value: Any) -> int:
    """Raise librdkafka's least, 1,000 bytes, to the least here."""
    size = _whole(value)
    return 1024 if 1000 <= size < 1024 else size


def _milliseconds(value: Any) -> float:
    return min(float(_text(value)), INT32)


def _patience(value: Any) -> float:
    """0 is without end."""
    return _milliseconds(value) or INT32


def _refresh(value: Any) -> float:
    """-1, or 0, is never."""
    milliseconds = _milliseconds(value)
    return INT32 if milliseconds in (-1, 0) else milliseconds


def _pause(value: Any) -> float:
    """0 is Java's for at once, which would keep us and the brokers busy."""
    return _milliseconds(value) or 1.0


def _boolean(value: Any) -> bool:
    return _BOOLEANS[_text(value).lower()]


def _acks(value: Any) -> int:
    return -1 if _text(value).lower() == "all" else _whole(value)


def _compression(value: Any) -> str | None:
    name = _text(value).lower()
    return None if name == "none" else name


def _level(value: Any) -> int | None:
    """-1 is the codec's own default."""
    level = _whole(value)
    if not -1 <= level <= _HIGHEST_LEVEL:
        raise ValueError
    return None if level == -1 else level


def _brokers(value: Any) -> str:
    """Leave out what other clients allow here: protocols, and commas too many."""
    listed = value if isinstance(value, list | tuple) else [value]
    names = (name.strip() for each in listed for name in _text(each).split(","))
    return ",".join(filter(None, (name.rpartition("://")[2] for name in names)))


def _authorities(value: Any) -> str | None:
    path = _text(value)
    return None if path == "probe" else path  # librdkafka's word for the system's


def _secret(value: Any) -> Any:
    return value if isinstance(value, Mapping) else str(value)


def _checks_host_name(value: Any) -> bool:
    return _text(value).lower() not in ("", "none")


def _partitioner(value: Any) -> str:
    return _PARTITIONERS[_text(value).rpartition(".")[2]]


_MEANINGS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "bootstrap.servers": ("brokers", _brokers),
    "metadata.broker.list": ("brokers", _brokers),
    "client.id": ("client_id", _text),
    "acks": ("required_acks", _acks),
    "request.required.acks": ("required_acks", _acks),
    "enable.idempotence": ("idempotence", _boolean),
    "compression.type": ("compression", _compression),
    "compression.codec": ("compression", _compression),
    "compression.level": ("compression_level", _level),
    "partitioner": ("partitioner", _partitioner),
    "partitioner.class": ("partitioner", _partitioner),
    "linger.ms": ("linger_ms", _milliseconds),
    "queue.buffering.max.ms": ("linger_ms", _milliseconds),
    "batch.num.messages": ("batch_size", _whole),
    "max.request.size": ("max_request_size", _request_size),
    "message.max.bytes": ("max_request_size", _request_size),
    "buffer.memory": ("buffer_memory", _whole),
    "max.block.ms": ("max_block_ms", _milliseconds),
    "request.timeout.ms": ("request_timeout_ms", _milliseconds),
    "socket.timeout.ms": ("request_timeout_ms", _milliseconds),
    "delivery.timeout.ms": ("delivery_timeout_ms", _patience),
    "message.timeout.ms": ("delivery_timeout_ms", _patience),
    "retry.backoff.ms": ("retry_backoff_ms", _pause),
    "retry.backoff.max.ms": ("retry_backoff_max_ms", _pause),
    "metadata.max.age.ms": ("metadata_max_age_ms", _pause),
    "topic.metadata.refresh.interval.ms": ("metadata_max_age_ms", _refresh),
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


_LEVEL_KEYS: Final = {f"compression.{name}.level" for name in LEVELS}
"""Java's keys for a codec's level (KIP-390)."""

_GIVES_WAY: Final = {
    # One file for two clients: what either can't use is in it for the other one.
    "ssl.truststore.location": "ssl.ca.location",
    "ssl.keystore.location": "ssl.certificate.location",
    # librdkafka has both, and the other one is what is meant here.
    "metadata.max.age.ms": "topic.metadata.refresh.interval.ms",
    "request.timeout.ms": "socket.timeout.ms",
}
"""Keys that are not read where another one is given."""

_JAAS: Final = "sasl.jaas.config"
_NO_BROKERS: Final = "the properties have no bootstrap.servers, nor is brokers given"
_STORES: Final = {
    "ssl.truststore.location": "ssl.truststore.type",
    "ssl.keystore.location": "ssl.keystore.type",
}
_READ_WITH_OTHERS: Final = frozenset({*_STORES.values(), *_LEVEL_KEYS, *OAUTH_KEYS})
_MAY_BE_EMPTY: Final = (
    *_STORES,
    "client.id",
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
_TIMES: Final = (
    "linger_ms",
    "request_timeout_ms",
    "delivery_timeout_ms",
    "retry_backoff_ms",
    "retry_backoff_max_ms",
)
_TOPIC_CONFIG: Final = "default.topic.config"
_NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})
_JAAS_OPTION: Final = re.compile(
    r"""([\w.$-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s;"']+))"""
)
_JAAS_ESCAPE: Final = re.compile(r"\\(.)")
_JAAS_NAMES: Final = {"username": "sasl_username", "password": "sasl_password"}


def complete(
    properties: Properties, own: Mapping[str, Any], table: Mapping[str, Option]
) -> dict[str, Any]:
    """Return the options that ``properties`` amount to, with the caller's ``own``, which win.

    Args:
        properties: keys and values, or the path of a Java properties file.
        own: the options that are given beside them.
        table: all options of what is to be made.

    Raises:
        ConfigurationError: as of ``options_from``, or no broker is named. Its text and the
            local variables of its frames have no secrets.
    """
    own = hidden(own, table)
    options: dict[str, Any] = {}
    try:
        found = _used(options_from(properties, own, table), own)
        options = {**own, **_fitting(found, own, table)}
    except ConfigurationError as error:
        wrong = str(error)
    else:
        wrong = "" if "brokers" in options else _NO_BROKERS
    finally:
        del properties
    if wrong:
        raise ConfigurationError(wrong)  # a new one: the frames below have all properties
    return options


def options_from(
    properties: Properties,
    own: Mapping[str, Any] = _NO_OPTIONS,
    table: Mapping[str, Option] = PRODUCER,
) -> dict[str, Any]:
    """Return the options that ``properties`` amount to, except ``own``; secrets are hidden.

    None as a value is as good as no key. The one of ``own`` that is returned is a token provider
    that gets extensions from the properties.

    Raises:
        ConfigurationError: a value can't be what its key needs, two keys contradict each other, or
            the file can't be read.
    """
    given = _given(properties)
    reading = _Reading(given, own, table)
    for key, value in given.items():
        reading.take(key, value)
    reading.take_level()
    reading.take_provider()
    _warn_of(reading.ignored)
    if reading.found.get("idempotence"):
        reading.found.setdefault("required_acks", -1)  # the default of both, and the only one
    return reading.found


class _Reading:
    """The options that were found so far, and the keys without a meaning."""

    def __init__(
        self, given: Mapping[str, Any], own: Mapping[str, Any], table: Mapping[str, Option]
    ) -> None:
        self._meanings = {key: each for key, each in _MEANINGS.items() if each[0] in table}
        self.found: dict[str, Any] = {}
        self.ignored: list[str] = []
        self._given = given
        self._own = own
        self._keys: dict[str, str] = {}
        self._jaas: dict[str, str] = {}
        self._providers = ConfigProviders(given)

    def take(self, key: str, value: Any) -> None:
        """Take one property."""
        if key == _JAAS:
            self._take_jaas(_text(value))
        elif key in self._meanings:
            name, convert = self._meanings[key]
            if name not in self._own and _GIVES_WAY.get(key) not in self._given:
                self._refuse_java_store(key, name)
                self._add(key, name, self._converted(key, name, value, convert))
        elif key not in _READ_WITH_OTHERS and not self._providers.takes(str(key)):
            self.ignored.append(str(key))

    def _add(self, key: str, name: str, value: Any) -> None:
        ((name, value),) = hidden({name: value}).items()
        other = self._keys.get(name)
        if other is not None and self.found[name] != value:
            if isinstance(value, Secret):
                raise ConfigurationError(
                    f"{key} contradicts {other}: leave one of them out, or give {name} beside the "
                    "properties, which wins"
                )
            report(logging.WARNING, "%s counts, and not %s, which says otherwise", key, other)
        self.found[name], self._keys[name] = value, key

    def _converted(self, key: str, name: str, value: Any, convert: Callable[[Any], Any]) -> Any:
        read = self._providers.place if convert is _secret else self._providers.text
        found = read(key, value)
        try:
            return convert(found)
        except (KeyError, TypeError, ValueError):
            shown = "" if convert is _secret else f"={value!r:.100}"
            raise ConfigurationError(
                f"{key}{shown} has no meaning here: change it, or give {name} besides, which wins"
            ) from None

    def _refuse_java_store(self, key: str, name: str) -> None:
        if key in _STORES and _text(self._given.get(_STORES[key], "JKS")).upper() != "PEM":
            raise ConfigurationError(
                f"{key} is a Java or PKCS#12 key store: export it as PEM (`keytool -list -rfc` for "
                f"certificates, `openssl pkcs12` for a key) and set {_STORES[key]}=PEM, or give "
                f"{name} besides, which wins"
            )

    def _take_jaas(self, config: str) -> None:
        """Take user name and password, where a login module has them; the rest is OAUTHBEARER's."""
        if config.startswith("${"):  # all of it is somewhere else
            config = str(self._providers.text(_JAAS, config))
        self._jaas = {
            name: bare or _JAAS_ESCAPE.sub(unescaped, double or single)
            for name, double, single, bare in _JAAS_OPTION.findall(config)
        }
        for name, option in _JAAS_NAMES.items():
            if name in self._jaas and option not in self._own:
                self._add(_JAAS, option, self._providers.place(_JAAS, self._jaas[name]))

    def take_level(self) -> None:
        """Take Java's property for the level of the chosen codec."""
        codec = self._own.get("compression", self.found.get("compression"))
        key, name = f"compression.{codec}.level", "compression_level"
        if key in _LEVEL_KEYS and key in self._given and name not in self._own:
            self._add(key, name, self._converted(key, name, self._given[key], _whole))

    def take_provider(self) -> None:
        """Take what says where OAUTHBEARER's tokens come from."""
        both = {**self.found, **self._own}
        protocol, mechanism = (
            str(both.get(name)).upper() for name in ("security_protocol", "sasl_mechanism")
        )
        has_tokens = "SASL" in protocol and mechanism == OAUTHBEARER
        own = revealed(self._own.get("sasl_token_provider"))
        if has_tokens:
            provider = provider_from(self._given, self._jaas, own, self._providers)
            if provider is not None:
                self.found |= hidden({"sasl_token_provider": provider})
        else:
            self.ignored += OAUTH_KEYS.intersection(self._given)
        if _JAAS in self._given and (own is not None or not has_tokens):
            self.ignored += [] if _JAAS_NAMES.keys() & self._jaas else [_JAAS]


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
        if isinstance(given.get(_TOPIC_CONFIG), Mapping):  # confluent-kafka's, of old
            given = {**given.pop(_TOPIC_CONFIG), **given}
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


# Combinations that are legal there, and would be refused here.


def _fitting(
    found: Mapping[str, Any], own: Mapping[str, Any], table: Mapping[str, Option]
) -> dict[str, Any]:
    """Return ``found``, so that it goes with ``own``, the defaults and itself."""
    fitting = dict(found)
    times = {name: {**found, **own}.get(name, table[name].default) for name in _TIMES}
    if times["linger_ms"] == AUTOMATIC:
        times["linger_ms"] = AUTOMATIC_LINGER_MS
    if all(isinstance(time, int | float) for time in times.values()):  # or it is refused later
        _fit_attempts(fitting, own, times)
        _fit_backoff(fitting, own, times)
    _fit_level(fitting, own)
    return fitting


def _fit_attempts(
    fitting: dict[str, Any], own: Mapping[str, Any], times: Mapping[str, float]
) -> None:
    """See that one attempt fits into the time that a message has.

    librdkafka does not mind if it does not; Java's other default for ``linger.ms`` is 0 or 5, and
    it raises a ``delivery.timeout.ms`` that is not given.
    """
    linger, request, delivery = (times[name] for name in _TIMES[:3])
    if delivery >= linger + request:
        return
    given = {*fitting, *own}
    if "delivery_timeout_ms" not in given:
        fitting["delivery_timeout_ms"] = min(linger + request, INT32)
        return
    if linger > (half := (delivery - 1) / 2) and "linger_ms" not in given:
        fitting["linger_ms"] = linger = half
    if "request_timeout_ms" not in own:
        fitting["request_timeout_ms"] = max(1.0, delivery - linger)


def _fit_backoff(
    fitting: dict[str, Any], own: Mapping[str, Any], times: Mapping[str, float]
) -> None:
    """See that the first pause is no longer than the longest.

    Where both are given the longest counts, as with Java.
    """
    first, most = times["retry_backoff_ms"], times["retry_backoff_max_ms"]
    if first <= most:
        return
    is_bound = "retry_backoff_max_ms" in fitting and "retry_backoff_ms" not in own
    if is_bound or "retry_backoff_max_ms" in own:
        fitting["retry_backoff_ms"] = most
    else:
        fitting["retry_backoff_max_ms"] = first


def _fit_level(fitting: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Leave a level out that the codec does not have, and take the nearest that it has."""
    level = fitting.pop("compression_level", None)
    codec = {**fitting, **own}.get("compression")
    if level is not None and isinstance(codec, str) and codec in LEVELS:
        levels = LEVELS[codec]
        fitting["compression_level"] = min(max(level, levels[0]), levels[-1])
