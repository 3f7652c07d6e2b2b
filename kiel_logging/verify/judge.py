"""From the audit of a topic to its verdict: which finding has which name. Pure.

Numbers that are absent are divided up, in this order:

- *pending*: programs still write, and the number is newer than the run;
- *missing*: a drops or a recovery record names it as lost. Numbers without a chain are also called
  this where nothing explains them;
- *outside*, *expired*, *purged* or *undated*: it may have been in front of what was read;
- *outside*: it may be behind what was read;
- *truncated* or *vanished*: it is behind all that is there, and a signed checkpoint has it;
- *overdue*: programs still write, and it had ``--grace`` to arrive;
- *removed*: nothing explains it.

The order within a partition is not held against an instance that died, as long as it steps back no
more often than its spool was taken. That is what replays look like, and one swap in such a stream
as well.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from kiel_logging.proof.chain import NO_KEY
from kiel_logging.proof.instances import began_at
from kiel_logging.verify import looking, names
from kiel_logging.verify.audit import Audit, Unverified
from kiel_logging.verify.evidence import Account
from kiel_logging.verify.names import Example, Found, StreamVerdict, TopicVerdict
from kiel_logging.verify.pages import PLACE_BITS
from kiel_logging.verify.stream import EXAMPLES, Range, Recovery, Stream
from kiel_logging.verify.window import WHOLE, Excuses, Window

_ON_THEIR_WAY: Final = {names.OVERDUE, names.TRUNCATED, names.VANISHED}
_OFFSET_MASK: Final = (1 << PLACE_BITS) - 1


def judge(audit: Audit, topic: str = "", window: Window = WHOLE) -> TopicVerdict:
    """Return what ``audit`` comes to."""
    recoveries = _recoveries(audit)
    instances = sorted(audit.instances | set(map(str.encode, recoveries)))
    key_fits = any(stream.keyed or not audit.keyed for stream in audit.sealed())
    named = {key for one in audit.sealed() for keys in one.rotations.values() for key in keys}
    judgements = (
        _Judgement(audit, instance, window, recoveries, key_fits=key_fits, named=named)
        for instance in instances
    )
    return TopicVerdict(
        topic=topic,
        records=audit.records,
        keyed=audit.keyed or audit.registry.vouches,
        streams=tuple(one.verdict() for one in judgements),
        findings=_found_of_nobody(audit, window),
    )


def waits(audit: Audit, window: Window) -> bool:
    """Whether anything is absent that a program which still writes may yet send."""
    recoveries = _recoveries(audit)
    judgements = (_Judgement(audit, one, window, recoveries) for one in audit.instances)
    return any(_ON_THEIR_WAY & one.absent.parts.keys() for one in judgements)


def _found_of_nobody(audit: Audit, window: Window) -> dict[str, Found]:
    counted = {
        names.ALTERED: (audit.unlisted, {}),
        names.UNREADABLE: (audit.unreadable, audit.unreadable_at),
        names.UNMARKED: (audit.unmarked, audit.unmarked_at),
        names.REWOUND: (window.rewound, {}),
        names.UNSTABLE: (window.unstable, {}),
        names.UNCOUNTED: (audit.lacks_memory, {}),
    }
    return {
        name: Found(count=count, examples=tuple(islice(first_places(places), EXAMPLES)))
        for name, (count, places) in counted.items()
        if count
    }


_Report = tuple[Stream, Recovery]


def _recoveries(audit: Audit) -> dict[str, list[_Report]]:
    """Return the reports on instances that died; without a chain anybody could make them."""
    recoveries: dict[str, list[_Report]] = {}
    for stream in audit.sealed():
        for recovery in stream.recoveries:
            recoveries.setdefault(recovery.dead, []).append((stream, recovery))
    return recoveries


class _Absent:
    """The numbers of a stream that are not there, divided up by name."""

    def __init__(
        self,
        streams: list[Stream],
        window: Window,
        reports: Iterable[Recovery],
        numbers: Collection[int],
        account: Account,
        key_ids: Collection[str],
    ) -> None:
        self._stream = stream = streams[0]
        self._first, self._last = looking.known(stream, key_ids)
        self._window = window
        self._account = account
        self._excuses = Excuses(stream, window)
        self._times = looking.Times(stream)
        self.vouched = max((one.last for one in reports), default=0)
        self.last = max(stream.last, self.vouched, account.last)
        self.has_end = (
            self._is_end(stream.last)
            or 0 < stream.last <= account.end
            or any(one.complete and one.last >= stream.last for one in reports)
        )
        self.running = window.running and not self.has_end
        self._lost = stream.lost.union(*(one.lost for one in reports))
        gaps = list(looking.absent(stream, self.last, streams[1:], numbers))
        if stream.rotations:  # of numbers that other keys have sealed nothing is known
            gaps = [
                (max(first, self._first), int(min(last, self._last)))
                for first, last in gaps
                if last >= self._first and first <= self._last
            ]
        self.parts: dict[str, list[Range]] = {}
        self._divide(gaps)

    def _is_end(self, number: int) -> bool:
        """Whether the record is one that ends the stream: in a signed stream its key says so."""
        signers = self._stream.ends.get(number)
        publics = self._account.publics
        return signers is not None and (not publics or bool(signers & publics))

    def _divide(self, gaps: list[Range]) -> None:
        if self.running:
            horizon = self._horizon()
            self._put(names.PENDING, _above(gaps, horizon))
            gaps = _below(gaps, horizon + 1)
        lost, gaps = _named(gaps, sorted(self._lost))
        self._put(names.MISSING, lost)
        front, gaps = self._excuses.in_front(gaps)
        for gap in front:
            if (name := self._name_in_front(gap)) is None:
                gaps.append(gap)
            else:
                self._put(name, [gap])
        back, gaps = self._excuses.behind(sorted(gaps))
        for gap in back:
            if self._window.is_behind(self._times.behind(gap[1])):
                self._put(names.OUTSIDE, [gap])
            else:
                gaps.append(gap)
        top = self._stream.last
        if top < self._account.last:
            self._put(names.TRUNCATED if top else names.VANISHED, _above(gaps, top))
            gaps = _below(gaps, top + 1)
        if self.running:
            late, gaps = self._excuses.on_their_way(gaps)
            self._put(names.OVERDUE, late)
        self._put(names.REMOVED if self._stream.chained else names.MISSING, gaps)

    def _put(self, name: str, ranges: list[Range]) -> None:
        if ranges:
            self.parts.setdefault(name, []).extend(ranges)

    def _horizon(self) -> int:
        horizon = self._window.horizon
        return self.last if horizon is None else horizon.get(self._stream.instance, 0)

    def _name_in_front(self, gap: Range) -> str | None:
        """Return what to call numbers that may have been in front; None if their age forbids it."""
        first, last = gap
        if self._window.since is None:
            return self._window.age(self._since(first), self._times.behind(last))
        before = self._window.is_before(self._times.before(first))
        return names.OUTSIDE if before else None

    def _since(self, number: int) -> int | None:
        """Return a time before which the record of ``number`` was not made, if any is known."""
        known = (self._times.before(number), began_at(self._stream.instance))
        return max((one for one in known if one is not None), default=None)

    def name_of_lost_end(self) -> str | None:
        """Return what to call it that the stream has no end record; None if none is due."""
        if self._stream.rotations and self._stream.last >= self._last:
            return None  # another key has sealed its end
        if self.running or self.has_end or self._excuses.end_behind:
            return None
        if self._window.since is None and self._excuses.end_in_front:
            age = self._window.age(self._since(self._stream.last + 1), None)
            return names.UNFINISHED if age == names.PURGED else names.UNDATED
        return names.UNFINISHED


def _above(gaps: list[Range], number: int) -> list[Range]:
    return [(max(first, number + 1), last) for first, last in gaps if last > number]


def _below(gaps: list[Range], number: int) -> list[Range]:
    return [(first, min(last, number - 1)) for first, last in gaps if first < number]


def _named(gaps: list[Range], named: list[Range]) -> tuple[list[Range], list[Range]]:
    """Return what of ``gaps`` is ``named``, which are sorted and may overlap, and the others."""
    found: list[Range] = []
    others: list[Range] = []
    at = 0
    for first, last in gaps:
        while at < len(named) and named[at][1] < first:
            at += 1
        for name_first, name_last in islice(named, at, None):
            if name_first > last or first > last:
                break
            if name_first > first:
                others.append((first, name_first - 1))
            found.append((max(first, name_first), min(last, name_last)))
            first = max(first, name_last + 1)
        if first <= last:
            others.append((first, last))
    return found, others


class _Judgement:
    """Of one instance; each method makes some of the findings.

    Args:
        audit: of its topic.
        instance: its id.
        window: how much was read.
        recoveries: reports on instances that died; those count that are sealed as well as what
            they are about.
        key_fits: whether a key that was given fits any stream of the topic.
        named: the ids of keys that rotations of the topic name.
    """

    def __init__(
        self,
        audit: Audit,
        instance: bytes,
        window: Window,
        recoveries: dict[str, list[_Report]],
        *,
        key_fits: bool = True,
        named: Collection[str] = (),
    ) -> None:
        self._key_fits, self._named = key_fits, named
        self._audit = audit
        self._stream, *self._others = streams = audit.streams_of(instance)
        self._unverified = audit.unverified.get(instance) or Unverified()
        self._window = window
        reports = recoveries.get(self._stream.instance, ())
        self._reports = [one for by, one in reports if by.keyed or not self._stream.keyed]
        self._account = audit.account(self._stream)
        numbers = self._unverified.numbers
        self.absent = _Absent(streams, window, self._reports, numbers, self._account, audit.key_ids)
        self._findings: dict[str, Found] = {}

    def verdict(self) -> StreamVerdict:
        """Return all that is to be said."""
        stream = self._stream
        if not self._audit.lacks_memory:
            self._find_absent()
            self._find_broken()
            self._find_contradictions()
        self._find_damage()
        self._find_unproved()
        self._find_reported()
        return StreamVerdict(
            instance=stream.instance,
            chained=stream.chained,
            keyed=stream.keyed,
            signed=self._account.proves,
            records=looking.count_intact(stream),
            first=stream.first,
            last=self.absent.last,
            start=stream.start,
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

    # Absent numbers.

    def _find_absent(self) -> None:
        absent, stream = self.absent, self._stream
        for name, ranges in absent.parts.items():
            count = sum(last - first + 1 for first, last in ranges)
            self._add(name, count, map(self._around, sorted(ranges)))
        if stream.chained and stream.intact:
            name_of_end = absent.name_of_lost_end()
            if name_of_end is not None and name_of_end not in self._findings:
                self._add(name_of_end, 1, [self._at(stream.last)])

    def _find_contradictions(self) -> None:
        """Compare the signed checkpoints with each other, and with the records."""
        forks = set(self._account.forks())
        for one in self._account.signed:
            digests = looking.digests(self._stream, one.sequence)
            if digests and one.digest not in digests:
                forks.add(one.sequence)
        spans = list(looking.out_of_turn(self._stream))
        self._add(
            names.FORKED,
            len(forks) + sum(span.records for span in spans),
            (*map(self._at, sorted(forks)), *(Example(one.low, one.high) for one in spans)),
        )
        if self.absent.running and self._account.is_silent(self._window.now):
            self._add(names.SILENT, 1, [self._at(self._stream.last)])

    # Records that are not as they were sent.

    def _find_broken(self) -> None:
        self._add_numbers(
            names.BROKEN, looking.broken(self._stream) if self._stream.chained else ()
        )
        # A dead instance's spool is sent again from its beginning: one step back for each time.
        descents = max((one.descents for one in self._stream.courses.values()), default=0)
        if descents > len(self._reports) and not self._window.mirror:
            self._add_numbers(names.SWAPPED, looking.swapped(self._stream))

    def _find_damage(self) -> None:
        stream = self._stream
        altered, places = self._altered()
        self._add(self._name_of_altered(), altered, first_places(places))
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

    def _altered(self) -> tuple[int, dict[int, list[int]]]:
        """Return how many records are not what the instance sent, and the first places of them.

        Digests that prove less than others of the same instance are among them.
        """
        count = self._unverified.count + sum(other.intact for other in self._others)
        if not self._others:
            return count, self._unverified.places
        places = {partition: list(some) for partition, some in self._unverified.places.items()}
        for other in self._others:
            looking.note_places(other, places)
        return count, places

    def _name_of_altered(self) -> str:
        unverified = self._unverified
        if self._stream.intact:
            first, last = looking.known(self._stream, self._audit.key_ids)
            is_known = (first <= number <= last for number in unverified.numbers)
            return names.ALTERED if not unverified.numbers or any(is_known) else names.OTHER_KEY
        if unverified.renamed:
            return names.RENAMED
        if claimed := {claim.key for claim in unverified.claims}:
            is_other = not claimed & (self._audit.key_ids | {NO_KEY})
        else:
            is_other = not self._audit.keyed
        # Where a key fits other streams, a stream that it does not fit is a forgery; but one of
        # these may say that there is another key.
        may_be = not self._key_fits or (bool(claimed) and claimed <= set(self._named))
        return names.OTHER_KEY if is_other and may_be else names.ALTERED

    def _find_unproved(self) -> None:
        stream = self._stream
        if not stream.chained:
            unproved = names.UNCHAINED if self._audit.keyed else None
        else:
            unproved = None if stream.keyed else names.UNSIGNED
        if unproved is None:
            return
        if unproved != names.UNSIGNED or not self._account.proves:
            self._add(unproved, stream.intact, [self._at(stream.first)])
        elif not self.absent.running:
            self._add_numbers(unproved, looking.present(stream, self._account.last + 1))

    # The reports of the instance itself.

    def _find_reported(self) -> None:
        reported = {
            names.DROPPED: self._stream.drops,
            names.LEFT_OUT: self._stream.omissions,
        }
        for name, found in reported.items():
            self._add(name, sum(found.values()), (self._at(one) for one in sorted(found)))


def first_places(places_by_partition: Mapping[int, list[int]]) -> Iterator[Example]:
    """Yield the first places as examples; their numbers are unknown."""
    places = sorted(place for places in places_by_partition.values() for place in places)
    return (_example(None, None, place) for place in places)


def _example(first: int | None, last: int | None, place: int | None) -> Example:
    if place is None:
        return Example(first=first, last=last)
    return Example(
        first=first, last=last, partition=place >> PLACE_BITS, offset=place & _OFFSET_MASK
    )
