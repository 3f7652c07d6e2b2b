"""One job after the other, away from the loop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kiel_logging.handler.shipping import is_shipping
from kiel_logging.handler.spool.worker import Worker
from tests.handler.process.child import run_program
from tests.handler.spool.sample import PATIENCE


class Loop:
    """What stands in for a loop: keeps what it is to run."""

    def __init__(self) -> None:
        self.closed = False
        self.told: list[Any] = []

    def call(self, function: Any, *arguments: Any) -> None:
        """As `call_soon_threadsafe` does."""
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.told.append((function, *arguments))


@pytest.fixture
def loop() -> Loop:
    """An open one."""
    return Loop()


@pytest.fixture
def worker(loop: Loop) -> Iterator[Worker]:
    """One that ends with the test."""
    worker = Worker(loop.call)
    yield worker
    assert worker.close(PATIENCE)


def test_no_thread_without_a_job(worker: Worker) -> None:
    """It starts with the first."""
    before = threading.active_count()
    assert repr(worker) == "<Worker jobs=0 thread=False>"
    worker.submit(lambda: None)
    assert threading.active_count() == before + 1


def test_jobs_run_in_order_on_one_thread(worker: Worker, loop: Loop) -> None:
    """A daemon that works for us, and so is not logged from."""
    ran: list[Any] = []
    for number in range(100):
        worker.submit(lambda number=number: ran.append((number, threading.current_thread())))
    shipping: list[bool] = []
    worker.submit(lambda: shipping.append(is_shipping()))
    assert worker.close(PATIENCE)
    assert [number for number, _ in ran] == list(range(100))
    (thread,) = {thread for _, thread in ran}
    assert (thread.daemon, thread is not threading.current_thread()) == (True, True)
    assert shipping == [True]


def test_what_a_job_returns_or_raises_is_told(worker: Worker, loop: Loop) -> None:
    """Through the loop, to whoever asked; the next one runs."""
    error = LookupError("no such thing")

    def broken() -> None:
        raise error

    def then(result: Any, error: Exception | None) -> None:
        raise AssertionError("not on this thread")

    worker.submit(lambda: 7, then)
    worker.submit(broken, then)
    worker.submit(lambda: 8)
    worker.submit(lambda: 9, then)
    assert worker.close(PATIENCE)
    assert loop.told == [(then, 7, None), (then, None, error), (then, 9, None)]


def test_a_closed_loop_is_told_nothing(worker: Worker, loop: Loop) -> None:
    """Nobody waits; the jobs are done all the same."""
    loop.closed = True
    ran = threading.Event()
    worker.submit(lambda: None, lambda result, error: None)
    worker.submit(ran.set)
    assert ran.wait(PATIENCE)


def test_a_pause_lets_no_job_begin(worker: Worker) -> None:
    """The one that runs ends first; who asks too long is told."""
    began, let_go, ran = threading.Event(), threading.Event(), threading.Event()
    worker.submit(lambda: (began.set(), let_go.wait(PATIENCE)))
    worker.submit(ran.set)
    assert began.wait(PATIENCE)
    with pytest.raises(TimeoutError):
        worker.pause(0.01)
    let_go.set()
    assert worker.pause(PATIENCE)
    had_run = ran.is_set()
    worker.submit(lambda: None)
    assert not ran.wait(0.05) or had_run
    worker.go_on()
    assert ran.wait(PATIENCE)


def test_closing_has_patience_and_no_more(loop: Loop) -> None:
    """What was submitted is done in the end."""
    worker = Worker(loop.call)
    let_go, ran = threading.Event(), threading.Event()
    worker.submit(lambda: let_go.wait(PATIENCE))
    worker.submit(ran.set)
    assert not worker.close(0.01)
    let_go.set()
    assert worker.close(PATIENCE)
    assert ran.is_set()


def test_where_no_thread_can_be_started_jobs_run_at_once() -> None:
    """In order; Python starts none while it ends (3.12), nor where there are too many."""
    code = """
import threading
from kiel_logging.handler.spool.worker import Worker

def refuse(*arguments, **more):
    raise RuntimeError("can't start new thread")

threading._start_new_thread = refuse
threading._start_joinable_thread = refuse
told = []
worker = Worker(lambda function, *arguments: function(*arguments))
for number in range(3):
    worker.submit(lambda: number, lambda result, error: told.append(result))
assert worker.close(1.0)
print(told)
"""
    program = run_program(code, "-X", "dev", "-W", "error")
    assert (program.stdout, program.stderr) == ("[0, 1, 2]\n", "")
