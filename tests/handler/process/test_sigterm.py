"""SIGTERM: what is buffered is delivered, then happens what did before.

Each test runs a program that is sent SIGTERM, against brokers in this process.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from kiel_logging.testing import FakeKafka
from tests.handler.process.child import STRICT, run_by_hand, said
from tests.handler.shipped import messages, stop_broker
from tests.support.examples import combinations
from tests.support.stamps import events

HELD_BACK = {"linger_ms": 60_000, "flush_on_sigterm": True}
"""Nothing is delivered but by a flush."""

KILLED = -signal.SIGTERM

# -- what there was before ------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{}, {"flush_on_sigterm": True}], ids=["by default", "asked"])
def test_the_default_action(cluster: FakeKafka, asked: dict[str, bool]) -> None:
    """The records arrive, and the process dies of the signal as it would have."""
    code = """
make()
for number in range(100): log.info("%d", number)
terminate()
log.info("never")
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, linger_ms=60_000, **asked)
    assert (program.returncode, program.stderr) == (KILLED, "")
    assert messages(cluster) == [str(number) for number in range(100)]


def test_a_program_that_handles_it(cluster: FakeKafka) -> None:
    """By default nothing comes in front of a program's handler, which decides whether it ends."""
    code = """
def on_sigterm(number, frame):
    say(delivered=handler.stats().delivered)
    sys.exit(3)

signal.signal(signal.SIGTERM, on_sigterm)
handler = make()
say(untouched=signal.getsignal(signal.SIGTERM) is on_sigterm)
log.info("before")
terminate()
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, linger_ms=60_000)
    assert (program.returncode, program.stderr) == (3, "")
    assert said(program) == {"untouched": True, "delivered": 0}
    assert messages(cluster) == ["before"]


@pytest.mark.parametrize("when", ["before the server's handler", "behind it"])
def test_a_server_that_raises_it_again(cluster: FakeKafka, when: str) -> None:
    """As uvicorn does, when it has shut down and put the handler of before back; its workers import
    the application, and so make the logging handler, while they have a handler of their own."""
    code = f"""
if {when!r} == "before the server's handler": make()
before = signal.signal(signal.SIGTERM, lambda number, frame: log.info("shutting down"))
if {when!r} == "behind it": make()
terminate()
log.info("shut down")
signal.signal(signal.SIGTERM, before)
signal.raise_signal(signal.SIGTERM)
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, linger_ms=60_000)
    assert (program.returncode, program.stderr) == (KILLED, "")
    assert messages(cluster) == ["shutting down", "shut down"]


def test_a_process_that_the_signal_does_not_end(cluster: FakeKafka) -> None:
    """Such is the first of a container, for which the default action is to ignore it: it ends, with
    the status that a shell would report."""
    code = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # it has no default action here either
make()
log.info("in time")
signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
log.info("never")
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, linger_ms=60_000)
    assert (program.returncode, program.stderr) == (128 + signal.SIGTERM, "")
    assert messages(cluster) == ["in time"]


PACKAGES = {"multiprocessing": "multiprocessing", "billiard": "billiard"}
POOL = """
import multiprocessing

def work(number):
    log.info("%d", number)

def fill(context, *initializer):
    with context.Pool(4, *initializer) as pool:  # which ends the workers by SIGTERM
        pool.map(work, range(40))
"""


@combinations(package=PACKAGES, handled={"": False, "the parent handles SIGTERM": True})
def test_the_workers_of_a_pool(cluster: FakeKafka, package: str, handled: bool) -> None:
    """All that they log arrives, though leaving the block ends them by SIGTERM.

    They put the default action in place of a handler of their parent, and wait until all have done
    so: Python misses a signal that comes just before a worker waits for a semaphore, or ignores the
    handler's exception in a hook of the fork, and the pool would wait for that worker.
    """
    handling = "signal.signal(signal.SIGTERM, lambda *_: sys.exit())" if handled else ""
    code = f"""
import {package}
{handling}
make()
{POOL}
context = {package}.get_context("fork")
have_begun = context.Barrier(4)

def begin():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    have_begun.wait()

fill(context, {"begin" if handled else ""})
"""
    program = run_by_hand(code, brokers=cluster.addresses, linger_ms=60_000)
    assert program.returncode == 0, program.stderr
    assert Counter(messages(cluster)) == Counter(map(str, range(40)))


