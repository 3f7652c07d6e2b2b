"""Memory over time while the broker goes and comes back; the calls meanwhile, and what was lost."""

import sys
import threading
import time
from typing import Final

from benchmarks.case import Case, Figures
from benchmarks.workload import Workload

from .confirmed import PATIENCE, WARM_UP, confirm, make_peer
from .resident import resident

READY: Final = "ready"
"""The line that says: all is set; one on stdin says go."""

_EVERY: Final = 0.5


def outage(case: Case) -> Figures:
    """Log by the clock; the parent process takes the broker away and brings it back."""
    peer = make_peer(case, lossless=False)
    workload = Workload(case, peer.handler)
    workload.log(0, WARM_UP)
    confirm(peer, WARM_UP)
    samples: list[tuple[float, int]] = []
    print(READY, flush=True)
    sys.stdin.readline()
    threading.Thread(target=_sample, args=[samples, time.monotonic()], daemon=True).start()
    took = workload.log_timed(0, case.records, case.rate)
    acknowledged = peer.drain(PATIENCE)
    before = samples[0][1]
    return {
        "added": max(size for _, size in samples) - before,
        "longest_ms": max(took) * 1e3,
        "lost": WARM_UP + case.records - acknowledged if peer.ships else 0,
        "at": [round(moment, 2) for moment, _ in samples],
        "memory": [size - before for _, size in samples],
        "stored": acknowledged,
    }


def _sample(samples: list[tuple[float, int]], began: float) -> None:
    while True:
        samples.append((time.monotonic() - began, resident()))
        time.sleep(_EVERY)
