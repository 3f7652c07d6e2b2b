"""What became of a handler's records, in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass


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
        recovered: of processes that died, delivered by this one; not counted in ``emitted``.
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