@pytest.mark.parametrize("package", ["multiprocessing", "billiard"])
def test_workers_of_a_parent_that_handles_sigterm(cluster: FakeKafka, package: str) -> None:
    """All that they log arrives when SIGTERM ends them, by the handler of their parent."""
    code = f"""
import time
import {package}

def work(ready):
    log.info("a record")
    ready.set()
    while True:
        time.sleep(0.01)

signal.signal(signal.SIGTERM, lambda *_: sys.exit())
make()
context = {package}.get_context("fork")
ready = [context.Event() for _ in range(4)]
workers = [context.Process(target=work, args=(event,)) for event in ready]
for worker in workers: worker.start()
for event in ready: event.wait()
for worker in workers: worker.terminate()
for worker in workers: worker.join()
"""
    program = run_by_hand(code, brokers=cluster.addresses, linger_ms=60_000)
    assert program.returncode == 0, program.stderr
    assert messages(cluster) == ["a record"] * 4


@combinations(package=PACKAGES, logs={"logs": True, "does not log": False})
def test_a_worker_that_is_about_to_wait(cluster: FakeKafka, package: str, logs: bool) -> None:
    """SIGTERM ends a worker whose main thread begins to wait before Python calls the handler."""
    code = f"""
import {package}

def signal_without_waking_the_main_thread():
    go.acquire()
    sys.setswitchinterval(0.005)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

def work():
    if {logs}: log.info("a record")
    threading.Thread(target=signal_without_waking_the_main_thread, daemon=True).start()
    held = threading.Lock()
    held.acquire()
    sys.setswitchinterval(1000)  # the other thread runs as soon as this one waits, not earlier
    go.release()
    held.acquire()

make()
go = threading.Lock()
go.acquire()
worker = {package}.get_context("fork").Process(target=work)
worker.start()
worker.join()
say(status=worker.exitcode)
"""
    program = run_by_hand(code, brokers=cluster.addresses, linger_ms=60_000)
    assert said(program) == {"status": KILLED}, program.stderr
    assert messages(cluster) == ["a record"] * logs


def test_a_process_that_a_worker_forks(cluster: FakeKafka) -> None:
    """Python does not report its signals to the worker, which would take them for its own."""
    code = """
import multiprocessing

def work():
    log.info("a record")
    wait(fork(lambda: say(descriptor=signal.set_wakeup_fd(-1))))

make()
worker = multiprocessing.get_context("fork").Process(target=work)
worker.start()
worker.join()
say(status=worker.exitcode)
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert said(program) == {"descriptor": -1, "status": 0}, program.stderr


@pytest.mark.parametrize("kind", ["KafkaHandler", "AuditHandler"])
def test_where_no_signal_handler_can_be_set(cluster: FakeKafka, tmp_path: Path, kind: str) -> None:
    """The handler is made all the same, and says so once, if it was asked for."""
    code = f"""
import kiel_logging

def refuse(*_arguments):
    raise ValueError("signal only works in main thread of the main interpreter")

signal.signal = refuse
for number in range(3):
    more = dict(spool_dir={str(tmp_path)!r}, logger=f"audit.{{number}}")
    more = more if {kind!r} == "AuditHandler" else {{}}
    handler = kiel_logging.{kind}(**options, **more)
log.addHandler(handler)
log.info("a record")
"""
    program = run_by_hand(code, brokers=cluster.addresses, flush_on_sigterm=True)
    assert program.returncode == 0
    assert program.stderr.count("flush_on_sigterm=True has no effect") == 1
    found = [text for text in messages(cluster) if not text.startswith("audit stream")]
    assert found == ["a record"]


def test_without_the_option(cluster: FakeKafka) -> None:
    """With False, SIGTERM kills as ever, and what was buffered is lost."""
    code = """
