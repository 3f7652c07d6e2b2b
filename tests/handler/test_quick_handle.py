"""One call of C does what ``handle()`` and all that it calls do, where nothing needs care."""

from __future__ import annotations

import copy
import enum
import gc
import json
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.handler.buffer import OVERFLOW
from kiel_logging.handler.quick_handle import IN_C
from kiel_logging.handler.recursion import as_shipping
from kiel_logging.handler.slices import plain
from kiel_logging.record.item import Item
from tests.handler.process.child import run_by_hand, said
from tests.handler.shipped import HELD_BACK, MakeHandler, logger_to, messages, stored
from tests.support.threaded_fake_cluster import ThreadedFakeCluster
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(not IN_C, reason="there is no C compiler")


def queued(handler: KafkaHandler) -> list[Any]:
    """What waits in the buffer of a handler that is held back; it is left there."""
    queue = handler._pipeline.buffer.quick_queue
    assert queue is not None
    return list(queue)


def quickly(handler: KafkaHandler) -> bool:
    """Whether the record that was queued last went through C."""
    return not isinstance(queued(handler)[-1], Item)


@pytest.fixture
def handler(make_handler: MakeHandler) -> KafkaHandler:
    """One that holds back what it gets."""
    return make_handler(**HELD_BACK)


# -- the same as in Python ------------------------------------------------------------------------


def test_a_plain_record_takes_the_quick_way(handler: KafkaHandler) -> None:
    """It is counted and queued."""
    logger_to(handler).warning("order %d", 7, extra={"user": "ada"})
    assert quickly(handler)
    stats = handler.stats()
    assert (stats.emitted, stats.buffered) == (1, 1)
    assert stats.memory == queued(handler)[0].memory > 0


def test_what_is_queued_is_what_python_would_have_queued(make_handler: MakeHandler) -> None:
    """To the byte."""
    handler = make_handler(key_field="user", **HELD_BACK)
    record = logging.LogRecord("shop", 30, "/a.py", 7, "a %s", ("b",), None, "function")
    record.user = "ada"
    handler.handle(record)
    handler.emit(record)
    quick, item = queued(handler)
    assert isinstance(item, Item)
    assert not isinstance(quick, Item)
    assert plain([quick, item]) == [item, item]
    names = ("topic", "key", "record", "size", "memory", "level", "source", "waiter")
    assert [getattr(quick, name) for name in names] == [getattr(item, name) for name in names]


def test_it_returns_what_python_returns(handler: KafkaHandler) -> None:
    """The record from Python 3.12 on, True before."""
    record = logging.makeLogRecord({"msg": "x"})
    assert handler.handle(record) is KafkaHandler.handle(handler, record)


def test_all_arrives_in_order(make_handler: MakeHandler, cluster: ThreadedFakeCluster) -> None:
    """Those that took the quick way, and those between them that could not."""
    handler = make_handler()
    logger = logger_to(handler)
    for number in range(100):
        if number % 7 == 0:
            logger.info("%d", number, extra={"object": object()})
        else:
            logger.info("%d", number)
    assert handler.flush() == 0
    assert messages(cluster) == [str(number) for number in range(100)]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_the_reader_is_woken_as_by_python(make_handler: MakeHandler, batch_size: int) -> None:
    """When the queue stops being empty, and when a batch is full."""
    handler = make_handler(linger_ms=60_000, batch_size=batch_size)
    buffer, wakes = handler._pipeline.buffer, list[bool]()
    buffer._wake = wakes.append
    logger = logger_to(handler)
    for _ in range(6):
        logger.info("x")
    expected = {1: [True], 2: [False, True], 5: [False, True]}
    assert wakes == expected[batch_size]


def test_what_the_wake_up_raises_wakes_the_reader_again(handler: KafkaHandler) -> None:
    """An exception of a signal's handler: the record is queued, and will be seen to."""
    buffer, wakes = handler._pipeline.buffer, list[bool]()

    def wake(full: bool) -> None:
        wakes.append(full)
        if len(wakes) == 1:
            raise KeyboardInterrupt

    buffer._wake = wake
    with pytest.raises(KeyboardInterrupt):
        logger_to(handler).info("x")
    assert wakes == [False, True]
    assert len(queued(handler)) == 1


# -- what needs care ------------------------------------------------------------------------------


class Deaf(logging.Filter):
    """Takes what it is told to."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Not the quiet ones."""
        return record.getMessage() != "quiet"


