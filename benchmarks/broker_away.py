"""A program that logs while its brokers are away: how long its calls take, what memory it needs.

``python -m benchmarks.broker_away [--records 1000000]`` logs in a separate process for each way
of being away, and beside them to a NullHandler. It ends with status 1 where the ledger does not add
up, memory is over ``buffer_memory`` plus 32 MiB, or 99.99 % of the calls took longer than 5 ms.
"""

import argparse
import json
import logging
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import Any, Final

from benchmarks.unreachable import WAYS
from kiel_logging import KafkaHandler

MIB: Final = 1024 * 1024
BUFFER_MEMORY: Final = 64 * MIB
MOST_ABOVE: Final = 32 * MIB
MOST_SECONDS: Final = 0.005
_PERCENTILES: Final = (50, 99, 99.9, 99.99, 100)
_NULL: Final = "NullHandler"


def main() -> int:
    """Measure every way, print a table, return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--way", choices=[_NULL, *WAYS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.records)))
        return 0
    results = [_in_a_process(way, options.records) for way in (_NULL, *WAYS)]
    for line in table(results):
        print(line)
    faults = [fault for result in results for fault in faults_of(result)]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def _in_a_process(way: str, records: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.broker_away", "--way", way]
    finished = subprocess.run(  # noqa: S603 # ourselves
        [*command, "--records", str(records)], check=True, capture_output=True, text=True
    )
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def measure(way: str, records: int) -> dict[str, Any]:
    """Log ``records`` records; return the seconds that calls took, the memory, and the ledger."""
    if way == _NULL:
        seconds, memory = _log_to(logging.NullHandler(), records)
        return {"way": way, "seconds": seconds, "memory": memory, "stats": None}
    with WAYS[way]() as address:
        handler = KafkaHandler(
            address, "logs", buffer_memory=BUFFER_MEMORY, internal_logger="quiet"
        )
        seconds, memory = _log_to(handler, records)
        stats = handler.stats()
        handler.flush(0.001)  # the process need not wait for what can't be delivered
    ledger = {
        "emitted": stats.emitted,
        "delivered": stats.delivered,
        "dropped": stats.dropped_total,
        "failed": stats.failed,
        "buffered": stats.buffered + stats.in_flight,
        "claimed": stats.memory,
    }
    return {"way": way, "seconds": seconds, "memory": memory, "stats": ledger}


def _log_to(handler: logging.Handler, records: int) -> tuple[dict[str, float], int]:
    logging.getLogger("quiet").addHandler(logging.NullHandler())
    logging.getLogger("quiet").propagate = False
    logger = logging.Logger("shop.cart", logging.INFO)
    logger.addHandler(handler)
    took = array("d", bytes(8 * records))
    clock = time.perf_counter
    before = most = _resident()
    for number in range(records):
        began = clock()
        logger.info("order %d of user %s was placed", number, "ada", extra={"user_id": "ada"})
        took[number] = clock() - began
        if number % 10_000 == 0:
            most = max(most, _resident())
    memory = max(most, _resident()) - before
    return _percentiles(took), memory


def _percentiles(took: "array[float]") -> dict[str, float]:
    ordered = sorted(took)  # takes more memory than all that is measured
    last = len(ordered) - 1
    return {str(p): ordered[min(last, int(len(ordered) * p / 100))] for p in _PERCENTILES}


def _resident() -> int:
    """Return the bytes of memory that this process has (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmRSS")


def table(results: list[dict[str, Any]]) -> list[str]:
    """Return the results in lines; the ratio is that of the medians to NullHandler's."""
    least = results[0]["seconds"]["50"]
    lines = [
        f"{'':14}{'p50':>9}{'ratio':>7}{'p99':>9}{'p99.9':>9}{'p99.99':>10}{'max':>10}{'memory':>11}"
    ]
    for result in results:
        p50, p99, p999, p9999, most = result["seconds"].values()
        lines.append(
            f"{result['way']:14}{p50 * 1e6:6.1f} us{p50 / least:7.1f}{p99 * 1e6:6.1f} us"
            f"{p999 * 1e6:6.0f} us{p9999 * 1e3:7.2f} ms{most * 1e3:7.1f} ms"
            f"{result['memory'] / MIB:7.1f} MiB  {result['stats'] or ''}"
        )
    return lines


def faults_of(result: dict[str, Any]) -> list[str]:
    """Return what was not as promised."""
    stats = result["stats"]
    if stats is None:
        return []
    faults = []
    ended = sum(stats[name] for name in ("delivered", "dropped", "failed", "buffered"))
    if stats["emitted"] != ended:
        faults.append(f"{result['way']}: the ledger does not add up: {stats}")
    if result["memory"] > BUFFER_MEMORY + MOST_ABOVE:
        faults.append(f"{result['way']}: {result['memory'] / MIB:.1f} MiB of memory")
    if result["seconds"]["99.99"] > MOST_SECONDS:
        faults.append(f"{result['way']}: p99.99 is {result['seconds']['99.99'] * 1e3:.2f} ms")
    return faults


if __name__ == "__main__":
    sys.exit(main())
