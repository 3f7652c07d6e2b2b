"""The records that came back beside those that were logged. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kiel_logging.records import TopicPartition


class Arrival(NamedTuple):
    """A record that was read.

    ``size`` is that of its value, in bytes, and ``latency`` the seconds from its own time to its
    arrival. Only the first record of a partition has its ``value``; the others would fill memory.
    """

    partition: TopicPartition
    offset: int
    key: bytes | None
    record_id: int
    session: str
    size: int
    latency: float
    value: bytes


class Tally:
    """Compares records.

    Args:
        logged: the topic and the id of each record that was logged.
        arrivals: the records that came back, in the order in which they were read.

    Attributes:
        expected: how many were logged.
        lost: how many of them never came.
        extra: how many came twice, or were not logged to their topic.
        records: partition -> how many came.
        keys: topic -> the different keys in it; ``split_keys`` are in more than one partition.
        skipped: how many the brokers removed before they were read.
        out_of_order: how many came after a later one of the same visit and partition.
    """

    def __init__(self, logged: Iterable[tuple[str, int]], arrivals: Sequence[Arrival]) -> None:
        wanted, self.arrivals = Counter(logged), arrivals
        found = Counter((one.partition.topic, one.record_id) for one in arrivals)
        self.expected = wanted.total()
        self.lost, self.extra = (wanted - found).total(), (found - wanted).total()
        self.records = Counter(one.partition for one in arrivals)
        placed = {(one.partition, one.key) for one in arrivals if one.key is not None}
        times = Counter((partition.topic, key) for partition, key in placed)
        self.keys = Counter(topic for topic, _ in times)
        self.split_keys = sum(number > 1 for number in times.values())
        self.out_of_order = self.skipped = 0
        newest: Counter[object] = Counter()
        for one in arrivals:
            self.skipped += one.offset - newest[one.partition]
            newest[one.partition] = one.offset + 1
            visit = (one.partition, one.session)
            self.out_of_order += one.record_id < newest[visit]
            newest[visit] = one.record_id

    @property
    def is_exactly_once(self) -> bool:
        """Whether each record came, and came once."""
        return not self.lost and not self.extra


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the nearest-rank percentile; NaN if there are no values."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]
