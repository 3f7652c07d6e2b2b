"""What the pages of a stream show: gaps, links that don't hold, records that were swapped. Pure."""

from collections.abc import Iterable, Iterator

from kiel_logging.verify.pages import (
    BITS,
    INTACT,
    MASK,
    PRESENT,
    SIZE,
    SWAPPED,
    WHOLE,
    Page,
    runs,
)
from kiel_logging.verify.stream import Stream

Range = tuple[int, int]
"""The first and the last of numbers in a row."""


def absent(stream: Stream, last: int) -> Iterator[Range]:
    """Yield what is not there of 1 to ``last``."""
    expected = 1
    for first, end in _present(stream):
        if first > last:
            break
        if first > expected:
            yield expected, first - 1
        expected = end + 1
    if expected <= last:
        yield expected, last


def _present(stream: Stream) -> Iterator[Range]:
    for index in sorted(stream.pages):
        base = index << BITS
        marks = stream.pages[index].flags.translate(PRESENT)
        for start, end in runs(marks, b"\1"):
            yield base + start, base + end - 1


def count_intact(stream: Stream) -> int:
    """Return how many numbers have an intact record."""
    return sum(page.flags.translate(WHOLE).count(1) for page in stream.pages.values())


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
    return 0 not in page.flags.translate(WHOLE) and page.digests[:-1] == page.prevs[1:]


def _continues(stream: Stream, number: int) -> bool:
    links = _links(stream, number)
    before = {0} if number == 1 else {digest for _, digest in _links(stream, number - 1)}
    return not links or not before or any(prev in before for prev, _ in links)


def _links(stream: Stream, number: int) -> Iterable[tuple[int, int]]:
    """Return the links of the intact records of a number: several where they conflict."""
    if number in stream.variants:
        return stream.variants[number]
    page = stream.pages.get(number >> BITS)
    slot = number & MASK
    if page is None or not page.flags[slot] & INTACT:
        return ()
    return ((page.prevs[slot], page.digests[slot]),)


def place(stream: Stream, number: int) -> int | None:
    """Return where a number's record is, the first copy of it."""
    page = stream.pages.get(number >> BITS)
    if page is None or not page.flags[number & MASK] & INTACT:
        return None
    return page.places[number & MASK]


def absorb(stream: Stream, stripped: Stream) -> None:
    """Note the records that lost their chain: they are there, and not as they were sent."""
    for index, page in stripped.pages.items():
        for slot, flags in enumerate(page.flags):
            if flags:
                stream.add_altered((index << BITS) + slot, page.places[slot])
    stream.altered += stripped.repeats
