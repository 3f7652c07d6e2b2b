"""How much of a topic was read, and what may be missing because of that. Pure.

Numbers of a stream ascend within each partition. So a number that is absent may have been

- in front of what was read of a partition, if it is below every number that the stream has there;
- behind it, if it is above every number that the stream has there;

and in a partition that has nothing of the stream on either side. No more numbers were there than
the partition had offsets in that place. An *excuse* covers these numbers, and no others.

With ``--since`` and ``--until`` records that explain a hole may be outside as well, so there the
count of offsets says nothing. Instead the time has to fit, by the numbers next to the hole.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kiel_logging.verify import names
from kiel_logging.verify.stream import Range, Stream


class Part(NamedTuple):
    """How many offsets of a partition were not read: ``front`` of them before what was, and
    ``behind`` after it."""

    front: int = 0
    behind: int = 0


class Retention(NamedTuple):
    """How long a topic keeps records: ``ms``, None for ever. ``by_size``: or until it is large."""

    ms: int | None
    by_size: bool = False


_CLOCKS_DIFFER: Final = 3_600_000
"""Milliseconds by which records may be out of order: threads log at once, clocks are put back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """How much of a topic was read.

    Attributes:
        partitions: how many the topic has.
        parts: those that were not read whole.
        retention: how long the topic keeps records; None where that is not known.
        now: when it was read, in milliseconds.
        since: the time before which records were left out; None if none were.
        until: the time from which on they were.
        running: whether programs still write.
        horizon: by instance, the highest number of when the run began; what is missing below it has
            had ``--grace`` to arrive. None if nothing was waited for.
        mirror: whether records may be in other partitions, and another order, than they were sent.
        rewound: offsets that an earlier run has read, and that are gone, or of other records.
        unstable: offsets that were not read, because they are behind an open transaction.
    """

    partitions: int = 0
    parts: Mapping[int, Part] = field(default_factory=dict)
    retention: Retention | None = None
    now: int = 0
    since: int | None = None
    until: int | None = None
    running: bool = False
    horizon: Mapping[str, int] | None = None
    mirror: bool = False
    unstable: int = 0
    rewound: int = 0

    def age(self, earliest: int | None, latest: int | None) -> str:
        """Return what to call a number that was in front: *expired*, *purged* or *undated*.

        Its record was made between the two times; None where there is no bound.
        """
        keeps = self.retention
        if keeps is None or keeps.by_size:
            return names.UNDATED
        if keeps.ms is None or (earliest is not None and earliest >= self.now - keeps.ms):
            return names.PURGED
        if latest is not None and latest < self.now - keeps.ms:
            return names.EXPIRED
        return names.UNDATED

    def is_before(self, earliest: int | None) -> bool:
        """Whether a record that was made at ``earliest`` or later may be before ``--since``."""
        return self.since is not None and (
            earliest is None or earliest < self.since + _CLOCKS_DIFFER
        )

    def is_behind(self, latest: int | None) -> bool:
        """Whether a record that was made at ``latest`` or earlier may not be before ``--until``."""
        return self.until is not None and (latest is None or latest >= self.until - _CLOCKS_DIFFER)


WHOLE: Final = Window()


class Excuses:
    """The excuses for one stream. Each offset that was not read excuses one number."""

    def __init__(self, stream: Stream, window: Window) -> None:
        self._counts_offsets = window.since is None
        bottoms = {partition: course.bottom for partition, course in stream.courses.items()}
        tops = {partition: course.top for partition, course in stream.courses.items()}
        self._fronts = [
            (bottoms.get(partition), part.front)
            for partition, part in window.parts.items()
            if part.front
        ]
        self._backs = [
            tops.get(partition) for partition, part in window.parts.items() if part.behind
        ]
        has_empty = len(tops) < window.partitions
        self._lowest_top = 0 if has_empty else min(tops.values(), default=0)

    def in_front(self, gaps: list[Range]) -> tuple[list[Range], list[Range]]:
        """Return which numbers may have been in front of what was read, and the others."""
        edges = sorted({bottom for bottom, _ in self._fronts if bottom is not None})
        excused: list[Range] = []
        others: list[Range] = []
        used = 0
        # From above: what the higher ones may have used is a part of what the lower ones may.
        for first, last in reversed([part for gap in gaps for part in _split(gap, edges)]):
            room = sum(n for bottom, n in self._fronts if bottom is None or first < bottom)
            if room and not self._counts_offsets:
                room = used + last - first + 1
            count = min(last - first + 1, max(0, room - used))
            used += count
            _divide(excused, others, (first, last), first + count)
        return excused[::-1], others[::-1]

    def behind(self, gaps: list[Range]) -> tuple[list[Range], list[Range]]:
        """Return which numbers may be behind what was read, and the others."""
        if not self._backs:
            return [], gaps
        lowest = min(0 if top is None else top for top in self._backs)
        excused: list[Range] = []
        others: list[Range] = []
        for gap in gaps:
            _divide(others, excused, gap, min(max(gap[0], lowest + 1), gap[1] + 1))
        return excused, others

    def on_their_way(self, gaps: list[Range]) -> tuple[list[Range], list[Range]]:
        """Return which numbers a program that writes may still send, and the others: they have to
        be above everything that the stream has in any one partition."""
        excused: list[Range] = []
        others: list[Range] = []
        for gap in gaps:
            _divide(others, excused, gap, min(max(gap[0], self._lowest_top + 1), gap[1] + 1))
        return excused, others

    @property
    def end_in_front(self) -> bool:
        """Whether a partition that has nothing of the stream had its end, perhaps."""
        return any(bottom is None for bottom, _ in self._fronts)

    @property
    def end_behind(self) -> bool:
        """Whether the end may be behind what was read."""
        return bool(self._backs)


def _split(gap: Range, edges: list[int]) -> Iterator[Range]:
    """Yield the parts of ``gap``; each of ``edges`` begins one."""
    first, last = gap
    for edge in edges:
        if first < edge <= last:
            yield first, edge - 1
            first = edge
    yield first, last


def _divide(lower: list[Range], upper: list[Range], gap: Range, edge: int) -> None:
    """Add what of ``gap`` is below ``edge`` to ``lower``, and the rest to ``upper``."""
    first, last = gap
    if first < edge:
        lower.append((first, edge - 1))
    if edge <= last:
        upper.append((edge, last))
