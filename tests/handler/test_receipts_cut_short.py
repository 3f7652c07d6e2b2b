"""Receipts when something comes in between: signal handlers, forks, a Python on its way out."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from kiel_logging.errors import NotAcknowledged
from kiel_logging.handler.receipts import CUT_SHORT
from kiel_logging.testing import FakeKafka
from tests.handler.interruption import interrupt
from tests.handler.process.child import STRICT, run_by_hand, said
from tests.handler.shipped import HELD_BACK, QUICK, MakeHandler, logger_to, messages, total
from tests.handler.test_receipts import LONG, OURS, texts

# -- signals --------------------------------------------------------------------------------------


class TimeLimit(Exception):
    """Raised by a signal handler."""


def exceed() -> None:
    """Be that signal handler."""
    raise TimeLimit


def log_within(limit: int, log: Callable[[], object]) -> bool:
    """Log until the given moment; return whether that came."""
    came = True
    with contextlib.suppress(TimeLimit):
        came = interrupt(log, exceed, limit, OURS)
    return came


def test_a_logging_call_that_is_cut_short(cluster: FakeKafka, make_handler: MakeHandler) -> None:
    """At any moment: its block ends without waiting for an unknown end."""
    handler = make_handler(**HELD_BACK)
    logger = logger_to(handler)
    reasons = set()
    for moment in count(1):
        receipts = handler.receipts(LONG)
        came = False
        with contextlib.suppress(NotAcknowledged), receipts:
            came = log_within(moment, lambda: logger.info("cut short"))
            logger.info("whole")
        if not came:
            break
        assert "whole" in texts(receipts)
        reasons.update(one.reason for one in receipts.undelivered)
    # Where Python converts the record, the exception may come out of that.
    assert CUT_SHORT in reasons <= {CUT_SHORT, "unserialisable"}
    assert texts(receipts) == ["cut short", "whole"]
    assert handler.flush() == 0
    assert total(handler.stats()) == handler.stats().emitted


def test_a_signal_handler_that_logs_on_top_of_leaving(
    cluster: FakeKafka, make_handler: MakeHandler, request: pytest.FixtureRequest
) -> None:
    """At any moment, in another block: both blocks end with their own records."""
    handler = make_handler(**HELD_BACK)
    logger = logger_to(handler)

    def on_top(*_arguments: object) -> None:
        with handler.receipts(LONG) as inner:
            logger.info("on top")
        found.append(texts(inner))

    found: list[list[str]] = []
    # A signal handler on top of a conversion works for the program.
    request.addfinalizer(partial(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1)))
    signal.signal(signal.SIGUSR1, on_top)
    for moment in count(1):
        receipts = handler.receipts(LONG)
        came = interrupt(partial(log_a_block, receipts, logger.info), on_top, moment, OURS)
        if not came:
            break
        assert texts(receipts) in (["paid"], ["paid", "on top"], ["on top", "paid"])
    assert found == [["on top"]] * (moment - 1)
    assert moment > 20
    assert not handler._blocks


def test_a_signal_handler_that_flushes_on_top_of_a_block(
    cluster: FakeKafka, make_handler: MakeHandler
) -> None:
    """As flush_on_sigterm does: the loop thread waits for nothing that is held beneath it."""
    handler = make_handler(**HELD_BACK)
    logger = logger_to(handler)
    for moment in count(1):
        receipts = handler.receipts(LONG)
        left: list[int] = []
        came = interrupt(
            partial(log_a_block, receipts, logger.info),
            lambda left=left: left.append(handler.flush(LONG)),  # type: ignore[misc]
            moment,
            OURS,
        )
        assert (texts(receipts), left) == (["paid"], [0] if came else [])
        if not came:
            break


def log_a_block(receipts: Any, log: Callable[[str], object]) -> None:
    """Log one record, and have its receipt."""
    with receipts:
        log("paid")


# -- a Python on its way out ----------------------------------------------------------------------


def test_where_no_thread_can_be_started(
    cluster: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that leaves the block ships."""
    handler = KafkaHandler(cluster.addresses, "logs", **QUICK)

    def refuse(*_arguments: Any) -> None:
        raise RuntimeError("can't start new thread")

    with contextlib.closing(handler):
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with handler.receipts(LONG) as receipts:
            logger_to(handler).info("the last record")
        monkeypatch.undo()
    assert texts(receipts) == messages(cluster) == ["the last record"]


def test_a_block_in_atexit(cluster: FakeKafka) -> None:
    """It comes before logging's own end, and may or may not have a thread."""
    code = """
import atexit
handler = make()

def last_words():
    with handler.receipts(30) as receipts:
        log.info("the last record")
    say(offsets=[receipt.offset for receipt in receipts])

atexit.register(last_words)
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"offsets": [0]}, "")


# -- forks ----------------------------------------------------------------------------------------


def test_a_fork_in_a_block(cluster: FakeKafka) -> None:
    """Each process waits for what it logged itself, and has its receipts."""
    code = """
handler = make(linger_ms=60_000)
child = None
with handler.receipts(30) as receipts:
    log.info("before")
    child = os.fork()
    log.info("child" if child == 0 else "parent")
name = "child" if child == 0 else "parent"
say(**{name: [receipt.message for receipt in receipts]})
if child == 0:
    sys.exit()
say(statuses=wait(child))
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert said(program) == {
        "parent": ["before", "parent"],
        "child": ["child"],
        "statuses": [0],
    }
    assert program.stderr == ""
    assert sorted(messages(cluster)) == ["before", "child", "parent"]


def test_a_child_that_logs_nothing_in_the_block(cluster: FakeKafka) -> None:
    """It has nothing to wait for, not even with the broker away; its parent doesn't wait for it."""
    code = """
handler = make(linger_ms=60_000)
with handler.receipts(30) as receipts:
    log.info("before")
    child = os.fork()
    if child == 0:
        receipts.__exit__(None, None, None)
        log.info("after the block")
        with handler.receipts(30) as own:
            log.info("own")
        say(child=len(receipts), own=len(own))
        os._exit(0)
    wait(child)
say(parent=len(receipts))
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert said(program) == {"child": 0, "own": 1, "parent": 1}
    assert program.stderr == ""


@pytest.mark.slow
def test_threads_in_blocks_while_others_fork(cluster: FakeKafka) -> None:
    """A block whose thread is not in the child hinders no thread there."""
    code = """
handler = make(batch_size=3)
over = threading.Event()
counts = []

def work():
    count = 0
    while not over.is_set() or count < 20:
        with handler.receipts(30) as receipts:
            log.info("parent")
        count += len(receipts)
    counts.append(count)

def child():
    for _ in range(5):
        with handler.receipts(30) as receipts:
            log.info("child")
        assert len(receipts) == 1

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
statuses = wait(*[fork(child) for _ in range(4)])
over.set()
for thread in threads: thread.join()
say(statuses=statuses, parent=sum(counts))
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    told = said(program)
    assert (program.returncode, program.stderr, told["statuses"]) == (0, "", [0] * 4)
    assert messages(cluster).count("parent") == told["parent"]
    assert messages(cluster).count("child") == 20
