"""A loop that can be held still from another thread, for a fork."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kiel_logging.handler.loop_thread import Gate
from kiel_logging.handler.pausing_loop import MOST_SKIPPED, PausingLoop

PATIENCE = 20.0
ROOT = Path(__file__).parents[3]


@pytest.fixture
def gate() -> Gate:
    """The gate that the loop has while it works."""
    return Gate()


@pytest.fixture
def loop(gate: Gate) -> Iterator[PausingLoop]:
    """A loop that runs on another thread."""
    loop = PausingLoop(gate)

    def run() -> None:
        with gate:
            loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    loop.close()


def run_on(loop: PausingLoop, callback: Callable[[], object]) -> None:
    """Run `callback` on the loop's thread, and wait for it."""
    done = threading.Event()
    loop.call_soon_threadsafe(lambda: (callback(), done.set()))
    assert done.wait(PATIENCE)


def test_it_does_nothing_while_it_is_paused(loop: PausingLoop, gate: Gate) -> None:
    """Calls that come meanwhile are made afterwards."""
    assert gate.acquire(PATIENCE)
    done = threading.Event()
    loop.call_soon_threadsafe(done.set)
    done_in_the_pause = done.wait(0.05)
    gate.release()
    assert not done_in_the_pause
    assert done.wait(PATIENCE)


def test_it_is_not_paused_in_the_middle_of_anything(loop: PausingLoop, gate: Gate) -> None:
    """A thread that asks has to wait; when it takes too long, it does not get the gate."""
    reached, let_go = threading.Event(), threading.Event()
    loop.call_soon_threadsafe(lambda: (reached.set(), let_go.wait(PATIENCE)))
    assert reached.wait(PATIENCE)
    assert not gate.acquire(0)
    let_go.set()
    assert gate.acquire(PATIENCE)
    gate.release()


def test_one_that_gave_up_is_not_in_the_way_of_others(loop: PausingLoop, gate: Gate) -> None:
    """The loop continues, and can be paused again."""
    test_it_is_not_paused_in_the_middle_of_anything(loop, gate)
    test_it_does_nothing_while_it_is_paused(loop, gate)


def test_a_busy_loop_can_be_paused(loop: PausingLoop, gate: Gate) -> None:
    """A loop that never waits for long can be paused; it continues where it was."""
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1
        loop.call_soon(count)

    loop.call_soon_threadsafe(count)
    for _ in range(20):
        assert gate.acquire(PATIENCE)
        before = counted
        gate.release()
    while counted == before:
        run_on(loop, bool)
    assert counted > before


def test_pauses_come_one_after_the_other(loop: PausingLoop, gate: Gate) -> None:
    """Several threads may fork: no two think at once that the loop is theirs."""
    inside, most = 0, 0

    def fork() -> None:
        nonlocal inside, most
        for _ in range(50):
            gate.acquire(PATIENCE)
            inside += 1
            most = max(most, inside)
            inside -= 1
            gate.release()

    threads = [threading.Thread(target=fork) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_it_can_be_run_on_the_thread_that_holds_it() -> None:
    """As where no thread can be started."""
    gate = Gate()
    loop = PausingLoop(gate)
    with gate:
        assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"
    loop.close()


FORK = """
import os, threading
from kiel_logging.handler.loop_thread import Gate
from kiel_logging.handler.loop_thread import Gate
from kiel_logging.handler.loop_thread import Gate
from kiel_logging.handler.pausing_loop import PausingLoop

def open_files():
    found = set()
    for number in range(100):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.add(number)
    return found

before = open_files()
gate = Gate()
loop = PausingLoop(gate)
watched, writer = os.pipe()
arrived, called = threading.Event(), threading.Event()
loop.add_reader(watched, lambda: (os.read(watched, 1), arrived.set()))

def run():
    with gate:
        loop.run_forever()

thread = threading.Thread(target=run)
thread.start()
assert gate.acquire(20)
child = os.fork()
if not child:
    loop.abandon()
    os._exit(len(open_files() - before - {writer}))
gate.release()
print("left open in the child:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os.write(writer, b"x")
print("in the parent:", arrived.wait(20))
loop.call_soon_threadsafe(called.set)
print("and again:", called.wait(20))
loop.call_soon_threadsafe(loop.stop)
thread.join()
loop.close()
"""


def test_a_child_lets_go_of_it_and_the_parent_goes_on() -> None:
    """The child closes its copies of all files; the parent continues to watch its own."""
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == [
        "left open in the child: 0",
        "in the parent: True",
        "and again: True",
    ]


def test_a_busy_loop_looks_for_what_comes_from_outside() -> None:
    """Not every time, for that lets the GIL go, but every few times."""
    gate = Gate()
    loop = PausingLoop(gate)
    here, there = socket.socketpair()
    seen: list[int] = []
    with gate, here, there:
        loop.add_reader(here, lambda: seen.append(rounds))
        there.send(b"x")
        rounds = 0

        async def work() -> None:
            nonlocal rounds
            while not seen:
                rounds += 1
                await asyncio.sleep(0)

        loop.run_until_complete(work())
        loop.remove_reader(here)
    loop.close()
    assert 1 < seen[0] <= MOST_SKIPPED + 2
