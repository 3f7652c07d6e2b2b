"""Programs that take the handler's descriptors or its thread away, or fork around Python.

Each test runs a program against brokers in this process.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.testing import FakeKafka
from tests.handler.process.child import run_by_hand, said
from tests.handler.shipped import messages, start_broker, stop_broker
from tests.support.stamps import audited, harm


def test_a_program_may_close_all_descriptors(cluster: FakeKafka, spooled: dict[str, Any]) -> None:
    """The next logging call notices, reports it and replaces the thread; no record is lost."""
    code = """
handler = make(close_timeout_ms=5_000)
log.info("before")
assert handler.flush() == 0
os.closerange(3, 512)  # as recipes for daemons do
for number in range(100): log.info("%d", number)
left = handler.flush(20.0)
stats = handler.stats()
say(left=left, emitted=stats.emitted, delivered=stats.delivered, failed=stats.failed,
    measured=stats.delivery.latency.count >= 101)  # those of the old thread too
"""
    done = run_by_hand(code, brokers=cluster.addresses, **spooled)
    told = said(done)
    assert (done.returncode, told) == (
        0,
        {"left": 0, "emitted": 101, "delivered": 101, "failed": 0, "measured": True},
    ), done.stderr
    assert Counter(messages(cluster)) == Counter(["before", *map(str, range(100))])
    assert "is made anew" in done.stderr
    assert harm(audited(cluster.records("logs"))) == {}


def test_descriptors_of_the_program_are_left_alone(
    cluster: FakeKafka, spool: Path, mode: str, tmp_path: Path
) -> None:
    """The number of a closed descriptor may be the program's own file by now."""
    stop_broker(cluster)
    code = f"""
handler = make(buffer_records=20, overflow="block", close_timeout_ms=100)
for number in range(50): log.info("%d", number)
os.closerange(3, 512)
own = [open({str(tmp_path)!r} + f"/own{{number}}", "w+b", buffering=0) for number in range(60)]
for number in range(50, 80): log.info("%d", number)
handler.close()
say(sizes=[os.stat(one.name).st_size for one in own])
say(open=[os.fstat(one.fileno()).st_size for one in own])
"""
    done = run_by_hand(code, brokers=cluster.addresses, spool_dir=str(spool), spool=mode)
    assert (done.returncode, said(done)) == (0, {"sizes": [0] * 60, "open": [0] * 60}), done.stderr


def test_a_thread_that_fails_is_replaced(cluster: FakeKafka, spooled: dict[str, Any]) -> None:
    """By the next logging call, which reports it; what it had not finished is sent."""
    code = """
handler = make(close_timeout_ms=5_000)
log.info("before")
assert handler.flush() == 0
loop = handler._lifecycle.pipeline._loop_thread.runner.loop
thread = handler._lifecycle.pipeline._loop_thread.runner.thread

def fail(*_timeout):
    raise OSError("a selector that is broken")

loop._selector.select = fail
loop.call_soon_threadsafe(int)
thread.join(20)
for number in range(100): log.info("%d", number)
say(left=handler.flush(20.0), alive=loop.is_running())
"""
    done = run_by_hand(code, brokers=cluster.addresses, **spooled)
    assert (done.returncode, said(done)) == (0, {"left": 0, "alive": False}), done.stderr
    assert Counter(messages(cluster)) == Counter(["before", *map(str, range(100))])
    assert "a selector that is broken" in done.stderr


STOP_THE_CLOCKS = """
import time

def stop_the_clocks():
    # As freezegun does: wherever a module has one of them by a name.
    for real in (time.time, time.monotonic, time.perf_counter):
        stopped = lambda value=real(): value
        for module in list(sys.modules.values()):
            for name, value in list(getattr(module, "__dict__", {}).items()):
                if value is real:
                    setattr(module, name, stopped)
"""


