"""How fast topics are verified: a million records of a thousand instances.

``python -m benchmarks.verify [--records 1000000]`` feeds records that it makes in memory to the
checker alone, with and without a chain, and prints what each takes, and the memory that the checker
needs. ``--brokers host:port`` writes as many to a topic there first and runs the command on it;
``--mock`` uses librdkafka's mock brokers, which keep some ten thousands of them only.
"""

import argparse
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any, Final
from uuid import uuid4

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from kiel_logging.demo.cluster import mock_cluster
from kiel_logging.proof import headers as names
from kiel_logging.proof.chain import FIRST, Chain
from kiel_logging.records import Header
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.judge import judge
from kiel_logging.wire.record_body import encode_body

Entry = tuple[int, int, bytes, bytes, list[Header]]
"""Partition, offset, key, value, headers."""

_INSTANCES: Final = 1_000
_PARTITIONS: Final = 12
_VALUE: Final = b'{"time":"2026-01-02T03:04:05.678901Z","level":"INFO","message":"%s"}' % (
    b"x" * 200
)
_CHUNK: Final = 10_000
_TOPIC: Final = "benchmark"
_MOCK_RECORDS: Final = 40_000
_PATIENCE_S: Final = 600.0
_MIB: Final = 1024 * 1024


def main() -> int:
    """Measure, print, return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--brokers", metavar="HOST:PORT")
    parser.add_argument("--mock", action="store_true")
    options = parser.parse_args()
    if options.brokers or options.mock:
        with ExitStack() as stack:
            if options.brokers:
                return _measure_command(options.brokers, options.records, create=True)
            cluster = stack.enter_context(mock_cluster())
            count = min(options.records, _MOCK_RECORDS)
            return _measure_command(cluster.brokers, count, create=False)
    for name, chain, key in (("plain", False, None), ("chain", True, None), ("key", True, b"key")):
        _measure_checker(name, options.records, chain=chain, key=key)
    return 0


def entries(count: int, topic: str, *, chain: bool, key: bytes | None) -> Iterator[Entry]:
    """Yield what a thousand instances ship in turns, dealt out to partitions at random, nearly."""
    instances = [uuid4().hex.encode() for _ in range(_INSTANCES)]
    sealing = Chain.of(key)
    seals = [sealing.digest(topic, instance.decode()) for instance in instances]
    prevs, offsets = [FIRST] * _INSTANCES, [0] * _PARTITIONS
    for number in range(count):
        sequence, who = divmod(number, _INSTANCES)
        partition = number * 7919 // 13 % _PARTITIONS
        headers: list[Header] = [
            ("level", b"INFO"),
            (names.INSTANCE, instances[who]),
            (names.SEQUENCE, b"%d" % (sequence + 1)),
        ]
        if chain:
            digest = seals[who](prevs[who], encode_body(b"user-1", _VALUE, headers))
            headers.append((names.CHAIN, prevs[who] + digest))
            prevs[who] = digest
        yield partition, offsets[partition], b"user-1", _VALUE, headers
        offsets[partition] += 1


def _measure_checker(name: str, count: int, *, chain: bool, key: bytes | None) -> None:
    audit, seconds = _audit(key), 0.0
    made = entries(count, _TOPIC, chain=chain, key=key)
    while chunk := list(islice(made, _CHUNK)):  # made outside of what is measured
        began = time.perf_counter()
        for partition, offset, record_key, value, headers in chunk:
            audit.add(partition, offset, 1_700_000_000_000, record_key, value, headers)
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    verdict = judge(audit)
    judging = time.perf_counter() - began
    assert not set(verdict.counts()) - {"unfinished", "unsigned"}
    print(
        f"{name}: {seconds / count * 1e6:.2f} µs a record, {count:,} in {seconds:.1f} s, "
        f"judged in {judging:.2f} s; {_memory_a_record(chain=chain, key=key):.0f} bytes a record"
    )


def _audit(key: bytes | None) -> Audit:
    return Audit(_TOPIC, () if key is None else (Chain.of(key),))


def _memory_a_record(*, chain: bool, key: bytes | None, count: int = 200_000) -> float:
    audit, made = _audit(key), entries(count, _TOPIC, chain=chain, key=key)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for partition, offset, record_key, value, headers in made:
        audit.add(partition, offset, 1_700_000_000_000, record_key, value, headers)
    needed = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return needed / count


def _measure_command(brokers: str, count: int, *, create: bool) -> int:
    topic = f"benchmark-{uuid4().hex[:8]}"
    if create:  # the mock brokers do so by themselves
        client = AdminClient({"bootstrap.servers": brokers})
        client.create_topics([NewTopic(topic, num_partitions=_PARTITIONS)])[topic].result(30)
    partitions = _produce(brokers, topic, count, idempotence=create)
    began = time.perf_counter()
    command = [sys.executable, "-m", "kiel_logging", "verify", "--topic", topic]
    done = subprocess.run(  # noqa: S603 # ourselves
        [*command, "--brokers", brokers, "--running"], capture_output=True, text=True
    )
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / _MIB
    print(*done.stdout.splitlines()[-2:-1], done.stderr, sep="\n", end="")
    print(
        f"command: {count:,} records of {partitions} partitions in {seconds:.1f} s, "
        f"{seconds / count * 1e6:.1f} µs a record, at most {memory:.0f} MiB"
    )
    return done.returncode


def _produce(brokers: str, topic: str, count: int, *, idempotence: bool) -> int:
    config = {"bootstrap.servers": brokers, "compression.type": "lz4", "linger.ms": 20}
    # Without it a batch that is sent again comes behind the next one, and verify finds that.
    producer: Any = Producer({**config, "enable.idempotence": idempotence})
    partitions = len(producer.list_topics(topic, timeout=30).topics[topic].partitions) or 1
    for partition, _, key, value, headers in entries(count, topic, chain=True, key=None):
        while True:
            try:
                producer.produce(topic, value, key, partition % partitions, headers=list(headers))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(_PATIENCE_S) == 0
    return partitions


if __name__ == "__main__":
    sys.exit(main())
