"""The spool's promises on Apache Kafka: SIGKILL and outages lose nothing.

What is in a topic is read by ``kiel-logging verify`` and by the Java consumer.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiel_logging import KafkaHandler
from tests.handler.shipped import logger_to, total
from tests.kafka.conftest import require_kafka
from tests.kafka.test_proof import verify
from tests.support.console_consumer import ConsumedRecord, java_console_consumer
from tests.support.kafka import KAFKA_4, KafkaCluster
from tests.support.waiting import until

_KILLS = 50
_OUTAGE_S = 60.0
_THREADS = 4
_AWAY = b"Kafka can't be reached"


def numbers_by_key(records: list[ConsumedRecord]) -> dict[bytes | None, list[int]]:
    """The numbers of each key, in the order of its partition; without the handler's own."""
    found: dict[bytes | None, list[int]] = {}
    for record in sorted(records, key=lambda one: (one.partition, one.offset)):
        fields = json.loads(record.value or b"")
        if fields["logger"] != "kiel_logging":
            found.setdefault(record.key, []).append(int(fields["message"]))
    return found


def at_once(work: Callable[[int], None], brokers: Sequence[int]) -> None:
    """Do it to all brokers: one of three is no quorum, and does not start."""
    with ThreadPoolExecutor(len(brokers)) as pool:
        list(pool.map(work, brokers))


def without_repeats(numbers: list[int]) -> list[int]:
    """The first of each."""
    return list(dict.fromkeys(numbers))


def kill_at_random(
    options: dict[str, Any],
    first: int,
    told: Path,
    chance: random.Random,
    *,
    threads: int = 1,
    wait: Callable[[], bool] = lambda: True,
    away: bool = False,
) -> list[int]:
    """Run the program and kill it some time after `wait()` became true; return what it told.

    It says nothing else, unless the brokers are `away`: then it may say that.
    """
    given = json.dumps({"first": first, "told": str(told), "threads": threads, "options": options})
    code = [sys.executable, "-m", "tests.support.spool_program", given]
    with subprocess.Popen(
        code, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stderr=subprocess.PIPE
    ) as program:
        until(lambda: (told.exists() and wait()) or program.poll() is not None)
        time.sleep(chance.uniform(0.0, 0.5))
        program.send_signal(signal.SIGKILL)
        _, errors = program.communicate()
    said = [one for one in errors.splitlines() if not (away and one.startswith(_AWAY))]
    assert (program.returncode, said) == (-signal.SIGKILL, [])
    lines = told.read_bytes().split(b"\n")
    told.unlink()
    return [int(line) for line in lines[:-1]]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("chain", [True, False], ids=["chain", "numbers"])
def test_fifty_sigkills(kafka_4: KafkaCluster, topic: str, tmp_path: Path, chain: bool) -> None:
    """Every record whose call returned is in the topic, and it is complete without repeats."""
    kafka_4.create_topic(topic, partitions=3)
    chance = random.Random(7)
    options: dict[str, Any] = {
        "brokers": kafka_4.bootstrap,
        "topic": topic,
        "key_field": "user",
        "spool_dir": str(tmp_path / "spool"),
        "spool": "always",
        "chain": chain,
    }
    kills = _KILLS if chain else 5
    expected: set[int] = set()
    first = came_to_it = 0
    for kill in range(kills):
        told_numbers = kill_at_random(options, first, tmp_path / f"told-{kill}", chance)
        last = max(told_numbers, default=first - 1)
        came_to_it += last >= first
        expected.update(range(first, last + 1))
        first = last + 2  # the one behind it may be on disk, and was not told
    with closing(KafkaHandler(**options)) as handler:
        logger_to(handler).info("%d", first, extra={"user": "end"})
        assert handler.flush(60.0) == 0
    assert list((tmp_path / "spool").iterdir()) == []
    expected.add(first)
    records = java_console_consumer(kafka_4, topic)
    by_key = numbers_by_key(records)
    stored = {number for numbers in by_key.values() for number in numbers}
    assert expected - stored == set()
    assert all(numbers == sorted(numbers) for numbers in map(without_repeats, by_key.values()))
    status, told = verify(kafka_4, topic)
    assert (status, told["verdict"]) == (0, "complete")
    assert set(told["counts"]) <= {"repeated", "unsigned"}
    assert kills / 2 < came_to_it < len(told["instances"]) <= kills + 1


@pytest.mark.timeout(240)
def test_an_outage_of_a_minute(topic: str, tmp_path: Path) -> None:
    """Under load, with a buffer far too small: none is lost, and the order of each key holds."""
    require_kafka(KAFKA_4)
    with KafkaCluster(KAFKA_4) as cluster:
        cluster.create_topic(topic, partitions=3)
        handler = KafkaHandler(
            cluster.bootstrap,
            topic,
            key_field="user",
            spool_dir=tmp_path,
            chain=True,
            buffer_records=2_000,
            overflow="block",
            block_timeout_ms=30_000,
        )
        over = threading.Event()
        counts = [0] * _THREADS

        def load(thread: int, logger: logging.Logger) -> None:
            while not over.wait(0.002):
                logger.info("%d", counts[thread], extra={"user": f"u{thread}"})
                counts[thread] += 1

        with closing(handler):
            logger = logger_to(handler)
            threads = [threading.Thread(target=load, args=(n, logger)) for n in range(_THREADS)]
            for thread in threads:
                thread.start()
            until(lambda: handler.stats().delivered > 0)
            at_once(cluster.kill, cluster.broker_ids)
            time.sleep(_OUTAGE_S)
            during = handler.stats()
            at_once(cluster.start, cluster.broker_ids)
            time.sleep(5.0)
            over.set()
            for thread in threads:
                thread.join()
            assert handler.flush(60.0) == 0
            stats = handler.stats()
        assert during.spooled > 10_000
        assert total(during) == during.emitted
        assert (stats.dropped_total, stats.failed) == (0, 0)
        by_key = numbers_by_key(java_console_consumer(cluster, topic))
        assert by_key == {b"u%d" % n: list(range(counts[n])) for n in range(_THREADS)}
        status, told = verify(cluster, topic)
        assert (status, told["verdict"], set(told["counts"])) == (0, "complete", {"unsigned"})
