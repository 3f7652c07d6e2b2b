"""The findings in the pages of a stream: gaps, broken links, swapped records. Pure."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from heapq import merge
from math import inf

from kiel_logging.verify.pages import BITS, INTACT, MASK, SIZE, SWAPPED, WHOLE, Page, runs
from kiel_logging.verify.stream import Range, Span, Stream, note


def absent(
    stream: Stream, last: int, others: Iterable[Stream] = (), numbers: Collection[int] = ()
) -> Iterator[Range]:
    """Yield the numbers from 1 to ``last`` that are absent from ``stream``, from ``others`` of the
    same instance, and from the ``numbers`` of records that were altered."""
    there = [_present(one) for one in (stream, *others)]
    there.append((number, number) for number in sorted(numbers))
    expected = 1
    for first, end in there[0] if len(there) == 1 else merge(*there):
        if first > last:
            break
        if first > expected:
            yield expected, first - 1
        expected = max(expected, end + 1)
    if expected <= last:
        yield expected, last


def _present(stream: Stream) -> Iterator[Range]:
    if stream.settled:
        yield 1, stream.settled
    for index in sorted(stream.pages):
        base = index << BITS
        marks = stream.pages[index].flags.translate(WHOLE)
        for start, end in runs(marks, b"\1"):
            yield base + start, base + end - 1


def present(stream: Stream, first: int) -> Iterator[int]:
    """Yield the numbers from ``first`` on that have an intact record."""
    for start, end in _present(stream):
        yield from range(max(start, first), end + 1)


def digests(stream: Stream, number: int) -> set[int]:
    """Return the first 64 bits of the digests of the intact records of a number."""
    return {digest for _, digest in _links(stream, number)}


def known(stream: Stream, key_ids: Collection[str]) -> tuple[int, float]:
    """Return from which number up to which one ``stream`` may be sealed with keys that were given:
    its rotations name others."""
    first, last = 1, inf
    for number, (old, new) in stream.rotations.items():
        if old not in key_ids:
            first = max(first, number)
        if new not in key_ids:
            last = min(last, number)
    return first, last


def out_of_turn(stream: Stream) -> Iterator[Span]:
    """Yield what is sealed with keys that the stream did not have there: no rotation leads to them,
    and no number is absent that may have been one."""
    spans = sorted(stream.spans.items(), key=lambda one: one[1].low)
    key_id, before = spans[0] if spans else ("", Span())
    for another, span in spans[1:]:
        turns = {key_id}
        between = [one for one in stream.rotations if before.high < one < span.low]
        for number in sorted(between):
            old, new = stream.rotations[number]
            if old in turns:
                turns.add(new)
        has_gap = span.low - before.high - 1 > len(between)
        if another in turns or (has_gap and not between):
            key_id, before = another, span
        else:
            yield span


def count_intact(stream: Stream) -> int:
    """Return how many numbers have an intact record."""
    unsettled = sum(page.flags.translate(WHOLE).count(1) for page in stream.pages.values())
    return stream.settled + unsettled


def note_places(stream: Stream, places: dict[int, list[int]]) -> None:
    """Note the places of the first records of ``stream``, by partition."""
    for page in stream.pages.values():
        for slot, flags in enumerate(page.flags):
            if flags:
                note(places, page.entry(slot).place)


def swapped(stream: Stream) -> Iterator[int]:
    """Yield the numbers of which each copy is behind a higher one."""
    for index in sorted(stream.pages):
        for start, end in runs(stream.pages[index].flags.translate(SWAPPED), b"\1"):
            yield from range((index << BITS) + start, (index << BITS) + end)


def broken(stream: Stream) -> Iterator[int]:
    """Yield the numbers whose record does not continue the record of the number before."""
    conflicts = {number >> BITS for number in stream.variants}
    for index in sorted(stream.pages):
        page, base = stream.pages[index], index << BITS
        if index in conflicts or not _holds_inside(page):
            inside: Iterable[int] = range(base, base + SIZE)
        else:
            inside = (base,)  # whose predecessor is in another page
        yield from (number for number in inside if not _continues(stream, number))


def _holds_inside(page: Page) -> bool:
    """Whether the page is full and linked: the case that a million records make 15,000 times."""
    return 0 not in page.flags.translate(WHOLE) and page.links_hold()


def _continues(stream: Stream, number: int) -> bool:
    links = _links(stream, number)
    before = {0} if number == 1 else {digest for _, digest in _links(stream, number - 1)}
    return not links or not before or any(prev in before for prev, _ in links)


def _links(stream: Stream, number: int) -> Iterable[tuple[int, int]]:
    """Return the links of the intact records of a number: several where they conflict."""
    if number in stream.variants:
        return stream.variants[number]
    if number == stream.settled:
        return ((0, stream.settled_link[0]),) if number else ()
    page = stream.pages.get(number >> BITS)
    slot = number & MASK
    if page is None or not page.flags[slot] & INTACT:
        return ()
    return (page.entry(slot).link,)


def place(stream: Stream, number: int) -> int | None:
    """Return where a number's record is, the first copy of it."""
    page = stream.pages.get(number >> BITS)
    if page is None or not page.flags[number & MASK] & INTACT:
        return None
    return page.entry(number & MASK).place


class Times:
    """The timestamps of a stream's intact records, by their numbers."""

    def __init__(self, stream: Stream) -> None:
        self._pages = stream.pages
        self._settled = stream.settled, stream.settled_link[1]
        self._indexes = sorted(stream.pages)

    def before(self, number: int) -> int | None:
        """Return the timestamp of the next lower number that is there."""
        at = bisect_right(self._indexes, number >> BITS)
        for index in reversed(self._indexes[max(0, at - 2) : at]):
            page = self._pages[index]
            end = number & MASK if index == number >> BITS else SIZE
            if (slot := page.flags.translate(WHOLE).rfind(1, 0, end)) >= 0:
                return page.entry(slot).time
        settled, time = self._settled
        return time if 0 < settled < number else None

    def behind(self, number: int) -> int | None:
        """Return the timestamp of the next higher number that is there."""
        at = bisect_right(self._indexes, number >> BITS)
        for index in self._indexes[max(0, at - 1) : at + 1]:
            page = self._pages[index]
            if index < number >> BITS:
                continue
            start = (number & MASK) + 1 if index == number >> BITS else 0
            if (slot := page.flags.translate(WHOLE).find(1, start)) >= 0:
                return page.entry(slot).time
        return None
