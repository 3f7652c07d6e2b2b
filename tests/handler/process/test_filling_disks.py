"""A disk that one program fills to its last byte again and again while brokers come and go."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from kiel_logging.records import Record
from kiel_logging.testing import FakeKafka
from kiel_logging.testing.batches import StoredRecord
from kiel_logging.testing.cluster import FakeCluster
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.judge import judge
from tests.handler.process.child import run_by_hand, said
from tests.handler.shipped import start_broker, stop_broker
from tests.support.examples import THOROUGH
from tests.support.small_disk import FILL_UP, NEEDS_SMALL_DISK, on_small_disk
from tests.support.stamps import harm
from tests.support.waiting import until

pytestmark = NEEDS_SMALL_DISK

_SIZE: Final = "64m" if THOROUGH else "8m"
_TURNS: Final = 10 if THOROUGH else 2
_OUTAGES: Final = 3
"""While a full disk empties itself."""
_PATIENCE: Final = 300.0
_BUFFER: Final = 300

_CODE: Final = (
    FILL_UP
    + """
import shutil
from pathlib import Path
from tests.support.waiting import until

spool, signs = Path({spool!r}), Path({signs!r})
count, refused = 0, 0

def on_error(error, records):
    global refused
    refused += records

def write(records):
    global count
    for _ in range(records):
        log.info("%d", count, extra=dict(pad="x" * 4000))
        count += 1

def free():
    return shutil.disk_usage(spool).free

handler = make(on_error=on_error, spool_dir=str(spool / "spool"))
for turn in range({turns}):
    until((signs / f"away-{{turn}}").exists, 300)
    while free() > 65536:
        write(1)
    dropped = handler.stats().dropped_total
    while handler.stats().dropped_total == dropped:  # the loop thread may give pages back meanwhile
        fill_up(spool)
        write({more})
    (signs / f"full-{{turn}}").touch()
    while handler.flush(60.0):
        pass
    (spool / "filling").unlink(missing_ok=True)
    until(lambda: handler.stats().spooled == 0)
    (signs / f"empty-{{turn}}").touch()
handler.close()
stats = handler.stats()
say(count=count, refused=refused, dropped=stats.dropped_total, failed=stats.failed)
say(emitted=stats.emitted, delivered=stats.delivered, spooled=stats.spooled, memory=stats.memory)
say(left=os.listdir(spool / "spool"))
"""
)


class Reader:
    """Takes records out of the cluster, as else they would need more memory than there is."""

    def __init__(self, cluster: FakeKafka) -> None:
        self._cluster = cluster
        self._next_offset = 0
        self.audit = Audit("logs")
        self.numbers: list[int] = []

    def read(self) -> int:
        """Read what is new; return how many records of the program were read so far."""
        for one in self._cluster.call(self._take):
            self._next_offset = one.offset + 1
            self.audit.add(
                0, one.offset, Record(one.key, one.value, tuple(one.headers), one.timestamp)
            )
            fields = json.loads(one.value or b"")
            if fields["logger"] != "kiel_logging":
                self.numbers.append(int(fields["message"]))
        return len(self.numbers)

    def _take(self, cluster: FakeCluster) -> list[StoredRecord]:
        batches = cluster.state.topics["logs"].partitions[0].batches
        records = [one for batch in batches for one in batch.records]
        del batches[:-1]  # the last one has the offset that comes next
        return [one for one in records if one.offset >= self._next_offset]


@pytest.mark.timeout(1_500 if THOROUGH else 180)
@pytest.mark.parametrize("mode", ["overflow", "always"])
def test_a_disk_that_is_full_again_and_again(cluster: FakeKafka, tmp_path: Path, mode: str) -> None:
    """All that was not dropped arrives, in order; drops are counted and declared; it empties."""
    disk, signs = tmp_path / "disk", tmp_path / "signs"
    disk.mkdir()
    signs.mkdir()
    reader = Reader(cluster)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            run_by_hand,
            _CODE.format(spool=str(disk), signs=str(signs), turns=_TURNS, more=2 * _BUFFER),
            brokers=cluster.addresses,
            prefix=on_small_disk(disk, _SIZE),
            timeout=1_200,
            spool=mode,
            chain=True,
            buffer_records=_BUFFER,
            linger_ms=1,
            retry_backoff_ms=5,
            retry_backoff_max_ms=20,
        )

        def wait(condition: Callable[[], bool]) -> None:
            until(lambda: condition() or running.done(), _PATIENCE)

        for turn in range(_TURNS):
            stop_broker(cluster)
            (signs / f"away-{turn}").touch()
            wait((signs / f"full-{turn}").exists)
            is_empty = (signs / f"empty-{turn}").exists
            for _ in range(_OUTAGES):
                before = reader.read()
                start_broker(cluster)
                wait(lambda before=before, done=is_empty: reader.read() > before or done())  # type: ignore[misc]
                stop_broker(cluster)
            start_broker(cluster)
            wait(is_empty)
            reader.read()
        done = running.result()
    assert done.returncode == 0, done.stderr
    reader.read()
    told = said(done)
    print(told, judge(reader.audit, "logs").counts())
    assert "its file system has no room left" in done.stderr
    numbers, dropped = reader.numbers, told["dropped"]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == told["count"] - dropped
    assert dropped == told["refused"] >= _TURNS
    assert told["emitted"] == told["delivered"] + dropped
    assert (told["failed"], told["spooled"], told["memory"], told["left"]) == (0, 0, 0, [])
    assert harm(judge(reader.audit, "logs")) == {"dropped": dropped}
