"""The secured listeners themselves, by librdkafka: which clients get in, and why others don't.

The proofs of our TLS and SASL on these listeners rest on this one.
"""

from __future__ import annotations

import logging
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from tests.support.console_consumer import confluent_consume
from tests.support.kafka import LISTENERS, MECHANISMS, KafkaCluster, Security, unsecured_token

Settings = dict[str, Any]
PATIENCE = 30.0
BY_SASL = KafkaError._AUTHENTICATION
SASL = [name for name, listener in LISTENERS.items() if listener.mechanisms == [*MECHANISMS]]
PASSWORDS = [each for each in MECHANISMS if each != "OAUTHBEARER"]


# -- clients ---------------------------------------------------------------------------------------


def client(security: Security, listener: str, **changes: Any) -> Settings:
    """The settings of a client of a listener; underscores in `changes` stand for dots."""
    settings: Settings = {
        "bootstrap.servers": ",".join(security.bootstrap(listener)),
        "security.protocol": LISTENERS[listener].protocol,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
        "log_level": 0,
    }
    if LISTENERS[listener].tls:
        settings["ssl.ca.location"] = str(security.ca_file)
    return settings | {name.replace("_", "."): value for name, value in changes.items()}


def certified(security: Security, **changes: Any) -> Settings:
    """A client with its certificate."""
    own = security.client_certificate
    files = {"ssl_certificate_location": own.cert_file, "ssl_key_location": own.key_file, **changes}
    return client(security, "MTLS", **{name: str(value) for name, value in files.items()})


def logged_in(
    security: Security, listener: str, mechanism: str, user: str = "alice", **changes: Any
) -> Settings:
    """The settings of a client that authenticates by SASL."""
    if mechanism == "OAUTHBEARER":
        return bearing(security, listener, unsecured_token(user, 600), **changes)
    password = changes.pop("password", None) or security.users.get(user, "")
    credentials = {"sasl_username": user, "sasl_password": password}
    return client(security, listener, sasl_mechanism=mechanism, **credentials, **changes)


def bearing(security: Security, listener: str, token: str, **changes: Any) -> Settings:
    """A client with a token, which it thinks is good for long."""
    settings = client(security, listener, sasl_mechanism="OAUTHBEARER", **changes)
    return settings | {"oauth_cb": lambda _: (token, time.time() + 600)}


def send(settings: Mapping[str, Any], topic: str) -> KafkaError | None:
    """Send one message; the delivery's error, or that of the first connection that was refused."""
    seen: list[KafkaError | None] = []

    def refused(error: KafkaError) -> None:
        # TLS 1.3 refuses a client behind its back: what was read next failed, and not a handshake.
        if error.code() == BY_SASL or "SSL routines" in error.str():
            seen.append(error)

    producer = Producer({**settings, "error_cb": refused})
    producer.produce(topic, b"hello", on_delivery=lambda error, _message: seen.append(error))
    wait_for(producer, lambda: bool(seen))
    producer.purge()
    return seen[0]


