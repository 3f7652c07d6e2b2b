"""What is done to many items at once, in C where it can be had. Pure.

An item may be a QuickItem there, which is what Item is, in one piece: ``plain()`` makes it one.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

from kiel_logging.record.item import Item
from kiel_logging.records import Record

_record_of: Final = attrgetter("record")
_size_of: Final = attrgetter("size")
_memory_of: Final = attrgetter("memory")

Group = TypeVar("Group", bound=list[Any])


def take_in_python(popleft: Callable[[], Item], most: int) -> list[Item]:
    """Return up to ``most`` items, until there is an IndexError."""
    taken: list[Item] = []
    keep = taken.append
    try:
        for _ in range(most):
            keep(popleft())
    except IndexError:
        pass
    return taken


def group_in_python(
    items: list[Item],
    known: Mapping[str, Mapping[Any, Group]],
    find: Callable[[Item], Group | None],
) -> list[Group]:
    """Append each item to its group; return those groups that were empty.

    A group is known by topic and key; ``find`` tells the others, or None.
    """
    filled = []
    for item in items:
        keys = known.get(item.topic)
        group = None if keys is None else keys.get(item.key)
        if group is None:
            group = find(item)
        if group is not None:
            if not group:
                filled.append(group)
            group.append(item)
    return filled


def records_of_in_python(items: list[Item]) -> list[Record]:
    """Return what is to be encoded of each."""
    return list(map(_record_of, items))


def sizes_of_in_python(items: list[Item]) -> list[int]:
    """Return the most bytes that each takes in a batch."""
    return list(map(_size_of, items))


def memory_of_in_python(items: list[Item]) -> int:
    """Return the bytes that all of them take."""
    return sum(map(_memory_of, items))


def plain(items: Sequence[Item]) -> list[Item]:
    """Return ``items`` as named tuples, all of them."""
    return [item if isinstance(item, tuple) else item.plain() for item in items]


try:
    from kiel_logging._accelerator import group as group
    from kiel_logging._accelerator import memory_of as memory_of
    from kiel_logging._accelerator import records_of as records_of
    from kiel_logging._accelerator import sizes_of as sizes_of
    from kiel_logging._accelerator import take as take
except ImportError:  # there was no C compiler
    group, memory_of, records_of, sizes_of, take = (
        group_in_python,
        memory_of_in_python,
        records_of_in_python,
        sizes_of_in_python,
        take_in_python,
    )
