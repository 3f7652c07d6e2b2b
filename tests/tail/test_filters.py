"""Which records pass the filters."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kiel_logging.tail.entries import entries
from kiel_logging.tail.filters import Filters
from tests.record.formats.records import TRACE_ID
from tests.tail.sample import FORMATS, arrival, formatted


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("conditions", "passes"),
    [
        ({}, True),
        ({"level": 30}, True),
        ({"level": 31}, False),
        ({"where": (("user_id", "ada"),)}, True),
        ({"where": (("user_id", "bob"),)}, False),
        ({"where": (("user_id", "ada"), ("total", "9.9"))}, True),
        ({"where": (("user_id", "ada"), ("total", "9.8"))}, False),
        ({"where": (("absent", ""),)}, False),
        ({"where": (("logger", "shop.cart"), ("level", "WARNING"))}, True),
        ({"where": (("topic", "shop.app"), ("partition", "2"), ("offset", "17"))}, True),
        ({"where": (("key", "ada"),)}, True),
        ({"where": (("key", "bob"),)}, False),
        ({"where": (("partition", "1"),)}, False),
        ({"grep": re.compile("ord.r 17")}, True),
        ({"grep": re.compile("Order")}, False),
        ({"grep": re.compile("(?i)ORDER")}, True),
        ({"grep": re.compile("user_id=ada")}, True),
        ({"grep": re.compile(r"shop\.cart")}, True),
        ({"trace": TRACE_ID.upper()}, True),
        ({"trace": TRACE_ID[:-1]}, False),
        ({"level": 30, "trace": TRACE_ID, "grep": re.compile("nothing")}, False),
    ],
    ids=str,
)
def test_all_conditions_have_to_be_met(kind: str, conditions: dict[str, Any], passes: bool) -> None:
    """In each format the same."""
    came = formatted(kind, "order 17", user_id="ada", total=9.9, trace_id=TRACE_ID)
    [entry] = entries(came)
    assert Filters(**conditions).pass_on(entry, came) is passes


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        (b"no level at all", False),
        (b'{"level": "AUDIT", "message": "paid"}', True),
        (b'{"order": {"id": 17}, "level": "INFO"}', False),
        (b"2026 ERROR no", True),
    ],
)
def test_levels_that_are_not_known(value: bytes, passes: bool) -> None:
    """A level of unknown rank passes; without a level a record does not."""
    came = arrival(value)
    assert Filters(level=40).pass_on(entries(came)[0], came) is passes


@pytest.mark.parametrize("document", [b'{"order": {"id": 17}}', b'{"order.id": "17"}'])
def test_a_path_reaches_into_objects(document: bytes) -> None:
    """A dotted name is a path or a name, and values are compared as text."""
    came = arrival(document)
    assert Filters(where=(("order.id", "17"),)).pass_on(entries(came)[0], came)
