"""Work on many items at once. Pure.

An item may be a QuickItem, which compiled code makes: an Item and its Record in one object.
``plain()`` makes a named tuple of it.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

from kiel_logging.record.item import Item
from kiel_logging.records import Record

_size_of: Final = attrgetter("size")
_memory_of: Final = attrgetter("memory")

Group = TypeVar("Group", bound=list[Any])


def take(popleft: Callable[[], Item], most: int) -> list[Item]:
    """Return up to ``most`` items, until there is an IndexError."""
    taken: list[Item] = []
    append = taken.append
    try:
        for _ in range(most):
            append(popleft())
    except IndexError:
        pass
    return taken


def records_of(items: list[Item]) -> list[Record]:
    """Return the records to be encoded; a QuickItem is one itself."""
    return [item[2] if isinstance(item, tuple) else item for item in items]


def sizes_of(items: list[Item]) -> list[int]:
    """Return the most bytes that each takes in a batch."""
    return list(map(_size_of, items))


def memory_of(items: list[Item]) -> int:
    """Return the bytes that all of them take."""
    return sum(map(_memory_of, items))


def plain(items: Sequence[Item]) -> list[Item]:
    """Return ``items`` as named tuples, all of them."""
    return [item if isinstance(item, tuple) else item.plain() for item in items]


def group_in_python(
    items: list[Item],
    known: Mapping[str, Mapping[Any, Group]],
    find: Callable[[Item], Group | None],
) -> list[Group]:
    """Append each item to its group; return those groups that were empty.

    A group is known by topic and key; ``find`` returns the others, or None.
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


try:
    from kiel_logging._accelerator import group as group
except ImportError:  # there was no C compiler
    group = group_in_python
