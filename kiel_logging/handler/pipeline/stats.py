"""What became of a handler's records, in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that keeps records from being delivered, and that does not pass in a few seconds.

    Attributes:
        subject: "topic 'logs'", "broker kafka-1:9092" or another.
        kind: the name of Kafka's error if brokers reject records, else of the exception's class.
        error: the whole text, with advice.
        since: when it began, in seconds of the epoch.
        records: how many wait because of it, of those that were handed to the producer.
    """

    subject: str
    kind: str
    error: str
    since: float
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A handler's ledger at one moment, in records.

    ``emitted == delivered + dropped_total + failed + buffered + in_flight + spooled``, always.

    Attributes:
        emitted: given to the handler.
        delivered: acknowledged by the brokers.
        dropped: never handed to the producer: reason -> name of the level -> how many.
        failed: given up by the producer, or left over when the handler was closed; each was
            logged with its reason. Those of processes that died, which the brokers refused, are
            among them, and in ``emitted``.
        buffered: waiting to be sent.
        in_flight: sent and not yet acknowledged.
        spooled: on disk alone, with ``spool_dir``.
        recovered: of processes that died, or of other handlers that were closed, delivered by this
            one; not counted in ``emitted``.
        memory: bytes that those in the buffer and in flight take.
        fallback: how many of the dropped and failed ones the fallback handler took.
        diverted: made while shipping, and shown elsewhere; not counted in ``emitted``.
        troubles: what keeps records from being delivered just now.
    """

    emitted: int
    delivered: int
    dropped: Mapping[str, Mapping[str, int]]
    failed: int
    buffered: int
    in_flight: int
    memory: int
    fallback: int = 0
    diverted: int = 0
    spooled: int = 0
    recovered: int = 0
    troubles: tuple[Trouble, ...] = ()

    @property
    def dropped_total(self) -> int:
        """How many were dropped, for whatever reason."""
        return sum(sum(levels.values()) for levels in self.dropped.values())

    @property
    def undelivered(self) -> int:
        """How many are not (yet) with the brokers."""
        return self.emitted - self.delivered

    def __add__(self, other: "Stats") -> "Stats":
        """Return the ledger of two pipelines that a handler had one after the other."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _NUMBERS}
        reasons = [*self.dropped, *(one for one in other.dropped if one not in self.dropped)]
        dropped = {
            reason: _sum(self.dropped.get(reason, {}), other.dropped.get(reason, {}))
            for reason in reasons
        }
        return Stats(dropped=dropped, troubles=self.troubles + other.troubles, **sums)

    def with_delivered(self, records: int) -> "Stats":
        """Return the ledger, where so many that a closed pipeline left on disk, and a later one
        recovered, are delivered instead."""
        return replace(
            self,
            delivered=self.delivered + records,
            spooled=self.spooled - records,
            recovered=self.recovered - records,
        )


_NUMBERS: Final = (
    "emitted",
    "delivered",
    "failed",
    "buffered",
    "in_flight",
    "memory",
    "fallback",
    "diverted",
    "spooled",
    "recovered",
)


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {level: one.get(level, 0) + other.get(level, 0) for level in {**one, **other}}
