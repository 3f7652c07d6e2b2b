"""Things between a call and the handler: queues, buffers, adapters, sockets, warnings."""

from __future__ import annotations

import logging
import logging.handlers
import pickle
import queue
import threading
import warnings
import weakref
from contextvars import ContextVar
from typing import Any

import pytest

from kiel_logging.testing import FakeKafka
from tests.handler.shipped import MakeHandler, logger_to, messages, stored
from tests.support.waiting import until

_request: ContextVar[str] = ContextVar("request", default="none")


def through_a_queue(handler: logging.Handler, log: Any) -> None:
    """Call `log(logger)`, with a QueueHandler and a QueueListener in front of the handler."""
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(records, handler, respect_handler_level=True)
    listener.start()
    log(logger_to(logging.handlers.QueueHandler(records)))
    listener.stop()


def test_a_queue(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Order, extras and the thread that logged are kept."""
    handler = make_handler(level="INFO")

    def log(logger: logging.Logger) -> None:
        for number in range(100):
            logger.log(10 + number % 2 * 10, "%d", number, extra={"user": {"id": number}})

    through_a_queue(handler, log)
    assert handler.flush() == 0
    found = stored(cluster)
    assert [fields["message"] for fields in found] == [str(n) for n in range(1, 100, 2)]
    assert [fields["user"]["id"] for fields in found] == list(range(1, 100, 2))
    assert {fields["thread_name"] for fields in found} == {"MainThread"}


def test_an_exception_through_a_queue(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """QueueHandler makes text of it, as a part of the message; ours can't undo that."""

    def log(logger: logging.Logger) -> None:
        try:
            {}["missing"]
        except KeyError:
            logger.exception("it broke")

    handler = make_handler()
    through_a_queue(handler, log)
    handler.flush()
    [fields] = stored(cluster)
    assert fields["message"].startswith("it broke\nTraceback (most recent call last)")
    assert "exception" not in fields


def test_context_behind_a_queue(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """It is that of the thread that calls the handler: the listener's. A filter on the queue's
    handler, which runs where the call is, can put it into the record."""

    def add(record: logging.LogRecord) -> bool:
        record.request_of_the_call = _request.get()
        return True

    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    handler = make_handler(context={"request": _request})
    in_front = logging.handlers.QueueHandler(records)
    in_front.addFilter(add)
    listener = logging.handlers.QueueListener(records, handler)
    listener.start()
    token = _request.set("r-1")
    logger_to(in_front).info("x")
    _request.reset(token)
    listener.stop()
    handler.flush()
    [fields] = stored(cluster)
    assert (fields["request"], fields["request_of_the_call"]) == ("none", "r-1")


def test_a_memory_handler(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Records come when there is an error to explain, those before it first."""
    handler = make_handler()
    memory = logging.handlers.MemoryHandler(100, logging.ERROR, handler)
    logger = logger_to(memory)
    logger.debug("before")
    assert handler.stats().emitted == 0
    logger.error("the error")
    assert handler.flush() == 0
    assert messages(cluster) == ["before", "the error"]


def test_a_memory_handler_at_the_end(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """It is younger than its target, so that logging.shutdown() empties it first."""
    handler = make_handler(linger_ms=60_000)
    memory = logging.handlers.MemoryHandler(100, logging.ERROR, handler)
    logger_to(memory).info("x")
    logging.shutdown([weakref.ref(handler), weakref.ref(memory)])
    assert messages(cluster) == ["x"]


def test_a_memory_handler_on_the_root_while_the_loop_thread_logs(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Records that come back to the handler from its own thread are not shipped either."""
    handler = make_handler()
    memory = logging.handlers.MemoryHandler(1, target=handler)
    ours = logging.getLogger("kiel_logging")
    cluster.on_broker(0, lambda broker: broker.stop())
    ours.addHandler(memory)
    try:
        logger_to(handler).info("x")
        until(lambda: handler.stats().diverted >= 1)  # that Kafka can't be reached
    finally:
        ours.removeHandler(memory)
    memory.close()
    assert handler.stats().emitted == 1
    cluster.on_broker(0, lambda broker: broker.start())
    assert handler.flush() == 0


def test_a_logger_adapter(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Its addition to every record is a field."""
    handler = make_handler(key_field="request_id")
    adapter = logging.LoggerAdapter(logger_to(handler), {"request_id": "r-1"})
    adapter.info("x")
    handler.flush()
    assert stored(cluster)[0]["request_id"] == "r-1"
    assert cluster.records("logs")[0][0].key == b"r-1"


def test_records_from_a_socket(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A SocketHandler sends a pickled dict, of which the receiver makes a record: where it came
    from, and the traceback as text, are in there."""
    sender = logging.handlers.SocketHandler("localhost", 0)
    try:
        {}["missing"]
    except KeyError as error:
        trace = (type(error), error, error.__traceback__)
    sent = logging.LogRecord("far.away", logging.ERROR, "/far/a.py", 7, "%d", (5,), trace, "f")
    sent.process, sent.user = 4711, "ada"
    received = pickle.loads(sender.makePickle(sent)[4:])
    handler = make_handler()
    handler.handle(logging.makeLogRecord(received))
    handler.flush()
    [fields] = stored(cluster)
    expected = {"logger": "far.away", "message": "5", "line": 7, "process": 4711, "user": "ada"}
    assert {name: fields[name] for name in expected} == expected
    assert fields["exception"]["traceback"].endswith("KeyError: 'missing'")


@pytest.mark.parametrize("given", [{}, {"msg": "x"}, {"levelno": 7, "levelname": "SEVEN"}])
def test_records_that_somebody_made_up(
    cluster: FakeKafka, make_handler: MakeHandler, given: dict[str, Any]
) -> None:
    """Little is needed: makeLogRecord leaves the rest None or empty."""
    handler = make_handler()
    handler.handle(logging.makeLogRecord(given))
    assert handler.flush() == 0
    assert messages(cluster) == [given.get("msg", "")]


def test_captured_warnings(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Python's warnings are records of the logger py.warnings."""
    handler, logger = make_handler(), logging.getLogger("py.warnings")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn("too old", DeprecationWarning, stacklevel=1)
    finally:
        logging.captureWarnings(False)
        logger.removeHandler(handler)
    handler.flush()
    [fields] = stored(cluster)
    assert (fields["logger"], fields["level"]) == ("py.warnings", "WARNING")
    assert "DeprecationWarning: too old" in fields["message"]


def test_uncaught_exceptions_of_threads(
    cluster: FakeKafka, make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook that logs them, as many programs have one, ships them."""
    handler = make_handler()
    logger = logger_to(handler)

    def hook(caught: Any) -> None:
        trace = (caught.exc_type, caught.exc_value, caught.exc_traceback)
        logger.critical("uncaught", exc_info=trace)

    monkeypatch.setattr(threading, "excepthook", hook)
    thread = threading.Thread(target=lambda: {}["missing"], name="worker")
    thread.start()
    thread.join()
    handler.flush()
    [fields] = stored(cluster)
    assert (fields["thread_name"], fields["exception"]["type"]) == ("worker", "KeyError")
