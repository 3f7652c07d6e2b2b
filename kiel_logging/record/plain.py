"""Python values as plain JSON types. Never raises, and never changes what it is given.

A value comes out as what it is: numbers of any library are numbers, objects with named fields are
objects, arrays and sequences are lists. Values that have a text (a datetime, a Decimal, an
exception) are shown as that. Values that can't be shown (NaN, a cycle, an object whose hooks raise)
are replaced, and the dotted names of their places are returned. Libraries are recognised by the
attributes of their types; none is imported.

Work is bounded. Lists that share their items can have more paths than there are atoms, and one
value can be larger than all that a record may be: it is cut before it is decoded or looked at.
"""

import codecs
import dataclasses
import datetime
import functools
import math
import sys
from collections import UserString, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence, Set
from enum import Enum
from itertools import islice
from numbers import Integral, Number, Rational, Real
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

CYCLE: Final = "<cycle>"
TOO_DEEP: Final = "<nested too deeply>"
TOO_MANY: Final = "<too many values>"

DEEPEST: Final = 50
"""Containers in each other that are shown; many readers give up sooner."""

MOST: Final = 20_000
"""Values inside the containers of one record that are shown."""

_EACH: Final = 100
"""Values inside one field that are shown, however many its neighbours have ..."""

_FIELDS: Final = 100
"""... for so many fields."""

_TEXTS: Final = 4
"""Times the size of a record: so much text is made of bytes, and by the ``__str__`` of objects."""

_SHORT: Final = 60
"""Characters of such a text that are always shown."""

MOST_NAMES: Final = 20
LONGEST_NAME: Final = 200

MARK: Final = "…[cut]"
"""The end of a text that was cut."""

_REST: Final = "..."
_LEAST_INT: Final = -(2**63)
_MOST_INT: Final = 2**64 - 1

_DECIMAL_BITS: Final = 14_000
"""Larger integers are hexadecimal: Python refuses to make decimal digits of them, or takes long."""

_STR: Final[frozenset[type]] = frozenset({str})

_name_of_type: Final[Callable[[type], str]] = type.__dict__["__name__"].__get__
"""``type.__name__``, without the hooks of a metaclass."""

Path: TypeAlias = "tuple[Path, str | int] | None"
"""The way to a value: the way to what holds it, and the key or index there."""


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def entries(fields: Mapping[_Key, _Value]) -> Iterator[tuple[_Key, _Value]]:
    """Iterate over the names and values of ``fields`` as ``fields.items()`` does.

    That crashes CPython (up to 3.14 at least) when there is no memory for the pair that a dict's
    iterator of items begins with: it untracks an object that was never tracked. See
    https://github.com/python/cpython/issues/152107.
    """
    return zip(fields, fields.values(), strict=True)


def show(value: object) -> str:
    """Return ``str(value)``, or a mark in its place when that raises."""
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} that can't be shown: {type(error).__name__}>"


class Made(NamedTuple):
    """The outcome of ``make_plain()``.

    ``replaced`` has the dotted names of those that could not be shown, at most 20 and how many
    more. The record's JSON takes at least ``size`` bytes, with all that was left out of it.
    """

    replaced: list[str]
    size: int


def make_plain(fields: dict[str, Any], most: int | None = None, *, opaque: bool = False) -> Made:
    """Replace in place the values of ``fields`` that are no plain JSON types.

    Plain are texts that have a UTF-8 form, integers of 64 bits, bool, None, finite floats, and
    lists and dicts of them with such texts as keys. Containers are made anew; those given are not
    changed.

    Args:
        fields: what is changed, and nothing that is in it.
        most: bytes that the record may have. A longer text is cut to as many characters, if it
            would have to be made, or looked at, first; it is still too long then, so that ``cut()``
            marks and names it. None for no limit.
        opaque: whether an object that has nothing but a text is shown by its type alone. Names that
            are to be hidden can't be found in a text.
    """
    walk = _Walk(sys.maxsize if most is None else most, opaque)
    names = list(fields)
    if not (_STR.issuperset(map(type, names)) and all(map(str.isascii, names))):
        names = _rename(fields, walk)
    size = 0
    for name in names:
        value = fields[name]
        kind = type(value)
        if kind is str and value.isascii():
            size += len(value)
        elif not (value is None or kind is bool or (kind is int and -(2**63) <= value < 2**64)):
            walk.start_field()
            fields[name] = walk.value(value, (None, name), ())
    return Made(walk.names.listed(), walk.size + size + sum(map(len, names)))


