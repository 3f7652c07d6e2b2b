"""Tokens by the client-credentials grant: what is asked for, and what any answer comes to."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.config.options import Address
from kiel_logging.config.security import ClientCredentials, security_options
from kiel_logging.errors import AuthenticationFailed, ConfigurationError
from kiel_logging.network import token_endpoint
from kiel_logging.network.opening import open_connection, secure
from kiel_logging.network.resolver import resolve
from kiel_logging.network.token_endpoint import fetch
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.testing.sasl import Sasl
from tests.support.certificates import Authority
from tests.support.token_server import TokenServer, token_server
from tests.support.what_is_shown import all_of, object_of

SECRET = "s3cr3t/und+geheim="


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[TokenServer]:
    """An authorization server."""
    with token_server() as server:
        yield server


def credentials(server: TokenServer, **changes: Any) -> ClientCredentials:
    """Those of a program that the server knows."""
    return ClientCredentials(changes.pop("url", server.url), "shop", SECRET, **changes)


def refusal(server: TokenServer, **changes: Any) -> str:
    """The error when there is no token; nothing shows the secret."""
    with pytest.raises(AuthenticationFailed) as failure:
        fetch(credentials(server, **changes))
    assert SECRET not in str(failure.value)
    assert SECRET not in all_of(failure.value)
    return str(failure.value)


# -- requests --------------------------------------------------------------------------------------


def test_the_request(server: TokenServer) -> None:
    """RFC 6749, 4.4: the grant and its scope as a form, the client as HTTP has it."""
    assert fetch(credentials(server, scope="logs audit")).value == "t0"
    (asked,) = server.asked
    assert asked.path == "/oauth2/token"
    assert parse_qs(asked.body) == {"grant_type": ["client_credentials"], "scope": ["logs audit"]}
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    kind, _, login = asked.headers["Authorization"].partition(" ")
    assert (kind, base64.b64decode(login).decode()) == ("Basic", f"shop:{SECRET}")
    assert repr(credentials(server)) == f"<ClientCredentials {server.url}>"
    assert SECRET not in object_of(credentials(server))
    fetch(credentials(server, urlencode=True))  # RFC 6749, 2.3.1, for servers that want it
    assert server.asked[1].body == "grant_type=client_credentials"
    login = server.asked[1].headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(login) == b"shop:s3cr3t%2Fund%2Bgeheim%3D"


def test_the_secret_is_read_for_each_token(
    server: TokenServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From a variable or a file: a new one takes effect without a restart."""
    monkeypatch.setenv("CLIENT_ID", "shop")
    (tmp_path / "secret").write_text("old\n")
    of_files = ClientCredentials(
        server.url, {"env": "CLIENT_ID"}, {"file": str(tmp_path / "secret")}
    )
    fetch(of_files)
    (tmp_path / "secret").write_text("new\n")
    fetch(of_files)
    sent = [each.headers["Authorization"].removeprefix("Basic ") for each in server.asked]
    assert [base64.b64decode(each) for each in sent] == [b"shop:old", b"shop:new"]


def test_a_secret_that_is_not_there(server: TokenServer) -> None:
    """The error says where it should be; the server is not asked."""
    with pytest.raises(ConfigurationError, match="the client secret: /nowhere can't be read"):
        fetch(ClientCredentials(server.url, "shop", {"file": "/nowhere"}))
    assert server.asked == []


# -- answers ---------------------------------------------------------------------------------------


def test_a_token_with_an_end(server: TokenServer) -> None:
    """Seconds from now, as the server says; and what is to go to the brokers with it."""
    server.answer = {"access_token": "t1", "token_type": "Bearer", "expires_in": "600"}
    before = time.time()
    token = fetch(credentials(server, extensions={"pool": "p1"}))
    assert token.value == "t1"
    assert token.expires_at is not None
    assert before + 600 <= token.expires_at <= time.time() + 600
    assert token.extensions == {"pool": "p1"}


