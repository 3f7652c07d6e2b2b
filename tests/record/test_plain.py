"""Python values as plain JSON types: the form of each, and the names of those without one."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime
import enum
import json
import math
import numbers
import subprocess
import sys
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.record.plain import (
    CYCLE,
    DEEPEST,
    MOST,
    TOO_DEEP,
    TOO_MANY,
    make_plain,
)
from kiel_logging.record.strict_json import log_json
from tests.record.test_fields import Unshowable
from tests.support.examples import examples

UNSHOWABLE = "<Unshowable that can't be shown: RuntimeError>"


def made(value: Any, **options: Any) -> tuple[Any, list[str]]:
    """Return the plain value, and the names."""
    fields = {"v": value}
    names = make_plain(fields, **options).replaced
    return fields["v"], names


def same(first: Any, second: Any) -> bool:
    """Equal in value and in type, all the way down."""
    if type(first) is not type(second):
        return False
    if type(first) is dict:
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if type(first) is list:
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


class Color(enum.Enum):
    """An enum of anything."""

    RED = "red"
    NOWHERE = float("nan")
    ORIGIN = (0, 0)


class Level(enum.IntEnum):
    """An enum that is a number."""

    HIGH = 3


class Mode(enum.StrEnum):
    """An enum that is text."""

    FAST = "fast"


class Point(NamedTuple):
    """A tuple with names."""

    x: int
    y: Any


@dataclasses.dataclass(frozen=True)
class Holder:
    """A dataclass, hashable when what it holds is."""

    held: Any


@dataclasses.dataclass
class DeclinedError(Exception):
    """A dataclass that is an exception first."""

    code: int

    def __str__(self) -> str:
        return f"code {self.code}"


class Frozen(Mapping[str, int]):
    """A mapping that is no dict."""

    def __getitem__(self, key: str) -> int:
        return {"a": 1}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


class Pairs(Mapping[str, int]):
    """A mapping with a key twice, as headers and forms have them."""

    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "a"])

    def __len__(self) -> int:
        return 2

    def items(self) -> Any:
        """As multidicts answer."""
        return [("a", 1), ("a", 2)]


class Loud(str):
    """A text with hooks that raise."""

    def __str__(self) -> str:
        raise RuntimeError("not today")

    __repr__ = __str__


class Name:
    """Shown by its own str()."""

    def __str__(self) -> str:
        return "a name"


class Polite:
    """Shown by a str that is none exactly."""

    def __str__(self) -> str:
        return Loud("polite")


UTC = datetime.UTC
CET = datetime.timezone(datetime.timedelta(hours=1))


# -- what has a form -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (Loud("text"), "text"),
        (7, 7),
        (True, True),
        (None, None),
        (1.5, 1.5),
        ([1, "a", None], [1, "a", None]),
        ({"a": [1]}, {"a": [1]}),
        (datetime.datetime(2024, 2, 29, 12, tzinfo=UTC), "2024-02-29T12:00:00Z"),
        (datetime.datetime(2024, 2, 29, 12, 0, 0, 5, UTC), "2024-02-29T12:00:00.000005Z"),
        (datetime.datetime(2024, 2, 29, 12, tzinfo=CET), "2024-02-29T12:00:00+01:00"),
        (datetime.datetime(2024, 2, 29, 12), "2024-02-29T12:00:00"),  # noqa: DTZ001 - as logged
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (datetime.time(12, 30, tzinfo=UTC), "12:30:00Z"),
        (datetime.timedelta(days=1), "1 day, 0:00:00"),
        (Decimal("1.50"), "1.50"),
        (Decimal("NaN"), "NaN"),
        (Fraction(1, 3), "1/3"),
        (1 + 2j, "(1+2j)"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/srv/shop"), "/srv/shop"),
        (b"bytes", "bytes"),
        (bytearray(b"bytes"), "bytes"),
        (memoryview(b"bytes"), "bytes"),
        ("grüße".encode(), "grüße"),
        (b"\xff\x00", "\\xff\x00"),
        (Color.RED, "red"),
        (Color.ORIGIN, [0, 0]),
        (Level.HIGH, 3),
        (Mode.FAST, "fast"),
        ((1, (2,)), [1, [2]]),
        ({3}, [3]),
        (frozenset({3}), [3]),
        ({"a": 1}.keys(), ["a"]),
        (collections.deque([1, 2]), [1, 2]),
        (range(2), "range(0, 2)"),
        (Point(1, (2,)), {"x": 1, "y": [2]}),
        (Holder(Holder(None)), {"held": {"held": None}}),
        (Frozen(), {"a": 1}),
        (types.MappingProxyType({"a": (1,)}), {"a": [1]}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.Counter("aa"), {"a": 2}),
        (ValueError("why"), "ValueError: why"),
        (KeyError("why"), "KeyError: 'why'"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (DeclinedError(7), "DeclinedError: code 7"),
        (Name(), "a name"),
        (Polite(), "polite"),
        (int, "<class 'int'>"),
        (Color, "<enum 'Color'>"),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        (10**5000, hex(10**5000)),
        (-(10**5000), hex(-(10**5000))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_a_form_is_shown_in_it(value: Any, expected: Any) -> None:
    """And is not named."""
    shown, names = made(value)
    assert same(shown, expected)
    assert names == []


# -- what has none ---------------------------------------------------------------------------------


def cyclic_list() -> Any:
    """A list that holds itself."""
    cycle: list[Any] = [1]
    cycle.append(cycle)
    return cycle


def cyclic_dict() -> Any:
    """A dict that holds itself further down."""
    cycle: dict[str, Any] = {}
    cycle["below"] = ({"again": cycle},)
    return cycle


def cyclic_object() -> Any:
    """An object that holds itself."""
    holder = Holder([])
    holder.held.append(holder)
    return holder


class Broken(dict[str, int]):
    """A dict with hooks that raise."""

    def items(self) -> Any:
        """Not today."""
        raise ZeroDivisionError

    __iter__ = items


class Shy(Exception):
    """An exception without a text."""

    __str__ = Unshowable.__str__


class Proxy:
    """As of a framework, outside of a request."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """Not today."""
        raise RuntimeError("outside of a request")

    def __str__(self) -> str:
        raise RuntimeError("outside of a request")


class Endless:
    """An object whose text needs its text."""

    def __str__(self) -> str:
        return str(self)


class Unhashable(type):
    """A metaclass of classes that can't be hashed."""

    __hash__ = None  # type: ignore[assignment]


