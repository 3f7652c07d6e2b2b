"""How long ``logger.info()`` keeps its caller: in a burst, or at a steady rate."""

from benchmarks.case import Case, Figures
from benchmarks.percentiles import percentiles
from benchmarks.workload import Workload

from .confirmed import WARM_UP, confirm, make_peer


def calls(case: Case) -> Figures:
    """Log on one thread and time each call; wait for every acknowledgement."""
    peer = make_peer(case)
    workload = Workload(case, peer.handler)
    workload.log(0, WARM_UP)
    confirm(peer, WARM_UP)
    took = workload.log_timed(0, case.records, case.rate)
    confirm(peer, WARM_UP + case.records)
    return {
        "mean": sum(took) / case.records * 1e6,
        **{name: seconds * 1e6 for name, seconds in percentiles(took).items()},
        "stored": WARM_UP + case.records if peer.ships else 0,
    }