def plain(value: Any, *, opaque: bool = False) -> Any:
    """Return ``value`` as a plain type; see ``make_plain()``."""
    fields = {"value": value}
    make_plain(fields, opaque=opaque)
    return fields["value"]


def is_structure(value: object) -> bool:
    """Whether ``value`` is shown as an object or a list, and not as a text or a number."""
    try:
        form = _form_of(type(value))
    except Exception:  # of its metaclass
        return False
    return getattr(form, "func", form) in _STRUCTURES


def is_text_or_number(value: object) -> bool:
    """Whether ``value`` is a text or number, a time, or another value that has one text by nature.

    An exception is if all that it was made of is, and none of that may be JSON.
    """
    try:
        form = _form_of(type(value))
        if isinstance(value, BaseException) and form is _exception:
            return all(is_text_or_number(arg) and not _may_be_json(arg) for arg in value.args)
    except Exception:  # of its metaclass, or too deep
        return False
    return value is None or (form is not _object and not is_structure(value))


def _may_be_json(value: object) -> bool:
    """Whether a text, or bytes, begins and ends as a JSON object or array does."""
    if isinstance(value, str):
        return value.lstrip().startswith(("{", "[")) and value.rstrip().endswith(("}", "]"))
    if isinstance(value, bytes):
        return value.lstrip().startswith((b"{", b"[")) and value.rstrip().endswith((b"}", b"]"))
    return False


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
    """The bounds and names while one record is made plain."""

    __slots__ = ("fields", "left", "most", "names", "opaque", "room", "size")

    def __init__(self, most: int, opaque: bool) -> None:
        self.most = most
        self.opaque = opaque
        self.left = MOST
        self.fields = _FIELDS
        self.room = most * _TEXTS
        self.size = 0
        self.names = Names()

    def start_field(self) -> None:
        """Let the next field have some values, whatever those before it took."""
        if self.left < _EACH and self.fields:
            self.fields -= 1
            self.left = _EACH

    def value(self, value: object, path: Path, above: tuple[int, ...]) -> Any:
        """Return ``value`` as a plain type; ``above`` has the ids of the containers around it."""
        try:
            kind: type[Any] = type(value)
            if value is None or kind is bool:
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

    def most_made(self) -> int:
        """Return how many characters the next text that is made may have."""
        return min(self.most, max(self.room, _SHORT))

    def made(self, text: str, path: Path) -> str | None:
        """Return a text that was made of something else, cut to what there is room for."""
        room = self.most_made()
        self.room -= min(len(text), room)
        if len(text) > room:
            self.size += len(text) - room
            text = text[:room]
            if room < self.most:
                text = f"{text}{MARK}"
                self.names.add(path)
        return _text(self, text, path, ())

    def items(self, items: Iterable[object], path: Path, above: tuple[int, ...]) -> list[Any]:
        """Return ``items`` as a plain list."""
        # A copy, in one step: another thread may be changing them.
        made: list[Any] = list(islice(items, max(self.left, 0) + 1))
        size = 0
        for index, item in enumerate(made):
            if self.left <= 0:
                made[index:] = [self.replaced(path, TOO_MANY)]
                break
            self.left -= 1
            kind = type(item)
            if kind is str and item.isascii():
                size += len(item)
            elif kind is not int or not -(2**63) <= item < 2**64:
                made[index] = self.value(item, (path, index), above)
        self.size += size
        return made

    def pairs(
        self, pairs: Iterable[tuple[Any, Any]], path: Path, above: tuple[int, ...]
    ) -> dict[str, Any]:
        """Return ``pairs`` as a plain dict."""
        copied = list(islice(pairs, max(self.left, 0) + 1))
        names = self.keys([key for key, _ in copied], path, above)
        made: dict[str, Any] = {}
        size = 0
        for name, (_, item) in zip(names, copied, strict=True):
            if self.left <= 0:
                made[_unlike(made, _REST, {})] = self.replaced(path, TOO_MANY)
                break
            self.left -= 1
            size += len(name)
            kind = type(item)
            if kind is str and item.isascii():
                size += len(item)
            elif kind is not int or not -(2**63) <= item < 2**64:
                item = self.value(item, (path, name), above)
            made[name] = item
        self.size += size
        return made

    def keys(self, keys: list[Any], path: Path, above: tuple[int, ...]) -> list[str]:
        """Return a text for each of ``keys``, no two the same; those that are text keep theirs."""
        taken = {key for key in keys if type(key) is str}
        if len(taken) == len(keys) and all(map(str.isascii, keys)):
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
        if type(key) is str:
            return self._key_of_text(key, path)
        alone = _Walk(self.most, opaque=False)  # its text is the name that may be hidden
        alone.left, alone.room = self.left, self.room
        text = _key_text(alone.value(key, None, above))
        self.left, self.room = alone.left, alone.room
        if alone.names:
            self.names.add((path, text))
        return text

    def _key_of_text(self, key: str, path: Path) -> str:
        if key.isascii():
            return key
        text = key[: self.most]
        try:
            text.encode()
        except UnicodeEncodeError:
            text = escape(text)
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
    # In one step, where it is small: another thread may be changing it.
    copied = value if len(value) > walk.left else value.copy()
    return walk.pairs(entries(copied), path, above)


