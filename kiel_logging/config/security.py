"""The options of secured clusters, checked: TLS and SASL.

The options have Kafka's names. Nothing here shows a secret; files and variables are read when they
are needed.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from os import PathLike, fspath
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias, TypedDict

from kiel_logging.config.credentials import FORMS, Secret, Secretive, hidden, revealed
from kiel_logging.config.table import FLAG, Kind, one_of, rows
from kiel_logging.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl

PLAINTEXT: Final = "PLAINTEXT"
SSL: Final = "SSL"
SASL_PLAINTEXT: Final = "SASL_PLAINTEXT"
SASL_SSL: Final = "SASL_SSL"
PROTOCOLS: Final = (PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL)

PLAIN: Final = "PLAIN"
SCRAM: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")
OAUTHBEARER: Final = "OAUTHBEARER"
MECHANISMS: Final = (PLAIN, *SCRAM, OAUTHBEARER)
_MECHANISM_HINTS: Final = {
    # The name that Java clients know.
    "AWS_MSK_IAM": "; Amazon's is 'OAUTHBEARER' here, see examples/aws_msk_iam.py",
    "GSSAPI": "; for Kerberos there is no support: ask for a listener with one of these, or with "
    "client certificates (ssl_certfile)",
}


@dataclass(frozen=True, slots=True)
class Token:
    """An access token of OAUTHBEARER.

    Attributes:
        value: the token itself, a JWT as a rule.
        expires_at: when it ends, in seconds since the epoch; None when that is not known.
        extensions: SASL extensions, which go to the broker beside the token (KIP-342). Confluent
            Cloud wants ``logicalCluster`` and ``identityPoolId``.
    """

    value: str
    expires_at: float | None = None
    extensions: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        return f"<Token expires_at={self.expires_at}>"


_EXTENSION_NAME: Final = re.compile(r"[A-Za-z]+")
_EXTENSION_VALUE: Final = re.compile(r"[\x21-\x7e \t\r\n]+")


def wrong_extension(extensions: object) -> str | None:
    """Return what is wrong with SASL extensions, without their values; None if nothing is.

    Source: RFC 7628, 3.1. The name "auth" is the token's.
    """
    if not isinstance(extensions, Mapping):
        return f"they are {type(extensions).__name__}: they must be a mapping of str to str"
    for name, value in extensions.items():
        if not isinstance(name, str) or not _EXTENSION_NAME.fullmatch(name) or name == "auth":
            return "a name must be letters from A to Z, and not 'auth'"
        if not isinstance(value, str) or not _EXTENSION_VALUE.fullmatch(value):
            return f"the value of {name[:64]} must be printable ASCII, and not empty"
    return None


TokenFunction: TypeAlias = Callable[[], "str | Token | Awaitable[str | Token]"]
"""Returns an access token, or a coroutine of one; may block, for it is called on a thread."""


class ClientCredentials:
    """How a program gets its access tokens by itself: OAuth's client-credentials grant.

    For ``sasl_token_provider``. The endpoint's certificate is verified; redirects are not followed,
    for the client secret would go with them. ``https_proxy`` of the environment counts.

    Args:
        endpoint: the URL of the authorization server's token endpoint.
        client_id: what the server calls this program. This and the secret are a str,
            ``{"env": "NAME"}`` or ``{"file": "/path"}``, read for each token.
        client_secret: the program's password there.
        scope: the scope to ask for, if the server needs one.
        extensions: SASL extensions for the brokers, see Token.
        cafile: PEM file, or directory, of the authorities to trust; the system's when left out.
        urlencode: whether id and secret are encoded before they are sent, as RFC 6749 has it and
            most servers don't mind (KIP-1025).

    Raises:
        ConfigurationError: one of them can't be used; shows no secret.
    """

    __slots__ = (
        *("cafile", "client_id", "client_secret", "endpoint", "extensions", "scope"),
        "urlencode",
    )

    def __init__(
        self,
        endpoint: str,
        client_id: Secretive,
        client_secret: Secretive,
        *,
        scope: str | None = None,
        extensions: Mapping[str, str] | None = None,
        cafile: str | None = None,
        urlencode: bool = False,
    ) -> None:
        self.client_id = Secret("the client id", client_id)
        self.client_secret = Secret("the client secret", client_secret)
        self.endpoint = endpoint if _is_endpoint(endpoint) else ""
        del client_id, client_secret, endpoint  # a wrong URL may have a password in it
        self.client_id.check()
        self.client_secret.check()
        if not self.endpoint:
            raise ConfigurationError(
                "the token endpoint must be a URL such as 'https://idp.example.com/oauth2/token', "
                "without user name or password"
            )
        self.scope = scope
        self.extensions = dict(extensions or {})
        if (wrong := wrong_extension(self.extensions)) is not None:
            raise ConfigurationError(f"SASL extensions can't be sent: {wrong}")
        self.cafile = _path("the authorities of the token endpoint", cafile)
        self.urlencode = urlencode

    def __repr__(self) -> str:
        if not hasattr(self, "urlencode"):  # an argument was wrong, and a tool shows where
            return "<ClientCredentials being made>"
        return f"<ClientCredentials {self.endpoint}>"


TokenProvider: TypeAlias = TokenFunction | ClientCredentials

_URL: Final = re.compile(r"[\x21-\x7e]+")


def _is_endpoint(url: object) -> bool:
    from urllib.parse import urlsplit  # few need it

    try:
        parts = urlsplit(url) if isinstance(url, str) and _URL.fullmatch(url) else None
        return (
            parts is not None
            and parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.username is None
            and parts.port != 0
        )
    except ValueError:  # brackets or a port that make no sense
        return False


def extended(provider: TokenFunction, extensions: Mapping[str, str]) -> TokenFunction:
    """Return ``provider`` with ``extensions`` for its tokens; those of a token win."""

    def extend(token: str | Token) -> Token:
        if isinstance(token, str):
            return Token(token, None, extensions)
        return Token(token.value, token.expires_at, {**extensions, **token.extensions})

    async def extend_later(token: Awaitable[str | Token]) -> Token:
        return extend(await token)

    def provide() -> Token | Awaitable[Token]:
        token = provider()
        return extend_later(token) if isawaitable(token) else extend(token)

    return provide


PEM_FILE: Final = Kind("the path of a PEM file")
SECRET: Final = Kind(FORMS)


class SecurityKeywords(TypedDict, total=False):
    """The options of TLS and SASL, which a Producer and a handler have in common."""

    security_protocol: Annotated[str, PLAINTEXT, Kind(one_of(*PROTOCOLS).description)]
    """Whether connections are encrypted (SSL means TLS), and whether this client logs in."""
    ssl_cafile: Annotated[str | PathLike[str] | None, None, PEM_FILE]
    """The authorities to trust; the system's when left out."""
    ssl_certfile: Annotated[str | PathLike[str] | None, None, PEM_FILE]
    """This client's certificate and its chain, for mutual TLS."""
    ssl_keyfile: Annotated[str | PathLike[str] | None, None, PEM_FILE]
    """This client's key, when that is not in ``ssl_certfile``."""
    ssl_password: Annotated[Secretive | None, None, SECRET]
    """Of that key, if it is encrypted; read for each connection."""
    ssl_check_hostname: Annotated[bool, True, FLAG]
    """False takes any host's certificate, and warns."""
    ssl_verify_certificate: Annotated[bool, True, FLAG]
    """False takes any certificate at all, and warns."""
    ssl_context: Annotated["ssl.SSLContext | None", None, Kind("an ssl.SSLContext")]
    """In place of the files, for everything else."""
    sasl_mechanism: Annotated[str | None, None, Kind(one_of(*MECHANISMS).description)]
    """How this client logs in."""
    sasl_username: Annotated[Secretive | None, None, SECRET]
    """The user name, for PLAIN and SCRAM; read for each connection."""
    sasl_password: Annotated[Secretive | None, None, SECRET]
    """The user's password, for PLAIN and SCRAM; read for each connection."""
    sasl_token_provider: Annotated[
        TokenProvider | None,
        None,
        Kind("a callable, a coroutine function, or ``kiel_logging.ClientCredentials``"),
    ]
    """For OAUTHBEARER: returns an access token, a str or a ``kiel_logging.Token``. It is called on
    a thread, whenever the last token has used up most of its life."""


