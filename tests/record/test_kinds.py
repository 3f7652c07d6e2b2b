"""Values of other libraries come out as what they are, without any of them being imported."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import json
import numbers
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.record.plain import MOST, TOO_MANY
from kiel_logging.record.strict_json import log_json

np: Any = pytest.importorskip("numpy")
attrs: Any = pytest.importorskip("attrs")
pydantic: Any = pytest.importorskip("pydantic")


def shipped(value: object) -> Any:
    """Return what a consumer finds in the place of a value."""
    return json.loads(log_json({"value": value}))["value"]


def replaced(value: object) -> Any:
    """Return the names of the values that could not be shown."""
    return json.loads(log_json({"v": value})).get("kiel_logging", {}).get("replaced")


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
class Point:
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
        (Point(1, 2), {"x": 1}),
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
