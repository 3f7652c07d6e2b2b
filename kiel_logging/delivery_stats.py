"""Counts of an engine: its batches, the bytes of them, retries, and errors by kind.

The law: each attempt to send a batch ends once, as acknowledged or as one error. So the attempts
are ``batch_records.count``, all of ``errors``, and those under way.

One thread changes an object, once for each batch; any thread may copy it.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

_SECONDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 3600.0),
)
_RECORDS: Final = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)
_BYTES: Final = tuple(256.0 * 4**power for power in range(8))  # to 4 MiB


class Histogram:
    """Counts of values, by fixed upper bounds.

    Attributes:
        bounds: ascending; a value is counted under the first that is not less.
        counts: one for each bound, and one for the values beyond them all. They add up to
            ``count``, whenever they are read.
        sum: of all values; one that is read by another thread may lack the newest.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def __repr__(self) -> str:
        return f"<Histogram count={self.count} sum={self.sum:g}>"

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """The mean of the values; 0 without any."""
        return self.sum / max(1, self.count)

    def observe(self, value: float) -> None:
        """Count ``value``."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_ages(self, times: Sequence[int], now: int) -> None:
        """Count how many seconds before ``now`` each of ``times`` was, both in milliseconds; 0 for
        those behind it."""
        ordered = sorted(times)
        if ordered[-1] > now:
            ordered = sorted(min(time, now) for time in ordered)
        self.sum += (len(ordered) * now - sum(ordered)) / 1000
        left = len(ordered)  # those that are older than the bounds before
        for index, bound in enumerate(self.bounds):
            older = bisect_left(ordered, now - bound * 1000, hi=left)
            self.counts[index] += left - older
            if not (left := older):
                return
        self.counts[-1] += left

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, infinity at the end, and how many values are not greater."""
        total = 0
        for bound, count in zip((*self.bounds, float("inf")), list(self.counts), strict=True):
            total += count
            yield bound, total

    def copy(self) -> "Histogram":
        """Return one that changes no more."""
        return self + Histogram(self.bounds)

    def __add__(self, other: "Histogram") -> "Histogram":
        """Return the counts of both, which have the same bounds."""
        both = Histogram(self.bounds)
        pairs = zip(list(self.counts), list(other.counts), strict=True)
        both.counts = [one + another for one, another in pairs]
        both.sum = self.sum + other.sum
        return both


@dataclass(slots=True, kw_only=True)
class DeliveryStats:
    """Batches that were sent in this process, and how their attempts ended.

    Attributes:
        latency: seconds from the time of each acknowledged record, which for a handler is that of
            the logging call, to the acknowledgement; by the clock of the system.
        batch_records: the records of each acknowledged batch.
        batch_bytes: the bytes of each acknowledged batch, as it was sent: compressed.
        bytes_uncompressed: the bytes of all batches that were sent, those sent again included, as
            they would be without compression; about, see ``wire/sizes.py``.
        bytes_sent: their bytes as they were sent.
        retries: how many of these batches were sent again.
        errors: how many attempts to send a batch had no success, by kind: Kafka's name of the
            error, or the class of the exception if there was no answer.
        connection_errors: how many attempts to connect had no success, by class of the exception.
        throttled: seconds for which brokers had this client wait, because of quotas.
        connections: how many there are to brokers now; those that handlers share count for each.
    """

    latency: Histogram = field(default_factory=lambda: Histogram(_SECONDS))
    batch_records: Histogram = field(default_factory=lambda: Histogram(_RECORDS))
    batch_bytes: Histogram = field(default_factory=lambda: Histogram(_BYTES))
    bytes_uncompressed: int = 0
    bytes_sent: int = 0
    retries: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    connection_errors: Counter[str] = field(default_factory=Counter)
    throttled: float = 0.0
    connections: int = 0

    def __add__(self, other: "DeliveryStats") -> "DeliveryStats":
        """Return the sums of two engines, as copies."""
        both = DeliveryStats()
        for name in (one.name for one in fields(self)):
            mine, others = getattr(self, name), getattr(other, name)
            if isinstance(mine, Counter):  # another thread may add to it: copied at once
                mine, others = Counter(dict(mine)), Counter(dict(others))
            setattr(both, name, mine + others)
        return both

    def note_sent(self, uncompressed: int, sent: int, *, again: bool) -> None:
        """Count an attempt to send a batch."""
        self.bytes_uncompressed += uncompressed
        self.bytes_sent += sent
        self.retries += again

    def note_acknowledged(self, records: Sequence[Any], size: int, now: int) -> None:
        """Count a batch of ``records`` that took ``size`` bytes; ``now`` in ms since 1970.

        Without memory it is not counted: that must not keep its records from their end.
        """
        try:
            self.latency.observe_ages([record.timestamp for record in records], now)
        except MemoryError:
            return
        self.batch_records.observe(len(records))
        self.batch_bytes.observe(size)
