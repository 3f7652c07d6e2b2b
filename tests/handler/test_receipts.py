"""Receipts: after a block each of its records is known to be stored, or named if it is not."""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from logging.handlers import MemoryHandler
from typing import Any, Final, NamedTuple

import pytest

from kiel_logging import KafkaHandler, Receipt, Receipts
from kiel_logging.errors import (
    BrokerRejected,
    ConfigurationError,
    DeliveryError,
    InvalidTopic,
    KeyTypeError,
    NotAcknowledged,
    ProducerClosed,
    ProducerStateError,
)
from kiel_logging.handler.receipts import Block, OpenBlocks, ReceiptWaiter, with_waiter
from kiel_logging.record.item import make_item
from kiel_logging.records import Record, TopicPartition
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.broker import FakeBroker
from kiel_logging.wire.error_codes import ErrorCode
from tests.handler.interruption import interrupt
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
    total,
)
from tests.support.waiting import in_threads

LONG: Final = 60.0
"""Seconds that no test waits."""

SHORT: Final = 0.05
"""Seconds that a test waits which is about a broker that doesn't answer."""

INFO: Final = logging.INFO
OURS: Final = "kiel_logging."


def texts(receipts: Receipts) -> list[str]:
    """The messages of the records that are acknowledged."""
    return [receipt.message for receipt in receipts]


@contextmanager
def stalled(cluster: FakeKafka) -> Iterator[None]:
    """Inside, the broker answers no Produce request, and stores nothing."""
    cluster.on_broker(0, lambda broker: broker.stall("Produce"))
    try:
        yield
    finally:
        cluster.on_broker(0, lambda broker: broker.resume())


# -- what a receipt says --------------------------------------------------------------------------


