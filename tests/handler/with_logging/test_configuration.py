"""dictConfig, fileConfig, listen: once, again, and while the handler of before is at work."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import logging.config
import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import QUICK, messages, refuse_everything, stored

pytestmark = pytest.mark.usefixtures("logging_restored")


def configuration(cluster: FakeKafka, **options: Any) -> dict[str, Any]:
    """A program's configuration; `options` are the handler's."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "kafka": {
                "class": "kiel_logging.KafkaHandler",
                "brokers": cluster.addresses,
                "topic": "logs",
                **QUICK,
                **options,
            }
        },
        "root": {"handlers": ["kafka"], "level": "INFO"},
    }


def kafka_handler_of(name: str | None = None) -> KafkaHandler:
    """The one KafkaHandler of a logger, of the root logger by default."""
    [handler] = [h for h in logging.getLogger(name).handlers if isinstance(h, KafkaHandler)]
    return handler


def loop_threads() -> set[threading.Thread]:
    """The handlers' threads that run."""
    return {thread for thread in threading.enumerate() if thread.name == "kiel_logging"}


# -- without Kafka --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_garbage() -> None:
    """No loop thread finalises, within these tests, objects that other tests left.

    asyncio logs of tasks that were destroyed, and waits for logging's module lock to do so.
    dictConfig holds that while it waits for the loop thread.
    """
    gc.collect()


def test_a_start_without_kafka(cluster: FakeKafka) -> None:
    """dictConfig returns, and what is logged until the brokers are there arrives, in order."""
    cluster.on_broker(0, lambda broker: broker.stop())
    logging.config.dictConfig(configuration(cluster))
    for number in range(50):
        logging.info("%d", number)
    cluster.on_broker(0, lambda broker: broker.start())
    cluster.stored("logs", 50)
    assert messages(cluster) == [str(number) for number in range(50)]


def test_a_configuration_starts_no_thread(cluster: FakeKafka) -> None:
    """The first record does: a program that forks after it has configured logging may do so."""
    before = loop_threads()
    logging.config.dictConfig(configuration(cluster))
    assert loop_threads() == before
    logging.info("x")
    assert len(loop_threads() - before) == 1


# -- again ----------------------------------------------------------------------------------------


def test_the_same_configuration_again(cluster: FakeKafka) -> None:
    """The handler of before delivers all it has and is closed; the new one has its name."""
    config = configuration(cluster, linger_ms=60_000)
    logging.config.dictConfig(config)
    before, first = loop_threads(), kafka_handler_of()
    for number in range(10):
        logging.info("%d", number)
    logging.config.dictConfig(config)
    assert messages(cluster) == [str(number) for number in range(10)]
    assert loop_threads() == before
    second = kafka_handler_of()
    assert second is not first
    assert logging._handlers["kafka"] is second  # type: ignore[attr-defined]
    logging.info("10")
    second.flush()
    assert messages(cluster)[-1] == "10"
    assert (first.stats().delivered, second.stats().delivered) == (10, 1)


