"""Options that are mappings and lists, from Python and from a dictConfig."""

from __future__ import annotations

import asyncio
import logging
import logging.config
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import pytest

from kiel_logging.config.table import given_mapping, given_names
from kiel_logging.errors import ConfigurationError
from kiel_logging.record.fields import (
    check_names_are_free,
    to_fields,
)

REQUEST_ID: ContextVar[str] = ContextVar("REQUEST_ID")
HERE = f"ext://{__name__}"


def configured(value: Any) -> Any:
    """A value as dictConfig hands it to a handler: what is nested in it is not resolved yet."""
    return logging.config.BaseConfigurator({"value": value}).config["value"]


# -- mappings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [{"a": 1}, MappingProxyType({"a": 1}), configured({"a": 1})], ids=lambda v: type(v)
)
def test_a_mapping_is_taken_as_a_dict(value: Mapping[str, int]) -> None:
    """Of whichever kind it is; later changes by its owner change nothing."""
    taken = given_mapping("fields", value, "")
    assert taken == {"a": 1}
    assert type(taken) is dict
    assert taken is not value


def test_nothing_given_is_empty() -> None:
    """Null in a file."""
    assert given_mapping("fields", None, "") == {}
    assert given_names("exclude", None, "") == ()


@pytest.mark.parametrize("value", ["a", 7, ["a"], [("a", "b")], {"a"}], ids=repr)
def test_what_is_no_mapping_is_refused(value: Any) -> None:
    """The message has the option, the value and what it may be."""
    with pytest.raises(ConfigurationError) as refused:
        given_mapping("headers", value, "header names to names of fields")
    expected = f"headers={value!r} must be a mapping of header names to names of fields"
    assert str(refused.value) == expected


@pytest.mark.parametrize("name", ["", 1, None, True, b"a", ("a",)], ids=repr)
def test_a_name_is_a_str_that_is_not_empty(name: Any) -> None:
    """YAML makes True of `on`."""
    expected = f"option has {name!r}: each name must be a str, and not empty"
    with pytest.raises(ConfigurationError) as refused:
        given_mapping("option", {"fine": 1, name: 2}, "")
    assert str(refused.value) == expected
    with pytest.raises(ConfigurationError) as refused:
        given_names("option", ["fine", name], "")
    assert str(refused.value) == expected


# -- lists -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list, tuple, dict.fromkeys, iter, configured])
def test_names_may_be_listed_by_anything(kind: Any) -> None:
    """Lists, tuples, keys, iterators; but not by a mapping, which is refused."""
    listed = kind(["a", "b"])
    names = listed.keys() if isinstance(listed, dict) else listed
    assert given_names("exclude", names, "") == ("a", "b")


@pytest.mark.parametrize("value", ["thread", b"thread", {"thread": True}, 7], ids=repr)
def test_what_is_no_list_of_names_is_refused(value: Any) -> None:
    """A str is a list of letters to Python, and never what was meant."""
    with pytest.raises(ConfigurationError) as refused:
        given_names("exclude", value, "['thread']")
    expected = f"exclude={value!r} must be a list of names of fields, such as ['thread']"
    assert str(refused.value) == expected


# -- names that are taken --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [*to_fields(logging.makeLogRecord({}), None), "extra", "kiel_logging"]
)
def test_a_field_of_every_record_can_not_be_given(name: str) -> None:
    """Better said than never seen."""
    with pytest.raises(ConfigurationError, match=f"^fields has '{name}': that is a field of the"):
        check_names_are_free("fields", ["environment", name])


@pytest.mark.parametrize("name", ["task", "exception", "stack", "request_id", "Level"])
def test_a_field_that_few_records_have_can(name: str) -> None:
    """The others have room for it."""
    check_names_are_free("fields", [name])


def test_it_does_not_count_where_the_handler_is_made() -> None:
    """In an asyncio task, records have one field more."""

    async def main() -> None:
        check_names_are_free("fields", ["task"])
        with pytest.raises(ConfigurationError, match="has 'host'"):
            check_names_are_free("fields", ["host"])

    asyncio.run(main())


# -- dictConfig ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": f"{HERE}.REQUEST_ID"}, {"a": REQUEST_ID}),
        ({"a": {"b": f"{HERE}.REQUEST_ID"}}, {"a": {"b": REQUEST_ID}}),
        ({"a": [f"{HERE}.REQUEST_ID"]}, {"a": [REQUEST_ID]}),
        ({"a": (f"{HERE}.REQUEST_ID",)}, {"a": [REQUEST_ID]}),
        ({"a": "https://a.example"}, {"a": "https://a.example"}),
        ({"a": [1, None, {"b": 1.5}]}, {"a": [1, None, {"b": 1.5}]}),
    ],
    ids=["direct", "in a dict", "in a list", "in a tuple", "an address", "plain"],
)
def test_references_are_resolved(value: Any, expected: Any) -> None:
    """At any depth, though dictConfig itself resolves what stands directly under a handler."""
    assert given_mapping("fields", configured(value), "") == expected


def test_what_was_resolved_is_plain() -> None:
    """Dicts and lists, with nothing of logging.config's left in them."""
    taken = given_mapping("fields", configured({"a": {"b": [{}]}}), "")
    assert type(taken["a"]) is dict
    assert type(taken["a"]["b"]) is list
    assert type(taken["a"]["b"][0]) is dict


def test_references_in_a_list_are_resolved() -> None:
    """Walking a list of logging.config's alone would not."""
    assert given_names("exclude", configured([f"{HERE}.HERE", "b"]), "") == (HERE, "b")


@pytest.mark.parametrize("missing", ["no_such_module.name", f"{__name__}.NO_SUCH_NAME"])
def test_a_reference_to_nothing_is_told(missing: str) -> None:
    """With the option it is in."""
    with pytest.raises(ConfigurationError, match=r"^context=\{'a': '.*'\} can't be resolved: "):
        given_mapping("context", configured({"a": f"ext://{missing}"}), "")