def wait_for(producer: Producer, condition: Callable[[], bool]) -> None:
    """Serve a producer's callbacks until they have made `condition` true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "neither delivered nor refused"
        producer.poll(0.1)


def stored(cluster: KafkaCluster, topic: str) -> list[bytes | None]:
    """The values in a topic, by PLAINTEXT."""
    return [record.value for record in confluent_consume(cluster.bootstrap, topic)]


@pytest.fixture
def security(secured_kafka: KafkaCluster) -> Security:
    """Return the credentials."""
    return secured_kafka.security


# -- accepted --------------------------------------------------------------------------------------

ACCEPTED: dict[str, Callable[[Security], Settings]] = {
    "SSL": lambda security: client(security, "SSL"),
    "SSL by name": lambda security: client(
        security, "SSL", bootstrap_servers=",".join(security.bootstrap("SSL", "localhost"))
    ),
    "MTLS": certified,
    "MTLS with an encrypted key": lambda security: certified(
        security,
        ssl_key_location=security.client_certificate.encrypted_key_file,
        ssl_key_password=security.client_certificate.key_password,
    ),
    # Their certificates are all that is wrong with these two.
    "EXPIRED unchecked": lambda security: client(
        security, "EXPIRED", enable_ssl_certificate_verification=False
    ),
    "WRONG_HOST unchecked": lambda security: client(
        security, "WRONG_HOST", ssl_endpoint_identification_algorithm="none"
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_tls_listener_takes(
    secured_kafka: KafkaCluster, security: Security, topic: str, name: str
) -> None:
    """Clients that trust the authority, and show a certificate where one is asked for."""
    secured_kafka.create_topic(topic)
    assert send(ACCEPTED[name](security), topic) is None
    assert stored(secured_kafka, topic) == [b"hello"]


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("listener", SASL)
def test_a_sasl_listener_takes(
    secured_kafka: KafkaCluster, security: Security, topic: str, listener: str, mechanism: str
) -> None:
    """A user, by every mechanism."""
    secured_kafka.create_topic(topic)
    assert send(logged_in(security, listener, mechanism), topic) is None
    assert stored(secured_kafka, topic) == [b"hello"]


def test_every_user_has_a_password_of_their_own(security: Security) -> None:
    """One that is long enough to be looked for in what a program writes."""
    assert len(set(security.users.values())) == len(security.users) >= 3
    assert {len(password) for password in security.users.values()} == {32}


# -- refused ---------------------------------------------------------------------------------------

BY_CLIENT, BY_BROKER = "certificate verify failed", "alert bad certificate"

REFUSED: dict[str, tuple[Callable[[Security], Settings], str]] = {
    "SSL, another authority": (
        lambda security: client(security, "SSL", ssl_ca_location=str(security.other_ca_file)),
        BY_CLIENT,
    ),
    "SASL_SSL, another authority": (
        lambda security: logged_in(
            security, "SASL_SSL", "PLAIN", ssl_ca_location=str(security.other_ca_file)
        ),
        BY_CLIENT,
    ),
    "EXPIRED": (lambda security: client(security, "EXPIRED"), BY_CLIENT),
    "WRONG_HOST": (lambda security: client(security, "WRONG_HOST"), BY_CLIENT),
    "MTLS, no certificate": (lambda security: client(security, "MTLS"), BY_BROKER),
    "MTLS, another authority's certificate": (
        lambda security: certified(
            security,
            ssl_certificate_location=security.other_client_certificate.cert_file,
            ssl_key_location=security.other_client_certificate.key_file,
        ),
        BY_BROKER,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_tls_listener_refuses(security: Security, topic: str, name: str) -> None:
    """Or its client refuses it."""
    settings, reason = REFUSED[name]
    error = send(settings(security), topic)
    assert error is not None
    assert reason in error.str()


OPENSSL_REASONS = {
    "SSL": None,
    "MTLS": None,
    "SASL_SSL": None,
    "SHORT": None,
    "ONE_MECHANISM": None,
    "EXPIRED": "certificate has expired",
    "WRONG_HOST": "IP address mismatch, certificate is not valid for '127.0.0.1'.",
}


@pytest.mark.parametrize("listener", OPENSSL_REASONS)
def test_a_broker_s_certificate_is_at_fault_for_one_reason(
    security: Security, listener: str
) -> None:
    """librdkafka hides the reason; by OpenSSL's strictest rules there is no other."""
    context = ssl.create_default_context(cafile=security.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    host, _, port = security.bootstrap(listener)[0].rpartition(":")
    reason = None
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        try:
            context.wrap_socket(connection, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message
    assert reason == OPENSSL_REASONS[listener]


@pytest.mark.parametrize("user", ["alice", "nobody"])
@pytest.mark.parametrize("mechanism", PASSWORDS)
@pytest.mark.parametrize("listener", SASL)
def test_a_wrong_password_is_refused(
    security: Security, topic: str, listener: str, mechanism: str, user: str
) -> None:
    """As are users that there are not."""
    error = send(logged_in(security, listener, mechanism, user, password="wrong"), topic)
    assert error is not None
    assert error.code() == BY_SASL, error


@pytest.mark.parametrize("listener", SASL)
def test_an_expired_token_is_refused(security: Security, topic: str, listener: str) -> None:
    """By the broker: the client believes that the token has long to live."""
    error = send(bearing(security, listener, unsecured_token("alice", -60)), topic)
    assert error is not None
    assert error.code() == BY_SASL, error


def test_a_listener_may_offer_one_mechanism(
    secured_kafka: KafkaCluster, security: Security, topic: str
) -> None:
    """And does without the others."""
    secured_kafka.create_topic(topic)
    [only] = LISTENERS["ONE_MECHANISM"].mechanisms
    for mechanism in MECHANISMS:
        error = send(logged_in(security, "ONE_MECHANISM", mechanism), topic)
        assert (error and error.code()) == (None if mechanism == only else BY_SASL)


def test_an_encrypted_key_needs_its_password(security: Security) -> None:
    """Else no client begins."""
    own = security.client_certificate
    with pytest.raises(KafkaException, match="key"):
        Producer(
            certified(security, ssl_key_location=own.encrypted_key_file, ssl_key_password="wrong")
        )


# -- what they may do ------------------------------------------------------------------------------

AS_USER: dict[str, tuple[str, Callable[[Security], Settings]]] = {
    "a certificate": ("dora", certified),
    **{
        mechanism: (
            "bob",
            lambda security, mechanism=mechanism: logged_in(security, "SASL_SSL", mechanism, "bob"),
        )
        for mechanism in MECHANISMS
    },
}


@pytest.mark.parametrize("name", AS_USER)
def test_a_topic_is_denied_and_allowed(
    secured_kafka: KafkaCluster, security: Security, topic: str, name: str
) -> None:
    """To one user, by each mechanism; other users still write."""
    user, settings = AS_USER[name]
    secured_kafka.create_topic(topic)
    secured_kafka.deny(user, topic)
    error = send(settings(security), topic)
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert send(logged_in(security, "SASL_PLAINTEXT", "PLAIN", "alice"), topic) is None
    secured_kafka.allow(user, topic)
    assert send(settings(security), topic) is None
    assert stored(secured_kafka, topic) == [b"hello"] * 2


@pytest.mark.parametrize(
    ("operation", "known"),
    [
        pytest.param("WRITE", None, id="WRITE"),
        pytest.param("ALL", KafkaError.TOPIC_AUTHORIZATION_FAILED, id="ALL"),
    ],
)
def test_what_may_not_be_written_may_be_known(
    secured_kafka: KafkaCluster, security: Security, topic: str, operation: str, known: int | None
) -> None:
    """When WRITE alone is denied, the refusal comes with the message and not before."""
    secured_kafka.create_topic(topic)
    secured_kafka.deny("bob", topic, operation)
    settings = logged_in(security, "SASL_SSL", "PLAIN", "bob")
    found = AdminClient(settings).list_topics(topic, timeout=PATIENCE).topics[topic]
    assert (found.error and found.error.code()) == known
    error = send(settings, topic)
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


# -- what changes ----------------------------------------------------------------------------------


@pytest.fixture
def new_password(secured_kafka: KafkaCluster, security: Security) -> Iterator[str]:
    """A new password for carol; her old one is back afterwards."""
    yield secrets.token_hex(16)
    secured_kafka.change_password("carol", security.users["carol"])


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_password_changes(
    secured_kafka: KafkaCluster, security: Security, topic: str, new_password: str, mechanism: str
) -> None:
    """From one call to the next, on every broker."""
    secured_kafka.create_topic(topic, partitions=3)
    secured_kafka.change_password("carol", new_password)
    new = logged_in(security, "SASL_SSL", mechanism, "carol", password=new_password)
    assert send(new, topic) is None
    error = send(logged_in(security, "SASL_SSL", mechanism, "carol"), topic)
    assert error is not None
    assert error.code() == BY_SASL


def test_a_name_may_have_any_characters(
    secured_kafka: KafkaCluster, security: Security, topic: str
) -> None:
    """Also those that SCRAM has to escape."""
    user, password = "a=b, c", secrets.token_hex(16)
    secured_kafka.create_topic(topic)
    secured_kafka.change_password(user, password)
    settings = logged_in(security, "SASL_SSL", "SCRAM-SHA-256", user, password=password)
    assert send(settings, topic) is None


# -- sessions --------------------------------------------------------------------------------------


class Heard(logging.Handler):
    """Keeps what librdkafka says."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.said.append(record.getMessage())


@pytest.mark.parametrize(
    ("listener", "lifetimes"),
    [pytest.param("SHORT", {5000}, id="SHORT"), pytest.param("SASL_SSL", set(), id="SASL_SSL")],
)
@pytest.mark.parametrize("mechanism", PASSWORDS)
def test_a_session_s_lifetime_is_reported(
    secured_kafka: KafkaCluster,
    security: Security,
    topic: str,
    mechanism: str,
    listener: str,
    lifetimes: set[int],
) -> None:
    """On SHORT alone (KIP-368)."""
    secured_kafka.create_topic(topic)
    heard, logger = Heard(), logging.Logger("librdkafka")
    logger.addHandler(heard)
    settings = logged_in(security, listener, mechanism, debug="security", logger=logger)
    assert send(settings | {"log_level": 7}, topic) is None
    lifetimes_seen = [
        each.partition("session lifetime ")[2] for each in heard.said if "REAUTH" in each
    ]
    assert {int(each.split()[0]) for each in lifetimes_seen} == lifetimes


def test_a_session_ends_that_is_not_renewed(
    secured_kafka: KafkaCluster, security: Security, topic: str, new_password: str
) -> None:
    """Within five seconds the old password is asked for again, which isn't one any more."""
    secured_kafka.create_topic(topic)
    errors: list[KafkaError] = []
    settings = logged_in(security, "SHORT", "SCRAM-SHA-512", "carol")
    producer = Producer({**settings, "error_cb": errors.append})
    producer.produce(topic, b"before")
    assert producer.flush(PATIENCE) == 0
    secured_kafka.change_password("carol", new_password)
    wait_for(producer, lambda: BY_SASL in [error.code() for error in errors])
    assert stored(secured_kafka, topic) == [b"before"]


# -- brokers that go and come ----------------------------------------------------------------------


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_broker_comes_back_with_its_listeners(
    secured_kafka: KafkaCluster, security: Security, topic: str, end: str
) -> None:
    """Its ports, its certificates, its users and what they may not do."""
    secured_kafka.create_topic(topic)
    secured_kafka.deny("bob", topic)
    leader = secured_kafka.leader(topic, 0)
    getattr(secured_kafka, end)(leader)
    alice, bob = (
        logged_in(security, "SASL_SSL", "SCRAM-SHA-512", each) for each in ("alice", "bob")
    )
    assert send(alice, topic) is None
    secured_kafka.start(leader)
    secured_kafka.wait_in_sync(topic)
    secured_kafka.elect_preferred(topic)
    assert secured_kafka.leader(topic, 0) == leader
    back = {"bootstrap.servers": security.address("SASL_SSL", leader)}
    assert send(alice | back, topic) is None
    error = send(bob | back, topic)
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
