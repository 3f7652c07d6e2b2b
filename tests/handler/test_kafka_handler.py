"""KafkaHandler: from `logger.info()` to the records that a broker stored."""

from __future__ import annotations

import io
import logging
import threading
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import (
    Collecting,
    MakeHandler,
    fail,
    logger_to,
    messages,
    refuse_everything,
    start_broker,
    stop_broker,
    stored,
    total,
)

# -- what arrives -------------------------------------------------------------------------------


def test_records_arrive_in_order(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Records are stored once, in the order of the calls."""
    handler = make_handler()
    logger = logger_to(handler)
    for number in range(500):
        logger.info("record %d", number)
    assert handler.flush() == 0
    assert messages(cluster) == [f"record {number}" for number in range(500)]


def test_the_fields_of_a_record(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A consumer finds what the LogRecord knew, the extras beside it."""
    handler = make_handler()
    logger_to(handler).warning("sold %s", "tea", extra={"user": {"id": 7}, "price": 2.5})
    handler.flush()
    (fields,) = stored(cluster)
    expected = {
        "level": "WARNING",
        "logger": "shop.cart",
        "message": "sold tea",
        "module": "test_kafka_handler",
        "function": "test_the_fields_of_a_record",
        "thread_name": "MainThread",
        "user": {"id": 7},
        "price": 2.5,
    }
    assert {name: fields[name] for name in expected} == expected
    assert {"time", "line", "path", "process", "process_name", "thread", "host"} <= fields.keys()


def test_the_timestamp_is_when_it_was_logged(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Not when it was sent."""
    handler = make_handler()
    record = logging.makeLogRecord({"msg": "old", "created": 1_600_000_000.25})
    handler.handle(record)
    handler.flush()
    assert cluster.records("logs")[0][0].timestamp == 1_600_000_000_250


def test_what_is_logged_later_changes_nothing(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Arguments and extras are made bytes of while the caller logs, not when they are sent."""
    handler = make_handler(linger_ms=60_000)
    cart = ["tea"]
    logger_to(handler).info("cart %s", cart, extra={"cart": cart})
    cart.append("milk")
    handler.flush()
    (fields,) = stored(cluster)
    assert (fields["message"], fields["cart"]) == ("cart ['tea']", ["tea"])


def test_a_filter_may_replace_the_record(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """As Python 3.12 allows; before, what a filter returns only counts as yes."""
    handler = make_handler()
    replacement = logging.makeLogRecord({"msg": "replaced"})
    handler.addFilter(lambda _record: replacement)
    logger_to(handler).info("original")
    handler.flush()
    plain = logging.StreamHandler(io.StringIO())
    plain.addFilter(lambda _record: replacement)
    logger_to(plain).info("original")
    assert messages(cluster) == [plain.stream.getvalue().strip()]


def test_the_record_is_left_as_it_was(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Other handlers get the same LogRecord: it must not change."""
    handler = make_handler(key_field="user")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        trace = (type(error), error, error.__traceback__)
    record = logging.LogRecord("n", 20, "p", 1, "%s", ("x",), trace, "f")
    record.user = {"id": 1}
    before = dict(record.__dict__)
    handler.handle(record)
    handler.flush()
    assert record.__dict__ == before
    assert len(stored(cluster)) == 1


# -- without a broker ---------------------------------------------------------------------------


def test_a_broker_that_goes_and_comes_back(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Nothing is lost or repeated over an outage."""
    handler = make_handler()
    logger = logger_to(handler)
    for turn in range(3):
        logger.info("%d up", turn)
        assert handler.flush() == 0
        stop_broker(cluster)
        logger.info("%d down", turn)
        start_broker(cluster)
    assert handler.flush() == 0
    assert messages(cluster) == [f"{n} {state}" for n in range(3) for state in ("up", "down")]


# -- what goes wrong ----------------------------------------------------------------------------


def test_logging_s_own_report_comes_once(
    make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """A serializer that always fails does not fill the console; every record is counted."""
    handler = make_handler(serializer=fail)
    for _ in range(20):
        logger_to(handler).info("x")
    assert handler.stats().dropped == {"unserialisable": {"INFO": 20}}
    assert capsys.readouterr().err.count("--- Logging error ---") == 1


def test_logging_s_own_report_can_be_printed(
    make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever records and errors hold: no escape sequences, no forged lines, no megabytes."""

    def fail_badly(_fields: Any) -> str:
        raise ValueError("\x1b[2J\nERROR forged " + "x" * 10**6)

    logger_to(make_handler(serializer=fail_badly)).info("\x1b]0;title\x07 %s", "y" * 10**6)
    (first, *others) = capsys.readouterr().err.splitlines()
    assert first == "--- Logging error ---"
    assert any("fail_badly" in line for line in others)
    assert all(line.isprintable() and line.startswith("    ") for line in others)
    assert sum(map(len, others)) < 10_000


def test_raise_exceptions_off(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """logging.raiseExceptions = False silences the report, as for any handler; the count stays."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = make_handler(serializer=fail)
    logger_to(handler).info("x")
    assert handler.stats().dropped == {"unserialisable": {"INFO": 1}}
    assert capsys.readouterr().err == ""


def test_arguments_that_do_not_fit_the_message(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """The record arrives all the same, and shows what was wrong."""
    handler = make_handler()
    logger_to(handler).info("%d items", "many")
    assert handler.flush() == 0
    assert "%d items" in messages(cluster)[0]


def test_a_record_that_is_too_large(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """It is cut to what a request may take, and says so; nothing is lost over its size."""
    handler = make_handler(max_request_size=4096)
    logger = logger_to(handler)
    for message in ("before", "x" * 10_000, "after"):
        logger.info(message)
    assert handler.flush() == 0
    before, cut, after = stored(cluster)
    assert (before["message"], after["message"]) == ("before", "after")
    assert cut["message"].startswith("xxx")
    assert cut["kiel_logging"]["cut"] == ["message"]
    assert cut["kiel_logging"]["original_size"] > 10_000
    stats = handler.stats()
    assert (stats.delivered, stats.failed, total(stats)) == (3, 0, 3)


@pytest.mark.parametrize("known", [False, True], ids=["a new topic", "a topic that is known"])
def test_a_value_of_the_users_that_is_too_large(
    cluster: FakeKafka, make_handler: MakeHandler, known: bool
) -> None:
    """A serializer's value is not cut: the record fails, and leaves no batch without a record."""
    handler = make_handler(
        max_request_size=4096, serializer=lambda fields: fields["message"], fallback=Collecting()
    )
    logger = logger_to(handler)
    for message in ("x" * 10_000, "small") if not known else ("small", "x" * 10_000, "small"):
        logger.info(message)
        assert handler.flush() == 0
    assert (handler.stats().failed, handler.stats().fallback) == (1, 1)
    handler.close()
    batches = [[record.value for record in batch.records] for batch in cluster.batches("logs")[0]]
    assert batches[: 1 + known] == [[b"small"]] * (1 + known)
    assert len(cluster.requests("Produce")) == len(batches)


def test_records_that_the_broker_refuses(
    cluster: FakeKafka, make_handler: MakeHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """They count as failed, and the reason is logged on our own logger."""
    refuse_everything(cluster)
    handler = make_handler()
    logger_to(handler).info("x")
    assert handler.flush() == 0
    stats = handler.stats()
    assert (stats.failed, total(stats)) == (1, 1)
    assert "1 messages for logs[0] were not delivered" in caplog.text
    assert "POLICY_VIOLATION" in caplog.text


# -- flush, close, stats ------------------------------------------------------------------------


def test_a_full_batch_does_not_wait_for_the_linger(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """batch_size records are worth sending at once."""
    handler = make_handler(linger_ms=20_000, batch_size=10)
    for number in range(10):
        logger_to(handler).info("%d", number)
    cluster.stored("logs", 10)
    assert len(messages(cluster)) == 10


def test_by_default_a_record_waits_only_behind_another(
    cluster: FakeKafka, make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause it is sent at once; the next one gathers others until the linger is over."""
    monkeypatch.setattr("kiel_logging.handler.options.AUTOMATIC_LINGER_MS", 60_000)
    handler = make_handler(linger_ms="automatic")
    logger_to(handler).info("x")
    cluster.stored("logs", 1)
    logger_to(handler).info("y")
    assert handler.stats().buffered == 1
    assert handler.flush() == 0
    assert messages(cluster) == ["x", "y"]


def test_close_delivers_what_is_buffered(cluster: FakeKafka) -> None:
    """Nothing that was logged before is lost, and nothing is written to stderr."""
    handler = KafkaHandler(cluster.addresses, "logs", linger_ms=20_000)
    logger_to(handler).info("x")
    handler.close()
    assert messages(cluster) == ["x"]
    cluster.wait(lambda c: c.until(lambda: c.brokers[0].open_connections == 0))


def test_logging_shutdown_while_others_log(
    cluster: FakeKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records that come while logging.shutdown() flushes are delivered by its close()."""
    handler = KafkaHandler(cluster.addresses, "logs", linger_ms=20_000)
    logger = logger_to(handler)
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    logger.info("early")
    flushing = threading.Thread(target=handler.flush)
    flushing.start()
    cluster.received("Produce")
    logger.info("late")
    cluster.on_broker(0, lambda broker: broker.resume())
    flushing.join()
    handler.close()
    assert messages(cluster) == ["early", "late"]
    assert capsys.readouterr().err == ""


def test_threads_keep_their_order(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Eight threads log at once; the records of each arrive once and in its order."""
    cluster.add_topic("spread", 3)
    handler = make_handler("spread", key_field="thread_name", batch_size=20)
    logger = logger_to(handler)

    def log() -> None:
        for n in range(100):
            logger.info("%d", n)

    threads = [threading.Thread(target=log, name=f"worker-{n}") for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handler.flush() == 0
    arrived: dict[str, list[str]] = {}
    for fields in stored(cluster, "spread"):
        arrived.setdefault(fields["thread_name"], []).append(fields["message"])
    assert arrived == {f"worker-{n}": [str(m) for m in range(100)] for n in range(8)}


def test_two_handlers_on_one_logger(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Each has its own thread, topic and level."""
    everything, errors = make_handler("logs"), make_handler("errors", level="ERROR")
    logger = logger_to(everything)
    logger.addHandler(errors)
    logger.info("fine")
    logger.error("broken")
    assert (everything.flush(), errors.flush()) == (0, 0)
    assert (messages(cluster), messages(cluster, "errors")) == (["fine", "broken"], ["broken"])


def test_repr_tells_the_state(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A debugger shows the state of a handler as it is."""
    stop_broker(cluster)
    handler = make_handler(level="INFO", buffer_records=1, close_timeout_ms=20)
    (address,) = cluster.addresses
    assert repr(handler) == (
        f"<KafkaHandler (INFO) to {address} open emitted=0 delivered=0 dropped=0 failed=0"
        " buffered=0 in_flight=0>"
    )
    handler.name = "kafka"
    logger_to(handler).info("x")
    logger_to(handler).info("y")
    assert repr(handler) == (
        f"<KafkaHandler kafka (INFO) to {address} open emitted=2 delivered=0 dropped=1 failed=0"
        " buffered=1 in_flight=0>"
    )
    handler.close()
    assert repr(handler) == (
        f"<KafkaHandler kafka (INFO) to {address} closed emitted=2 delivered=0 dropped=1 failed=1"
        " buffered=0 in_flight=0>"
    )


def test_stats_are_numbers(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Every count of records is shown, the bytes that wait included, and all are zero at first."""
    handler = make_handler(linger_ms=60_000)
    assert repr(handler.stats()) == (
        "Stats(emitted=0, delivered=0, dropped={}, failed=0, buffered=0, in_flight=0, memory=0,"
        " fallback=0, diverted=0, spooled=0, recovered=0, troubles=(), left_out={})"
    )
    logger_to(handler).info("x" * 1000)
    assert handler.stats().buffered == 1
    assert handler.stats().memory > 1000
    handler.flush()
    assert (handler.stats().delivered, handler.stats().memory) == (1, 0)


def test_records_in_flight(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Records that are sent and not acknowledged are counted apart from those that wait."""
    handler = make_handler()
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    logger_to(handler).info("x")
    cluster.received("Produce")
    assert (handler.stats().buffered, handler.stats().in_flight) == (0, 1)
    cluster.on_broker(0, lambda broker: broker.resume())
    assert handler.flush() == 0
    assert handler.stats().in_flight == 0
