"""A backlog on disk: made by a process that is killed, sent by the next one."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.case import Case, Figures
from benchmarks.peers import factory
from benchmarks.workload import Workload

from .confirmed import PATIENCE, NotDelivered, confirm, destination_of, make_peer
from .resident import peak, resident

_EVERY: Final = 0.01


def backlog(case: Case) -> Figures:
    """Log while no broker is there. The process ends without closing its handler."""
    peer = make_peer(case)
    began = time.perf_counter()
    Workload(case, peer.handler).log(0, case.records)
    took = time.perf_counter() - began
    files = [each for each in Path(case.directory).rglob("*") if each.is_file()]
    return {
        "logged_per_s": case.records / took,
        "bytes_per_record": sum(each.stat().st_size for each in files) / case.records,
    }


def replay(case: Case) -> Figures:
    """Make a handler where a backlog is; wait until all of it is acknowledged."""
    # Not above: each case imports this module, and one of them measures the first import.
    from kiel_logging import KafkaHandler

    make = factory(case.peer)
    cpu, began = time.process_time(), time.perf_counter()
    handler = make(destination_of(case)).handler
    assert isinstance(handler, KafkaHandler)
    recovered = _awaited(lambda: handler.stats().recovered, case.records)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "records_per_s": recovered / took,
        "cpu_us": cpu / recovered * 1e6,
        "memory": peak(),
        "stored": recovered + handler.stats().delivered,
    }


def _awaited(count: Callable[[], int], records: int) -> int:
    """Wait until so many records of a dead process were delivered; return how many were.

    Raises:
        NotDelivered: for PATIENCE seconds there was no progress.
    """
    recovered, until = 0, time.monotonic() + PATIENCE
    while recovered < records:
        time.sleep(_EVERY)
        before, recovered = recovered, count()
        if recovered > before:
            until = time.monotonic() + PATIENCE
        elif time.monotonic() > until:
            raise NotDelivered(f"{recovered} of {records} records were recovered")
    return recovered


def idle(case: Case) -> Figures:
    """Return the memory of a process that has nothing to replay and delivered one record.

    With that record it has imported and connected all that the replaying process has.
    """
    peer = make_peer(case)
    peer.handler.handle(logging.makeLogRecord({"msg": "idle"}))
    confirm(peer, 1)
    return {"memory": resident(), "stored": 1}
