"""Records that are logged while shipping are shown elsewhere: none loops, and none is shipped."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import (
    HELD_BACK,
    Collecting,
    MakeHandler,
    logger_to,
    messages,
    refuse_everything,
    stop_broker,
    stored_records,
)
from tests.support.waiting import until

SHOWN = "WARNING shop.cart: I was called"


class Chatty:
    """Code of the user's that logs to the handler it works for."""

    def __init__(self, returns: Any = None, times: int = 1) -> None:
        self.logger = logging.Logger("nowhere")
        self.returns = returns
        self.times = times

    def __call__(self, *arguments: Any) -> Any:
        """Log, and return what was asked for, or the last argument's first element."""
        for _ in range(self.times):
            self.logger.warning("I was called")
        return arguments[-1][0] if self.returns is None else self.returns


class ChattyArgument:
    """An argument whose text is made while a record is converted."""

    def __init__(self, say: Callable[[], object]) -> None:
        self.say = say

    def __str__(self) -> str:
        self.say()
        return "shown"


# -- code of the user's --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "returns"),
    [
        ("serializer", "value"),
        ("key_maker", "key"),
        ("topic", "logs"),
        ("format", "value"),
        ("context", {}),
    ],
)
def test_code_that_makes_the_record(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    capsys: pytest.CaptureFixture[str],
    option: str,
    returns: Any,
) -> None:
    """Records that it logs to the handler that calls it go to stderr; the record itself arrives."""
    chatty = Chatty(returns)
    handler = make_handler(**{option: chatty})
    chatty.logger = logger = logger_to(handler)
    logger.info("x")
    assert handler.flush() == 0
    assert capsys.readouterr().err == f"{SHOWN}\n"
    logger.info("y")
    assert handler.flush() == 0
    assert len(stored_records(cluster)) == 2
    assert (handler.stats().emitted, handler.stats().diverted) == (2, 2)