class OfUnhashable(metaclass=Unhashable):
    """An object of such a class."""


@pytest.mark.parametrize(
    ("value", "expected", "names"),
    [
        (math.nan, None, ["v"]),
        (math.inf, None, ["v"]),
        (Color.NOWHERE, None, ["v"]),
        ([1.5, -math.inf, "a"], [1.5, None, "a"], ["v.1"]),
        ({"a": {"b": math.nan}}, {"a": {"b": None}}, ["v.a.b"]),
        (Holder(math.nan), {"held": None}, ["v.held"]),
        (cyclic_list(), [1, CYCLE], ["v.1"]),
        (cyclic_dict(), {"below": [{"again": CYCLE}]}, ["v.below.0.again"]),
        (cyclic_object(), {"held": [CYCLE]}, ["v.held.0"]),
        ("\ud800", "\\ud800", ["v"]),
        (["ok", "a\udc80b"], ["ok", "a\\udc80b"], ["v.1"]),
        (Loud("\ud800"), "\\ud800", ["v"]),
        (PurePosixPath("a\udcff"), "a\\udcff", ["v"]),
        (Unshowable(), UNSHOWABLE, ["v"]),
        ([1, Unshowable()], [1, UNSHOWABLE], ["v.1"]),
        (Broken(a=1), "<Broken that can't be shown: ZeroDivisionError>", ["v"]),
        (Shy(), "<Shy that can't be shown: RuntimeError>", ["v"]),
        (Proxy(), "<Proxy that can't be shown: RuntimeError>", ["v"]),
        (Endless(), "<Endless that can't be shown: RecursionError>", ["v"]),
        (Fraction(10**5000), "<Fraction that can't be shown: ValueError>", ["v"]),
        (OfUnhashable(), "<OfUnhashable that can't be shown: TypeError>", ["v"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_form_is_replaced_and_named(
    value: Any, expected: Any, names: list[str]
) -> None:
    """By its dotted name."""
    shown, told = made(value)
    assert same(shown, expected)
    assert told == names


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_to_end_the_program_ends_it(error: type[BaseException]) -> None:
    """A Ctrl-C while an object is shown is not ours to keep."""

    class Interrupted:
        def __str__(self) -> str:
            raise error

    with pytest.raises(error):
        make_plain({"v": Interrupted()})


def test_what_is_there_twice_is_no_cycle() -> None:
    """It is shown twice, also beside a true one."""
    shared = ["shared"]
    shown, names = made([shared, shared, cyclic_list()])
    assert shown == [shared, shared, [1, CYCLE]]
    assert names == ["v.2.1"]


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected", "names"),
    [
        (1, "1", []),
        (1.5, "1.5", []),
        (True, "true", []),
        (None, "null", []),
        (b"bytes", "bytes", []),
        (2**70, str(2**70), []),
        (Color.RED, "red", []),
        (Level.HIGH, "3", []),
        (Mode.FAST, "fast", []),
        (Loud("text"), "text", []),
        ((1, "a"), "(1, 'a')", []),
        (Holder(1), "{'held': 1}", []),
        (datetime.date(2024, 2, 29), "2024-02-29", []),
        (math.nan, "null", ["v.null"]),
        (Unshowable(), UNSHOWABLE, [f"v.{UNSHOWABLE}"]),
        ("\udc80", "\\udc80", ["v.\\udc80"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keys_are_text(key: Any, expected: str, names: list[str]) -> None:
    """Whatever they are in Python; those without a text are named."""
    assert made({key: "value"}) == ({expected: "value"}, names)


@pytest.mark.parametrize(
    ("value", "expected", "names"),
    [
        ({1: "a", "1": "b"}, {"1 (2)": "a", "1": "b"}, ["v.1 (2)"]),
        ({"1": "a", 1: "b"}, {"1": "a", "1 (2)": "b"}, ["v.1 (2)"]),
        (
            {1: "a", "1": "b", "1 (2)": "c", b"1": "d"},
            {"1 (3)": "a", "1": "b", "1 (2)": "c", "1 (4)": "d"},
            ["v.1 (3)", "v.1 (4)"],
        ),
        (
            {"\ud800": 1, "\\ud800": 2},
            {"\\ud800 (2)": 1, "\\ud800": 2},
            ["v.\\ud800", "v.\\ud800 (2)"],
        ),
        ({None: 1, "null": 2}, {"null (2)": 1, "null": 2}, ["v.null (2)"]),
        (Pairs(), {"a": 1, "a (2)": 2}, ["v.a (2)"]),
    ],
    ids=["number first", "text first", "numbered too", "surrogate", "None", "twice itself"],
)
def test_keys_that_become_the_same_text_both_survive(
    value: Any, expected: Any, names: list[str]
) -> None:
    """A text keeps its name; the other key gets a number, and is named."""
    assert made(value) == (expected, names)


def test_the_names_of_fields_are_made_text_too() -> None:
    """An `extra` may have any; the order stays."""
    fields: Any = {"message": "hello", 1: "a", "1": "b", None: math.nan}
    assert make_plain(fields).replaced == ["1 (2)", "null"]
    assert list(fields.items()) == [
        ("message", "hello"),
        ("1 (2)", "a"),
        ("1", "b"),
        ("null", None),
    ]


def test_a_key_that_holds_its_own_dict_ends() -> None:
    """Keys count as what they are in."""

    class Key(collections.UserDict[Any, Any]):
        def __hash__(self) -> int:
            return 1

    key = Key()
    key[key] = key
    _, names = made({key: 1})
    assert names


# -- what has no end -------------------------------------------------------------------------------


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    """Something in something in something."""
    value: Any = "the bottom"
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS = {
    "list": lambda v: [v],
    "tuple": lambda v: (v,),
    "dict": lambda v: {"a": v},
    "subclass": lambda v: collections.OrderedDict(a=v),
    "mapping": lambda v: types.MappingProxyType({"a": v}),
    "dataclass": Holder,
    "named tuple": lambda v: Point(1, v),
    "deque": lambda v: collections.deque([v]),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_nesting_ends(wrap: Callable[[Any], Any]) -> None:
    """At fifty; ten thousand would overflow a stack, ours or a reader's."""
    deepest, none = made(nested(DEEPEST, wrap))
    assert "the bottom" in str(deepest)
    assert none == []
    shown, names = made(nested(10_000, wrap))
    assert TOO_DEEP in str(shown)
    assert len(names) == 1
    assert len([c for c in str(shown) if c in "[{"]) == DEEPEST


@pytest.mark.parametrize(
    "double",
    [lambda v: [v, v], lambda v: (v, v), lambda v: {"a": v, "b": v}, lambda v: {1: v, 2: v}],
    ids=["list", "tuple", "dict", "odd keys"],
)
def test_what_doubles_at_each_level_ends(double: Callable[[Any], Any]) -> None:
    """Forty levels would be 10**12 values; the rest is replaced, and neighbours are shown."""
    fields = {"v": nested(40, double), "after": {"a": [1, 2]}}
    assert "... and" in make_plain(fields).replaced[-1]
    assert str(fields["v"]).count("the bottom") < MOST
    assert TOO_MANY in str(fields["v"])
    assert fields["after"] == {"a": [1, 2]}


@pytest.mark.parametrize("size", [MOST, MOST + 1, 3 * MOST])
def test_what_is_long_ends(size: int) -> None:
    """At a hundred thousand values; whatever holds more is named."""
    over = size > MOST
    numbers, names = made(list(range(size)))
    assert numbers == list(range(MOST)) + [TOO_MANY] * over
    assert names == ["v"] * over
    pairs, names = made(dict.fromkeys(map(str, range(size))))
    assert pairs == dict.fromkeys(map(str, range(MOST))) | ({"...": TOO_MANY} if over else {})
    assert names == ["v"] * over


def test_a_mapping_without_an_end_ends() -> None:
    """Its hooks may yield for ever."""

    class Forever(Frozen):
        def items(self) -> Any:
            number = 0
            while True:
                yield f"k{(number := number + 1)}", number

    shown, names = made(Forever())
    assert len(shown) == MOST + 1
    assert names == ["v"]


def test_long_keys_end_too() -> None:
    """Their parts count like those of values."""
    shown, names = made({tuple(range(n, n + MOST // 2)): n for n in range(4)})
    assert names
    assert TOO_MANY in str(shown)


# -- names -----------------------------------------------------------------------------------------


def test_names_are_few() -> None:
    """Twenty, and how many more."""
    _, names = made([math.nan] * 61)
    assert names == [*(f"v.{index}" for index in range(20)), "... and 41 more"]


def test_names_are_short() -> None:
    """At most 200 characters, and never what JSON can't have."""
    _, names = made({"k" * 1000: math.nan, "\ud800" * 300: math.nan})
    assert [len(name) for name in names] == [200, 200]
    assert "v." + "k" * 197 + "…" in names
    assert all(name.encode() for name in names)


# -- laws ------------------------------------------------------------------------------------------

atoms = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
plain = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
hashable = (
    atoms
    | st.integers(-(2**300), 2**300)
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=[]))
    | st.binary(max_size=10)
    | st.decimals(allow_nan=False)
    | st.datetimes()
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers()
    | st.builds(Unshowable)
    | st.builds(object)
    | st.builds(Loud, st.text())
    | st.sampled_from([Color.RED, Level.HIGH, int, len])
)
anything = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(hashable, max_size=4)
        | st.frozensets(hashable, max_size=4)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.lists(inner, max_size=3).map(lambda values: [*values, cyclic_list()])
        | inner.map(Holder)
        | inner.map(lambda value: Point(1, value))
    ),
    max_leaves=20,
)


def is_plain(value: Any) -> bool:
    """Whether it is made of plain JSON types only."""
    kind = type(value)
    if kind is dict:
        return all(type(k) is str and is_plain(k) for k in value) and all(
            is_plain(item) for item in value.values()
        )
    if kind is list:
        return all(is_plain(item) for item in value)
    if kind is float:
        return math.isfinite(value)
    if kind is str:
        return not any("\ud800" <= c <= "\udfff" for c in value)
    if kind is int:
        return bool(-(2**63) <= value < 2**64)
    return kind in (bool, type(None))


@examples(300)
@given(st.dictionaries(hashable, anything, max_size=4))
def test_anything_at_all_becomes_plain(fields: dict[Any, Any]) -> None:
    """And no field is lost; made plain again, nothing is left to do."""
    count = len(fields)
    make_plain(fields)
    assert is_plain(fields)
    assert len(fields) == count
    again = copy.deepcopy(fields)
    assert make_plain(again).replaced == []
    assert same(again, fields)


@examples(200)
@given(st.dictionaries(st.text(), plain, max_size=5), anything)
def test_what_was_plain_is_as_it_was(fields: dict[str, Any], odd: Any) -> None:
    """Also beside and inside what has to be changed; its containers are new."""
    before = copy.deepcopy(fields)
    whole = {**fields, "inside": [fields, odd]}
    make_plain(whole)
    inside = whole.pop("inside")
    assert same(inside[0], before)
    assert inside[0] is not fields
    assert same(whole, {name: value for name, value in before.items() if name != "inside"})


@examples(200)
@given(st.lists(anything, max_size=4))
def test_what_is_given_is_not_changed(values: list[Any]) -> None:
    """It is the program's."""
    before = shape(values)
    make_plain({"v": values, "w": {"deeper": values}})
    assert shape(values) == before


def shape(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Return the structure of a value, by identity."""
    if id(value) in above:
        return "cycle"
    above = (*above, id(value))
    if isinstance(value, dict):
        return (id(value), [(id(k), shape(v, above)) for k, v in value.items()])
    if isinstance(value, list | tuple):
        return (id(value), [shape(v, above) for v in value])
    return (id(value), shape(value.held, above) if isinstance(value, Holder) else None)


def test_a_stack_that_is_nearly_full_costs_a_value() -> None:
    """A RecursionError is an error like others: the values that need no more room are shown."""

    def deep(left: int) -> tuple[dict[str, Any], list[str]]:
        if left:
            return deep(left - 1)
        fields = {"message": "hello", "v": nested(45, lambda v: {"a": [v]})}
        return fields, make_plain(fields).replaced

    frames = 0
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        frames, frame = frames + 1, frame.f_back
    fields, names = deep(sys.getrecursionlimit() - frames - 40)
    assert fields["message"] == "hello"
    assert names


# -- values of other libraries ---------------------------------------------------------------------

np: Any = pytest.importorskip("numpy")
attrs: Any = pytest.importorskip("attrs")
pydantic: Any = pytest.importorskip("pydantic")


def shipped(value: object) -> Any:
    """Return what a consumer finds in the place of a value."""
    return json.loads(log_json({"value": value}))["value"]


def replaced(value: object) -> Any:
    """Return the names of the values that could not be shown."""
    return made(value)[1] or None


NUMPY: list[tuple[Callable[[], Any], Any]] = [
    (lambda: np.int64(5), 5),
    (lambda: np.uint8(255), 255),
    (lambda: np.uint64(2**64 - 1), 2**64 - 1),
    (lambda: np.float64(0.5), 0.5),
    (lambda: np.float32(0.5), 0.5),
    (lambda: np.float16(0.5), 0.5),
    (lambda: np.longdouble(0.5), 0.5),
    (lambda: np.bool_(True), True),
    (lambda: np.str_("text"), "text"),
    (lambda: np.bytes_(b"text"), "text"),
    (lambda: np.datetime64("2026-01-02"), "2026-01-02"),
    (lambda: np.datetime64("2026-01-02T03:04:05.123456789"), "2026-01-02T03:04:05.123456789"),
    (lambda: np.timedelta64(5, "ns"), "5 nanoseconds"),
    (lambda: np.arange(3), [0, 1, 2]),
    (lambda: np.array([[1.5, 2], [3, 4]]), [[1.5, 2.0], [3.0, 4.0]]),
    (lambda: np.array(7), 7),
    (lambda: np.array(["a", {"b": 1}], dtype=object), ["a", {"b": 1}]),
    (lambda: np.array([(1, 2.5)], dtype=[("x", "i4"), ("y", "f8")])[0], {"x": 1, "y": 2.5}),
    (lambda: np.array([]), []),
    (lambda: {"in": [np.int64(1), (np.float32(2),)]}, {"in": [1, [2.0]]}),
]


@pytest.mark.parametrize(("make", "expected"), NUMPY, ids=range(len(NUMPY)))
def test_numbers_and_arrays_of_numpy(make: Callable[[], Any], expected: Any) -> None:
    """Numbers are numbers, arrays are lists; times, which JSON has not, are their text."""
    made = shipped(make())
    assert made == expected
    assert type(made) is type(expected)
    assert replaced(make()) is None


def test_numbers_of_numpy_that_json_has_not() -> None:
    """They are null, and named, as Python's own."""
    assert shipped(np.float32("nan")) is None
    assert shipped(np.array([1, np.inf])) == [1.0, None]
    assert replaced(np.array([1, np.inf])) == ["v.1"]
    assert shipped({np.int64(1): "a"}) == {"1": "a"}


def test_an_array_of_any_size() -> None:
    """Its first values; no copy is made of it."""
    made = shipped(np.broadcast_to(np.int8(7), (10**12,)))
    assert made == [7] * MOST + [TOO_MANY]


class Address(pydantic.BaseModel):  # type: ignore[misc,valid-type]
    """A model in a model."""

    city: str
    since: datetime.date


class User(pydantic.BaseModel):  # type: ignore[misc,valid-type]
    """A model that takes other names as well."""

    model_config = {"extra": "allow"}  # noqa: RUF012
    name: str
    address: Address
    token: pydantic.SecretStr
    hidden: str = pydantic.Field("s3cret", repr=False)


def test_models_of_pydantic() -> None:
    """Their fields, less those that they keep out of their own repr()."""
    address = Address(city="Kiel", since=datetime.date(2026, 1, 2))
    user = User(name="ada", address=address, token="s3cret", more=[1, 2])
    assert shipped(user) == {
        "name": "ada",
        "address": {"city": "Kiel", "since": "2026-01-02"},
        "token": "**********",
        "more": [1, 2],
    }


@attrs.define
class Login:
    """A class of attrs, with slots."""

    name: str
    password: str = attrs.field(repr=False)
    card: str = attrs.field(repr=lambda value: f"*{value[-2:]}")
    at: Any = None


def test_classes_of_attrs() -> None:
    """Their fields, as their repr() has them."""
    login = Login("ada", "s3cret", "4711", [datetime.date(2026, 1, 2)])
    assert shipped(login) == {"name": "ada", "card": "*11", "at": ["2026-01-02"]}


@dataclasses.dataclass
class Hidden:
    """A dataclass with a field that is kept out of its repr()."""

    x: int
    y: int = dataclasses.field(repr=False)


class Struct:
    """As structs of msgspec describe themselves."""

    __struct_fields__ = ("a", "b")
    a = 1


class Old:
    """As models of pydantic 1 describe themselves."""

    __fields__ = {  # noqa: RUF012
        "a": types.SimpleNamespace(field_info=types.SimpleNamespace(repr=True)),
        "b": types.SimpleNamespace(field_info=types.SimpleNamespace(repr=False)),
    }
    a, b = 1, 2


class Big:
    """A number of another library."""

    def __int__(self) -> int:
        return 12

    def __float__(self) -> float:
        return 1.5


class BigInteger(Big):
    """One without a fraction."""


class BigReal(Big):
    """One with a fraction."""


numbers.Integral.register(BigInteger)
numbers.Real.register(BigReal)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Hidden(1, 2), {"x": 1}),
        (Struct(), {"a": 1}),
        (Old(), {"a": 1}),
        (types.SimpleNamespace(a=1, b=(2,)), {"a": 1, "b": [2]}),
        (collections.UserDict(a=1), {"a": 1}),
        (collections.UserList([1, 2]), [1, 2]),
        (collections.UserString("text"), "text"),
        (collections.ChainMap({"a": 1}, {"b": 2}), {"b": 2, "a": 1}),
        (array.array("d", [1.5]), [1.5]),
        (BigInteger(), 12),
        (BigReal(), 1.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_kinds(value: Any, expected: Any) -> None:
    """Objects with fields, sequences, mappings and numbers."""
    assert shipped(value) == expected
    assert replaced(value) is None


def test_no_library_is_imported_for_it() -> None:
    """Programs without them pay nothing."""
    code = """
import sys
from kiel_logging.record.strict_json import log_json
log_json({"a": object(), "b": ValueError(), "c": {1: (2,)}})
assert not {"numpy", "attrs", "attr", "pydantic", "msgspec"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
