"""Python values as plain JSON types. Never raises, and never changes what it is given.

What has a text (a datetime, a Decimal, an exception) is shown as that. What can't be shown (NaN, a
cycle, an object whose hooks raise) is replaced, and the dotted name of its place is returned.

Work is bounded: lists that share their items can have more paths than there are atoms.
"""

import dataclasses
import datetime
import functools
import math
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Set
from enum import Enum
from itertools import islice
from types import NoneType
from typing import Any, Final, TypeAlias

CYCLE: Final = "<cycle>"
TOO_DEEP: Final = "<nested too deeply>"
TOO_MANY: Final = "<too many values>"

DEEPEST: Final = 50
"""Containers in each other that are shown; orjson ends at 254 (3.13.0), most readers sooner."""

MOST: Final = 100_000
"""Values inside the containers of one record that are shown."""

_EACH: Final = 1_000
"""Values inside one field that are shown, however many its neighbours have."""

_FEW: Final = 100

MOST_NAMES: Final = 20
LONGEST_NAME: Final = 200

_REST: Final = "..."
_LEAST_INT: Final = -(2**63)
_MOST_INT: Final = 2**64 - 1

_ATOMS: Final[frozenset[type]] = frozenset({str, int, bool, NoneType})
"""What is left alone; orjson refuses the few of them that it can't write."""

_STRICT_ATOMS: Final[frozenset[type]] = frozenset({bool, NoneType})
_STR: Final[frozenset[type]] = frozenset({str})

_name_of_type: Final[Callable[[type], str]] = type.__dict__["__name__"].__get__
"""``type.__name__``, without the hooks of a metaclass."""

Path: TypeAlias = "tuple[Path, str | int] | None"
"""The way to a value: the way to what holds it, and the key or index there."""


def make_plain(fields: dict[str, Any], *, strict: bool = False) -> list[str]:
    """Replace in place the values of ``fields`` that are no plain JSON types.

    Plain are str, int, bool, None, finite floats, and lists and dicts of them with str as keys.
    Containers are made anew; those given are not changed.

    Args:
        fields: what is changed, and nothing that is in it.
        strict: also replace what orjson refuses, lone surrogates and integers over 64 bits, in
            values and in the keys of ``fields``; left out, those are left alone where they are
            str and int already.

    Returns:
        The dotted names of what could not be shown, at most 20 of them and how many more.
    """
    odd = list(fields) if strict else _odd(fields)
    if not odd:
        return []
    walk = _Walk(strict, MOST)
    if strict or not _are_text(fields):
        odd = _rename(fields, walk)
    for name in odd:
        walk.left = max(walk.left, _EACH)
        fields[name] = walk.value(fields[name], (None, name), ())
    return walk.names.listed()


def plain_if_simple(value: object) -> Any:
    """Return ``value`` as a plain type.

    Raises:
        ValueError: something in it can't be shown, or there is more in it than 100 values.
    """
    walk = _Walk(False, _FEW)
    made = walk.value(value, (None, ""), ())
    if walk.names:
        raise ValueError("this takes a closer look")
    return made


def _odd(fields: dict[str, Any]) -> list[str]:
    """Return the names of the fields to look at; all when one has a name that is no str."""
    try:
        if not _are_text(fields):
            return list(fields)
        if _ATOMS.issuperset(map(type, fields.values())):
            return []
        return [name for name, value in fields.items() if type(value) not in _ATOMS]
    except Exception:  # a class whose metaclass can't be hashed
        return list(fields)


def _are_text(keys: Iterable[object]) -> bool:
    return _STR.issuperset(map(type, keys))


def _rename(fields: dict[str, Any], walk: "_Walk") -> list[str]:
    names = walk.keys(list(fields), None, ())
    values = list(fields.values())
    fields.clear()
    fields.update(zip(names, values, strict=True))
    return names


class Names:
    """Dotted names in order, each once: the first 20, and how many more there were."""

    __slots__ = ("_more", "_names")

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._more = 0

    def __bool__(self) -> bool:
        return bool(self._names)

    def add(self, path: Path) -> None:
        """Name the value at ``path``."""
        if len(self._names) < MOST_NAMES:
            self._names[_dotted(path)] = None
        else:
            self._more += 1

    def listed(self) -> list[str]:
        """Return the names, each at most 200 characters, and "... and 41 more" in the end."""
        more = [f"... and {self._more} more"] if self._more else []
        return [*self._names, *more]