_DEFAULTS: Final = {name: row.default for name, row in rows(SecurityKeywords).items()}


class TlsOptions(NamedTuple):
    """How connections are encrypted; see Producer for the options."""

    context: "ssl.SSLContext | None"
    cafile: str | None
    certfile: str | None
    keyfile: str | None
    password: Secret | None
    check_hostname: bool
    verify_certificate: bool


class SaslOptions(NamedTuple):
    """How this client authenticates; see Producer for the options."""

    mechanism: str
    username: Secret | None
    password: Secret | None
    token_provider: Secret | None


class SecurityOptions(NamedTuple):
    """What ``security_protocol`` and its like amount to; None for what isn't used."""

    protocol: str
    tls: TlsOptions | None
    sasl: SaslOptions | None


def security_options(**options: Any) -> SecurityOptions:
    """Check the options of SecurityKeywords; those that are left out have their defaults.

    Raises:
        ConfigurationError: names the option and what is allowed; the value only where it can't
            be a secret.
    """
    options = hidden({**_DEFAULTS, **options})
    protocol = _protocol(options["security_protocol"])
    given = [name for name, value in options.items() if value not in (None, True, False)]
    _refuse_without_use(protocol, given)
    return SecurityOptions(
        protocol=protocol,
        tls=_tls(options) if protocol in (SSL, SASL_SSL) else None,
        sasl=_sasl(options) if protocol in (SASL_PLAINTEXT, SASL_SSL) else None,
    )


