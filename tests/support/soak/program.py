"""The program under soak: `python -m tests.support.soak.program '{"who": ..., "seed": 7, ...}'`.

Threads log until standard input ends; meanwhile the main thread forks children, whose threads log,
and some of which fork in turn. Signal handlers and the garbage collector log as well. Every process
writes its ledger to standard output when it ends.
"""

import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from .processes import LoggingProcess

STACKS: Final = signal.SIGUSR2
"""Has a process write the stacks of its threads to stderr."""

_THREADS: Final = 2
"""Beside the main one."""

_BURST: Final = 200
"""Records that a thread logs at once at most."""

_REST: Final = 0.2
"""Seconds between the bursts of a thread at most."""

_BETWEEN_FORKS: Final = 3.0
"""Seconds at most."""

_GENERATIONS: Final = 3
_MOST_CHILDREN: Final = 5
"""Children that a process has at the same time."""

_BURSTS_OF_A_CHILD: Final = 6
"""Bursts of its main thread at most."""


def live(
    process: LoggingProcess,
    rng: random.Random,
    over: Callable[[], bool],
    *,
    generation: int = 1,
    forks: bool = True,
) -> None:
    """Log from threads, and fork, until `over()`; then wait for the children."""
    stop = threading.Event()

    def bursts(thread: str) -> None:
        while not stop.is_set():
            process.log(thread, rng.randrange(_BURST))
            time.sleep(rng.uniform(0, _REST))  # by the clock: a rate of records

    names = [f"t{number}" for number in range(_THREADS)]
    threads = [threading.Thread(target=bursts, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    while not over():
        process.log("main", rng.randrange(_BURST))
        if forks and _has_room_for_a_child(process):
            _fork(process, rng.getrandbits(32), generation + 1)
        time.sleep(rng.uniform(0, _BETWEEN_FORKS))
    stop.set()
    for thread in threads:
        thread.join()
    process.wait_for_all()


def _has_room_for_a_child(process: LoggingProcess) -> bool:
    while process.alive and process.wait(os.WNOHANG):
        pass
    return len(process.alive) < _MOST_CHILDREN


def _fork(process: LoggingProcess, seed: int, generation: int) -> None:
    def be_a_child() -> None:
        rng = random.Random(seed)
        bursts = iter(range(rng.randrange(_BURSTS_OF_A_CHILD)))
        forks = generation < _GENERATIONS and rng.random() < 1 / generation
        live(
            process,
            rng,
            lambda: next(bursts, None) is None,
            generation=generation,
            forks=forks,
        )

    process.fork(be_a_child)


def main() -> None:
    """Run until standard input ends."""
    faulthandler.register(STACKS)
    given = json.loads(sys.argv[1])
    ended = threading.Event()

    def wait_for_the_end() -> None:
        os.read(0, 1)
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    process = LoggingProcess(given["who"], given["options"], disturbed=True)
    live(process, random.Random(given["seed"]), ended.is_set)
    process.tell()


if __name__ == "__main__":
    main()
