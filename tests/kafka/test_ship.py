"""``kiel-logging ship`` on Apache Kafka: many programs append, shippers are killed, none is lost.

With ``KIEL_FULL=1`` in the sizes of a host: 200 processes at once and 1,000 after each other log
500,000 records, while the shipper is killed 20 times and the brokers restart.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from kiel_logging import SpoolHandler
from kiel_logging.spool_command.survey import owner_of
from tests.kafka.test_proof import verify
from tests.kafka.test_spool import assert_stored, numbers_by_key
from tests.support.console_consumer import java_console_consumer
from tests.support.kafka import KafkaCluster
from tests.support.waiting import until

FULL: Final = bool(os.environ.get("KIEL_FULL"))
PROGRAMS: Final = 4
FORKS: Final = 50 if FULL else 5
RECORDS: Final = 112 if FULL else 60
"""Of each long-lived process, between two kills."""
SPAWNED: Final = 100 if FULL else 5
FORKED: Final = 900 if FULL else 10
SHORT_RECORDS: Final = 50 if FULL else 20
KILLS: Final = 20 if FULL else 4
SECRET: Final = "a secret of the shipper's own"

WRITERS: Final = """
import logging, os, sys, time
from kiel_logging import SpoolHandler
name, root, topic, forks, in_turn, phases, records, pause = sys.argv[1:]
handler = SpoolHandler(root, topic, key_field="user", chain=True)
logger = logging.Logger("shop")
logger.addHandler(handler)
def log(key):
    for phase in range(int(phases)):
        while not os.path.exists(f"{root}.{phase}"):
            time.sleep(0.02)
        for number in range(int(records)):
            logger.info("%d", phase * int(records) + number, extra={"user": key})
            time.sleep(float(pause))
children = []
for number in range(int(forks)):
    child = os.fork()
    if child == 0:
        log(f"{name}.{number}")
        os._exit(0)
    if in_turn == "True":
        os.waitpid(child, 0)
    else:
        children.append(child)
log(f"{name}.parent")
for child in children:
    assert os.waitpid(child, 0)[1] == 0
for one in map("/proc/self/fd/{}".format, os.listdir("/proc/self/fd")):
    assert not os.path.islink(one) or not os.readlink(one).startswith("socket:")
