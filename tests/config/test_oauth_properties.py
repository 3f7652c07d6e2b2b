"""Where OAUTHBEARER's tokens come from, by librdkafka's properties and by Java's."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from confluent_kafka import Producer as TheirProducer

from kiel_logging import KafkaHandler
from kiel_logging.clients import Producer
from kiel_logging.config.credentials import revealed
from kiel_logging.config.properties import options_from
from kiel_logging.config.security import ClientCredentials, Token
from kiel_logging.errors import ConfigurationError
from kiel_logging.network.token_endpoint import fetch
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.sasl import Sasl
from tests.support.token_server import TokenServer, token_server
from tests.support.what_is_shown import all_of

SECRET = "s3cr3t-und-geheim"
URL = "https://idp.example.com/oauth2/token"
MODULE = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"

BEARER = {
    "bootstrap.servers": "kafka:9093",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "OAUTHBEARER",
}
LIBRDKAFKA = {
    **BEARER,
    "sasl.oauthbearer.method": "oidc",
    "sasl.oauthbearer.token.endpoint.url": URL,
    "sasl.oauthbearer.client.id": "shop",
    "sasl.oauthbearer.client.secret": SECRET,
    "sasl.oauthbearer.scope": "logs audit",
    "sasl.oauthbearer.extensions": "logicalCluster=lkc-1, identityPoolId=pool-2",
}
JAVA = {
    **BEARER,
    "sasl.oauthbearer.token.endpoint.url": URL,
    "sasl.login.callback.handler.class": "org.apache.kafka.common.security.oauthbearer.x.Handler",
    "sasl.jaas.config": f"{MODULE} clientId='shop' clientSecret='{SECRET}' scope='logs audit' "
    "extension_logicalCluster='lkc-1' extension_identityPoolId='pool-2';",
}
JAVA_4_1 = {
    **{name: value for name, value in JAVA.items() if name != "sasl.jaas.config"},
    "sasl.oauthbearer.client.credentials.client.id": "shop",
    "sasl.oauthbearer.client.credentials.client.secret": SECRET,
    "sasl.oauthbearer.scope": "logs audit",
    "sasl.jaas.config": f"{MODULE} extension_logicalCluster='lkc-1' "
    "extension_identityPoolId='pool-2';",
}
EXTENSIONS = {"logicalCluster": "lkc-1", "identityPoolId": "pool-2"}


def provider_in(properties: dict[str, Any], own: Any = None) -> Any:
    """The sasl_token_provider that the properties amount to."""
    options = {} if own is None else {"sasl_token_provider": own}
    return revealed(options_from(properties, options).get("sasl_token_provider"))


@pytest.mark.parametrize(
    "properties", [LIBRDKAFKA, JAVA, JAVA_4_1], ids=["librdkafka", "Java", "Java 4.1"]
)
def test_client_credentials(properties: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """In whichever of the three ways; nothing of it is ignored."""
    found = provider_in(properties)
    assert isinstance(found, ClientCredentials)
    assert (found.endpoint, found.scope, found.cafile) == (URL, "logs audit", None)
    assert (found.client_id.read(), found.client_secret.read()) == ("shop", SECRET)
    assert found.extensions == EXTENSIONS
    assert found.urlencode is False
    assert caplog.records == []


@pytest.mark.parametrize("client", [Producer, KafkaHandler])
def test_a_client_of_confluent_cloud(client: Any) -> None:
    """Its own file is enough; librdkafka takes the same."""
    options = {} if client is Producer else {"topic": "logs", "close_timeout_ms": 1}
    made = client.from_properties(LIBRDKAFKA, **options)
    if client is KafkaHandler:
        made.close()
    TheirProducer({**LIBRDKAFKA, "log_level": 0})


@pytest.mark.parametrize(
    ("key", "value", "attribute", "expected"),
    [
        ("https.ca.location", "/ca.pem", "cafile", "/ca.pem"),
        ("https.ca.location", "probe", "cafile", None),
        ("https.ca.location", "", "cafile", None),
        ("sasl.oauthbearer.header.urlencode", "true", "urlencode", True),
        ("sasl.oauthbearer.grant.type", "client_credentials", "endpoint", URL),
        ("sasl.oauthbearer.method", "OIDC", "endpoint", URL),
        ("sasl.oauthbearer.extensions", "", "extensions", {}),
        ("sasl.oauthbearer.extensions", "a=b=c,", "extensions", {"a": "b=c"}),
        ("sasl.oauthbearer.scope", None, "scope", None),
    ],
)
def test_what_else_may_be_said(key: str, value: Any, attribute: str, expected: Any) -> None:
    """Of the grant, its endpoint and what goes to the brokers."""
    assert getattr(provider_in({**LIBRDKAFKA, key: value}), attribute) == expected


def test_placeholders_and_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for passwords: read when they are needed."""
    monkeypatch.setenv("SECRET", "old")
    monkeypatch.setenv("HOST", "idp.example.com")
    monkeypatch.setenv("POOL", "pool-3")
    jaas = (
        JAVA["sasl.jaas.config"].replace(SECRET, "${env:SECRET}").replace("pool-2", "${env:POOL}")
    )
    url = "https://${env:HOST}/oauth2/token"
    for properties in (
        {**JAVA, "sasl.jaas.config": jaas, "sasl.oauthbearer.token.endpoint.url": url},
        {**LIBRDKAFKA, "sasl.oauthbearer.client.secret": "${env:SECRET}"},
        {**LIBRDKAFKA, "sasl.oauthbearer.client.secret": {"env": "SECRET"}},
    ):
        found = provider_in(properties)
        monkeypatch.setenv("SECRET", "new")
        assert found.client_secret.read() == "new"
        assert found.endpoint == URL
    assert provider_in({**JAVA, "sasl.jaas.config": jaas}).extensions["identityPoolId"] == "pool-3"


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no id": (
        {"sasl.oauthbearer.client.id": None},
        "by the client-credentials grant need sasl.oauthbearer.client.id: add it, or give sasl_tok",
    ),
    "no secret": ({"sasl.oauthbearer.client.secret": None}, "need sasl.oauthbearer.client.secret"),
    "no endpoint": (
        {"sasl.oauthbearer.token.endpoint.url": None},
        "need sasl.oauthbearer.token.endpoint.url: add it, or give sasl_token_provider",
    ),
    "a secret in the URL": (
        {"sasl.oauthbearer.token.endpoint.url": f"https://shop:{SECRET}@idp/token"},
        "must be a URL such as 'https://idp.example.com/oauth2/token', without user name or pass",
    ),
    **{
        f"the URL {url!r}": (
            {"sasl.oauthbearer.token.endpoint.url": url},
            "the token endpoint must be a URL such as",
        )
        for url in ("", "idp/token", "ftp://idp/token", "https://", "https://[::1", "https://a:b/")
    },
    "another grant": (
        {"sasl.oauthbearer.grant.type": "urn:ietf:params:oauth:grant-type:jwt-bearer"},
        "sasl.oauthbearer.grant.type must be client_credentials: change it, or give sasl_token_pro",
    ),
    "another method": (
        {"sasl.oauthbearer.method": "saml"},
        "sasl.oauthbearer.method must be oidc or default: change it, or give sasl_token_provider",
    ),
    "no name of an extension": (
        {"sasl.oauthbearer.extensions": "logical-cluster=1"},
        "sasl.oauthbearer.extensions can't be sent: a name must be letters from A to Z",
    ),
    "the name of the token": (
        {"sasl.oauthbearer.extensions": f"auth=Bearer {SECRET}"},
        "sasl.oauthbearer.extensions can't be sent: a name must be letters from A to Z, and not",
    ),
    "no value of an extension": (
        {"sasl.oauthbearer.extensions": "pool="},
        "sasl.oauthbearer.extensions can't be sent: the value of pool must be printable ASCII",
    ),
    "librdkafka's own method": (
        {"sasl.oauthbearer.method": "default"},
        "sasl_mechanism='OAUTHBEARER' needs sasl_token_provider, a callable",
    ),
    "a placeholder of nobody": (
        {"sasl.oauthbearer.client.secret": "${vault:kv:secret}"},
        "sasl.oauthbearer.client.secret has a placeholder that is not read here",
    ),
    "a secret of bytes": (
        {"sasl.oauthbearer.client.secret": SECRET.encode()},
        "the client secret must be a str, {'env': 'NAME'} or {'file': '/path'}, not bytes",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("client", [Producer, KafkaHandler])
def test_mistakes(name: str, client: Any) -> None:
    """Are refused with what to do; the secret is nowhere to be seen."""
    changes, message = MISTAKES[name]
    options = {} if client is Producer else {"topic": "logs"}
    with pytest.raises(ConfigurationError) as failure:
        client.from_properties({**LIBRDKAFKA, **changes}, **options)
    assert message in str(failure.value)
    assert SECRET not in all_of(failure.value)


@pytest.mark.parametrize(
    "changes", [{"security.protocol": "SSL"}, {"sasl.mechanism": "PLAIN"}], ids=str
)
def test_what_is_not_spoken_is_ignored(
    changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It is not checked either, and warned of by name."""
    wrong = {"sasl.oauthbearer.client.id": None, "sasl.username": "u", "sasl.password": SECRET}
    Producer.from_properties({**LIBRDKAFKA, **wrong, **changes})
    assert "ignored: sasl.oauthbearer.client.secret, sasl.oauthbearer.extensions" in caplog.text
    assert SECRET not in caplog.text


# -- other ways to a token -------------------------------------------------------------------------


@pytest.mark.gen_test
async def test_a_provider_of_ones_own_gets_the_extensions() -> None:
    """A function or a coroutine function; those of its tokens win."""

    async def later() -> Token:
        return Token("t", 12.5, {"logicalCluster": "lkc-9"})

    properties = {**BEARER, "sasl.oauthbearer.extensions": "logicalCluster=lkc-1,pool=p"}
    assert provider_in(properties, lambda: "t")() == Token(
        "t", None, {"logicalCluster": "lkc-1", "pool": "p"}
    )
    expected = Token("t", 12.5, {"logicalCluster": "lkc-9", "pool": "p"})
    assert await provider_in(properties, later)() == expected


def test_a_provider_of_ones_own_wins() -> None:
    """Then the rest need not make sense."""
    wrong = {**LIBRDKAFKA, "sasl.oauthbearer.client.id": None, "sasl.oauthbearer.extensions": None}
    assert provider_in(wrong, str) is None
    Producer.from_properties(wrong, sasl_token_provider=lambda: "t")
    with pytest.raises(ConfigurationError, match="needs sasl_token_provider, a callable"):
        Producer.from_properties(LIBRDKAFKA, sasl_token_provider=SECRET)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (("t", 12.5), Token("t", 12.5, {"pool": "p"})),
        (("t", 12.5, "alice"), Token("t", 12.5, {"pool": "p"})),
        (("t", 12.5, "alice", {"x": "y"}), Token("t", 12.5, {"pool": "p", "x": "y"})),
        (("t", 12.5, "", None), Token("t", 12.5, {"pool": "p"})),
    ],
)
def test_the_callback_of_confluent_kafka(returned: tuple[Any, ...], expected: Token) -> None:
    """It is called with its own configuration, and returns a tuple."""
    told = []

    def callback(config: str) -> tuple[Any, ...]:
        told.append(config)
        return returned

    properties = {
        **BEARER,
        "oauth_cb": callback,
        "sasl.oauthbearer.config": "principal=shop",
        "sasl.oauthbearer.extensions": "pool=p",
    }
    assert provider_in(properties)() == expected
    assert told == ["principal=shop"]


def test_a_token_in_a_file(tmp_path: Path) -> None:
    """Kafka's `file:` endpoint: read for each connection, for Kubernetes keeps it fresh."""
    path = tmp_path / "a token"
    path.write_text("old\n")
    url = f"file://{tmp_path}/a%20token"
    provider = provider_in({**BEARER, "sasl.oauthbearer.token.endpoint.url": url})
    assert provider() == Token("old")
    path.write_text("new")
    assert provider() == Token("new")


# -- all of it -------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[TokenServer]:
    """An authorization server."""
    with token_server() as server:
        yield server


@pytest.mark.parametrize("written", [LIBRDKAFKA, JAVA], ids=["librdkafka", "Java"])
@pytest.mark.gen_test
async def test_a_message_arrives(written: dict[str, Any], server: TokenServer) -> None:
    """From the file of properties to the broker, by way of the authorization server."""
    async with FakeCluster(brokers=1) as cluster:
        cluster.brokers[0].require_sasl(Sasl(tokens={"t0"}, extensions=EXTENSIONS))
        cluster.add_topic("logs", 1)
        properties = {
            **written,
            "bootstrap.servers": ",".join(cluster.addresses),
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.oauthbearer.token.endpoint.url": server.url,
        }
        async with Producer.from_properties(properties) as producer:
            await producer.produce("logs", "hello")
        assert cluster.count("logs") == 1
    (asked,) = server.asked
    login = asked.headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(login).decode() == f"shop:{SECRET}"


@pytest.mark.gen_test
async def test_librdkafka_asks_for_the_same(server: TokenServer) -> None:
    """The request of an independent client: what one server takes from it, it takes from us."""
    properties = {**LIBRDKAFKA, "sasl.oauthbearer.token.endpoint.url": server.url}
    theirs = TheirProducer({**properties, "log_level": 0})
    while not server.asked:
        theirs.poll(0.01)
        await asyncio.sleep(0)
    await asyncio.to_thread(fetch, provider_in(properties))
    first, last = server.asked[0], server.asked[-1]
    assert (last.path, parse_qs(last.body)) == (first.path, parse_qs(first.body))
    for name in ("Authorization", "Content-Type", "Accept"):
        assert last.headers[name] == first.headers[name]
