"""What ``logger.info()`` costs with a spool, beside a plain file: ``python -m benchmarks.spooled``.

In one run, one directory (``--path``) and with one broker, because disks differ more than programs
do. What counts is the time that the program's own thread spends, and p99 of single calls. Each
figure is the median of ``--rounds``, which take turns.
"""

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from benchmarks.cluster import cluster
from benchmarks.percentiles import percentiles
from benchmarks.surroundings import surroundings
from kiel_logging import KafkaHandler

TOPIC: Final = "benchmark.spooled"
_FIELDS: Final = {"user_id": "ada", "total": "9.90", "page": "/cart/checkout"}
_FILE: Final = "FileHandler"
_FSYNC: Final = "FileHandler, fsync for each record"
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s " + " ".join(
    f"{name}=%({name})s" for name in _FIELDS
)


class Line(NamedTuple):
    """One handler to measure; of ``share`` records one is logged, for a disk's fsync is slow."""

    name: str
    beside: str
    options: dict[str, Any]
    share: int = 1


LINES: Final = (
    Line(_FILE, _FILE, {}),
    Line(_FSYNC, _FSYNC, {}, 10),
    Line("KafkaHandler", _FILE, {"spool_dir": None}),
    Line('spool="overflow"', _FILE, {"spool": "overflow"}),
    Line('spool="always"', _FILE, {"spool": "always"}),
    Line('spool="always", full', _FSYNC, {"spool": "always", "spool_synchronous": "full"}, 10),
)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cluster", help="kafka, mock or host:port; the best there is by default")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--path", type=Path, help="a directory on the disk in question")
    options = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {line.name: [] for line in LINES}
    with cluster(options.cluster) as broker, tempfile.TemporaryDirectory(dir=options.path) as path:
        broker.create((TOPIC,), 1)
        for number in range(options.rounds):
            for line in LINES:
                directory = Path(path) / f"{number}-{LINES.index(line)}"
                directory.mkdir()
                count = max(500, options.records // line.share)
                found[line.name].append(measure(line, broker.brokers, directory, count))
        print(json.dumps({"broker": broker.name, **surroundings()}, indent=1))
    print(f"{'µs a call':38}{'mean':>8}{'ratio':>8}{'p99':>9}  to")
    for line in LINES:
        mean, p99 = (median(each[what] for each in found[line.name]) for what in ("mean", "p99"))
        base = median(each["mean"] for each in found[line.beside])
        print(f"{line.name:38}{mean:>8.1f}{mean / base:>8.2f}{p99:>9.1f}  {line.beside}")


def measure(line: Line, brokers: str, directory: Path, count: int) -> dict[str, float]:
    """Return what calls take, in microseconds."""
    logger = logging.Logger("shop.cart")
    with handler(line, brokers, directory) as made:
        logger.addHandler(made)
        logger.info("warm-up", extra=_FIELDS)
        took = []
        for number in range(count):
            before = time.perf_counter_ns()
            logger.info("order %d paid", number, extra=_FIELDS)
            took.append((time.perf_counter_ns() - before) / 1000)
        made.flush()
    return {"mean": sum(took) / len(took), "p99": percentiles(took)["p99"]}


@contextmanager
def handler(line: Line, brokers: str, directory: Path) -> Iterator[logging.Handler]:
    """The handler of a line."""
    made: logging.Handler
    if not line.options:
        made = (_Synced if line.name == _FSYNC else logging.FileHandler)(directory / "plain")
        made.setFormatter(logging.Formatter(_TEXT))
    else:
        options = {"spool_dir": directory, "overflow": "block", **line.options}
        made = KafkaHandler(brokers, TOPIC, **options)
    try:
        yield made
    finally:
        made.close()


class _Synced(logging.FileHandler):
    """A file on whose records a power cut has no effect."""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if self.stream is not None:
            os.fsync(self.stream.fileno())


if __name__ == "__main__":
    main()
