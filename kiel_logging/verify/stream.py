"""One instance in one topic: what is noted of its records while they are read.

The law: what is noted depends on the order within each partition, and not on how partitions
interleave. So nothing is judged here; a record that seems late may have a copy that is not, in a
partition that is read later.
"""

from bisect import insort
from typing import Final, NamedTuple

from kiel_logging.verify import pages
from kiel_logging.verify.pages import (
    BITS,
    INTACT,
    LATE,
    MASK,
    ORDERED,
    PLACE_BITS,
    SIZE,
    Page,
    Room,
)

Range = tuple[int, int]
"""The first and the last of numbers in a row."""

EXAMPLES: Final = 10
"""How many of each defect are kept with where they are."""


def note(places_by_partition: dict[int, list[int]], place: int) -> None:
    """Keep the first places of each partition: the first ones of all are among them."""
    places = places_by_partition.setdefault(place >> PLACE_BITS, [])
    if len(places) < EXAMPLES or place < places[-1]:
        insort(places, place)
        del places[EXAMPLES:]


class Start(NamedTuple):
    """The facts in the record that starts a stream; ``number`` is its own."""

    number: int
    handler: str
    host: str
    process: str


class Recovery(NamedTuple):
    """The report on an instance that died: it is known to have given numbers up to ``last``.

    ``number`` is that of the record which says so, ``complete`` whether it gave no later ones, and
    ``lost`` has numbers whose records could not be read any more.
    """

    dead: str
    number: int
    last: int
    complete: bool
    lost: tuple[Range, ...] = ()


class Span:
    """The numbers that one key has sealed: the lowest, the highest, and how many records."""

    __slots__ = ("high", "low", "records")

    def __init__(self, low: int = 1 << 63, high: int = 0, records: int = 0) -> None:
        self.low = low
        self.high = high
        self.records = records

    def note(self, number: int) -> None:
        """Note one record."""
        self.records += 1
        self.low = min(self.low, number)
        self.high = max(self.high, number)


class Course:
    """How the numbers of a stream went in one partition."""

    __slots__ = ("bottom", "descents", "previous", "top")

    def __init__(self, number: int) -> None:
        self.bottom = self.top = self.previous = number
        self.descents = 0

    def go_back(self, number: int) -> None:
        """Note a number below the highest one so far."""
        self.descents += number < self.previous
        self.bottom = min(self.bottom, number)


