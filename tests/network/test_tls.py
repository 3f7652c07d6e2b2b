"""TLS on real sockets: brokers and clients that are believed or not, and the errors of each."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.config.options import Address
from kiel_logging.config.security import security_options
from kiel_logging.errors import (
    BrokerError,
    CertificateExpired,
    CertificateRejected,
    ClientCertificateRefused,
    ConfigurationError,
    ConnectionLost,
    ListenerMismatch,
    SecurityError,
    UnknownAuthority,
    WrongHostName,
)
from kiel_logging.network.connection import Connection
from kiel_logging.network.opening import Security, open_connection
from kiel_logging.network.resolver import SocketAddress
from kiel_logging.network.tls import Tls
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.wire.metadata import metadata_request, read_metadata
from kiel_logging.wire.schemas import Api
from tests.support.certificates import Authority, Certificate
from tests.support.what_is_shown import traceback_of

KEY_PASSWORD = "s3cr3t-und-geheim"
HOST = "kafka.test"


@dataclass
class Pki:
    """Two authorities, of which clients know one, and a directory for files."""

    authority: Authority
    stranger: Authority
    directory: Path

    @property
    def cafile(self) -> str:
        """The authorities that clients trust."""
        return str(self.directory / "ca.pem")

    def write(self, name: str, *contents: bytes) -> str:
        """A file with that in it; its path."""
        path = self.directory / name
        path.write_bytes(b"".join(contents))
        return str(path)

    def server(
        self, certificate: Certificate | None = None, *, wants_clients: bool = False
    ) -> ssl.SSLContext:
        """A broker's side; `wants_clients` demands certificates."""
        certificate = certificate or self.authority.issue("broker", [HOST, "127.0.0.1"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.write("broker.pem", certificate.pem, certificate.key_pem()))
        if wants_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.cafile)
        return context


@pytest.fixture(scope="session")
def authorities() -> tuple[Authority, Authority]:
    """Made once."""
    return Authority.make("ours"), Authority.make("strangers")


@pytest.fixture
def pki(authorities: tuple[Authority, Authority], tmp_path: Path) -> Pki:
    """Certificates of this test."""
    pki = Pki(*authorities, tmp_path)
    pki.write("ca.pem", pki.authority.pem)
    return pki


@contextlib.asynccontextmanager
async def broker_with(context: ssl.SSLContext | None) -> AsyncIterator[FakeBroker]:
    """A broker that speaks TLS, or plaintext."""
    broker = FakeBroker()
    broker.use_tls(context)
    async with broker:
        yield broker


def tls(**options: Any) -> Tls:
    """A client's side."""
    checked = security_options(security_protocol="SSL", **options).tls
    assert checked is not None
    return Tls(checked)


async def dial(port: int, security: Tls | None, host: str = HOST) -> Connection:
    """A connection to the broker at `port`, under any name."""

    async def resolve(_address: Address) -> list[SocketAddress]:
        return [(socket.AF_INET, ("127.0.0.1", port))]

    return await open_connection(
        Address(host, port),
        resolve=resolve,
        client_id="test",
        timeout=5.0,
        security=Security(tls=security),
    )


async def ask(connection: Connection) -> int:
    """The broker's port, by its own account; closes the connection."""
    request = metadata_request(connection.version(Api.METADATA), [])
    metadata = read_metadata(await connection.send(Api.METADATA, request, 5.0))
    connection.close()
    return metadata.brokers[0].port


# -- brokers ---------------------------------------------------------------------------------------

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("host", [HOST, "127.0.0.1"])
async def test_a_broker_that_is_who_it_should_be(
    pki: Pki, version: ssl.TLSVersion, host: str
) -> None:
    """By name or by address, in either version."""
    context = pki.server()
    context.minimum_version = context.maximum_version = version
    async with broker_with(context) as broker:
        assert await ask(await dial(broker.port, tls(ssl_cafile=pki.cafile), host)) == broker.port


