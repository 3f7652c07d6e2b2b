"""What a run found out; :mod:`~kiel_logging.demo.report` shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kiel_logging.demo.batches import BatchTotals
from kiel_logging.demo.cluster import Cluster
from kiel_logging.demo.phases import Phase
from kiel_logging.demo.shipping import HandlerStats
from kiel_logging.demo.tally import Differences, Tally
from kiel_logging.demo.workload import Logged


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseResult:
    """How one phase went: what was logged, then how long the handlers' flush took."""

    phase: Phase
    logged: Logged
    flush_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """All there is to show. ``handlers`` and ``batches`` are by handler and by topic."""

    cluster: Cluster
    results: Sequence[PhaseResult]
    handlers: Mapping[str, HandlerStats]
    tally: Tally
    differences: Differences
    batches: Mapping[str, BatchTotals]

    @property
    def records(self) -> int:
        """How many records the shop logged."""
        return sum(len(result.logged.call_ns) for result in self.results)

    @property
    def deliveries(self) -> int:
        """How many records the topics should hold: an error goes to two of them."""
        return sum(len(ids) for result in self.results for ids in result.logged.ids.values())
