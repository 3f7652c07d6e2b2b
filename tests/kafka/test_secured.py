"""Producer and handler on secured listeners: which clients get in, and the errors of the others."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import re
import secrets
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from kiel_logging import KafkaHandler, Producer
from kiel_logging.config.security import Token
from kiel_logging.errors import (
    AuthenticationFailed,
    BrokerError,
    CertificateExpired,
    ClientCertificateRefused,
    ListenerMismatch,
    TopicAuthorizationFailed,
    UnknownAuthority,
    UnsupportedMechanism,
    WrongHostName,
)
from kiel_logging.network.connection import Connection
from tests.support.console_consumer import confluent_consume
from tests.support.kafka import LISTENERS, MECHANISMS, KafkaCluster, Security, unsecured_token
from tests.support.waiting import until
from tests.support.what_is_shown import all_of, object_of

[ONLY] = LISTENERS["ONE_MECHANISM"].mechanisms
PASSWORDS = MECHANISMS[:3]
SOON = 10.0
"""Seconds until a refused client has its error."""


def options(security: Security, listener: str, **changes: Any) -> dict[str, Any]:
    """The options of a client of a listener."""
    found: dict[str, Any] = {
        "brokers": security.bootstrap(listener),
        "security_protocol": LISTENERS[listener].protocol,
    }
    if LISTENERS[listener].tls:
        found["ssl_cafile"] = str(security.ca_file)
    return {**found, **changes}


def logged_in(
    security: Security, listener: str, mechanism: str, user: str = "alice", **changes: Any
) -> dict[str, Any]:
    """The options of a client that authenticates by SASL."""
    if mechanism == "OAUTHBEARER":
        who: dict[str, Any] = {"sasl_token_provider": lambda: unsecured_token(user, 600)}
    else:
        who = {"sasl_username": user, "sasl_password": security.users[user]}
    return options(security, listener, sasl_mechanism=mechanism, **{**who, **changes})


def certified(security: Security, **changes: Any) -> dict[str, Any]:
    """A client with its certificate."""
    own = security.client_certificate
    files = {"ssl_certfile": str(own.cert_file), "ssl_keyfile": str(own.key_file)}
    return options(security, "MTLS", **{**files, **changes})


class Heard(logging.Handler):
    """Keeps all that is logged, from a test's first line to its last.

    `caplog` forgets it between the two, before a fixture could look.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)

    def text(self) -> str:
        """All of it, as it would be written, and what tools show of errors."""
        lines = [self.format(record) for record in self.records]
        errors = [record.exc_info[1] for record in self.records if record.exc_info]
        return "\n".join([*lines, *(all_of(each) for each in errors if each is not None)])


@pytest.fixture
def heard() -> Iterator[Heard]:
    """All that is logged, at any level."""
    heard, level = Heard(), logging.root.level
    logging.root.addHandler(heard)
    logging.root.setLevel(logging.DEBUG)
    yield heard
    logging.root.setLevel(level)
    logging.root.removeHandler(heard)


