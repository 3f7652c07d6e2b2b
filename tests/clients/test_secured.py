"""Producers and handlers at secured brokers: what arrives, what is retried, what is never shown."""

from __future__ import annotations

import asyncio
import logging
import pickle
import ssl
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.clients import Producer
from kiel_logging.config.options import Address
from kiel_logging.errors import (
    AuthenticationFailed,
    BrokerError,
    CertificateExpired,
    ConnectionLost,
    SecurityError,
    UnsupportedMechanism,
)
from kiel_logging.network.cluster import Cluster
from kiel_logging.network.connection import Connection
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.testing.sasl import MECHANISMS, Sasl
from tests.config.test_options import checked
from tests.network.quick import QUICK, quick_producer, send_all, values
from tests.support.certificates import Authority

SECRET = "s3cr3t-und-geheim"
WRONG = "wr0ng-und-geheim"


def alice(mechanism: str = "SCRAM-SHA-256", password: Any = SECRET) -> dict[str, Any]:
    """The options of a client with that password, or token."""
    options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": mechanism}
    if mechanism == "OAUTHBEARER":
        return {**options, "sasl_token_provider": lambda: password}
    return {**options, "sasl_username": "alice", "sasl_password": password}


def guard(cluster: FakeCluster, lifetimes: int = 0) -> Sasl:
    """Lets alice in; the first sessions, so many of them, end after a few milliseconds."""
    sasl = Sasl(users={"alice": SECRET}, tokens={SECRET}, lifetimes=[2] * lifetimes)
    cluster.brokers[0].require_sasl(sasl)
    return sasl


def attempts(cluster: FakeCluster) -> int:
    """How often a client began to authenticate."""
    return sum(request.api == "SaslHandshake" for request in cluster.requests)


def renewed(cluster: FakeCluster) -> set[tuple[int, int]]:
    """The connections on which one did so again."""
    told = Counter(
        (request.node_id, request.connection)
        for request in cluster.requests
        if request.api == "SaslHandshake"
    )
    return {connection for connection, times in told.items() if times > 1}


# -- producers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mechanism", "acks"),
    [(mechanism, -1) for mechanism in MECHANISMS] + [("PLAIN", 1), ("PLAIN", 0)],
)
@pytest.mark.gen_test
async def test_messages_arrive_over_many_sessions(mechanism: str, acks: int) -> None:
    """Once and in order, while every session ends after a few milliseconds."""
    async with FakeCluster(brokers=2) as cluster:
        guard(cluster, lifetimes=40)
        cluster.add_topic("logs", 1)
        options = {**alice(mechanism), "required_acks": acks}
        async with quick_producer(cluster, **options) as producer:
            for n in range(150):
                await producer.produce("logs", n)
        await cluster.stored("logs", 150)
        assert values(cluster, "logs") == [b"%d" % n for n in range(150)]
        assert cluster.complaints == []
        assert renewed(cluster)


@pytest.mark.gen_test
async def test_tls_and_sasl(tmp_path: Path) -> None:
    """Together, at every broker; nothing of it is plaintext."""
    authority = Authority.make("ours")
    certificate = authority.issue("broker", ["127.0.0.1"])
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "broker.pem").write_bytes(certificate.pem + certificate.key_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "broker.pem")
    cluster = FakeCluster(brokers=2)
    for broker in cluster.brokers:
        broker.use_tls(context)
    async with cluster:
        guard(cluster)
        cluster.add_topic("logs", 2)
        options = {**alice(), "security_protocol": "SASL_SSL", "ssl_cafile": tmp_path / "ca.pem"}
        async with quick_producer(cluster, **options, partitioner="round_robin") as producer:
            await send_all(producer, "logs", range(4))
        assert cluster.count("logs") == 4


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.gen_test
async def test_one_refusal_is_enough(mechanism: str) -> None:
    """All brokers have the same users: asking each would only lock the account sooner."""
    async with FakeCluster(brokers=3) as cluster:
        guard(cluster)
        producer = quick_producer(cluster, **alice(mechanism, WRONG))
        with pytest.raises(AuthenticationFailed):
            await producer.connect()
        assert attempts(cluster) == 1
        await producer.close()


@pytest.mark.gen_test
async def test_connecting_again_with_another_password(tmp_path: Path) -> None:
    """connect() reads the password again at once: the program may have corrected it."""
    path = tmp_path / "password"
    path.write_text(WRONG)
    async with FakeCluster(brokers=1) as cluster:
        guard(cluster)
        cluster.add_topic("logs", 1)
        producer = quick_producer(cluster, **alice(password={"file": str(path)}))
        with pytest.raises(AuthenticationFailed):
            await producer.connect()
        path.write_text(SECRET)
        await producer.connect()
        await producer.produce("logs", 1)
        assert cluster.count("logs") == 1
        await producer.close()


