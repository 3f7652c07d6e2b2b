"""Logging calls that an exception cuts short, at any moment: Ctrl-C, the signal of a time limit.

The record may be lost, as with any handler. Later ones are not.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count, takewhile
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.handler.recursion import is_shipping
from kiel_logging.journal.local_stream import LocalStream
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.cluster import FakeCluster
from tests.handler.interruption import interrupt
from tests.handler.shipped import HELD_BACK, Collecting, MakeHandler, logger_to, messages, total
from tests.record.fast import IN_C
from tests.support.stamps import audited, harm
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.filterwarnings(
    # Generators and loops that were cut short are finalised, and say so.
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def no_remains() -> Iterator[None]:
    """Finalises what was cut short, which another test would be blamed for."""
    yield
    gc.collect()


class TimeLimit(BaseException):
    """Raised by a signal handler."""


class Spooled(NamedTuple):
    """A handler with a spool, each of whose calls has more than ``least`` moments."""

    handler: KafkaHandler
    least: int


def exceed() -> None:
    """Be that signal handler."""
    raise TimeLimit


def cut_short(work: Callable[[], object], moment: int, end: Callable[[], None] = exceed) -> bool:
    """Run `work()` until the given moment; return whether it lasted so long."""
    came = True
    with contextlib.suppress(TimeLimit, TimeoutError):
        # Within the package: Python's own threading may not stand it.
        came = interrupt(work, end, moment, "kiel_logging.")
    return came


WITH_CARE = {"key_maker": lambda fields: fields["level"]}
"""Options with which no record takes the short way, which has few moments or none."""


@pytest.mark.parametrize(("options", "least"), [({}, 0), (WITH_CARE, 20)], ids=["short", "long"])
@pytest.mark.parametrize("overflow", ["drop_newest", "drop_lowest"])
def test_a_call_cut_short_costs_no_other(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    overflow: str,
    options: dict[str, Any],
    least: int,
) -> None:
    """Whenever it was: the thread is not taken for shipping, and keeps no lock."""
    handler = make_handler(overflow=overflow, **options)
    logger = logger_to(handler)
    logger.info("first")
    moments = list(
        takewhile(
            lambda moment: (
                cut_short(lambda: logger.info("cut short"), moment) and logger.info("whole") is None
            ),
            count(1),
        )
    )
    assert len(moments) > least
    assert not is_shipping()
    handler.close()
    assert messages(cluster).count("whole") == len(moments)
    assert handler.stats().diverted == 0
    assert handler.stats().emitted == total(handler.stats())


def test_a_record_that_is_dropped_and_a_call_cut_short(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """Nor does it harm those after it that the handler can't convert this one."""
    handler = make_handler(key_maker=lambda fields: fields.get("key", "k"), on_error=print)
    logger = logger_to(handler)

    def log_what_has_no_key() -> None:
        logger.info("wrong", extra={"key": [1]})

    moments = list(
        takewhile(
            lambda moment: cut_short(log_what_has_no_key, moment) and logger.info("right") is None,
            count(1),
        )
    )
    handler.close()
    assert messages(cluster).count("right") == len(moments)


