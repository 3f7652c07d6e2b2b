"""Records per second from the first ``logger.info()`` to the last acknowledgement, and their CPU.

CPU time is that of the whole process, all threads, C's included.
"""

import time

from benchmarks.case import Case, Figures
from benchmarks.workload import Workload, in_threads

from .confirmed import WARM_UP, confirm, make_peer
from .resident import peak


def throughput(case: Case) -> Figures:
    """Log as fast as can be; wait for every acknowledgement."""
    peer = make_peer(case)
    workload = Workload(case, peer.handler)

    workload.log(0, WARM_UP)
    confirm(peer, WARM_UP)
    cpu, began = time.process_time(), time.perf_counter()
    in_threads(case.threads, case.records, workload.log)
    logged = time.perf_counter() - began
    confirm(peer, WARM_UP + case.records)
    delivered, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "records_per_s": case.records / delivered,
        "logged_per_s": case.records / logged,
        "cpu_us": cpu / case.records * 1e6,
        "peak_memory": peak(),
        "stored": WARM_UP + case.records if peer.ships else 0,
    }
