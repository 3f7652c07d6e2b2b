"""Fields that are added, left out and renamed."""

from __future__ import annotations

import copy
import logging
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import ConfigurationError
from kiel_logging.record.fields import field_changes, to_fields

NOTHING: dict[str, Any] = {"fields": None, "rename": None, "exclude": None}


def changed(given_fields: dict[str, Any], **options: Any) -> dict[str, Any]:
    """A record's fields after these changes."""
    change = field_changes(**{**NOTHING, **options})
    assert change is not None
    return change(dict(given_fields))


class Hostile(dict[str, Any]):
    """A dict whose methods are the program's own, and broken."""

    def __contains__(self, key: object) -> bool:
        raise RuntimeError("not today")

    __getitem__ = __iter__ = keys = items = get = __contains__  # type: ignore[assignment]


@pytest.mark.parametrize("options", [{}, {"fields": {}, "rename": {}, "exclude": []}])
def test_without_changes_there_is_nothing_to_call(options: dict[str, Any]) -> None:
    """Most handlers pay nothing."""
    assert field_changes(**{**NOTHING, **options}) is None


# -- added -----------------------------------------------------------------------------------------


def test_static_fields_are_added() -> None:
    """Behind the others, in their order, and any value as it is."""
    value = object()
    made = changed({"message": "hi"}, fields={"environment": "test", "x": value, "n": None})
    assert list(made.items()) == [
        ("message", "hi"),
        ("environment", "test"),
        ("x", value),
        ("n", None),
    ]


@pytest.mark.parametrize("own", ["mine", None, 0, {}], ids=repr)
def test_a_field_of_the_record_s_own_stays(own: Any) -> None:
    """What was said where it was logged is more exact than what holds for the whole program."""
    assert changed({"team": own}, fields={"team": "shop"}) == {"team": own}


def test_a_static_field_can_not_be_one_that_every_record_has() -> None:
    """It would never be seen."""
    with pytest.raises(ConfigurationError, match=r"^fields has 'level': that is a field"):
        changed({}, fields={"level": "NOTICE"})


def test_static_fields_are_those_of_when_the_handler_was_made() -> None:
    """Not what becomes of the mapping later."""
    static = {"environment": "test"}
    change = field_changes(fields=static, rename=None, exclude=None)
    static["environment"] = "production"
    assert change is not None
    assert change({}) == {"environment": "test"}


# -- left out --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "exclude", "after"),
    [
        ({"a": 1, "b": 2, "c": 3}, ["b"], {"a": 1, "c": 3}),
        ({"a": 1, "b": 2, "c": 3}, ("a", "c"), {"b": 2}),
        ({"a": 1}, {"a"}, {}),
        ({"a": 1}, ["b", "b.c", "a.b", "a."], {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, ["a.b"], {"a": {"c": 2}}),
        ({"a": {"b": 1}}, ["a.b"], {"a": {}}),
        ({"a": {"b": {"c": {"d": 1, "e": 2}}}}, ["a.b.c.d"], {"a": {"b": {"c": {"e": 2}}}}),
        ({"a": {"b": 1, "c": 2}, "d": 3}, ["a.b", "a.c", "d"], {"a": {}}),
        ({"a": {"b": 1}}, ["a", "a.b"], {}),
        ({"a.b": 1, "a": {"b": 2, "c": 3}}, ["a.b"], {"a": {"c": 3}}),
        ({"a": {"b.c": 1, "b": {"c": 2, "d": 3}}}, ["a.b.c"], {"a": {"b": {"d": 3}}}),
        ({"a": [{"b": 1}]}, ["a.b", "a.0"], {"a": [{"b": 1}]}),
        ({"a": OrderedDict(b=1, c=2)}, ["a.b"], {"a": {"c": 2}}),
        ({"a": Hostile(b=1, c=2)}, ["a.b"], {"a": {"c": 2}}),
        ({"a": {"b": Hostile(c=1)}}, ["a.b.c"], {"a": {"b": {}}}),
        ({"a": None, "b": 7, "c": "text"}, ["a.b", "b.c", "c.d"], {"a": None, "b": 7, "c": "text"}),
    ],
    ids=[
        "one",
        "two",
        "all",
        "none of them",
        "in a dict",
        "the last in a dict",
        "deep",
        "more of one dict",
        "a dict and what is in it",
        "both of one name",
        "both of one name, nested",
        "not in lists",
        "in an OrderedDict",
        "in a dict with methods of its own",
        "in such a one, nested",
        "not in what is no dict",
    ],
)
def test_names_are_left_out(before: dict[str, Any], exclude: Any, after: dict[str, Any]) -> None:
    """Names of fields, and dotted paths into nested dicts; unknown ones change nothing."""
    assert changed(before, exclude=exclude) == after


