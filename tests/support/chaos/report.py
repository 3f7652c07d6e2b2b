"""Compares the messages produced with those stored. Pure: numbers in, a report out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Log: TypeAlias = Mapping[int, Sequence[int]]
"""Message numbers by partition: in the order produced, or in the order of their offsets."""

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The numbers of the messages that are not stored exactly once, in order, where they belong.

    Attributes:
        lost: not in their partition at all.
        duplicated: in their partition more than once.
        reordered: first stored behind a message that was produced later.
        foreign: in a partition where they don't belong.
    """

    expected: int
    consumed: int
    lost: tuple[int, ...]
    duplicated: tuple[int, ...]
    reordered: tuple[int, ...]
    foreign: tuple[int, ...]

    @property
    def flawless(self) -> bool:
        """Whether every message is there once, and in order."""
        return not (self.lost or self.duplicated or self.reordered or self.foreign)

    def __str__(self) -> str:
        found = (
            _found(name, getattr(self, name))
            for name in ("lost", "duplicated", "reordered", "foreign")
        )
        return f"{self.expected} produced, {self.consumed} stored: {', '.join(found)}"


def check(expected: Log, consumed: Log) -> Report:
    """Compare the messages `expected` in each partition with those `consumed` from it."""
    lost: list[int] = []
    duplicated: list[int] = []
    reordered: list[int] = []
    foreign: list[int] = []
    for partition in sorted({*expected, *consumed}):
        places = {number: place for place, number in enumerate(expected.get(partition, ()))}
        counts = Counter(consumed.get(partition, ()))
        lost += (number for number in places if number not in counts)
        duplicated += (number for number, count in counts.items() if count > 1)
        foreign += (number for number in counts if number not in places)
        # A Counter keeps the order of first appearance.
        reordered += _late(places, (number for number in counts if number in places))
    return Report(
        expected=sum(map(len, expected.values())),
        consumed=sum(map(len, consumed.values())),
        lost=tuple(lost),
        duplicated=tuple(duplicated),
        reordered=tuple(reordered),
        foreign=tuple(foreign),
    )


def _late(places: Mapping[int, int], numbers: Iterable[int]) -> Iterator[int]:
    """Yield each of `numbers` that comes after one with a later place."""
    furthest = -1
    for number in numbers:
        if places[number] < furthest:
            yield number
        furthest = max(furthest, places[number])


def _found(name: str, numbers: tuple[int, ...]) -> str:
    if not numbers:
        return f"0 {name}"
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    more = ", ..." if len(numbers) > _SHOWN else ""
    return f"{len(numbers)} {name} ({shown}{more})"
