"""Values that are too long are cut: the longest first, and never their shape."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kiel_logging.record.plain import MARK
from kiel_logging.record.strict_json import SHORT, cut, json_bytes
from tests.record.test_plain import plain, same
from tests.support.examples import examples


def size(value: Any) -> int:
    """Bytes of JSON."""
    return len(json_bytes(value))


OURS = {
    "time": "2024-02-29T12:00:00.000000Z",
    "level": "WARNING",
    "logger": "shop.cart",
    "message": "hello",
}


# -- what loses ------------------------------------------------------------------------------------


def test_what_fits_is_not_cut() -> None:
    """To the byte; the dict is a new one."""
    kept, names = cut(OURS, size(OURS))
    assert kept == OURS
    assert kept is not OURS
    assert names == []


def test_the_longest_loses() -> None:
    """It keeps its beginning, and all the room that there is."""
    kept, names = cut({**OURS, "payload": "x" * 5000, "n": 1}, 1000)
    assert kept.items() >= {**OURS, "n": 1}.items()
    assert kept["payload"].startswith("x" * 500)
    assert kept["payload"].endswith("x" + MARK)
    assert size(kept) == 1000
    assert names == ["payload"]


def test_all_that_are_long_are_cut_to_one_length() -> None:
    """Shorter values are left alone."""
    kept, names = cut({"a": "x" * 5000, "b": "y" * 400, "c": "z" * 1000}, 1500)
    assert kept["b"] == "y" * 400
    assert len(kept["a"]) == len(kept["c"])
    assert 1490 <= size(kept) <= 1500
    assert names == ["a", "c"]


def test_a_dict_stays_a_dict() -> None:
    """Its longest value loses."""
    exception = {"type": "ValueError", "message": "why", "traceback": "line\n" * 1000}
    kept, names = cut({**OURS, "exception": exception}, 800)
    assert kept["exception"].keys() == exception.keys()
    assert kept["exception"]["type"] == "ValueError"
    assert kept["exception"]["traceback"].startswith("line\n" * 50)
    assert kept["exception"]["traceback"].endswith(MARK)
    assert names == ["exception.traceback"]


def test_a_list_keeps_its_first_items() -> None:
    """Numbers stay numbers: an index of a log store has one type for them."""
    kept, names = cut({**OURS, "ids": list(range(1000))}, 400)
    assert kept["ids"] == list(range(len(kept["ids"])))
    assert len(kept["ids"]) > 50
    assert names == ["ids"]


def test_the_last_item_of_a_list_may_be_cut() -> None:
    """It is named; the items behind it are missing."""
    kept, names = cut({"v": ["a", {"b": "x" * 500}, "c"]}, 200)
    assert kept["v"][0] == "a"
    assert kept["v"][1]["b"].endswith("x" + MARK)
    assert len(kept["v"]) == 2
    assert names == ["v.1.b", "v"]


def test_what_is_cut_deep_inside_is_named_only_there() -> None:
    """Nothing else of it is missing."""
    _, names = cut({"v": [[{"a": ["x" * 500]}]]}, 200)
    assert names == ["v.0.0.a.0"]


def test_short_values_are_dropped_rather_than_cut() -> None:
    """The first fields stay whole; those that there is no room for are named."""
    fields = {**OURS, **{f"x{n}": "y" * 50 for n in range(1000)}}
    kept, names = cut(fields, 1000)
    assert kept.items() >= OURS.items()
    assert all(same(value, fields[name]) for name, value in kept.items())
    assert size(kept) > 900
    assert names[0] == f"x{len(kept) - len(OURS)}"
    assert names[-1] == f"... and {len(fields) - len(kept) - 20} more"


def test_a_name_that_is_too_long_costs_its_field() -> None:
    """And not those after it."""
    kept, names = cut({"n" * 1000: 1, **OURS}, 300)
    assert kept == OURS
    assert names == ["n" * 199 + "…"]


def test_the_keys_of_a_dict_inside_are_not_named_one_by_one() -> None:
    """The dict is."""
    kept, names = cut({"v": {str(n): n for n in range(1000)}}, 300)
    assert list(kept["v"]) == [str(n) for n in range(len(kept["v"]))]
    assert names == ["v"]


@pytest.mark.parametrize("budget", [-5, 0, 1, 2])
def test_the_least_is_an_empty_dict(budget: int) -> None:
    """JSON of an object has no less."""
    assert cut({"message": "hello", "n": 1}, budget) == ({}, ["message", "n"])


# -- text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["x", "é", "漢", "🎉", '"', "\\", "\n", "\0", 'a"\0é🎉\\'], ids=ascii
)
@pytest.mark.parametrize("budget", range(80, 96))
def test_text_is_cut_between_characters(text: str, budget: int) -> None:
    """Whatever they take in JSON; one more would not fit."""
    fields = {"v": text * 200}
    kept = cut(fields, budget)[0]
    beginning = kept["v"].removesuffix(MARK)
    assert fields["v"].startswith(beginning)
    assert beginning != kept["v"]
    assert size(kept) <= budget
    assert size({"v": fields["v"][: len(beginning) + 1] + MARK}) > budget


# -- sizes -----------------------------------------------------------------------------------------


def nested(depth: int, wrap: Callable[[Any], Any], value: Any) -> Any:
    """Something in something in something."""
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        list(range(1_000_000)),
        {str(n): n for n in range(1_000_000)},
        "x" * 10_000_000,
        '\0"\\é' * 2_000_000,
        {"type": "ValueError", "message": "why", "traceback": "line\n" * 2_000_000},
        nested(50, lambda v: {"a": v}, "x" * 10_000_000),
        nested(50, lambda v: [v], "x" * 10_000_000),
    ],
    ids=["ints", "keys", "text", "escapes", "traceback", "deep dict", "deep list"],
)
@pytest.mark.parametrize("budget", [1_000, 1_000_000])
def test_ten_megabytes_are_cut(value: Any, budget: int) -> None:
    """To nearly what is allowed, with our own fields whole."""
    kept, names = cut({**OURS, "v": value}, budget)
    assert kept.items() >= OURS.items()
    assert type(kept["v"]) is type(value)
    assert 0.9 * budget < size(kept) <= budget
    assert names[0].startswith("v")


# -- laws ------------------------------------------------------------------------------------------


def is_cut_of(cut_: Any, whole: Any) -> bool:
    """Whether it is made of beginnings of it."""
    if same(cut_, whole):
        return True
    if type(cut_) is not type(whole):
        return False
    if type(whole) is dict:
        return all(name in whole and is_cut_of(cut_[name], whole[name]) for name in cut_)
    if type(whole) is list:
        return len(cut_) <= len(whole) and all(map(is_cut_of, cut_, whole))
    return type(whole) is str and cut_.endswith(MARK) and whole.startswith(cut_[: -len(MARK)])


long_text = st.builds(lambda text, times: text * times, st.text(max_size=6), st.integers(1, 100))
long_plain = st.recursive(
    long_text | plain | plain.map(lambda value: [value] * 20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | long_text, inner, max_size=4)
    ),
    max_leaves=5,
)


@examples(300)
@given(st.dictionaries(st.text(), long_plain, max_size=5), st.integers(2, 1500))
@example({"a": 1}, 2)
@example(
    {
        "é" * 8: {
            "\x1f": 1.0000000000000002e16,
            "xxxxxx0": ["é" * 11],
            "éééé1": 1.0000000000000002e16,
            "\x80" * 7: "x" * 14,
            "\x1f" * 9: 1.0000000000000002e16,
        }
    },
    85,
)
@example({"a": {"b": {"c": "x" * 100}}}, 85)
@example({"\x80": [], "k" * 20: {"0": "0" * 24, "00": "\x1f" * 23, "": "0" * 12}}, 96)
def test_what_is_cut_fits_and_has_its_shape(fields: dict[str, Any], budget: int) -> None:
    """Names are there when something was cut, and only then; nothing given is changed."""
    before = copy.deepcopy(fields)
    kept, names = cut(fields, budget)
    assert size(kept) <= budget
    assert is_cut_of(kept, fields)
    assert bool(names) == (not same(kept, fields)) == (size(fields) > budget)
    assert same(fields, before)


@examples(200)
@given(st.dictionaries(st.text(), long_plain, max_size=5), st.integers(300, 1500))
def test_our_own_fields_come_first(extras: dict[str, Any], budget: int) -> None:
    """Whatever else there is."""
    kept, _ = cut({**OURS, **{name: extras[name] for name in extras.keys() - OURS}}, budget)
    assert kept.items() >= OURS.items()


@examples(200)
@given(st.dictionaries(st.text(max_size=3), long_text, min_size=1, max_size=5), st.data())
def test_of_texts_all_the_room_is_used(fields: dict[str, str], data: Any) -> None:
    """But for what is less than a character each."""
    least = size(dict.fromkeys(fields, "x" * (SHORT - 2)))
    budget = data.draw(st.integers(least, least + 1500))
    kept = cut(fields, budget)[0]
    assert kept.keys() == fields.keys()
    assert size(kept) >= min(size(fields), budget - 7 * len(fields))