class Seen:
    """The texts of errors and objects that a test saw, and the secrets that no text may show."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.texts: list[str] = []
        self.secrets = [*secrets]

    def secret(self, secret: str) -> str:
        """Add a secret, and return it."""
        self.secrets.append(secret)
        return secret

    def error(self, error: BaseException) -> None:
        """All that tools show of it, local variables included."""
        self.texts.append(all_of(error))

    def object(self, thing: object) -> None:
        """All that tools show of it, attributes included."""
        self.texts += [object_of(thing), repr(vars(thing))]


@pytest.fixture(autouse=True)
def seen(
    secured_kafka: KafkaCluster, heard: Heard, capfd: pytest.CaptureFixture[str]
) -> Iterator[Seen]:
    """The texts of a test; no password and no token is in them or in its output."""
    security = secured_kafka.security
    seen = Seen([*security.users.values(), security.client_certificate.key_password])
    yield seen
    captured = capfd.readouterr()
    everything = "\n".join([*seen.texts, heard.text(), captured.out, captured.err])
    assert [each for each in seen.secrets if each in everything] == []
    assert re.search(r"eyJhbGciOi", everything) is None  # how every JWT begins
    said_twice = [record for record in heard.records if record.name == "tornado.general"]
    assert said_twice == []


async def deliver(seen: Seen, settings: dict[str, Any], topic: str, messages: int = 3) -> None:
    """Produce numbered messages; every one is acknowledged."""
    producer = Producer(**settings, required_acks=-1, batch_size=100)
    async with producer:
        seen.object(producer)
        futures = [await producer.produce(topic, n) for n in range(messages)]
        assert await producer.flush(30) == 0
        for future in futures:
            future.result()


async def refusal(seen: Seen, settings: dict[str, Any]) -> BrokerError:
    """Connect in vain, soon; return the error."""
    producer = Producer(**settings)
    async with asyncio.timeout(SOON):
        with pytest.raises(BrokerError) as caught:
            await producer.connect()
    await producer.close()
    seen.object(producer)
    seen.error(caught.value)
    return caught.value


# -- accepted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("listener", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.gen_test(timeout=60)
async def test_every_mechanism(
    secured_kafka: KafkaCluster, topic: str, seen: Seen, listener: str, mechanism: str
) -> None:
    """The messages are stored."""
    await deliver(seen, logged_in(secured_kafka.security, listener, mechanism), topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.gen_test(timeout=60)
async def test_tls(secured_kafka: KafkaCluster, topic: str, seen: Seen, host: str) -> None:
    """By address and by name, both of which the certificate is for."""
    security = secured_kafka.security
    settings = options(security, "SSL", brokers=security.bootstrap("SSL", host))
    await deliver(seen, settings, topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3


@pytest.mark.parametrize("key", ["plain", "encrypted"])
@pytest.mark.gen_test(timeout=60)
async def test_mutual_tls(
    secured_kafka: KafkaCluster, topic: str, seen: Seen, key: str, tmp_path: Path
) -> None:
    """With a client's certificate, its key encrypted or not."""
    own = secured_kafka.security.client_certificate
    password = tmp_path / "password"
    password.write_text(own.key_password + "\n")
    encrypted = {
        "ssl_keyfile": str(own.encrypted_key_file),
        "ssl_password": {"file": str(password)},
    }
    settings = certified(secured_kafka.security, **(encrypted if key == "encrypted" else {}))
    await deliver(seen, settings, topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3


@pytest.mark.gen_test(timeout=60)
async def test_tokens_by_a_coroutine(secured_kafka: KafkaCluster, topic: str, seen: Seen) -> None:
    """A provider may be asynchronous, and may say when its token ends."""

    async def provider() -> Token:
        await asyncio.sleep(0)
        return Token(unsecured_token("bob", 600), expires_at=None)

    settings = logged_in(
        secured_kafka.security, "SASL_SSL", "OAUTHBEARER", sasl_token_provider=provider
    )
    await deliver(seen, settings, topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3


@pytest.mark.parametrize("where", ["env", "file"])
@pytest.mark.gen_test(timeout=60)
async def test_a_password_that_is_named(
    secured_kafka: KafkaCluster,
    topic: str,
    seen: Seen,
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the environment, or in a file."""
    password = secured_kafka.security.users["alice"]
    monkeypatch.setenv("KIEL_TEST_PASSWORD", password)
    (tmp_path / "secret").write_text(password)
    named = {"env": "KIEL_TEST_PASSWORD"} if where == "env" else {"file": str(tmp_path / "secret")}
    settings = logged_in(secured_kafka.security, "SASL_SSL", "SCRAM-SHA-512", sasl_password=named)
    await deliver(seen, settings, topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3


@pytest.mark.gen_test(timeout=60)
async def test_java_properties(
    secured_kafka: KafkaCluster, topic: str, seen: Seen, tmp_path: Path
) -> None:
    """A client's properties file is all that is needed."""
    security = secured_kafka.security
    path = tmp_path / "client.properties"
    path.write_text(
        f"bootstrap.servers={','.join(security.bootstrap('SASL_SSL'))}\n"
        "security.protocol=SASL_SSL\n"
        "sasl.mechanism=SCRAM-SHA-256\n"
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n"
        f'    username="bob" password="{security.users["bob"]}";\n'
        f"ssl.truststore.location={security.ca_file}\n"
        "ssl.truststore.type=PEM\n"
        "acks=all\n"
    )
    producer = Producer.from_properties(path, batch_size=1)
    seen.object(producer)
    async with producer:
        await producer.produce(topic, "by properties")
    [stored] = confluent_consume(secured_kafka.bootstrap, topic)
    assert stored.value == b'"by properties"'


@pytest.mark.parametrize(
    "off", [{"ssl_check_hostname": False}, {"ssl_verify_certificate": False}], ids=str
)
@pytest.mark.gen_test(timeout=60)
async def test_verification_turned_off(
    secured_kafka: KafkaCluster,
    topic: str,
    seen: Seen,
    off: dict[str, bool],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It works, and warns once of what that means."""
    await deliver(seen, options(secured_kafka.security, "WRONG_HOST", **off), topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3
    warnings = [record for record in caplog.records if "can pose as a broker" in record.message]
    assert len(warnings) == 1


# -- refused ---------------------------------------------------------------------------------------


def with_other_authority(security: Security) -> dict[str, Any]:
    """Trust another authority."""
    return {"ssl_cafile": str(security.other_ca_file)}


def with_other_certificate(security: Security) -> dict[str, Any]:
    """Show a certificate that another authority signed."""
    other = security.other_client_certificate
    return {"ssl_certfile": str(other.cert_file), "ssl_keyfile": str(other.key_file)}


REFUSED_TLS: dict[str, tuple[str, Callable[[Security], dict[str, Any]], type[BrokerError]]] = {
    "expired": ("EXPIRED", lambda _: {}, CertificateExpired),
    "another host's": ("WRONG_HOST", lambda _: {}, WrongHostName),
    "unknown authority": ("SSL", with_other_authority, UnknownAuthority),
    "not the system's": ("SSL", lambda _: {"ssl_cafile": None}, UnknownAuthority),
    "no client's": ("MTLS", lambda _: {}, ClientCertificateRefused),
    "a stranger's": ("MTLS", with_other_certificate, ClientCertificateRefused),
    "TLS to plaintext": ("PLAINTEXT", lambda _: {}, ListenerMismatch),
    "TLS to plaintext with SASL": ("SASL_PLAINTEXT", lambda _: {}, ListenerMismatch),
}


@pytest.mark.parametrize("name", REFUSED_TLS)
@pytest.mark.parametrize("mechanism", [None, *MECHANISMS])
@pytest.mark.gen_test(timeout=30)
async def test_refused_by_tls(
    secured_kafka: KafkaCluster, seen: Seen, mechanism: str | None, name: str
) -> None:
    """Each mistake has its error, whatever would come after it."""
    security = secured_kafka.security
    listener, changes, kind = REFUSED_TLS[name]
    brokers = secured_kafka.bootstrap if listener == "PLAINTEXT" else security.bootstrap(listener)
    settings = options(security, "SSL", brokers=brokers)
    if mechanism is not None:
        settings = logged_in(security, "SASL_SSL", mechanism, brokers=brokers)
    error = await refusal(seen, {**settings, **changes(security)})
    assert type(error) is kind


@pytest.mark.parametrize("listener", ["SSL", "MTLS", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", [None, *MECHANISMS])
@pytest.mark.gen_test(timeout=30)
async def test_plaintext_to_a_tls_port(
    secured_kafka: KafkaCluster, seen: Seen, mechanism: str | None, listener: str
) -> None:
    """The error asks for the protocol."""
    security = secured_kafka.security
    settings: dict[str, Any] = {"brokers": security.bootstrap(listener)}
    if mechanism is not None:
        settings = logged_in(security, "SASL_PLAINTEXT", mechanism, **settings)
    error = await refusal(seen, settings)
    assert type(error) is ListenerMismatch
    assert "set security_protocol" in str(error)


@pytest.mark.parametrize("mechanism", PASSWORDS)
@pytest.mark.parametrize("listener", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("user", ["alice", "nobody"])
@pytest.mark.gen_test(timeout=30)
async def test_a_wrong_password(
    secured_kafka: KafkaCluster, seen: Seen, user: str, listener: str, mechanism: str
) -> None:
    """The error says that it is the credentials, and not which of them."""
    wrong = seen.secret(secrets.token_hex(16))
    settings = logged_in(
        secured_kafka.security, listener, mechanism, sasl_username=user, sasl_password=wrong
    )
    error = await refusal(seen, settings)
    assert type(error) is AuthenticationFailed
    assert "user name or password" in str(error)


@pytest.mark.parametrize("listener", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.gen_test(timeout=30)
async def test_an_expired_token(secured_kafka: KafkaCluster, seen: Seen, listener: str) -> None:
    """The broker says so."""
    settings = logged_in(
        secured_kafka.security,
        listener,
        "OAUTHBEARER",
        sasl_token_provider=lambda: unsecured_token("alice", -60),
    )
    error = await refusal(seen, settings)
    assert type(error) is AuthenticationFailed
    assert "token" in str(error)


@pytest.mark.parametrize("mechanism", [each for each in MECHANISMS if each != ONLY])
@pytest.mark.gen_test(timeout=30)
async def test_an_unknown_mechanism(
    secured_kafka: KafkaCluster, seen: Seen, mechanism: str
) -> None:
    """The error names those that the listener has."""
    error = await refusal(seen, logged_in(secured_kafka.security, "ONE_MECHANISM", mechanism))
    assert type(error) is UnsupportedMechanism
    assert f"does not offer sasl_mechanism={mechanism!r}; it offers {ONLY!r}" in str(error)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.gen_test(timeout=30)
async def test_a_listener_without_sasl(
    secured_kafka: KafkaCluster, seen: Seen, mechanism: str
) -> None:
    """The error differs from that of a listener with other mechanisms."""
    security = secured_kafka.security
    settings = logged_in(security, "SASL_SSL", mechanism, brokers=security.bootstrap("SSL"))
    error = await refusal(seen, settings)
    assert type(error) is UnsupportedMechanism
    assert "wants no SASL there" in str(error)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.gen_test(timeout=60)
async def test_a_topic_that_an_acl_refuses(
    secured_kafka: KafkaCluster, topic: str, seen: Seen, mechanism: str
) -> None:
    """The message fails with the right that is missing; with the right it is stored."""
    secured_kafka.create_topic(topic, partitions=1)
    secured_kafka.deny("carol", topic, "WRITE")
    settings = logged_in(secured_kafka.security, "SASL_SSL", mechanism, user="carol")
    async with Producer(**settings, required_acks=-1) as producer:
        async with asyncio.timeout(SOON):
            with pytest.raises(TopicAuthorizationFailed, match="user to Write") as failure:
                await producer.produce(topic, "refused")
        seen.error(failure.value)
        secured_kafka.allow("carol", topic)
        await producer.produce(topic, "allowed")
    [stored] = confluent_consume(secured_kafka.bootstrap, topic)
    assert stored.value == b'"allowed"'


# -- the listeners themselves ----------------------------------------------------------------------

OPENSSL_REASONS = {
    **dict.fromkeys(("SSL", "MTLS", "SASL_SSL", "SHORT", "ONE_MECHANISM")),
    "EXPIRED": "certificate has expired",
    "WRONG_HOST": "IP address mismatch, certificate is not valid for '127.0.0.1'.",
}


@pytest.mark.parametrize("listener", OPENSSL_REASONS)
def test_a_broker_s_certificate_is_at_fault_for_one_reason(
    secured_kafka: KafkaCluster, listener: str
) -> None:
    """By OpenSSL's strictest rules there is no other."""
    security = secured_kafka.security
    context = ssl.create_default_context(cafile=security.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    host, _, port = security.bootstrap(listener)[0].rpartition(":")
    reason = None
    with socket.create_connection((host, int(port)), 30.0) as connection:
        try:
            context.wrap_socket(connection, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message
    assert reason == OPENSSL_REASONS[listener]


def test_a_session_ends_that_is_not_renewed(secured_kafka: KafkaCluster, topic: str) -> None:
    """On SHORT librdkafka is asked for its password again, which isn't one any more."""
    security, errors = secured_kafka.security, list[Any]()
    secured_kafka.create_topic(topic)
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": ",".join(security.bootstrap("SHORT")),
            "security.protocol": LISTENERS["SHORT"].protocol,
            "ssl.ca.location": str(security.ca_file),
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "carol",
            "sasl.password": security.users["carol"],
            "log_level": 0,
            "error_cb": errors.append,
        }
    )
    producer.produce(topic, b"before")
    assert producer.flush(30.0) == 0
    secured_kafka.change_password("carol", secrets.token_hex(16))
    try:
        refused = confluent_kafka.KafkaError._AUTHENTICATION
        until(lambda: producer.poll(0.1) >= 0 and refused in [error.code() for error in errors])
    finally:
        secured_kafka.change_password("carol", security.users["carol"])


# -- over time -------------------------------------------------------------------------------------


def connections_of(producer: Producer) -> dict[int, Connection]:
    """The connection to each broker that there is one to."""
    nodes = producer._engine.sender.cluster.nodes
    return {n: node.connection for n, node in nodes.items() if node.connection is not None}


async def load_over_sessions(seen: Seen, settings: dict[str, Any], topic: str, end: float) -> int:
    """Produce until `end`, over connections that stay; return how many messages."""
    loop, count = asyncio.get_running_loop(), 0
    async with Producer(**settings, required_acks=-1, batch_size=50, linger_ms=5) as producer:
        futures = []
        before: dict[int, Connection] = {}
        while loop.time() < end:
            futures.append(await producer.produce(topic, count))
            count += 1
            if not before and count >= 1000:
                before = connections_of(producer)
        assert await producer.flush(60) == 0
        for future in futures:
            future.result()
        # Connections that did not authenticate again would be closed by now.
        assert len(before) == 3
        assert connections_of(producer) == before
        assert [each.closed for each in before.values()] == [None] * 3
        seen.object(producer)
    return count


@pytest.mark.timeout(180)
@pytest.mark.gen_test(timeout=120)
async def test_sessions_end_under_load(secured_kafka: KafkaCluster, topic: str, seen: Seen) -> None:
    """Every mechanism authenticates again: nothing is lost, nothing repeated."""
    end = asyncio.get_running_loop().time() + 12  # more than two sessions of 5 s
    topics = [f"{topic}-{mechanism}" for mechanism in MECHANISMS]
    for each in topics:
        secured_kafka.create_topic(each, partitions=3)
    counts = await asyncio.gather(
        *(
            load_over_sessions(
                seen, logged_in(secured_kafka.security, "SHORT", mechanism), each, end
            )
            for mechanism, each in zip(MECHANISMS, topics, strict=True)
        )
    )
    for each, count in zip(topics, counts, strict=True):
        assert sorted(numbers_in(secured_kafka, each)) == list(range(count))


def numbers_in(cluster: KafkaCluster, topic: str) -> list[int]:
    """The stored messages, partition by partition."""
    return [int(record.value or b"") for record in confluent_consume(cluster.bootstrap, topic)]


async def produce_numbers(
    seen: Seen, settings: dict[str, Any], topic: str, messages: int, half: asyncio.Event
) -> None:
    """Produce them in order, every one acknowledged; set `half` in the middle."""
    mechanism = settings["sasl_mechanism"]
    async with Producer(**settings, required_acks=-1, batch_size=100) as producer:
        futures = []
        for n in range(messages):
            if n == messages // 2:
                half.set()
            futures.append(await producer.produce(topic, [mechanism, n]))
        assert await producer.flush(90) == 0
        for future in futures:
            future.result()
        seen.object(producer)


@pytest.mark.timeout(180)
@pytest.mark.gen_test(timeout=120)
async def test_a_leader_is_killed(secured_kafka: KafkaCluster, topic: str, seen: Seen) -> None:
    """Under SASL_SSL as without, by every mechanism: nothing is lost, nothing repeated."""
    secured_kafka.create_topic(topic, partitions=1)
    leader, half, messages = secured_kafka.leader(topic, 0), asyncio.Event(), 10_000
    work = [
        asyncio.ensure_future(produce_numbers(seen, settings, topic, messages, half))
        for settings in (logged_in(secured_kafka.security, "SASL_SSL", m) for m in MECHANISMS)
    ]
    try:
        await half.wait()
        await asyncio.to_thread(secured_kafka.kill, leader)
        assert [each.done() for each in work] == [False] * len(work)
        await asyncio.gather(*work)
    finally:
        await asyncio.to_thread(secured_kafka.start, leader)
    stored = [
        json.loads(record.value or b"")
        for record in confluent_consume(secured_kafka.bootstrap, topic)
    ]
    for mechanism in MECHANISMS:
        assert [n for who, n in stored if who == mechanism] == list(range(messages))


def test_a_handler_recovers_when_the_password_is_put_right(
    secured_kafka: KafkaCluster, topic: str, seen: Seen, tmp_path: Path
) -> None:
    """The file is read again; records that waited meanwhile arrive in order."""
    secured_kafka.create_topic(topic, partitions=1)
    secret = tmp_path / "password"
    secret.write_text(seen.secret(secrets.token_hex(16)))
    reports = _Reports()
    logging.getLogger("kiel_logging").addHandler(reports)
    settings = logged_in(
        secured_kafka.security, "SASL_SSL", "SCRAM-SHA-512", sasl_password={"file": str(secret)}
    )
    try:
        with closing(KafkaHandler(**settings, topic=topic, format="text")) as handler:
            logger = logging.Logger("secured")
            logger.addHandler(handler)
            for n in range(100):
                logger.warning("%d", n)
            reports.wait_for("does not accept the user name or password")
            assert handler.stats().buffered == 100
            secret.write_text(secured_kafka.security.users["alice"])
            assert handler.flush(60) == 0
            seen.object(handler)
            seen.texts.append(repr(handler.stats()))
    finally:
        logging.getLogger("kiel_logging").removeHandler(reports)
    stored = confluent_consume(secured_kafka.bootstrap, topic)
    assert [record.value for record in stored] == [b"WARNING:secured:%d" % n for n in range(100)]


class _Reports(logging.Handler):
    """Waits for what the package says of itself."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep its text."""
        self._queue.put(record.getMessage())

    def wait_for(self, text: str) -> None:
        """Wait until something with ``text`` in it was said."""
        while text not in self._queue.get(timeout=60):
            continue