class Stream:
    """The notes on one instance: its records with digests of one kind.

    Attributes:
        keyed: whether its digests are made with a key.
        intact: copies that are as they were sent.
        repeats: copies beyond the first of what is the same.
        variants: for numbers with different records, each by its link, and where it is.
        repeated: the lowest numbers that came again, and where last.
        drops: the losses that the instance reports, by the number of the record which does.
        omissions: the records that options left out on purpose, in the same way.
        lost: the numbers of which it reports that their records are lost.
        ends: the numbers of its end records, each with the keys that have signed that it is one.
        public: the key that the record which starts it names, if any.
        recoveries: its reports on instances that died.
        rotations: by the numbers of the records that change its key, the ids of both keys.
        spans: by key id, what that key has sealed, where several keys were given.
        settled: all numbers up to this one were there, in order and linked; their pages are gone.
        settled_link: the digest and the timestamp of the record with that number.
        uncounted: records for which there was no memory.
    """

    __slots__ = (
        "chained",
        "courses",
        "drops",
        "ends",
        "instance",
        "intact",
        "keyed",
        "lost",
        "omissions",
        "pages",
        "public",
        "recoveries",
        "repeated",
        "repeats",
        "room",
        "rotations",
        "settled",
        "settled_link",
        "spans",
        "start",
        "uncounted",
        "variants",
    )

    def __init__(
        self, instance: str, *, chained: bool, keyed: bool = False, room: Room | None = None
    ) -> None:
        self.instance = instance
        self.chained = chained
        self.keyed = keyed
        self.room = room or Room()
        self.intact = self.repeats = self.uncounted = 0
        self.pages: dict[int, Page] = {}
        self.courses: dict[int, Course] = {}
        self.variants: dict[int, dict[tuple[int, int], int]] = {}
        self.repeated: dict[int, int] = {}
        self.drops: dict[int, int] = {}
        self.omissions: dict[int, int] = {}
        self.lost: set[Range] = set()
        self.ends: dict[int, set[bytes]] = {}
        self.recoveries: set[Recovery] = set()
        self.rotations: dict[int, tuple[str, str]] = {}
        self.spans: dict[str, Span] = {}
        self.start: Start | None = None
        self.public: bytes | None = None
        self.settled = 0
        self.settled_link = 0, 0

    def settle(self) -> None:
        """Forget the pages in front of which nothing is missing and nothing is wrong.

        A later copy of such a number counts as a repeat.
        """
        end = min((course.top for course in self.courses.values()), default=0) >> BITS
        conflicts = {number >> BITS for number in self.variants}
        for index in range((self.settled + 1) >> BITS, end):
            page, first = self.pages.get(index), int(index == 0)
            if page is None or index in conflicts or not self._is_sound(page, first):
                return
            del self.pages[index]
            self.room.give(pages.PAGE)
            self.settled = (index << BITS) + MASK
            last = page.entry(MASK)
            self.settled_link = last.digest, last.time

    def _is_sound(self, page: Page, first: int) -> bool:
        if page.flags.count(INTACT | ORDERED, first) < SIZE - first:
            return False
        return not self.chained or (
            page.links_hold(first) and page.entry(first).prev == self.settled_link[0]
        )

    def add(self, number: int, prev: int, digest: int, place: int, timestamp: int) -> None:
        """Note an intact record."""
        # With Audit.add() the hot path: no calls but where something is odd or new.
        page = self.pages.get(number >> BITS)
        if page is None:
            if number <= self.settled:
                self.intact += 1
                self._add_repeat(number, place)
                return
            if not self.room.take(pages.PAGE):
                self.uncounted += 1
                return
            page = self.pages[number >> BITS] = Page()
        self.intact += 1
        course = self.courses.get(place >> PLACE_BITS)
        if course is None:
            course = self.courses[place >> PLACE_BITS] = Course(number)
        if number >= course.top:
            course.top = number
            flags = INTACT | ORDERED
        else:
            course.go_back(number)
            flags = INTACT | LATE
        course.previous = number
        slot = number & MASK
        before = page.flags[slot]
        page.flags[slot] = before | flags
        if before:
            kept = page.entry(slot)
            page.write(slot, *kept.link, min(kept.place, place), min(kept.time, timestamp))
            self._add_copy(number, (prev, digest), place, kept.link, kept.place)
        else:
            page.write(slot, prev, digest, place, timestamp)

    def _add_copy(
        self, number: int, link: tuple[int, int], place: int, kept: tuple[int, int], kept_at: int
    ) -> None:
        if link == kept and number not in self.variants:
            self._add_repeat(number, max(kept_at, place))
            return
        variants = self.variants.setdefault(number, {kept: kept_at})
        if link in variants:
            self._add_repeat(number, max(variants[link], place))
            place = min(variants[link], place)
        elif not self.room.take(pages.NOTE):
            self.uncounted += 1
            return
        variants[link] = place

    def _add_repeat(self, number: int, place: int) -> None:
        self.repeats += 1
        self.repeated[number] = max(self.repeated.get(number, 0), place)
        if len(self.repeated) > EXAMPLES:
            del self.repeated[max(self.repeated)]

    def may_note(self, facts: int = 1) -> bool:
        """Return whether there is memory for so many more facts."""
        if self.room.take(facts * pages.NOTE):
            return True
        self.uncounted += 1
        return False

    @property
    def last(self) -> int:
        """The highest number of an intact record; 0 without any."""
        return max((course.top for course in self.courses.values()), default=0)

    @property
    def first(self) -> int:
        """The lowest number of an intact record; 0 without any."""
        return min((course.bottom for course in self.courses.values()), default=0)
