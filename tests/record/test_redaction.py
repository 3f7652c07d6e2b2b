"""Values that must not be seen."""

from __future__ import annotations

import copy
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import ConfigurationError
from kiel_logging.record.redaction import redaction
from tests.record.test_conversion import conversion, record

HIDDEN = "[redacted]"


def redacted(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """The fields with these names hidden."""
    redact = redaction(names)
    assert redact is not None
    return redact(fields)


@pytest.mark.parametrize("names", [None, [], ()], ids=repr)
def test_without_names_there_is_nothing_to_call(names: Any) -> None:
    """Most handlers pay nothing."""
    assert redaction(names) is None


@pytest.mark.parametrize("value", ["s3cret", "", 7, None, True, 1.5, ["a"], {"a": 1}, []], ids=repr)
def test_a_value_of_any_type_is_hidden(value: Any) -> None:
    """A container as a whole: what is in it may be named harmlessly."""
    assert redacted({"password": value, "user": "ann"}, "password") == {
        "password": HIDDEN,
        "user": "ann",
    }


@pytest.mark.parametrize(
    "name", ["api_key", "API_KEY", "Api-Key", "api-key", "X_Api-key", "x-api_KEY"]
)
@pytest.mark.parametrize("option", ["api_key", "Api-Key", "API-KEY"])
def test_spelling_does_not_count(name: str, option: str) -> None:
    """Neither case nor which of '-' and '_' it is: HTTP headers are written in all ways."""
    options = (option, f"x-{option}")
    assert redacted({name: "s3cret"}, *options) == {name: HIDDEN}


@pytest.mark.parametrize(("option", "name"), [("straße", "STRASSE"), ("ΚΩΔΙΚΟΣ", "κωδικος")])
def test_case_does_not_count_in_any_script(option: str, name: str) -> None:
    """As Unicode compares without case."""
    assert redacted({name: "s3cret"}, option) == {name: HIDDEN}


@pytest.mark.parametrize(
    "name", ["passwords", "my_password", "pass_word", "password ", "user.password", "passwor", ""]
)
def test_other_names_are_other_names(name: str) -> None:
    """A name is compared as a whole."""
    assert redacted({name: "seen"}, "password") == {name: "seen"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": {"key": 1, "b": 2}}, {"a": {"key": HIDDEN, "b": 2}}),
        ({"a": [{"key": 1}, {"b": 2}]}, {"a": [{"key": HIDDEN}, {"b": 2}]}),
        ({"a": [[{"key": 1}]]}, {"a": [[{"key": HIDDEN}]]}),
        ({"a": {"b": {"c": {"key": 1}}}}, {"a": {"b": {"c": {"key": HIDDEN}}}}),
        ({"a": {"key": {"key": 1}}}, {"a": {"key": HIDDEN}}),
        ({"a": ({"key": 1}, 2)}, {"a": [{"key": HIDDEN}, 2]}),
        ({"a": "key", "b": ["key"]}, {"a": "key", "b": ["key"]}),
        ({"key": HIDDEN}, {"key": HIDDEN}),
    ],
    ids=[
        "in a dict",
        "in a list",
        "in a list in a list",
        "deep",
        "under itself",
        "in a tuple",
        "not values",
        "hidden already",
    ],
)
def test_a_name_is_found_at_any_depth(before: dict[str, Any], after: dict[str, Any]) -> None:
    """In dicts and lists."""
    assert redacted(before, "key") == after


def test_a_name_with_a_dot_is_no_path() -> None:
    """It is compared as any other."""
    fields = {"user": {"key": 1}, "user.key": 2}
    assert redacted(fields, "user.key") == {"user": {"key": 1}, "user.key": HIDDEN}


def test_the_order_of_fields_stays() -> None:
    """A hidden value has its place."""
    fields = {"a": 1, "key": 2, "b": {"c": 3, "key": 4, "d": 5}}
    made = redacted(fields, "key")
    assert list(made) == ["a", "key", "b"]
    assert list(made["b"]) == ["c", "key", "d"]


