"""The rules of logging for every handler: names, levels, locks, flush and close."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import QUICK, MakeHandler, logger_to, messages, refuse_everything, stored


class Plain(logging.Handler):
    """A handler of the least that there can be: what it does, ours has to do."""

    def __init__(self, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self.got: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.got.append(record.getMessage())


# -- names ----------------------------------------------------------------------------------------


def named(name: str) -> logging.Handler | None:
    """The handler that logging knows by that name."""
    found: logging.Handler | None = logging._handlers.get(name)  # type: ignore[attr-defined]
    return found


def test_a_name(make_handler: MakeHandler) -> None:
    """It is given by attribute or by method, and the last one holds."""
    handler = make_handler()
    assert handler.name is None
    handler.name = "kafka_a"
    handler.set_name("kafka_b")
    assert (handler.name, handler.get_name()) == ("kafka_b", "kafka_b")
    assert (named("kafka_a"), named("kafka_b")) == (None, handler)


def test_close_gives_the_name_back(make_handler: MakeHandler) -> None:
    """The next handler may have it; a second close of the first one does not take it away."""
    first, second = make_handler(), make_handler()
    first.name = "kafka"
    first.close()
    assert named("kafka") is None
    second.name = "kafka"
    assert named("kafka") is second


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
def test_get_handler_by_name(make_handler: MakeHandler) -> None:
    """Finds it until it is closed."""
    handler = make_handler()
    handler.name = "kafka"
    assert logging.getHandlerByName("kafka") is handler  # type: ignore[attr-defined]
    assert "kafka" in logging.getHandlerNames()  # type: ignore[attr-defined]


def test_repr_begins_as_every_handler_s(make_handler: MakeHandler) -> None:
    """With the class, and it has the level."""
    handler = make_handler(level="WARNING")
    assert repr(handler).startswith("<KafkaHandler ")
    assert "(WARNING)" in repr(handler)
    handler.setLevel(35)
    assert "(Level 35)" in repr(handler)


# -- levels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [logging.ERROR, "ERROR", 35])
def test_the_level(cluster: FakeKafka, make_handler: MakeHandler, level: Any) -> None:
    """Is an argument or set later, a number or a name; the logger asks for it."""
    given, later, plain = make_handler("given", level=level), make_handler("later"), Plain(level)
    later.setLevel(level)
    logger = logger_to(given)
    logger.handlers += [later, plain]
    for number in (logging.DEBUG, logging.WARNING, 35, logging.ERROR):
        logger.log(number, "%d", number)
    assert (given.flush(), later.flush()) == (0, 0)
    assert (read(cluster, "given"), read(cluster, "later")) == (plain.got, plain.got)


def read(cluster: FakeKafka, topic: str) -> list[str]:
    """The messages of a topic that came into being by itself, in order of time."""
    parts = cluster.records(topic).values()
    found = [json.loads(record.value or b"") for records in parts for record in records]
    return [fields["message"] for fields in sorted(found, key=lambda fields: fields["time"])]


@pytest.mark.parametrize(("level", "error"), [("LOUD", ValueError), (1.5, TypeError)])
def test_levels_that_are_none(make_handler: MakeHandler, level: Any, error: type) -> None:
    """Raise what logging raises."""
    with pytest.raises(error):
        Plain(level)
    with pytest.raises(error):
        make_handler(level=level)
    with pytest.raises(error):
        make_handler().setLevel(level)


def test_logging_disable(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """A call for which logging makes no record does not count as emitted."""
    handler = make_handler()
    logger = logging.getLogger("kiel_test.disable")
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    logging.disable(logging.WARNING)
    try:
        logger.warning("disabled")
        logger.error("not disabled")
    finally:
        logging.disable(logging.NOTSET)
        logger.removeHandler(handler)
    handler.flush()
    assert (messages(cluster), handler.stats().emitted) == (["not disabled"], 1)


# -- loggers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("propagate", "times"), [(True, 2), (False, 1)])
def test_one_handler_on_a_logger_and_its_parent(
    cluster: FakeKafka, make_handler: MakeHandler, propagate: bool, times: int
) -> None:
    """Gets what is propagated as often as it is found on the way up."""
    handler = make_handler()
    parent, child = logger_to(handler), logger_to(handler)
    child.parent, child.propagate = parent, propagate
    child.info("x")
    handler.flush()
    assert messages(cluster) == ["x"] * times


# -- handle() and filters -------------------------------------------------------------------------


class Refusing:
    """A filter as classes write it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Refuse what is secret."""
        return "secret" not in record.getMessage()


FILTERS: list[Any] = [
    lambda _record: True,
    lambda _record: False,
    lambda _record: 1,
    lambda _record: 0,
    lambda _record: None,
    lambda _record: "yes",
    logging.Filter("shop"),
    logging.Filter("sho"),
    Refusing(),
]


@pytest.mark.parametrize("chosen", FILTERS, ids=range(len(FILTERS)))
def test_handle_returns_what_every_handler_s_does(make_handler: MakeHandler, chosen: Any) -> None:
    """Whether the filters passed the record; only such a record is emitted."""
    handler, plain = make_handler(), Plain()
    for one in (handler, plain):
        one.addFilter(chosen)
    for message in ("x", "secret"):
        record = logging.makeLogRecord({"name": "shop.cart", "msg": message})
        assert handler.handle(record) == plain.handle(record)
    assert handler.stats().emitted == len(plain.got)


def test_a_filter_may_add_to_the_record(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Its additions are fields."""

    def add(record: logging.LogRecord) -> bool:
        record.request_id = "r-1"
        return True

    handler = make_handler()
    handler.addFilter(add)
    logger_to(handler).info("x")
    handler.flush()
    assert stored(cluster)[0]["request_id"] == "r-1"


