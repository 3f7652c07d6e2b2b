"""The cost of a program before its first record has arrived: ``python -m benchmarks.loading``.

Three comparisons: the import with ``import confluent_kafka``, the memory of a configured handler
with that of ``import logging.config``, and import, configuration and first delivery together with
those of a handler on confluent-kafka. Each program runs in a separate process; the programs take
turns, and each figure is the median of ``--rounds``. Bytecode is cached beforehand, as it is after
an installation.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

from benchmarks.cluster import MOCK, Cluster, cluster
from benchmarks.surroundings import surroundings

TOPIC: Final = "benchmark-loading"

_REPORT_MEMORY: Final = """
with open("/proc/self/status", encoding="ascii", errors="replace") as status:
    print(*(line.split()[1] for line in status if line.startswith("VmRSS:")))
"""

_OURS: Final = """
import logging.config, sys
from kiel_logging import KafkaHandler
logging.config.dictConfig({
    "version": 1,
    "handlers": {"kafka": {
        "class": "kiel_logging.KafkaHandler", "brokers": sys.argv[1], "topic": sys.argv[2]
    }},
    "root": {"level": "INFO", "handlers": ["kafka"]},
})
"""

# As short as such a handler can be; it does less than benchmarks/peers/confluent.py.
_THEIRS: Final = """
import json, logging.config, sys
import confluent_kafka

class Handler(logging.Handler):
    def __init__(self, brokers, topic):
        super().__init__()
        self.topic = topic
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": brokers, "acks": "all", "enable.idempotence": True,
            "compression.type": "snappy",
        })

    def emit(self, record):
        fields = {"time": record.created, "level": record.levelname, "logger": record.name}
        value = json.dumps({**fields, "message": record.getMessage()})
        self.producer.produce(self.topic, value)

    def flush(self):
        return self.producer.flush()

logging.config.dictConfig({
    "version": 1,
    "handlers": {"kafka": {"()": Handler, "brokers": sys.argv[1], "topic": sys.argv[2]}},
    "root": {"level": "INFO", "handlers": ["kafka"]},
})
"""

_DELIVER: Final = """
logging.info("started")
assert logging.getLogger().handlers[0].flush() == 0
print((time.perf_counter() - began) * 1000)
"""
_BEGIN: Final = "import time\nbegan = time.perf_counter()\n"

# Those that print a figure report it; of the others it is the time that the process takes.
PROGRAMS: Final[Mapping[str, str]] = {
    "nothing": "pass",
    "import": "from kiel_logging import KafkaHandler",
    "import confluent_kafka": "import confluent_kafka",
    "logging.config": f"import logging.config\n{_REPORT_MEMORY}",
    "configured": _OURS + _REPORT_MEMORY,
    "delivered": _BEGIN + _OURS + _DELIVER,
    "delivered by confluent_kafka": _BEGIN + _THEIRS + _DELIVER,
}
_MEGABYTES: Final = ("logging.config", "configured")


class Line(NamedTuple):
    """One comparison: a figure, the one beside it, what it comes to, and at most should."""

    name: str
    ours: float
    beside: float
    comes_to: float
    at_most: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table; return whether something is more than it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cluster", default=MOCK, help="kafka, mock or host:port")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    options = parser.parse_args(argv)
    with cluster(options.cluster) as found:
        rounds = measure(found, options.rounds)
        print(json.dumps({"broker": found.name, **surroundings()}, indent=1))
    lines = compare({name: median(each[name] for each in rounds) for name in PROGRAMS})
    print(f"{'':44}{'ours':>8}{'beside':>8}{'':>10}{'at most':>9}")
    for line in lines:
        print(
            f"{line.name:44}{line.ours:>8.1f}{line.beside:>8.1f}{line.comes_to:>10.2f}"
            f"{line.at_most:>9.1f}"
        )
    return int(options.check and any(line.comes_to > line.at_most for line in lines))


def measure(found: Cluster, rounds: int) -> list[dict[str, float]]:
    """Return the figures of each round, milliseconds or megabytes; the first one warms up."""
    found.create((TOPIC,), 1)
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        measured = [
            {name: _run(code, found.brokers, environment) for name, code in PROGRAMS.items()}
            for _ in range(rounds + 1)
        ]
    found.delete((TOPIC,))
    return [
        {name: each[name] / 1024 if name in _MEGABYTES else each[name] for name in each}
        for each in measured[1:]
    ]


def _run(code: str, brokers: str, environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 # the programs above
        [sys.executable, "-c", code, brokers, TOPIC],
        check=True,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    took = (time.perf_counter() - began) * 1000
    return float(done.stdout) if done.stdout else took


def compare(figures: Mapping[str, float]) -> list[Line]:
    """Return the comparisons; ``figures`` has one for each program."""
    ours, theirs = (
        figures[name] - figures["nothing"] for name in ("import", "import confluent_kafka")
    )
    memory, least = figures["configured"], figures["logging.config"]
    stored, others = figures["delivered"], figures["delivered by confluent_kafka"]
    return [
        Line("import, ms, times import confluent_kafka", ours, theirs, ours / theirs, 1.5),
        Line("configured, MB, more than logging.config", memory, least, memory - least, 10.0),
        Line("first delivery, ms, times confluent", stored, others, stored / others, 1.3),
    ]


if __name__ == "__main__":
    sys.exit(main())
