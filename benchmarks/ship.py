"""The cost of logging through a SpoolHandler, and of shipping: ``python -m benchmarks.ship``.

Each case runs in a separate process; the cases take turns, and each figure is the median of
``--rounds``.

- A call is timed on the thread that logs; CPU is that of the whole process until its end.
- The import is that of the class alone, beside ``import confluent_kafka``.
- The shipper sends a backlog of one stream by ``--once``; confluent-kafka's producer sends the same
  values from a file, each a line, with idempotence and snappy. From both times the time of the same
  program without any records is subtracted: Python's start and the first connection.
- The latency is that from the logging call to the broker's append, whose time is in the topic
  (LogAppendTime, to a millisecond), at 1,000 records/s; the shipper has its options as they are.
- The streams are those of forked processes that sleep, each of which has logged one record.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.cimpl import NewTopic

from benchmarks.cluster import KAFKA, MOCK, Cluster, cluster
from benchmarks.load import Others
from benchmarks.surroundings import surroundings

_LOG: Final = """
import json, logging, resource, sys, time
from benchmarks.ship import handler_named
kind, path, brokers, topic, records = sys.argv[1:]
logger = logging.Logger("shop")
logger.addHandler(handler_named(kind, path, brokers, topic))
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
logger.info("the first")
before, took, clock = cpu(), 0.0, time.perf_counter
for number in range(int(records)):
    began = clock()
    logger.info("order %d paid by %s", number, "ada", extra={"user": "ada", "amount": number})
    took += clock() - began
    if number % 10 == 0:
        time.sleep(0.001)
logging.shutdown()
logger.handlers[0].close()
print(json.dumps([1e6 * took / int(records), 1e6 * (cpu() - before) / int(records)]))
"""

_STEADY: Final = """
import logging, sys, time
from benchmarks.ship import handler_named
kind, path, brokers, topic, records = sys.argv[1:]
logger = logging.Logger("shop")
logger.addHandler(handler_named(kind, path, brokers, topic))
logger.info("warm up", extra={"user": "ada"})
time.sleep(2)
began = time.perf_counter()
for number in range(int(records)):
    time.sleep(max(0.0, began + number / 1000 - time.perf_counter()))
    logger.info("order %d paid by %s", number, "ada", extra={"user": "ada", "amount": number})
logging.shutdown()
logger.handlers[0].close()
"""

_STEADY_RECORDS: Final = 5_000

_IMPORT: Final = """
import sys, time
began = time.perf_counter()
exec(sys.argv[1])
print(1e3 * (time.perf_counter() - began))
"""

_CONFLUENT: Final = """
import sys
from confluent_kafka import Producer
producer = Producer({
    "bootstrap.servers": sys.argv[1], "enable.idempotence": True, "compression.type": "snappy",
    "queue.buffering.max.messages": 1_000_000,
})
with open(sys.argv[3], "rb") as file:
    for line in file:
        while True:
            try:
                producer.produce(sys.argv[2], line[:-1])
                break
            except BufferError:
                producer.poll(0.1)
producer.flush()
"""

_FORKS: Final = """
import logging, os, sys, time
from kiel_logging import SpoolHandler
logger = logging.Logger("shop")
logger.addHandler(SpoolHandler(sys.argv[1], sys.argv[2]))
for _ in range(int(sys.argv[3])):
    if os.fork() == 0:
        logger.info("one")
        time.sleep(3600)
time.sleep(3600)
"""


def handler_named(kind: str, path: str, brokers: str, topic: str) -> Any:
    """Return the handler of a case."""
    import logging

    from kiel_logging import KafkaHandler, SpoolHandler

    if kind == "SpoolHandler":
        return SpoolHandler(path, topic, key_field="user")
    if kind == "KafkaHandler":
        return KafkaHandler(brokers, topic, key_field="user")
    handler = logging.FileHandler(Path(path) / "log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    return handler


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.ship")
    parser.add_argument("--cluster", choices=(KAFKA, MOCK), default=KAFKA)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=20_000, help="logged by a case")
    parser.add_argument("--backlog", type=int, default=400_000, help="records that are shipped")
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--path", help="a directory on the disk to be measured")
    options = parser.parse_args(argv)
    others = Others()
    with (
        cluster(options.cluster) as found,
        tempfile.TemporaryDirectory(dir=options.path) as scratch,
    ):
        os.environ["PYTHONPYCACHEPREFIX"] = f"{scratch}/bytecode"
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # no case compiles what an earlier one had
        figures: dict[str, Any] = {
            **_calls(found, Path(scratch), options.rounds, options.records),
            **_imports(options.rounds),
            **_latencies(found, Path(scratch), options.rounds),
            **_rates(found, Path(scratch), options.rounds, options.backlog),
            **_memory(found, Path(scratch), options.streams),
        }
    about = {**surroundings(), "broker": found.name, "others": round(others.cores(), 2)}
    print(json.dumps({**about, **figures}, indent=1))
    return 0


def _python(code: str, *arguments: object) -> str:
    return _output([sys.executable, "-c", code, *map(str, arguments)])


def _output(command: list[str]) -> str:
    return subprocess.run(  # noqa: S603
        command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextlib.contextmanager
def _topic(found: Cluster, name: str) -> Iterator[str]:
    found.create((name,), 4)
    try:
        yield name
    finally:
        found.delete((name,))


def _calls(found: Cluster, scratch: Path, rounds: int, records: int) -> dict[str, Any]:
    kinds = ("FileHandler", "SpoolHandler", "KafkaHandler")
    results: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    with _topic(found, "benchmark-calls") as topic:
        for _ in range(rounds):
            for kind in kinds:
                with tempfile.TemporaryDirectory(dir=scratch) as path:
                    out = _python(_LOG, kind, path, found.brokers, topic, records)
                results[kind].append(json.loads(out))
    return {
        "mean call, us": {k: round(median(one for one, _ in v), 1) for k, v in results.items()},
        "CPU per record, us": {k: round(median(c for _, c in v), 1) for k, v in results.items()},
    }


def _latencies(found: Cluster, scratch: Path, rounds: int) -> dict[str, Any]:
    if found.fixed_partitions:
        return {}  # the mock cluster stores no time of append
    kinds = ("KafkaHandler", "SpoolHandler")
    results: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds:
            topic = f"benchmark-latency-{number}-{kind}"
            config = {"message.timestamp.type": "LogAppendTime"}
            new = NewTopic(topic, 1, 1, config=config)
            found.admin.create_topics([new])[topic].result(60)
            with tempfile.TemporaryDirectory(dir=scratch) as path:
                ship = None
                if kind == "SpoolHandler":
                    ship = subprocess.Popen(_ship(found, Path(path)))  # noqa: S603
                try:
                    _python(_STEADY, kind, path, found.brokers, topic, _STEADY_RECORDS)
                    results[kind].append(_times_in(found, topic, _STEADY_RECORDS))
                finally:
                    if ship is not None:
                        ship.terminate()
                        ship.wait()
            found.delete((topic,))
    return {
        "latency, ms, p50": {k: round(median(map(median, v)), 1) for k, v in results.items()},
        "latency, ms, p99": {
            k: round(median(sorted(one)[len(one) * 99 // 100] for one in v), 1)
            for k, v in results.items()
        },
    }


def _times_in(found: Cluster, topic: str, records: int) -> list[float]:
    """Return the milliseconds from each record's call to its append, but for the first record."""
    consumer = Consumer({"bootstrap.servers": found.brokers, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, 0)])
    times: list[float] = []
    while len(times) <= records:
        for message in consumer.consume(1000, timeout=1):
            logged = datetime.fromisoformat(json.loads(message.value() or b"{}")["time"])
            times.append(message.timestamp()[1] - 1000 * logged.timestamp())
    consumer.close()
    return times[1:]