@pytest.mark.parametrize("expires_in", [None, "soon", -1, 0, [], "nan", 1e400], ids=repr)
def test_a_token_without_an_end_that_makes_sense(server: TokenServer, expires_in: Any) -> None:
    """A JWT says so by itself."""
    server.answer = {"access_token": "t1", "expires_in": expires_in}
    assert fetch(credentials(server)).expires_at is None


NO_TOKEN = "answered without an access_token: is that the URL of a token endpoint?"


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (401, {"error": "invalid_client"}, "(HTTP 401, invalid_client): check client id and secre"),
        (400, {"error": "invalid_scope"}, "(HTTP 400, invalid_scope): check the scope (sasl.oauth"),
        (400, {"error": "unauthorized_client"}, "allow this client the client-credentials grant"),
        (400, {"error": "unsupported_grant_type"}, "allow this client the client-credentials gran"),
        (401, b"", "refuses this client (HTTP 401): check client id and secret"),
        (403, {"error": SECRET}, "refuses this client (HTTP 403): check client id and secret"),
        (400, {"error": f"\x1b[2J{SECRET}"}, "answered HTTP 400; it is asked again"),
        (404, b"<html>", "is none (HTTP 404): check the URL"),
        (405, b"", "is none (HTTP 405): check the URL"),
        (429, b"", "answered HTTP 429; it is asked again"),
        (503, SECRET.encode(), "answered HTTP 503; it is asked again"),
        (204, b"", "answered HTTP 204; it is asked again"),
        (200, b"", NO_TOKEN),
        (200, b"<html>", NO_TOKEN),
        (200, b"\xff\xfe", NO_TOKEN),
        (200, b"[" * 100_000, NO_TOKEN),
        (200, [SECRET], NO_TOKEN),
        (200, {}, NO_TOKEN),
        (200, {"access_token": None}, NO_TOKEN),
        (200, {"access_token": ["t"]}, NO_TOKEN),
        (200, {"access_token": ""}, NO_TOKEN),
    ],
)
def test_an_answer_without_a_token(
    server: TokenServer, status: int, answer: Any, message: str
) -> None:
    """The error has its status and advice; of its text only codes of RFC 6749 are shown."""
    server.status, server.answer = status, answer
    told = refusal(server, url=f"{server.url}?tenant=1&key=%73")
    assert server.asked[0].path == "/oauth2/token?tenant=1&key=%73"
    assert told.startswith(f"the token endpoint {server.url} ")
    assert "tenant" not in told, "some servers take keys in the query"
    assert message in told
    assert told.isprintable()


def test_a_redirect_is_not_followed(server: TokenServer) -> None:
    """The secret would go with it, to anywhere."""
    server.status = 307
    server.headers = {"Location": f"{server.url}/elsewhere"}
    assert "redirects (HTTP 307), and the secret does not follow: give the final" in refusal(server)
    assert len(server.asked) == 1


