"""The watch over an engine: it sees what is wrong, and logs trouble that lasts.

``delivery/troubles.py`` decides what is reported and when. This module knows where to look, and the
subject of each error: a broker where that is to blame, else a topic, whatever partitions it has.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from kiel_logging.delivery.accumulator import Accumulator
from kiel_logging.delivery.settlement import Deliveries, Settlement
from kiel_logging.delivery.stalls import Stalls
from kiel_logging.delivery.troubles import Report, Seen, Trouble, Troubles
from kiel_logging.diagnostics import report
from kiel_logging.errors import (
    BrokerError,
    BrokerUnreachable,
    ProtocolError,
    RequestTimedOut,
    SecurityError,
    UnsupportedBroker,
)
from kiel_logging.network.cluster import Cluster
from kiel_logging.records import TopicPartition

_OFTEN: Final = 0.1
"""Seconds between two looks at least: turns of the sender may come by the hundred."""

_SHARE: Final = 20
"""Or so many times as long as the last look took."""

_AGAIN: Final = 1.0
"""Seconds until the next look while anything is wrong."""

_KAFKA: Final = "Kafka can't be reached"
_PRODUCER_ID: Final = "no producer id"

_URGENT: Final = (BrokerUnreachable, ProtocolError, SecurityError, UnsupportedBroker)
"""Errors of a broker that seldom go away by themselves; the others are part of any restart."""


class Watch:
    """Looks at the parts of an engine.

    Args:
        deliveries: the owner of the records; is notified of each report.
        clock: seconds, monotonic.

    Attributes:
        unidentified: why the brokers give no producer id; None when they do, or were not asked.
        refused: whether that is for a reason that does not pass.
        lasting: the troubles of now.
    """

    def __init__(
        self,
        accumulator: Accumulator,
        cluster: Cluster,
        settlement: Settlement,
        stalls: Stalls,
        deliveries: Deliveries,
        clock: Callable[[], float],
    ) -> None:
        self._accumulator = accumulator
        self._cluster = cluster
        self._settlement = settlement
        self._stalls = stalls
        self._deliveries = deliveries
        self._clock = clock
        self._troubles = Troubles()
        self._look_at = self._again_at = 0.0
        self._missed = False
        self.unidentified: Exception | None = None
        self.refused = False
        self.lasting: tuple[Trouble, ...] = ()

    def __repr__(self) -> str:
        return f"<Watch {self._troubles}>"

    def look(self, now: float) -> None:
        """See what is wrong, unless the last look was a moment ago. Call it every turn."""
        self._missed = now < self._look_at
        if self._missed:
            return
        for one in self._troubles.update(self._see(now), now):
            self._report(one, now)
        self.lasting = self._troubles.lasting
        # With tens of thousands of partitions a look takes long: a twentieth of the time is enough.
        pause = _SHARE * (self._clock() - now)
        self._look_at = now + max(_OFTEN, pause)
        self._again_at = now + max(_AGAIN, pause)

    def next_deadline(self) -> float | None:
        """Return when to look next; None while nothing is wrong."""
        if self._missed:
            return self._look_at
        return self._again_at if self._troubles else None

    def end(self) -> None:
        """Forget all trouble: nothing is sent any more."""
        self._troubles = Troubles()
        self.lasting = ()

    # Troubles are found.

    def _see(self, now: float) -> dict[str, Seen]:
        seen: dict[str, Seen] = {}
        everything = self._accumulator.outstanding + self._deliveries.backlog
        if (outage := self._cluster.why_unknown(now)) is not None:
            seen[_KAFKA] = Seen(outage, everything, urgent=True)
        if self.unidentified is not None and everything:
            urgent = self.refused or _is_urgent(self.unidentified)
            seen[_PRODUCER_ID] = Seen(self.unidentified, everything, urgent)
        self._see_brokers(seen, now)
        deferred = self._settlement.deferrals.errors()
        for where, stall in self._stalls.partitions.items():
            subject, urgent = self._subject(where, stall.error)
            follows = _KAFKA in seen and not self._troubles.has_reported(subject)  # from the outage
            if where.topic not in deferred and not follows:
                _add(
                    seen,
                    subject,
                    Seen(stall.error, self._accumulator.outstanding_of(where), urgent),
                )
        for topic, records in self._count(deferred, now) if deferred else ():
            if deferred[topic] is not self.unidentified:
                seen[f"topic {topic!r}"] = Seen(deferred[topic], records, urgent=True)
        return seen

    def _see_brokers(self, seen: dict[str, Seen], now: float) -> None:
        """Find connected brokers that keep records waiting."""
        errors = {
            node_id: error
            for node_id, node in self._cluster.nodes.items()
            if (error := node.trouble(now)) is not None
        }
        if not errors or not self._accumulator.outstanding:
            return
        for where in self._accumulator.in_use():
            leader = self._cluster.topology.leader(where)
            if leader is not None and leader in errors:
                error, records = errors[leader], self._accumulator.outstanding_of(where)
                late = isinstance(error, RequestTimedOut)  # it had its time
                subject = f"broker {self._cluster.nodes[leader].address}"
                _add(seen, subject, Seen(error, records, urgent=late))

    def _subject(self, where: TopicPartition, error: Exception) -> tuple[str, bool]:
        """Return the subject in trouble if a partition is stalled, and whether that is urgent."""
        leader = self._cluster.topology.leader(where)
        node = None if leader is None else self._cluster.nodes.get(leader)
        if node is not None and isinstance(error, BrokerError):
            return f"broker {node.address}", _is_urgent(error)
        return f"topic {where.topic!r}", False

    def _count(self, topics: Mapping[str, Exception], now: float) -> Iterator[tuple[str, int]]:
        """Yield those of ``topics`` that wait, or that records wait for here, and how many."""
        waiting = (topic for topic in topics if self._settlement.deferrals.blocks(topic, now))
        found = Counter(dict.fromkeys(waiting, 0))
        for where in {*self._accumulator.partitions(), *self._accumulator.in_use()}:
            if where.topic in topics:
                found[where.topic] += self._accumulator.outstanding_of(where)
        yield from found.items()

    # Troubles are reported.

    def _report(self, due: Report, now: float) -> None:
        trouble = due.trouble
        lasted = now - trouble.since
        if due.over:
            report(
                logging.WARNING,
                "over, after %.0f s: %s: %s",
                lasted,
                trouble.subject,
                trouble.error,
            )
            return
        self._deliveries.troubled(trouble.error)
        report(
            logging.WARNING,
            "%s: %s (since %s, %d records wait, %d are undelivered in all)%s",
            trouble.subject,
            trouble.error,
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - lasted)),
            trouble.records,
            self._accumulator.outstanding + self._deliveries.backlog,
            f"; {due.others} more troubles are reported later" if due.others else "",
        )


def _is_urgent(error: Exception) -> bool:
    return isinstance(error, _URGENT)


def _add(seen: dict[str, Seen], subject: str, more: Seen) -> None:
    """Count records of another partition, of a subject that may be in trouble already."""
    before = seen.get(subject)
    if before is None:
        seen[subject] = more
    else:
        seen[subject] = before._replace(records=before.records + more.records)
