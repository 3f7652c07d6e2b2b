"""From the audit of a topic to its verdict: which finding has which name. Pure.

Two things are not held against a stream:

- Where the topic begins late. What is missing below the first number of such a partition may have
  been there: *expired*. If the stream has nothing in such a partition, that goes for what is below
  its own first number, or, when it is older than what that partition still has, for all of it.
  So does the last word of such a stream.
- Where the programs still run (``running``). What is missing above the last number in one of its
  partitions may be on its way there: *pending*. No last word is expected.

Nor is the order within a partition of an instance that died, as long as it steps back no more often
than its spool was taken. That is what replays look like, and one swap in such a stream as well.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Final

from kiel_logging.verify import looking, names
from kiel_logging.verify.audit import Audit
from kiel_logging.verify.looking import Range
from kiel_logging.verify.pages import PLACE_BITS
from kiel_logging.verify.stream import EXAMPLES, Recovery, Stream
from kiel_logging.verify.verdict import Example, Found, StreamVerdict, TopicVerdict

_OFFSET_MASK: Final = (1 << PLACE_BITS) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """How much of a topic was read.

    ``begins_late`` are the partitions without their oldest records; ``running``: what is written
    while, or after, the topic is read need not be there.
    """

    begins_late: Collection[int] = field(default=())
    running: bool = False


WHOLE: Final = Window()


def judge(audit: Audit, topic: str = "", window: Window = WHOLE) -> TopicVerdict:
    """Return what ``audit`` comes to; it can't be added to any more."""
    streams = tuple(_judge_all(audit, window))
    chained = [stream for stream in streams if stream.chained]
    return TopicVerdict(
        topic=topic,
        records=audit.records,
        streams=streams,
        findings=_found_of_nobody(audit),
        wrong_key=bool(chained) and all(stream.wrong_key for stream in chained),
    )


def _found_of_nobody(audit: Audit) -> dict[str, Found]:
    counted = {
        names.UNREADABLE: (audit.unreadable, audit.unreadable_at),
        names.UNMARKED: (audit.unmarked, audit.unmarked_at),
    }
    return {
        name: Found(count=count, examples=tuple(islice(first_places(places), EXAMPLES)))
        for name, (count, places) in counted.items()
        if count
    }


def _judge_all(audit: Audit, window: Window) -> Iterator[StreamVerdict]:
    began = _beginnings(audit, window.begins_late)
    recoveries = _recoveries(audit)
    for instance in sorted({*audit.chained, *audit.plain, *map(str.encode, recoveries)}):
        chained, plain = audit.chained.get(instance), audit.plain.get(instance)
        if chained is None and plain is None:
            # Nothing is there of it but the word of the one that took its spool.
            chained = Stream(instance.decode(), chained=True)
        if chained is not None and plain is not None:
            looking.absorb(chained, plain)
        stream = chained or plain
        assert stream is not None
        words = recoveries.get(stream.instance, [])
        yield _Judgement(stream, window, began, words, keyed=audit.keyed).verdict()


def _recoveries(audit: Audit) -> dict[str, list[Recovery]]:
    """Return who vouches for which instance; without a chain anybody could."""
    recoveries: dict[str, list[Recovery]] = {}
    for stream in audit.chained.values():
        for recovery in stream.recoveries:
            recoveries.setdefault(recovery.dead, []).append(recovery)
    return recoveries


def _beginnings(audit: Audit, partitions: Iterable[int]) -> dict[int, float]:
    """Return the time of the first record that is left in each of ``partitions``."""
    began: dict[int, float] = dict.fromkeys(partitions, inf)
    for stream in (*audit.chained.values(), *audit.plain.values()):
        for partition, course in stream.courses.items():
            if partition in began:
                began[partition] = min(began[partition], course.began)
    return began


