"""Log records as JSON: strict, within the limit, and always a record."""

from __future__ import annotations

import copy
import datetime
import json
import math
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kiel_logging.record.plain import CYCLE, MARK, TOO_DEEP
from kiel_logging.record.strict_json import LEAST_LIMIT, NOTES, json_text, log_json
from tests.record.test_cut import OURS, long_plain
from tests.record.test_fields import Unshowable
from tests.record.test_plain import (
    WRAPS,
    anything,
    cyclic_list,
    hashable,
    nested,
    plain,
    same,
)
from tests.support.examples import examples


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


def shipped(value: object) -> Any:
    """Return the value as a consumer finds it."""
    return strictly_read(log_json({"value": value}))["value"]


# -- what is written -------------------------------------------------------------------------------


@examples(150)
@given(st.dictionaries(st.text(), plain, max_size=5))
def test_what_has_a_form_in_json_is_read_back(fields: dict[str, Any]) -> None:
    """As it went in, and nothing is said of it."""
    assert same(strictly_read(log_json(copy.deepcopy(fields))), fields)


def test_text_is_utf8() -> None:
    """Not escaped: it is shorter, and can be read in a terminal."""
    assert log_json({"message": "grüße 🎉"}) == '{"message":"grüße 🎉"}'.encode()


def test_what_has_a_text_is_shown_and_not_named() -> None:
    """Only what could not be shown is worth a word."""
    day = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
    fields = {"at": day, "price": Decimal("1.50"), "count": 2**64, "raw": b"\xff"}
    assert strictly_read(log_json(fields)) == {
        "at": "2024-02-29T12:00:00Z",
        "price": "1.50",
        "count": "18446744073709551616",
        "raw": "\\xff",
    }


@pytest.mark.parametrize(
    ("value", "expected", "names"),
    [
        (math.nan, None, ["value"]),
        ([1, math.inf], [1, None], ["value.1"]),
        ("\ud800", "\\ud800", ["value"]),
        ({"a": "b\udc80", "n": 2**70}, {"a": "b\\udc80", "n": str(2**70)}, ["value.a"]),
        ([math.nan, "\ud800"], [None, "\\ud800"], ["value.0", "value.1"]),
        (cyclic_list(), [1, CYCLE], ["value.1"]),
        (10**5000, hex(10**5000), None),
        (Unshowable(), "<Unshowable that can't be shown: RuntimeError>", ["value"]),
        ({1: 1, "1": 2}, {"1": 2, "1 (2)": 1}, ["value.1 (2)"]),
    ],
    ids=[
        "nan",
        "inf",
        "surrogate",
        "surrogate and int",
        "both ways",
        "cycle",
        "int",
        "raises",
        "keys",
    ],
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


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("depth", [1_000, 10_000])
def test_nesting_is_cut_somewhere(wrap: Callable[[Any], Any], depth: int) -> None:
    """No stack overflows, ours or a reader's."""
    data = log_json({"value": {"deep": nested(depth, wrap)}, "message": "hello"})
    assert strictly_read(data)["message"] == "hello"
    assert TOO_DEEP.encode() in data


def test_ordinary_nesting_is_not_cut() -> None:
    """Twenty levels are a lot."""
    value = nested(20, lambda v: {"a": [v]})
    assert shipped(value) == value


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


@pytest.mark.parametrize("value", ["\ud800", 2**64, [10**5000]])
def test_a_layout_that_can_not_take_a_value_is_given_another(value: Any) -> None:
    """It may write JSON itself, or join texts."""
    assert strictly_read(log_json({"value": value}, in_text)).keys() >= {"version", "_value"}


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


def test_ten_megabytes_are_cut_to_the_limit() -> None:
    """The rest of the record is whole."""
    fields = {**OURS, "payload": "x" * 10_000_000, "user": {"id": 7}}
    size = len(log_json(dict(fields)))
    data = log_json(fields, None, 1_000_000)
    assert 990_000 < len(data) <= 1_000_000
    read = strictly_read(data)
    assert read.items() >= {**OURS, "user": {"id": 7}}.items()
    assert read[NOTES]["cut"] == ["payload"]
    assert 0.999 * size < read[NOTES]["original_size"] <= size


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


# -- laws ------------------------------------------------------------------------------------------


@examples(400)
@given(st.dictionaries(hashable, anything, max_size=4), st.sampled_from([None, in_text]))
@example({"value": math.nan}, None)
@example({"value": {math.nan: math.inf}}, None)
@example({"value": {"\ud800": ["\udfff", 2**64]}}, None)
@example({"\ud800": 1, "\\ud800": 2}, in_text)
def test_anything_at_all_is_strict_json(fields: dict[Any, Any], lay_out: Any) -> None:
    """UTF-8 that every parser takes, with every field; and nothing is raised."""
    count = len(fields)
    read = strictly_read(log_json(fields, lay_out))
    extra = {"version"} if lay_out else set()
    notes = NOTES if lay_out is None else f"_{NOTES}"
    assert len(read.keys() - {*extra, notes}) == count


@examples(200)
@given(st.floats())
def test_floats_are_read_back(value: float) -> None:
    """To the bit, where they are numbers, also when something else is refused."""
    expected = value if math.isfinite(value) else None
    assert shipped(value) == expected
    assert shipped([value, 2**70, OrderedDict(a="\ud800")]) == [
        expected,
        str(2**70),
        {"a": "\\ud800"},
    ]


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