"""


class Shippers:
    """Shippers of one directory, which are killed and started."""

    def __init__(self, cluster: KafkaCluster, root: Path, key: Path) -> None:
        self._command = [sys.executable, "-m", "kiel_logging", "ship", "--spool-dir", str(root)]
        self._command += ["--brokers", ",".join(cluster.bootstrap), "--chain-key", str(key)]
        self._ports = {int(address.rpartition(":")[2]) for address in cluster.bootstrap}
        self.running: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        """Start one more."""
        self.running.append(subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True))

    def kill(self) -> None:
        """End the oldest by SIGKILL."""
        process = self.running.pop(0)
        process.kill()
        process.communicate()

    def end(self) -> None:
        """End the oldest by SIGTERM."""
        process = self.running.pop(0)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0

    def send_once(self) -> None:
        """Send what is there, such as the last records of shippers about chains."""
        assert subprocess.run([*self._command, "--once"], check=False).returncode == 0

    def have_sent_all(self, root: Path) -> bool:
        """Whether all is removed but what running shippers themselves have written."""
        own = {process.pid for process in self.running}
        try:
            return all(owner_of(path).pid in own for path in root.iterdir())
        except FileNotFoundError:
            return False

    def connections(self) -> list[int]:
        """Return how many connections each has to each broker, at most."""
        inodes: dict[str, int] = {}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            port = int(fields[2].rpartition(":")[2], 16)
            if port in self._ports and fields[3] == "01":
                inodes[f"socket:[{fields[9]}]"] = port
        most = []
        for process in self.running:
            ports = list[int]()
            for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
                try:
                    target = str(descriptor.readlink())
                except FileNotFoundError:
                    continue
                ports += [inodes[target]] if target in inodes else []
            most.append(max(map(ports.count, ports), default=0))
        return most


@contextmanager
def shippers(cluster: KafkaCluster, root: Path, key: Path) -> Iterator[Shippers]:
    """Have shippers, none of which outlives the block."""
    made = Shippers(cluster, root, key)
    try:
        yield made
    finally:
        while made.running:
            made.kill()


def write(root: Path, name: str, topic: str, *options: Any) -> subprocess.Popen[bytes]:
    """Start a program that forks, logs and ends."""
    command = [sys.executable, "-W", "ignore", "-c", WRITERS, name, str(root), topic]
    return subprocess.Popen([*command, *map(str, options)])


@pytest.mark.timeout(3600 if FULL else 300)
def test_a_fleet(kafka_4: KafkaCluster, topic: str, tmp_path: Path) -> None:
    """Each record is there, in order for each process, repeats have the number of the first, and
    `verify` calls it complete; the only connections are those of the shippers."""
    kafka_4.create_topic(topic, partitions=3)
    root, key = tmp_path / "spool", tmp_path / "key"
    root.mkdir()
    key.write_text(SECRET)
    chance, began = random.Random(17), time.monotonic()
    with shippers(kafka_4, root, key) as ship:
        ship.start()
        ship.start()  # two at once share no stream
        pause = 0.02 if FULL else 0.004
        writers = [
            write(root, f"w{number}", topic, FORKS - 1, False, KILLS, RECORDS, pause)
            for number in range(PROGRAMS)
        ]
        for number in range(KILLS):
            (tmp_path / f"spool.{number}").touch()
            until(lambda: any(ship.connections()))
            time.sleep(chance.uniform(0.2, 1.0))  # by the clock: at a random moment
            assert max(ship.connections()) <= 2
            if FULL and number % 5 == 4:
                broker = number % 3 + 1
                kafka_4.kill(kafka_4.broker_ids[broker - 1])
                kafka_4.start(kafka_4.broker_ids[broker - 1])
            ship.kill()
            ship.start()
        for number in range(SPAWNED):
            assert write(root, f"s{number}", topic, 0, True, 1, SHORT_RECORDS, 0).wait(60) == 0
        assert write(root, "s", topic, FORKED, True, 1, SHORT_RECORDS, 0).wait(600) == 0
        for writer in writers:
            assert writer.wait(600) == 0
        until(lambda: ship.have_sent_all(root), 300.0)
        seconds = time.monotonic() - began
        while ship.running:
            ship.end()
        ship.send_once()
        assert list(root.iterdir()) == []
    patience = 600_000 if FULL else 10_000
    by_key = numbers_by_key(java_console_consumer(kafka_4, topic, timeout_ms=patience))
    names = [f"w{number}.{fork}" for number in range(PROGRAMS) for fork in range(FORKS - 1)]
    names += [f"w{number}.parent" for number in range(PROGRAMS)]
    short = [f"s{number}.parent" for number in range(SPAWNED)]
    short += ["s.parent", *(f"s.{number}" for number in range(FORKED))]
    assert {(one or b"").decode() for one in by_key} == {*names, *short}
    for one, numbers in by_key.items():
        expected = SHORT_RECORDS if (one or b"").startswith(b"s") else KILLS * RECORDS
        assert_stored(set(range(expected)), {one: numbers})
    status, verdict = verify(kafka_4, topic, SECRET)
    total = sum(map(len, by_key.values()))
    print(f"{len(by_key)} processes, {total} records, {seconds:.0f} s, {verdict['counts']}")
    assert (status, verdict["verdict"]) == (0, "complete")
    assert set(verdict["counts"]) <= {"repeated"}


def test_receipts(kafka_4: KafkaCluster, topic: str, tmp_path: Path) -> None:
    """A block of a SpoolHandler ends when Kafka has acknowledged its records to a shipper, also to
    one that takes the place of another that is killed."""
    kafka_4.create_topic(topic, partitions=3)
    root, key, logger = tmp_path / "spool", tmp_path / "key", logging.Logger("shop")
    key.write_text(SECRET)
    handler = SpoolHandler(root, topic, key_field="user")
    logger.addHandler(handler)
    with shippers(kafka_4, root, key) as ship, contextlib.closing(handler):
        for block in range(3):
            ship.start()
            with handler.receipts(timeout=100.0) as receipts:
                for number in range(block * 50, block * 50 + 50):
                    logger.info("%d", number, extra={"user": "ada"})
                if block:
                    ship.kill()
            assert len(receipts) == 50
            stored = numbers_by_key(java_console_consumer(kafka_4, topic))
            assert_stored(set(range(block * 50 + 50)), {b"ada": stored[b"ada"]})
