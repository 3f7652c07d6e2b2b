"""The test kit: captured_logs(), FakeKafka, and the fixtures that pytest finds by itself."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import AuditHandler, KafkaHandler, Producer, SpoolHandler
from kiel_logging.errors import AuthenticationFailed, TopicAuthorizationFailed
from kiel_logging.handler.record_handler import RecordHandler
from kiel_logging.testing import CapturedLogs, FakeKafka, captured_logs
from tests.docs.pages import ROOT, blocks
from tests.support.certificates import Authority

NOWHERE = "127.0.0.1:9"
NAME = "tests.test_testing"

pytest_plugins = ["pytester"]


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A logger of INFO and up that is as it was when the test is over."""
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


# -- captured_logs() -------------------------------------------------------------------------------


def test_a_captured_record_is_what_would_be_sent(log: logging.Logger) -> None:
    """With its topic, key, headers and value, as the handler's options have them."""
    options: dict[str, Any] = {
        "key_field": "user_id",
        "headers": {"severity": "levelname"},
        "fields": {"service": "shop"},
        "redact": ["password"],
    }
    with captured_logs() as logs, logs.handler("shop.{levelname}", logger=NAME, **options):
        log.info("paid %d", 3, extra={"user_id": "ada", "password": "x", "items": [1, 2]})
    [record] = logs
    assert (record.topic, record.key) == ("shop.INFO", b"ada")
    assert record.headers == {"severity": b"INFO"}
    assert record.value["message"] == "paid 3"
    assert record.value["service"] == "shop"
    assert record.value["items"] == [1, 2]
    assert record.value["password"] != "x"
    assert record.partition is None


def test_nothing_is_sent(log: logging.Logger) -> None:
    """Handlers from before the block, and those made in it, connect to no broker, and count no
    record; when it is over they ship again."""
    with FakeKafka(topics={"logs": 1}) as kafka:
        with closing(KafkaHandler(kafka.addresses, "logs", linger_ms=0)) as before:
            log.addHandler(before)
            with captured_logs() as logs:
                log.info("captured")
                with closing(KafkaHandler(kafka.addresses, "other")) as within:
                    log.addHandler(within)
                    log.info("twice")
                    log.removeHandler(within)
            assert [one.topic for one in logs] == ["logs", "logs", "other"]
            assert before.stats().emitted == 0
            log.info("sent")
        assert [one.value["message"] for one in kafka.arrived("logs")] == ["sent"]
        assert kafka.arrived("other") == []


def test_every_kind_of_handler_is_captured(log: logging.Logger, tmp_path: Path) -> None:
    """KafkaHandler with a spool, SpoolHandler, AuditHandler, and a subclass."""

    class Own(KafkaHandler):
        def emit(self, record: logging.LogRecord) -> None:
            record.own = True
            super().emit(record)

    with captured_logs() as logs:
        handlers = [
            Own(NOWHERE, "own"),
            KafkaHandler(NOWHERE, "disk", spool="always", spool_dir=tmp_path / "disk"),
            SpoolHandler(tmp_path / "spool", "spool"),
        ]
        for handler in handlers:
            log.addHandler(handler)
        audit = AuditHandler(
            NOWHERE,
            "audit",
            logger=f"{NAME}.audit",
            spool_dir=tmp_path / "audit",
            chain_key="0" * 32,
            flush_on_sigterm=False,
        )
        with closing(audit):
            log.info("hello")
            audit.logger.debug("seen")
        for handler in handlers:
            handler.close()
    assert [one.topic for one in logs] == ["own", "disk", "spool", "audit"]
    assert logs[0].value["own"] is True


def test_a_block_of_receipts_gets_them(log: logging.Logger) -> None:
    """So code that waits for its records runs without a broker."""
    with captured_logs() as logs, logs.handler("audit", logger=NAME) as handler:
        with handler.receipts() as receipts:
            log.info("one")
            log.info("two")
        assert [(one.topic, one.offset, one.message) for one in receipts] == [
            ("audit", 0, "one"),
            ("audit", 1, "two"),
        ]
    assert len(logs) == 2


def test_the_program_s_own_error_comes_out(log: logging.Logger) -> None:
    """Of its ``format``: a test that logs what can't be sent fails there."""

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    with captured_logs() as logs, logs.handler(logger=NAME, format=broken):
        with pytest.raises(ZeroDivisionError):
            log.info("hello")
        assert logs == []


def test_text_bytes_and_json(log: logging.Logger) -> None:
    """The value is what JSON says; other text is text; other bytes are bytes."""
    values: list[Any] = ['{"a": 1}', "plain", b"\xff"]
    with captured_logs() as logs:
        for value in values:
            with logs.handler(logger=NAME, serializer=lambda _, value=value: value):
                log.info("hello")
    assert [one.value for one in logs] == [{"a": 1}, "plain", b"\xff"]
    assert logs[1].data == b"plain"