def _mapping(
    walk: _Walk, value: Mapping[Any, Any], path: Path, above: tuple[int, ...]
) -> dict[str, Any]:
    return walk.pairs(value.items(), path, _into(value, above))


def _items(walk: _Walk, value: Iterable[Any], path: Path, above: tuple[int, ...]) -> list[Any]:
    return walk.items(value, path, _into(value, above))


def _named_tuple(walk: _Walk, value: Any, path: Path, above: tuple[int, ...]) -> dict[str, Any]:
    pairs = zip(value._fields, tuple(value), strict=True)
    return walk.pairs(pairs, path, _into(value, above))


def _namespace(walk: _Walk, value: Any, path: Path, above: tuple[int, ...]) -> dict[str, Any]:
    return walk.pairs(entries(vars(value).copy()), path, _into(value, above))


def _array(walk: _Walk, value: Any, path: Path, above: tuple[int, ...]) -> Any:
    """Show an array of numpy's kind, or a scalar of one."""
    if value.ndim:
        return walk.items(value, path, _into(value, above))
    if getattr(value.dtype, "kind", "") in ("M", "m"):  # of nanoseconds: item() knows no such times
        return walk.made(str(value), path)
    item = value.item()
    if names := getattr(value.dtype, "names", None):
        return walk.pairs(zip(names, item, strict=True), path, _into(value, above))
    # A float of more than 64 bits is its own item.
    return walk.value(float(item) if type(item) is type(value) else item, path, above)


def _enum(walk: _Walk, value: Enum, path: Path, above: tuple[int, ...]) -> Any:
    return walk.value(value.value, path, _into(value, above))


def _text(walk: _Walk, value: str, path: Path, _above: tuple[int, ...]) -> str | None:
    text = str.__str__(value)  # of a subclass, without its hooks
    if not text.isascii():
        walk.size += max(0, len(text) - walk.most)
        text = text[: walk.most]
        try:
            text.encode()
        except UnicodeEncodeError:  # a lone surrogate
            text = escape(text)
            walk.names.add(path)
    walk.size += len(text)
    return text