def test_a_filter_that_raises(make_handler: MakeHandler) -> None:
    """Raises to the caller, as with every handler: it is the program's."""

    def fail(_record: logging.LogRecord) -> bool:
        raise RuntimeError("no")

    for handler in (make_handler(), Plain()):
        handler.addFilter(fail)
        with pytest.raises(RuntimeError, match="no"):
            logger_to(handler).info("x")


def test_a_formatter_may_be_set_and_unset(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """It holds for the records that come after."""
    handler = make_handler()
    logger = logger_to(handler)
    logger.info("x")
    handler.setFormatter(logging.Formatter("{message}!", style="{"))
    assert handler.format(logging.makeLogRecord({"msg": "x"})) == "x!"
    logger.info("x")
    handler.setFormatter(None)
    logger.info("x")
    handler.flush()
    assert messages(cluster) == ["x", "x!", "x"]


# -- what the caller gives ------------------------------------------------------------------------


def _at_once(logger: logging.Logger, **options: Any) -> None:
    logger.info("x", **options)


def _for_its_caller(logger: logging.Logger, **options: Any) -> None:
    logger.info("x", stacklevel=2, **options)


@pytest.mark.parametrize(
    ("log", "function"),
    [
        (_at_once, "_at_once"),
        (_for_its_caller, "test_who_logged"),
    ],
)
def test_who_logged(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    log: Callable[[logging.Logger], None],
    function: str,
) -> None:
    """stacklevel names the caller's caller."""
    handler = make_handler()
    log(logger_to(handler))
    handler.flush()
    assert stored(cluster)[0]["function"] == function


def test_stack_info(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """It is another field, not a part of the message."""
    handler = make_handler()
    logger_to(handler).info("x", stack_info=True)
    handler.flush()
    [fields] = stored(cluster)
    assert fields["message"] == "x"
    assert fields["stack"].startswith("Stack (most recent call last):")
    assert "test_stack_info" in fields["stack"]


def _fail(*_arguments: Any) -> Any:
    raise RuntimeError("no")


def _raised() -> BaseException:
    try:
        _fail()
    except RuntimeError as error:
        return error
    raise AssertionError("nothing was raised")


ERROR = _raised()


@pytest.mark.parametrize(
    ("exc_info", "kind"),
    [
        (ERROR, "RuntimeError"),
        ((type(ERROR), ERROR, ERROR.__traceback__), "RuntimeError"),
        (LookupError("never raised"), "LookupError"),
        (True, None),
        (None, None),
        (False, None),
        ((None, None, None), None),
    ],
    ids=["exception", "tuple", "without traceback", "True outside", "None", "False", "Nones"],
)
def test_exc_info(
    cluster: FakeKafka, make_handler: MakeHandler, exc_info: Any, kind: str | None
) -> None:
    """May be all that logging allows."""
    handler = make_handler()
    logger_to(handler).info("x", exc_info=exc_info)
    assert handler.flush() == 0
    assert stored(cluster)[0].get("exception", {}).get("type") == kind


# -- locks ----------------------------------------------------------------------------------------


def test_the_handlers_lock_is_not_in_the_way(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """logging.shutdown() holds it while it flushes: threads that log meanwhile continue."""
    handler = make_handler()
    handler.acquire()
    try:
        thread = threading.Thread(target=logger_to(handler).info, args=("x",))
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        assert handler.flush() == 0
    finally:
        handler.release()
    assert messages(cluster) == ["x"]


def test_the_lock_may_be_made_anew(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """createLock() is logging's to call."""
    handler = make_handler()
    handler.createLock()
    with handler.lock:  # type: ignore[union-attr]
        logger_to(handler).info("x")
    assert handler.flush() == 0


# -- the end --------------------------------------------------------------------------------------


def shut_down(*handlers: logging.Handler) -> None:
    """Close these handlers as logging does at exit, oldest first."""
    logging.shutdown([weakref.ref(handler) for handler in handlers])


def test_shutdown_begins_with_the_youngest(cluster: FakeKafka) -> None:
    """Each is flushed and closed before the next."""
    done: list[str] = []

    class Telling(KafkaHandler):
        def flush(self, timeout: float | None = None) -> int:
            done.append(f"flush {self.name}")
            return super().flush(timeout)

        def close(self) -> None:
            done.append(f"close {self.name}")
            super().close()

    options = {**QUICK, "linger_ms": 60_000}
    handlers = [Telling(cluster.addresses, "logs", **options) for _ in range(2)]
    for name, handler in zip(("older", "younger"), handlers, strict=True):
        handler.name = name
        logger_to(handler).info(name)
    shut_down(*handlers)
    assert done == ["flush younger", "close younger", "flush older", "close older"]
    assert messages(cluster) == ["younger", "older"]


def test_a_fallback_is_closed_after_the_handler_before_it(
    cluster: FakeKafka, make_handler: MakeHandler, tmp_path: Path
) -> None:
    """It is older, so that what is given up at the end is still taken."""
    refuse_everything(cluster)
    fallback = logging.FileHandler(tmp_path / "lost.log")
    handler = make_handler(fallback=fallback, linger_ms=60_000)
    logger_to(handler).info("x")
    shut_down(fallback, handler)
    assert (tmp_path / "lost.log").read_text() == "x\n"


class Failing(logging.Handler):
    """Can't emit, and says so."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise."""
        _fail(record)


def _closed_file() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    ("options", "stderr"),
    [
        ({"on_error": _fail}, io.StringIO()),
        ({"fallback": Failing()}, io.StringIO()),
        ({}, None),
        ({}, _closed_file()),
    ],
    ids=["on_error raises", "fallback raises", "no stderr", "stderr closed"],
)
def test_errors_at_the_end_stay_inside(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    stderr: Any,
) -> None:
    """flush() and close() raise nothing: with raiseExceptions, shutdown would pass it on."""
    monkeypatch.setattr(logging, "raiseExceptions", True)
    refuse_everything(cluster)
    handler = make_handler(**options)
    logger_to(handler).info("x")
    monkeypatch.setattr(sys, "stderr", stderr)
    shut_down(handler)
    assert handler.stats().failed == 1
