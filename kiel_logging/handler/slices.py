"""Work on many items at once. Pure.

An item may be a QuickItem, which compiled code makes: an Item and its Record in one object.
``plain()`` makes a named tuple of it.
"""

import contextlib
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
except ImportError:  # there was no C compiler
    group = group_in_python
