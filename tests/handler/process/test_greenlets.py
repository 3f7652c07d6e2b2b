"""Programs that run on greenlets: gevent's or eventlet's, patched before or after the import.

Each test runs a program, against brokers in this process.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.testing import FakeKafka
from tests.handler.process.child import run_by_hand, said
from tests.handler.shipped import messages, stop_broker
from tests.support.examples import combinations

GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent
spawn, pause, joined = gevent.spawn, gevent.sleep, lambda one: one.join()
"""
EVENTLET = """
import eventlet
eventlet.monkey_patch()
spawn, pause, joined = eventlet.spawn, eventlet.sleep, lambda one: one.wait()
"""
QUIET = "import warnings; warnings.simplefilter('ignore')\n"
"""eventlet warns that it is old, gevent that what is imported early was patched late."""

PATCHES = {"gevent": GEVENT, "eventlet": EVENTLET}
LATE = {"patched before": False, "patched after": True}


def run_patched(code: str, patch: str, late: bool, cluster: FakeKafka, **options: Any) -> Any:
    """Run `code` where `patch` came before the import, or after a handler was made."""
    early, then = ("", patch) if late else (patch, "")
    make = "handler = make()\n"
    return run_by_hand(
        make + then + code, brokers=cluster.addresses, before=QUIET + early, **options
    )


@combinations(patch=PATCHES, late=LATE, mode={"memory": None, "always": "always"})
def test_greenlets_continue(
    cluster: FakeKafka, tmp_path: Path, patch: str, late: bool, mode: str | None
) -> None:
    """A thread ships while the program runs, and the program's asyncio works beside it."""
    code = """
import asyncio
for number in range(100): log.info("%d", number)
while handler.stats().delivered < 100: pause(0.01)

async def main():
    await asyncio.sleep(0)
    log.info("in asyncio")
    return 1

say(result=asyncio.run(main()))
log.info("at the end")
"""
    spool = {} if mode is None else {"spool_dir": str(tmp_path / "spool"), "spool": mode}
    done = run_patched(code, patch, late, cluster, **spool)
    assert (done.returncode, done.stderr, said(done)) == (0, "", {"result": 1})
    assert messages(cluster) == [*map(str, range(100)), "in asyncio", "at the end"]


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
def test_a_patch_while_the_thread_runs(cluster: FakeKafka, patch: str) -> None:
    """It ships on and ends in silence, as in gunicorn's gevent worker, which logs that it boots."""
    code = f"""
handler = make()
log.info("before")
assert handler.flush() == 0
{patch}
log.info("after")
"""
    done = run_by_hand(code, brokers=cluster.addresses, before=QUIET)
    assert (done.returncode, done.stderr) == (0, "")
    assert messages(cluster) == ["before", "after"]


@combinations(
    patch=PATCHES,
    late=LATE,
    wait={"flush": "handler.flush(60)", "room": "full()", "receipts": "receipts()"},
)
def test_greenlets_continue_while_one_waits(
    cluster: FakeKafka, patch: str, late: bool, wait: str
) -> None:
    """In `flush()`, for room, and for receipts; here they all wait for a broker that is down."""
    stop_broker(cluster)
    code = f"""
def full():
    log.info("waits for room")

def receipts():
    with handler.receipts(60):
        log.info("waits for a receipt")

def work():
    {wait}

log.info("first")
waiting, turns = spawn(work), 0
while turns < 50:
    pause(0.001)
    turns += 1
say(turns=turns, waits=handler.stats().delivered == 0)
"""
    options = {"buffer_records": 1, "overflow": "block", "block_timeout_ms": 60_000}
    options = {} if wait != "full()" else options
    done = run_patched(code, patch, late, cluster, close_timeout_ms=100, **options)
    assert said(done) == {"turns": 50, "waits": True}, done.stderr


@combinations(late=LATE, how={"os": "os.fork()", "gevent": "gevent.fork()"})
def test_children_of_a_program_of_gevent_s(cluster: FakeKafka, late: bool, how: str) -> None:
    """Each delivers its own records; a subprocess prints no message of the package."""
    code = f"""
import subprocess
log.info("parent")
assert handler.flush() == 0
subprocess.run([sys.executable, "-c", ""], check=True)

def work(child):
    for number in range(10): log.info("child %d %d", child, number)
    handler.flush()
    os._exit(0)

for child in range(3):
    pid = {how}
    if pid == 0: work(child)
    say(**{{f"status {{child}}": os.waitpid(pid, 0)[1]}})
log.info("later")
"""
    done = run_patched(code, GEVENT, late, cluster)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(said(done).values()) == {0}
    own = [f"child {child} {number}" for child in range(3) for number in range(10)]
    assert Counter(messages(cluster)) == Counter(["parent", "later", *own])