class _Judgement:
    """Of one stream; each method makes some of the findings."""

    def __init__(
        self,
        stream: Stream,
        window: Window,
        began: Mapping[int, float],
        recoveries: Collection[Recovery],
        *,
        keyed: bool,
    ) -> None:
        self._stream = stream
        self._recoveries = recoveries
        self._keyed = keyed
        self._vouched = max((one.last for one in recoveries), default=0)
        self._last = max(stream.last, self._vouched)
        self._floor = _floor(stream, began, self._last)
        self._running = window.running and not self._has_last_word()
        self._findings: dict[str, Found] = {}

    def verdict(self) -> StreamVerdict:
        """Return all that is to be said."""
        stream = self._stream
        self._find_absent()
        self._find_damage()
        self._find_swapped()
        self._find_told()
        return StreamVerdict(
            instance=stream.instance,
            chained=stream.chained,
            records=looking.count_intact(stream),
            first=stream.first,
            last=self._last,
            start=stream.start,
            wrong_key=bool(stream.chained and stream.altered and not stream.intact),
            findings={
                name: self._findings[name] for name in names.FINDINGS if name in self._findings
            },
        )

    def _add(self, name: str, count: int, examples: Iterable[Example] = ()) -> None:
        if count:
            self._findings[name] = Found(count=count, examples=tuple(islice(examples, EXAMPLES)))

    def _add_numbers(self, name: str, numbers: Iterable[int]) -> None:
        found = list(numbers)
        self._add(name, len(found), (self._at(number) for number in found))

    def _at(self, number: int) -> Example:
        return _example(number, number, looking.place(self._stream, number))

    def _around(self, gap: Range) -> Example:
        """Return a gap with the record behind it, or before it."""
        first, last = gap
        at = looking.place(self._stream, last + 1)
        return _example(first, last, looking.place(self._stream, first - 1) if at is None else at)

    # What is not there.

    def _find_absent(self) -> None:
        parts: dict[str, list[Range]] = {}
        for gap in looking.absent(self._stream, self._last):
            for name, part in self._parted(gap):
                parts.setdefault(name, []).append(part)
        for name, ranges in parts.items():
            count = sum(last - first + 1 for first, last in ranges)
            called = self._name_of_loss(count) if name == names.MISSING else name
            self._add(called, count, map(self._around, ranges))

    def _parted(self, gap: Range) -> Iterator[tuple[str, Range]]:
        (first, last), floor = gap, self._floor
        ceiling = self._ceiling()
        if first < floor:
            yield names.EXPIRED, (first, min(last, floor - 1))
        if max(first, floor) <= min(last, ceiling):
            yield names.MISSING, (max(first, floor), min(last, ceiling))
        if last > max(ceiling, floor - 1):
            yield names.PENDING, (max(first, ceiling + 1, floor), last)

    def _ceiling(self) -> int:
        """Return above which number what is missing may be on its way."""
        if not self._running:
            return self._last
        return min((course.top for course in self._stream.courses.values()), default=0)

    def _name_of_loss(self, count: int) -> str:
        told = sum(self._stream.drops.values())
        return names.REMOVED if self._stream.chained and count > told else names.MISSING

    # What is there, and not as it was.

    def _find_damage(self) -> None:
        stream = self._stream
        self._add(names.ALTERED, stream.altered, first_places(stream.altered_at))
        self._add_numbers(names.BROKEN, looking.broken(stream) if stream.chained else ())
        conflicts = stream.variants.items()
        self._add(
            names.CONFLICT,
            sum(len(variants) - 1 for _, variants in conflicts),
            (_example(at, at, max(variants.values())) for at, variants in sorted(conflicts)),
        )
        self._add(
            names.REPEATED,
            stream.repeats,
            (_example(number, number, at) for number, at in sorted(stream.repeated.items())),
        )
        if self._keyed and not stream.chained:
            self._add(names.UNCHAINED, stream.intact, [self._at(stream.first)])

    def _find_swapped(self) -> None:
        # A dead instance's spool is sent again from its beginning: one step back for each time.
        descents = max((one.descents for one in self._stream.courses.values()), default=0)
        if descents > len(self._recoveries):
            self._add_numbers(names.SWAPPED, looking.swapped(self._stream))

    # What was told, or was not.

    def _find_told(self) -> None:
        stream = self._stream
        self._add(
            names.DROPPED,
            sum(stream.drops.values()),
            (self._at(number) for number in sorted(stream.drops)),
        )
        if stream.chained and stream.intact and not self._running and not self._has_last_word():
            # Where all behind the last number may have expired, the last word may have as well.
            name = names.UNFINISHED if self._floor <= stream.last else names.EXPIRED
            if name not in self._findings:
                self._add(name, 1, [self._at(stream.last)])

    def _has_last_word(self) -> bool:
        """Whether the instance, or the one that took its spool, knows of no higher number."""
        return self._stream.last in self._stream.ends or (
            bool(self._recoveries) and self._vouched >= self._stream.last
        )


def _floor(stream: Stream, began: Mapping[int, float], last: int) -> int:
    """Return below which number what is missing may have expired."""
    start = min((course.began for course in stream.courses.values()), default=0)
    floors = [0]
    for partition, since in began.items():
        course = stream.courses.get(partition)
        if course is not None:
            floors.append(course.bottom)
        else:
            floors.append(stream.first if start > since else last + 1)
    return max(floors)


def first_places(places_by_partition: Mapping[int, list[int]]) -> Iterator[Example]:
    """Yield the first places as examples; which number they are can't be told."""
    places = sorted(place for places in places_by_partition.values() for place in places)
    return (_example(None, None, place) for place in places)


def _example(first: int | None, last: int | None, place: int | None) -> Example:
    if place is None:
        return Example(first=first, last=last)
    return Example(
        first=first, last=last, partition=place >> PLACE_BITS, offset=place & _OFFSET_MASK
    )
