"""Work on many items at once. Pure.

An item may be a QuickItem, which compiled code makes: an Item and its Record in one object.
``plain()`` makes a named tuple of it.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from kiel_logging.record.item import Item

Group = TypeVar("Group", bound=list[Any])


class Totals(NamedTuple):
    """The most bytes that items take in a batch together, those of the largest, and the memory that
    all of them take."""

    size: int
    largest: int
    memory: int


def totals_in_python(items: list[Item]) -> tuple[int, int, int]:
    """Return the parts of ``Totals``."""
    sizes = [item.size for item in items]
    return sum(sizes), max(sizes, default=0), sum(item.memory for item in items)


def totals(items: list[Item]) -> Totals:
    """Return the totals of ``items``."""
    return Totals(*_totals(items))


def mark_items_in_python(items: Sequence[Item | None], run: object) -> None:
    """Note that ``items`` are the entries of ``run``, in order; None stands for other entries."""
    for index, item in enumerate(items):
        if item is not None:
            item.run, item.entry = run, index


def plain(items: Sequence[Item]) -> list[Item]:
    """Return ``items`` as named tuples, all of them."""
    return [item if isinstance(item, tuple) else item.plain() for item in items]


def group_in_python(
    items: list[Item],
    routes: Mapping[str, tuple[Callable[[bytes], int], list[Group]]],
    keyless: Mapping[str, Group],
    find: Callable[[Item], Group | None],
) -> list[Group]:
    """Append each item to its group; return those groups that were empty.

    ``routes`` has a hash and groups for a topic: a key of bytes or text that is not empty goes to
    the group whose index is the hash of its bytes, modulo the number of groups. ``keyless`` has the
    group of a topic's items without a key. ``find`` returns that of any other item, or None.
    """
    filled = []
    for item in items:
        key, group = item.key, None
        if key is None:
            group = keyless.get(item.topic)
        elif key and type(key) in (bytes, str) and item.topic in routes:
            hash_of, groups = routes[item.topic]
            with contextlib.suppress(UnicodeEncodeError):  # find() refuses it
                data = key if isinstance(key, bytes) else key.encode()
                group = groups[hash_of(data) % len(groups)]
        if group is None:
            group = find(item)
        if group is not None:
            if not group:
                filled.append(group)
            group.append(item)
    return filled


try:
    from kiel_logging._accelerator import group as group
    from kiel_logging._accelerator import mark_items as mark_items
    from kiel_logging._accelerator import totals as _totals
except ImportError:  # there was no C compiler
    group, mark_items, _totals = group_in_python, mark_items_in_python, totals_in_python