@pytest.mark.parametrize(
    ("least_here", "least"),
    [
        (ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_2),
        (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
    ],
)
def test_the_system_cannot_lower_the_version(
    least_here: ssl.TLSVersion,
    least: ssl.TLSVersion,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its configuration may ask for more than TLS 1.2, not for less. Its authorities are trusted,
    everything is verified, and there is no warning."""
    make = ssl.create_default_context

    def make_as_configured(**options: Any) -> ssl.SSLContext:
        context = make(**options)
        context.minimum_version = least_here
        return context

    monkeypatch.setattr(ssl, "create_default_context", make_as_configured)
    context = tls().context()
    assert context.minimum_version == least
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats() == make().cert_store_stats()
    assert caplog.records == []


def hashed(name: str) -> str:
    """The name of an authority's file in a directory, as `openssl rehash` makes it.

    It is the SHA-1 of the subject in lower case, of its first four bytes.
    """
    text = name.lower().encode()
    pair = b"\x06\x03\x55\x04\x03\x0c" + bytes([len(text)]) + text
    sequence = b"\x30" + bytes([len(pair)]) + pair
    digest = hashlib.sha1(b"\x31" + bytes([len(sequence)]) + sequence).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}.0"


async def test_a_directory_of_authorities(pki: Pki) -> None:
    """As librdkafka takes it for `ssl.ca.location`: each is found by the hash of its name."""
    directory = pki.directory / "authorities"
    directory.mkdir()
    (directory / "README").write_text("not one of them")
    (directory / hashed(pki.authority.name)).write_bytes(pki.authority.pem)
    trusting = tls(ssl_cafile=directory)
    async with broker_with(pki.server()) as broker:
        assert await ask(await dial(broker.port, trusting)) == broker.port
    strange = pki.server(pki.stranger.issue("broker", [HOST]))
    async with broker_with(strange) as broker:
        with pytest.raises(UnknownAuthority):
            await dial(broker.port, trusting)


def test_a_directory_that_openssl_finds_nothing_in(pki: Pki) -> None:
    """It would trust no broker, and not say why."""
    with pytest.raises(ConfigurationError, match="run `openssl rehash` on it, or give one PEM"):
        tls(ssl_cafile=pki.directory).context()


def yesterday() -> datetime:
    """When a certificate expired."""
    return datetime.now(UTC) - timedelta(days=1)


REFUSED: dict[str, tuple[Callable[[Pki], Certificate], type[CertificateRejected], str]] = {
    "expired": (
        lambda pki: pki.authority.issue("broker", [HOST], ends=yesterday()),
        CertificateExpired,
        "is out of date (certificate has expired): renew it on the broker",
    ),
    "another host": (
        lambda pki: pki.authority.issue("broker", ["other.test"]),
        WrongHostName,
        "is for another host (Hostname mismatch",
    ),
    "no host": (
        lambda pki: pki.authority.issue("broker"),
        WrongHostName,
        "is for another host",
    ),
    "unknown authority": (
        lambda pki: pki.stranger.issue("broker", [HOST]),
        UnknownAuthority,
        "is signed by nobody that is trusted here",
    ),
    "an authority of the same name": (
        lambda pki: Authority.make("ours").issue("broker", [HOST]),
        CertificateRejected,
        "",
    ),
    "self-signed": (
        lambda pki: pki.stranger,
        UnknownAuthority,
        "is signed by nobody that is trusted here (self-signed certificate)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_broker_that_is_not_believed(pki: Pki, name: str) -> None:
    """Each reason has its own error, which says whose fault it is and what to do."""
    make, error, message = REFUSED[name]
    async with broker_with(pki.server(make(pki))) as broker:
        with pytest.raises(error) as failure:
            await dial(broker.port, tls(ssl_cafile=pki.cafile))
        assert f"the certificate of {HOST}:{broker.port} is" in str(failure.value)
        assert message in str(failure.value)
        assert broker.requests == []
        if name == "another host":
            with pytest.raises(WrongHostName, match="IP address mismatch"):
                await dial(broker.port, tls(ssl_cafile=pki.cafile), "127.0.0.1")


WARNINGS = {
    "ssl_check_hostname": "ssl_check_hostname=False: whoever has any certificate can pose",
    "ssl_verify_certificate": "ssl_verify_certificate=False: anybody can pose as a broker",
}


@pytest.mark.parametrize(
    ("name", "option", "taken"),
    [
        ("expired", "ssl_check_hostname", False),
        ("expired", "ssl_verify_certificate", True),
        ("another host", "ssl_check_hostname", True),
        ("another host", "ssl_verify_certificate", True),
        ("unknown authority", "ssl_check_hostname", False),
        ("unknown authority", "ssl_verify_certificate", True),
    ],
)
async def test_verification_that_is_turned_off(
    pki: Pki, caplog: pytest.LogCaptureFixture, name: str, option: str, taken: bool
) -> None:
    """As little as was asked for; and it is warned of once, not at every connection."""
    client = tls(ssl_cafile=pki.cafile, **{option: False})
    async with broker_with(pki.server(REFUSED[name][0](pki))) as broker:
        for _ in range(3):
            if taken:
                assert await ask(await dial(broker.port, client)) == broker.port
            else:
                with pytest.raises(CertificateRejected):
                    await dial(broker.port, client)
    warnings = [r for r in caplog.records if r.name == "kiel_logging"]
    assert [r.levelno for r in warnings] == [logging.WARNING]
    assert warnings[0].getMessage().startswith(WARNINGS[option])


def test_a_context_of_the_users_own_is_used_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """It is taken as it is, even where it verifies nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    client = tls(ssl_context=context)
    assert client.context() is client.context() is context
    context.verify_mode = ssl.CERT_NONE
    assert tls(ssl_context=context).context() is context
    assert [r.getMessage().partition(":")[0] for r in caplog.records] == [
        "ssl_context without check_hostname",
        "ssl_context without CERT_REQUIRED",
    ]


@pytest.mark.parametrize(("host", "sent"), [(HOST, HOST), ("127.0.0.1", None)])
async def test_the_name_is_sent(pki: Pki, host: str, sent: str | None) -> None:
    """Brokers behind one address choose their certificate by it (SNI); addresses are no names."""
    names: list[str | None] = []
    server = pki.server()
    server.sni_callback = lambda _socket, name, _context: names.append(name)
    async with broker_with(server) as broker:
        await ask(await dial(broker.port, tls(ssl_cafile=pki.cafile), host))
    assert names == [sent]


# -- clients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("files", ["one", "two", "encrypted"])
async def test_a_client_with_a_certificate(pki: Pki, version: ssl.TLSVersion, files: str) -> None:
    """With its key in the same file or another one, which may be encrypted."""
    own = pki.authority.issue("client")
    options: dict[str, Any] = {"ssl_certfile": pki.write("own.pem", own.pem, own.key_pem())}
    if files != "one":
        password = KEY_PASSWORD if files == "encrypted" else None
        options["ssl_certfile"] = pki.write("own.pem", own.pem)
        options["ssl_keyfile"] = pki.write("key.pem", own.key_pem(password))
        options["ssl_password"] = password
    server = pki.server(wants_clients=True)
    server.minimum_version = server.maximum_version = version
    async with broker_with(server) as broker:
        client = tls(ssl_cafile=pki.cafile, **options)
        assert await ask(await dial(broker.port, client)) == broker.port


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("which", ["stranger's", "expired"])
async def test_a_client_whose_certificate_is_refused(
    pki: Pki, version: ssl.TLSVersion, which: str
) -> None:
    """TLS 1.2 says so in the handshake, TLS 1.3 after it: to us it is the same."""
    own = pki.stranger.issue("client")
    if which == "expired":
        own = pki.authority.issue("client", ends=yesterday())
    certfile = pki.write("own.pem", own.pem, own.key_pem())
    server = pki.server(wants_clients=True)
    server.minimum_version = server.maximum_version = version
    async with broker_with(server) as broker:
        with pytest.raises(ClientCertificateRefused, match="does not accept our certificate"):
            await dial(broker.port, tls(ssl_cafile=pki.cafile, ssl_certfile=certfile))


@pytest.mark.parametrize(
    ("version", "error"),
    [(VERSIONS[0], SecurityError), (VERSIONS[1], ClientCertificateRefused)],
)
async def test_a_client_without_a_certificate(
    pki: Pki, version: ssl.TLSVersion, error: type[BrokerError]
) -> None:
    """OpenSSL says only "handshake failure" in TLS 1.2 (Kafka more): both name ssl_certfile."""
    server = pki.server(wants_clients=True)
    server.minimum_version = server.maximum_version = version
    async with broker_with(server) as broker:
        with pytest.raises(error, match="ssl_certfile") as failure:
            await dial(broker.port, tls(ssl_cafile=pki.cafile))
        assert type(failure.value) is error


async def test_no_version_in_common(pki: Pki) -> None:
    """Is an error of security too, with OpenSSL's reason."""
    server = pki.server()
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    context = ssl.create_default_context(cafile=pki.cafile)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with broker_with(server) as broker:
        with pytest.raises(SecurityError, match=r"TLS handshake with .* failed: .*VERSION"):
            await dial(broker.port, tls(ssl_context=context))


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password", ["wr0ng-und-geheim", None, "wr0ng-und-geheim" * 100, "wr0ng-und-geheim\udcff"]
)
def test_an_encrypted_key_and_no_password_for_it(pki: Pki, password: str | None) -> None:
    """Nothing is asked for on the terminal, and the password is not shown."""
    own = pki.authority.issue("client")
    certfile = pki.write("own.pem", own.pem)
    keyfile = pki.write("key.pem", own.key_pem(KEY_PASSWORD))
    client = tls(ssl_certfile=certfile, ssl_keyfile=keyfile, ssl_password=password)
    with pytest.raises(ConfigurationError, match="and ssl_password the key's if it is") as failure:
        client.context()
    assert f"ssl_certfile={certfile!r} and ssl_keyfile={keyfile!r} can't be used" in str(
        failure.value
    )
    assert "wr0ng" not in traceback_of(failure.value)


def test_a_password_from_a_file(pki: Pki) -> None:
    """Read when the key is."""
    own = pki.authority.issue("client")
    certfile = pki.write("own.pem", own.pem, own.key_pem(KEY_PASSWORD))
    client = tls(ssl_certfile=certfile, ssl_password={"file": str(pki.directory / "password")})
    with pytest.raises(ConfigurationError, match=r"ssl_password: .* can't be read: No such file"):
        client.context()
    pki.write("password", KEY_PASSWORD.encode(), b"\n")
    assert isinstance(client.context(), ssl.SSLContext)


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nxx"])
@pytest.mark.parametrize("option", ["ssl_cafile", "ssl_certfile"])
def test_files_that_are_not_what_they_should_be(
    pki: Pki, option: str, content: bytes | None
) -> None:
    """The option and its path are named, with the reason."""
    path = str(pki.directory / "no.pem") if content is None else pki.write("no.pem", content)
    with pytest.raises(ConfigurationError, match=f"{option}='.*no.pem'.* can't be used: ") as e:
        tls(**{option: path}).context()
    assert ("No such file" in str(e.value)) is (content is None)


def test_a_key_that_belongs_to_another_certificate(pki: Pki) -> None:
    """Is refused before anything is connected."""
    one, other = pki.authority.issue("client"), pki.authority.issue("client")
    certfile, keyfile = pki.write("own.pem", one.pem), pki.write("key.pem", other.key_pem())
    with pytest.raises(ConfigurationError, match="KEY_VALUES_MISMATCH"):
        tls(ssl_certfile=certfile, ssl_keyfile=keyfile).context()


async def test_files_that_are_gone_are_an_error_of_the_connection(pki: Pki) -> None:
    """So that it is tried again: they may come back."""
    async with broker_with(pki.server()) as broker:
        client = tls(ssl_cafile=str(pki.directory / "later.pem"))
        with pytest.raises(SecurityError, match=r"later.pem' can't be used: No such file"):
            await dial(broker.port, client)
        pki.write("later.pem", pki.authority.pem)
        assert await ask(await dial(broker.port, client)) == broker.port


async def test_a_renewed_certificate_counts_from_the_next_connection_on(pki: Pki) -> None:
    """Without a restart; while nothing changes, the files are not read again."""
    old, new = (pki.authority.issue(name) for name in ("old", "newer"))
    certfile = pki.write("own.pem", old.pem, old.key_pem())
    client = tls(ssl_cafile=pki.cafile, ssl_certfile=certfile)
    subjects: list[Any] = []
    async with broker_with(pki.server(wants_clients=True)) as broker:
        for certificate in (old, old, new):
            if certificate is new:
                pki.write("own.pem", new.pem, new.key_pem())
            before = client.context()
            assert client.context() is before
            connection = await dial(broker.port, client)
            (stream,) = broker._connections.values()
            subjects.append(stream.socket.getpeercert()["subject"][0][0][1])
            await ask(connection)
            await broker.until(lambda: broker.open_connections == 0)
    assert subjects == ["old", "old", "newer"]


# -- what is logged --------------------------------------------------------------------------------


async def test_what_is_raised_is_not_logged_as_well(
    pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    """At every attempt; Tornado's records about a program's other streams stay."""
    async with broker_with(pki.server(pki.authority.issue("old", [HOST], ends=yesterday()))) as b:
        for _ in range(3):
            with pytest.raises(CertificateExpired):
                await dial(b.port, tls(ssl_cafile=pki.cafile))
        await b.until(lambda: b.open_connections == 0)
    said = [record.getMessage() for record in caplog.records if record.name == "tornado.general"]
    assert not [text for text in said if "VERIFY_FAILED" in text]
    assert len([text for text in said if "ALERT" in text.upper()]) == 3  # the broker's


# -- ports that speak something else ---------------------------------------------------------------


@contextlib.asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """A port whose connections get that as soon as they say something, and are closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if answer is not None:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS there: check the port"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak TLS there: check the port"),
        (b"\x00\x00\x00\x04\x00\x00\x00\x00", "does not speak TLS there: check the port"),
        (b"", "hung up during the TLS handshake: is that port one for plaintext"),
    ],
    ids=["HTTP", "SSH", "Kafka", "hangs up"],
)
async def test_a_port_that_does_not_speak_tls(answer: bytes, message: str) -> None:
    """It differs from one with a wrong certificate."""
    async with answering(answer) as port:
        with pytest.raises(ListenerMismatch, match=message):
            await dial(port, tls())


async def test_a_kafka_listener_for_plaintext() -> None:
    """It takes our first bytes for a request of 369 MB, and hangs up."""
    async with broker_with(None) as broker:
        with pytest.raises(ListenerMismatch, match="is that port one for plaintext"):
            await dial(broker.port, tls())
        assert broker.happenings.complaints[0].startswith("broker 0: a request of 369")


async def test_plaintext_to_a_port_that_speaks_tls(pki: Pki) -> None:
    """Its alert differs from other garbage."""
    async with broker_with(pki.server()) as broker:
        with pytest.raises((ListenerMismatch, ConnectionLost), match=r"speaks? TLS") as failure:
            await dial(broker.port, None)
        assert "security_protocol" in str(failure.value)


async def test_a_broker_that_hangs_up_after_the_handshake(pki: Pki) -> None:
    """As some do to strangers: the certificate may be missing."""
    async with broker_with(pki.server()) as broker:
        broker.hang_up_mid_response("ApiVersions", 0)
        with pytest.raises(ConnectionLost, match=r"before its first answer: .*ssl_certfile"):
            await dial(broker.port, tls(ssl_cafile=pki.cafile))
