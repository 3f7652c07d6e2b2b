"""Forks: each process delivers what was logged in it, once, and touches nothing of the other's.

Each test runs a program that forks, against brokers in this process.
"""

from __future__ import annotations

from collections import Counter

import pytest

from kiel_logging.testing import FakeKafka
from tests.handler.process.child import STRICT, burst, logged_in, run_by_hand, said
from tests.handler.shipped import messages

# -- hooks of the program's -----------------------------------------------------------------------


def test_a_hook_that_waits_for_the_loop_thread(cluster: FakeKafka) -> None:
    """The fork holds that thread still: a full buffer or a flush doesn't wait for it then."""
    cluster.on_broker(0, lambda broker: broker.accept_and_ignore())
    before = """
import os
calls = []
os.register_at_fork(before=lambda: [call() for call in calls])  # runs after ours: it was first
"""
    code = """
handler = make(
    buffer_records=1, overflow="block", block_timeout_ms=600_000, close_timeout_ms=600_000
)
log.info("fills the buffer")
calls += [lambda: log.info("in the hook"), handler.flush]
child = os.fork()
if child == 0: os._exit(0)
os.waitpid(child, 0)
say(dropped=handler.stats().dropped)
os._exit(0)
"""
    done = run_by_hand(code, brokers=cluster.addresses, before=before)
    assert said(done) == {"dropped": {"buffer_full": {"INFO": 1}}}, done.stderr


# -- each its own ---------------------------------------------------------------------------------


def test_children_of_a_parent_whose_threads_log(cluster: FakeKafka) -> None:
    """Whatever the parent's threads do at the fork: all records of all processes arrive once."""
    code = burst("handler = make()", threads=3, least=100, own=200)
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses, close_timeout_ms=50_000)
    told = said(program)
    assert (program.returncode, program.stderr, told["statuses"]) == (0, "", [0] * 4)
    assert Counter(messages(cluster)) == logged_in(told, 200)


def test_a_child_counts_from_zero(cluster: FakeKafka) -> None:
    """Its ledger is its own, and the parent's stays what it was."""
    code = """
handler = make(linger_ms=60_000)

def work():
    before = handler.stats()
    log.info("child")
    handler.flush()
    say(before=before.emitted + before.buffered + before.memory + before.diverted,
        child=[handler.stats().emitted, handler.stats().delivered])

for number in range(5): log.info("parent")
wait(fork(work))
say(buffered=handler.stats().buffered)
handler.flush()
say(parent=[handler.stats().emitted, handler.stats().delivered])
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert said(program) == {"before": 0, "child": [1, 1], "buffered": 5, "parent": [5, 5]}
    assert Counter(messages(cluster)) == {"parent": 5, "child": 1}
    assert program.stderr == ""


@pytest.mark.parametrize("first", ["parent", "child"])
def test_a_fork_before_the_first_record(cluster: FakeKafka, first: str) -> None:
    """Where nothing was logged there is nothing to leave to the child."""
    code = f"""
handler = make()
if {first!r} == "parent":
    child = fork(lambda: log.info("child"))
    log.info("parent")
    say(statuses=wait(child))
else:
    say(statuses=wait(fork(lambda: log.info("child"))))
    log.info("parent")
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"statuses": [0]}, "")
    assert Counter(messages(cluster)) == {"parent": 1, "child": 1}


def test_a_fork_in_a_fork(cluster: FakeKafka) -> None:
    """A child is as good a parent as any."""
    code = """
handler = make(linger_ms=60_000)

def nested(depth):
    log.info("depth %d", depth)
    if depth < 4:
        log.info("status %d", wait(fork(lambda: nested(depth + 1)))[0])

nested(0)
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert (program.returncode, program.stderr) == (0, "")
    assert Counter(messages(cluster)) == {
        **{f"depth {depth}": 1 for depth in range(5)},
        "status 0": 4,
    }


def test_a_fork_from_a_thread(cluster: FakeKafka) -> None:
    """The child consists of that thread; it has no atexit, but flush() does."""
    code = """
handler = make()
log.info("parent")

def in_a_thread():
    child = os.fork()
    if child == 0:
        log.info("child")
        os._exit(handler.flush())
    say(statuses=wait(child))

thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()
log.info("parent")
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"statuses": [0]}, "")
    assert Counter(messages(cluster)) == {"parent": 2, "child": 1}