def with_filter(handler: KafkaHandler) -> None:
    handler.addFilter(Deaf())


def with_formatter(handler: KafkaHandler) -> None:
    handler.setFormatter(logging.Formatter("%(message)s"))


CARE: dict[str, Callable[[KafkaHandler], None]] = {
    "a filter": with_filter,
    "a formatter": with_formatter,
    "a crowded buffer": lambda handler: setattr(handler._pipeline.buffer.counts, "crowded", True),
}


@pytest.mark.parametrize("change", CARE.values(), ids=CARE)
def test_a_handler_that_needs_care(
    handler: KafkaHandler, change: Callable[[KafkaHandler], None]
) -> None:
    """Its own handle() sees to the record."""
    logger = logger_to(handler)
    logger.info("before")
    assert quickly(handler)
    change(handler)
    logger.info("quiet" if change is not with_filter else "loud")
    assert len(queued(handler)) == 2
    assert not quickly(handler)


def test_a_filter_is_asked(handler: KafkaHandler) -> None:
    """It may keep a record out."""
    handler.addFilter(Deaf())
    record = logging.makeLogRecord({"msg": "quiet"})
    assert not handler.handle(record)
    assert queued(handler) == []


def test_a_receipt_that_is_waited_for(make_handler: MakeHandler) -> None:
    """The item says who waits for it."""
    handler = make_handler()
    logger = logger_to(handler)
    with handler.receipts(20) as receipts:
        logger.info("paid")
    assert [receipt.message for receipt in receipts] == ["paid"]


def test_what_is_logged_while_shipping_is_diverted(handler: KafkaHandler) -> None:
    """It is recognised here as well."""
    as_shipping(logger_to(handler).info, "x")
    assert queued(handler) == []
    assert handler.stats().diverted == 1


def test_a_handler_that_is_opened_again(make_handler: MakeHandler) -> None:
    """Its records take the quick way again, through the buffer of now."""
    handler = make_handler()
    before = handler.__dict__.get("handle")
    handler.close()
    logger_to(handler).info("x")
    assert handler.__dict__.get("handle") is not before
    logger_to(handler).info("y")
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
    """It is converted in Python."""
    handler.handle(logging.makeLogRecord({"msg": "x", **attributes}))
    assert len(queued(handler)) == 1
    assert not quickly(handler)


