"""The formats by their names, and what all of them have in common."""

from __future__ import annotations

import logging
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.record.fields import to_fields
from kiel_logging.record.formats import free_name
from kiel_logging.record.strict_json import json_text
from kiel_logging.record.value import FORMATS
from tests.record.formats.records import (
    extras,
    laid_out,
    logged,
    plain_fields,
    without_some,
)
from tests.support.examples import examples

ODD_TIMES = [0, -1, -0.5, 1e9, 1e11, 1e18, 1e300, -1e15, float("nan"), float("inf"), None, "noon"]


def test_these_are_the_formats() -> None:
    """That are JSON."""
    assert list(FORMATS) == ["json", "ecs", "otel", "gelf"]


def test_json_is_the_fields() -> None:
    """As they are: the same dict."""
    fields = plain_fields(user_id=7)
    assert FORMATS["json"]().lay_out(fields, logged()) is fields


@pytest.mark.parametrize("name", FORMATS)
@examples(50)
@given(fields=without_some(plain_fields()), extra=extras)
def test_any_fields_are_laid_out_as_plain_json(
    name: str, fields: dict[str, Any], extra: dict[str, Any]
) -> None:
    """Each time the same, and the fields and the record stay what they were."""
    made = laid_out(FORMATS[name]().lay_out, {**fields, **extra})
    assert orjson.loads(orjson.dumps(made)) == made


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("created", ODD_TIMES)
@pytest.mark.parametrize("levelno", [-5, 0, 5, 1000, None, "high"])
def test_odd_times_and_levels_cost_nothing_else(name: str, created: Any, levelno: Any) -> None:
    """A program may set them."""
    fields = plain_fields(time="some day")
    made = laid_out(FORMATS[name]().lay_out, fields, created=created, levelno=levelno)
    assert b"hello" in orjson.dumps(made)
    assert b"some day" in orjson.dumps(made)


@pytest.mark.parametrize("name", FORMATS)
def test_a_record_with_next_to_nothing(name: str) -> None:
    """As a socket may bring it."""
    record = logging.makeLogRecord({"created": 0})
    orjson.dumps(FORMATS[name]().lay_out({}, record))
    assert orjson.dumps(FORMATS[name]().lay_out(to_fields(record, None), record))


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "b"]), unique=True))
def test_a_free_name_is_free(taken: list[str]) -> None:
    """And the name itself, where that is."""
    assert free_name("a", taken) not in taken
    assert (free_name("a", taken) == "a") == ("a" not in taken)


def test_json_text_has_integers_of_any_size() -> None:
    """orjson refuses those of more than 64 bits."""
    assert json_text({"a": [2**70, "ä"]}) == f'{{"a":[{2**70},"ä"]}}'
    assert json_text({"a": [1, "ä"]}) == '{"a":[1,"ä"]}'