def test_code_that_a_conversion_calls_may_log(log: logging.Logger) -> None:
    """Its records go where they always do, and not around in a circle."""

    def chatty(_record: logging.LogRecord) -> str:
        log.info("choosing")
        return "chosen"

    with captured_logs() as logs, logs.handler(chatty, logger=NAME):
        log.info("hello")
    assert [one.value["message"] for one in logs] == ["hello"]


def test_blocks_nest(log: logging.Logger) -> None:
    """Each gets all that is logged while it is open, and the last one puts all back."""
    before = RecordHandler.emit
    with captured_logs() as outer, outer.handler(logger=NAME):
        with captured_logs() as empty:
            pass
        log.info("1")
        with captured_logs() as inner:
            log.info("2")
        log.info("3")
    assert [one.value["message"] for one in outer] == ["1", "2", "3"]
    assert ([one.value["message"] for one in inner], empty) == (["2"], [])
    assert RecordHandler.emit is before


def test_loggers_are_left_as_they_were(log: logging.Logger) -> None:
    """Handlers and levels, of the root too; also if the test fails."""
    root = logging.getLogger()
    before = (root.level, root.handlers.copy(), log.level, log.handlers.copy())

    def fail() -> None:
        with captured_logs() as logs, logs.handler(level=7), logs.handler(logger=NAME, level=5):
            assert (root.level, log.level) == (7, 5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (root.level, root.handlers, log.level, log.handlers) == before


def test_a_signal_handler_may_log(log: logging.Logger) -> None:
    """On top of a record that is being captured."""
    interrupted: list[int] = []

    class Interrupts(CapturedLogs):
        def append(self, record: Any) -> None:
            if not interrupted:
                interrupted.append(1)
                signal.raise_signal(signal.SIGUSR1)
            super().append(record)

    before = signal.signal(signal.SIGUSR1, lambda *_: log.info("signal"))
    try:
        with captured_logs() as logs, logs.handler(logger=NAME):
            logs.__class__ = Interrupts
            log.info("main")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert {one.value["message"] for one in logs} == {"signal", "main"}


# -- FakeKafka -------------------------------------------------------------------------------------


@pytest.fixture
def kafka() -> Iterator[FakeKafka]:
    """Two brokers, with a topic of one partition."""
    with FakeKafka(brokers=2, topics={"logs": 1}) as running:
        yield running


QUICK: dict[str, Any] = {"linger_ms": 0, "retry_backoff_ms": 5, "retry_backoff_max_ms": 20}


@pytest.fixture
def handler(kafka: FakeKafka, log: logging.Logger) -> Iterator[KafkaHandler]:
    """A handler that ships there, on the logger."""
    with closing(KafkaHandler(kafka.addresses, "logs", **QUICK)) as made:
        log.addHandler(made)
        yield made
        kafka.recover()


def messages(kafka: FakeKafka, count: int) -> list[str]:
    """The messages that arrived, once there are so many."""
    return [one.value["message"] for one in kafka.arrived("logs", count)]


def test_records_arrive(kafka: FakeKafka, handler: KafkaHandler, log: logging.Logger) -> None:
    """As a consumer sees them, with partition and offset."""
    log.info("one")
    log.info("two")
    one, two = kafka.arrived("logs", 2)
    assert (one.value["message"], two.value["message"]) == ("one", "two")
    assert (one.partition, one.offset, two.offset) == (0, 0, 1)
    assert one.data is not None


def test_records_that_do_not_arrive_in_time(kafka: FakeKafka) -> None:
    """The error says how many are there."""
    with pytest.raises(TimeoutError, match="0 of 1 records arrived in topic 'logs'"):
        kafka.arrived("logs", 1, timeout=0.01)


FAULTS = {
    "down": lambda kafka: kafka.down(),
    "reject": lambda kafka: kafka.reject("logs", "NOT_ENOUGH_REPLICAS"),
    "reject by number": lambda kafka: kafka.reject("logs", 19),
    "stall": lambda kafka: kafka.stall(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_lasts_until_recover(
    kafka: FakeKafka, handler: KafkaHandler, log: logging.Logger, fault: str
) -> None:
    """A record that was logged meanwhile arrives then, once."""
    log.info("before")
    assert messages(kafka, 1) == ["before"]
    FAULTS[fault](kafka)
    log.info("meanwhile")
    assert handler.flush(0.05) == 1
    assert messages(kafka, 1) == ["before"]
    kafka.recover()
    assert messages(kafka, 2) == ["before", "meanwhile"]


def test_one_broker_may_be_down(kafka: FakeKafka, handler: KafkaHandler) -> None:
    """The others are reached, and it comes back where it was."""
    addresses = kafka.addresses
    kafka.down(1)
    kafka.down(1)
    assert kafka.call(lambda c: [broker.is_listening for broker in c.brokers]) == [True, False]
    kafka.up(1)
    kafka.up(1)
    assert kafka.call(lambda c: [broker.is_listening for broker in c.brokers]) == [True, True]
    assert kafka.addresses == addresses


async def test_a_rejection_may_be_for_some_requests_and_for_one_topic(kafka: FakeKafka) -> None:
    """Another topic is stored meanwhile."""
    kafka.reject("logs", "topic_authorization_failed", times=1)
    async with Producer(kafka.addresses, linger_ms=0) as producer:
        await producer.produce("other", "1")
        with pytest.raises(TopicAuthorizationFailed):
            await producer.produce("logs", "2")
        await producer.produce("logs", "3")
    assert [one.value for one in kafka.arrived("logs", 1)] == ["3"]


def test_a_misspelt_error_is_refused(kafka: FakeKafka) -> None:
    """With the names that there are."""
    with pytest.raises(ValueError, match=r"'NOPE' is no error of Kafka's; use one of .*NOT_ENOUGH"):
        kafka.reject("logs", "NOPE")


async def test_slow_brokers_store_at_once(kafka: FakeKafka) -> None:
    """The answer alone is late: a record is there before its delivery is known."""
    async with Producer(kafka.addresses, linger_ms=0) as producer:
        await producer.produce("logs", "1")
        kafka.slow(3600.0)
        pending = asyncio.ensure_future(producer.produce("logs", "2"))
        await asyncio.to_thread(kafka.arrived, "logs", 2)
        assert not pending.done()
        kafka.recover()
        await pending
    assert [one.value for one in kafka.arrived("logs")] == ["1", "2"]


def test_an_answer_that_is_lost_repeats_no_record(kafka: FakeKafka, log: logging.Logger) -> None:
    """The brokers know a batch that comes again by its sequence number, as Kafka does."""
    options = {**QUICK, "required_acks": -1}
    with closing(KafkaHandler(kafka.addresses, "logs", **options)) as handler:
        log.addHandler(handler)
        kafka.lose_answers()
        log.info("once")
        assert handler.flush(30.0) == 0
        assert messages(kafka, 1) == ["once"]


async def test_users_and_tls(tmp_path: Path) -> None:
    """Brokers may ask for both; a wrong password is refused."""
    authority = Authority.make("tests")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    broker = authority.issue("broker", ["127.0.0.1"])
    (tmp_path / "broker.pem").write_bytes(broker.pem + broker.key_pem())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "broker.pem")
    with FakeKafka(users={"ada": "secret"}, tls=tls) as kafka:
        secured: dict[str, Any] = {
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(tmp_path / "ca.pem"),
            "sasl_mechanism": "SCRAM-SHA-256",
            "sasl_username": "ada",
        }
        async with Producer(kafka.addresses, **secured, sasl_password="secret") as producer:
            assert (await (await producer.produce("new", "1"))).partition == 0
        with pytest.raises(AuthenticationFailed):
            async with Producer(kafka.addresses, **secured, sasl_password="guess") as producer:
                await producer.produce("new", "2")


# -- pytest ----------------------------------------------------------------------------------------

TESTS = """
import logging, sys, pytest
from contextlib import closing
from kiel_logging import KafkaHandler

log = logging.getLogger("shop")

@pytest.mark.parametrize("number", range(4))
def test_captured(kafka_logs, number):
    with kafka_logs.handler("orders", logger="shop", level="INFO"):
        log.info("paid", extra={"number": number})
    [record] = kafka_logs
    assert record.value["number"] == number
    assert log.handlers == [] and log.level == 0

def test_fake(fake_kafka):
    with closing(KafkaHandler(fake_kafka.addresses, "orders")) as handler:
        handler.handle(logging.makeLogRecord({"msg": "paid"}))
    assert fake_kafka.arrived("orders", 1)[0].value["message"] == "paid"
"""


PAGE = "\n".join(
    block.text for block in blocks(ROOT / "docs" / "testing.rst") if block.language == "python"
)


@pytest.mark.parametrize(
    "arguments", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["alone", "xdist"]
)
def test_the_fixtures_are_found(pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    """By the entry point, in each process of pytest-xdist, and by the documentation's examples."""
    pytester.makepyfile(test_fixtures=TESTS, test_page=PAGE)
    run = pytester.runpytest_subprocess("-p", "no:tornado", "-W", "error", *arguments)
    run.assert_outcomes(passed=5 + 2)


def test_an_unused_plugin_imports_nothing() -> None:
    """No handler, no Tornado, and no fake Kafka."""
    code = (
        "import sys, kiel_logging.pytest_plugin as _\n"
        "print(*(one for one in sys.modules if one.startswith(('kiel_logging.', 'tornado'))))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(shown.stdout.split()) == {"kiel_logging.constants", "kiel_logging.pytest_plugin"}