def test_receipts_say_where_records_are_stored(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """At a receipt's topic, partition and offset stands its record, whatever batches came
    of them; the order is that of the calls."""
    cluster.add_topic("many", 5)
    handler = make_handler("many", key_field="user", batch_size=7)
    logger = logger_to(handler)
    logger.info("before", extra={"user": "0"})
    with handler.receipts(LONG) as receipts:
        for number in range(200):
            logger.info("record %d", number, extra={"user": str(number % 13)})
    stored = {
        (partition, record.offset): json.loads(record.value or b"")["message"]
        for partition, records in cluster.records("many").items()
        for record in records
    }
    assert texts(receipts) == [f"record {number}" for number in range(200)]
    assert [stored[r.partition, r.offset] for r in receipts] == texts(receipts)
    assert len({r.partition for r in receipts}) == 5


def test_a_receipt_s_parts(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Receipts are a sequence of values."""
    handler = make_handler()
    with handler.receipts(LONG) as receipts:
        logger_to(handler).warning("sold %s", "tea")
        logger_to(handler).info("paid")
    expected = Receipt("logs", 0, 0, "sold tea", logging.WARNING)
    assert receipts[0] == expected
    assert receipts[:1] == (expected,)
    assert (len(receipts), receipts[-1].offset, expected in receipts) == (2, 1, True)
    assert repr(receipts) == "<Receipts complete acknowledged=2>"


def test_the_text_is_that_of_the_call(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Arguments may change later; arguments that don't fit are no reason to lose a record."""
    handler = make_handler()
    cart = ["tea"]
    with handler.receipts(LONG) as receipts:
        logger_to(handler).info("cart %s", cart)
        cart.append("milk")
        logger_to(handler).info("%d and %d", 1)
    assert texts(receipts) == ["cart ['tea']", "%d and %d"]


def test_a_text_that_nothing_can_show(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """The record is stored all the same, and its receipt is there."""

    class Hidden:
        __str__ = fail

    handler = make_handler()
    with handler.receipts(LONG) as receipts:
        logger_to(handler).info(Hidden())
    assert texts(receipts) == ["<a message that can't be shown>"]


def test_a_repeat_whose_offset_the_broker_forgot(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """It is acknowledged; the offset of each record is -1."""
    handler = make_handler(**HELD_BACK)
    cluster.on_broker(0, store_and_forget)
    with handler.receipts(LONG) as receipts:
        logger_to(handler).info("paid")
        logger_to(handler).info("shipped")
    assert [receipt[:3] for receipt in receipts] == [("logs", 0, -1)] * 2
    assert messages(cluster) == ["paid", "shipped"]


def store_and_forget(broker: FakeBroker) -> None:
    """The next Produce request takes effect unanswered; the one after is known for a repeat."""

    def answer(_request: Any, default: Callable[[], Any]) -> Any:
        broker.produce_error(ErrorCode.duplicate_sequence_number)
        return default()

    broker.hang_up_mid_response("Produce")
    broker.on_next("Produce", answer)


def test_leaving_does_not_wait_for_the_linger(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Nor for a batch to fill: what the block logged is sent at once."""
    handler = make_handler(**HELD_BACK)
    with handler.receipts(LONG) as receipts:
        logger_to(handler).info("paid")
        assert (len(receipts), repr(receipts)) == (0, "<Receipts open acknowledged=0>")
    assert texts(receipts) == messages(cluster) == ["paid"]


def test_an_empty_block_sends_nothing(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Records of other blocks may wait longer."""
    handler = make_handler(**HELD_BACK)
    logger_to(handler).info("before")
    with handler.receipts(LONG) as receipts:
        pass
    for _ in range(3):  # what it might have asked for comes in so many turns of the loop
        turned = threading.Event()
        handler._lifecycle.pipeline._loop_thread.call(lambda _, turned=turned: turned.set())
        assert turned.wait(LONG)
    assert (list(receipts), len(handler._lifecycle.pipeline.buffer)) == ([], 1)


def test_a_block_waits_for_its_own_records_only(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Those of a partition that takes nothing are none of its business."""
    cluster.add_topic("other", 1)
    handler = make_handler("{topic}", close_timeout_ms=100)
    not_leader = 6
    cluster.call(lambda c: c.produce_error(not_leader, times=10**6, only=("other", 0)))
    logger = logger_to(handler)
    logger.info("stuck", extra={"topic": "other"})
    with handler.receipts(LONG) as receipts:
        logger.info("paid", extra={"topic": "logs"})
    assert texts(receipts) == ["paid"]
    assert handler.stats().delivered == 1


# -- what counts ----------------------------------------------------------------------------------


def test_nested_blocks(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A record counts for each block that it is in."""
    handler = make_handler()
    logger = logger_to(handler)
    with handler.receipts(LONG) as outer:
        logger.info("1")
        with handler.receipts(LONG) as first:
            logger.info("2")
        with handler.receipts(LONG) as second:
            logger.info("3")
        logger.info("4")
    logger.info("5")
    assert [texts(each) for each in (outer, first, second)] == [["1", "2", "3", "4"], ["2"], ["3"]]


def test_two_handlers(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Receipts are for what went through their handler."""
    cluster.add_topic("audit", 1)
    one, other = make_handler("logs"), make_handler("audit")
    logger = logger_to(one)
    logger.addHandler(other)
    with one.receipts(LONG) as of_one, other.receipts(LONG) as of_other:
        logger.info("both")
        logger_to(one).info("one")
    assert [(r.topic, r.message) for r in of_one] == [("logs", "both"), ("logs", "one")]
    assert [(r.topic, r.message) for r in of_other] == [("audit", "both")]


def test_what_is_filtered_out_does_not_count(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Nor what is below the level: the handler was not given it."""
    handler = make_handler(level="WARNING")
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    with handler.receipts(LONG) as receipts:
        logger_to(handler).info("too low")
        logger_to(handler).warning("secret")
        logger_to(handler).warning("fine")
    assert texts(receipts) == ["fine"]


def test_what_is_logged_while_shipping_does_not_count(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """It is not shipped."""
    logger: logging.Logger

    def key_of(fields: dict[str, Any]) -> str:
        logger.info("about a key")
        return "key"

    handler = make_handler(key_maker=key_of)
    logger = logger_to(handler)
    with handler.receipts(LONG) as receipts:
        logger.info("paid")
    assert texts(receipts) == ["paid"]
    assert handler.stats().diverted == 1


def test_threads_count_when_they_run_in_the_block_s_context(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """A plain thread has another context."""
    handler = make_handler()
    logger = logger_to(handler)
    with handler.receipts(LONG) as receipts:
        context = contextvars.copy_context()
        inside = threading.Thread(target=context.run, args=(logger.info, "inside"))
        outside = threading.Thread(target=logger.info, args=("outside",))
        for thread in (inside, outside):
            thread.start()
            thread.join()
    assert texts(receipts) == ["inside"]
    assert handler.flush() == 0
    assert sorted(messages(cluster)) == ["inside", "outside"]


def test_blocks_of_many_threads_at_once(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Each has its own records, all at different offsets."""
    handler = make_handler(batch_size=5)
    logger = logger_to(handler)
    found: dict[int, list[Receipt]] = {}

    def work(thread: int) -> None:
        own: list[Receipt] = []
        for number in range(20):
            with handler.receipts(LONG) as receipts:
                logger.info("%d.%d", thread, number)
            own += receipts
        found[thread] = own

    in_threads(work, range(8))
    assert {t: [r.message for r in own] for t, own in found.items()} == {
        thread: [f"{thread}.{number}" for number in range(20)] for thread in range(8)
    }
    assert sorted(r.offset for own in found.values() for r in own) == list(range(160))


def test_a_context_that_outlives_its_block(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Records that are logged in it later are not awaited, and nothing changes any more."""
    handler = make_handler()
    logger = logger_to(handler)
    with handler.receipts(LONG) as receipts:
        context = contextvars.copy_context()
        logger.info("in time")
    context.run(logger.info, "late")
    with handler.receipts(LONG) as others:
        context.run(logger.info, "late again")
    assert handler.flush() == 0
    assert (texts(receipts), texts(others)) == (["in time"], [])
    assert len(messages(cluster)) == 3


def test_a_memory_handler_in_front(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A record counts where it reaches this handler, not where it was logged."""
    handler = make_handler()
    memory = MemoryHandler(10, target=handler)
    with handler.receipts(LONG) as logged:
        logger_to(memory).info("paid")
    with handler.receipts(LONG) as reached:
        memory.flush()
    memory.close()
    assert (texts(logged), texts(reached)) == ([], ["paid"])


def test_a_record_that_is_being_logged_when_the_block_is_left(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Elsewhere in its context, and at any moment: it counts, and is sent without the linger, or it
    does not."""
    handler = make_handler(**HELD_BACK)
    late = logging.makeLogRecord({"msg": "late"})  # of one second: the next has more moments
    counted = []
    for moment in count(1):
        settled = threading.Event()
        with handler.receipts(LONG) as receipts:
            came = interrupt(
                partial(handler.handle, late),
                partial(begin_to_leave, handler, settled),
                moment,
                OURS,
            )
            assert not came or settled.wait(LONG)
        counted.append(len(receipts))
        if not came:
            break
    assert sorted(counted) == counted
    assert set(counted) == {0, 1}


def begin_to_leave(handler: KafkaHandler, settled: threading.Event) -> None:
    """Do what is done when a block is left, but for the wait."""
    (block,) = handler._blocks
    block.close(settled.set)
    handler._lifecycle.flush_soon()


def test_blocks_leave_nothing_in_their_context() -> None:
    """However many there were, nested or not: a server's task may have a million."""
    blocks, outer = OpenBlocks(), Block()
    record = logging.makeLogRecord({"msg": "paid"})
    blocks.begin(outer)
    for _ in range(3):
        blocks.begin(inner := Block())
        assert blocks.waiter(record)._blocks == [outer, inner]  # type: ignore[union-attr]
        blocks.end(inner)
    assert blocks.waiter(record)._blocks == [outer]  # type: ignore[union-attr]
    blocks.end(outer)
    blocks[outer] = None
    assert blocks.waiter(record) is None


def test_the_bound_on_memory_holds_for_what_is_awaited() -> None:
    """The memory of an item includes its waiter and that one's text."""
    block = Block()
    records = [logging.makeLogRecord({"msg": "%s", "args": (f"{n}" * 20,)}) for n in range(1000)]
    tracemalloc.start()
    try:
        kept = [ReceiptWaiter(record, (block,)) for record in records]
        for offset, one in enumerate(kept, 1000):
            one.begin()
            one.delivered(TopicPartition("logs", 3), offset)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    told = sum(one.memory for one in kept)
    assert told / 2 < taken <= told
    plain = make_item("logs", None, Record(None, b"v", (), 0))
    assert with_waiter(plain, kept[0]).memory == plain.memory + kept[0].memory


# -- what is not acknowledged ---------------------------------------------------------------------


class Loss(NamedTuple):
    """A way to lose the record "lost" in a block.

    `reason` begins with; `error` is the type of the error, if there is one.
    """

    reason: str
    error: type[Exception] | None
    lose: Callable[[FakeKafka, KafkaHandler, logging.Logger], object]
    options: dict[str, Any] = {}  # noqa: RUF012 # it is never changed


def _full(cluster: FakeKafka, handler: KafkaHandler, logger: logging.Logger) -> None:
    contextvars.Context().run(logger.info, "fills the buffer")
    logger.info("lost")


def _driven_out(cluster: FakeKafka, handler: KafkaHandler, logger: logging.Logger) -> None:
    logger.info("lost")
    contextvars.Context().run(logger.error, "drives it out")


def _given_up(cluster: FakeKafka, handler: KafkaHandler, logger: logging.Logger) -> None:
    stop_broker(cluster)
    logger.info("lost")
    handler.close()


def _refused(cluster: FakeKafka, handler: KafkaHandler, logger: logging.Logger) -> None:
    refuse_everything(cluster)
    logger.info("lost")


def _logged(cluster: FakeKafka, handler: KafkaHandler, logger: logging.Logger) -> None:
    logger.info("lost")


ONE: Final[dict[str, Any]] = {**HELD_BACK, "buffer_records": 1}

LOSSES: Final = {
    "no room": Loss("buffer_full", None, _full, ONE),
    "no room after all": Loss(
        "buffer_full", None, _full, {**ONE, "overflow": "block", "block_timeout_ms": 1}
    ),
    "no room among its like": Loss("buffer_full", None, _full, {**ONE, "overflow": "drop_lowest"}),
    "shed as the oldest": Loss(
        "buffer_full", None, _driven_out, {**ONE, "overflow": "drop_oldest"}
    ),
    "shed as the lowest": Loss(
        "buffer_full", None, _driven_out, {**ONE, "overflow": "drop_lowest"}
    ),
    "left out": Loss("sample", None, _logged, {"sample": {"INFO": 0}}),
    "a serializer that raises": Loss("unserialisable", RuntimeError, _logged, {"serializer": fail}),
    "a topic that is none": Loss(
        "invalid_topic", InvalidTopic, _logged, {"topic": lambda _record: "not a name"}
    ),
    "a key that is none": Loss(
        "invalid_key", KeyTypeError, _logged, {"key_maker": lambda _fields: 1.5}
    ),
    "a partitioner that raises": Loss(
        "RuntimeError: no way", RuntimeError, _logged, {"partitioner": fail}
    ),
    "refused by the broker": Loss("BrokerRejected: ", BrokerRejected, _refused),
    "given up by close()": Loss(
        "ProducerClosed: ", ProducerClosed, _given_up, {"close_timeout_ms": 20}
    ),
    "not even sent by close()": Loss(
        "ProducerClosed: ", ProducerClosed, _given_up, {**HELD_BACK, "close_timeout_ms": 1}
    ),
}


@pytest.mark.parametrize("way", LOSSES)
def test_every_way_to_lose_a_record_is_told(
    cluster: FakeKafka, make_handler: MakeHandler, way: str
) -> None:
    """As soon as it is lost for good; no block waits for its timeout then."""
    loss = LOSSES[way]
    handler = make_handler(**loss.options)
    logger = logger_to(handler)
    with pytest.raises(NotAcknowledged) as raised, handler.receipts(LONG) as receipts:
        loss.lose(cluster, handler, logger)
    (lost,) = raised.value.undelivered
    assert (lost.message, lost.level) == ("lost", INFO)
    assert lost.reason.startswith(loss.reason)
    assert type(lost.error) is (loss.error or type(None))
    assert receipts.undelivered == raised.value.undelivered
    assert f"1 of 1 log records were not acknowledged: 'lost': {lost.reason}" in str(raised.value)
    assert total(handler.stats()) == handler.stats().emitted


def test_the_fallback_has_what_a_block_misses(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """By the time that it is left."""
    fallback = Collecting()
    handler = make_handler(fallback=fallback)
    refuse_everything(cluster)
    with pytest.raises(NotAcknowledged), handler.receipts(LONG):
        logger_to(handler).info("lost")
    assert fallback.messages == ["lost"]
    assert handler.stats().failed == 1


def test_some_are_lost(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """The others have receipts; the text names a few, the attribute all."""
    handler = make_handler(serializer=lambda fields: fail() if "bad" in fields else b"good")
    logger = logger_to(handler)

    def log() -> None:
        for number in range(10):
            logger.info("%d", number, extra={"bad": True} if number % 2 else {})

    with pytest.raises(DeliveryError) as raised, handler.receipts(LONG) as receipts:
        log()
    assert texts(receipts) == ["0", "2", "4", "6", "8"]
    assert isinstance(raised.value, NotAcknowledged)
    assert [one.message for one in raised.value.undelivered] == ["1", "3", "5", "7", "9"]
    assert str(raised.value).startswith("5 of 10 log records were not acknowledged: '1': ")
    assert str(raised.value).endswith("; and 2 more")
    assert repr(receipts) == "<Receipts without 5 acknowledged=5>"


def test_a_long_text_is_cut_in_the_error(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """An error is for reading; what it holds is whole."""
    handler = make_handler(serializer=fail)
    with pytest.raises(NotAcknowledged) as raised, handler.receipts(LONG):
        logger_to(handler).info("x" * 10_000)
    assert len(str(raised.value)) < 300
    assert raised.value.undelivered[0].message == "x" * 10_000


def test_a_broker_that_does_not_answer(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """The block ends by its timeout; the handler continues, and the receipts stay as they were."""
    handler = make_handler()
    logger = logger_to(handler)
    with stalled(cluster):
        with pytest.raises(NotAcknowledged) as raised, handler.receipts(SHORT) as receipts:
            logger.info("paid")
        (waiting,) = raised.value.undelivered
        assert (waiting.message, waiting.error) == ("paid", None)
        assert waiting.reason.startswith("not acknowledged within 0.05 s")
    assert handler.flush() == 0
    assert messages(cluster) == ["paid"]
    assert (list(receipts), receipts.undelivered) == ([], (waiting,))


def test_a_broker_that_answers_in_time(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """The block waits for it."""
    handler = make_handler()
    with stalled(cluster):
        back = threading.Thread(target=resume_when_asked, args=(cluster,))
        back.start()
        with handler.receipts(LONG) as receipts:
            logger_to(handler).info("paid")
        back.join()
    assert texts(receipts) == ["paid"]


def resume_when_asked(cluster: FakeKafka) -> None:
    """The broker answers again, once a Produce request came."""
    cluster.received("Produce")
    cluster.on_broker(0, lambda broker: broker.resume())


def test_a_broker_that_comes_back(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """An outage during the block is one more thing that it waits for."""
    handler = make_handler()
    logger = logger_to(handler)
    with handler.receipts(LONG) as receipts:
        logger.info("before")
        handler.flush()
        stop_broker(cluster)
        logger.info("while it is away")
        start_broker(cluster)
    assert [(r.message, r.offset) for r in receipts] == [("before", 0), ("while it is away", 1)]


# -- the block raises -----------------------------------------------------------------------------


def log_and_raise(handler: KafkaHandler, text: str, error: type[BaseException]) -> None:
    """The end of a block that fails."""
    logger_to(handler).info(text)
    raise error


def test_an_error_in_the_block_wins(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Records that were logged before the failure are acknowledged all the same."""
    handler = make_handler(**HELD_BACK)
    with pytest.raises(KeyError) as raised, handler.receipts(LONG) as receipts:
        log_and_raise(handler, "about to fail", KeyError)
    assert texts(receipts) == messages(cluster) == ["about to fail"]
    assert not hasattr(raised.value, "__notes__")


def test_an_error_in_the_block_tells_what_is_not_stored(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """As a note."""
    handler = make_handler(serializer=fail)
    with pytest.raises(KeyError) as raised, handler.receipts(LONG) as receipts:
        log_and_raise(handler, "lost", KeyError)
    (note,) = raised.value.__notes__
    assert note.startswith("NotAcknowledged: 1 of 1 log records were not acknowledged: 'lost': ")
    assert [one.message for one in receipts.undelivered] == ["lost"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_block_that_is_to_end_at_once_does_not_wait(
    cluster: FakeKafka, make_handler: MakeHandler, error: type[BaseException]
) -> None:
    """Ctrl-C is not held up by a broker; what isn't known yet is said."""
    handler = make_handler()
    with stalled(cluster):
        with pytest.raises(error) as raised, handler.receipts(LONG):
            log_and_raise(handler, "paid", error)
        assert "1 of 1 log records were not acknowledged" in raised.value.__notes__[0]
    assert handler.flush() == 0
    assert messages(cluster) == ["paid"]


# -- wrong use ------------------------------------------------------------------------------------


def test_without_acknowledgements_there_are_no_receipts(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """With required_acks=0 there would be no answer."""
    handler = make_handler(required_acks=0)
    with pytest.raises(ConfigurationError, match="set required_acks to -1 or 1"):
        handler.receipts()


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), True, "2", b"2"])
def test_a_timeout_that_is_none(make_handler: MakeHandler, timeout: Any) -> None:
    """It is a number of seconds."""
    with pytest.raises(ConfigurationError, match=r"timeout=.* must be a number of seconds"):
        make_handler().receipts(timeout)


def test_without_a_timeout_it_is_the_handler_s(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """`close_timeout_ms`: what `flush()` and `close()` may take."""
    handler = make_handler(close_timeout_ms=30)
    with stalled(cluster), pytest.raises(NotAcknowledged, match=r"within 0\.03 s"):  # noqa: SIM117
        with handler.receipts():
            logger_to(handler).info("paid")


def test_receipts_are_for_one_block(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A second one would have two sets of records."""
    receipts = make_handler().receipts(LONG)
    assert repr(receipts) == "<Receipts not begun>"
    assert list(receipts) == []
    with receipts, pytest.raises(ProducerStateError, match=r"call handler\.receipts"):
        receipts.__enter__()
    with pytest.raises(ProducerStateError, match=r"call handler\.receipts"):
        receipts.__enter__()


def test_on_the_loop_thread_itself(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Code on the loop thread can't wait for it: a block ends immediately, not with its timeout."""
    told: list[str] = []

    class Fallback(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "lost":
                try:
                    with handler.receipts(LONG):
                        logger.info("from the fallback")
                except NotAcknowledged as error:
                    told.extend(one.message for one in error.undelivered)

    handler = make_handler(fallback=Fallback())
    logger = logger_to(handler)
    refuse_everything(cluster)
    with pytest.raises(NotAcknowledged), handler.receipts(LONG):
        logger.info("lost")
    assert told == ["from the fallback"]
