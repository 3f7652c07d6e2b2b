"""Losses are reported on stderr, to `on_error`, and in the stream itself once all is well."""

from __future__ import annotations

import logging
import re
import threading
from typing import Any

import pytest

from kiel_logging.errors import BufferFull, DeliveryError, InvalidTopic, ProducerClosed
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import (
    HELD_BACK,
    Collecting,
    MakeHandler,
    fail,
    logger_to,
    messages,
    refuse_everything,
    start_broker,
    stop_broker,
    stored,
    summaries,
    total,
)

MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
SPAN = f"from {MOMENT} to {MOMENT}"


def lose_some(cluster: FakeKafka, logger: logging.Logger) -> None:
    """Log two records that are kept and three that are dropped, with the broker away."""
    stop_broker(cluster)
    for level in ("INFO", "INFO", "DEBUG", "ERROR", "DEBUG"):
        logger.log(logging.getLevelName(level), "x")
    start_broker(cluster)


# -- in the stream -------------------------------------------------------------------------------


def test_the_summary_in_the_stream(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Once records are delivered again, one record says what the topic lacks; it counts itself."""
    handler = make_handler(**HELD_BACK, buffer_records=2)
    lose_some(cluster, logger_to(handler))
    handler.flush()
    cluster.stored("logs", 3)
    (summary,) = summaries(cluster)
    assert stored(cluster)[-1] == summary
    assert (summary["level"], summary["logger"]) == ("WARNING", "kiel_logging")
    assert re.fullmatch(f"dropped 3: DEBUG 2, ERROR 1, buffer_full, {SPAN}", summary["message"])
    assert summary["dropped"] == {"buffer_full": {"DEBUG": 2, "ERROR": 1}}
    handler.close()
    assert (handler.stats().emitted, handler.stats().delivered) == (6, 3)  # as what is stored


@pytest.mark.parametrize(
    "options",
    [
        {"format": "ecs"},
        {"format": "gelf"},
        {"format": "otel"},
        {"format": "text"},
        {"rename": {"message": "msg"}},
        {"level": "ERROR"},
    ],
    ids=str,
)
def test_the_summary_is_made_as_other_records(
    cluster: FakeKafka, make_handler: MakeHandler, options: dict[str, Any]
) -> None:
    """It has the format of the stream, and no level of the handler's keeps it back."""
    handler = make_handler(**HELD_BACK, buffer_records=1, **options)
    logger = logger_to(handler)
    logger.error("kept")
    logger.error("dropped")
    handler.close()
    kept, summary = (record.value for record in cluster.records("logs")[0])
    assert b"dropped 1: ERROR 1, buffer_full" in summary
    assert kept[:5] == summary[:5] or options["format"] == "text"


def test_each_topic_is_told_what_it_lacks(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A topic that lost nothing gets no summary."""
    handler = make_handler("logs.{levelname}", **HELD_BACK, buffer_records=2)
    for topic in ("logs.INFO", "logs.DEBUG", "logs.ERROR"):
        cluster.add_topic(topic, 1)
    lose_some(cluster, logger_to(handler))
    handler.close()
    told = {
        level: [summary["dropped"] for summary in summaries(cluster, f"logs.{level}")]
        for level in ("DEBUG", "INFO", "ERROR")
    }
    assert told == {
        "DEBUG": [{"buffer_full": {"DEBUG": 2}}],
        "INFO": [],
        "ERROR": [{"buffer_full": {"ERROR": 1}}],
    }


def test_each_topic_is_told_what_gave_way(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A record that was driven out is missing in its own topic, not in that of the newcomer."""
    for topic in ("logs.INFO", "logs.ERROR"):
        cluster.add_topic(topic, 1)
    handler = make_handler(
        "logs.{levelname}", **HELD_BACK, buffer_records=1, overflow="drop_oldest"
    )
    logger = logger_to(handler)
    logger.info("x")
    logger.error("x")
    handler.close()
    (summary,) = summaries(cluster, "logs.INFO")
    assert summary["dropped"] == {"buffer_full": {"INFO": 1}}
    assert summaries(cluster, "logs.ERROR") == []


def test_records_that_could_not_be_converted(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """They are missing in the stream as well, with their reason."""
    handler = make_handler(key_maker=lambda fields: fields.get("key", "k"))
    logger = logger_to(handler)
    logger.info("wrong", extra={"key": [1]})
    logger.info("right")
    handler.close()
    (summary,) = summaries(cluster)
    assert summary["dropped"] == {"invalid_key": {"INFO": 1}}


def test_records_that_the_producer_gave_up(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """They are in the summary too, under the class of their error."""
    handler = make_handler(max_request_size=4096, serializer=lambda fields: fields["message"])
    logger = logger_to(handler)
    logger.error("x" * 10_000)
    logger.info("fits")
    handler.close()
    kept, summary = (record.value for record in cluster.records("logs")[0])
    assert kept == b"fits"
    assert re.fullmatch(f"dropped 1: ERROR 1, RecordTooLarge, {SPAN}", summary.decode())


def test_without_losses_there_is_no_summary(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """An outage that the buffer outlasts is no news."""
    handler = make_handler()
    stop_broker(cluster)
    logger_to(handler).info("x")
    start_broker(cluster)
    handler.close()
    assert (len(messages(cluster)), summaries(cluster)) == (1, [])


def test_there_is_no_summary_while_nothing_is_delivered(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """No consumer could read it."""
    stop_broker(cluster)
    handler = make_handler(buffer_records=1, close_timeout_ms=20)
    for _ in range(3):
        logger_to(handler).info("x")
    handler.close()
    stats = handler.stats()
    assert (stats.emitted, stats.failed, stats.dropped_total) == (3, 1, 2)


def test_a_summary_that_can_not_be_made(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key maker that fails on it costs the summary, and is reported; nothing else is lost."""
    handler = make_handler(**HELD_BACK, buffer_records=2, key_maker=lambda fields: fields["user"])
    logger = logger_to(handler)
    for _ in range(3):
        logger.info("x", extra={"user": "ann"})
    handler.close()
    stats = handler.stats()
    assert (stats.emitted, stats.delivered, stats.dropped_total) == (3, 2, 1)
    assert "no summary for 'logs': KeyError('user')" in capsys.readouterr().err


def test_a_summary_that_is_not_delivered(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Its loss is no news: there is no summary of the summary."""
    for topic in ("shop", "lost"):
        cluster.add_topic(topic, 1)
    handler = make_handler("{topic}", **HELD_BACK, buffer_records=2)
    logger = logger_to(handler)
    for topic in ("shop", "shop", "lost"):
        logger.info("x", extra={"topic": topic})
    refuse_everything(cluster, "lost")
    handler.flush()
    logger.info("x", extra={"topic": "shop"})
    handler.close()
    stats = handler.stats()
    assert (stats.emitted, stats.delivered, stats.failed, stats.dropped_total) == (5, 3, 1, 1)
    assert summaries(cluster, "shop") == []


def test_a_summary_that_has_to_make_room(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Another summary reports the same losses; the lost summary itself is not reported."""
    for topic in ("first", "second"):
        cluster.add_topic(topic, 1)
    own: list[str] = []

    def flood_before_the_second(fields: dict[str, Any], record: logging.LogRecord) -> Any:
        if record.name == "kiel_logging":
            own.append(record.getMessage())
            if len(own) == 2:  # the other summary is queued, and nothing was taken since
                flood = threading.Thread(target=log, args=("logs", "logs"))
                flood.start()
                flood.join()
        return fields

    def log(*topics: str) -> None:
        for topic in topics:
            logger.info("x", extra={"topic": topic})

    handler = make_handler(
        "{topic}",
        **HELD_BACK,
        buffer_records=2,
        overflow="drop_oldest",
        format=flood_before_the_second,
    )
    logger = logger_to(handler)
    log("first", "second", "logs", "logs")
    handler.flush()
    handler.close()
    assert handler.stats().dropped["buffer_full"]["WARNING"] == 1
    for topic in ("first", "second"):
        (summary,) = summaries(cluster, topic)
        assert summary["dropped"] == {"buffer_full": {"INFO": 1}}


# -- on stderr -----------------------------------------------------------------------------------


def test_drops_are_told_on_stderr(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line with their levels and reasons: not for every record."""
    handler = make_handler(**HELD_BACK, buffer_records=2)
    lose_some(cluster, logger_to(handler))
    handler.close()
    line, lost = capsys.readouterr().err.splitlines()
    assert re.fullmatch(f"kiel_logging: dropped 3: DEBUG 2, ERROR 1, buffer_full, {SPAN}", line)
    assert lost.startswith("kiel_logging: 3 log records did not reach Kafka: Stats(")


def test_drops_are_told_while_the_handler_is_open(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Soon after the first, for who looks at the console while it happens."""
    told = threading.Event()
    heard: list[str] = []

    def listen(error: Exception, _records: int) -> None:
        heard.append(str(error))
        told.set()

    stop_broker(cluster)
    handler = make_handler(buffer_records=1, on_error=listen, close_timeout_ms=20)
    for _ in range(3):
        logger_to(handler).info("x")
    assert told.wait(30)
    assert heard[0].startswith("dropped 2: INFO 2, buffer_full")


def test_drops_are_told_to_the_internal_logger(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is one, in place of stderr."""
    internal = Collecting()
    handler = make_handler(
        **HELD_BACK, buffer_records=2, internal_logger=logger_to(internal, "internal")
    )
    lose_some(cluster, logger_to(handler))
    handler.close()
    (told,) = internal.records
    assert told.getMessage().startswith("dropped 3: DEBUG 2, ERROR 1, buffer_full")
    assert (told.levelname, told.name) == ("WARNING", "internal")
    assert "dropped 3:" not in capsys.readouterr().err


# -- on_error ------------------------------------------------------------------------------------


class Listener:
    """An on_error that remembers its calls, and on which thread they came."""

    def __init__(self) -> None:
        self.calls: list[tuple[Exception, int]] = []
        self.threads: list[str] = []

    def __call__(self, error: Exception, records: int) -> None:
        """What KafkaHandler calls."""
        self.calls.append((error, records))
        self.threads.append(threading.current_thread().name)

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """The class of each error, and the number of records."""
        return [(type(error).__name__, records) for error, records in self.calls]


NOT_CONVERTED: dict[str, tuple[dict[str, Any], str, type[Exception]]] = {
    "serializer": ({"serializer": fail}, "unserialisable", RuntimeError),
    "value": ({"serializer": lambda _fields: 7}, "unserialisable", TypeError),
    "key_maker": ({"key_maker": fail}, "unserialisable", RuntimeError),
    "key": ({"key_maker": lambda _fields: [1]}, "invalid_key", TypeError),
    "format": ({"format": fail}, "unserialisable", RuntimeError),
    "text": ({"format": lambda _fields, _record: 7}, "unserialisable", TypeError),
    "before_send": ({"before_send": fail}, "unserialisable", RuntimeError),
    "no mapping": ({"before_send": lambda _fields: ["x"]}, "unserialisable", TypeError),
    "no field": ({"topic": "{nothing}"}, "invalid_topic", InvalidTopic),
    "no name": ({"topic": lambda _record: "a/b"}, "invalid_topic", InvalidTopic),
    "None": ({"topic": lambda _record: None}, "invalid_topic", InvalidTopic),
}


@pytest.mark.parametrize(
    ("options", "reason", "kind"), NOT_CONVERTED.values(), ids=NOT_CONVERTED.keys()
)
def test_a_record_that_can_not_be_converted(
    make_handler: MakeHandler,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    reason: str,
    kind: type[Exception],
) -> None:
    """It is dropped and counted. At once, on the thread that logs, the fallback gets the very
    record, on_error the error itself, and stderr logging's own report."""
    listener, fallback = Listener(), Collecting()
    handler = make_handler(on_error=listener, fallback=fallback, **options)
    record = logging.makeLogRecord({"msg": "x", "levelno": logging.INFO})
    handler.handle(record)
    stats = handler.stats()
    assert (stats.dropped, stats.left_out) == ({reason: {"INFO": 1}}, {})
    assert (stats.fallback, total(stats)) == (1, 1)
    assert "--- Logging error ---" in capsys.readouterr().err
    ((error, records),) = listener.calls
    assert isinstance(error, kind)
    assert (records, listener.threads) == (1, ["MainThread"])
    assert len(fallback.records) == 1
    assert fallback.records[0] is record


def test_on_error_for_a_full_buffer(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """It is called with BufferFull and the number of drops, whenever these are reported."""
    listener = Listener()
    handler = make_handler(**HELD_BACK, buffer_records=2, on_error=listener)
    lose_some(cluster, logger_to(handler))
    handler.close()
    ((error, records),) = listener.calls
    assert isinstance(error, BufferFull)
    assert (records, listener.threads) == (3, ["kiel_logging"])
    assert str(error).startswith("dropped 3: DEBUG 2, ERROR 1, buffer_full")


def test_on_error_counts_only_the_full_buffer_as_such(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Records that could not be converted were reported one by one, and are not reported twice."""
    listener = Listener()
    handler = make_handler(**HELD_BACK, buffer_records=1, topic="{topic}", on_error=listener)
    logger = logger_to(handler)
    for topic in ("a/b", "logs", "logs"):
        logger.info("x", extra={"topic": topic})
    handler.close()
    assert listener.kinds == [("InvalidTopic", 1), ("BufferFull", 1)]


def test_on_error_for_what_the_broker_refuses(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """It is called on the loop thread, with the error of each record that it costs."""
    refuse_everything(cluster)
    listener = Listener()
    handler = make_handler(**HELD_BACK, on_error=listener)
    for _ in range(3):
        logger_to(handler).info("x")
    assert handler.flush() == 0
    assert all(isinstance(error, DeliveryError) for error, _ in listener.calls)
    assert [records for _, records in listener.calls] == [1, 1, 1]
    assert listener.threads == ["kiel_logging"] * 3


def test_what_close_gives_up_is_told(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """All records that were left are reported, those with the producer included."""
    stop_broker(cluster)
    listener = Listener()
    handler = make_handler(**HELD_BACK, close_timeout_ms=20, buffer_records=8, on_error=listener)
    for _ in range(5):
        logger_to(handler).info("x")
    handler.close()
    assert sum(records for _, records in listener.calls) == 5
    assert all(isinstance(error, ProducerClosed) for error, _ in listener.calls)
    assert "kiel_logging: 5 log records did not reach Kafka" in capsys.readouterr().err
    assert (handler.stats().failed, total(handler.stats())) == (5, 5)


@pytest.mark.parametrize("options", [{"serializer": fail}, {}], ids=["calling", "loop thread"])
def test_an_on_error_that_raises(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
) -> None:
    """That is reported and goes no further: the program and the loop thread don't notice."""
    refuse_everything(cluster)
    handler = make_handler(on_error=fail, **options)
    for _ in range(3):
        logger_to(handler).info("x")
        handler.flush()
    assert (handler.stats().buffered, handler.stats().in_flight) == (0, 0)
    told = capsys.readouterr().err
    assert told.count("on_error raised RuntimeError('no way')") == 1
