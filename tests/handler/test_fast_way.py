"""Compiled code emits the records that need no care; Python emits all others."""

from __future__ import annotations

import copy
import enum
import json
import logging
import sys
import threading
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.handler.buffer import OVERFLOW
from kiel_logging.handler.recursion import as_shipping
from kiel_logging.record.item import Item
from kiel_logging.testing import FakeKafka
from tests.handler.process.child import run_by_hand, said
from tests.handler.shipped import HELD_BACK, MakeHandler, logger_to, messages, stored
from tests.record.fast import needs_c
from tests.support.waiting import until

pytestmark = needs_c


def queued(handler: KafkaHandler) -> list[Any]:
    """Return the items in the buffer of a handler that is held back; they stay there."""
    queue = handler._lifecycle.pipeline.buffer.quick_queue
    assert queue is not None
    return list(queue)


def is_fast(handler: KafkaHandler) -> bool:
    """Whether the record that was queued last needed no care."""
    return not isinstance(queued(handler)[-1], Item)


def plain_record(msg: str = "x", **attributes: Any) -> logging.LogRecord:
    """Return an INFO as a logger makes it, with these attributes."""
    record = logging.LogRecord("shop", logging.INFO, "/a.py", 7, msg, (), None, "function")
    record.__dict__.update(attributes)
    return record


@pytest.fixture
def handler(make_handler: MakeHandler) -> KafkaHandler:
    """Return a handler that holds back what it gets."""
    return make_handler(**HELD_BACK)


# -- records that need no care --------------------------------------------------------------------


def test_a_plain_record_is_counted_and_queued(handler: KafkaHandler) -> None:
    """Its item takes the memory that the handler counts."""
    logger_to(handler).warning("order %d", 7, extra={"user": "ada"})
    assert is_fast(handler)
    stats = handler.stats()
    assert (stats.emitted, stats.buffered) == (1, 1)
    assert stats.memory == queued(handler)[0].memory > 0


@pytest.mark.parametrize("extra", [{}, {"it": object()}], ids=["fast", "careful"])
def test_handle_returns_what_logging_returns(handler: KafkaHandler, extra: dict[str, Any]) -> None:
    """The record from Python 3.12 on, True before."""
    record = plain_record(**extra)
    assert handler.handle(record) is (record if sys.version_info >= (3, 12) else True)


def test_all_arrive_in_order(make_handler: MakeHandler, cluster: FakeKafka) -> None:
    """Records that need care keep their place between the others."""
    handler = make_handler()
    logger = logger_to(handler)
    for number in range(100):
        logger.info("%d", number, extra={"it": object()} if number % 7 == 0 else {})
    assert handler.flush() == 0
    assert messages(cluster) == [str(number) for number in range(100)]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_the_reader_is_woken(make_handler: MakeHandler, batch_size: int) -> None:
    """When the queue stops being empty, and when a batch is full."""
    handler = make_handler(linger_ms=60_000, batch_size=batch_size)
    buffer, wakes = handler._lifecycle.pipeline.buffer, list[bool]()
    buffer._wake = wakes.append
    logger = logger_to(handler)
    for _ in range(6):
        logger.info("x")
    expected = {1: [True], 2: [False, True], 5: [False, True]}
    assert wakes == expected[batch_size]


def test_the_reader_is_woken_again_when_waking_it_raises(handler: KafkaHandler) -> None:
    """An exception of a signal handler leaves no queued record without a reader."""
    buffer, wakes = handler._lifecycle.pipeline.buffer, list[bool]()

    def wake(full: bool) -> None:
        wakes.append(full)
        if len(wakes) == 1:
            raise KeyboardInterrupt

    buffer._wake = wake
    with pytest.raises(KeyboardInterrupt):
        logger_to(handler).info("x")
    assert wakes == [False, True]
    assert len(queued(handler)) == 1


def test_a_record_beside_one_that_needs_care_wakes_the_reader(make_handler: MakeHandler) -> None:
    """Whichever comes first."""
    handler = make_handler()
    logger = logger_to(handler)
    logger.info("warm")
    assert handler.flush() == 0
    logger.info("care", extra={"it": object()})
    thread = threading.Thread(target=logger.info, args=("plain",))
    thread.start()
    thread.join()
    until(lambda: handler.stats().delivered == 3)


# -- what needs care ------------------------------------------------------------------------------


