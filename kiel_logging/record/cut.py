"""What is too long cut to size. Pure; takes plain JSON types, and returns them.

The longest values lose first, down to a length that all may have. A string keeps its beginning and
ends with a mark; a list keeps its first items; a dict keeps its keys as long as there is room for
them. What is short is not worth cutting.

Work is bounded by the budget and the number of values, however long these are. A value is weighed
before it is measured: its JSON has at least as many bytes as it has characters. Only what may be
kept is escaped and encoded.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from kiel_logging.record.json_text import json_bytes
from kiel_logging.record.plain import MARK, Names, Path

SHORT: Final = 64
"""Bytes of JSON that a value may always have, where there is room for it at all."""

_MARK_SIZE: Final = len(MARK.encode())
_SMALLEST_ENTRY: Final = len('"":0,')
_CONTAINERS: Final[frozenset[type]] = frozenset({dict, list})


def cut(fields: dict[str, Any], budget: int) -> tuple[dict[str, Any], list[str]]:
    """Return a dict whose JSON is at most ``budget`` bytes, and the names of what was cut for it.

    ``fields`` has plain JSON types only, and is not changed. Where even its first keys do not fit,
    the others are tried; an empty dict, of 2 bytes, is the least. At most 20 names are returned,
    and how many more there were.
    """
    cutting = _Cutting()
    if cutting.size(fields, budget) <= budget:
        return dict(fields), []
    return cutting.cut_dict(fields, budget, None), cutting.names.listed()


def _size(value: object) -> int:
    return len(json_bytes(value))


class _Cutting:
    """The weights and names while one dict is cut."""

    __slots__ = ("names", "weights")

    def __init__(self) -> None:
        self.names = Names()
        self.weights: dict[int, int] = {}

    def weigh(self, value: Any) -> int:
        """Return a number of bytes that the JSON of ``value`` has at least."""
        if type(value) is str:
            return len(value) + len('""')
        if type(value) not in _CONTAINERS:
            return _size(value)
        known = self.weights.get(id(value))
        if known is None:
            known = self.weights[id(value)] = self._weigh(value)
        return known

    def _weigh(self, value: dict[str, Any] | list[Any]) -> int:
        if not value:
            return len("{}")
        if type(value) is dict:
            return 1 + sum(map(len, value)) + len('"":,') * len(value) + self._sum(value.values())
        return 1 + len(",") * len(value) + self._sum(value)

    def _sum(self, values: Iterable[Any]) -> int:
        return sum(map(self.weigh, values))

    def size(self, value: Any, most: int) -> int:
        """Return the bytes of JSON of ``value``; a larger number than ``most`` if they are more."""
        weight = self.weigh(value)
        return weight if weight > most else _size(value)

    def cut_dict(self, value: dict[str, Any], budget: int, path: Path) -> dict[str, Any]:
        """Return what there is room for: keys first, then the values, the longest cut."""
        kept, room = self._fitting(value, budget - 1)
        if len(kept) < len(value):
            self._name_dropped(value, kept, path)
        # Once more: without those that were dropped, others may fit that were only weighed.
        cap = _cap(sorted(kept.values()), room)
        sizes = {key: self.size(value[key], cap) for key in kept}
        cap = _cap(sorted(sizes.values()), room)
        return {
            key: value[key] if size <= cap else self._cut(value[key], cap, (path, key))
            for key, size in sizes.items()
        }

    def _fitting(self, value: dict[str, Any], room: int) -> tuple[dict[str, int], int]:
        """Return the sizes of the values that can be kept, and the room that all have together.

        Those that are larger than what all may have are only weighed.
        """
        kept: dict[str, int] = {}
        least = 0
        first = list(islice(value.items(), max(room, 0) // _SMALLEST_ENTRY))
        highest = _cap(sorted(self.weigh(item) for _, item in first), max(room, 0))
        # A weight below SHORT says nothing of the size: a short value must be measured, or there
        # is less room for it than it takes, and a number can't be cut.
        highest = max(highest, SHORT)
        for key, item in first:
            around, size = self.size(key, room) + len(":,"), self.size(item, highest)
            if least + around + min(size, SHORT) <= room:
                kept[key] = size
                least += min(size, SHORT)
                room -= around
        return kept, room

    def _name_dropped(self, value: dict[str, Any], kept: dict[str, int], path: Path) -> None:
        if path is not None:
            self.names.add(path)
            return
        for key in value:
            if key not in kept:
                self.names.add((None, key))

    def _cut(self, value: Any, budget: int, path: Path) -> Any:
        """Return ``value``, a string or container that is longer than ``budget``, cut to that."""
        if type(value) is dict:
            return self.cut_dict(value, budget, path)
        if type(value) is list:
            return self._cut_list(value, budget, path)
        self.names.add(path)
        return _cut_text(value, budget)

    def _cut_list(self, value: list[Any], budget: int, path: Path) -> list[Any]:
        """Return the first items, the last of them cut."""
        kept: list[Any] = []
        room = budget - 1
        for index, item in enumerate(value):
            size = self.size(item, room) + len(",")
            if size > room:
                if room > SHORT:  # numbers are shorter
                    kept.append(self._cut(item, room - 1, (path, index)))
                break
            kept.append(item)
            room -= size
        if len(kept) < len(value):
            self.names.add(path)
        return kept


def _cap(sizes: list[int], room: int) -> int:
    """Return the size that ``sizes``, sorted, are cut to if they are to fit into ``room``."""
    for done, size in enumerate(sizes):
        share = room // (len(sizes) - done)
        if size > share:
            return share
        room -= size
    return sizes[-1] if sizes else 0


def _cut_text(text: str, budget: int) -> str:
    """Return the longest beginning that has ``budget`` bytes with the mark, quotes and escapes."""
    room = budget - len('""') - _MARK_SIZE
    text = text[: max(room, 0)]
    kept = 0
    step = 1 << len(text).bit_length()
    while step := step >> 1:
        piece = text[kept : kept + step]
        size = _size(piece) - len('""')
        if piece and size <= room:
            kept += len(piece)
            room -= size
    return text[:kept] + MARK
