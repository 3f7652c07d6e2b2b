"""The options of secured clusters: what is taken, and how the rest is refused."""

from __future__ import annotations

import functools
import pickle
import ssl
import traceback
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.config.security import (
    MECHANISMS,
    PROTOCOLS,
    ClientCredentials,
    Token,
    extended,
    security_options,
)
from kiel_logging.errors import ConfigurationError
from tests.support.what_is_shown import all_of

SECRET = "s3cr3t-und-geheim"
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"


def token() -> str:
    """A provider."""
    return SECRET


TLS: dict[str, Any] = {"security_protocol": "SSL"}
PLAIN: dict[str, Any] = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "PLAIN",
    "sasl_username": "alice",
    "sasl_password": SECRET,
}
BEARER: dict[str, Any] = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "OAUTHBEARER",
    "sasl_token_provider": token,
}


# -- what is taken ---------------------------------------------------------------------------------


def test_plaintext_is_the_default() -> None:
    """Without TLS and without SASL."""
    options = security_options()
    assert (options.protocol, options.tls, options.sasl) == ("PLAINTEXT", None, None)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_says_what_is_used(protocol: str) -> None:
    """TLS and SASL are there when its name has them; upper and lower case are the same."""
    sasl = {k: v for k, v in PLAIN.items() if k != "security_protocol" and "SASL" in protocol}
    options = security_options(security_protocol=protocol.lower(), **sasl)
    assert options.protocol == protocol
    assert (options.tls is not None) is protocol.endswith("SSL")
    assert (options.sasl is not None) is protocol.startswith("SASL")


def test_certificates_and_host_names_are_verified_by_default() -> None:
    """Only who says otherwise gets less."""
    tls = security_options(**TLS).tls
    assert tls is not None
    assert (tls.check_hostname, tls.verify_certificate) == (True, True)
    less = security_options(**TLS, ssl_check_hostname=False, ssl_verify_certificate=False).tls
    assert less is not None
    assert (less.check_hostname, less.verify_certificate) == (False, False)


def test_paths() -> None:
    """A str or a Path; the files are not read yet."""
    tls = security_options(**TLS, ssl_cafile=Path("/ca.pem"), ssl_certfile="own.pem").tls
    assert tls is not None
    assert (tls.cafile, tls.certfile, tls.keyfile) == ("/ca.pem", "own.pem", None)


@pytest.mark.parametrize("mechanism", MECHANISMS[:3])
def test_mechanisms_with_a_password(mechanism: str) -> None:
    """Upper and lower case are the same."""
    sasl = security_options(**{**PLAIN, "sasl_mechanism": mechanism.lower()}).sasl
    assert sasl is not None
    assert sasl.username is not None
    assert sasl.password is not None
    assert sasl.mechanism == mechanism
    assert (sasl.username.read(), sasl.password.read()) == ("alice", SECRET)


@pytest.mark.gen_test
async def test_extensions_for_every_token_of_a_provider() -> None:
    """Whatever it returns; those of a token win."""

    async def later() -> str:
        return "t"

    more = {"pool": "p", "x": "y"}
    assert extended(lambda: "t", more)() == Token("t", None, more)
    assert extended(lambda: Token("t", 1.5, {"x": "z"}), more)() == Token(
        "t", 1.5, {"pool": "p", "x": "z"}
    )
    assert await extended(later, more)() == Token("t", None, more)  # type: ignore[misc]


