"""Log records as strict JSON of bounded size: the longest values are cut, never their shape."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kiel_logging.record.plain import MARK
from kiel_logging.record.strict_json import (
    LEAST_LIMIT,
    NOTES,
    SHORT,
    cut,
    json_bytes,
    json_text,
    log_json,
)
from tests.record.test_plain import anything, hashable, plain, same
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
        list(range(100_000)),
        {str(n): n for n in range(100_000)},
        "x" * 1_000_000,
        '\0"\\é' * 200_000,
        {"type": "ValueError", "message": "why", "traceback": "line\n" * 200_000},
        nested(50, lambda v: {"a": v}, "x" * 1_000_000),
        nested(50, lambda v: [v], "x" * 1_000_000),
    ],
    ids=["ints", "keys", "text", "escapes", "traceback", "deep dict", "deep list"],
)
@pytest.mark.parametrize("budget", [1_000, 100_000])
def test_a_megabyte_is_cut(value: Any, budget: int) -> None:
    """To nearly what is allowed, with our own fields whole."""
    kept, names = cut({**OURS, "v": value}, budget)
    assert kept.items() >= OURS.items()
    assert type(kept["v"]) is type(value)
    assert 0.9 * budget < size(kept) <= budget
    assert names[0].startswith("v")


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


# -- JSON ------------------------------------------------------------------------------------------


@examples(300)
@given(plain)
@example(nested(100, lambda value: {"a": [value]}, "the bottom"))
@example('\x00\x1f\x7f"\\ é漢😀' * 300)
@example({"": -(2**63), "a": 2**64 - 1, "b": [True, None, 1e300, -0.0, 5e-324]})
def test_c_writes_what_python_writes(value: Any) -> None:
    """To the byte; it is read back as what it was."""
    made = json_bytes(value)
    assert made == json_text(value).encode()
    assert json.loads(made) == value


@pytest.mark.parametrize("value", [float("nan"), "\ud800", {"a": ["\udfff", object()]}])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    """It has no JSON, or no UTF-8."""
    with pytest.raises((TypeError, ValueError)):
        json_bytes(value)


# -- records ---------------------------------------------------------------------------------------


def refuse(constant: str) -> Any:
    """Refuse constants that json.loads would take, and JSON lacks."""
    raise AssertionError(f"{constant} is no JSON")


def no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as strict readers take it."""
    made = dict(pairs)
    assert len(made) == len(pairs)
    return made


def strictly_read(data: bytes) -> Any:
    """Return it as any JSON parser reads it."""
    assert type(data) is bytes
    orjson.loads(data)
    return json.loads(data.decode(), parse_constant=refuse, object_pairs_hook=no_name_twice)


# -- what is written -------------------------------------------------------------------------------


@examples(150)
@given(st.dictionaries(st.text(), plain, max_size=5))
def test_what_has_a_form_in_json_is_read_back(fields: dict[str, Any]) -> None:
    """As it went in, and nothing is said of it."""
    assert same(strictly_read(log_json(copy.deepcopy(fields))), fields)


def test_text_is_utf8() -> None:
    """Not escaped: it is shorter, and can be read in a terminal."""
    assert log_json({"message": "grüße 🎉"}) == '{"message":"grüße 🎉"}'.encode()


