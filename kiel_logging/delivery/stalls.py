"""Partitions that can't be sent to now: which, since when and why, and how much waits for them.

An owner that holds a window of records must not count these, or records for one dead partition
would fill the window and hold up all healthy ones.

The law:

- A partition is stalled while records wait for it (or it is watched) and its topic is deferred, it
  has no known leader, its leader can't be reached, or its first batch came back
  ``MANY`` times, or once after a timeout.
  Records that are held are stalled as well: their topic is not known.
- All is counted once in a turn of the sender, and only for partitions that are due, were
  stalled before, or are watched. That costs nothing for each record.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from kiel_logging.delivery.accumulator import UNKNOWN, Accumulator
from kiel_logging.delivery.deferral import Deferrals
from kiel_logging.delivery.topology import Topology
from kiel_logging.errors import NoLeader, RequestTimedOut
from kiel_logging.records import TopicPartition

MANY: Final = 3
"""Attempts of a batch after which its partition is taken for stalled: its replicas are not in
sync, or its leader accepts connections and does not answer."""


class Stall(NamedTuple):
    """One partition that can't be sent to, and what waits for it.

    ``since`` is in seconds of the engine's clock, ``memory`` in bytes.
    """

    since: float
    error: Exception
    records: int
    memory: int


class Stalls:
    """Counts what waits for stalled partitions.

    Args:
        unreachable: node id -> why that broker can't be reached; None when it can.
        connected: whether any broker is connected.

    Attributes:
        partitions: those that are stalled; held records under the partition ``UNKNOWN``.
        watched: those that stay stalled, though nothing may be queued, until they can be sent to.
        records: how many wait for them while a broker is connected; 0 while none is, for then
            no other partition is better off.
        memory: bytes that those take.
    """

    def __init__(
        self,
        accumulator: Accumulator,
        topology: Topology,
        deferrals: Deferrals,
        *,
        unreachable: Callable[[int], Exception | None],
        connected: Callable[[], bool],
    ) -> None:
        self._accumulator = accumulator
        self._topology = topology
        self._deferrals = deferrals
        self._unreachable = unreachable
        self._connected = connected
        self.partitions: dict[TopicPartition, Stall] = {}
        self.watched: set[TopicPartition] = set()
        self.records = 0
        self.memory = 0

    def __repr__(self) -> str:
        return f"<Stalls records={self.records} of {list(self.partitions)}>"

    def update(self, now: float) -> bool:
        """Count anew; return whether anything has changed."""
        before, totals = self.partitions, (self.records, self.memory)
        self.partitions = self._find(now)
        self.records = self.memory = 0
        if self.partitions and self._connected():
            self.records = sum(stall.records for stall in self.partitions.values())
            self.memory = sum(stall.memory for stall in self.partitions.values())
        return totals != (self.records, self.memory) or before.keys() != self.partitions.keys()

    def _find(self, now: float) -> dict[TopicPartition, Stall]:
        accumulator, before = self._accumulator, self.partitions
        candidates = {*accumulator.due(), *before, *self.watched}
        candidates |= {TopicPartition(topic, UNKNOWN) for topic in accumulator.held_topics()}
        found = {}
        for where in candidates:
            records, memory = accumulator.waiting(where)
            some = records or where in self.watched or accumulator.queue(where).unfinished
            if some and (error := self._why(where, now)) is not None:
                since = before[where].since if where in before else now
                found[where] = Stall(since, error, records, memory)
        self.watched.intersection_update(found)
        return found

    def _why(self, where: TopicPartition, now: float) -> Exception | None:
        """Return why nothing can be sent to ``where``; None if that is not so."""
        if self._deferrals.blocks(where.topic, now):
            return self._deferrals.error(where.topic)
        if self._topology.partitions(where.topic) is None:
            if (known := self.partitions.get(where)) is not None:
                return known.error  # one for each of thousands of topics, each turn, is dear
            return NoLeader(
                f"the partitions of topic {where.topic!r} are not known yet: does it exist?"
            )
        if not self._topology.has(where):
            return None  # held records that are about to be queued, or the partition is gone
        leader = self._topology.leader(where)
        if leader is None:
            return NoLeader(f"{where} has no leader that is known: its brokers must come back")
        if (error := self._unreachable(leader)) is not None:
            return error
        unfinished = self._accumulator.queue(where).unfinished
        if not unfinished:
            return None
        first = unfinished[0]
        late = isinstance(first.last_error, RequestTimedOut)  # that took many seconds each time
        return first.last_error if late or first.attempts >= MANY else None