@pytest.fixture(params=["overflow", "always", "always, in Python"])
def spooled(
    make_handler: MakeHandler,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Spooled:
    """With a chain; compiled code appends what it can, or nothing."""
    mode, _, how = request.param.partition(", ")
    if how:
        monkeypatch.setattr(LocalStream, "publish", lambda _: None)
    handler = make_handler(spool_dir=tmp_path, spool=mode, chain=True, linger_ms=0)
    in_python = mode == "always" and (bool(how) or not IN_C)
    return Spooled(handler, 20 if in_python else 0)


@pytest.mark.parametrize("how", [TimeLimit, TimeoutError], ids=lambda how: how.__name__)
def test_a_chain_and_a_call_cut_short(
    cluster: FakeKafka, spooled: Spooled, tmp_path: Path, how: type[BaseException]
) -> None:
    """A stream doesn't lack anything unreported either, and says nothing twice."""

    def exceed_so() -> None:
        raise how

    handler = spooled.handler
    logger = logger_to(handler)
    logger.info("first")

    def is_cut_short_at(moment: int) -> bool:
        came = cut_short(lambda: logger.info("cut short"), moment, exceed_so)
        logger.info("whole")
        return came

    moments = len(list(takewhile(is_cut_short_at, count(1))))
    assert moments > spooled.least
    assert handler.flush() == 0
    stats = handler.stats()
    assert (total(stats), stats.failed, stats.spooled) == (stats.emitted, 0, 0)
    handler.close()
    found = messages(cluster)
    assert found.count("whole") == moments + 1
    assert harm(audited(cluster.records("logs"))) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_chain_and_signals_that_raise_again(
    cluster: FakeKafka, spooled: Spooled, tmp_path: Path
) -> None:
    """Also while a call cleans up behind the exception of the signal before. Numbers are given
    where records are read, so none can be without its record."""
    logger = logger_to(spooled.handler)
    logger.info("first")
    raised = 0

    def raise_again(_signal: int, frame: FrameType | None) -> None:
        nonlocal raised
        if frame is not None and frame.f_globals["__name__"].startswith(("kiel_", "logging")):
            raised += 1
            raise TimeLimit

    before = signal.signal(signal.SIGALRM, raise_again)
    signal.setitimer(signal.ITIMER_REAL, 0.000_1, 0.000_1)
    number = 0
    while raised <= 100 or number < 5_000:
        with contextlib.suppress(TimeLimit):
            logger.info("record", extra={} if number % 2 else {"it": WITH_CARE})
        number += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    logger.info("last")
    assert spooled.handler.flush() == 0
    stats = spooled.handler.stats()
    assert (total(stats), stats.failed, stats.spooled) == (stats.emitted, 0, 0)
    spooled.handler.close()
    assert messages(cluster)[0] == "first"
    assert messages(cluster)[-1] == "last"
    assert harm(audited(cluster.records("logs"))) == {}
    assert list(tmp_path.iterdir()) == []


def test_whoever_waits_on_top_of_a_call(cluster: FakeKafka, spooled: Spooled) -> None:
    """A signal handler that flushes, and takes receipts, is not kept from it by what is beneath."""
    handler = spooled.handler
    logger = logger_to(handler)
    logger.info("first")
    flushed: list[int] = []

    def wait_for_it() -> None:
        with handler.receipts(timeout=20.0):
            logger.info("on top")
        flushed.append(handler.flush(20.0))

    moments = 0
    while interrupt(lambda: logger.info("beneath"), wait_for_it, moments + 1, "kiel_logging."):
        moments += 1
    assert moments > spooled.least
    assert flushed == [0] * moments
    handler.close()
    found = messages(cluster)
    assert (found.count("on top"), found.count("beneath")) == (moments, moments + 1)
    assert harm(audited(cluster.records("logs"))) == {}
    assert handler.stats().emitted == total(handler.stats())


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_a_full_buffer_and_a_call_cut_short(make_handler: MakeHandler, overflow: str) -> None:
    """Nor that there is no room."""
    handler = make_handler(**HELD_BACK, buffer_records=1, overflow=overflow, fallback=Collecting())
    logger = logger_to(handler)
    logger.info("first")
    moments = list(
        takewhile(
            lambda moment: (
                cut_short(lambda: logger.info("cut short"), moment) and not is_shipping()
            ),
            count(1),
        )
    )
    assert len(moments) > 10
    assert not is_shipping()
    assert handler.stats().diverted == 0


@pytest.mark.parametrize(
    ("options", "least"),
    [
        pytest.param({}, 20, id="short"),
        pytest.param(WITH_CARE, 50, id="long", marks=pytest.mark.slow),
    ],
)
def test_the_first_call_cut_short(
    cluster: FakeKafka, make_handler: MakeHandler, options: dict[str, Any], least: int
) -> None:
    """It starts the thread, or the next call does; flush() is not what it takes."""

    def is_shipped_after(moment: int) -> bool:
        handler: Any = make_handler(**options)
        logger = logger_to(handler)
        came = cut_short(lambda: logger.info("cut short"), moment)
        logger.info("whole %d", moment)
        cluster.wait(lambda c: c.until(lambda: is_stored(c, f'"whole {moment}"')))
        handler.close()
        return came

    assert len(list(takewhile(is_shipped_after, count(1)))) > least


@pytest.mark.parametrize("late", [False, True], ids=["", "runs late"])
def test_a_call_cut_short_when_the_thread_has_begun(
    cluster: FakeKafka,
    make_handler: MakeHandler,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    late: bool,
) -> None:
    """The next call finds it there; or starts another, and one of both ships."""
    both_began = threading.Barrier(2)
    run = threading.Thread.run

    def run_late(thread: threading.Thread) -> None:
        if late and thread.name == "kiel_logging":
            both_began.wait(PATIENCE)
        run(thread)

    monkeypatch.setattr(threading.Thread, "run", run_late)

    def exceed_then(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "return" and frame.f_code is threading.Thread.start.__code__:
            exceed()

    logger = logger_to(make_handler())
    sys.setprofile(exceed_then)
    with pytest.raises(TimeLimit):
        logger.info("cut short")
    sys.setprofile(None)
    logger.info("whole")
    cluster.stored("logs", 2)
    assert messages(cluster) == ["cut short", "whole"]
    assert capsys.readouterr().err == ""


def is_stored(cluster: FakeCluster, text: str) -> bool:
    """Whether a record has it."""
    return any(text.encode() in (record.value or b"") for record in cluster.records("logs")[0])