def test_threads_that_fork_at_the_same_time(cluster: FakeKafka) -> None:
    """Forks take turns; none resumes a loop that another one holds still."""
    code = """
handler = make()
log.info("parent")
statuses = []

def in_a_thread(number):
    for _ in range(5):
        child = os.fork()
        if child == 0:
            log.info("child of %d", number)
            os._exit(handler.flush())
        log.info("parent")
        statuses.extend(wait(child))

threads = [threading.Thread(target=in_a_thread, args=(number,)) for number in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
say(statuses=statuses)
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"statuses": [0] * 15}, "")
    expected = {"parent": 16, **{f"child of {number}": 5 for number in range(3)}}
    assert Counter(messages(cluster)) == expected


def test_handlers_of_all_kinds_in_a_child(cluster: FakeKafka) -> None:
    """One that was used, one that was not, one that is closed, and one made in the child."""
    code = """
closed = make()
closed.close()
log.removeHandler(closed)
used = make()
log.info("both")
log.removeHandler(used)
fresh = make()

def work():
    log.addHandler(used)
    log.info("child")
    log.handlers = []
    make()
    log.info("made in the child")

say(statuses=wait(fork(work)))
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"statuses": [0]}, "")
    assert Counter(messages(cluster)) == {"both": 1, "child": 2, "made in the child": 1}


# -- what is the parent's -------------------------------------------------------------------------


def test_a_child_that_never_logs(cluster: FakeKafka) -> None:
    """It ends immediately; the parent keeps its connection and its buffered records."""
    code = """
handler = make()
log.info("before")
handler.flush()
handler.acquire()  # no concern of the child
log.info("between")
say(statuses=wait(fork(lambda: None)))
handler.release()
log.info("after")
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"statuses": [0]}, "")
    assert messages(cluster) == ["before", "between", "after"]
    # One to ask who leads what, one to the leader.
    assert cluster.on_broker(0, lambda broker: broker.connections_accepted) <= 2


OPEN_SOCKETS = """
def open_sockets():
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # that of the listing itself
            pass
    return sorted(each for each in found if each.startswith(("socket:", "anon_inode:")))
"""


@pytest.mark.parametrize("rounds", [1, 5])
def test_no_socket_of_the_parents_stays_open_in_the_child(cluster: FakeKafka, rounds: int) -> None:
    """When the parent hangs up, the broker sees it, though children live on."""
    code = f"""
{OPEN_SOCKETS}
handler = make()
for number in range({rounds}):
    log.info("parent")
    handler.flush()
def work():
    left = open_sockets()
    log.info("child")
    handler.flush()
    say(left=left, some=len(open_sockets()) > 2)
parents = open_sockets()
statuses = wait(fork(work))
say(statuses=statuses, same=open_sockets() == parents)
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    expected = {"left": [], "some": True, "statuses": [0], "same": True}
    assert (said(program), program.stderr) == (expected, "")


def test_sockets_that_are_being_connected_are_closed_too(cluster: FakeKafka) -> None:
    """A fork before any broker answers leaves the child none of the parent's attempts."""
    cluster.on_broker(0, lambda broker: broker.accept_and_ignore())
    code = f"""
{OPEN_SOCKETS}
handler = make(close_timeout_ms=100)
for number in range(20):
    log.info("parent")
    child = os.fork()
    if child == 0:
        say(**{{str(number): open_sockets()}})
        os._exit(0)
    wait(child)
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert said(program) == {str(number): [] for number in range(20)}


# -- at an unhappy moment -------------------------------------------------------------------------


def test_a_loop_thread_that_is_busy_for_long(cluster: FakeKafka) -> None:
    """The fork continues without it after five seconds; the child works all the same."""
    code = """
from kiel_logging.handler import forks
forks._PATIENCE = 0.1
busy, go_on = threading.Event(), threading.Event()

def partitioner(key, partitions):
    if os.getpid() == parent:
        busy.set()
        go_on.wait()
    return partitions[0]

parent = os.getpid()
handler = make(partitioner=partitioner, key_field="levelname")
log.info("parent")
busy.wait()
status, = wait(fork(lambda: log.info("child")))
go_on.set()
say(status=status)
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"status": 0}, "")
    assert Counter(messages(cluster)) == {"parent": 1, "child": 1}


def test_a_thread_that_never_rests_does_not_hold_a_fork_up(cluster: FakeKafka) -> None:
    """However many records the loop thread has yet to ship, the fork is next."""
    code = """
handler = make(batch_size=1, buffer_records=100_000, close_timeout_ms=50_000)
for number in range(10_000): log.info("%d", number)
child = fork(lambda: say(child=handler.stats().emitted))
say(some_left=handler.stats().buffered > 0, statuses=wait(child))
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert said(program) == {"child": 0, "some_left": True, "statuses": [0]}
    assert messages(cluster) == [str(number) for number in range(10_000)]


def test_a_fork_inside_a_logging_call(cluster: FakeKafka) -> None:
    """Another handler that forks, with its lock held, gets its records through."""
    code = """