def _dotted(path: Path) -> str:
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(str(part)[: LONGEST_NAME + 1])
    name = escape(".".join(reversed(parts)))
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def escape(text: str) -> str:
    """Return ``text`` with lone surrogates as backslash escapes; they have no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


class _EndsHereError(Exception):
    """A container that is not gone into; says what is shown in its place."""


class _Walk:
    """What is known while one record is made plain."""

    __slots__ = ("atoms", "left", "names", "strict")

    def __init__(self, strict: bool, left: int) -> None:
        self.strict = strict
        self.atoms = _STRICT_ATOMS if strict else _ATOMS
        self.left = left
        self.names = Names()

    def value(self, value: object, path: Path, above: tuple[int, ...]) -> Any:
        """Return ``value`` as a plain type; ``above`` has the ids of the containers around it."""
        try:
            kind: type[Any] = type(value)
            if kind in self.atoms:
                return value
            return _form_of(kind)(self, value, path, above)
        except _EndsHereError as end:
            return self.replaced(path, str(end))
        except Exception as error:
            what, why = _name_of_type(type(value)), _name_of_type(type(error))
            return self.replaced(path, f"<{what} that can't be shown: {why}>")

    def replaced(self, path: Path, mark: str | None) -> str | None:
        """Return ``mark``, which stands for what can't be shown."""
        self.names.add(path)
        return mark

    def items(self, items: Iterable[object], path: Path, above: tuple[int, ...]) -> list[Any]:
        """Return ``items`` as a plain list."""
        # A copy, in one step: another thread may be changing them.
        made: list[Any] = list(islice(items, self.left + 1))
        if len(made) <= self.left and self.atoms.issuperset(map(type, made)):
            self.left -= len(made)
            return made
        for index, item in enumerate(made):
            if self.left <= 0:
                made[index:] = [self.replaced(path, TOO_MANY)]
                break
            self.left -= 1
            if type(item) not in self.atoms:
                made[index] = self.value(item, (path, index), above)
        return made

    def pairs(
        self, pairs: Iterable[tuple[Any, Any]], path: Path, above: tuple[int, ...]
    ) -> dict[str, Any]:
        """Return ``pairs`` as a plain dict."""
        copied = list(islice(pairs, self.left + 1))
        names = self.keys([key for key, _ in copied], path, above)
        return self.named(zip(names, (item for _, item in copied), strict=True), path, above)

    def named(
        self, pairs: Iterable[tuple[str, Any]], path: Path, above: tuple[int, ...]
    ) -> dict[str, Any]:
        """Return ``pairs``, which have names of their own each, as a plain dict."""
        made: dict[str, Any] = {}
        for name, item in pairs:
            if self.left <= 0:
                made[_unlike(made, _REST, {})] = self.replaced(path, TOO_MANY)
                break
            self.left -= 1
            made[name] = item if type(item) in self.atoms else self.value(item, (path, name), above)
        return made

    def keys(self, keys: list[Any], path: Path, above: tuple[int, ...]) -> list[str]:
        """Return a text for each of ``keys``, no two the same; those that are text keep theirs."""
        taken = {key for key in keys if type(key) is str}
        if len(taken) == len(keys) and not self.strict:
            return keys
        made: dict[str, None] = {}
        tried: dict[str, int] = {}
        for key in keys:
            name = self._key(key, path, above)
            if name in made or (name in taken and name is not key):
                name = _unlike(taken, name, tried)
                self.names.add((path, name))
            made[name] = None
            taken.add(name)
        return list(made)

    def _key(self, key: object, path: Path, above: tuple[int, ...]) -> str:
        if type(key) is str and not self.strict:
            return key
        alone = _Walk(True, self.left)
        text = _key_text(alone.value(key, None, above))
        self.left = alone.left
        if alone.names:
            self.names.add((path, text))
        return text


def _key_text(key: Any) -> str:
    if type(key) is str:
        return key
    if key is None or type(key) is bool:
        return {None: "null", True: "true", False: "false"}[key]
    return str(tuple(key) if type(key) is list else key)


def _unlike(taken: Container[str], name: str, tried: dict[str, int]) -> str:
    """Return ``name`` with the first number that makes it none of those that are ``taken``."""
    number = tried.get(name, 1)
    while (other := name if number == 1 else f"{name} ({number})") in taken:
        number += 1
    tried[name] = number
    return other


# -- the forms of types ----------------------------------------------------------------------------

_Form: TypeAlias = Callable[[_Walk, Any, Path, tuple[int, ...]], Any]