@pytest.mark.parametrize(
    ("value", "expected", "names"),
    [
        ({"a": "b\udc80", "n": 2**70}, {"a": "b\\udc80", "n": str(2**70)}, ["value.a"]),
        ([math.nan, "\ud800"], [None, "\\ud800"], ["value.0", "value.1"]),
        (10**5000, hex(10**5000), None),
        ({1: 1, "1": 2}, {"1": 2, "1 (2)": 1}, ["value.1 (2)"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_could_not_be_shown_is_named(
    value: Any, expected: Any, names: list[str] | None
) -> None:
    """The notes name it; its neighbours are as they were."""
    read = strictly_read(log_json({**OURS, "value": value}))
    notes = {} if names is None else {NOTES: {"replaced": names}}
    assert read == {**OURS, "value": expected, **notes}


def test_a_note_that_is_there_is_kept() -> None:
    """Such as one of what was replaced before a redaction."""
    fields = {NOTES: {"replaced": ["before"], "more": 1}, "value": math.nan}
    assert strictly_read(log_json(fields))[NOTES] == {"replaced": ["before", "value"], "more": 1}


@pytest.mark.parametrize("theirs", ["text", 7, None, [1], {"replaced": "text"}])
def test_a_field_of_the_program_under_our_name_is_kept(theirs: Any) -> None:
    """As it is, or with our notes beside it."""
    assert strictly_read(log_json({NOTES: theirs})) == {NOTES: theirs}
    notes = strictly_read(log_json({NOTES: theirs, "value": math.nan}))[NOTES]
    assert notes["replaced"][-1] == "value"
    assert theirs in ({"replaced": notes["replaced"][0]}, notes.get("value"))


# -- layouts ---------------------------------------------------------------------------------------


def in_text(fields: dict[str, Any]) -> dict[str, Any]:
    """A layout that has JSON in strings."""
    return {
        "version": "1.1",
        **{f"_{name}": json_text(value) for name, value in fields.items()},
    }


def test_a_layout_makes_what_is_written() -> None:
    """Of plain fields, the notes included."""
    data = log_json({"value": {1: math.nan}}, lambda fields: {"laid": fields})
    assert strictly_read(data) == {"laid": {"value": {"1": None}, NOTES: {"replaced": ["value.1"]}}}


def test_a_layout_that_is_wrong_is_told() -> None:
    """A layout is code of the package: its bugs are not hidden."""

    def wrong(fields: dict[str, Any]) -> Any:
        return fields["no such"]

    with pytest.raises(KeyError):
        log_json({"message": "hello"}, wrong)


# -- the limit -------------------------------------------------------------------------------------


def test_a_record_of_the_limit_is_not_cut() -> None:
    """One byte more is."""
    fields = {**OURS, "payload": "x" * 1000}
    whole = log_json(dict(fields))
    assert log_json(dict(fields), None, len(whole)) == whole
    cut = strictly_read(log_json(dict(fields), None, len(whole) - 1))
    assert cut[NOTES] == {"original_size": len(whole), "cut": ["payload"]}
    assert cut["payload"].endswith("x" + MARK)


def test_what_was_replaced_is_told_beside_what_was_cut() -> None:
    """Both, in one field."""
    fields = {**OURS, "payload": "x" * 5000, "n": math.nan, NOTES: {"cut": "theirs"}}
    notes = strictly_read(log_json(fields, None, 1000))[NOTES]
    assert notes.pop("original_size") > 5000
    assert notes == {"cut": [f"{NOTES}.cut", "payload"], "replaced": ["n"]}


@pytest.mark.parametrize("names", [["n" * 200] * 20, ["n" * 150] * 3], ids=["many", "some"])
def test_many_names_have_little_room(names: list[str]) -> None:
    """A quarter of the record at most; the fields have the rest."""
    fields = {**OURS, "payload": "x" * 5000, NOTES: {"replaced": names}}
    read = strictly_read(log_json(fields, None, 2000))
    assert read.items() >= OURS.items()
    assert read["payload"].startswith("x" * 1000)
    assert read[NOTES]["cut"][-2:] == [f"{NOTES}.replaced", "payload"]


@pytest.mark.parametrize(
    "payload", ["x" * 90_000, '\0"\\' * 9000, ["\n"] * 9000, {"a": {"b": "\\" * 9000}}]
)
@pytest.mark.parametrize("limit", [600, 5_000, 20_000])
def test_a_layout_that_adds_fits_too(payload: Any, limit: int) -> None:
    """JSON in JSON has two backslashes for each; the fields get less room then."""
    data = log_json({**OURS, "payload": payload}, in_text, limit)
    assert limit / 2 < len(data) <= limit
    read = strictly_read(data)
    assert json.loads(read["_time"]) == OURS["time"]
    assert "payload" in json.loads(read[f"_{NOTES}"])["cut"][0]


def test_a_layout_that_is_larger_than_the_limit_is_left_out() -> None:
    """The last resort: when, how bad, where, and the beginning of what."""
    fields = {**OURS, "message": "hello " * 100, "user": "bob"}
    data = log_json(fields, lambda fields: {**fields, "blob": "x" * 1000}, 500)
    assert len(data) <= 500
    read = strictly_read(data)
    assert read.keys() == {*OURS, NOTES}
    assert read["message"].startswith("hello hello")
    assert read["time"] == OURS["time"]
    assert read[NOTES]["cut"] == ["message", "user"]
    assert read[NOTES]["original_size"] > 600


@pytest.mark.parametrize("limit", [-1, 0, 1, 299])
def test_a_limit_below_the_least_is_the_least(limit: int) -> None:
    """Something of a record remains."""
    assert log_json(dict(OURS), None, limit) == log_json(dict(OURS))
    data = log_json({**OURS, "payload": "x" * 1000}, None, limit)
    assert data == log_json({**OURS, "payload": "x" * 1000}, None, LEAST_LIMIT)
    assert strictly_read(data).items() >= OURS.items()


@examples(400)
@given(
    st.dictionaries(
        hashable.filter(lambda name: name not in (NOTES, f"_{NOTES}", "version")),
        anything,
        max_size=4,
    ),
    st.sampled_from([None, in_text]),
)
@example({"value": math.nan}, None)
@example({"value": {math.nan: math.inf}}, None)
@example({"value": {"\ud800": ["\udfff", 2**64]}}, None)
@example({"\ud800": 1, "\\ud800": 2}, in_text)
def test_anything_at_all_is_strict_json(fields: dict[Any, Any], lay_out: Any) -> None:
    """UTF-8 that every parser takes, with every field; and nothing is raised."""
    read = strictly_read(log_json(dict(fields), lay_out))
    extra = {"version"} if lay_out else set()
    notes = NOTES if lay_out is None else f"_{NOTES}"
    assert len(read.keys() - {*extra, notes}) == len(fields)


@examples(300)
@given(
    st.dictionaries(st.text(), long_plain | anything, max_size=5),
    st.integers(LEAST_LIMIT, 2000),
    st.sampled_from([None, in_text]),
)
@example({NOTES: "x" * 5000}, 300, None)
@example({NOTES: {"replaced": ["x" * 200] * 20, "cut": 1}, "a": "x" * 900}, 300, None)
@example({f"{n}" * 100: "x" for n in range(50)}, 300, None)
@example(OURS | {"level": "L" * 1000, "logger": "l" * 1000, "time": "t" * 1000}, 300, in_text)
def test_no_record_is_over_the_limit(fields: dict[str, Any], limit: int, lay_out: Any) -> None:
    """And it says how large it was when it was cut, and only then."""
    before = len(log_json(dict(fields), lay_out))
    data = log_json(dict(fields), lay_out, limit)
    assert len(data) <= limit
    read = strictly_read(data)
    notes = read.get(NOTES) or json.loads(read.get(f"_{NOTES}", "{}"))
    if before > limit:
        assert LEAST_LIMIT // 2 < notes["original_size"] <= before
        assert notes["cut"]
    else:
        assert data == log_json(dict(fields), lay_out)