@pytest.mark.gen_test
async def test_messages_without_a_way_in_do_not_lock_the_account() -> None:
    """Each gets the refusal; only the first one asks the brokers."""
    async with FakeCluster(brokers=3) as cluster:
        guard(cluster)
        options = {**alice(password=WRONG), "retry_backoff_ms": 60_000}
        producer = quick_producer(cluster, **{**options, "retry_backoff_max_ms": 60_000})
        for _ in range(20):
            with pytest.raises(AuthenticationFailed, match="does not accept"):
                await producer.produce("logs", 1)
        assert attempts(cluster) == 1
        await producer.close()


@pytest.mark.gen_test
async def test_a_password_that_changes_under_a_producer(tmp_path: Path) -> None:
    """Messages that are buffered when it is refused arrive when the new one is there."""
    path = tmp_path / "password"
    path.write_text(SECRET)
    async with FakeCluster(brokers=1) as cluster:
        sasl = guard(cluster)
        cluster.add_topic("logs", 1)
        options = alice(password={"file": str(path)})
        async with quick_producer(cluster, **options, batch_size=10) as producer:
            await producer.produce("logs", 0)
            await producer.flush()
            sasl.users["alice"] = "renewed"
            before = attempts(cluster)
            cluster.brokers[0].hang_up()
            await producer.produce("logs", 1)
            await cluster.until(lambda: attempts(cluster) > before)
            path.write_text("renewed")
            assert await producer.flush() == 0
        assert values(cluster, "logs") == [b"0", b"1"]


# -- how often it is tried -------------------------------------------------------------------------


class Attempts:
    """A cluster that accepts no client, at a time which the test sets."""

    def __init__(self, error: BrokerError, brokers: int = 3) -> None:
        self.now = 0.0
        self.error: BrokerError = error
        self.count = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.cluster = Cluster(
            checked(brokers=[f"b{n}" for n in range(brokers)]),
            connect=self._connect,
            spawn=self._spawn,
            backoff=lambda _failures: 1.0,
            clock=lambda: self.now,
            on_change=lambda: None,
            on_failure=lambda _error: None,
            on_metadata=lambda: None,
            on_another_cluster=lambda: None,
        )

    async def _connect(self, _address: Address) -> Connection:
        self.count += 1
        raise self.error

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def turns_until(self, moment: float) -> int:
        """A turn every tenth of a second; how many connections were tried."""
        before = self.count
        while self.now < moment:
            self.cluster.refresh_if_wanted(self.now)
            await asyncio.gather(*self._tasks)
            self._tasks.clear()
            self.now = round(self.now + 0.1, 1)
        return self.count - before


@pytest.mark.parametrize("error", [AuthenticationFailed, UnsupportedMechanism])
@pytest.mark.gen_test
async def test_what_all_brokers_will_say_is_asked_of_one_and_seldom(
    error: type[BrokerError],
) -> None:
    """Ten times less often than a broker that is down, and never of the next one."""
    assert await Attempts(error("no")).turns_until(100.0) == 10


@pytest.mark.gen_test
async def test_other_errors_of_security_are_asked_of_each_and_seldom() -> None:
    """One broker's certificate says nothing of another's."""
    assert await Attempts(CertificateExpired("old")).turns_until(100.0) == 30


@pytest.mark.gen_test
async def test_brokers_that_are_down_are_asked_more_often() -> None:
    """A broker that comes up again is found soon."""
    assert await Attempts(ConnectionLost("gone")).turns_until(100.0) == 300


# -- handlers --------------------------------------------------------------------------------------


@pytest.fixture
def threaded() -> Iterator[FakeKafka]:
    """One broker on a thread, which lets alice in."""
    with FakeKafka(topics={"logs": 1}) as cluster:
        cluster.call(guard)
        yield cluster


def logger_to(handler: logging.Handler) -> logging.Logger:
    """A logger that nothing else knows of."""
    logger = logging.Logger("shop", logging.DEBUG)
    logger.addHandler(handler)
    return logger


def stored(cluster: FakeKafka) -> int:
    """How many records are stored."""
    return cluster.call(lambda c: c.count("logs"))


