"""Fields of a log record as strict JSON, of bounded size. It loses no record.

Values are made plain, laid out as the format has them, and written. A record over the limit has its
longest fields cut. The field NOTES names those that were replaced or cut.
"""

import json
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, TypeAlias

from kiel_logging.record.fields import NOTES
from kiel_logging.record.plain import MARK, MOST_NAMES, Names, Path, entries, make_plain

try:
    from kiel_logging._accelerator import to_json as _to_json
except ImportError:  # there was no C compiler
    _to_json = None  # type: ignore[assignment]

LayOut: TypeAlias = Callable[[dict[str, Any]], Any]
"""From plain fields to the plain value that is written in their place; pure."""

LEAST_LIMIT: Final = 300
"""Bytes: time, level, logger, the beginning of the message, and the names of cut fields."""

_LEAST_NOTES: Final = 120
_MOST_NOTES: Final = 4096
_OURS: Final = ("original_size", "cut")
_FIRST: Final = ("time", "level", "logger", "message")
"""The fields that the last resort has."""

SHORT: Final = 64
"""Bytes of JSON that a value may always have, where there is room for it at all."""

_MARK_SIZE: Final = len(MARK.encode())
_SMALLEST_ENTRY: Final = len('"":0,')
_CONTAINERS: Final[frozenset[type]] = frozenset({dict, list})

_encode: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


def json_text(value: Any) -> str:
    """Return a plain value as JSON in one line."""
    return _encode(value)


def json_bytes(value: Any) -> bytes:
    """Return a plain value as JSON in UTF-8."""
    made = None if _to_json is None else _to_json(value)
    return _encode(value).encode() if made is None else made


def log_json(
    fields: dict[str, Any], lay_out: LayOut | None = None, limit: int | None = None
) -> bytes:
    """Return ``fields`` as strict JSON in UTF-8.

    The field ``kiel_logging`` names the values that could not be shown, or were cut:
    ``{"replaced": ["user.balance"], "cut": ["payload"], "original_size": 10485999}``. A field of
    the program with this name becomes part of it. The record would have had ``original_size``
    bytes, or more: a text that is cut is not measured.

    Args:
        fields: made plain in place; the values in it are not changed.
        lay_out: makes of the plain fields what is written; None for the fields themselves.
        limit: the most bytes; below 300 it is taken as 300, None is no limit. Where the layout by
            itself takes more, the record goes without it.

    Raises:
        Exception: whatever ``lay_out`` raises; nothing in ``fields`` makes it raise.
    """
    limit = None if limit is None else max(limit, LEAST_LIMIT)
    made = make_plain(fields, limit)
    note_replaced(fields, made.replaced)
    size = made.size
    if limit is None or size <= limit:
        data = _write(fields, lay_out)
        if limit is None or len(data) <= limit:
            return data
        size = len(data)
    return _write_cut(fields, lay_out, limit, size)


def _write(fields: dict[str, Any], lay_out: LayOut | None) -> bytes:
    return json_bytes(fields if lay_out is None else lay_out(fields))


def note_replaced(fields: dict[str, Any], names: list[str]) -> None:
    """Add the names of replaced values to the notes in ``fields``."""
    if names:
        notes = _notes(fields)
        known = notes.get("replaced", [])
        notes["replaced"] = _union(known if type(known) is list else [known], names)
        fields[NOTES] = notes


def _notes(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the field as it is; a value of the program that is no dict is put in one."""
    notes = fields.get(NOTES, {})
    return {**notes} if type(notes) is dict else {"value": notes}


def _union(names: list[Any], more: Iterable[str]) -> list[Any]:
    return [*names, *(name for name in more if name not in names)]


def _write_cut(fields: dict[str, Any], lay_out: LayOut | None, limit: int, size: int) -> bytes:
    notes, named = _cut_notes(fields, limit)
    rest = {name: value for name, value in entries(fields) if name != NOTES}
    most, names = cut(rest, limit - _reserve(limit))
    named = _union(named, names)
    room = limit
    while room >= LEAST_LIMIT // 2:
        kept, names = cut(most, room - _reserve(room))
        ours = _written_notes(notes, _union(named, names), size, room)
        data = _write({**kept, **ours}, lay_out)
        if len(data) <= limit:
            return data
        # The layout takes a share, or escapes: less room is left for the fields.
        room = room * limit // len(data) * 7 // 8
    return _last_resort(rest, notes, limit, size)


def _last_resort(fields: dict[str, Any], notes: dict[str, Any], limit: int, size: int) -> bytes:
    first: dict[str, Any] = {name: fields[name] for name in _FIRST if name in fields}
    kept, names = cut(first, limit - _reserve(limit))
    dropped = (name for name in fields if name not in _FIRST)
    named = _union(names, islice(dropped, MOST_NAMES))
    return _write({**kept, **_written_notes(notes, named, size, limit)}, None)


def _reserve(room: int) -> int:
    """Return how many bytes the notes may have."""
    return max(_LEAST_NOTES, min(room // 4, _MOST_NOTES))


def _cut_notes(fields: dict[str, Any], limit: int) -> tuple[dict[str, Any], list[str]]:
    """Return the notes there are, with room for ours beside them, and the names of those cut."""
    notes = _notes(fields)
    taken = [f"{NOTES}.{name}" for name in _OURS if notes.pop(name, None) is not None]
    kept, names = cut({NOTES: notes}, _reserve(limit) // 2)
    return kept.get(NOTES, {}), _union(taken, names)


def _written_notes(notes: dict[str, Any], names: list[str], size: int, room: int) -> dict[str, Any]:
    ours = dict(zip(_OURS, (size, names), strict=True))
    return cut({NOTES: {**ours, **notes}}, _reserve(room))[0]


# -- cutting ---------------------------------------------------------------------------------------


def cut(fields: dict[str, Any], budget: int) -> tuple[dict[str, Any], list[str]]:
    """Return a dict whose JSON is at most ``budget`` bytes, and the names of the values cut for it.

    The longest values lose first, down to a length that all may have. A string keeps its beginning
    and ends with a mark; a list keeps its first items; a dict keeps its keys as long as there is
    room for them. Short values are not worth cutting.

    Work is bounded by the budget and the number of values, however long these are. A value is
    weighed before it is measured: its JSON has at least as many bytes as it has characters. Only
    text that may be kept is escaped and encoded.

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
            for key, size in entries(sizes)
        }

    def _fitting(self, value: dict[str, Any], room: int) -> tuple[dict[str, int], int]:
        """Return the sizes of the values that can be kept, and the room that all have together.

        Those that are larger than what all may have are only weighed.
        """
        kept: dict[str, int] = {}
        least = 0
        first = list(islice(entries(value), max(room, 0) // _SMALLEST_ENTRY))
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