def test_the_program_s_own_dicts_are_not_changed() -> None:
    """An `extra` belongs to whoever logged it."""
    user = {"id": 7, "address": {"street": "x", "city": "y"}, "tags": ["a"]}
    before = copy.deepcopy(user)
    made = changed({"user": user}, exclude=["user.address.street", "user.id"])
    assert made == {"user": {"address": {"city": "y"}, "tags": ["a"]}}
    assert user == before


def test_what_nothing_is_left_out_of_is_not_copied() -> None:
    """Only what is on the way."""
    user: dict[str, Any] = {"address": {"street": "x"}, "cart": {"items": []}}
    fields = {"user": user, "other": {}}
    made = changed(fields, exclude=["user.address.street", "other.none"])
    assert made["user"]["cart"] is user["cart"]
    assert made["other"] is fields["other"]


# -- renamed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "rename", "after"),
    [
        ({"a": 1, "b": 2, "c": 3}, {"b": "z"}, {"a": 1, "z": 2, "c": 3}),
        ({"a": 1, "b": 2}, {"a": "x", "b": "y"}, {"x": 1, "y": 2}),
        ({"a": 1}, {"b": "z"}, {"a": 1}),
        ({"a": 1}, {"a": "a"}, {"a": 1}),
        ({"a": 1, "b": 2}, {"a": "b", "b": "a"}, {"b": 1, "a": 2}),
        ({"a": 1, "b": 2}, {"a": "b", "b": "c"}, {"b": 1, "c": 2}),
        ({"b": 2}, {"a": "b", "b": "c"}, {"c": 2}),
        ({"a": {"b": 1}}, {"a.b": "z"}, {"a": {"b": 1}}),
        ({"a.b": 1}, {"a.b": "z"}, {"z": 1}),
        ({"a": 1}, {"a": "x.y"}, {"x.y": 1}),
        ({"a": None}, {"a": "z"}, {"z": None}),
    ],
    ids=[
        "one",
        "two",
        "none of them",
        "to itself",
        "each other's",
        "in a chain",
        "in a chain, one missing",
        "no paths",
        "a name with a dot",
        "to a name with a dot",
        "None",
    ],
)
def test_fields_are_renamed(
    before: dict[str, Any], rename: dict[str, str], after: dict[str, Any]
) -> None:
    """All at once, each in its place."""
    assert list(changed(before, rename=rename).items()) == list(after.items())


@pytest.mark.parametrize(
    ("before", "rename", "after"),
    [
        ({"a": 1, "b": 2}, {"a": "b"}, {"b": 1, "extra": {"b": 2}}),
        (
            {"a": 1, "b": 2, "c": 3, "d": 4},
            {"a": "b", "c": "d"},
            {"b": 1, "d": 3, "extra": {"b": 2, "d": 4}},
        ),
        ({"a": 1, "b": 2, "extra": {"x": 3}}, {"a": "b"}, {"b": 1, "extra": {"x": 3, "b": 2}}),
        (
            {"a": 1, "b": 2, "extra": {"b": 3}},
            {"a": "b"},
            {"b": 1, "extra": {"b": 3, "extra": {"b": 2}}},
        ),
        (
            {"a": 1, "b": 2, "extra": {"b": 3, "extra": "x"}},
            {"a": "b"},
            {"b": 1, "extra": {"b": 3, "extra": {"extra": "x", "b": 2}}},
        ),
        ({"a": 1, "b": 2, "extra": "x"}, {"a": "b"}, {"b": 1, "extra": {"extra": "x", "b": 2}}),
        (
            {"a": 1, "b": 2, "extra": {"x": 3}},
            {"a": "b", "extra": "labels"},
            {"b": 1, "labels": {"x": 3, "b": 2}},
        ),
        (
            {"a": 1, "b": 2, "labels": 3},
            {"extra": "labels", "a": "b"},
            {"b": 1, "labels": {"b": 2, "labels": 3}},
        ),
        ({"b": 2}, {"a": "b"}, {"b": 2}),
    ],
    ids=[
        "one",
        "two",
        "beside others",
        "taken there too",
        "taken all the way down",
        "an extra that is no dict",
        "and extra is renamed",
        "extra is there because of it",
        "nothing to rename",
    ],
)
def test_a_field_whose_name_is_given_away_is_not_lost(
    before: dict[str, Any], rename: dict[str, str], after: dict[str, Any]
) -> None:
    """It moves under `extra`, as an extra does that has the name of one of ours."""
    assert changed(before, rename=rename) == after


def test_moving_under_extra_changes_no_dict_of_the_program_s() -> None:
    """An extra that is called extra stays as it was logged."""
    mine = {"level": "mine too"}
    record = logging.makeLogRecord(
        {"levelname": "INFO", "level": "mine", "extra": mine, "severity": 3}
    )
    made = changed(to_fields(record, None), rename={"severity": "level"})
    assert made["level"] == 3
    assert made["extra"] == {
        "level": "mine",
        "extra": {"level": "mine too", "extra": {"level": "INFO"}},
    }
    assert mine == {"level": "mine too"}