def test_nothing_is_made_where_nothing_is_hidden() -> None:
    """Most records have nothing to hide."""
    fields: dict[str, Any] = {"a": {"b": [1, {"c": 2}]}, "d": ["e"], "f": ({},)}
    assert redacted(fields, "key") is fields


def test_only_what_is_changed_is_made_anew() -> None:
    """And nothing is changed that is not ours."""
    fields: dict[str, Any] = {"a": {"key": 1}, "b": {"c": 2}, "d": [{"e": 3}, {"key": 4}]}
    before = copy.deepcopy(fields)
    made = redacted(fields, "key")
    assert fields == before
    assert made["b"] is fields["b"]
    assert made["d"][0] is fields["d"][0]
    assert made["a"] is not fields["a"]


# -- laws ------------------------------------------------------------------------------------------

NAMES = ["password", "api-key", "Straße"]
SPELT = ["password", "PassWord", "API_KEY", "Api-Key", "api-key", "STRASSE", "straße"]
secrets = st.integers(0, 2**32).map("s3cret-{}".format)
hidden = st.recursive(
    secrets,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
seen = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("abc", max_size=5)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


def dicts(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Dicts with things to see and things to hide."""
    return st.builds(
        lambda one, other: {**one, **other},
        st.dictionaries(names, inner, max_size=3),
        st.dictionaries(st.sampled_from(SPELT), hidden, max_size=2),
    )


values = st.recursive(seen, lambda inner: st.lists(inner, max_size=3) | dicts(inner), max_leaves=10)


@given(dicts(values))
def test_nothing_hidden_is_written(fields: dict[str, Any]) -> None:
    """No secret is in the bytes, wherever it stood and whatever it was nested in."""
    assert b"s3cret" not in orjson.dumps(redacted(fields, *NAMES))


def without(value: Any) -> Any:
    """The same with nothing under a hidden name; as JSON reads it."""

    def pairs(items: list[tuple[str, Any]]) -> Any:
        return [(name, None if name in SPELT else inner) for name, inner in items]

    return json.loads(json.dumps(value), object_pairs_hook=pairs)


@given(dicts(values))
def test_everything_else_is_as_it_was(fields: dict[str, Any]) -> None:
    """All other names, values and their order; and the dict that was given."""
    before = copy.deepcopy(fields)
    made = redacted(fields, *NAMES)
    assert without(made) == without(before)
    assert fields == before


@given(dicts(values))
def test_redacting_again_changes_nothing(fields: dict[str, Any]) -> None:
    """What is hidden stays hidden."""
    once = redacted(fields, *NAMES)
    assert redacted(once, *NAMES) == once


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("password", "redact='password' must be a list of names of fields, such as ['password', "),
        (b"password", "redact=b'password' must be a list of names of fields, such as"),
        ({"password": True}, "redact={'password': True} must be a list of names of fields"),
        (7, "redact=7 must be a list of names of fields"),
        (True, "redact=True must be a list of names of fields"),
        (["password", ""], "redact has '': each name must be a str, and not empty"),
        ([None], "redact has None: each name must be a str, and not empty"),
        ([7], "redact has 7: each name must be a str, and not empty"),
    ],
    ids=repr,
)
def test_bad_names_are_refused(names: Any, message: str) -> None:
    """When the handler is made: nobody wants to find out later."""
    with pytest.raises(ConfigurationError) as refused:
        redaction(names)
    assert str(refused.value).startswith(message)


# -- odd exceptions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "exc_info",
    [
        *[(1, 2, 3), True, 7, (), (1,), (None, None, None), ("a", "secret", "c")],
        *[(ValueError, None, None), (ValueError, "secret", None), (int, 1, None)],
        (ValueError, ValueError("x"), 5),
    ],
    ids=repr,
)
@pytest.mark.parametrize("format_", ["json", "text", "ecs"])
@pytest.mark.parametrize("redact", [None, ["password"]])
def test_a_made_up_exception_costs_no_record(exc_info: Any, format_: str, redact: Any) -> None:
    """It arrives; with ``redact``, without values that have no names."""
    item = conversion(format=format_, redact=redact).convert(record(exc_info=exc_info), None)
    assert b"sold tea" in (item.record.value or b"")
    assert redact is None or b"secret" not in (item.record.value or b"")
