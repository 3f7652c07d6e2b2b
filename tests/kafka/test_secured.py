"""Producer and handler on secured listeners: who comes in, who doesn't and what it is told.

What the listeners themselves do is proved with librdkafka in ``test_secured_cluster.py``.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import re
import secrets
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler, Producer
from kiel_logging.errors import (
    AuthenticationFailed,
    BrokerError,
    CertificateExpired,
    ClientCertificateRefused,
    ConnectionLost,
    ListenerMismatch,
    TopicAuthorizationFailed,
    UnknownAuthority,
    UnsupportedMechanism,
    WrongHostName,
)
from kiel_logging.security import Token
from tests.support.console_consumer import confluent_consume
from tests.support.kafka import LISTENERS, KafkaCluster, Security, unsecured_token

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
PASSWORDS = MECHANISMS[:3]


def options(security: Security, listener: str, **changes: Any) -> dict[str, Any]:
    """What a client of a listener needs."""
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
    """A client that says who it is."""
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


@pytest.fixture(autouse=True)
def told(
    secured_kafka: KafkaCluster,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[list[str]]:
    """Whatever a test tells of errors and objects; no password is in it, nor in any output."""
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    yield texts
    captured = capfd.readouterr()
    everything = "\n".join([*texts, caplog.text, captured.out, captured.err])
    security = secured_kafka.security
    passwords = [*security.users.values(), security.client_certificate.key_password]
    assert [each for each in passwords if each in everything] == []
    assert re.search(r"eyJhbGciOi", everything) is None  # how every JWT begins


async def deliver(told: list[str], settings: dict[str, Any], topic: str, messages: int = 3) -> None:
    """Produce numbered messages; every one is acknowledged."""
    producer = Producer(**settings, required_acks=-1, batch_size=100)
    async with producer:
        told.append(repr(producer))
        futures = [await producer.produce(topic, n) for n in range(messages)]
        assert await producer.flush(30) == 0
        for future in futures:
            future.result()


async def refusal(told: list[str], settings: dict[str, Any]) -> BrokerError:
    """Connect in vain; return the error, once all that it shows was written down."""
    producer = Producer(**settings)
    with pytest.raises(BrokerError) as caught:
        await producer.connect()
    await producer.close()
    told += [repr(producer), *traceback.format_exception(caught.value)]
    return caught.value


# -- who comes in ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("listener", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.gen_test(timeout=60)
async def test_every_mechanism(
    secured_kafka: KafkaCluster, topic: str, told: list[str], listener: str, mechanism: str
) -> None:
    """What was produced is stored."""
    await deliver(told, logged_in(secured_kafka.security, listener, mechanism), topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.gen_test(timeout=60)
async def test_tls(secured_kafka: KafkaCluster, topic: str, told: list[str], host: str) -> None:
    """By address and by name, both of which the certificate is for."""
    security = secured_kafka.security
    settings = options(security, "SSL", brokers=security.bootstrap("SSL", host))
    await deliver(told, settings, topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3


@pytest.mark.parametrize("key", ["plain", "encrypted"])
@pytest.mark.gen_test(timeout=60)
async def test_mutual_tls(
    secured_kafka: KafkaCluster, topic: str, told: list[str], key: str, tmp_path: Path
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
    await deliver(told, settings, topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3


@pytest.mark.gen_test(timeout=60)
async def test_tokens_by_a_coroutine(
    secured_kafka: KafkaCluster, topic: str, told: list[str]
) -> None:
    """A provider may be asynchronous, and may say when its token ends."""

    async def provider() -> Token:
        await asyncio.sleep(0)
        return Token(unsecured_token("bob", 600), expires_at=None)

    settings = logged_in(
        secured_kafka.security, "SASL_SSL", "OAUTHBEARER", sasl_token_provider=provider
    )
    await deliver(told, settings, topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3


@pytest.mark.parametrize("where", ["env", "file"])
@pytest.mark.gen_test(timeout=60)
async def test_a_password_that_is_named(
    secured_kafka: KafkaCluster,
    topic: str,
    told: list[str],
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
    await deliver(told, settings, topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3


@pytest.mark.gen_test(timeout=60)
async def test_java_properties(
    secured_kafka: KafkaCluster, topic: str, told: list[str], tmp_path: Path
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
    told.append(repr(producer))
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
    told: list[str],
    off: dict[str, bool],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It works, and warns once of what that means."""
    await deliver(told, options(secured_kafka.security, "WRONG_HOST", **off), topic)
    assert len(confluent_consume(secured_kafka.bootstrap, topic)) == 3
    warnings = [record for record in caplog.records if "can pose as a broker" in record.message]
    assert len(warnings) == 1