# -- what is refused -------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "protocol": (
        {"security_protocol": "TLS"},
        "security_protocol='TLS' must be one of 'PLAINTEXT'",
    ),
    "protocol None": ({"security_protocol": None}, "security_protocol=None must be one of"),
    "protocol of a number": ({"security_protocol": 7}, "security_protocol=7 must be one of"),
    "mechanism": (
        {**PLAIN, "sasl_mechanism": "GSSAPI"},
        "sasl_mechanism='GSSAPI' must be one of 'PLAIN', 'SCRAM-SHA-256'",
    ),
    "Amazon's mechanism": (
        {**PLAIN, "sasl_mechanism": "AWS_MSK_IAM"},
        "'OAUTHBEARER'; Amazon's is 'OAUTHBEARER' here, see examples/aws_msk_iam.py",
    ),
    "no mechanism": ({"security_protocol": "SASL_SSL"}, "sasl_mechanism=None must be one of"),
    "mechanism of a list": ({**PLAIN, "sasl_mechanism": ["PLAIN"]}, "must be one of 'PLAIN'"),
    "host name flag": ({**TLS, "ssl_check_hostname": "no"}, "ssl_check_hostname='no' must be True"),
    "certificate flag": (
        {**TLS, "ssl_verify_certificate": 0},
        "ssl_verify_certificate=0 must be True or False",
    ),
    "context": ({**TLS, "ssl_context": "ctx"}, "ssl_context must be an ssl.SSLContext, not str"),
    "context for servers": (
        {**TLS, "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)},
        "ssl_context is one for servers: it must be one for clients",
    ),
    "provider that can't be called": (
        {**BEARER, "sasl_token_provider": SECRET},
        "sasl_mechanism='OAUTHBEARER' needs sasl_token_provider, a callable",
    ),
    "no provider": (
        {**BEARER, "sasl_token_provider": None},
        "sasl_mechanism='OAUTHBEARER' needs sasl_token_provider, a callable",
    ),
    "password of a number": (
        {**PLAIN, "sasl_password": 8861},
        "sasl_password must be a str, {'env'",
    ),
    "password of bytes": (
        {**PLAIN, "sasl_password": SECRET.encode()},
        "sasl_password must be a str, {'env': 'NAME'} or {'file': '/path'}, not bytes",
    ),
    "user of a number": ({**PLAIN, "sasl_username": 8861}, "sasl_username must be a str, {'env'"),
    "key's password of a list": (
        {**TLS, "ssl_certfile": "own.pem", "ssl_password": [SECRET]},
        "ssl_password must be a str, {'env': 'NAME'} or {'file': '/path'}, not list",
    ),
    **{
        f"{name} {kind}": ({**TLS, "ssl_certfile": "own.pem", name: value}, f"{name} must be the p")
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
        for kind, value in {
            "empty": "",
            "of a number": 8861,
            "of bytes": KEY.encode(),
            "that is the PEM text": KEY,
            "with a NUL": f"{SECRET}\0",
        }.items()
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values(name: str) -> None:
    """The error names the option and what is allowed, and shows nothing that may be a secret."""
    options, message = WRONG[name]
    with pytest.raises(ConfigurationError) as failure:
        security_options(**options)
    text = "".join(traceback.format_exception(failure.value))
    assert message in str(failure.value)
    assert SECRET not in text
    assert "8861" not in text


CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    **{
        f"{name} without TLS": (
            {name: value},
            "security_protocol='PLAINTEXT' does not use it: it must be 'SSL' or 'SASL_SSL'",
        )
        for name, value in {
            "ssl_cafile": "ca.pem",
            "ssl_certfile": "own.pem",
            "ssl_keyfile": "key.pem",
            "ssl_password": SECRET,
            "ssl_context": ssl.create_default_context(),
        }.items()
    },
    **{
        f"{name} without SASL": (
            {"security_protocol": "SSL", name: value},
            "security_protocol='SSL' does not use it: it must be 'SASL_PLAINTEXT' or 'SASL_SSL'",
        )
        for name, value in {
            "sasl_mechanism": "PLAIN",
            "sasl_username": "alice",
            "sasl_password": SECRET,
            "sasl_token_provider": token,
        }.items()
    },
    **{
        f"ssl_context with {name}": (
            {**TLS, "ssl_context": ssl.create_default_context(), name: value},
            f"ssl_context and {name}",
        )
        for name, value in {
            "ssl_cafile": "ca.pem",
            "ssl_certfile": "own.pem",
            "ssl_keyfile": "key.pem",
            "ssl_password": SECRET,
            "ssl_check_hostname": False,
            "ssl_verify_certificate": False,
        }.items()
    },
    "key without certificate": (
        {**TLS, "ssl_keyfile": "key.pem"},
        "ssl_keyfile is given without ssl_certfile",
    ),
    "key's password without certificate": (
        {**TLS, "ssl_password": SECRET},
        "ssl_password is given without ssl_certfile",
    ),
    **{
        f"{mechanism} without {name}": (
            {**PLAIN, "sasl_mechanism": mechanism, name: None},
            f"sasl_mechanism={mechanism!r} needs {name}",
        )
        for mechanism in MECHANISMS[:3]
        for name in ("sasl_username", "sasl_password")
    },
    **{
        f"{mechanism} with a token provider": (
            {**PLAIN, "sasl_mechanism": mechanism, "sasl_token_provider": token},
            f"sasl_token_provider is given, but sasl_mechanism={mechanism!r} has none",
        )
        for mechanism in MECHANISMS[:3]
    },
    **{
        f"OAUTHBEARER with {name}": (
            {**BEARER, name: SECRET},
            f"{name} is given, but sasl_mechanism='OAUTHBEARER' has none",
        )
        for name in ("sasl_username", "sasl_password")
    },
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions(name: str) -> None:
    """Options that can't be meant together are refused by name, without the values."""
    options, message = CONTRADICTIONS[name]
    with pytest.raises(ConfigurationError) as failure:
        security_options(**options)
    assert message in str(failure.value)
    assert SECRET not in "".join(traceback.format_exception(failure.value))


GRANT: dict[str, Any] = {
    "endpoint": "https://idp/token",
    "client_id": "shop",
    "client_secret": SECRET,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client_secret": SECRET.encode()}, "the client secret must be a str, {'env': 'NAME'} or"),
        ({"client_id": 8861}, "the client id must be a str, {'env': 'NAME'} or {'file': '/path'}"),
        ({"endpoint": f"https://shop:{SECRET}@idp/"}, "the token endpoint must be a URL such as"),
        ({"endpoint": f"idp/{SECRET}"}, "the token endpoint must be a URL such as"),
        ({"endpoint": "https://idp/a b"}, "the token endpoint must be a URL such as"),
        ({"endpoint": "https://idp:99999/"}, "the token endpoint must be a URL such as"),
        ({"endpoint": None}, "the token endpoint must be a URL such as"),
        ({"extensions": {"a b": "tea"}}, "SASL extensions can't be sent: a name must be letters"),
        ({"extensions": {"a": "ä"}}, "SASL extensions can't be sent: the value of a must"),
        ({"cafile": ""}, "the authorities of the token endpoint must be the path of a PEM file"),
    ],
)
def test_a_grant_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    """The error says what is wrong, and shows nothing that may be a secret."""
    with pytest.raises(ConfigurationError) as failure:
        ClientCredentials(**{**GRANT, **changes})
    assert message in str(failure.value)
    assert SECRET not in all_of(failure.value)
    assert "8861" not in all_of(failure.value)


# -- what is shown ---------------------------------------------------------------------------------


def test_repr_shows_no_secret() -> None:
    """Nor what a provider was made with."""
    provider = functools.partial(token, client_secret=SECRET)
    for options in (
        {**PLAIN, "ssl_certfile": "own.pem", "ssl_password": SECRET},
        {**BEARER, "sasl_token_provider": provider},
    ):
        assert SECRET not in repr(security_options(**options))


def test_options_with_a_secret_cannot_be_pickled() -> None:
    """They would be shown."""
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(security_options(**PLAIN))


def test_a_token_shows_only_when_it_ends() -> None:
    """A program that logs it by mistake gives nothing away."""
    assert repr(Token(SECRET, 12.5)) == str(Token(SECRET, 12.5)) == "<Token expires_at=12.5>"
    assert repr(Token(SECRET, None, {"pool": SECRET})) == "<Token expires_at=None>"


def test_tokens_can_be_compared_and_looked_up() -> None:
    """Extensions are a part of them."""
    assert Token("t", 1.5) == Token("t", 1.5, {}) != Token("t", 1.5, {"pool": "p"})
    assert len({Token("t"), Token("t"), Token("t", None, {"pool": "p"})}) == 2