def test_a_handler_recovers_when_the_password_is_put_right(
    threaded: FakeKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Records of the time in between arrive; the reason is logged, and never the password."""
    path = tmp_path / "password"
    path.write_text(WRONG)
    handler = KafkaHandler(
        threaded.addresses, "logs", **QUICK, **alice("PLAIN", {"file": str(path)})
    )
    with closing(handler):
        logger_to(handler).error("tea")
        threaded.received("SaslAuthenticate", 2)
        assert stored(threaded) == 0
        path.write_text(SECRET)
        assert handler.flush(30) == 0
    assert stored(threaded) == 1
    told = caplog.text
    assert told.count("does not accept the user name or password (PLAIN)") == 1
    assert told.count("'PLAIN' without TLS") == 1
    assert WRONG not in told
    assert SECRET not in told


@pytest.mark.parametrize(("overflow", "last"), [("drop_newest", 9), ("drop_oldest", 24)])
def test_a_handler_without_a_way_in_keeps_to_its_policy(
    threaded: FakeKafka, tmp_path: Path, overflow: str, last: int
) -> None:
    """Its buffer has the size it was given; when the password is right, what is in it arrives."""
    path = tmp_path / "password"
    path.write_text(WRONG)
    options = {**QUICK, **alice(password={"file": str(path)}), "buffer_records": 10}
    handler = KafkaHandler(threaded.addresses, "logs", **options, overflow=overflow, format="text")
    with closing(handler):
        logger = logger_to(handler)
        for n in range(25):
            logger.error("%d", n)
            if n == 12:
                threaded.received("SaslAuthenticate", 2)
        before = handler.stats()
        assert (before.emitted, before.delivered, before.failed) == (25, 0, 0)
        assert before.buffered + before.in_flight == 10
        assert dict(before.dropped) == {"buffer_full": {"ERROR": 15}}
        path.write_text(SECRET)
        assert handler.flush(30) == 0
    found = threaded.call(lambda c: [each.value or b"" for each in c.records("logs")[0]])
    # The report of the loss may be among them.
    kept = [int(value.rpartition(b":")[2]) for value in found if value.startswith(b"ERROR:shop:")]
    assert len(kept) == 10
    assert kept == sorted(set(kept))
    assert kept[-1] == last


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_handler_from_properties(threaded: FakeKafka, tmp_path: Path, mechanism: str) -> None:
    """A client's file is enough, but for what it has no words for."""
    options: dict[str, Any] = {**QUICK}
    lines = [
        f"bootstrap.servers={threaded.addresses[0]}",
        "security.protocol=SASL_PLAINTEXT",
        f"sasl.mechanism={mechanism}",
    ]
    if mechanism == "OAUTHBEARER":
        options["sasl_token_provider"] = lambda: SECRET
    else:
        lines.append(f'sasl.jaas.config=Module required username="alice" password="{SECRET}";')
    path = tmp_path / "client.properties"
    path.write_text("\n".join(lines))
    with closing(KafkaHandler.from_properties(path, "logs", **options)) as handler:
        logger_to(handler).info("tea")
        assert handler.flush() == 0
    assert stored(threaded) == 1


def test_a_token_provider_that_ends_its_thread(
    threaded: FakeKafka, caplog: pytest.LogCaptureFixture
) -> None:
    """`sys.exit()` in it is an error like another: the handler tries again."""
    calls: list[int] = []

    def provide() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise SystemExit(SECRET)
        return SECRET

    options = {**QUICK, **alice("OAUTHBEARER"), "sasl_token_provider": provide}
    options |= {"retry_backoff_ms": 50, "retry_backoff_max_ms": 50}  # ten times as long after it
    with closing(KafkaHandler(threaded.addresses, "logs", **options)) as handler:
        logger_to(handler).info("tea")
        assert handler.flush(30) == 0
    assert stored(threaded) == 1
    told = caplog.text
    assert "sasl_token_provider raised SystemExit" in told
    assert SECRET not in told


# -- what is never shown ---------------------------------------------------------------------------


def test_no_pickle_has_the_password() -> None:
    """A client can't be pickled at all."""
    with closing(KafkaHandler("kafka", "logs", **alice(), close_timeout_ms=1)) as handler:
        for client in (Producer("kafka", **alice()), handler):
            with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
                pickle.dumps(client)


@pytest.mark.gen_test
async def test_no_log_shows_the_password(caplog: pytest.LogCaptureFixture) -> None:
    """At no level, whether it is accepted or not."""
    caplog.set_level(logging.DEBUG)
    async with FakeCluster(brokers=1) as cluster:
        guard(cluster, lifetimes=5)
        cluster.add_topic("logs", 1)
        for mechanism in MECHANISMS:
            async with quick_producer(cluster, **alice(mechanism)) as producer:
                await producer.produce("logs", 1)
            refused = quick_producer(cluster, **alice(mechanism, WRONG))
            with pytest.raises(SecurityError):
                await refused.produce("logs", 1)
            await refused.close()
    assert "without TLS" in caplog.text
    assert SECRET not in caplog.text
    assert WRONG not in caplog.text