@pytest.mark.parametrize("when", ["before the first record", "while it ships"])
def test_clocks_that_a_program_stops(
    cluster: FakeKafka, spooled: dict[str, Any], when: str
) -> None:
    """Its tests do so: records are sent after `linger_ms` all the same, waits end, retries come."""
    cluster.on_broker(0, lambda broker: broker.hang_up_mid_response("Produce", 3))
    code = f"""
{STOP_THE_CLOCKS}
handler = make(linger_ms=10, retry_backoff_ms=10, retry_backoff_max_ms=50)
if {when!r} == "while it ships": log.info("first")
stop_the_clocks()
for number in range(20): log.info("%d", number)
while handler.stats().delivered < handler.stats().emitted: time.sleep(0.01)
"""
    done = run_by_hand(code, brokers=cluster.addresses, **spooled)
    assert (done.returncode, done.stderr) == (0, "")
    found = [text for text in messages(cluster) if text != "first"]
    assert found == [str(number) for number in range(20)]


FORK_IN_C = """
import ctypes, time
c = ctypes.PyDLL(None)

def fork_in_c(work, hook=None):
    if hook is None:  # else the child may wait for a thread that was about to get the GIL
        sys.setswitchinterval(1000)
        time.sleep(0.2)
    child = c.fork()
    sys.setswitchinterval(0.005)
    if child == 0:
        if hook is not None: hook()
        work()
        sys.exit()
    return child
"""


@pytest.mark.parametrize("hook", ["None", "ctypes.pythonapi.PyOS_AfterFork_Child"])
def test_a_fork_in_c(cluster: FakeKafka, spooled: dict[str, Any], hook: str) -> None:
    """Without Python's hooks, or the child's half of them: the child delivers its own records."""
    code = f"""
{FORK_IN_C}
handler = make(chain=True, close_timeout_ms=20_000)
log.info("parent")
assert handler.flush() == 0

def work():
    for number in range(20): log.info("child %d", number)
    say(left=handler.flush(20.0), emitted=handler.stats().emitted)

say(statuses=wait(fork_in_c(work, {hook})))
log.info("later")
"""
    done = run_by_hand(code, brokers=cluster.addresses, **spooled)
    told = said(done)
    assert (told["left"], told["emitted"], told["statuses"]) == (0, 21, [0]), done.stderr
    expected = ["parent", "later", *(f"child {number}" for number in range(20))]
    found = [text for text in messages(cluster) if not text.startswith("audit stream")]
    assert Counter(found) == Counter(expected)
    assert len(audited(cluster.records("logs")).streams) == 2


@pytest.mark.parametrize("pause", [0, 0.05, 0.1])
def test_a_fork_in_c_while_the_network_loads(
    cluster: FakeKafka, spooled: dict[str, Any], pause: float
) -> None:
    """With the child's half of Python's hooks, at whatever moment of the import: it delivers."""
    code = f"""
{FORK_IN_C}
import time
handler = make(close_timeout_ms=20_000)
log.info("parent")
time.sleep({pause})

def work():
    log.info("child")
    say(left=handler.flush(20.0))

say(statuses=wait(fork_in_c(work, ctypes.pythonapi.PyOS_AfterFork_Child)))
"""
    done = run_by_hand(code, brokers=cluster.addresses, **spooled)
    told = said(done)
    assert (told["left"], told["statuses"]) == (0, [0]), done.stderr
    assert sorted(messages(cluster)) == ["child", "parent"]


@pytest.mark.parametrize("state", [{"numproc": 2}, {"opt": {"master": True}}])
def test_forks_of_uwsgi_that_may_hang_are_reported(
    cluster: FakeKafka, state: dict[str, Any]
) -> None:
    """The thread starts before uWSGI forks, and it would do so without the interpreter's lock."""
    code = f"""
from types import SimpleNamespace

def log_in(*, worker=0, master=0, numproc=1, opt=()):
    sys.modules["uwsgi"] = SimpleNamespace(
        worker_id=lambda: worker, masterpid=lambda: master, numproc=numproc, opt=dict(opt)
    )
    handler = make()
    log.info("while the application loads")
    log.removeHandler(handler)
    handler.close()

log_in()  # one process
log_in(numproc=2, opt={{"py-call-uwsgi-fork-hooks": True}})
log_in(numproc=2, worker=1)
log_in(numproc=2, master=os.getppid())  # a mule
print("from now on", file=sys.stderr)
log_in(**{state!r})
"""
    done = run_by_hand(code, brokers=cluster.addresses)
    before, _, after = done.stderr.partition("from now on")
    assert (done.returncode, before) == (0, "")
    assert "uWSGI is about to fork" in after
    assert len(messages(cluster)) == 5


