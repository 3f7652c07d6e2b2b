"""Log records as JSON: strict, whatever an `extra` holds."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import types
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kiel_logging.handler.log_json import log_json
from tests.handler.test_log_record import Unshowable


def refuse(constant: str) -> Any:
    """What json.loads would take, and JSON does not have."""
    raise AssertionError(f"{constant} is no JSON")


def strictly_read(data: bytes) -> Any:
    """What any JSON parser reads from it."""
    return json.loads(data.decode(), parse_constant=refuse)


def shipped(value: object) -> Any:
    """What a consumer finds in the place of a value."""
    return strictly_read(log_json({"value": value}))["value"]


class Color(enum.Enum):
    """An enum of strings."""

    RED = "red"


class Frozen(Mapping[str, int]):
    """A mapping that is no dict."""

    def __getitem__(self, key: str) -> int:
        return {"a": 1}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


# -- what has a form in JSON -----------------------------------------------------------------------

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(), plain, max_size=5))
def test_what_has_a_form_in_json_is_read_back(fields: dict[str, Any]) -> None:
    """As it went in."""
    assert strictly_read(log_json(fields)) == fields


def test_text_is_utf8() -> None:
    """Not escaped: it is shorter, and can be read in a terminal."""
    assert log_json({"message": "grüße 🎉"}) == '{"message":"grüße 🎉"}'.encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, 2), [1, 2]),
        ({3}, [3]),
        (frozenset({3}), [3]),
        (OrderedDict(a=1), {"a": 1}),
        (Frozen(), {"a": 1}),
        (b"bytes", "bytes"),
        (bytearray(b"bytes"), "bytes"),
        (b"\xff\x00", "\\xff\x00"),
        (Color.RED, "red"),
        (Decimal("1.50"), "1.50"),
        (Decimal("NaN"), "NaN"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/srv/shop"), "/srv/shop"),
        (datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC), "2024-02-29T12:00:00Z"),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (float("nan"), None),
        (float("inf"), None),
        ([float("-inf"), 1.5], [None, 1.5]),
        (2**64, 2**64),
        (-(2**100), -(2**100)),
        (ValueError("why"), "why"),
        (int, "<class 'int'>"),
        (Unshowable(), "<Unshowable that can't be shown: RuntimeError>"),
        ("\ud800", "\\ud800"),
        ("a\udc80b", "a\\udc80b"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_none_is_shown(value: Any, expected: Any) -> None:
    """In the form that a reader would expect; NaN and infinities are null."""
    assert shipped(value) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        (b"bytes", "bytes"),
        (2**70, str(2**70)),
        (Color.RED, "red"),
        (Unshowable(), "<Unshowable that can't be shown: RuntimeError>"),
        ("\udc80", "\\udc80"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keys_are_text(key: Any, expected: str) -> None:
    """Whatever they are in Python."""
    assert shipped({key: "value"}) == {expected: "value"}


def test_a_tuple_as_a_key() -> None:
    """Is shown."""
    assert list(shipped({(1, 2): "value"}).values()) == ["value"]


# -- what has no end -------------------------------------------------------------------------------


def cyclic_list() -> Any:
    """A list that holds itself."""
    cycle: list[Any] = [1]
    cycle.append(cycle)
    return cycle


def cyclic_dict() -> Any:
    """A dict that holds itself further down."""
    cycle: dict[str, Any] = {}
    cycle["below"] = [cycle]
    return cycle


@dataclasses.dataclass(frozen=True)
class Holder:
    """A dataclass, which orjson would write by itself."""

    held: Any


def nested(depth: int, wrap: Any) -> Any:
    """Something in something in something."""
    value: Any = "the bottom"
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [(cyclic_list(), [1, "<cycle>"]), (cyclic_dict(), {"below": ["<cycle>"]})],
    ids=["list", "dict"],
)
def test_a_cycle_ends_where_it_closes(value: Any, expected: Any) -> None:
    """And says so."""
    assert shipped(value) == expected


def test_what_is_there_twice_is_no_cycle() -> None:
    """It is shown twice, also beside a true one."""
    shared = ["shared"]
    assert shipped([shared, shared, cyclic_list()]) == [shared, shared, [1, "<cycle>"]]


@pytest.mark.parametrize(
    "wrap",
    [lambda v: [v], lambda v: (v,), lambda v: {"a": v}, lambda v: OrderedDict(a=v)],
    ids=["list", "tuple", "dict", "subclass"],
)
@pytest.mark.parametrize("depth", [1_000, 10_000])
def test_nesting_is_cut_somewhere(wrap: Any, depth: int) -> None:
    """Nobody's stack overflows: ours, a reader's, or orjson's, which ends the process."""
    data = log_json({"value": nested(depth, wrap), "message": "hello"})
    assert strictly_read(data)["message"] == "hello"
    assert b"<nested too deeply>" in data


def test_ordinary_nesting_is_not_cut() -> None:
    """Twenty levels are a lot."""
    value = nested(20, lambda v: {"a": [v]})
    assert shipped(value) == value


def test_one_odd_value_does_not_cost_the_others() -> None:
    """They are what they would have been."""
    fields = {"message": "hello", "n": 1, "list": [1.5, None, True]}
    read = strictly_read(log_json({**fields, "odd": cyclic_list()}))
    assert fields.items() <= read.items()


# -- anything at all -------------------------------------------------------------------------------

hashable = (
    st.none()
    | st.booleans()
    | st.integers()
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
    | st.sampled_from([Color.RED, int, len])
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
    ),
    max_leaves=20,
)


@settings(max_examples=400, deadline=None)
@given(anything)
@example(float("nan"))
@example({float("nan"): float("inf")})
@example({"\ud800": ["\udfff", 2**64]})
def test_anything_at_all_is_strict_json(value: Any) -> None:
    """UTF-8 that every parser takes, and nothing is raised."""
    assert strictly_read(log_json({"value": value})).keys() == {"value"}


@settings(max_examples=200, deadline=None)
@given(st.floats())
def test_floats_are_read_back(value: float) -> None:
    """To the bit, where they are numbers."""
    assert shipped(value) == (value if math.isfinite(value) else None)
    assert shipped([value, 2**70]) == [value if math.isfinite(value) else None, 2**70]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: {value},
        lambda value: types.MappingProxyType({"a": value}),
        lambda value: Holder(value),
        lambda value: OrderedDict(a=value),
    ],
    ids=["set", "mapping", "dataclass", "subclass"],
)
def test_what_is_deep_inside_something_else_is_cut_too(wrap: Any) -> None:
    """orjson counts no tuples: three thousand of them end the process (3.13.0)."""
    deep = nested(10_000, lambda value: (value,))
    data = log_json({"value": wrap(deep), "message": "hello"})
    assert strictly_read(data)["message"] == "hello"


def test_hooks_that_raise_cost_their_value_only() -> None:
    """The rest of the record is there."""

    class Broken(dict[str, int]):
        def items(self) -> Any:
            raise ZeroDivisionError

        def __iter__(self) -> Any:
            raise ZeroDivisionError

    assert strictly_read(log_json({"value": Broken(a=1), "message": "hello"}))["message"] == "hello"
