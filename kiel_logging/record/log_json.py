"""Fields of a log record as strict JSON, whatever an `extra` holds. Loses no record.

Values are made plain, laid out as the format has them, and written. A record over the limit has its
longest fields cut. What was replaced or cut is named in a field of its own.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, TypeAlias

from kiel_logging.record.cut import cut
from kiel_logging.record.json_text import json_bytes
from kiel_logging.record.notes import NOTES
from kiel_logging.record.plain import MOST_NAMES, make_plain

LEAST_LIMIT: Final = 300
"""Bytes: time, level, logger, the beginning of the message, and what was cut."""

LayOut: TypeAlias = Callable[[dict[str, Any]], Any]
"""From plain fields to what is written in their place; pure, and made of plain types too."""

_LEAST_NOTES: Final = 120
_MOST_NOTES: Final = 4096
_OURS: Final = ("original_size", "cut")
_FIRST: Final = ("time", "level", "logger", "message")
"""What the last resort has."""


def log_json(
    fields: dict[str, Any], lay_out: LayOut | None = None, limit: int | None = None
) -> bytes:
    """Return ``fields`` as strict JSON in UTF-8.

    What could not be shown, and what was cut, is named in the field ``kiel_logging``:
    ``{"replaced": ["user.balance"], "cut": ["payload"], "original_size": 10485999}``. One that the
    program has under this name is kept in it. The record would have had ``original_size`` bytes, or
    more: a text that is cut is not measured.

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
    _note_replaced(fields, made.replaced)
    size = made.size
    if limit is None or size <= limit:
        data = _write(fields, lay_out)
        if limit is None or len(data) <= limit:
            return data
        size = len(data)
    return _write_cut(fields, lay_out, limit, size)


def _write(fields: dict[str, Any], lay_out: LayOut | None) -> bytes:
    return json_bytes(fields if lay_out is None else lay_out(fields))


def _note_replaced(fields: dict[str, Any], names: list[str]) -> None:
    if names:
        notes = _notes(fields)
        known = notes.get("replaced", [])
        notes["replaced"] = _union(known if type(known) is list else [known], names)
        fields[NOTES] = notes


def _notes(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what the field says already; a value of the program's that is no dict is in one."""
    notes = fields.get(NOTES, {})
    return {**notes} if type(notes) is dict else {"value": notes}


def _union(names: list[Any], more: Iterable[str]) -> list[Any]:
    return [*names, *(name for name in more if name not in names)]


def _write_cut(fields: dict[str, Any], lay_out: LayOut | None, limit: int, size: int) -> bytes:
    notes, named = _cut_notes(fields, limit)
    rest = {name: value for name, value in fields.items() if name != NOTES}
    most, names = cut(rest, limit - _reserve(limit))
    named = _union(named, names)
    room = limit
    while room >= LEAST_LIMIT // 2:
        kept, names = cut(most, room - _reserve(room))
        told = _told(notes, _union(named, names), size, room)
        data = _write({**kept, **told}, lay_out)
        if len(data) <= limit:
            return data
        # The layout takes a share of its own, or escapes; what is left for the fields is less.
        room = room * limit // len(data) * 7 // 8
    return _last_resort(rest, notes, limit, size)


def _last_resort(fields: dict[str, Any], notes: dict[str, Any], limit: int, size: int) -> bytes:
    first: dict[str, Any] = {name: fields[name] for name in _FIRST if name in fields}
    kept, names = cut(first, limit - _reserve(limit))
    dropped = (name for name in fields if name not in _FIRST)
    named = _union(names, islice(dropped, MOST_NAMES))
    return _write({**kept, **_told(notes, named, size, limit)}, None)


def _reserve(room: int) -> int:
    """Return how many bytes the notes may have."""
    return max(_LEAST_NOTES, min(room // 4, _MOST_NOTES))


def _cut_notes(fields: dict[str, Any], limit: int) -> tuple[dict[str, Any], list[str]]:
    """Return the notes there are, beside which ours have room, and the names of what was cut."""
    notes = _notes(fields)
    taken = [f"{NOTES}.{name}" for name in _OURS if notes.pop(name, None) is not None]
    kept, names = cut({NOTES: notes}, _reserve(limit) // 2)
    return kept.get(NOTES, {}), _union(taken, names)


def _told(notes: dict[str, Any], names: list[str], size: int, room: int) -> dict[str, Any]:
    ours = dict(zip(_OURS, (size, names), strict=True))
    return cut({NOTES: {**ours, **notes}}, _reserve(room))[0]