make()
log.info("lost")
say(untouched=signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
terminate()
"""
    options = {"linger_ms": 60_000, "flush_on_sigterm": False}
    program = run_by_hand(code, brokers=cluster.addresses, **options)
    assert (program.returncode, program.stderr) == (KILLED, "")
    assert (said(program), messages(cluster)) == ({"untouched": True}, [])


def test_a_handler_of_the_programs(cluster: FakeKafka) -> None:
    """It is called when all is delivered, with the signal and the frame, and may log itself."""
    code = """
def on_sigterm(number, frame):
    say(number=number, line=frame.f_code.co_name, delivered=handler.stats().delivered)
    log.info("goodbye")
    sys.exit(3)

signal.signal(signal.SIGTERM, on_sigterm)
handler = make()
log.info("before")
terminate()
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, **HELD_BACK)
    assert (program.returncode, program.stderr) == (3, "")
    assert said(program) == {"number": signal.SIGTERM, "line": "terminate", "delivered": 1}
    assert messages(cluster) == ["before", "goodbye"]


def test_a_handler_that_lets_the_program_go_on(cluster: FakeKafka) -> None:
    """The program logs on, and each SIGTERM delivers what there is."""
    code = """
signal.signal(signal.SIGTERM, lambda number, frame: delivered.append(handler.stats().delivered))
delivered = []
handler = make()
for number in range(3):
    log.info("%d", number)
    terminate()
say(delivered=delivered)
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, **HELD_BACK)
    assert (program.returncode, program.stderr) == (0, "")
    assert said(program) == {"delivered": [1, 2, 3]}


def test_a_signal_that_is_ignored(cluster: FakeKafka) -> None:
    """It delivers what there is, and is ignored for the rest."""
    code = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
handler = make()
log.info("before")
terminate()
say(delivered=handler.stats().delivered)
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, **HELD_BACK)
    assert (program.returncode, program.stderr, said(program)) == (0, "", {"delivered": 1})


@pytest.mark.parametrize(
    ("action", "names"),
    [
        ("signal.SIG_IGN", ["start", "pause"]),
        ("lambda *_: None", ["start", "pause"]),
        ("signal.SIG_DFL", ["start", "end"]),
    ],
)
def test_a_stream_ends_where_the_program_certainly_does(
    cluster: FakeKafka, action: str, names: list[str]
) -> None:
    """Otherwise it is paused: the program may continue."""
    code = f"""
signal.signal(signal.SIGTERM, {action})
make()
log.info("x")
terminate()
os.kill(os.getpid(), signal.SIGKILL)
"""
    run_by_hand(code, *STRICT, brokers=cluster.addresses, chain=True, flush_on_sigterm=True)
    assert [name for name, _ in events(cluster.records("logs"))] == names


# -- who is in front of whom ----------------------------------------------------------------------


def test_several_handlers(cluster: FakeKafka) -> None:
    """All that want it are flushed, and the one that does not is left as it is."""
    code = """
def on_sigterm(number, frame):
    say(calls=calls.append(number) or len(calls),
        delivered=[handler.stats().delivered for handler in handlers])

calls = []
signal.signal(signal.SIGTERM, on_sigterm)
handlers = [make(), make(), make(flush_on_sigterm=False)]
log.info("a record")
terminate()
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, **HELD_BACK)
    assert (program.returncode, program.stderr) == (0, "")
    assert said(program) == {"calls": 1, "delivered": [1, 1, 0]}