def test_an_argument_that_logs(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its text is made while the record is converted."""
    handler = make_handler()
    logger = logger_to(handler)
    logger.info("it is %s", ChattyArgument(lambda: logger.warning("I was called")))
    assert handler.flush() == 0
    assert messages(cluster) == ["it is shown"]
    assert capsys.readouterr().err == f"{SHOWN}\n"
    assert handler.stats().diverted == 1


def test_a_formatter_that_logs(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """So is what a Formatter makes."""
    handler = make_handler()
    logger = logger_to(handler)

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            logger.warning("I was called")
            return "formatted"

    handler.setFormatter(Formatter())
    logger.info("x")
    handler.flush()
    assert messages(cluster) == ["formatted"]
    assert handler.stats().diverted == 1


def test_a_partitioner_that_logs(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs on the loop thread, where all is shipping."""
    chatty = Chatty()
    handler = make_handler(partitioner=chatty)
    chatty.logger = logger = logger_to(handler)
    logger.info("x")
    assert handler.flush() == 0
    assert messages(cluster) == ["x"]
    assert capsys.readouterr().err == f"{SHOWN}\n"
    assert (handler.stats().emitted, handler.stats().diverted) == (1, 1)


@pytest.mark.parametrize("where", ["calling thread", "loop thread"])
def test_an_on_error_that_logs(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """Its report of a record that failed would fail in turn."""
    refuse_everything(cluster)
    chatty = Chatty(())
    handler = make_handler("logs" if where == "loop thread" else "{nothing}", on_error=chatty)
    chatty.logger = logger = logger_to(handler)
    logger.info("x")
    assert handler.flush() == 0
    assert SHOWN in capsys.readouterr().err.splitlines()
    assert (handler.stats().emitted, handler.stats().diverted) == (1, 1)


class Loud(logging.Handler):
    """A fallback that logs, to the logger it is called for."""

    def __init__(self) -> None:
        super().__init__()
        self.logger = logging.Logger("nowhere")
        self.taken = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Log, but not without an end."""
        self.taken += 1
        if self.taken < 100:
            self.logger.warning("I was called")


def test_a_fallback_that_logs(make_handler: MakeHandler) -> None:
    """A fallback is the program's, what it logs is too; but it does not loop for ever."""
    loud = Loud()
    handler = make_handler("{nothing}", fallback=loud)
    loud.logger = logger = logger_to(handler)
    logger.info("x")
    assert loud.taken < 100
    assert handler.stats().emitted < 100


def test_two_handlers_that_log_to_each_other(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Whichever handler the code works for, what it logs to another one isn't shipped either."""
    chatty = Chatty("logs")
    first, second = make_handler(chatty), make_handler("others")
    logger = logger_to(first)
    logger.addHandler(second)
    chatty.logger = logger
    logger.info("x")
    assert (first.flush(), second.flush()) == (0, 0)
    assert messages(cluster) + messages(cluster, "others") == ["x", "x"]
    assert (first.stats().diverted, second.stats().diverted) == (1, 1)


def test_other_threads_go_on_shipping(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """Only what the thread that converts a record logs meanwhile is about shipping."""
    handler = make_handler()
    logger = logger_to(handler)

    def let_another_thread_log() -> None:
        other = threading.Thread(target=logger.info, args=("from another thread",))
        other.start()
        other.join()

    logger.info("it is %s", ChattyArgument(let_another_thread_log))
    handler.flush()
    assert sorted(messages(cluster)) == ["from another thread", "it is shown"]
    assert handler.stats().diverted == 0


# -- what interrupts a conversion ----------------------------------------------------------------


@pytest.fixture
def on_usr1() -> Iterator[Callable[[Any], None]]:
    """Sets the handler of SIGUSR1; it is what it was afterwards."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler) and None
    signal.signal(signal.SIGUSR1, before)


class Program:
    """Signal handlers as programs have them."""

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def method(self, _number: int, _frame: Any) -> None:
        """A bound method."""
        self.logger.warning("signal")

    def __call__(self, number: int, frame: Any) -> None:
        """An object that can be called."""
        self.method(number, frame)


@pytest.mark.parametrize("kind", ["function", "method", "object"])
@pytest.mark.parametrize("where", ["key_maker", "argument"])
def test_a_signal_handler_on_top_of_a_conversion(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    on_usr1: Callable[[Any], None],
    kind: str,
    where: str,
) -> None:
    """It has nothing to do with shipping: what it logs arrives."""

    def interrupt(*_arguments: Any) -> str:
        if not interrupted:
            interrupted.append(True)
            signal.raise_signal(signal.SIGUSR1)
        return "key"

    interrupted: list[bool] = []
    handler = make_handler(key_maker=interrupt if where == "key_maker" else None)
    logger = logger_to(handler)
    program = Program(logger)
    handlers: dict[str, Any] = {
        "function": lambda number, frame: logger.warning("signal"),
        "method": program.method,
        "object": program,
    }
    on_usr1(handlers[kind])
    logger.info("%s", ChattyArgument(interrupt) if where == "argument" else "shown")
    assert handler.flush() == 0
    assert sorted(messages(cluster)) == ["shown", "signal"]
    assert (handler.stats().emitted, handler.stats().diverted) == (2, 0)


class Kept:
    """An object that the garbage collector has to find."""

    def __init__(self) -> None:
        self.itself = self


class Dying(Kept):
    """One that logs its end."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self.logger = logger

    def __del__(self) -> None:
        self.logger.warning("gone")


def _watch(kept: Kept, logger: logging.Logger, how: str) -> object:
    if how == "reference":
        return weakref.ref(kept, lambda _: logger.warning("gone"))
    if how == "finalize":
        return weakref.finalize(kept, logger.warning, "gone")
    return None


@pytest.mark.parametrize("how", ["__del__", "reference", "finalize"])
def test_a_finaliser_on_top_of_a_conversion(
    cluster: FakeKafka, make_handler: MakeHandler, how: str
) -> None:
    """Objects are collected wherever Python code runs: what their finalisers log arrives."""
    handler = make_handler()
    logger = logger_to(handler)
    kept = Dying(logger) if how == "__del__" else Kept()
    watching = _watch(kept, logger, how)
    del kept
    logger.info("%s", ChattyArgument(gc.collect))
    del watching
    assert handler.flush() == 0
    assert sorted(messages(cluster)) == ["gone", "shown"]
    assert handler.stats().diverted == 0


def test_a_signal_handler_on_top_of_a_signal_handler(
    cluster: FakeKafka, make_handler: MakeHandler, on_usr1: Callable[[Any], None]
) -> None:
    """However many conversions are under way below it, its record arrives."""

    def interrupt() -> None:
        if len(interrupted) < 4:
            interrupted.append(True)
            signal.raise_signal(signal.SIGUSR1)

    interrupted: list[bool] = []
    handler = make_handler()
    logger = logger_to(handler)
    on_usr1(lambda *_: logger.info("%s", ChattyArgument(interrupt)))
    interrupt()
    assert handler.flush() == 0
    assert messages(cluster) == ["shown"] * 4
    assert handler.stats().diverted == 0


def test_a_conversion_on_top_of_a_signal_handler(
    cluster: FakeKafka, make_handler: MakeHandler, on_usr1: Callable[[Any], None]
) -> None:
    """The record of a signal handler arrives; code that makes it works for the handler."""
    handler = make_handler()
    logger = logger_to(handler)
    chatty = ChattyArgument(lambda: logger.warning("I was called"))
    on_usr1(lambda *_: logger.info("%s", chatty))
    logger.info("%s", ChattyArgument(lambda: signal.raise_signal(signal.SIGUSR1)))
    assert handler.flush() == 0
    assert messages(cluster) == ["shown"] * 2
    assert handler.stats().diverted == 1


def test_a_finaliser_that_makes_more_of_itself(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """A record that is logged while that of a __del__ is converted may loop, and is diverted."""
    handler = make_handler()
    logger = logger_to(handler)
    made: list[int] = []

    class Session:
        def __del__(self) -> None:
            if len(made) < 100:
                made.append(1)
                logger.warning("%s", ChattyArgument(Session))

    logger.info("%s", ChattyArgument(Session))
    assert handler.flush() == 0
    assert 1 < len(messages(cluster)) == handler.stats().emitted < 10
    assert 0 < handler.stats().diverted < 20  # those that are shown have a text to be made, too


# -- on the loop thread --------------------------------------------------------------------------


@pytest.fixture
def root_handler(make_handler: MakeHandler) -> Iterator[KafkaHandler]:
    """A handler on the root logger, where our own logs and asyncio's arrive too."""
    handler, root = make_handler(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def test_the_loop_threads_logs_are_not_shipped(
    cluster: FakeKafka, root_handler: KafkaHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records about records that failed would fail in turn, without an end; warnings are shown."""
    refuse_everything(cluster)
    for number in range(3):
        logging.getLogger("shop").info("x")
        root_handler.flush()
        assert root_handler.stats().failed >= number + 1
    stats = root_handler.stats()
    assert (stats.buffered, stats.in_flight) == (0, 0)
    assert stats.diverted >= 3
    told = capsys.readouterr().err
    assert "ERROR kiel_logging: " in told
    assert "were not delivered: the broker answered POLICY_VIOLATION" in told


def test_starting_the_loop_thread_is_not_shipped(
    cluster: FakeKafka, root_handler: KafkaHandler
) -> None:
    """The first record starts it: what asyncio logs over that is about shipping too."""
    logging.getLogger("shop").info("x")
    root_handler.flush()
    assert messages(cluster) == ["x"]
    assert root_handler.stats().emitted == 1


@pytest.mark.parametrize("how", ["__del__", "reference", "finalize"])
@pytest.mark.parametrize("overflow", ["drop_newest", "block"])
def test_a_finaliser_on_the_loop_thread(
    cluster: FakeKafka, make_handler: MakeHandler, how: str, overflow: str
) -> None:
    """The garbage collector runs on any thread: the records of its finalisers arrive."""

    def collect(_key: object, partitions: Any) -> Any:
        gc.collect()
        return partitions[0]

    handler = make_handler(partitioner=collect, key_field="levelname", overflow=overflow)
    logger = logger_to(handler)
    gc.disable()  # until the loop thread collects
    try:
        kept = Dying(logger) if how == "__del__" else Kept()
        watching = _watch(kept, logger, how)
        del kept
        gc.enable()
        logger.info("x")
        assert handler.flush() == 0
        until(lambda: handler.flush() == 0 and len(messages(cluster)) == 2)
    finally:
        gc.enable()
    del watching
    assert messages(cluster) == ["x", "gone"]
    assert (handler.stats().emitted, handler.stats().diverted) == (2, 0)


class Argument:
    """One that only its record refers to."""


class LastWords(Argument):
    """One that logs its end."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self.log = log

    def __del__(self) -> None:
        self.log("gone")


CALLBACKS: dict[str, Callable[[Any], Callable[[Any], object]]] = {
    "function": lambda log: lambda _reference: log("gone"),
    "any arguments": lambda log: lambda *_references: log("gone"),
    "partial": lambda log: partial(lambda text, _reference: log(text), "gone"),
}


@pytest.mark.parametrize("how", ["__del__", *CALLBACKS])
def test_a_last_reference_that_the_loop_thread_had(
    cluster: FakeKafka, make_handler: MakeHandler, how: str
) -> None:
    """A fallback wants records kept until they arrive: what their arguments' end logs arrives."""
    handler = make_handler(fallback=Collecting())
    logger = logger_to(handler)
    argument = LastWords(logger.warning) if how == "__del__" else Argument()
    reference = None if how == "__del__" else weakref.ref(argument, CALLBACKS[how](logger.warning))
    logger.info("%s", argument)
    del argument
    until(lambda: handler.flush() == 0 and len(messages(cluster)) == 2)
    del reference
    assert messages(cluster)[1] == "gone"
    assert handler.stats().diverted == 0


def test_a_finaliser_on_top_of_a_record_of_the_handlers(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """The loop thread converts what the handler itself says: what it is interrupted by arrives."""

    def context() -> dict[str, str]:
        if threading.current_thread() is not threading.main_thread():
            gc.collect()
        return {}

    handler = make_handler(context=context, chain=True)
    logger = logger_to(handler)
    Dying(logger)
    logger.info("x")
    until(lambda: handler.flush() == 0 and "gone" in messages(cluster))
    assert handler.stats().diverted == 0


def test_a_finaliser_of_code_that_the_loop_thread_calls(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Each record would be followed by another one, without an end."""

    class Session:
        def __del__(self) -> None:
            logger.warning("gone")

    def partitioner(_key: object, partitions: Any) -> Any:
        Session()
        return partitions[0]

    handler = make_handler(partitioner=partitioner, key_field="levelname")
    logger = logger_to(handler)
    logger.info("x")
    assert handler.flush() == 0
    assert messages(cluster) == ["x"]
    assert (handler.stats().emitted, handler.stats().diverted) == (1, 1)


# -- where it is shown ---------------------------------------------------------------------------


def divert(make_handler: MakeHandler, times: int = 1, **options: Any) -> KafkaHandler:
    """A handler whose serializer logged so often."""
    chatty = Chatty("value", times)
    handler = make_handler(serializer=chatty, **options)
    chatty.logger = logger_to(handler)
    chatty.logger.info("x")
    return handler


@pytest.mark.parametrize("by", ["object", "name"])
def test_an_internal_logger(
    make_handler: MakeHandler, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    """It gets the record itself, in place of stderr; its own level decides."""
    collecting = Collecting()
    internal = logging.getLogger("kiel_test.internal")
    internal.propagate = False
    internal.addHandler(collecting)
    try:
        handler = divert(
            make_handler, times=3, internal_logger=internal if by == "object" else internal.name
        )
        internal.setLevel(logging.CRITICAL)
        handler.handle(logging.makeLogRecord({"msg": "y", "levelno": logging.INFO}))
    finally:
        internal.setLevel(logging.NOTSET)
        internal.removeHandler(collecting)
    assert [(r.name, r.getMessage()) for r in collecting.records] == [
        ("shop.cart", "I was called")
    ] * 3
    assert capsys.readouterr().err == ""
    assert handler.stats().diverted == 6


def test_an_internal_logger_that_leads_back(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records that come back that way go to stderr: they don't loop, and are not shipped."""
    internal = logging.Logger("internal")
    handler = divert(make_handler, internal_logger=internal)
    internal.addHandler(handler)
    handler.handle(logging.makeLogRecord({"msg": "y", "levelno": logging.INFO}))
    assert handler.flush() == 0
    assert len(stored_records(cluster)) == 2
    assert SHOWN in capsys.readouterr().err


def test_an_internal_logger_that_leads_back_and_complains(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """So is what the handler says of itself."""
    stop_broker(cluster)
    internal = logging.Logger("internal")
    handler = make_handler(
        **HELD_BACK, buffer_records=1, internal_logger=internal, close_timeout_ms=20
    )
    internal.addHandler(handler)
    for _ in range(3):
        logger_to(handler).info("x")
    handler.close()
    assert handler.stats().emitted == 3
    assert "dropped 2: INFO 2, buffer_full" in capsys.readouterr().err