def test_an_answer_of_megabytes(server: TokenServer) -> None:
    """Is not read to its end."""
    written = []

    def write(file: Any) -> None:
        file.write(b"HTTP/1.0 200 OK\r\n\r\n{")
        for _ in range(200):
            file.write(b" " * 1_000_000)
            written.append(1)

    server.write = write
    assert NO_TOKEN in refusal(server)
    server.ended.wait(0)
    assert len(written) < 100


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"]
)
def test_a_server_that_sends_a_byte_now_and_then(
    server: TokenServer, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Has as much time as one that sends nothing: the thread is not its for ever."""
    monkeypatch.setattr(token_endpoint, "_PATIENCE", 0.3)

    def drip(file: Any) -> None:
        file.write(start)
        while not server.ended.wait(0.05):
            file.write(b"x")

    server.write = drip
    assert "did not answer within 0 s: can it be reached from here?" in refusal(server)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"", "does not speak HTTP as it should"),
        (b"\x15\x03\x01\x00\x02", "does not speak HTTP as it should"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP as it should"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "does not speak HTTP as it should"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", NO_TOKEN),
    ],
    ids=["nothing", "TLS", "SSH", "many headers", "half of it"],
)
def test_a_server_that_speaks_something_else(
    server: TokenServer, written: bytes, message: str
) -> None:
    """It differs from one that refuses."""
    server.write = lambda file: file.write(written)
    assert message in refusal(server)


@given(st.binary(max_size=200))
def test_any_answer(answer: bytes) -> None:
    """It is a token, or an AuthenticationFailed."""
    with token_server() as server:
        server.answer = answer
        with pytest.raises(AuthenticationFailed):
            fetch(credentials(server))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "http://127.0.0.1:1/token",
            "can't be reached (Connection refused): is it up, and is this its URL?",
        ),
        ("http://does-not-exist.invalid/token", "can't be found: its host name does not resolve"),
        ("https://127.0.0.1:PORT/token", "by TLS"),
    ],
)
def test_a_server_that_can_not_be_reached(server: TokenServer, url: str, message: str) -> None:
    """The reason is the system's, and the error asks whether that is the URL."""
    port = server.url.split(":")[2].split("/")[0]
    assert message in refusal(server, url=url.replace("PORT", port))


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The one that signed the server's certificate."""
    return Authority.make("ours")


@pytest.fixture
def encrypted(authority: Authority, tmp_path: Path) -> Iterator[TokenServer]:
    """A server with TLS, whose certificate is for this address."""
    certificate = authority.issue("idp", ["127.0.0.1"])
    (tmp_path / "idp.pem").write_bytes(certificate.pem + certificate.key_pem())
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "idp.pem")
    with token_server(context) as server:
        yield server


def test_only_a_certificate_that_is_trusted_and_for_this_host(
    encrypted: TokenServer, tmp_path: Path
) -> None:
    """By the authority that was given; else the secret is not sent."""
    with pytest.raises(ConfigurationError, match=r"https\.ca\.location='/nowhere' can't be used"):
        fetch(credentials(encrypted, cafile="/nowhere"))
    url, cafile = encrypted.url.replace("127.0.0.1", "localhost"), str(tmp_path / "ca.pem")
    assert "Hostname mismatch" in refusal(encrypted, url=url, cafile=cafile)
    told = refusal(encrypted)
    assert "has a certificate that is not accepted" in told
    assert "give its authority as https.ca.location, or as cafile of ClientCredentials" in told
    assert encrypted.asked == []
    assert fetch(credentials(encrypted, cafile=cafile)).value == "t0"


@pytest.mark.parametrize(
    ("host", "warnings"), [("idp.invalid", 1), ("localhost", 0), ("127.0.0.1", 0), ("[::1]", 0)]
)
def test_a_server_without_tls(host: str, warnings: int, caplog: pytest.LogCaptureFixture) -> None:
    """Is warned of, unless it is on this machine."""
    with pytest.raises(AuthenticationFailed):
        fetch(ClientCredentials(f"http://{host}:1/token", "shop", SECRET))
    told = [record.getMessage() for record in caplog.records]
    expected = f"the token endpoint http://{host}:1/token is not https: the client secret goes over"
    assert [each.startswith(expected) for each in told] == [True] * warnings
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * warnings


def test_a_proxy_of_the_environment(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As librdkafka's HTTP client does."""
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/oauth2/token"))
    assert fetch(credentials(server, url="http://idp.invalid/token")).value == "t0"
    assert server.asked[0].path == "http://idp.invalid/token"


# -- brokers ---------------------------------------------------------------------------------------


async def test_a_broker_lets_us_in_with_such_a_token(server: TokenServer) -> None:
    """The server is asked on a thread, once for all connections while the token is good."""
    async with FakeBroker() as broker:
        broker.require_sasl(Sasl(tokens={"t0"}, extensions={"logicalCluster": "lkc-1"}))
        options = security_options(
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="OAUTHBEARER",
            sasl_token_provider=credentials(server, extensions={"logicalCluster": "lkc-1"}),
        )
        security = secure(options, asyncio.to_thread)
        for _ in range(2):
            connection = await open_connection(
                Address("127.0.0.1", broker.port),
                resolve=resolve,
                client_id="test",
                timeout=5.0,
                security=security,
            )
            connection.close()
    assert len(server.asked) == 1