def _into(value: object, above: tuple[int, ...]) -> tuple[int, ...]:
    if id(value) in above:
        raise _EndsHereError(CYCLE)
    if len(above) >= DEEPEST:
        raise _EndsHereError(TOO_DEEP)
    return (*above, id(value))


def _dict(walk: _Walk, value: dict[Any, Any], path: Path, above: tuple[int, ...]) -> dict[str, Any]:
    above = _into(value, above)
    if walk.strict or len(value) > walk.left:
        return walk.pairs(value.items(), path, above)
    copied = value.copy()  # in one step: another thread may be changing it
    if not _are_text(copied):
        return walk.pairs(copied.items(), path, above)
    if not _ATOMS.issuperset(map(type, copied.values())):
        return walk.named(copied.items(), path, above)
    walk.left -= len(copied)
    return copied


def _mapping(
    walk: _Walk, value: Mapping[Any, Any], path: Path, above: tuple[int, ...]
) -> dict[str, Any]:
    return walk.pairs(value.items(), path, _into(value, above))


def _items(walk: _Walk, value: Iterable[Any], path: Path, above: tuple[int, ...]) -> list[Any]:
    return walk.items(value, path, _into(value, above))


def _named_tuple(walk: _Walk, value: Any, path: Path, above: tuple[int, ...]) -> dict[str, Any]:
    pairs = zip(value._fields, tuple(value), strict=True)
    return walk.pairs(pairs, path, _into(value, above))


def _dataclass(walk: _Walk, value: Any, path: Path, above: tuple[int, ...]) -> dict[str, Any]:
    pairs = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return walk.pairs(pairs, path, _into(value, above))


def _enum(walk: _Walk, value: Enum, path: Path, above: tuple[int, ...]) -> Any:
    return walk.value(value.value, path, _into(value, above))


def _text(walk: _Walk, value: str, path: Path, _above: tuple[int, ...]) -> str | None:
    text = str.__str__(value)  # of a subclass, without its hooks
    if not walk.strict or text.isascii():
        return text
    escaped = escape(text)
    return text if escaped == text else walk.replaced(path, escaped)


def _int(_walk: _Walk, value: int, _path: Path, _above: tuple[int, ...]) -> int | str:
    number = int.__int__(value)
    if _LEAST_INT <= number <= _MOST_INT:
        return number
    try:
        return str(number)
    except ValueError:  # more digits than sys.get_int_max_str_digits(), against attacks
        return hex(number)


def _float(walk: _Walk, value: float, path: Path, _above: tuple[int, ...]) -> float | str | None:
    number = float.__float__(value)
    return number if math.isfinite(number) else walk.replaced(path, None)


def _shown_by(text: Callable[[Any], str]) -> _Form:
    def shown(walk: _Walk, value: object, path: Path, above: tuple[int, ...]) -> str | None:
        return _text(walk, text(value), path, above)

    return shown


def _decode(value: bytes | bytearray | memoryview) -> str:
    return bytes(value).decode("utf-8", "backslashreplace")


def _iso8601(value: datetime.datetime | datetime.date | datetime.time) -> str:
    text = value.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def _exception(value: BaseException) -> str:
    name, text = _name_of_type(type(value)), str(value)
    return f"{name}: {text}" if text else name


_FORMS: Final[tuple[tuple[tuple[type, ...], _Form], ...]] = (
    ((dict,), _mapping),
    ((Enum,), _enum),
    ((str,), _text),
    ((int,), _int),
    ((float,), _float),
    ((bytes, bytearray, memoryview), _shown_by(_decode)),
    ((datetime.date, datetime.time), _shown_by(_iso8601)),
    ((BaseException,), _shown_by(_exception)),
    ((Mapping,), _mapping),
    ((list, tuple, Set, deque), _items),
)


def _find_form(kind: type) -> _Form:
    """Return how values of exactly this type are shown.

    By the type, and not by isinstance(): that asks ``__class__``, which proxies answer with a type
    that they don't have, or with an error.
    """
    if kind is dict:
        return _dict
    if hasattr(kind, "__dataclass_fields__") and not issubclass(kind, Enum | BaseException):
        return _dataclass
    if issubclass(kind, tuple) and type(getattr(kind, "_fields", None)) is tuple:
        return _named_tuple
    for kinds, form in _FORMS:
        if issubclass(kind, kinds):
            return form
    return _shown_by(str)


_form_of: Final[Callable[[type], _Form]] = functools.lru_cache(maxsize=256)(_find_form)