def _int(walk: _Walk, value: int, path: Path, _above: tuple[int, ...]) -> int | str | None:
    number = int.__int__(value)
    if _LEAST_INT <= number <= _MOST_INT:
        return number
    if (bits := number.bit_length()) <= _DECIMAL_BITS:
        return walk.made(str(number), path)
    digits = hex(number >> max(0, bits // 4 - walk.most) * 4)
    return walk.made(digits, path)


def _integral(walk: _Walk, value: Any, path: Path, above: tuple[int, ...]) -> int | str | None:
    return _int(walk, int(value), path, above)


def _float(walk: _Walk, value: float, path: Path, _above: tuple[int, ...]) -> float | str | None:
    number = float.__float__(value)
    return number if math.isfinite(number) else walk.replaced(path, None)


def _real(walk: _Walk, value: Any, path: Path, above: tuple[int, ...]) -> float | str | None:
    return _float(walk, float(value), path, above)


def _bytes(walk: _Walk, value: Any, path: Path, _above: tuple[int, ...]) -> str | None:
    view = memoryview(value)
    view = view.cast("B") if view.c_contiguous else memoryview(bytes(view))
    # In pieces: bytes that are no UTF-8 take a hundred times as long as others, and four characters
    # each.
    decode, pieces, done, length = _decoder("backslashreplace").decode, [""], 0, 0
    while done < len(view) and length < walk.most_made():
        pieces.append(decode(bytes(view[done : done + _PIECE]), done + _PIECE >= len(view)))
        done, length = done + _PIECE, length + len(pieces[-1])
    walk.size += max(0, len(view) - done)
    return walk.made("".join(pieces), path)


_PIECE: Final = 16_384
_decoder: Final = codecs.getincrementaldecoder("utf-8")


def _shown_by(text: Callable[[Any], str]) -> _Form:
    def shown(walk: _Walk, value: object, path: Path, _above: tuple[int, ...]) -> str | None:
        return walk.made(text(value), path)

    return shown


def _object(walk: _Walk, value: object, path: Path, _above: tuple[int, ...]) -> str | None:
    if walk.opaque:
        return f"<{_name_of_type(type(value))}>"
    return walk.made(str(value), path)


def _iso8601(value: datetime.datetime | datetime.date | datetime.time) -> str:
    text = value.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def _exception(walk: _Walk, value: BaseException, path: Path, _above: tuple[int, ...]) -> Any:
    name = _name_of_type(type(value))
    if walk.opaque and not is_text_or_number(value):
        return f"<{name}>"
    text = str(value)
    walk.size += max(0, len(text) - walk.most)
    return walk.made(f"{name}: {text[: walk.most]}" if text else name, path)


_FORMS: Final[tuple[tuple[tuple[type, ...], _Form], ...]] = (
    ((dict,), _mapping),
    ((Enum,), _enum),
    ((str,), _text),
    ((int,), _int),
    ((float,), _float),
    ((Integral,), _integral),
    ((Rational,), _shown_by(str)),
    ((Real,), _real),
    ((bytes, bytearray, memoryview), _bytes),
    ((datetime.date, datetime.time), _shown_by(_iso8601)),
    ((BaseException,), _exception),
    ((Mapping,), _mapping),
    ((SimpleNamespace,), _namespace),
    ((UserString, range, Number, datetime.timedelta, PurePath, type), _shown_by(str)),
    ((list, tuple, Set, deque, Sequence), _items),
)
_ARRAY: Final = ("dtype", "ndim", "item", "tolist")


def _find_form(kind: type) -> _Form:
    """Return how values of exactly this type are shown.

    By the type, and not by isinstance(): that asks ``__class__``, which proxies answer with a type
    that they don't have, or with an error.
    """
    if kind is dict:
        return _dict
    if not issubclass(kind, Enum | BaseException) and (names := _field_names(kind)) is not None:
        return _with_fields(names)
    if issubclass(kind, tuple) and type(getattr(kind, "_fields", None)) is tuple:
        return _named_tuple
    if all(hasattr(kind, name) for name in _ARRAY):
        return _array
    for kinds, form in _FORMS:
        if issubclass(kind, kinds):
            return form
    # A program that has such a value has loaded its module, which takes 3 ms.
    if (uuid := sys.modules.get("uuid")) is not None and issubclass(kind, uuid.UUID):
        return _shown_by(str)
    return _object


_form_of: Final[Callable[[type], _Form]] = functools.lru_cache(maxsize=256)(_find_form)


# -- objects with named fields ---------------------------------------------------------------------

_Repr: TypeAlias = bool | Callable[[Any], str]
"""Whether a class has a field in its ``repr()``, or how."""


def _field_names(kind: type) -> dict[str, _Repr] | None:
    """Return the fields of a class, and how its ``repr()`` has them; None for a class without any.

    Dataclasses, classes of attrs, models of pydantic (1 and 2), structs of msgspec.
    """
    if hasattr(kind, "__dataclass_fields__"):
        return {field.name: field.repr for field in dataclasses.fields(kind)}
    if isinstance(attributes := getattr(kind, "__attrs_attrs__", None), tuple):
        return {attribute.name: attribute.repr for attribute in attributes}
    for name in ("__pydantic_fields__", "model_fields", "__fields__"):
        if isinstance(fields := getattr(kind, name, None), dict):
            return {
                name: getattr(getattr(field, "field_info", field), "repr", True)
                for name, field in entries(fields)
            }
    if isinstance(names := getattr(kind, "__struct_fields__", None), tuple):
        return dict.fromkeys(names, True)
    return None


def _with_fields(names: Mapping[str, _Repr]) -> _Form:
    """Return the form of objects with these fields, less those that their ``repr()`` has not."""
    return functools.partial(
        _fields, {name: show for name, show in entries(names) if show is not False}
    )


def _fields(
    names: Mapping[str, _Repr], walk: _Walk, value: Any, path: Path, above: tuple[int, ...]
) -> dict[str, Any]:
    above = _into(value, above)
    pairs: list[tuple[str, Any]] = []
    for name, show in entries(names):
        if (held := getattr(value, name, _MISSING)) is not _MISSING:
            pairs.append((name, show(held) if callable(show) else held))
    if isinstance(more := getattr(value, "__pydantic_extra__", None), dict):
        pairs.extend(entries(more))
    return walk.pairs(pairs, path, above)


_MISSING: Final = object()
_STRUCTURES: Final = (_dict, _mapping, _namespace, _items, _named_tuple, _array, _fields)
