"""The options of secured clusters, checked: TLS and SASL.

Kafka's own names. What is kept shows no secret; files and variables are read when they are needed.
"""

import inspect
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, Final, TypeAlias

from kiel_logging.credentials import Secret, hidden, revealed
from kiel_logging.errors import ConfigurationError

PLAINTEXT: Final = "PLAINTEXT"
SSL: Final = "SSL"
SASL_PLAINTEXT: Final = "SASL_PLAINTEXT"
SASL_SSL: Final = "SASL_SSL"
PROTOCOLS: Final = (PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL)

PLAIN: Final = "PLAIN"
SCRAM: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")
OAUTHBEARER: Final = "OAUTHBEARER"
_MSK: Final = "AWS_MSK_IAM"  # the name that Java clients know
MECHANISMS: Final = (PLAIN, *SCRAM, OAUTHBEARER)


@dataclass(frozen=True, slots=True)
class Token:
    """An access token of OAUTHBEARER.

    Attributes:
        value: the token itself, a JWT as a rule.
        expires_at: when it ends, in seconds since the epoch; None when that is not known.
    """

    value: str
    expires_at: float | None = None

    def __repr__(self) -> str:
        return f"<Token expires_at={self.expires_at}>"


TokenProvider: TypeAlias = Callable[[], "str | Token | Awaitable[str | Token]"]
"""Returns an access token, or a coroutine of one; may block, for it is called on a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """How connections are encrypted; see Producer for the options."""

    context: ssl.SSLContext | None
    cafile: str | None
    certfile: str | None
    keyfile: str | None
    password: Secret | None
    check_hostname: bool
    verify_certificate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslOptions:
    """How this client tells who it is; see Producer for the options."""

    mechanism: str
    username: Secret | None
    password: Secret | None
    token_provider: Secret | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions:
    """What ``security_protocol`` and its like amount to; None for what isn't used."""

    protocol: str
    tls: TlsOptions | None
    sasl: SaslOptions | None


def security_options(
    *,
    security_protocol: object = PLAINTEXT,
    ssl_context: object = None,
    ssl_cafile: object = None,
    ssl_certfile: object = None,
    ssl_keyfile: object = None,
    ssl_password: object = None,
    ssl_check_hostname: object = True,
    ssl_verify_certificate: object = True,
    sasl_mechanism: object = None,
    sasl_username: object = None,
    sasl_password: object = None,
    sasl_token_provider: object = None,
) -> SecurityOptions:
    """Check the options of security.

    Raises:
        ConfigurationError: names the option and what is allowed; the value only where it can't
            be a secret.
    """
    protocol = _protocol(security_protocol)
    given = hidden(
        {
            "ssl_context": ssl_context,
            "ssl_cafile": ssl_cafile,
            "ssl_certfile": ssl_certfile,
            "ssl_keyfile": ssl_keyfile,
            "ssl_password": ssl_password,
            "sasl_mechanism": sasl_mechanism,
            "sasl_username": sasl_username,
            "sasl_password": sasl_password,
            "sasl_token_provider": sasl_token_provider,
        }
    )
    _refuse_without_use(protocol, [name for name, value in given.items() if value is not None])
    return SecurityOptions(
        protocol=protocol,
        tls=_tls(given, ssl_check_hostname, ssl_verify_certificate)
        if protocol in (SSL, SASL_SSL)
        else None,
        sasl=_sasl(given) if protocol in (SASL_PLAINTEXT, SASL_SSL) else None,
    )


SECURITY: Final = frozenset(inspect.signature(security_options).parameters)
"""The names of the options of security."""


def _protocol(value: object) -> str:
    if isinstance(value, str) and value.upper() in PROTOCOLS:
        return value.upper()
    raise ConfigurationError(
        f"security_protocol={value!r} must be one of {', '.join(map(repr, PROTOCOLS))}"
    )