def test_a_fork_hook_that_was_there_first_may_log(
    cluster: FakeKafka, spooled: dict[str, Any]
) -> None:
    """The process id decides whose record it is, not whose hook runs first."""
    before = """
import os
calls = []
os.register_at_fork(after_in_child=lambda: [call() for call in calls])
"""
    code = """
handler = make(close_timeout_ms=20_000)
log.info("parent")
assert handler.flush() == 0
calls.append(lambda: log.info("hook"))
say(statuses=wait(*(fork(lambda: log.info("child")) for _ in range(5))))
say(stats=[handler.stats().in_flight, handler.stats().emitted])
"""
    done = run_by_hand(code, brokers=cluster.addresses, before=before, **spooled)
    told = said(done)
    assert (told["statuses"], told["stats"]) == ([0] * 5, [0, 1]), done.stderr
    assert Counter(messages(cluster)) == Counter({"parent": 1, "hook": 5, "child": 5})
    assert harm(audited(cluster.records("logs"))) == {}


def test_forks_beside_signal_handlers_that_log(cluster: FakeKafka, tmp_path: Path) -> None:
    """A fork, a thread that logs and a signal handler that logs on top of the fork: none waits."""
    code = """
handler = make(buffer_records=5_000, overflow="block", close_timeout_ms=20_000)
over = threading.Event()
counts = {"thread": 0, "signal": 0}

def log_on():
    while not over.is_set():
        log.info("thread")
        counts["thread"] += 1
        if counts["thread"] % 20 == 0: over.wait(0.01)  # the fake broker takes no more

def on_top(number, frame):
    log.info("signal")
    counts["signal"] += 1
    signal.setitimer(signal.ITIMER_REAL, 0.0005)

def child():
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    log.info("child")

thread = threading.Thread(target=log_on)
thread.start()
signal.signal(signal.SIGALRM, on_top)
signal.setitimer(signal.ITIMER_REAL, 0.0005)
statuses = [status for _ in range(20) for status in wait(fork(child))]
signal.signal(signal.SIGALRM, signal.SIG_IGN)
over.set()
thread.join()
say(statuses=statuses, left=handler.flush(30.0), **counts)
"""
    done = run_by_hand(code, brokers=cluster.addresses, spool_dir=str(tmp_path), spool="always")
    told = said(done)
    assert (told["statuses"], told["left"]) == ([0] * 20, 0), done.stderr
    found = Counter(messages(cluster))
    assert (found["thread"], found["child"]) == (told["thread"], 20)
    # A child may be interrupted before it ignores the signal; its record is its own.
    assert told["signal"] <= found["signal"] <= told["signal"] + 20
    assert harm(audited(cluster.records("logs"))) == {}


def test_a_killed_program_s_journal_is_sent_though_its_child_lives_on(
    cluster: FakeKafka, tmp_path: Path
) -> None:
    """A forked child shares none of its parent's locks."""
    stop_broker(cluster)
    code = """
make()
for number in range(10): log.info("%d", number)
child = os.fork()
if child == 0:
    os.closerange(0, 3)  # else this program would not seem to end
    signal.pause()
say(child=child)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run_by_hand(code, brokers=cluster.addresses, spool_dir=str(tmp_path), spool="always")
    assert done.returncode == -signal.SIGKILL
    child = said(done)["child"]
    try:
        start_broker(cluster)
        heir = 'handler = make()\nlog.info("heir")\nsay(left=handler.flush(20.0))'
        done = run_by_hand(heir, brokers=cluster.addresses, spool_dir=str(tmp_path), spool="always")
        assert said(done) == {"left": 0}, done.stderr
        assert messages(cluster) == [*map(str, range(10)), "heir"]
    finally:
        os.kill(child, signal.SIGKILL)
