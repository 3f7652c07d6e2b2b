"""The fallback: the handler that gets the LogRecords which did not reach Kafka."""

from __future__ import annotations

import gc
import logging
import logging.config
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.fallback import fallback_target
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import (
    HELD_BACK,
    QUICK,
    Collecting,
    MakeHandler,
    fail,
    logger_to,
    messages,
    refuse_everything,
    stop_broker,
)


@pytest.fixture(autouse=True)
def _no_names_are_left() -> Iterator[None]:
    """Names of handlers belong to the process: a test's are gone after it."""
    before = dict(logging._handlers)
    yield
    for name in set(logging._handlers) - set(before):
        del logging._handlers[name]


# -- which records it gets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overflow", "overflown"),
    [("drop_newest", [2, 3]), ("drop_oldest", [0, 1]), ("drop_lowest", [0, 1]), ("block", [2, 3])],
)
def test_what_overflows(make_handler: MakeHandler, overflow: str, overflown: list[int]) -> None:
    """The fallback gets what the policy drops: the new records, or those that gave way."""
    fallback = Collecting()
    handler = make_handler(
        **HELD_BACK, buffer_records=2, overflow=overflow, block_timeout_ms=1, fallback=fallback
    )
    levels = [logging.DEBUG, logging.DEBUG, logging.INFO, logging.INFO]
    records = [logging.makeLogRecord({"levelno": level}) for level in levels]
    for record in records:
        handler.handle(record)
    got = {id(record) for record in fallback.records}
    assert got == {id(records[number]) for number in overflown}
    assert handler.stats().fallback == 2


