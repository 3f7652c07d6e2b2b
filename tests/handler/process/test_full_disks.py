"""Programs whose spool is on a disk that has no room left, not for a byte; and what comes of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kiel_logging.testing import FakeKafka
from tests.handler.process.child import run_by_hand, said
from tests.handler.shipped import messages, start_broker, stop_broker
from tests.support.small_disk import FILL_UP, NEEDS_SMALL_DISK, on_small_disk
from tests.support.stamps import audited, harm
from tests.support.waiting import until

pytestmark = NEEDS_SMALL_DISK

MODES = pytest.mark.parametrize("mode", ["overflow", "always"])

_BEFORE = (
    FILL_UP
    + """
import shutil
from pathlib import Path
from kiel_logging import KafkaHandler
from tests.support.waiting import until

spool = Path({spool!r})
full = Path({full!r})
count, errors = 0, []

def on_error(error, records):
    errors.append((type(error).__name__, records))
    full.touch()

def write(records):
    global count
    for _ in range(records):
        log.info("%d", count, extra=dict(pad="x" * 1000))
        count += 1

def room():
    return shutil.disk_usage(spool).free
"""
)


def run_until_full_and_on(
    cluster: FakeKafka, tmp_path: Path, code: str, **options: Any
) -> dict[str, Any]:
    """Run a program whose spool is on a small disk; brokers come when it says that it is `full`."""
    spool, full = tmp_path / "spool", tmp_path / "full"
    spool.mkdir()
    stop_broker(cluster)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            run_by_hand,
            _BEFORE.format(spool=str(spool), full=str(full)) + code,
            brokers=cluster.addresses,
            prefix=on_small_disk(spool, "8m"),
            spool_dir=str(spool),
            linger_ms=1,
            retry_backoff_ms=5,
            retry_backoff_max_ms=20,
            **options,
        )
        until(lambda: full.exists() or running.done())
        start_broker(cluster)
        done = running.result()
    assert done.returncode == 0, done.stderr
    assert "its file system has no room left" in done.stderr
    return said(done)


@MODES
def test_a_disk_that_the_spool_has_filled(cluster: FakeKafka, tmp_path: Path, mode: str) -> None:
    """When the brokers are back all of it leaves the disk, and what is logged then goes there."""
    code = """
handler = make(on_error=on_error, buffer_records=1000, overflow="block", block_timeout_ms=60_000)
while not errors:
    write(1)
write(100)
while handler.flush(60.0):
    pass
until(lambda: room() > 6_000_000)
write(100)
handler.close()
stats = handler.stats()
say(count=count, errors=errors, dropped=stats.dropped_total, failed=stats.failed)
say(spooled=stats.spooled, left=os.listdir(spool))
"""
    told = run_until_full_and_on(cluster, tmp_path, code, spool=mode)
    assert messages(cluster) == [str(number) for number in range(told["count"])]
    assert (told["dropped"], told["failed"], told["spooled"], told["left"]) == (0, 0, 0, [])
    assert ["NoRoom", 0] in told["errors"]
    assert harm(audited(cluster.records("logs"))) == {}


@MODES
def test_a_start_on_a_full_disk(cluster: FakeKafka, tmp_path: Path, mode: str) -> None:
    """Sends what the dead left, removes that, and keeps what is logged in memory."""
    code = """
def be_killed():
    make(spool="always")
    write(500)
    os.kill(os.getpid(), signal.SIGKILL)

assert wait(fork(be_killed)) == [-9]
left = sorted(path.suffix for path in spool.rglob("*") if path.is_file())
fill_up(spool)
handler = make(on_error=on_error)
count = 500
write(500)
while handler.flush(60.0):
    pass
stats = handler.stats()
say(recovered=stats.recovered, delivered=stats.delivered, dropped=stats.dropped_total)
handler.close()
say(left=left, rest=os.listdir(spool), errors=errors)
"""
    told = run_until_full_and_on(cluster, tmp_path, code, spool=mode)
    assert messages(cluster) == [str(number) for number in range(1000)]
    assert (told["recovered"], told["delivered"], told["dropped"]) == (500, 500, 0)
    assert told["left"] == ["", ".lock", ".lock", ".log"]
    assert told["rest"] == ["filling"]
    assert ["NoRoom", 0] in told["errors"]


def test_a_place_that_can_never_be_one(cluster: FakeKafka, tmp_path: Path) -> None:
    """It is reported immediately, though the disk is full as well."""
    code = """
(spool / "file").touch()
fill_up(spool)
full.touch()
try:
    make(spool_dir=str(spool / "file"))
except Exception as error:
    say(error=type(error).__name__)
make(spool_dir=str(spool / "new" / "directory"), on_error=on_error).close()
say(errors=errors)
"""
    told = run_until_full_and_on(cluster, tmp_path, code)
    assert told["error"] == "SpoolError"
    assert told["errors"] in ([["NoRoom", 0]], [])  # a tmpfs has room for directories