@pytest.mark.parametrize("records", [8, 9, 16])
def test_no_more_are_queued_than_there_is_room_for(
    make_handler: MakeHandler, records: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it gets crowded the buffer counts closely."""
    handler = make_handler(buffer_records=8, **HELD_BACK)
    logger = logger_to(handler)
    for _ in range(records):
        logger.info("x")
    stats = handler.stats()
    assert (stats.buffered, stats.dropped_total) == (8, records - 8)
    assert ("dropped" in capsys.readouterr().err) <= (records > 8)


def test_memory_is_bounded_as_well(make_handler: MakeHandler) -> None:
    """By what the records take."""
    handler = make_handler(buffer_memory=8_000, **HELD_BACK)
    logger = logger_to(handler)
    for _ in range(100):
        logger.info("x" * 1_000)
    stats = handler.stats()
    assert stats.emitted == 100 == stats.buffered + stats.dropped_total
    assert 0 < stats.memory <= 8_000


@pytest.mark.parametrize("overflow", OVERFLOW)
def test_policies_that_choose_among_what_is_queued(
    make_handler: MakeHandler, overflow: str
) -> None:
    """Python's own queues have the items: C has no part in them."""
    handler = make_handler(overflow=overflow, **HELD_BACK)
    in_c = "handle" in handler.__dict__
    assert in_c == (overflow in ("drop_newest", "block"))
    logger_to(handler).info("x")
    assert handler.stats().buffered == 1


class Louder(KafkaHandler):
    """Has its own emit()."""

    def emit(self, record: logging.LogRecord) -> None:
        """In capitals."""
        record.msg = str(record.msg).upper()
        super().emit(record)


def test_a_subclass_has_its_own_way(cluster: ThreadedFakeCluster) -> None:
    """What it overrides is called."""
    handler = Louder(cluster.addresses, "logs", **HELD_BACK)
    logger_to(handler).info("quiet")
    assert b"QUIET" in queued(handler)[0].record.value
    handler.close()


def test_an_emit_that_a_test_has_put_in_its_place(
    handler: KafkaHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As unittest.mock does."""
    seen: list[logging.LogRecord] = []
    monkeypatch.setattr(handler, "emit", seen.append)
    logger_to(handler).info("x")
    assert [record.getMessage() for record in seen] == ["x"]
    assert queued(handler) == []


# -- its life -------------------------------------------------------------------------------------


@pytest.fixture
def collected() -> Iterator[None]:
    """No garbage of others is in the way."""
    gc.collect()
    yield
    gc.collect()


@pytest.mark.usefixtures("collected")
def test_a_handler_that_nobody_has_any_more_goes(cluster: ThreadedFakeCluster) -> None:
    """The cycle through C is found by the garbage collector."""
    handler = KafkaHandler(cluster.addresses, "logs")
    handler.close()
    gone = weakref.ref(handler)
    del handler
    gc.collect()
    assert gone() is None


def test_a_forked_child_has_its_own(cluster: ThreadedFakeCluster) -> None:
    """Its records go into its own buffer, quickly as well."""
    code = """
handler = make()
log.info("parent")
handler.flush()
def work():
    log.info("child")
    say(child=handler.stats().emitted, quick="handle" in handler.__dict__)
wait(fork(work))
say(parent=handler.stats().emitted)
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert said(program) == {"child": 1, "quick": True, "parent": 1}
    assert sorted(messages(cluster)) == ["child", "parent"]


# -- what others make of it -----------------------------------------------------------------------


class Topics(enum.StrEnum):
    """Names, as programs keep them."""

    LOGS = "logs"


class Bytes(bytes):
    """What another library returns."""


class Text(str):
    """The same."""


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
    """They arrive, and whatever was logged beside them."""
    handler = make_handler(**options)
    logger = logger_to(handler)
    for extra in ({}, {"it": Bytes(b"x")}, {"it": Text("x")}, {"it": Topics.LOGS}, {}):
        logger.info("x", extra=extra)
    assert handler.flush() == 0
    assert handler.stats().delivered == 5


class Unhashable(str):
    """No key for a table."""

    __hash__ = None  # type: ignore[assignment]


def test_a_key_that_can_not_be_looked_up(make_handler: MakeHandler) -> None:
    """All of its slice is given up, and counted: none is lost in silence."""
    handler = make_handler(
        key_maker=lambda fields: Unhashable("k") if fields["message"] == "bad" else "k"
    )
    logger = logger_to(handler)
    logger.info("good")
    assert handler.flush() == 0
    logger.info("bad")
    logger.info("good")
    assert handler.flush() == 0
    stats = handler.stats()
    assert (stats.emitted, stats.buffered) == (stats.delivered + stats.failed, 0)
    assert stats.failed >= 1


def test_a_record_that_changes_while_it_is_converted(handler: KafkaHandler) -> None:
    """What was read is what is written; nothing that is gone."""
    record = logging.LogRecord("x", 20, "/a.py", 1, "as it was %09d", (1,), None, "f")

    class Name(str):
        """Its hash is asked for where call sites are looked up."""

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
    """Though it is equal to one that was there before."""
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
    """Whatever it is, it is counted."""

    class Slots:
        __slots__ = tuple(logging.makeLogRecord({}).__dict__)
        getMessage = logging.LogRecord.getMessage  # noqa: N815

    record = Slots()
    for name, value in logging.makeLogRecord({"msg": "x"}).__dict__.items():
        setattr(record, name, value)
    handler.handle(record)  # type: ignore[arg-type]
    assert handler.stats().emitted == 1


def test_a_copy_has_its_own_way(handler: KafkaHandler) -> None:
    """What is set on it counts for it."""
    other = copy.copy(handler)
    other.setFormatter(logging.Formatter("F %(message)s"))
    other.handle(logging.makeLogRecord({"msg": "x"}))
    assert b"F x" in queued(handler)[0].record.value


def test_a_factory_of_the_program(cluster: ThreadedFakeCluster) -> None:
    """What it adds is an extra, also where it was there before the package."""
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


def test_who_comes_in_between_does_not_keep_the_reader_asleep(make_handler: MakeHandler) -> None:
    """A record beside one that needs care: whoever is the first wakes it."""
    handler = make_handler()
    logger = logger_to(handler)
    logger.info("warm")
    assert handler.flush() == 0
    logger.info("care", extra={"it": object()})
    thread = threading.Thread(target=logger.info, args=("plain",))
    thread.start()
    thread.join()
    until(lambda: handler.stats().delivered == 3)