def test_the_loop_thread_may_report_while_dict_config_holds_the_lock(
    cluster: FakeKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    """dictConfig closes the handlers of before under logging's module lock. The loop thread
    must not wait for it, or both would until ``close_timeout_ms`` is over.
    """
    refuse_everything(cluster)
    still_running: list[set[threading.Thread]] = []
    before = loop_threads()

    def look() -> logging.Formatter:
        still_running.append(loop_threads() - before)
        return logging.Formatter()

    again = {**configuration(cluster), "formatters": {"looks": {"()": look}}}
    logging.config.dictConfig(configuration(cluster, linger_ms=60_000))
    first = kafka_handler_of()
    for number in range(3):
        logging.info("%d", number)
    logging.config.dictConfig(again)
    assert still_running == [set()]
    assert (first.stats().failed, first.stats().diverted) == (3, 3)
    said = capsys.readouterr().err
    assert "POLICY_VIOLATION" in said
    assert "3 log records did not reach Kafka" in said


def test_the_fallback_is_there_while_dict_config_closes_the_handler(
    cluster: FakeKafka, tmp_path: Path
) -> None:
    """dictConfig forgets the names of the handlers before it closes them: this one was known."""
    refuse_everything(cluster)
    path = tmp_path / "lost.log"
    config = configuration(cluster, linger_ms=60_000, fallback="file")
    config["handlers"]["file"] = {"class": "logging.FileHandler", "filename": str(path)}
    logging.config.dictConfig(config)
    for number in range(3):
        logging.info("%d", number)
    logging.config.dictConfig({"version": 1})
    assert path.read_text() == "0\n1\n2\n"


def test_threads_that_log_while_it_is_configured_again(cluster: FakeKafka) -> None:
    """All that they log arrives, whichever handler had it."""
    logging.config.dictConfig(configuration(cluster))
    handlers, enough = [kafka_handler_of()], threading.Event()
    logger, last = logging.getLogger("shop"), 0

    def log() -> None:
        nonlocal last
        while not enough.wait(0.000_1):  # the broker has the same GIL
            last += 1
            logger.info("%d", last)

    thread = threading.Thread(target=log)
    thread.start()
    for _ in range(2):
        cluster.stored("logs", cluster.call(lambda c: c.count("logs")) + 1)
        logging.config.dictConfig(configuration(cluster))
        handlers.append(kafka_handler_of())
    enough.set()
    thread.join()
    assert [handler.flush() for handler in handlers] == [0, 0, 0]
    ledgers = [handler.stats() for handler in handlers]
    arrived = [int(f["message"]) for f in stored(cluster) if f["logger"] == "shop"]
    assert Counter(arrived) == Counter(range(1, last + 1))
    assert len(stored(cluster)) == sum(stats.delivered for stats in ledgers)
    assert all(stats.emitted == stats.delivered for stats in ledgers)


def test_a_configuration_that_fails(cluster: FakeKafka) -> None:
    """The handler of before was closed by then, and has delivered; its loss would be silent."""
    logging.config.dictConfig(configuration(cluster, linger_ms=60_000))
    logging.info("before")
    with pytest.raises(ValueError, match="Unable to configure handler 'kafka'"):
        logging.config.dictConfig(configuration(cluster, batch_size=0))
    assert messages(cluster) == ["before"]


# -- its options ----------------------------------------------------------------------------------


def test_losses_are_told_though_existing_loggers_are_disabled(
    cluster: FakeKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is dictConfig's default, and no wish to lose records in silence."""
    refuse_everything(cluster)
    logging.config.dictConfig({**configuration(cluster), "disable_existing_loggers": True})
    logging.info("x")
    kafka_handler_of().flush()
    assert "POLICY_VIOLATION" in capsys.readouterr().err


def test_incremental(cluster: FakeKafka) -> None:
    """Changes the level of the handler that is there, which keeps what it has."""
    logging.config.dictConfig(configuration(cluster, linger_ms=60_000))
    handler = kafka_handler_of()
    logging.info("before")
    logging.config.dictConfig(
        {"version": 1, "incremental": True, "handlers": {"kafka": {"level": "ERROR"}}}
    )
    logging.info("too low")
    logging.error("after")
    assert kafka_handler_of() is handler
    handler.flush()
    assert messages(cluster) == ["before", "after"]


def test_filters_and_formatters(cluster: FakeKafka) -> None:
    """Are given by name, as for every handler."""
    config = configuration(cluster, filters=["shop"], formatter="loud")
    config["filters"] = {"shop": {"name": "shop"}}
    config["formatters"] = {"loud": {"format": "{message}!", "style": "{"}}
    logging.config.dictConfig(config)
    for name in ("shop.cart", "other"):
        logging.getLogger(name).info(name)
    kafka_handler_of().flush()
    assert messages(cluster) == ["shop.cart!"]


def test_attributes_of_a_factory(cluster: FakeKafka) -> None:
    """A handler may be made by a function; '.' sets its attributes."""
    config = configuration(cluster)
    config["handlers"]["kafka"] = {
        "()": lambda: KafkaHandler(cluster.addresses, "logs", **QUICK),
        ".": {"terminator": "unused"},
    }
    logging.config.dictConfig(config)
    logging.info("x")
    assert kafka_handler_of().flush() == 0
    assert kafka_handler_of().terminator == "unused"  # type: ignore[attr-defined]


def test_options_that_refer_to_the_configuration_and_to_python(
    cluster: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """'cfg://' and 'ext://' stand for values that a text file can't hold, whatever they are of."""
    monkeypatch.setenv("KAFKA_BROKERS", ",".join(cluster.addresses))
    config = configuration(
        cluster,
        brokers="cfg://brokers",
        serializer="ext://json.dumps",
        fields="cfg://about",
        headers={"level": "levelname"},
        redact=["password"],
    )
    config["brokers"] = os.environ["KAFKA_BROKERS"]
    config["about"] = {"service": "shop", "tags": ["a", "b"]}
    logging.config.dictConfig(config)
    logging.info("x", extra={"user": {"password": "secret", "id": 7}})
    assert kafka_handler_of().flush() == 0
    [fields] = stored(cluster)
    assert (fields["service"], fields["tags"]) == ("shop", ["a", "b"])
    assert fields["user"] == {"password": "[redacted]", "id": 7}


# -- other ways -----------------------------------------------------------------------------------


FILE_CONFIG = """
[loggers]
keys=root
[handlers]
keys=kafka
[formatters]
keys=loud
[logger_root]
level=INFO
handlers=kafka
[handler_kafka]
class=kiel_logging.KafkaHandler
level=WARNING
formatter=loud
args=({brokers!r}, "logs")
kwargs={options!r}
[formatter_loud]
format=%(message)s!
"""


@pytest.fixture
def file_config(cluster: FakeKafka, tmp_path: Path) -> Path:
    """A file for fileConfig."""
    path = tmp_path / "logging.ini"
    path.write_text(FILE_CONFIG.format(brokers=",".join(cluster.addresses), options=QUICK))
    return path


def test_file_config(cluster: FakeKafka, file_config: Path) -> None:
    """The brokers and the topic are the arguments, all else are keywords; a second one closes the
    handler of the first, as dictConfig does."""
    logging.config.fileConfig(file_config, disable_existing_loggers=False)
    logging.info("too low")
    logging.warning("x")
    first = kafka_handler_of()
    assert first.name == "kafka"
    logging.config.fileConfig(file_config, disable_existing_loggers=False)
    assert messages(cluster) == ["x!"]
    assert "closed" in repr(first)


@pytest.fixture
def listener() -> Iterator[Any]:
    """logging.config.listen() on a port that is free."""
    thread: Any = logging.config.listen(0)
    thread.start()
    assert thread.ready.wait(30)
    yield thread
    logging.config.stopListening()
    with contextlib.suppress(OSError):  # or it notices a second later, if not before
        socket.create_connection(("localhost", thread.port)).close()
    thread.join()


def send(listener: Any, config: dict[str, Any]) -> None:
    """Send a configuration as `logging.config.listen` wants it, and wait until it is in force."""
    data = json.dumps(config).encode()
    listener.ready.clear()
    with socket.create_connection(("localhost", listener.port)) as connection:
        connection.sendall(struct.pack(">L", len(data)) + data)
        assert listener.ready.wait(30)


def test_listen(cluster: FakeKafka, listener: Any) -> None:
    """A configuration may come over a socket, again and again, and is put in force on a thread."""
    for turn in ("first", "second"):
        send(listener, configuration(cluster, linger_ms=60_000, fields={"turn": turn}))
        logging.info("x")
    kafka_handler_of().flush()
    assert [fields["turn"] for fields in stored(cluster)] == ["first", "second"]


def test_basic_config(cluster: FakeKafka) -> None:
    """Gives every handler its format; force=True closes those of before."""
    handler = KafkaHandler(cluster.addresses, "logs", **{**QUICK, "linger_ms": 60_000})
    logging.basicConfig(handlers=[handler], level="INFO", force=True, format="%(message)s!")
    logging.info("x")
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    assert messages(cluster) == ["x!"]
    assert "closed" in repr(handler)
