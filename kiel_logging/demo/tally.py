"""Counting what came back. Pure: each record is told to a :class:`Tally` once, as it was read.

A tally is filled in the reader's process and sent to the one that logged, which alone knows what
should be in it.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from kiel_logging.demo.phases import Phase, phase_of
from kiel_logging.records import TopicPartition

FOREIGN: Final = -1
"""Stands for the record id of what the demo did not log."""


class Arrival(NamedTuple):
    """A record as the reader got it; ``arrived`` is in seconds since the epoch."""

    partition: TopicPartition
    offset: int
    key: bytes | None
    value: bytes
    arrived: float


class Differences(NamedTuple):
    """How what came back differs from what was logged, in deliveries per topic.

    ``unexpected`` are records that were never logged to that topic.
    """

    lost: Counter[str]
    duplicated: Counter[str]
    unexpected: Counter[str]

    @property
    def exactly_once(self) -> bool:
        """Whether nothing was lost and nothing came twice."""
        return not self.lost.total() and not self.duplicated.total()


@dataclass(slots=True)
class PartitionTally:
    """What one partition held.

    ``json_bytes`` is the size of the values. ``skipped`` counts the offsets that the broker had
    already thrown away when the reader asked for them.
    """

    records: int = 0
    json_bytes: int = 0
    next_offset: int = 0
    skipped: int = 0


@dataclass(slots=True)
class TopicTally:
    """What one topic held: record id -> how often, and key -> the partitions it was in."""

    ids: Counter[int] = field(default_factory=Counter)
    keys: dict[bytes, set[int]] = field(default_factory=dict)
    sample: Arrival | None = None

    @property
    def split_keys(self) -> int:
        """How many keys were in more than one partition."""
        return sum(len(partitions) > 1 for partitions in self.keys.values())


class Tally:
    """What was read back so far.

    Args:
        phases: the phases of the run, for the latencies (in seconds) of each.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self.partitions: dict[TopicPartition, PartitionTally] = {}
        self.topics: dict[str, TopicTally] = {}
        self.latencies_s: dict[str, array[float]] = {phase.name: array("d") for phase in phases}
        self.out_of_order = 0
        self._phases = phases
        self._last_ids: dict[tuple[TopicPartition, str], int] = {}

    @property
    def records(self) -> int:
        """How many records were read."""
        return sum(partition.records for partition in self.partitions.values())

    @property
    def skipped(self) -> int:
        """How many records the brokers threw away before they could be read."""
        return sum(partition.skipped for partition in self.partitions.values())

    def next_offset(self, partition: TopicPartition) -> int:
        """Return the offset after the last record read from ``partition``."""
        tally = self.partitions.get(partition)
        return 0 if tally is None else tally.next_offset

    def add(self, arrival: Arrival) -> None:
        """Count one record."""
        document = _document(arrival.value)
        record_id = document.get("record_id", FOREIGN)
        self._count(arrival, record_id)
        if record_id == FOREIGN:
            return
        self._check_order(arrival.partition, document.get("thread_name", ""), record_id)
        phase = phase_of(self._phases, record_id)
        self.latencies_s[phase.name].append(arrival.arrived - _seconds(document["time"]))

    def _count(self, arrival: Arrival, record_id: int) -> None:
        partition = self.partitions.setdefault(arrival.partition, PartitionTally())
        partition.records += 1
        partition.json_bytes += len(arrival.value)
        partition.skipped += max(arrival.offset - partition.next_offset, 0)
        partition.next_offset = arrival.offset + 1
        topic = self.topics.setdefault(arrival.partition.topic, TopicTally())
        topic.ids[record_id] += 1
        if arrival.key is not None:
            topic.keys.setdefault(arrival.key, set()).add(arrival.partition.partition)
        topic.sample = topic.sample or arrival

    def _check_order(self, partition: TopicPartition, thread_name: str, record_id: int) -> None:
        # A thread's ids rise, so within a partition they have to rise too. Threads among each
        # other have no order.
        last_id = self._last_ids.get((partition, thread_name), FOREIGN)
        self.out_of_order += record_id < last_id
        self._last_ids[partition, thread_name] = record_id


def _document(value: bytes) -> Mapping[str, Any]:
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339).timestamp()


def compare(
    expected: Mapping[str, Iterable[int]], seen: Mapping[str, Mapping[int, int]]
) -> Differences:
    """Return how ``seen`` (topic -> id -> how often) differs from ``expected`` (topic -> ids)."""
    result = Differences(Counter(), Counter(), Counter())
    for topic in expected.keys() | seen.keys():
        wanted, found = set(expected.get(topic, ())), seen.get(topic, {})
        result.lost[topic] = len(wanted - found.keys())
        result.unexpected[topic] = sum(times for id_, times in found.items() if id_ not in wanted)
        result.duplicated[topic] = sum(times - 1 for id_, times in found.items() if id_ in wanted)
    return result


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of values in rising order; NaN when there are none."""
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]
