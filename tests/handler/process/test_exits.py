"""How a program ends: its last records are delivered, or it is said how many were lost.

Each test runs a child process with nothing but logging in it, against brokers in this one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kiel_logging.testing import FakeKafka
from kiel_logging.wire.error_codes import ErrorCode
from tests.handler.process.child import STRICT, run, run_by_hand, said
from tests.handler.shipped import messages

THREE_CALLS = """
for number in range(3):
    log.info("record %d", number)
"""
THE_THREE = ["record 0", "record 1", "record 2"]


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise SystemExit('goodbye')", 1),
        ("raise RuntimeError('boom')", 1),
        ("logging.shutdown()", 0),
        ("import threading; threading.Thread(target=sys.exit).start()", 0),
        ("log.handlers = logging.root.handlers; logging.root.handlers = []", 0),
    ],
    ids=[
        "nothing",
        "sys.exit",
        "SystemExit with a text",
        "uncaught exception",
        "logging.shutdown",
        "a thread that ends",
        "the handler moved",
    ],
)
def test_three_calls_and_an_ending(cluster: FakeKafka, ending: str, status: int) -> None:
    """However a program ends by itself, its records arrive, and its status stays."""
    child = run(THREE_CALLS + ending, brokers=cluster.addresses)
    assert (child.returncode, messages(cluster)) == (status, THE_THREE)
    assert "kiel_logging" not in child.stderr
    assert ("boom" in child.stderr) == ("boom" in ending)


def test_nothing_is_logged(cluster: FakeKafka) -> None:
    """A program that never logs ends as well."""
    child = run("", brokers=cluster.addresses)
    assert (child.returncode, child.stderr, messages(cluster)) == (0, "", [])


def test_development_mode_finds_nothing(cluster: FakeKafka) -> None:
    """No resource is left open, no task is left behind, nothing is deprecated."""
    child = run(THREE_CALLS, *STRICT, brokers=cluster.addresses)
    assert (child.returncode, messages(cluster)) == (0, THE_THREE)
    assert "Warning" not in child.stderr
    assert "Task was destroyed" not in child.stderr
    assert "Traceback" not in child.stderr


def test_a_broker_by_its_host_name(cluster: FakeKafka) -> None:
    """Names are still resolved while Python is on its way out."""
    port = cluster.on_broker(0, lambda broker: broker.port)
    cluster.on_broker(0, lambda broker: setattr(broker.node, "host", "localhost"))
    child = run(THREE_CALLS, brokers=[f"localhost:{port}"])
    assert (child.returncode, child.stderr, messages(cluster)) == (0, "", THE_THREE)


def test_a_record_from_an_atexit_callback(cluster: FakeKafka) -> None:
    """Callbacks that were registered after logging was imported may log: they run before it."""
    ending = "import atexit; atexit.register(log.info, 'goodbye')"
    child = run(THREE_CALLS + ending, brokers=cluster.addresses)
    assert (child.returncode, messages(cluster)) == (0, [*THE_THREE, "goodbye"])


def test_records_from_other_threads_and_tasks(cluster: FakeKafka) -> None:
    """Python waits for threads before it flushes."""
    code = """
import asyncio, threading
async def main():
    log.info("from a task")
def work():
    log.info("from a thread")