def _imports(rounds: int) -> dict[str, Any]:
    statements = ("from kiel_logging import SpoolHandler", "import confluent_kafka")
    found: dict[str, list[float]] = {statement: [] for statement in statements}
    for _ in range(rounds * 2 + 1):
        for statement in statements:
            command = [sys.executable, "-c", _IMPORT, statement]
            found[statement].append(float(_output(command)))
    # The first round may compile.
    return {"import, ms": {name: round(median(times[1:]), 1) for name, times in found.items()}}


def _ship(found: Cluster, root: Path) -> list[str]:
    command = [sys.executable, "-m", "kiel_logging", "ship", "--spool-dir", str(root)]
    return [*command, "--brokers", found.brokers]


def _rates(found: Cluster, scratch: Path, rounds: int, backlog: int) -> dict[str, Any]:
    spool, copy, empty = scratch / "spool", scratch / "copy", scratch / "empty"
    empty.mkdir()
    spool.mkdir()
    with _topic(found, "benchmark-ship") as topic:
        _python(_LOG, "SpoolHandler", spool, found.brokers, topic, backlog)
        shown = [sys.executable, "-m", "kiel_logging", "spool", str(spool), "--show"]
        values, nothing = scratch / "values", scratch / "nothing"
        nothing.touch()
        lines = _output(shown)
        texts = (json.dumps(json.loads(line)["value"]) for line in lines.splitlines())
        values.write_text("".join(f"{text}\n" for text in texts))
        ours, theirs = list[float](), list[float]()
        confluent = [sys.executable, "-c", _CONFLUENT, found.brokers, topic]
        for _ in range(rounds):
            shutil.copytree(spool, copy)
            once = ["--once", "--timeout", "600"]
            seconds = _seconds([*_ship(found, copy), *once])
            ours.append(backlog / (seconds - _seconds([*_ship(found, empty), *once])))
            shutil.rmtree(copy)
            seconds = _seconds([*confluent, str(values)])
            theirs.append(backlog / (seconds - _seconds([*confluent, str(nothing)])))
    return {
        "records/s": {
            "kiel-logging ship": round(median(ours)),
            "confluent-kafka from a file": round(median(theirs)),
        }
    }


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)  # noqa: S603
    return time.perf_counter() - began


def _memory(found: Cluster, scratch: Path, streams: int) -> dict[str, Any]:
    root = scratch / "fleet"
    root.mkdir()
    with _topic(found, "benchmark-fleet") as topic:
        forks = subprocess.Popen(  # noqa: S603
            [sys.executable, "-W", "ignore", "-c", _FORKS, str(root), topic, str(streams)],
            start_new_session=True,
        )
        ship = subprocess.Popen(_ship(found, root))  # noqa: S603
        try:
            while found.stored((topic,), 4) < streams:
                time.sleep(0.5)
            ticks, began = _ticks(ship.pid), time.monotonic()
            time.sleep(10)
            busy = (_ticks(ship.pid) - ticks) / os.sysconf("SC_CLK_TCK")
            idle = busy / (time.monotonic() - began)
            status = Path(f"/proc/{ship.pid}/status").read_text()
            memory = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            descriptors = len(list(Path(f"/proc/{ship.pid}/fd").iterdir()))
        finally:
            ship.terminate()
            os.killpg(forks.pid, signal.SIGKILL)
            ship.wait()
            forks.wait()
    return {
        f"{streams} streams": {
            "MB": round(int(memory.split()[1]) / 1024),
            "descriptors": descriptors,
            "of a core, idle": round(idle, 3),
        }
    }


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


if __name__ == "__main__":
    sys.exit(main())