class Deaf(logging.Filter):
    """Rejects the record "quiet"."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.getMessage() != "quiet"


def test_a_formatter_and_a_crowded_buffer_need_care(handler: KafkaHandler) -> None:
    """Python converts the record, or looks closely whether there is room."""
    logger = logger_to(handler)
    logger.info("plain")
    assert is_fast(handler)
    handler._lifecycle.pipeline.buffer.counts.crowded = True
    logger.info("crowded")
    assert b"crowded" in queued(handler)[1].record.value
    handler.setFormatter(logging.Formatter("F %(message)s"))
    logger.info("formatted")
    assert not is_fast(handler)
    assert b"F formatted" in queued(handler)[2].record.value


def test_filters_are_asked(handler: KafkaHandler) -> None:
    """A record that passes them needs no care."""
    handler.addFilter(Deaf())
    assert not handler.handle(plain_record("quiet"))
    assert queued(handler) == []
    assert handler.handle(plain_record("loud"))
    assert is_fast(handler)


@pytest.mark.parametrize("log", [lambda logger: logger.info("x"), None], ids=["direct", "context"])
def test_a_record_that_shipping_logs_is_diverted(make_handler: MakeHandler, log: Any) -> None:
    """Also one that the context of another record logs."""

    def context() -> dict[str, Any]:
        logger.info("by the context")
        return {"request": 7}

    handler = make_handler(context=None if log else context, **HELD_BACK)
    logger = logger_to(handler)
    if log:
        as_shipping(log, logger)
    else:
        logger.info("x")
    assert len(queued(handler)) == (0 if log else 1)
    assert handler.stats().diverted == 1


def test_a_handler_that_is_opened_again(make_handler: MakeHandler) -> None:
    """Compiled code emits into its new buffer."""
    handler = make_handler()
    handler.close()
    logger = logger_to(handler)
    logger.info("x")
    assert handler._emit_fast(plain_record("y"))
    assert handler.flush() == 0
    assert handler.stats().delivered == 2


RECORDS: dict[str, dict[str, Any]] = {
    "an exception": {"exc_info": (ValueError, ValueError("x"), None)},
    "an object": {"user": object()},
    "a message of an object": {"msg": object()},
    "a name that is taken": {"message": "x"},
}


@pytest.mark.parametrize("attributes", RECORDS.values(), ids=RECORDS)
def test_a_record_that_needs_care(handler: KafkaHandler, attributes: dict[str, Any]) -> None:
    """Python converts and queues it."""
    handler.handle(plain_record(**attributes))
    assert len(queued(handler)) == 1
    assert not is_fast(handler)


@pytest.mark.parametrize("overflow", OVERFLOW)
def test_each_policy_has_compiled_conversion(make_handler: MakeHandler, overflow: str) -> None:
    """Policies that choose among the queued records queue in Python."""
    handler = make_handler(overflow=overflow, **HELD_BACK)
    assert handler._emit_fast(plain_record()) == (overflow in ("drop_newest", "block"))
    logger_to(handler).info("x")
    assert not isinstance(handler._lifecycle.pipeline.buffer.take(5)[-1], Item)


# -- subclasses -----------------------------------------------------------------------------------


class WithMore(KafkaHandler):
    """Has a method more, and no other way."""

    def describe(self) -> str:
        """Return its name."""
        return f"to {self.name}"


class WithEmit(KafkaHandler):
    """Changes records before they are emitted."""

    def emit(self, record: logging.LogRecord) -> None:
        record.msg = str(record.msg).upper()
        super().emit(record)


class WithHandle(KafkaHandler):
    """Handles each record twice."""

    def handle(self, record: logging.LogRecord) -> Any:
        super().handle(record)
        return super().handle(record)


class WithFilter(KafkaHandler):
    """Has a filter without a list of them."""

    def filter(self, record: logging.LogRecord) -> Any:
        return record.getMessage() != "quiet" and super().filter(record)


class WithFormat(KafkaHandler):
    """Makes the text of messages by itself."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{record.getMessage()}>"


@pytest.mark.parametrize(
    ("kind", "expected", "fast"),
    [
        (WithMore, ["quiet", "loud"], True),
        (WithEmit, ["QUIET", "LOUD"], True),
        (WithHandle, ["quiet", "quiet", "loud", "loud"], True),
        (WithFilter, ["loud"], True),
        (WithFormat, ["<quiet>", "<loud>"], False),
    ],
)
def test_a_subclass_has_its_own_way(
    cluster: FakeKafka, kind: type[KafkaHandler], expected: list[str], fast: bool
) -> None:
    """Its overrides are called, and cost no record the fast way but a ``format()``."""
    handler = kind(cluster.addresses, "logs", **HELD_BACK)
    for message in ("quiet", "loud"):
        logger_to(handler).info(message)
    found = [json.loads(item.record.value)["message"] for item in queued(handler)]
    assert (found, is_fast(handler)) == (expected, fast)
    handler.close()


def test_the_format_of_a_subclass_makes_texts_too(cluster: FakeKafka) -> None:
    """With ``format="text"`` its result is the value."""
    handler = WithFormat(cluster.addresses, "logs", format="text", **HELD_BACK)
    logger_to(handler).info("x")
    assert queued(handler)[0].record.value == b"<x>"
    handler.close()


