"""What a record costs that goes to disk first, beside a plain file: ``python -m benchmarks.spool``.

In one run and one directory (``--path``), because disks differ more than programs do. Each figure
is the best of ``--rounds``; the ratios are to the plain file's line of the same promise.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from kiel_logging.handler.spool.committer import Committer
from kiel_logging.handler.spool.row import Row
from kiel_logging.handler.spool.store import Store

PAYLOAD: Final = os.urandom(300)
STATE: Final = bytes(48)
TOGETHER: Final = 1000
_FLUSH: Final = "a file, write and flush"
_FSYNC: Final = "a file, write and fsync"


class Line(NamedTuple):
    """One thing to measure: ``work(directory, records)`` returns seconds."""

    name: str
    work: Callable[[Path, int], float]
    beside: str
    share: int = 1
    """Of so many records one is written: a disk's fsync is slow."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--path", type=Path, help="a directory on the disk in question")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.path) as directory:
        found = {
            line.name: measure(line, Path(directory), options.records, options.rounds)
            for line in LINES
        }
    print(f"{'':42}{'µs a record':>12}{'ratio':>8}  to")
    for line in LINES:
        ratio = found[line.name] / found[line.beside]
        print(f"{line.name:42}{found[line.name]:>12.2f}{ratio:>8.2f}  {line.beside}")


def measure(line: Line, directory: Path, records: int, rounds: int) -> float:
    """Return the microseconds that a record takes, in the best of ``rounds``."""
    count = max(TOGETHER, records // line.share)
    best = float("inf")
    for number in range(rounds):
        place = directory / f"{number}"
        place.mkdir()
        best = min(best, line.work(place, count) / count * 1e6)
        for one in place.iterdir():
            one.unlink()
        place.rmdir()
    return best


@contextmanager
def _store(directory: Path, synchronous: str = "normal") -> Iterator[Store]:
    store = Store.make(directory / "one.spool", "one", synchronous=synchronous)
    try:
        yield store
    finally:
        store.close()


def _timed(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def _file(*, fsync: bool) -> Callable[[Path, int], float]:
    def work(directory: Path, records: int) -> float:
        with (directory / "plain").open("wb") as file:

            def write() -> None:
                for _ in range(records):
                    file.write(PAYLOAD)
                    file.flush()
                    if fsync:
                        os.fsync(file.fileno())

            return _timed(write)

    return work


def _stamp(place: int, state: bytes | None) -> tuple[bytes, bytes]:
    del place, state
    return PAYLOAD, STATE


def _commits(threads: int, synchronous: str) -> Callable[[Path, int], float]:
    def work(directory: Path, records: int) -> float:
        with _store(directory, synchronous) as store:
            committer = Committer(store)

            def commit() -> None:
                for _ in range(records // threads):
                    committer.commit("audit", _stamp)

            return _timed(lambda: _together(commit, threads))

    return work


def _together(commit: Callable[[], None], threads: int) -> None:
    running = [threading.Thread(target=commit) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _batches(records: int) -> list[list[Row]]:
    return [
        [Row(place, "audit", PAYLOAD) for place in range(start, start + TOGETHER)]
        for start in range(1, records, TOGETHER)
    ]


def _append(directory: Path, records: int) -> float:
    batches = _batches(records)
    with _store(directory) as store:

        def append() -> None:
            for batch in batches:
                store.append(batch)

        return _timed(append)


def _drain(directory: Path, records: int) -> float:
    with _store(directory) as store:
        for batch in _batches(records):
            store.append(batch)

        def read_and_remove() -> None:
            after = 0
            while found := store.read(after, TOGETHER, 1 << 30):
                after = found[-1].place
                store.remove([row.place for row in found])

        return _timed(read_and_remove)


LINES: Final = (
    Line(_FLUSH, _file(fsync=False), _FLUSH),
    Line(_FSYNC, _file(fsync=True), _FSYNC, 10),
    Line("commit, normal, 1 thread", _commits(1, "normal"), _FLUSH),
    Line("commit, normal, 8 threads", _commits(8, "normal"), _FLUSH),
    Line("commit, full, 1 thread", _commits(1, "full"), _FSYNC, 10),
    Line("commit, full, 8 threads", _commits(8, "full"), _FSYNC, 10),
    Line("append, 1000 in a transaction", _append, _FLUSH),
    Line("read and remove, 1000 at a time", _drain, _FLUSH),
)


if __name__ == "__main__":
    main()
