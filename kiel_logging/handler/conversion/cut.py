"""What is too long cut to size. Pure; takes plain JSON types, and returns them.

The longest values lose first, down to a length that all may have. A string keeps its beginning and
ends with a mark; a list keeps its first items; a dict keeps its keys as long as there is room for
them. What is short is not worth cutting. Work is linear in the size, but for sorting the sizes.
"""

from itertools import islice
from typing import Any, Final

import orjson

from kiel_logging.handler.conversion.plain import Names, Path

MARK: Final = "…[cut]"
"""The end of a string that was cut."""

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
    if cutting.measure(fields) <= budget:
        return dict(fields), []
    return cutting.cut_dict(fields, budget, None), cutting.names.listed()


def _size(value: object) -> int:
    return len(orjson.dumps(value))


class _Cutting:
    """The sizes and names while one dict is cut."""

    __slots__ = ("names", "sizes")

    def __init__(self) -> None:
        self.names = Names()
        self.sizes: dict[int, int] = {}

    def measure(self, value: Any) -> int:
        """Return the bytes of JSON of ``value``, and remember those of the containers in it."""
        if type(value) not in _CONTAINERS:
            return _size(value)
        inner = value.values() if type(value) is dict else value
        if _CONTAINERS.isdisjoint(map(type, inner)):
            size = _size(value)
        else:
            keys = _size(list(value)) if type(value) is dict else 1
            size = keys + sum(map(self.measure, inner)) + len(value)
        self.sizes[id(value)] = size
        return size

    def size(self, value: Any) -> int:
        """Return the bytes of JSON of ``value``, of which the containers were measured."""
        return self.sizes[id(value)] if type(value) in _CONTAINERS else _size(value)

    def cut_dict(self, value: dict[str, Any], budget: int, path: Path) -> dict[str, Any]:
        """Return what there is room for: keys first, then the values, the longest cut."""
        kept, room = self._fitting(value, budget - 1)
        if len(kept) < len(value):
            self._name_dropped(value, kept, path)
        cap = _cap(sorted(kept.values()), room)
        return {
            key: value[key] if size <= cap else self._cut(value[key], cap, (path, key))
            for key, size in kept.items()
        }

    def _fitting(self, value: dict[str, Any], room: int) -> tuple[dict[str, int], int]:
        """Return the sizes of the values that can be kept, and the room that all have together."""
        kept: dict[str, int] = {}
        least = 0
        for key, item in islice(value.items(), max(room, 0) // _SMALLEST_ENTRY):
            around, size = _size(key) + len(":,"), self._size_of(item)
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
            size = self._size_of(item) + len(",")
            if size > room:
                if room > SHORT:  # numbers are shorter
                    kept.append(self._cut(item, room - 1, (path, index)))
                break
            kept.append(item)
            room -= size
        if len(kept) < len(value):
            self.names.add(path)
        return kept

    def _size_of(self, value: Any) -> int:
        return self.sizes[id(value)] if type(value) in _CONTAINERS else _size(value)


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
