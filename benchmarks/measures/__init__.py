"""The measures, by name. Each runs in a separate process and returns figures."""

from collections.abc import Callable, Mapping
from typing import Final

from benchmarks.case import Case, Figures

from .calls import calls
from .outage import outage
from .replay import backlog, idle, replay
from .startup import startup
from .throughput import throughput

MEASURES: Final[Mapping[str, Callable[[Case], Figures]]] = {
    "throughput": throughput,
    "distinct keys": throughput,
    "web access": throughput,
    "audit": throughput,
    "burst": calls,
    "steady": calls,
    "startup": startup,
    "growth": throughput,
    "outage": outage,
    "backlog": backlog,
    "replay": replay,
    "idle": idle,
}