def without_use(protocol: str, names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that are options of TLS or SASL when ``protocol`` has none."""
    unspoken = {"SSL", "SASL"}.difference(protocol.split("_"))
    return [name for name in names if _family(name) in unspoken]


def _family(name: str) -> str:
    return name.partition("_")[0].upper()


def _refuse_without_use(protocol: str, given: list[str]) -> None:
    for name in without_use(protocol, given):
        wanted = [other for other in PROTOCOLS if _family(name) in other.split("_")]
        raise ConfigurationError(
            f"{name} is given, but security_protocol={protocol!r} does not use it: it must be "
            f"{' or '.join(map(repr, wanted))}"
        )


# TLS.


def _tls(given: dict[str, Any], check_hostname: object, verify: object) -> TlsOptions:
    context = given["ssl_context"]
    if context is not None:
        _check_context(context, given)
        _refuse_flags(check_hostname, verify)
    certfile = _path("ssl_certfile", given["ssl_certfile"])
    keyfile = _path("ssl_keyfile", given["ssl_keyfile"])
    if keyfile is not None and certfile is None:
        raise ConfigurationError(
            "ssl_keyfile is given without ssl_certfile: a key alone is of no use"
        )
    if given["ssl_password"] is not None and certfile is None:
        raise ConfigurationError(
            "ssl_password is given without ssl_certfile: it is the password of its key"
        )
    return TlsOptions(
        context=context,
        cafile=_path("ssl_cafile", given["ssl_cafile"]),
        certfile=certfile,
        keyfile=keyfile,
        password=_checked(given["ssl_password"]),
        check_hostname=_flag("ssl_check_hostname", check_hostname),
        verify_certificate=_flag("ssl_verify_certificate", verify),
    )


def _check_context(context: object, given: dict[str, object]) -> None:
    if not isinstance(context, ssl.SSLContext):
        raise ConfigurationError(
            f"ssl_context must be an ssl.SSLContext, not {type(context).__name__}"
        )
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ConfigurationError(
            "ssl_context is one for servers: it must be one for clients, as "
            "ssl.create_default_context() makes"
        )
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password"):
        if given[name] is not None:
            raise ConfigurationError(
                f"ssl_context and {name} are both given: load it into the context instead"
            )


def _refuse_flags(check_hostname: object, verify: object) -> None:
    flags = {"ssl_check_hostname": check_hostname, "ssl_verify_certificate": verify}
    for name, value in flags.items():
        if not _flag(name, value):
            raise ConfigurationError(
                f"ssl_context and {name}=False are both given: set it in the context instead"
            )


def _path(name: str, value: Any) -> str | None:
    # What is given instead may be the key itself: it is not shown, nor kept in a variable.
    if (wrong := _no_path(revealed(value))) is not None:
        raise ConfigurationError(f"{name} must be the path of a PEM file, not {wrong}")
    return None if value is None else str(fspath(revealed(value)))


def _no_path(value: Any) -> str | None:
    """Return what ``value`` is, if it is neither a path nor None."""
    path = fspath(value) if isinstance(value, str | PathLike) else None
    if path == "":
        return "an empty path"
    if isinstance(path, str):
        return "what is in it" if "-----BEGIN" in path or "\0" in path else None
    return None if value is None else type(value).__name__


def _checked(secret: Secret | None) -> Secret | None:
    return None if secret is None else secret.check()


def _flag(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigurationError(f"{name}={value!r} must be True or False")


# SASL.


def _sasl(given: dict[str, Any]) -> SaslOptions:
    mechanism = _mechanism(given["sasl_mechanism"])
    if mechanism == OAUTHBEARER:
        if not callable(revealed(given["sasl_token_provider"])):
            raise ConfigurationError(
                f"sasl_mechanism={mechanism!r} needs sasl_token_provider, a callable that returns "
                "a token; in a dictConfig it is written 'ext://module.function'"
            )
        _refuse(mechanism, given, "sasl_username", "sasl_password")
    else:
        for name in ("sasl_username", "sasl_password"):
            if given[name] is None:
                raise ConfigurationError(f"sasl_mechanism={mechanism!r} needs {name}")
        _refuse(mechanism, given, "sasl_token_provider")
    return SaslOptions(
        mechanism=mechanism,
        username=_checked(given["sasl_username"]),
        password=_checked(given["sasl_password"]),
        token_provider=given["sasl_token_provider"],
    )


def _mechanism(value: object) -> str:
    if isinstance(value, str) and value.upper() in MECHANISMS:
        return value.upper()
    hint = "; Amazon's is 'OAUTHBEARER' here, see examples/aws_msk_iam.py" if value == _MSK else ""
    raise ConfigurationError(
        f"sasl_mechanism={value!r} must be one of {', '.join(map(repr, MECHANISMS))}{hint}"
    )


def _refuse(mechanism: str, given: dict[str, object], *names: str) -> None:
    for name in names:
        if given[name] is not None:
            raise ConfigurationError(f"{name} is given, but sasl_mechanism={mechanism!r} has none")
