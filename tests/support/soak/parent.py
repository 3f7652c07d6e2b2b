"""The program of a round of forks: `python -m tests.support.soak.parent '{"topic": ..., ...}'`."""

import json
import sys
import threading
from typing import Any, Final

from .processes import LoggingProcess

_MOST: Final = 50_000
"""Records that the parent logs at most."""


def main(given: dict[str, Any]) -> None:
    """Fork children that log while a thread of this process does."""
    options = {
        "brokers": given["brokers"],
        "topic": given["topic"],
        "buffer_records": 200_000,
        "close_timeout_ms": 120_000,
    }
    process = LoggingProcess("parent", options)
    process.log("main", 1)
    stop = threading.Event()

    def burst() -> None:
        while not stop.is_set() and process.logged("t0") < _MOST:
            process.log("t0", 1)

    thread = threading.Thread(target=burst)
    thread.start()
    for _ in range(given["children"]):
        process.fork(lambda: process.log("main", given["records"]))
    process.wait_for_all()
    stop.set()
    thread.join()
    process.tell()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