# -- together --------------------------------------------------------------------------------------


def test_the_order_of_changes() -> None:
    """Static fields are fields as any other; a name that was left out is free."""
    made = changed(
        {"a": 1, "b": 2},
        fields={"c": 3, "d": 4},
        exclude=["b", "d"],
        rename={"a": "b", "c": "z"},
    )
    assert list(made.items()) == [("b", 1), ("z", 3)]


letters = st.sampled_from("abcdef")
values = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(letters | st.just("extra"), inner, max_size=3),
    max_leaves=8,
)
records = st.dictionaries(letters, values, max_size=6)
with_extra = st.builds(
    lambda fields, extra: {**fields, "extra": extra}, records, st.dictionaries(letters, values)
)


def numbered(fields: dict[str, Any], counter: list[int]) -> dict[str, Any]:
    """The same with a number of its own at each leaf, to find them again."""

    def number(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: number(inner) for name, inner in value.items()}
        counter[0] += 1
        return counter[0]

    return {name: number(value) for name, value in fields.items()}


def leaves(value: Any) -> list[int]:
    """All numbers that are left."""
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    return [value]


@given(
    records | with_extra,
    st.dictionaries(st.sampled_from("abcdefxyz"), letters | st.just("extra"), min_size=1),
)
def test_renaming_loses_nothing(fields: dict[str, Any], targets: dict[str, str]) -> None:
    """Whatever is renamed to whatever, and each is found under its new name."""
    rename = {name: target for target, name in targets.items()}
    fields = numbered(fields, [0])
    before = copy.deepcopy(fields)
    made = changed(fields, rename=rename)
    assert sorted(leaves(made)) == sorted(leaves(before))
    for name in rename.keys() & fields.keys() - {"extra"}:
        assert made[rename[name]] == before[name]
    assert fields == before


@given(
    records,
    st.lists(st.lists(letters, min_size=1, max_size=3).map(".".join), min_size=1, max_size=4),
)
def test_what_is_left_out_is_gone_and_nothing_else(
    fields: dict[str, Any], exclude: list[str]
) -> None:
    """And the program's own dicts are as they were."""
    before = copy.deepcopy(fields)
    made = changed(fields, exclude=exclude)
    assert fields == before
    assert paths(made) == {
        path
        for path in paths(before)
        if not any(path == name or path.startswith(f"{name}.") for name in exclude)
    }


def paths(value: Any, above: str = "") -> set[str]:
    """Every dotted path that there is."""
    if not isinstance(value, dict):
        return set()
    here = {f"{above}{name}" for name in value}
    return here.union(*(paths(inner, f"{above}{name}.") for name, inner in value.items()))


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": "a"}, "fields='a' must be a mapping of names to values, such as {'environ"),
        ({"fields": ["a"]}, "fields=['a'] must be a mapping of names to values, such as"),
        ({"fields": {"": 1}}, "fields has '': each name must be a str, and not empty"),
        ({"fields": {7: 1}}, "fields has 7: each name must be a str, and not empty"),
        ({"fields": {"kiel_logging": 1}}, "fields has 'kiel_logging': that is a field of the rec"),
        ({"rename": "a"}, "rename='a' must be a mapping of names of fields to new names, such as"),
        ({"rename": ["a"]}, "rename=['a'] must be a mapping of names of fields to new names"),
        ({"rename": {"": "a"}}, "rename has '': each name must be a str, and not empty"),
        ({"rename": {"a": ""}}, "rename has '': each name must be a str, and not empty"),
        ({"rename": {"a": None}}, "rename has None: each name must be a str, and not empty"),
        (
            {"rename": {"a": "c", "b": "c"}},
            "rename={'a': 'c', 'b': 'c'} gives two fields the name 'c'",
        ),
        ({"rename": {"a": "extra"}}, "rename has 'extra': that is a field of the handler's own"),
        ({"rename": {"a": "kiel_logging"}}, "rename has 'kiel_logging': that is a field of the"),
        ({"exclude": "thread"}, "exclude='thread' must be a list of names of fields, such as ['t"),
        ({"exclude": {"thread": 1}}, "exclude={'thread': 1} must be a list of names of fields"),
        ({"exclude": 7}, "exclude=7 must be a list of names of fields, such as"),
        ({"exclude": [""]}, "exclude has '': each name must be a str, and not empty"),
        ({"exclude": [None]}, "exclude has None: each name must be a str, and not empty"),
        (
            {"exclude": ["b", "a"], "rename": {"a": "z"}},
            "exclude and rename both have 'a': choose one",
        ),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    """When the handler is made."""
    with pytest.raises(ConfigurationError) as refused:
        field_changes(**{**NOTHING, **options})
    assert str(refused.value).startswith(message)