class Forking(logging.Handler):
    def emit(self, record):
        if record.getMessage() == "fork":
            child = os.fork()
            if child == 0:
                log.info("child")
                os._exit(handler.flush())
            say(statuses=wait(child))

handler = make()
log.addHandler(Forking())
log.info("parent")
log.info("fork")
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"statuses": [0]}, "")
    assert sorted(messages(cluster)) == ["child", "fork", "parent"]


def test_nobody_else_has_loggings_lock_while_loops_are_held_still(cluster: FakeKafka) -> None:
    """Its holder may be waiting for a loop, as dictConfig does, and the fork would wait for it."""
    code = """
handler = make()
log.info("parent")
wait(fork(lambda: None))
say(got=got)
"""
    registered_first = """
import logging, os, threading
got = []

def look():  # registered before ours: runs after it, when the loops are held still
    thread = threading.Thread(target=try_the_lock)
    thread.start()
    thread.join()

def try_the_lock():
    got.append(logging._lock.acquire(blocking=False))
    if got[-1]:
        logging._lock.release()

os.register_at_fork(before=look)
"""
    program = run_by_hand(code, brokers=cluster.addresses, before=registered_first)
    assert (said(program), program.stderr) == ({"got": [False]}, "")


def test_a_loop_thread_that_waits_for_loggings_lock(cluster: FakeKafka) -> None:
    """A fork by a thread that logs lets it have the lock: neither waits for the other for long."""
    code = """
waiting, parent = threading.Event(), os.getpid()

def partitioner(key, partitions):
    if os.getpid() == parent:
        waiting.set()
        forking.wait()
        for number in range(1000): logging.getLogger(f"new {number}")  # takes logging's lock
        done.append(time.monotonic())
    return partitions[0]

import time
forking, done = threading.Event(), []
handler = make(partitioner=partitioner, key_field="levelname")
log.info("parent")
waiting.wait()
os.register_at_fork(before=forking.set)
child = fork(lambda: say(child=len(done)))
wait(child)
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"child": 1}, "")
    assert messages(cluster) == ["parent"]


@pytest.mark.parametrize(
    ("package", "method"),
    [
        ("multiprocessing", "fork"),
        pytest.param("multiprocessing", "spawn", marks=pytest.mark.slow),
        pytest.param("multiprocessing", "forkserver", marks=pytest.mark.slow),
        pytest.param("billiard", "spawn", marks=pytest.mark.slow),
    ],
)
def test_children_of_multiprocessing(
    cluster: FakeKafka, tmp_path: object, package: str, method: str
) -> None:
    """They run no atexit: their records are delivered all the same, whatever starts them."""
    program_file = f"{tmp_path}/program.py"
    code = f"""
import importlib.util
import {package}
text = '''
import logging
from kiel_logging import KafkaHandler
def work(options, number):
    log = logging.getLogger("child")
    log.setLevel("INFO")
    if not log.handlers:
        log.addHandler(KafkaHandler(**options))
    log.info("child %d", number)
'''
with open({program_file!r}, "w") as file: file.write(text)
sys.path.insert(0, {str(tmp_path)!r})
from program import work
handler = make()
log.info("parent")
context = {package}.get_context({method!r})
workers = [context.Process(target=work, args=(options, number)) for number in range(2)]
for worker in workers: worker.start()
for worker in workers: worker.join()
say(statuses=[worker.exitcode for worker in workers])
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"statuses": [0, 0]}, "")
    assert Counter(messages(cluster)) == {"parent": 1, "child 0": 1, "child 1": 1}


def test_a_pool_of_billiards(cluster: FakeKafka) -> None:
    """Celery's workers run no atexit and no finalizers; their `on_exit` is still called."""
    code = """
from billiard.pool import Pool
make(linger_ms=60_000)
def task(number): log.info("task %d", number)
def on_exit(pid, status): log.info("on_exit")
pool = Pool(2, on_process_exit=on_exit)
pool.map(task, range(4))
pool.close()
pool.join()
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert (program.returncode, program.stderr) == (0, "")
    arrived = Counter(messages(cluster))
    workers = arrived.pop("on_exit")
    assert arrived == {f"task {number}": 1 for number in range(4)}
    assert workers in (1, 2)  # one that had no task logs for the first time when it is too late
