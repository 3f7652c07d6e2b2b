"""A run in three parts: while connecting; at a steady rate, for the latency; then flat out, for
the throughput.

The first records wait for connections and for topics to be made. Logged flat out, records wait
behind each other and the latency is that of a queue. Measured together, no number would mean
anything.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

CONNECTING: Final = "connecting"
STEADY: Final = "steady"
FLAT_OUT: Final = "flat out"
_CONNECTING_RECORDS: Final = 100
_STEADY_SECONDS: Final = 2


class Phase(NamedTuple):
    """Some records of the run: those with the ids from ``first_id`` on.

    ``rate`` is in records a second, None for as fast as possible.
    """

    name: str
    first_id: int
    records: int
    rate: int | None

    @property
    def ids(self) -> range:
        """The ids of this phase's records."""
        return range(self.first_id, self.first_id + self.records)


def plan(records: int, rate: int) -> tuple[Phase, ...]:
    """Return the phases of a run: 100 records to connect, two steady seconds, then the rest.

    The first has at most a tenth of the ``records``, the second at most half of them.
    """
    connecting = min(records // 10, _CONNECTING_RECORDS)
    steady = min(records // 2, rate * _STEADY_SECONDS)
    return (
        Phase(CONNECTING, 0, connecting, rate),
        Phase(STEADY, connecting, steady, rate),
        Phase(FLAT_OUT, connecting + steady, records - connecting - steady, None),
    )


def phase_of(phases: Sequence[Phase], record_id: int) -> Phase:
    """Return the phase in which the record was logged; the phases have to be in their order."""
    return phases[bisect_right(phases, record_id, key=_first_id) - 1]


def _first_id(phase: Phase) -> int:
    return phase.first_id