def test_what_the_broker_refuses(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Records that the producer gives up come back as the LogRecords that they were."""
    refuse_everything(cluster)
    fallback = Collecting()
    handler = make_handler(fallback=fallback)
    record = logging.makeLogRecord({"msg": "x", "levelno": logging.INFO})
    handler.handle(record)
    assert handler.flush() == 0
    assert len(fallback.records) == 1
    assert fallback.records[0] is record
    assert (handler.stats().failed, handler.stats().fallback) == (1, 1)


def test_what_close_gives_up(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """With the broker away all that is buffered goes to the fallback, in no time, once."""
    stop_broker(cluster)
    fallback = Collecting()
    handler = make_handler(**HELD_BACK, buffer_records=8, fallback=fallback, close_timeout_ms=20)
    logger = logger_to(handler)
    for number in range(8):
        logger.info("%d", number)
    handler.close()
    assert fallback.messages == [str(number) for number in range(8)]
    assert (handler.stats().failed, handler.stats().fallback) == (8, 8)


def test_what_arrives_is_not_for_the_fallback(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Each record goes to one of the two."""
    fallback = Collecting()
    handler = make_handler(fallback=fallback, key_maker=lambda fields: fields.get("key", "k"))
    logger = logger_to(handler)
    logger.info("fine")
    logger.info("wrong", extra={"key": [1]})
    handler.flush()
    assert (messages(cluster), fallback.messages) == (["fine"], ["wrong"])


def test_what_is_diverted_is_not_for_the_fallback(make_handler: MakeHandler) -> None:
    """Records that a serializer logs are about shipping: Kafka doesn't lack them."""
    fallback = Collecting()

    def chatty(_fields: Any) -> str:
        logger.warning("I was called")
        return "value"

    handler = make_handler(serializer=chatty, fallback=fallback)
    logger = logger_to(handler)
    logger.info("x")
    assert (fallback.records, handler.stats().diverted) == ([], 1)


def test_the_fallbacks_own_level_and_filters_hold(make_handler: MakeHandler) -> None:
    """As for any handler on a logger; what they keep back is lost."""
    fallback = Collecting(logging.WARNING)
    fallback.addFilter(lambda record: record.getMessage() != "secret")
    handler = make_handler(fallback=fallback, serializer=fail)
    logger = logger_to(handler)
    logger.info("low")
    assert handler.stats().fallback == 0
    logger.warning("secret")
    logger.warning("high")
    assert fallback.messages == ["high"]
    assert handler.stats().dropped == {"unserialisable": {"INFO": 1, "WARNING": 2}}


@pytest.fixture
def other() -> Iterator[FakeKafka]:
    """Another cluster, with a topic `rescued`."""
    with FakeKafka(topics={"rescued": 1}) as other:
        yield other


@pytest.fixture
def second(other: FakeKafka) -> Iterator[KafkaHandler]:
    """A handler that sends to the other cluster."""
    with closing(KafkaHandler(other.addresses, "rescued", **QUICK)) as second:
        yield second


def test_another_kafka_handler_from_the_loop_thread(
    cluster: FakeKafka, make_handler: MakeHandler, other: FakeKafka, second: KafkaHandler
) -> None:
    """One ships what the other gives up on its loop thread: that is no recursion."""
    stop_broker(cluster)
    first = make_handler(fallback=second, close_timeout_ms=20)
    logger_to(first).info("x")
    first.close()
    assert second.flush() == 0
    assert messages(other, "rescued") == ["x"]
    assert (first.stats().fallback, second.stats().diverted) == (1, 0)


# -- a fallback that does not work ---------------------------------------------------------------


@pytest.mark.parametrize("where", ["calling thread", "loop thread"])
def test_a_fallback_that_raises(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """The program and the loop thread notice nothing; it is reported once, and records count as
    lost."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fail()

    refuse_everything(cluster)
    handler = make_handler("logs" if where == "loop thread" else "{nothing}", fallback=Broken())
    for _ in range(3):
        logger_to(handler).info("x")
        assert handler.flush() == 0
    stats = handler.stats()
    assert (stats.failed + stats.dropped_total, stats.fallback) == (3, 0)
    assert capsys.readouterr().err.count("raised RuntimeError('no way')") == 1


@pytest.mark.parametrize("size", [1, 3])
def test_fallbacks_in_a_circle(
    make_handler: MakeHandler, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    """Each of a ring, or of one, refuses its own: records are dropped, and it is reported once."""
    ring = []
    for number in range(size):
        handler = make_handler(fallback=f"ring-{(number + 1) % size}", topic="{nothing}")
        handler.name = f"ring-{number}"
        ring.append(handler)
    for _ in range(3):
        logger_to(ring[0]).info("x")
    assert [handler.stats().emitted for handler in ring] == [3, *[0] * (size - 1)]
    assert ring[0].stats().fallback == 0
    told = capsys.readouterr().err
    text = f"fallback='ring-{1 % size}' takes no records: its own fallbacks lead back here"
    assert told.count(text) == 1


def test_a_chain_of_fallbacks(make_handler: MakeHandler) -> None:
    """Records that the second can't ship either go to the third."""
    last = Collecting()
    second = make_handler(fallback=last, topic="{nothing}")
    first = make_handler(fallback=second, topic="{nothing}")
    logger_to(first).info("x")
    assert last.messages == ["x"]
    assert (first.stats().fallback, second.stats().fallback) == (1, 1)


@pytest.mark.timeout(10)
def test_a_chain_that_ends_in_a_circle(
    make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """A handler before the ring asks in vain, but only so long."""
    a = make_handler(fallback="b", topic="{nothing}")
    b = make_handler(fallback="c", topic="{nothing}")
    c = make_handler(fallback="b", topic="{nothing}")
    a.name, b.name, c.name = "a", "b", "c"
    logger_to(a).info("x")
    assert a.stats().emitted == 1
    assert "lead back here" in capsys.readouterr().err


# -- how it is given -----------------------------------------------------------------------------


def test_by_name(make_handler: MakeHandler) -> None:
    """The name is looked up when it is first needed: the other may be made later."""
    handler = make_handler(fallback="later", topic="{nothing}")
    fallback = Collecting()
    fallback.name = "later"
    logger_to(handler).info("x")
    assert fallback.messages == ["x"]


def test_a_name_that_nobody_has(
    make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is reported once; when a handler gets the name, records go there."""
    handler = make_handler(fallback="nobody", topic="{nothing}")
    logger = logger_to(handler)
    logger.info("0")
    logger.info("1")
    told = capsys.readouterr().err
    assert told.count("fallback='nobody' takes no records: there is no handler of that name") == 1
    fallback = Collecting()
    fallback.name = "nobody"
    logger.info("2")
    assert fallback.messages == ["2"]
    assert handler.stats().fallback == 1


def configure(handlers: dict[str, Any], **options: Any) -> logging.Handler:
    """The handler "kafka" of a dictConfig."""
    kafka = {"class": "kiel_logging.KafkaHandler", "brokers": "localhost:1", "topic": "{nothing}"}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {**handlers, "kafka": {**kafka, **options}},
            "loggers": {"kiel_test.fallback": {"handlers": ["kafka"], "propagate": False}},
        }
    )
    (handler,) = logging.getLogger("kiel_test.fallback").handlers
    return handler


def file_handler(path: Path) -> dict[str, Any]:
    """A dictConfig's entry for a file."""
    return {"class": "logging.FileHandler", "filename": str(path)}


@pytest.mark.parametrize(
    ("name", "fallback"),
    [("file", "cfg://handlers.file"), ("file", "file"), ("zfile", "zfile")],
    ids=["reference", "name", "name of one that is made later"],
)
def test_in_a_dict_config(tmp_path: Path, name: str, fallback: str) -> None:
    """By a reference to a handler, or by its name; no logger need have it."""
    path = tmp_path / "lost.log"
    with closing(configure({name: file_handler(path)}, fallback=fallback)):
        gc.collect()
        logging.getLogger("kiel_test.fallback").warning("x")
        assert path.read_text() == "x\n"
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})


def test_a_reference_to_a_handler_that_is_made_later(tmp_path: Path) -> None:
    """dictConfig has not made it yet: the error says to give the name instead."""
    with pytest.raises(ValueError, match="Unable to configure handler 'kafka'") as failure:
        configure({"zfile": file_handler(tmp_path / "x")}, fallback="cfg://handlers.zfile")
    assert isinstance(failure.value.__cause__, ConfigurationError)
    assert "give its name instead of the 'cfg://' reference" in str(failure.value.__cause__)


@pytest.mark.parametrize("bad", [7, "", b"file", ["file"], logging.getLogger("x"), print])
def test_what_can_not_be_a_fallback(bad: Any) -> None:
    """It is refused, with what is allowed."""
    with pytest.raises(ConfigurationError, match=r"must be a logging\.Handler or the name of one"):
        fallback_target(bad)