def test_a_configuration_that_is_loaded_again(cluster: FakeKafka) -> None:
    """However often dictConfig makes the handler, what there was before is called once."""
    code = """
import logging.config
def on_sigterm(number, frame):
    say(calls=calls.append(number) or len(calls))

calls = []
signal.signal(signal.SIGTERM, on_sigterm)
for number in range(50):
    logging.config.dictConfig({
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "kafka": {"class": "kiel_logging.KafkaHandler", "topic": "logs", **options}
        },
        "root": {"handlers": ["kafka"], "level": "INFO"},
    })
log.info("a record")
terminate()
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, **HELD_BACK)
    assert (program.returncode, program.stderr, said(program)) == (0, "", {"calls": 1})
    assert messages(cluster) == ["a record"]


def test_a_handler_installed_after_ours_that_calls_it(cluster: FakeKafka) -> None:
    """A chain of the program's, ours in the middle, ends where it began: in the default action."""
    code = """
make()
ours = signal.getsignal(signal.SIGTERM)

def on_sigterm(number, frame):
    log.info("the program's handler")
    ours(number, frame)

signal.signal(signal.SIGTERM, on_sigterm)
make()  # one more in front
log.info("a record")
terminate()
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, **HELD_BACK)
    assert (program.returncode, program.stderr) == (KILLED, "")
    assert Counter(messages(cluster)) == {"a record": 2, "the program's handler": 2}


def test_a_handler_that_was_closed(cluster: FakeKafka) -> None:
    """Its SIGTERM does what it did before there was one."""
    code = """
handler = make()
log.info("a record")
handler.close()
terminate()
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, **HELD_BACK)
    assert (program.returncode, program.stderr) == (KILLED, "")
    assert messages(cluster) == ["a record"]


def test_a_handler_made_on_another_thread(cluster: FakeKafka) -> None:
    """Python sets signal handlers on the main thread only: it is said, and all else works."""
    code = """
thread = threading.Thread(target=make)
thread.start()
thread.join()
log.info("a record")
say(untouched=signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, flush_on_sigterm=True)
    assert (program.returncode, said(program)) == (0, {"untouched": True})
    assert "flush_on_sigterm=True has no effect" in program.stderr
    assert messages(cluster) == ["a record"]


def test_a_forked_child(cluster: FakeKafka) -> None:
    """It delivers its own records and dies; the parent's stay with the parent."""
    code = """
handler = make()
log.info("parent")

def work():
    log.info("child")
    terminate()

say(statuses=wait(fork(work)), buffered=handler.stats().buffered)
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, **HELD_BACK)
    assert (program.returncode, program.stderr) == (0, "")
    assert said(program) == {"statuses": [KILLED], "buffered": 1}
    assert messages(cluster) == ["child", "parent"]


# -- when it comes --------------------------------------------------------------------------------


def test_in_the_middle_of_a_burst(cluster: FakeKafka) -> None:
    """Whatever the main thread is doing for the handler, and with other threads logging."""
    code = """
def on_sigterm(number, frame):
    over.set()

def burst(thread):
    number = 0
    while not over.is_set():
        log.info("%d %d", thread, number)
        number += 1
    counts.append((thread, number))

over, counts = threading.Event(), []
signal.signal(signal.SIGTERM, on_sigterm)
# They log faster than the fake broker takes records: they wait for room, and lose none.
handler = make(
    batch_size=10, buffer_records=2_000, overflow="block", block_timeout_ms=60_000,
    close_timeout_ms=60_000,
)
threads = [threading.Thread(target=burst, args=(thread,)) for thread in range(3)]
for thread in threads: thread.start()
threading.Thread(target=lambda: handler.flush(30) or terminate()).start()
burst(3)
for thread in threads: thread.join()
say(counts=counts)
"""
    program = run_by_hand(code, brokers=cluster.addresses, flush_on_sigterm=True)
    assert (program.returncode, program.stderr) == (0, "")
    expected = [f"{t} {n}" for t, count in said(program)["counts"] for n in range(count)]
    assert Counter(messages(cluster)) == Counter(expected)


INSIDE = {
    "the buffer": ("kiel_logging.handler.buffer", "Buffer", "_admit"),
    "a conversion": ("kiel_logging.record.conversion", "Conversion", "convert"),
    "the start of the thread": ("threading", "Thread", "start"),
    "a place on the thread": ("kiel_logging.handler.loop_thread", "Runner", "join"),
    "the wake-up": ("kiel_logging.handler.loop_thread", "LoopThread", "call"),
}


@combinations(inside=INSIDE, record={"first": "first", "second": "second"})
def test_on_top_of_a_logging_call(
    cluster: FakeKafka, inside: tuple[str, str, str], record: str
) -> None:
    """The interrupted call ends after the signal's handler: neither waits for the other."""
    module, kind, method = inside
    code = f"""
from {module} import {kind}
inner = {kind}.{method}

def interrupted(self, *arguments):
    result = inner(self, *arguments)
    if {record!r} == "first" or "one" in handled:
        {kind}.{method} = inner
        terminate()
    return result

handled = []
signal.signal(signal.SIGTERM, lambda number, frame: log.info("from the signal's handler"))
handler = make()
if "{method}" in ("convert", "_admit"):
    handler.setFormatter(logging.Formatter())  # no short way
{kind}.{method} = interrupted
log.info("first")
handled.append("one")
log.info("second")
"""
    program = run_by_hand(code, brokers=cluster.addresses, flush_on_sigterm=True)
    assert (program.returncode, program.stderr) == (0, "")
    expected = {"first": 1, "second": 1}
    if (record, method) not in {("second", "start"), ("second", "join")}:  # that is done once
        expected["from the signal's handler"] = 1
    assert Counter(messages(cluster)) == expected


