"""Reports of a handler, and diverted records: where they go, and how many of them."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kiel_logging import diagnostics
from kiel_logging.diagnostics import MOST, report
from kiel_logging.handler import internal_log
from kiel_logging.handler.internal_log import MOST_DIVERTED, PERIOD, InternalLog, write_to_stderr
from kiel_logging.handler.recursion import as_shipping
from kiel_logging.testing import FakeKafka
from tests.handler.shipped import Collecting, MakeHandler, fail, logger_to


class Clock:
    """A clock that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        """What `time.monotonic` is to the module."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The module's time."""
    clock = Clock()
    for module in (internal_log, diagnostics):
        monkeypatch.setattr(module, "monotonic", clock.monotonic)
    return clock


@contextmanager
def console(level: int = logging.NOTSET) -> Iterator[None]:
    """A handler on a logger of this file's that writes to the console of the moment."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(level)
    logger = logging.getLogger("kiel_test.console")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def record(number: int = 0, **attributes: object) -> logging.LogRecord:
    """A WARNING of `shop`."""
    made = logging.LogRecord("shop", logging.WARNING, __file__, 1, "%d", (number,), None)
    made.__dict__.update(attributes)
    return made


# -- diverted records ----------------------------------------------------------------------------


def test_the_line_of_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    """Its level, logger and message."""
    InternalLog().divert(record(7))
    assert capsys.readouterr().err == "WARNING shop: 7\n"


def test_arguments_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """They cost the text, not the line."""
    InternalLog().divert(record(args=("x", "y")))
    assert capsys.readouterr().err.startswith("WARNING shop: '%d' (TypeError(")


def test_the_next_period(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Few are shown, so that there is room for what is lost; after ten seconds the number of the
    others is reported, and more are shown."""
    log = InternalLog()
    for number in range(25):
        log.divert(record(number))
    assert log.diverted == 25
    assert capsys.readouterr().err == "".join(f"WARNING shop: {n}\n" for n in range(MOST_DIVERTED))
    clock.now += PERIOD - 0.001
    log.divert(record())
    assert capsys.readouterr().err == ""
    clock.now += 0.001
    for _ in range(25):
        log.divert(record())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "kiel_logging: 19 more messages of kiel_logging were hidden"
    assert lines[1:] == ["WARNING shop: 0"] * MOST_DIVERTED


