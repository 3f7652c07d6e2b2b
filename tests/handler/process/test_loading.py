"""The modules of the network load on the loop thread, and hold nothing up there."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kiel_logging.testing import FakeKafka
from tests.handler.process.child import ROOT, STRICT, run_by_hand, said
from tests.handler.shipped import messages
from tests.support.examples import combinations

# -- what is loaded when -------------------------------------------------------------------------

CONFIGURE = """
import logging.config
from kiel_logging import KafkaHandler
logging.config.dictConfig({{
    "version": 1,
    "handlers": {{"kafka": {{
        "class": "kiel_logging.KafkaHandler", "brokers": "localhost:1", "topic": "logs", **{options}
    }}}},
    "root": {{"handlers": ["kafka"]}},
}})
import sys
print(*{{name.split(".")[0] for name in sys.modules}})
"""


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return set(done.stdout.split())


@combinations(
    compression={"plain": None, "snappy": "snappy", "gzip": "gzip"},
    spool={"memory": None, "overflow": "overflow", "always": "always"},
)
def test_a_handler_loads_nothing_of_the_network(
    tmp_path: Path, spool: str | None, compression: str | None
) -> None:
    """Programs start with a configuration; most of them have asyncio and TLS of their own, or none
    at all."""
    options = {"compression": compression, "chain": True}
    if spool is not None:
        options |= {"spool_dir": str(tmp_path / "spool"), "spool": spool}
    loaded = loaded_by(CONFIGURE.format(options=options))
    assert "kiel_logging" in loaded
    assert loaded & {"tornado", "asyncio", "ssl", "snappy", "gzip", "scramp"} == set()


def test_the_loop_thread_loads_it_with_the_first_record(cluster: FakeKafka) -> None:
    """And no other thread: a logging call costs what it always costs."""
    code = """
imported = []

def note(event, arguments):
    if event == "import":
        imported.append((threading.current_thread().name, arguments[0]))

handler = make()
sys.addaudithook(note)
log.info("x")
left = handler.flush()
here = [name for thread, name in imported if thread == "MainThread"]
there = {name for thread, name in imported if thread == "kiel_logging"}
say(left=left, here=here, there=sorted(there & {"asyncio", "ssl", "tornado"}))
"""
    program = run_by_hand(code, *STRICT, brokers=cluster.addresses)
    assert program.stderr == ""
    assert said(program) == {
        "left": 0,
        "here": [],
        "there": ["asyncio", "ssl", "tornado"],
    }


@pytest.mark.parametrize("log", ['log.info("x")', 'atexit.register(log.info, "x")'])
def test_the_first_record_may_be_the_last_thing_that_a_program_does(
    cluster: FakeKafka, log: str
) -> None:
    """Python ends meanwhile, and some modules can't be imported then for the first time."""
    code = f"import atexit\nmake()\n{log}\n"
    program = run_by_hand(code, brokers=cluster.addresses)
    assert (program.returncode, program.stderr) == (0, "")
    assert messages(cluster) == ["x"]


# -- beside other threads -------------------------------------------------------------------------

HOLD_UP = """
import importlib.machinery
load = importlib.machinery.SourceFileLoader.get_code
loading = threading.Event()

def load_slowly(loader, name):
    if name == {module!r} and threading.current_thread().name == "kiel_logging":
        loading.set()
        {until}
    return load(loader, name)

importlib.machinery.SourceFileLoader.get_code = load_slowly
"""
"""The loop thread stops before it imports a module, until something else has happened."""

UNTIL_FORKED = "forking.wait(); [load(loader, name) for _ in range(20)]"
UNTIL_CLOSED = "closing.wait()"

CLOSING = """
import logging.config
closing = threading.Event()

class Handler(KafkaHandler):
    def flush(self, timeout=None):
        closing.set()  # dictConfig flushes before it closes, and has logging's lock
        return super().flush(timeout)
"""


def test_a_fork_waits_until_modules_are_loaded(cluster: FakeKafka) -> None:
    """A child that is forked in the middle of an import could never import that module."""
    code = (
        "forking = threading.Event()\n"
        + HOLD_UP.format(module="tornado.ioloop", until=UNTIL_FORKED)
        + """
handler = make()
os.register_at_fork(before=forking.set)  # the last one that is registered is the first to run
log.info("parent")
loading.wait()
say(statuses=wait(fork(lambda: log.info("child"))))
"""
    )
    program = run_by_hand(code, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"statuses": [0]}, "")
    assert Counter(messages(cluster)) == {"parent": 1, "child": 1}


@pytest.mark.parametrize("module", ["asyncio.log", "tornado.log", "kiel_logging.network.sender"])
def test_dict_config_closes_a_handler_that_loads(cluster: FakeKafka, module: str) -> None:
    """It has logging's lock, which modules that are imported want too: the record is delivered all
    the same."""
    code = (
        CLOSING
        + HOLD_UP.format(module=module, until=UNTIL_CLOSED)
        + """
handler = Handler(**options)
log.addHandler(handler)
log.info("x")
loading.wait()
logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
say(delivered=handler.stats().delivered)
"""
    )
    program = run_by_hand(code, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"delivered": 1}, "")


def test_ctrl_c_while_modules_are_loaded(cluster: FakeKafka) -> None:
    """The program ends by SIGINT, though Python forgets that when an import evaluates a string."""
    code = (
        "closing = threading.Event()\n"
        + HOLD_UP.format(module="tornado.ioloop", until=UNTIL_CLOSED)
        + """
import atexit
make()
atexit.register(closing.set)
log.info("x")
loading.wait()
signal.raise_signal(signal.SIGINT)
"""
    )
    program = run_by_hand(code, brokers=cluster.addresses)
    assert program.returncode == -signal.SIGINT
    assert messages(cluster) == ["x"]


def test_dict_config_imports_what_the_loop_thread_loads(cluster: FakeKafka, tmp_path: Path) -> None:
    """Each has a lock that the other waits for, if they don't take turns."""
    (tmp_path / "late.py").write_text(
        "import asyncio, logging, tornado.log\nclass Late(logging.StreamHandler): pass\n"
    )
    code = (
        CLOSING
        + HOLD_UP.format(module="asyncio.log", until=UNTIL_CLOSED)
        + f"""
sys.path.insert(0, {str(tmp_path)!r})
handler = Handler(**options)
log.addHandler(handler)
log.info("x")
loading.wait()
logging.config.dictConfig({{
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {{"late": {{"class": "late.Late"}}}},
}})
say(delivered=handler.stats().delivered)
"""
    )
    program = run_by_hand(code, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"delivered": 1}, "")


def test_a_thread_that_starts_while_dict_config_runs(cluster: FakeKafka) -> None:
    """It loads nothing before logging's lock is free; a thread that has the lock, and waits for
    it, gives the lock up meanwhile."""
    code = """
handler = make()
with logging._lock:
    log.info("x")
    say(left=handler.flush())
"""
    program = run_by_hand(code, brokers=cluster.addresses)
    assert (said(program), program.stderr) == ({"left": 0}, "")