def test_an_emit_that_a_test_has_put_in_its_place(
    handler: KafkaHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called, as unittest.mock has it."""
    seen: list[logging.LogRecord] = []
    monkeypatch.setattr(handler, "emit", seen.append)
    logger_to(handler).info("x")
    assert [record.getMessage() for record in seen] == ["x"]
    assert queued(handler) == []


def test_a_copy_has_its_own_formatter(handler: KafkaHandler) -> None:
    """Its attributes count, and not those of the original."""
    other = copy.copy(handler)
    other.setFormatter(logging.Formatter("F %(message)s"))
    other.handle(plain_record())
    assert b"F x" in queued(handler)[0].record.value


# -- its life -------------------------------------------------------------------------------------


def test_a_forked_child_has_its_own(cluster: FakeKafka) -> None:
    """Its records go into its own buffer, from compiled code as well."""
    code = """
handler = make(linger_ms=60_000)
log.info("parent")
handler.flush()
def work():
    log.info("child")
    [item] = handler._lifecycle.pipeline.buffer.take(2)
    say(child=handler.stats().emitted, fast=not isinstance(item, tuple))
wait(fork(work))
say(parent=handler.stats().emitted)
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert said(program) == {"child": 1, "fast": True, "parent": 1}
    assert messages(cluster) == ["parent"]


# -- odd values -----------------------------------------------------------------------------------


class Topics(enum.StrEnum):
    """Names of topics, as programs keep them."""

    LOGS = "logs"


class Bytes(bytes):
    """Bytes of another library."""


class Text(str):
    """Text of another library."""


SUBCLASSES: dict[str, dict[str, Any]] = {
    "a constant topic": {"topic": Topics.LOGS},
    "a topic": {"topic": lambda record: Topics.LOGS},
    "what a format makes": {"format": lambda fields, record: Bytes(b"x")},
    "what a serializer makes": {"serializer": lambda fields: Bytes(b"x")},
    "a key, as bytes": {"key_maker": lambda fields: Bytes(b"k")},
    "a key, as text": {"key_maker": lambda fields: Text("k")},
    "a key in a field": {"key_field": "it"},
    "a header": {"headers": {"it": "it"}},
}


@pytest.mark.parametrize("options", SUBCLASSES.values(), ids=SUBCLASSES)
def test_texts_and_bytes_of_other_classes(
    make_handler: MakeHandler, options: dict[str, Any]
) -> None:
    """They arrive, and so do the records beside them."""
    handler = make_handler(**options)
    logger = logger_to(handler)
    for extra in ({}, {"it": Bytes(b"x")}, {"it": Text("x")}, {"it": Topics.LOGS}, {}):
        logger.info("x", extra=extra)
    assert handler.flush() == 0
    assert handler.stats().delivered == 5


class Unhashable(str):
    """Text that is no key of a dict."""

    __hash__ = None  # type: ignore[assignment]


def test_a_key_that_can_not_be_hashed(make_handler: MakeHandler) -> None:
    """The bytes that it becomes choose the partition."""
    handler = make_handler(key_maker=lambda fields: Unhashable("k"))
    logger_to(handler).info("good")
    assert handler.flush() == 0
    assert handler.stats().delivered == 1


def test_a_record_that_changes_while_it_is_converted(handler: KafkaHandler) -> None:
    """The value has what was read, and no memory that was freed."""
    record = logging.LogRecord("x", 20, "/a.py", 1, "as it was %09d", (1,), None, "f")

    class Name(str):
        """Its hash is computed where call sites are looked up."""

        def __hash__(self) -> int:
            record.msg, record.args = "another", ()
            return super().__hash__()

    record.name = Name("shop")
    handler.handle(record)
    [item] = queued(handler)
    assert b"as it was 000000001" in item.record.value or b"another" in item.record.value


@pytest.mark.parametrize("name", ["lineno", "process", "thread"])
@pytest.mark.parametrize("value", [True, 1.0])
def test_a_number_of_another_kind_is_written_as_it_is(
    make_handler: MakeHandler, name: str, value: object
) -> None:
    """Though it equals one that was there before."""
    handler = make_handler(**HELD_BACK)
    for each in (1, value):
        record = logging.LogRecord("x", 20, "/a.py", 1, "x", (), None, "f")
        setattr(record, name, each)
        handler.handle(record)
    first, second = (json.loads(one.record.value) for one in queued(handler))
    field = {"lineno": "line"}.get(name, name)
    assert (first[field], second[field]) == (1, value)
    assert type(second[field]) is type(value)


def test_a_record_without_a_dict(handler: KafkaHandler) -> None:
    """An object that only looks like a record is counted."""

    class Slots:
        __slots__ = tuple(logging.makeLogRecord({}).__dict__)
        getMessage = logging.LogRecord.getMessage  # noqa: N815

    record = Slots()
    for name, value in logging.makeLogRecord({"msg": "x"}).__dict__.items():
        setattr(record, name, value)
    handler.handle(record)  # type: ignore[arg-type]
    assert handler.stats().emitted == 1


def test_a_factory_of_the_program(cluster: FakeKafka) -> None:
    """Its attributes are extras, even if it was set before the package was imported."""
    before = """
import logging
def make(*arguments, **named):
    record = logging.LogRecord(*arguments, **named)
    record.request = "r7"
    return record
logging.setLogRecordFactory(make)
"""
    program = run_by_hand("make()\nlog.info('x')", brokers=cluster.addresses, before=before)
    assert program.stderr == ""
    assert [fields["request"] for fields in stored(cluster)] == ["r7"]
