"""All that tools show of an error: texts, causes, and the local variables of the package's frames.

More than any tool: it looks into containers as Sentry does and into the package's objects as a
debugger does, and it includes errors that `from None` hides. It leaves out the frames of tests and
of other packages: their variables are the callers'.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import kiel_logging

_OURS = Path(kiel_logging.__file__).parent
_DEPTH = 6


def all_of(error: BaseException) -> str:
    """Everything there is to see of `error`, line by line."""
    lines = [line for each in _chain(error) for line in _parts(each)]
    return "\n".join([*traceback.format_exception(error), *lines])


def traceback_of(error: BaseException) -> str:
    """The traceback as Python prints it, and the error's repr."""
    return "".join(traceback.format_exception(error)) + repr(error)


def object_of(value: object) -> str:
    """Everything there is to see of an object: its repr, and what is in it."""
    return "\n".join(_looked_into(value, _DEPTH, set()))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is not None and not any(each is other for other in seen):
            seen.append(each)
            todo += [each.__cause__, each.__context__]
            yield each


def _parts(error: BaseException) -> Iterator[str]:
    yield f"{error!r} {error} {vars(error)}"
    for frame in _frames(error.__traceback__):
        where = f"{frame.f_code.co_qualname} of {frame.f_code.co_filename}"
        for name, value in frame.f_locals.items():
            for line in _looked_into(value, _DEPTH, set()):
                yield f"{where}: {name} has {line}"


def _frames(trace: TracebackType | None) -> Iterator[FrameType]:
    for frame, _line in traceback.walk_tb(trace):
        if _OURS in Path(frame.f_code.co_filename).parents:
            yield frame


def _looked_into(value: Any, depth: int, seen: set[int]) -> Iterator[str]:
    if depth == 0 or id(value) in seen:
        return
    seen.add(id(value))
    yield repr(value)
    for part in _inside(value):
        yield from _looked_into(part, depth - 1, seen)


def _inside(value: Any) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | Set):
        yield from value
    elif type(value).__module__.startswith("kiel_logging"):
        names = [n for kind in type(value).__mro__ for n in getattr(kind, "__slots__", ())]
        yield from [getattr(value, name) for name in names if hasattr(value, name)]
        yield from getattr(value, "__dict__", {}).values()