def test_ten_lines_whatever_they_are(
    clock: Clock, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Those of all handlers, and those that are logged: a program has one console."""
    logs = [InternalLog(), InternalLog()]
    for number in range(25):
        for log in logs:
            log.divert(record(number))
            log.complain(f"kind {number}", "it is broken")
        report(logging.ERROR, "lost")
    assert len(capsys.readouterr().err.splitlines()) + len(caplog.messages) == MOST


def test_what_was_logged_is_not_counted_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """A handler that gets a message of this package diverts it."""
    log = InternalLog()
    for number in range(MOST):
        report(logging.ERROR, f"lost {number}")
        log.divert(record(name="kiel_logging"))
    assert len(capsys.readouterr().err.splitlines()) == MOST


def test_a_period_without_too_many(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no number to report."""
    log = InternalLog()
    for _ in range(MOST_DIVERTED):
        log.divert(record())
    clock.now += PERIOD
    log.divert(record())
    assert capsys.readouterr().err == "WARNING shop: 0\n" * (MOST_DIVERTED + 1)


def test_below_warning_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr; such records take nothing from the ten."""
    log = InternalLog()
    for _ in range(50):
        log.divert(record(levelno=logging.INFO))
    log.divert(record())
    assert capsys.readouterr().err == "WARNING shop: 0\n"
    assert log.diverted == 51


@pytest.mark.parametrize("name", ["kiel_test.console", "kiel_test.console.child"])
def test_a_console_that_has_it_anyway(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """It is not written there a second time."""
    logging.getLogger(name)
    with console():
        InternalLog().divert(record(name=name))
    assert capsys.readouterr().err == ""


def test_a_console_with_a_higher_level(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not have it."""
    with console(logging.ERROR):
        InternalLog().divert(record(name="kiel_test.console"))
    assert capsys.readouterr().err == "WARNING kiel_test.console: 0\n"


def test_a_console_that_does_not_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A logger that does not propagate keeps its records from the console above it."""
    child = logging.getLogger("kiel_test.console.silent")
    child.propagate = False
    with console():
        InternalLog().divert(record(name=child.name))
    assert capsys.readouterr().err == "WARNING kiel_test.console.silent: 0\n"


# -- an internal logger --------------------------------------------------------------------------


def test_the_record_goes_to_the_logger(capsys: pytest.CaptureFixture[str]) -> None:
    """As it is, whatever its level, if the logger's own allows it."""
    collecting = Collecting()
    logger = logger_to(collecting, "internal")
    log = InternalLog(logger)
    debug, warning = record(levelno=logging.DEBUG), record()
    log.divert(debug)
    logger.setLevel(logging.INFO)
    log.divert(debug)
    log.divert(warning)
    assert collecting.records == [debug, warning]
    assert capsys.readouterr().err == ""


class Broken(logging.Handler):
    """A handler that raises what it should not."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise."""
        fail()


def test_a_logger_that_raises(capsys: pytest.CaptureFixture[str]) -> None:
    """That is reported on stderr, and goes no further."""
    log = InternalLog(logger_to(Broken(), "internal"))
    log.say(logging.WARNING, "x")
    log.divert(record())
    told = "kiel_logging: the internal logger raised RuntimeError('no way')\n"
    assert capsys.readouterr().err == told * 2


# -- complaints ----------------------------------------------------------------------------------


def test_a_complaint_is_made_once(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """In ten seconds, for each kind; then the number of the others is reported."""
    log = InternalLog()
    for _ in range(4):
        log.complain("fallback", "it raised")
        log.complain("closed", "100% closed")
    told = "kiel_logging: it raised\nkiel_logging: 100% closed\n"
    assert capsys.readouterr().err == told
    clock.now += PERIOD
    log.complain("fallback", "it raised again")
    assert capsys.readouterr().err == (
        "kiel_logging: 3 more since then: fallback\nkiel_logging: it raised again\n"
    )


# -- stderr --------------------------------------------------------------------------------------


CLOSED = io.StringIO()
CLOSED.close()


class Raising(io.StringIO):
    """A stream that is full."""

    def write(self, text: str, /) -> int:
        """Raise."""
        raise OSError("no space left on device")


@pytest.mark.parametrize(
    "stream",
    [None, Raising(), object(), CLOSED],
    ids=["none", "full", "no stream at all", "closed"],
)
def test_a_stderr_that_takes_nothing(monkeypatch: pytest.MonkeyPatch, stream: object) -> None:
    """Nothing can be reported, and nothing is raised."""
    monkeypatch.setattr(sys, "stderr", stream)
    log = InternalLog()
    log.divert(record())
    log.say(logging.ERROR, "x")
    assert log.diverted == 1


FORGED = "ok\n2026-01-01 CRITICAL forged\x1b[2J\x1b]0;title\x07\u202e\x9b31m"


def test_nothing_on_stderr_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is in a text of others; its lines can't pass for ours."""
    write_to_stderr(FORGED)
    write_to_stderr("one")
    assert capsys.readouterr().err == (
        "ok\n    2026-01-01 CRITICAL forged\\x1b[2J\\x1b]0;title\\x07\\u202e\\x9b31m\none\n"
    )


def test_a_text_on_stderr_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Megabytes of it would hide everything else."""
    write_to_stderr("x" * 10**6)
    assert len(capsys.readouterr().err) < 10_000


def test_what_a_handler_says_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr and for an internal logger: errors of others are among its parts."""
    heard = Collecting()
    for log in (InternalLog(), InternalLog(logger_to(heard))):
        log.say(logging.ERROR, FORGED)
    (record,) = heard.records
    assert record.getMessage().isprintable()
    assert capsys.readouterr().err == f"kiel_logging: {record.getMessage()}\n"


def test_a_diverted_record_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """In separate lines, without the control characters of its message."""

    def wrong() -> None:
        raise RuntimeError("\x1b[2J")

    with pytest.raises(RuntimeError) as raised:
        wrong()
    InternalLog().divert(record(exc_info=(raised.type, raised.value, raised.tb)))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["WARNING shop: 0", "    Traceback (most recent call last):"]
    assert lines[-1] == r"    RuntimeError: \x1b[2J"


def test_a_record_that_several_handlers_get(
    cluster: FakeKafka, make_handler: MakeHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is written to stderr once, however many handlers are on the logger's way, and counted by
    each."""
    handlers = [make_handler() for _ in range(3)]
    logger = logging.Logger("kiel_logging.test")
    for handler in handlers:
        logger.addHandler(handler)
    as_shipping(logger.warning, "told once")
    as_shipping(logger.warning, "told once")
    assert capsys.readouterr().err.count("told once") == 2
    assert [handler.stats().diverted for handler in handlers] == [2, 2, 2]