# -- who doesn't -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", PASSWORDS)
@pytest.mark.parametrize("listener", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.gen_test(timeout=30)
async def test_a_wrong_password(
    secured_kafka: KafkaCluster, told: list[str], listener: str, mechanism: str
) -> None:
    """The error says that it is the credentials, and whose."""
    wrong = secrets.token_hex(16)
    settings = logged_in(secured_kafka.security, listener, mechanism, sasl_password=wrong)
    error = await refusal(told, settings)
    assert type(error) is AuthenticationFailed
    assert "user name or password" in str(error)
    assert wrong not in "".join(told)


@pytest.mark.gen_test(timeout=30)
async def test_an_expired_token(secured_kafka: KafkaCluster, told: list[str]) -> None:
    """The broker says so."""
    settings = logged_in(
        secured_kafka.security,
        "SASL_SSL",
        "OAUTHBEARER",
        sasl_token_provider=lambda: unsecured_token("alice", -60),
    )
    error = await refusal(told, settings)
    assert type(error) is AuthenticationFailed
    assert "token" in str(error)


@pytest.mark.gen_test(timeout=30)
async def test_an_unknown_mechanism(secured_kafka: KafkaCluster, told: list[str]) -> None:
    """A listener without SASL, and one that does not offer the mechanism, are told apart."""
    security = secured_kafka.security
    settings = logged_in(security, "SASL_SSL", "PLAIN", brokers=security.bootstrap("SSL"))
    error = await refusal(told, settings)
    assert type(error) is UnsupportedMechanism


@pytest.mark.parametrize(
    ("listener", "changes", "kind"),
    [
        ("EXPIRED", {}, CertificateExpired),
        ("WRONG_HOST", {}, WrongHostName),
        ("SSL", {"ssl_cafile": "other"}, UnknownAuthority),
        ("SSL", {"ssl_cafile": None}, UnknownAuthority),
        ("MTLS", {}, ClientCertificateRefused),
    ],
    ids=[
        "expired",
        "another host's",
        "unknown authority",
        "the system's authorities",
        "no client's",
    ],
)
@pytest.mark.gen_test(timeout=30)
async def test_certificates(
    secured_kafka: KafkaCluster,
    told: list[str],
    listener: str,
    changes: dict[str, Any],
    kind: type[BrokerError],
) -> None:
    """Each thing that can be wrong with one has an error of its own."""
    if changes.get("ssl_cafile") == "other":
        changes = {"ssl_cafile": str(secured_kafka.security.other_ca_file)}
    error = await refusal(told, options(secured_kafka.security, listener, **changes))
    assert type(error) is kind


@pytest.mark.gen_test(timeout=30)
async def test_a_clients_certificate_of_an_unknown_authority(
    secured_kafka: KafkaCluster, told: list[str]
) -> None:
    """It is the broker that refuses."""
    other = secured_kafka.security.other_client_certificate
    settings = certified(
        secured_kafka.security, ssl_certfile=str(other.cert_file), ssl_keyfile=str(other.key_file)
    )
    assert type(await refusal(told, settings)) is ClientCertificateRefused


@pytest.mark.gen_test(timeout=30)
async def test_plaintext_to_a_tls_port(secured_kafka: KafkaCluster, told: list[str]) -> None:
    """The error asks for the protocol."""
    error = await refusal(told, {"brokers": secured_kafka.security.bootstrap("SSL")})
    assert isinstance(error, ListenerMismatch | ConnectionLost) or "TLS" in str(error)
    assert "TLS" in str(error)


@pytest.mark.gen_test(timeout=30)
async def test_tls_to_a_plaintext_port(secured_kafka: KafkaCluster, told: list[str]) -> None:
    """And so does this one."""
    settings = options(secured_kafka.security, "SSL", brokers=secured_kafka.bootstrap)
    error = await refusal(told, settings)
    assert type(error) is ListenerMismatch
    assert "plaintext" in str(error)


@pytest.mark.gen_test(timeout=60)
async def test_a_topic_that_an_acl_refuses(
    secured_kafka: KafkaCluster, topic: str, told: list[str]
) -> None:
    """The message fails with the right that is missing; others go on."""
    secured_kafka.create_topic(topic, partitions=1)
    secured_kafka.deny("carol", topic, "WRITE")
    settings = logged_in(secured_kafka.security, "SASL_SSL", "SCRAM-SHA-256", user="carol")
    async with Producer(**settings, required_acks=-1) as producer:
        with pytest.raises(TopicAuthorizationFailed, match="allow this client's user to Write"):
            await producer.produce(topic, "refused")
        secured_kafka.allow("carol", topic)
        await producer.produce(topic, "allowed")
    [stored] = confluent_consume(secured_kafka.bootstrap, topic)
    assert stored.value == b'"allowed"'


# -- over time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "OAUTHBEARER"])
@pytest.mark.timeout(180)
@pytest.mark.gen_test(timeout=120)
async def test_sessions_end_under_load(
    secured_kafka: KafkaCluster,
    topic: str,
    told: list[str],
    mechanism: str,
) -> None:
    """Who we are is told again on the open connections: nothing is lost, nothing repeated."""
    secured_kafka.create_topic(topic, partitions=3)
    settings = logged_in(secured_kafka.security, "SHORT", mechanism)
    loop = asyncio.get_running_loop()
    until, count = loop.time() + 12, 0  # more than two sessions of 5 s
    async with Producer(**settings, required_acks=-1, batch_size=50, linger_ms=5) as producer:
        futures = []
        while loop.time() < until:
            futures.append(await producer.produce(topic, count))
            count += 1
        assert await producer.flush(60) == 0
        for future in futures:
            future.result()
    stored = [
        int(record.value or b"") for record in confluent_consume(secured_kafka.bootstrap, topic)
    ]
    assert sorted(stored) == list(range(count))


@pytest.mark.timeout(180)
@pytest.mark.gen_test(timeout=120)
async def test_a_leader_is_killed(secured_kafka: KafkaCluster, topic: str, told: list[str]) -> None:
    """Under SASL_SSL as without: nothing is lost, nothing repeated."""
    secured_kafka.create_topic(topic, partitions=1)
    settings = logged_in(secured_kafka.security, "SASL_SSL", "SCRAM-SHA-256")
    leader = secured_kafka.leader(topic, 0)
    messages = 20_000
    try:
        async with Producer(**settings, required_acks=-1, batch_size=100) as producer:
            futures = []
            for n in range(messages):
                if n == messages // 4:
                    await asyncio.to_thread(secured_kafka.kill, leader)
                futures.append(await producer.produce(topic, n))
            assert await producer.flush(90) == 0
            for future in futures:
                future.result()
    finally:
        await asyncio.to_thread(secured_kafka.start, leader)
    stored = [
        int(record.value or b"") for record in confluent_consume(secured_kafka.bootstrap, topic)
    ]
    assert stored == list(range(messages))


def test_a_handler_recovers_when_the_password_is_put_right(
    secured_kafka: KafkaCluster, topic: str, told: list[str], tmp_path: Path
) -> None:
    """What was logged meanwhile waits, and arrives in order; the file is read again."""
    secured_kafka.create_topic(topic, partitions=1)
    secret = tmp_path / "password"
    secret.write_text("wrong")
    seen = _Reports()
    logging.getLogger("kiel_logging").addHandler(seen)
    settings = logged_in(
        secured_kafka.security, "SASL_SSL", "SCRAM-SHA-512", sasl_password={"file": str(secret)}
    )
    try:
        with closing(KafkaHandler(**settings, topic=topic, format="text")) as handler:
            logger = logging.Logger("secured")
            logger.addHandler(handler)
            for n in range(100):
                logger.warning("%d", n)
            seen.wait_for("does not accept the user name or password")
            assert handler.stats().buffered == 100
            secret.write_text(secured_kafka.security.users["alice"])
            assert handler.flush(60) == 0
            told += [repr(handler), repr(handler.stats()), repr(vars(handler))]
    finally:
        logging.getLogger("kiel_logging").removeHandler(seen)
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
