"""Where OAUTHBEARER's tokens come from, as librdkafka's and Java's properties say it.

Source: librdkafka's CONFIGURATION.md (sasl.oauthbearer.*), confluent-kafka's ``oauth_cb``, Kafka's
KIP-768 (client credentials, and a token in a file), KIP-1025, KIP-1139.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kiel_logging.config.credentials import Secret
from kiel_logging.config.java_values import ConfigProviders
from kiel_logging.config.security import (
    ClientCredentials,
    Token,
    TokenFunction,
    TokenProvider,
    extended,
    wrong_extension,
)
from kiel_logging.errors import ConfigurationError

_ENDPOINT: Final = "sasl.oauthbearer.token.endpoint.url"
_CLIENT_ID: Final = "sasl.oauthbearer.client.id"
_CLIENT_SECRET: Final = "sasl.oauthbearer.client.secret"  # noqa: S105 # its name
_SCOPE: Final = "sasl.oauthbearer.scope"
_URLENCODE: Final = "sasl.oauthbearer.header.urlencode"
_AUTHORITIES: Final = "https.ca.location"
_METHOD: Final = "sasl.oauthbearer.method"
_GRANT_TYPE: Final = "sasl.oauthbearer.grant.type"
_EXTENSIONS: Final = "sasl.oauthbearer.extensions"
_CONFIG: Final = "sasl.oauthbearer.config"
_CALLBACK: Final = "oauth_cb"

_OTHER_NAMES: Final = {
    "sasl.oauthbearer.client.credentials.client.id": _CLIENT_ID,
    "sasl.oauthbearer.client.credentials.client.secret": _CLIENT_SECRET,
}
_IN_JAAS: Final = {"clientId": _CLIENT_ID, "clientSecret": _CLIENT_SECRET, "scope": _SCOPE}
_EXTENSION_IN_JAAS: Final = "extension_"

KEYS: Final = frozenset(
    {
        *(_ENDPOINT, _CLIENT_ID, _CLIENT_SECRET, _SCOPE, _URLENCODE, _AUTHORITIES),
        *(_METHOD, _GRANT_TYPE, _EXTENSIONS, _CONFIG, _CALLBACK),
        *_OTHER_NAMES,
        "sasl.login.callback.handler.class",  # Java's client of the endpoint; here it is built in
    }
)
_INSTEAD: Final = "give sasl_token_provider beside the properties, which wins"


def provider_from(
    given: Mapping[str, Any],
    jaas: Mapping[str, str],
    own: Any,
    providers: ConfigProviders,
) -> TokenProvider | None:
    """Return the source of tokens that the properties name; None if they name none.

    Args:
        given: the properties.
        jaas: the options in their ``sasl.jaas.config``.
        own: the provider that is given beside them, which wins; it gets their extensions.
        providers: read placeholders.

    Raises:
        ConfigurationError: something is missing, or has a value that it can't have; shows none.
    """
    settings: dict[str, Any] = {_IN_JAAS[name]: jaas[name] for name in _IN_JAAS if name in jaas}
    settings |= {_OTHER_NAMES.get(key, key): value for key, value in given.items() if key in KEYS}
    extensions = _extensions(settings, jaas, providers)
    if own is not None:
        return extended(own, extensions) if extensions and callable(own) else None
    method = str(settings.get(_METHOD, "")).strip().lower()
    if method == "oidc" or (not method and _ENDPOINT in settings):
        return _from_endpoint(settings, extensions, providers)
    if method not in ("", "default"):
        raise ConfigurationError(f"{_METHOD} must be oidc or default: change it, or {_INSTEAD}")
    callback = settings.get(_CALLBACK)
    if callable(callback):
        return extended(_from_callback(callback, str(settings.get(_CONFIG, ""))), extensions)
    return None


def _extensions(
    settings: Mapping[str, Any], jaas: Mapping[str, str], providers: ConfigProviders
) -> dict[str, str]:
    """Return the extensions of a list ``name=value,name=value``, and those of the JAAS."""
    listed = str(providers.text(_EXTENSIONS, settings.get(_EXTENSIONS, "")))
    pairs = (pair.partition("=") for pair in listed.split(",") if pair.strip())
    extensions = {name.strip(): value.strip() for name, _, value in pairs}
    for name, value in jaas.items():
        if name.startswith(_EXTENSION_IN_JAAS):
            extensions[name.removeprefix(_EXTENSION_IN_JAAS)] = providers.text(name, value)
    if (wrong := wrong_extension(extensions)) is not None:
        raise ConfigurationError(f"{_EXTENSIONS} can't be sent: {wrong}")
    return extensions


def _from_endpoint(
    settings: Mapping[str, Any], extensions: Mapping[str, str], providers: ConfigProviders
) -> TokenProvider:
    texts = {
        key: str(providers.text(key, settings[key])).strip()
        for key in (_ENDPOINT, _SCOPE, _URLENCODE, _AUTHORITIES, _GRANT_TYPE)
        if key in settings
    }
    if texts.get(_ENDPOINT, "").lower().startswith("file:"):
        return _from_file(texts[_ENDPOINT], extensions)
    if texts.get(_GRANT_TYPE, "client_credentials") != "client_credentials":
        raise ConfigurationError(
            f"{_GRANT_TYPE} must be client_credentials: change it, or {_INSTEAD}"
        )
    for key in (_ENDPOINT, _CLIENT_ID, _CLIENT_SECRET):
        if key not in settings:
            raise ConfigurationError(
                f"tokens by the client-credentials grant need {key}: add it, or {_INSTEAD}"
            )
    authorities = texts.get(_AUTHORITIES)
    return ClientCredentials(
        texts[_ENDPOINT],
        providers.place(_CLIENT_ID, settings[_CLIENT_ID]),
        providers.place(_CLIENT_SECRET, settings[_CLIENT_SECRET]),
        scope=texts.get(_SCOPE),
        extensions=extensions,
        cafile=None if authorities in ("", "probe") else authorities,
        urlencode=texts.get(_URLENCODE, "").lower() == "true",
    )


def _from_file(url: str, extensions: Mapping[str, str]) -> TokenFunction:
    """Return a function that reads the token in a file, which another program keeps fresh."""
    token = Secret(_ENDPOINT, {"file": unquote(urlsplit(url).path)})
    return lambda: Token(token.read().strip(), None, extensions)


def _from_callback(callback: Callable[[str], Any], config: str) -> TokenFunction:
    """Return a provider of what confluent-kafka's callback returns.

    That is ``(token, expires_at[, principal[, extensions]])``.
    """

    def provide() -> Token:
        value, expires_at, *more = callback(config)
        return Token(value, expires_at, more[1] if len(more) > 1 and more[1] else {})

    return provide
