"""Where the field that an option names is found."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.record.route import field_lookup


def found(name: str, fields: dict[str, Any], **attributes: Any) -> Any:
    """What a look-up finds in these fields, and a LogRecord with these attributes."""
    return field_lookup(name)(fields, logging.makeLogRecord(attributes))


class Hostile(Mapping[str, Any]):
    """A mapping that can't be looked into."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("not today")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("not today")

    def __len__(self) -> int:
        raise RuntimeError("not today")


@pytest.mark.parametrize(
    ("name", "fields", "attributes", "expected"),
    [
        ("a", {"a": 1}, {}, 1),
        ("a", {"a": 1}, {"a": 2}, 1),
        ("a", {}, {"a": 2}, 2),
        ("levelname", {"level": "INFO"}, {"levelname": "INFO"}, "INFO"),
        ("a.b", {"a.b": 1, "a": {"b": 3}}, {"a.b": 2}, 1),
        ("a.b", {"a": {"b": 3}}, {"a.b": 2}, 2),
        ("a.b", {"a": {"b": 3}}, {}, 3),
        ("a.b.c", {"a": {"b": {"c": 3}}}, {}, 3),
        ("a.b", {"a": MappingProxyType({"b": 3})}, {}, 3),
        ("a", {"a": None}, {"a": 2}, None),
        ("a.b", {"a": {"b": None}}, {}, None),
        ("a", {"a": {"b": 3}}, {}, {"b": 3}),
    ],
    ids=[
        "a field",
        "a field before an attribute",
        "an attribute",
        "an attribute by logging's name",
        "the whole name first",
        "then the attribute",
        "then the path",
        "deep",
        "in any mapping",
        "None is a value",
        "None in a path",
        "a dict",
    ],
)
def test_a_field_is_found(
    name: str, fields: dict[str, Any], attributes: dict[str, Any], expected: Any
) -> None:
    """By its whole name, as an attribute of the LogRecord, or at a dotted path."""
    assert found(name, fields, **attributes) == expected


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("a", {}),
        ("a.b", {"a": {}}),
        ("a.b", {"a": None}),
        ("a.b", {"a": "b"}),
        ("a.0", {"a": ["list"]}),
        ("a.", {"a": {"b": 1}}),
        (".a", {"a": 1}),
        ("a.b.c", {"a": {"b": 1}}),
        ("a.b", {"a": Hostile()}),
    ],
)
def test_a_field_that_is_nowhere_is_missing(name: str, fields: dict[str, Any]) -> None:
    """None stands for it, as for a field that is None."""
    assert found(name, fields) is None


def test_looking_makes_nothing() -> None:
    """As a defaultdict would."""
    visits: defaultdict[str, int] = defaultdict(int)
    assert found("visits.ann", {"visits": visits}) is None
    assert visits == {}


names = st.text("ab.", max_size=4)
nested = st.recursive(st.integers(), lambda inner: st.dictionaries(names, inner, max_size=3))


@given(st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=5), st.integers())
def test_every_path_leads_to_its_value(path: list[str], value: int) -> None:
    """However deep it is nested."""
    fields: Any = value
    for name in reversed(path):
        fields = {name: fields}
    assert found(".".join(path), fields) == value


@given(names, st.dictionaries(names, nested, max_size=3))
def test_a_look_up_never_raises(name: str, fields: dict[str, Any]) -> None:
    """And finds by the whole name whatever stands under it."""
    value = found(name, fields)
    assert value == fields.get(name, value)
