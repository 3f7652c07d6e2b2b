"""One instance in one topic: what is noted of its records while they are read.

The law: what is noted depends on the order within each partition, and not on how partitions
interleave. So nothing is judged here; a record that seems late may have a copy that is not, in a
partition that is read later.
"""

from bisect import insort
from typing import Final, NamedTuple

from kiel_logging.verify.pages import (
    ALTERED,
    BITS,
    INTACT,
    LATE,
    MASK,
    ORDERED,
    PLACE_BITS,
    Page,
)

EXAMPLES: Final = 10
"""How many of each defect are kept with where they are."""


def note(places_by_partition: dict[int, list[int]], place: int) -> None:
    """Keep the first places of each partition: the first ones of all are among them."""
    places = places_by_partition.setdefault(place >> PLACE_BITS, [])
    if len(places) < EXAMPLES or place < places[-1]:
        insort(places, place)
        del places[EXAMPLES:]


class Start(NamedTuple):
    """Who an instance said it is; ``number`` is that of the record which says so."""

    number: int
    handler: str
    host: str
    process: str


class Recovery(NamedTuple):
    """A word for an instance that died: it is known to have given numbers up to ``last``.

    ``number`` is that of the record which says so.
    """

    dead: str
    number: int
    last: int


class Course:
    """How the numbers of a stream went in one partition. ``began`` is its first timestamp."""

    __slots__ = ("began", "bottom", "descents", "previous", "top")

    def __init__(self, number: int, timestamp: int) -> None:
        self.began = timestamp
        self.bottom = self.top = self.previous = number
        self.descents = 0

    def go_back(self, number: int) -> None:
        """Note a number below the highest one so far."""
        self.descents += number < self.previous
        self.bottom = min(self.bottom, number)


class Stream:
    """What is known of one instance.

    Attributes:
        intact: copies that are as they were sent.
        altered: copies that are not.
        repeats: copies beyond the first of what is the same.
        variants: for numbers with different records, each by its link, and where it is.
        repeated: the lowest numbers that came again, and where last.
        altered_at: the first places of altered ones, by partition.
        drops: the losses that the instance told of, by the number of the record which does.
        ends: the numbers of its last words.
        recoveries: what it says of instances whose spool it took.
    """

    __slots__ = (
        "altered",
        "altered_at",
        "chained",
        "courses",
        "drops",
        "ends",
        "instance",
        "intact",
        "pages",
        "recoveries",
        "repeated",
        "repeats",
        "start",
        "variants",
    )

    def __init__(self, instance: str, *, chained: bool) -> None:
        self.instance = instance
        self.chained = chained
        self.intact = self.altered = self.repeats = 0
        self.pages: dict[int, Page] = {}
        self.courses: dict[int, Course] = {}
        self.variants: dict[int, dict[tuple[int, int], int]] = {}
        self.repeated: dict[int, int] = {}
        self.altered_at: dict[int, list[int]] = {}
        self.drops: dict[int, int] = {}
        self.ends: set[int] = set()
        self.recoveries: set[Recovery] = set()
        self.start: Start | None = None

    def add(self, number: int, prev: int, digest: int, place: int, timestamp: int) -> None:
        """Note an intact record."""
        # With Audit.add() the hot path: no calls but where something is odd or new.
        self.intact += 1
        course = self.courses.get(place >> PLACE_BITS)
        if course is None:
            course = self.courses[place >> PLACE_BITS] = Course(number, timestamp)
        if number >= course.top:
            course.top = number
            flags = INTACT | ORDERED
        else:
            course.go_back(number)
            flags = INTACT | LATE
        course.previous = number
        page = self.pages.get(number >> BITS)
        if page is None:
            page = self.pages[number >> BITS] = Page()
        slot = number & MASK
        before = page.flags[slot]
        page.flags[slot] = before | flags
        if before & INTACT:
            self._add_copy(number, (prev, digest), place, page)
            return
        page.prevs[slot] = prev
        page.digests[slot] = digest
        page.places[slot] = place

    def _add_copy(self, number: int, link: tuple[int, int], place: int, page: Page) -> None:
        slot = number & MASK
        kept, kept_at = (page.prevs[slot], page.digests[slot]), page.places[slot]
        page.places[slot] = min(kept_at, place)
        if link == kept and number not in self.variants:
            self._add_repeat(number, max(kept_at, place))
            return
        variants = self.variants.setdefault(number, {kept: kept_at})
        if link in variants:
            self._add_repeat(number, max(variants[link], place))
            place = min(variants[link], place)
        variants[link] = place

    def _add_repeat(self, number: int, place: int) -> None:
        self.repeats += 1
        self.repeated[number] = max(self.repeated.get(number, 0), place)
        if len(self.repeated) > EXAMPLES:
            del self.repeated[max(self.repeated)]

    def add_altered(self, number: int, place: int) -> None:
        """Note a record that is not what the instance sent; its number may be wrong as well."""
        self.altered += 1
        page = self.pages.get(number >> BITS)
        if page is None:
            page = self.pages[number >> BITS] = Page()
        page.flags[number & MASK] |= ALTERED
        note(self.altered_at, place)

    @property
    def last(self) -> int:
        """The highest number of an intact record; 0 without any."""
        return max((course.top for course in self.courses.values()), default=0)

    @property
    def first(self) -> int:
        """The lowest number of an intact record; 0 without any."""
        return min((course.bottom for course in self.courses.values()), default=0)