asyncio.run(main())
thread = threading.Thread(target=work)
thread.start()
"""
    child = run(code, brokers=cluster.addresses)
    assert (child.returncode, child.stderr) == (0, "")
    assert messages(cluster) == ["from a task", "from a thread"]


def test_a_burst_at_the_end(cluster: FakeKafka) -> None:
    """Many batches that are still to be sent are all sent."""
    code = "for number in range(5000): log.info('%d', number)"
    child = run(code, brokers=cluster.addresses, batch_size=100)
    assert (child.returncode, child.stderr) == (0, "")
    assert messages(cluster) == [str(number) for number in range(5000)]


def test_a_retry_at_the_end(cluster: FakeKafka) -> None:
    """A batch whose first attempt fails during the last flush is sent again."""
    cluster.on_broker(0, lambda broker: broker.hang_up_mid_response("Produce", 3))
    child = run(THREE_CALLS, brokers=cluster.addresses)
    assert (child.returncode, messages(cluster)) == (0, THE_THREE)


@pytest.mark.parametrize(
    ("state", "switches"),
    [("down", ()), ("accepting only", ()), ("accepting only", STRICT), ("stalled", STRICT)],
    ids=["down", "accepting only", "accepting only, strict", "stalled, strict"],
)
def test_brokers_that_do_not_answer(
    cluster: FakeKafka, state: str, switches: tuple[str, ...]
) -> None:
    """The program ends all the same, with its own status, and says once how many it lost."""
    cluster.on_broker(
        0,
        {
            "down": lambda broker: broker.stop(),
            "accepting only": lambda broker: broker.accept_and_ignore(),
            "stalled": lambda broker: broker.stall("Produce"),
        }[state],
    )
    child = run(
        THREE_CALLS + "sys.exit(3)", *switches, brokers=cluster.addresses, close_timeout_ms=200
    )
    assert child.returncode == 3
    assert child.stderr.count("kiel_logging: 3 log records did not reach Kafka") == 1
    for text in ("Traceback", "Warning", "Task was destroyed"):
        assert text not in child.stderr


@pytest.mark.parametrize("disable", [False, True], ids=["", "disable_existing_loggers"])
def test_the_loop_thread_logs_while_logging_shuts_down(cluster: FakeKafka, disable: bool) -> None:
    """logging.shutdown() holds the handler's lock; errors that are logged then do not wait."""
    cluster.call(lambda c: c.produce_error(ErrorCode.policy_violation, times=10**6))
    child = run(THREE_CALLS, brokers=cluster.addresses, disable=disable)
    assert child.returncode == 0
    assert "kiel_logging: 3 log records did not reach Kafka" in child.stderr
    assert "POLICY_VIOLATION" in child.stderr


CTRL_C = """
class Pressing:
    def write(self, text):
        sys.__stderr__.write(text)
        if "Ctrl-C" in text:
            signal.setitimer(signal.ITIMER_REAL, 0.01)

    def flush(self):
        pass

signal.signal(signal.SIGALRM, signal.default_int_handler)
sys.stderr = Pressing()
"""


@pytest.mark.parametrize("mode", [None, "always"])
def test_ctrl_c_while_the_end_waits_for_brokers(
    cluster: FakeKafka, tmp_path: Path, mode: str | None
) -> None:
    """After a second it is reported that the program waits, and how to give the records up; that
    breaks off nothing that other handlers do at the end."""
    with FakeKafka() as absent:
        absent.on_broker(0, lambda broker: broker.accept_and_ignore())
        plain = tmp_path / "plain.log"
        code = f"""
import logging.handlers
file = logging.FileHandler({str(plain)!r}, delay=True)
buffer = logging.handlers.MemoryHandler(1_000, target=file)
connected = make()
log.info("before")
assert connected.flush() == 0
make(brokers={absent.addresses!r})
log.addHandler(buffer)
{CTRL_C}
for number in range(3): log.info("%d", number)
"""
        spool = {} if mode is None else {"spool_dir": str(tmp_path / "spool"), "spool": mode}
        options = {"close_timeout_ms": 600_000, "linger_ms": 60_000, **spool}
        done = run_by_hand(code, brokers=cluster.addresses, is_slow=True, **options)
    assert done.returncode == 0, done.stderr
    assert "the program ends when the brokers have 3 more log records, or in" in done.stderr
    left = "3 log records are on disk" if mode else "3 log records did not reach Kafka"
    assert done.stderr.count(left) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert messages(cluster) == ["before", "0", "1", "2"]
    assert plain.read_text() == "0\n1\n2\n"


def test_ctrl_c_while_the_program_itself_waits(cluster: FakeKafka) -> None:
    """In a flush() of the program's own it is the program's."""
    cluster.on_broker(0, lambda broker: broker.accept_and_ignore())
    code = """
handler = make(close_timeout_ms=100)
log.info("x")
signal.signal(signal.SIGALRM, signal.default_int_handler)
try:
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    handler.flush(600)
except KeyboardInterrupt:
    say(interrupted=True)
"""
    done = run_by_hand(code, brokers=cluster.addresses)
    assert said(done) == {"interrupted": True}, done.stderr


def test_standard_error_is_closed(cluster: FakeKafka) -> None:
    """A program without a stderr ends with its own status all the same."""
    cluster.on_broker(0, lambda broker: broker.stop())
    child = run(
        THREE_CALLS + "sys.stderr = None\nsys.exit(3)",
        brokers=cluster.addresses,
        close_timeout_ms=100,
    )
    assert (child.returncode, child.stdout) == (3, "")