def _protocol(value: object) -> str:
    protocol = value.upper() if isinstance(value, str) else value
    if protocol in PROTOCOLS:
        return protocol
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


def _tls(options: Mapping[str, Any]) -> TlsOptions:
    for name in ("ssl_check_hostname", "ssl_verify_certificate"):
        FLAG.check(name, options[name])
    context, password = options["ssl_context"], options["ssl_password"]
    if context is not None:
        _check_context(context, options)
    certfile = _path("ssl_certfile", options["ssl_certfile"])
    keyfile = _path("ssl_keyfile", options["ssl_keyfile"])
    if certfile is None and keyfile is not None:
        raise ConfigurationError(
            "ssl_keyfile is given without ssl_certfile: a key alone is of no use"
        )
    if certfile is None and password is not None:
        raise ConfigurationError(
            "ssl_password is given without ssl_certfile: it is the password of its key"
        )
    return TlsOptions(
        context=context,
        cafile=_path("ssl_cafile", options["ssl_cafile"]),
        certfile=certfile,
        keyfile=keyfile,
        password=None if password is None else password.check(),
        check_hostname=options["ssl_check_hostname"],
        verify_certificate=options["ssl_verify_certificate"],
    )


def _check_context(context: object, options: Mapping[str, Any]) -> None:
    import ssl  # few need it

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
        if options[name] is not None:
            raise ConfigurationError(
                f"ssl_context and {name} are both given: load it into the context instead"
            )
    for name in ("ssl_check_hostname", "ssl_verify_certificate"):
        if not options[name]:
            raise ConfigurationError(
                f"ssl_context and {name}=False are both given: set it in the context instead"
            )


def _path(name: str, value: Any) -> str | None:
    # Users may give the key itself in place of its path: no message and no variable shows it.
    if (wrong := _no_path(revealed(value))) is not None:
        raise ConfigurationError(f"{name} must be the path of a PEM file, not {wrong}")
    return None if value is None else str(fspath(revealed(value)))


def _no_path(value: Any) -> str | None:
    """Describe a ``value`` that is no path; return None for a path, or for None."""
    path = fspath(value) if isinstance(value, str | PathLike) else None
    if path == "":
        return "an empty path"
    if isinstance(path, str):
        return "what is in it" if "-----BEGIN" in path or "\0" in path else None
    return None if value is None else type(value).__name__


# SASL.


def _sasl(options: Mapping[str, Any]) -> SaslOptions:
    mechanism = _mechanism(options["sasl_mechanism"])
    username, password = options["sasl_username"], options["sasl_password"]
    provider = options["sasl_token_provider"]
    if mechanism == OAUTHBEARER:
        if not (callable(revealed(provider)) or isinstance(revealed(provider), ClientCredentials)):
            raise ConfigurationError(
                f"sasl_mechanism={mechanism!r} needs sasl_token_provider, a callable that returns "
                "a token (in a dictConfig 'ext://module.function'), or properties with "
                "sasl.oauthbearer.method=oidc"
            )
        unused = {"sasl_username": username, "sasl_password": password}
    else:
        for name in ("sasl_username", "sasl_password"):
            if options[name] is None:
                raise ConfigurationError(f"sasl_mechanism={mechanism!r} needs {name}")
        username, password = username.check(), password.check()
        unused = {"sasl_token_provider": provider}
    for name, value in unused.items():
        if value is not None:
            raise ConfigurationError(f"{name} is given, but sasl_mechanism={mechanism!r} has none")
    return SaslOptions(mechanism, username, password, provider)


def _mechanism(value: object) -> str:
    if isinstance(value, str) and value.upper() in MECHANISMS:
        return value.upper()
    raise ConfigurationError(
        f"sasl_mechanism={value!r} must be one of {', '.join(map(repr, MECHANISMS))}"
        f"{_MECHANISM_HINTS.get(value, '') if isinstance(value, str) else ''}"
    )