def test_while_this_thread_forks(cluster: FakeKafka) -> None:
    """The loop threads are held still for the fork: it is over before anybody waits for them."""
    code = """
parent = os.getpid()
handler = make()
log.info("parent")
say(statuses=wait(fork(lambda: log.info("child"))))
log.info("never")
"""
    registered_first = """
import os, signal
parent = os.getpid()

def look():  # registered before ours: runs after it
    if os.getpid() == parent:
        os.kill(parent, signal.SIGTERM)

os.register_at_fork(before=look)
"""
    program = run_by_hand(code, brokers=cluster.addresses, before=registered_first, **HELD_BACK)
    assert (program.returncode, program.stderr) == (KILLED, "")
    assert set(messages(cluster)) - {"child"} == {"parent"}


@pytest.mark.parametrize(
    ("handled", "status"), [("", KILLED), ("signal.signal(signal.SIGTERM, lambda *_: exit(3))", 3)]
)
def test_before_a_forked_child_runs_python(cluster: FakeKafka, handled: str, status: int) -> None:
    """SIGTERM ends a child in the first moment too, where Python forgets all signals."""
    code = f"""
import ctypes
import select
import time

{handled}
make()
signal.signal(signal.SIGUSR1, lambda *_: None)
libc = ctypes.CDLL(None)
libc["__register_atfork"](None, None, libc.pause, None)  # a child waits there for a signal
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.write(writer, b"it runs Python")
    time.sleep(20)
    os._exit(0)
os.close(writer)
terminate(child)
while not select.select([reader], [], [], 0.001)[0]:
    os.kill(child, signal.SIGUSR1)
say(statuses=wait(child))
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert (program.returncode, program.stderr, said(program)) == (0, "", {"statuses": [status]})


def test_a_worker_whose_finalizers_are_cut_short(cluster: FakeKafka) -> None:
    """A pool's SIGTERM may find workers that end; the exception of their handler of SIGTERM keeps
    finalizers from running, and their records arrive all the same."""
    code = """
import multiprocessing
from multiprocessing import util

def work():
    util.Finalize(None, terminate, exitpriority=1)
    log.info("a record")

signal.signal(signal.SIGTERM, lambda *_: sys.exit())
make()
worker = multiprocessing.get_context("fork").Process(target=work)
worker.start()
worker.join()
say(status=worker.exitcode)
"""
    program = run_by_hand(code, brokers=cluster.addresses, linger_ms=60_000)
    assert (program.returncode, said(program)) == (0, {"status": 0}), program.stderr
    assert messages(cluster) == ["a record"]


# -- no broker is there ----------------------------------------------------------------------------


def test_the_broker_is_down(cluster: FakeKafka) -> None:
    """The process dies of the signal all the same, and says how many records it lost."""
    stop_broker(cluster)
    code = """
for number in range(3): make()
for number in range(7): log.info("%d", number)
terminate()
"""
    program = run_by_hand(
        code, brokers=cluster.addresses, flush_on_sigterm=True, close_timeout_ms=100
    )
    assert program.returncode == KILLED
    assert program.stderr.count("kiel_logging: 7 log records did not reach Kafka") == 3
    assert "Traceback" not in program.stderr
