"""``redact``: nothing that is made of a record shows what it hides."""

from __future__ import annotations

import collections
import copy
import dataclasses
import json
import logging
import sys
import types
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import ConfigurationError
from kiel_logging.record.redaction import redaction
from tests.record.fast import IN_C, fast_way, is_fast, needs_c
from tests.record.test_conversion import conversion, record

HIDDEN = "[redacted]"
SECRET = "s3cret"


def redacted(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return the fields with these names hidden."""
    redact = redaction(names)
    assert redact is not None
    return redact(fields)


# -- fields ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["s3cret", "", 7, None, True, 1.5, ["a"], {"a": 1}, []], ids=repr)
def test_a_value_of_any_type_is_hidden(value: Any) -> None:
    """A container is hidden as a whole: names in it may be harmless."""
    fields = {"password": value, "user": "ann"}
    assert redacted(fields, "password") == {"password": HIDDEN, "user": "ann"}


HIDES = {
    "password": [
        *("db_password", "user.password", "user-password", "user/password", "userPassword"),
        *("PASSWORD", "Password", "DBPassword", "db_PASSWORD", "pass_word", "PassWord", "pAsSwOrD"),
        *(" password", "password ", "password:", "('password',)", "form[password]", "1.password"),
        *("5Password", "mot_de_pa\u017f\u017fword", "été_password", "x" * 991 + "_password"),
    ],
    "api_key": ["apikey", "apiKey", "APIKey", "x-api-key", "XApiKey", "X-API-KEY", "api key"],
    "ApiKey": ["api_key", "API_KEY", "Api-Key", "X_Api-key", "api-key", "apikey"],
    "größe": ["GRÖSSE", "groesse_größe", "kopfGRÖSSE"],
    "straße": ["STRASSE"],
    "ΚΩΔΙΚΟΣ": ["κωδικος"],
    "card 2": ["card2", "card_2", "oldCard2"],
}
SHOWS = {
    "password": [
        *("passwords", "password_hash", "password2", "passwor", "nopassword", "NOPASSWORD", ""),
        *("5password", "MD5password", "_", "пароль", "word", "password.at"),
    ],
    "api_key": ["key", "api", "api_keys", "apis_key", "monkey", "xapikey"],
    "key": ["monkey", "keys", "key_id", "MONKEY"],
}


@pytest.mark.parametrize(("option", "name"), [(key, one) for key in HIDES for one in HIDES[key]])
def test_a_name_hides_names_that_end_in_its_words(option: str, name: str) -> None:
    """However the words are joined, with whatever in front; so do both ways."""
    assert redacted({name: "s3cret"}, option) == {name: HIDDEN}
    assert redacted({"d": [{name: ["s3cret"]}]}, "x", option) == {"d": [{name: HIDDEN}]}
    if IN_C:
        fast = fast_way(conversion(redact=[option]))
        assert fast.convert(record(d=[{name: 1}])) is None


@pytest.mark.parametrize(("option", "name"), [(key, one) for key in SHOWS for one in SHOWS[key]])
def test_other_names_are_other_names(option: str, name: str) -> None:
    """A part of a word, and words that others follow, are not enough."""
    assert redacted({name: "seen"}, option) == {name: "seen"}
    if IN_C and name.isascii():
        assert fast_way(conversion(redact=[option])).convert(record(d=[{name: 1}])) is not None


def test_a_name_that_is_too_long_to_be_read_hides_its_value() -> None:
    """Work is bounded, and it might end in a name that is hidden."""
    name = "x" * 1_001
    assert redacted({name: 1, name[1:]: 2}, "password") == {name: HIDDEN, name[1:]: 2}


PAIRS = {
    "pairs": ([["password", "s3cret"]], [["password", HIDDEN]]),
    "headers": ([("Host", "a"), ("X-Password", 1)], [("Host", "a"), ["X-Password", HIDDEN]]),
    "in a list in a dict": ({"a": ([["password", {}]], 2)}, {"a": [[["password", HIDDEN]], 2]}),
    "one pair is a list of two": (["password", "seen"], ["password", "seen"]),
    "three": ([["password", "seen", 3]], [["password", "seen", 3]]),
    "no name": ([[7, "seen"], ["user", "seen"]], [[7, "seen"], ["user", "seen"]]),
    "a pair with more in it": ([["user", {"password": 1}]], [["user", {"password": HIDDEN}]]),
}


@pytest.mark.parametrize(("value", "expected"), PAIRS.values(), ids=PAIRS)
def test_pairs_in_a_list_have_a_name_and_a_value(value: Any, expected: Any) -> None:
    """As headers and forms are logged."""
    assert redacted({"held": value}, "password") == {"held": expected}


TEXTS = {
    "object": ('{"user":"é","password":"s3cret"}', '{"user": "é", "password": "[redacted]"}'),
    "array": (' [1, {"db_password": {}}]\n', '[1, {"db_password": "[redacted]"}]'),
    "pairs": ('[["password", "s3cret"]]', '[["password", "[redacted]"]]'),
    "escaped name": (r'{"p\u0061ssword": "s3cret"}', '{"password": "[redacted]"}'),
    "escaped surrogate": (r'{"password": 1, "b": "\ud800"}', None),
    "line break": ('{"a": "1\n2", "password": "s3cret"}', None),
    "JSON in JSON": (r'{"a": "{\"password\": \"s3cret\"}"}', None),
    "name that comes twice": ('{"a": {"password": "s3cret"}, "a": 1}', '{"a": 1}'),
    "too deep": ('{"a":' * 9_000 + '{"password": "s3cret"}' + "}" * 9_000, HIDDEN),
    "too many digits": (f'{{"n": {"1" * 5_000}, "password": "s3cret"}}', HIDDEN),
    "cut": ('{"password": "s3cret …[cut]', HIDDEN),
    "nothing hidden": ('{"user":  "ann"}', '{"user":  "ann"}'),
    "no JSON": ("{password}", "{password}"),
    "no JSON either": ("[INFO] started [ok]", "[INFO] started [ok]"),
    "a list of names": ('["password", "seen"]', '["password", "seen"]'),
    "text around it": ('sent {"password": "seen"}', 'sent {"password": "seen"}'),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_a_text_that_is_json_is_searched(text: str, expected: str | None) -> None:
    """It stays JSON; one with nothing hidden, and one that is no JSON, stay as they are."""
    made = redacted({"body": text, "all": [text]}, "password")
    assert made["all"] == [made["body"]]
    if expected is None:
        json.loads(made["body"])
        made["body"].encode()
        assert "[redacted]" in made["body"]
        assert "s3cret" not in made["body"]
    else:
        assert made["body"] == expected


def test_a_text_that_is_too_large_to_be_searched_is_hidden() -> None:
    """It would be cut; one that does not begin as JSON is."""
    for text in ('{"password": "s3cret', '[{"a": 1}]'):
        item = conversion(redact=["password"], max_size=1_000).convert(record(x=text * 99), None)
        assert json.loads(item.record.value or b"")["x"] == HIDDEN


def test_only_changed_containers_are_made_anew() -> None:
    """Nothing of the program is changed; the order stays; without secrets nothing is made."""
    fields: dict[str, Any] = {"a": {"key": 1, "z": 2}, "b": {"c": 2}, "d": [{"e": 3}, {"key": 4}]}
    before = copy.deepcopy(fields)
    made = redacted(fields, "key")
    assert fields == before
    assert made["b"] is fields["b"]
    assert made["d"][0] is fields["d"][0]
    assert [list(made), list(made["a"])] == [["a", "b", "d"], ["key", "z"]]
    assert redacted(fields, "other") is fields
    assert [redaction(names) for names in (None, [], ())] == [None] * 3


NAMES = ["password", "api-key", "Straße"]
SPELT = [
    *("password", "PassWord", "API_KEY", "Api-Key", "api-key", "STRASSE", "straße", "Straße"),
    *("user.password", "dbPassword", " Password ", "('password',)", "x-api-key"),
]
secrets = st.integers(0, 2**32).map("s3cret-{}".format)
hidden = st.recursive(
    secrets,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
seen = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("abc", max_size=5)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


def dicts(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return dicts with values to see and values to hide."""
    return st.builds(
        lambda one, other: {**one, **other},
        st.dictionaries(names, inner, max_size=3),
        st.dictionaries(st.sampled_from(SPELT), hidden, max_size=2),
    )


values = st.recursive(seen, lambda inner: st.lists(inner, max_size=3) | dicts(inner), max_leaves=10)


anywhere = st.recursive(
    seen,
    lambda inner: (
        st.lists(inner, max_size=3)
        | dicts(inner)
        | st.lists(st.tuples(st.sampled_from(SPELT), hidden) | inner, max_size=3)
        | dicts(inner).map(json.dumps)
    ),
    max_leaves=10,
)


@given(dicts(anywhere))
def test_nothing_hidden_is_written(fields: dict[str, Any]) -> None:
    """No secret is in the bytes, wherever it stood."""
    made = redacted(fields, *NAMES)
    assert b"s3cret" not in orjson.dumps(made)
    assert redacted(made, *NAMES) == made


@needs_c
@given(dicts(anywhere))
def test_both_ways_hide_the_same(fields: dict[str, Any]) -> None:
    """Compiled code writes what the careful way does, or leaves the record to it."""
    is_fast(record(**{f"x{name}": value for name, value in fields.items()}), redact=NAMES)


def without(value: Any) -> Any:
    """Return the value as JSON reads it, with nothing under a hidden name."""

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
        (["*"], "redact has '*': a name must have a letter or a digit, which are compared"),
    ],
    ids=repr,
)
def test_bad_names_are_refused(names: Any, message: str) -> None:
    """When the handler is made."""
    with pytest.raises(ConfigurationError) as refused:
        redaction(names)
    assert str(refused.value).startswith(message)


# -- records ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class Login:
    """A dataclass."""

    user: str
    password: str


Pair = collections.namedtuple("Pair", "user password")


class Opaque:
    """An object that has nothing but a text."""

    def __init__(self) -> None:
        self.password = SECRET

    def __repr__(self) -> str:
        return f"Opaque(password={self.password!r})"


class Slotted:
    """A class as those of attrs describe themselves."""

    __slots__ = ("password", "user")
    __attrs_attrs__ = (
        types.SimpleNamespace(name="user", repr=True),
        types.SimpleNamespace(name="password", repr=True),
    )

    def __init__(self) -> None:
        self.user, self.password = "ada", SECRET


class Model:
    """A class as models of pydantic describe themselves."""

    __pydantic_fields__ = {  # noqa: RUF012
        "user": types.SimpleNamespace(repr=True),
        "password": types.SimpleNamespace(repr=True),
    }

    def __init__(self) -> None:
        self.__dict__.update(user="ada", password=SECRET)


class Key:
    """A key that is shown by its text."""

    def __str__(self) -> str:
        return "password"


HOLDERS: dict[str, Callable[[], Any]] = {
    "dict": lambda: {"user": "ada", "Password": SECRET},
    "in a list in a tuple": lambda: ([{"password": SECRET}],),
    "mapping": lambda: types.MappingProxyType({"password": SECRET}),
    "keys of bytes": lambda: {b"password": SECRET},
    "keys of objects": lambda: {Key(): SECRET},
    "deque": lambda: collections.deque([{"password": SECRET}]),
    "named tuple": lambda: Pair("ada", SECRET),
    "dataclass": lambda: Login("ada", SECRET),
    "attrs": Slotted,
    "pydantic": Model,
    "namespace": lambda: types.SimpleNamespace(password=SECRET),
    "object": Opaque,
    "keys of tuples": lambda: {("user", "password"): SECRET},
    "pairs": lambda: [("user", "ada"), ("Password", SECRET)],
    "items": lambda: {"password": SECRET}.items(),
    "JSON": lambda: json.dumps({"user": "ada", "body": [{"password": SECRET}]}),
    "JSON in bytes": lambda: b'[{"password": "s3cret"}]',
    "exception": lambda: ValueError({"password": SECRET}),
    "exception with an object": lambda: ValueError(Opaque()),
    "in an exception in an exception": lambda: RuntimeError(ValueError({"password": SECRET})),
}
holders = pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "header": {"headers": {"h": "held"}},
    "header of what is left out": {"headers": {"h": "held"}, "exclude": ["held"]},
    "header of what is renamed": {"headers": {"h": "held"}, "rename": {"held": "other"}},
    "key": {"key_field": "held"},
    "key of what is left out": {"key_field": "held", "exclude": ["held"]},
    "key of what is renamed": {"key_field": "held", "rename": {"held": "other"}},
    "header of the arguments": {"headers": {"h": "args", "m": "msg"}},
    "key maker": {"key_maker": repr},
    "ecs": {"format": "ecs"},
    "otel": {"format": "otel"},
    "gelf": {"format": "gelf"},
    "text": {"format": "text"},
    "callable": {"format": lambda fields, record: repr((fields, vars(record)))},
    "serializer": {"serializer": repr},
}


class Everything(logging.Formatter):
    """Writes all that a record has, as formatters for JSON do."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{super().format(record)} {record.__dict__!r}"


def raised(error: BaseException) -> Any:
    """Return its exc_info."""
    try:
        raise error
    except type(error):
        return sys.exc_info()


@holders
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_nothing_shows_what_is_hidden(make: Callable[[], Any], options: dict[str, Any]) -> None:
    """Wherever in the record it is, and whatever is made of the record."""
    held = make()
    errors = [ValueError(held), held if isinstance(held, Exception) else KeyError("plain", held)]
    records = [
        record(held=held),
        record(msg=held, args=()),
        record(msg="with %s", args=(held,)),
        record(msg="%(a)s", args={"a": held}),
        record(msg="one too many", args=(held, 1)),
        record(held=1, message=f"left by a Formatter {held!r}"),
        *[record(held=1, exc_info=raised(error)) for error in errors],
        record(held=1, exc_info=raised(ExceptionGroup("two", errors))),
    ]
    formatter = Everything() if options.get("format") == "text" else None
    made = conversion(redact=["password"], **options)
    for each in records:
        before = copy.copy(each.__dict__)
        assert SECRET not in repr(made.convert(each, formatter))
        assert each.__dict__ == before


@holders
@pytest.mark.parametrize("option", ["context", "fields"])
def test_what_options_add_is_hidden_too(make: Callable[[], Any], option: str) -> None:
    """Values of the surroundings, and static ones."""
    added: Any = {"held": make()}
    given: Any = (lambda: added) if option == "context" else added
    options = {option: given, "redact": ["password"], "rename": {"held": "other"}}
    assert SECRET not in repr(conversion(**options).convert(record(), None))


def test_a_record_that_can_not_be_converted_is_reported_without_it() -> None:
    """On stderr, where the record itself would show it."""
    made = conversion(redact=["password"])
    for make in HOLDERS.values():
        seen = made.as_seen(record(msg="one too many", args=(make(), 1), held=make()))
        assert SECRET not in repr(vars(seen))


class Uncopied(logging.LogRecord):
    """A record that can't be copied."""

    def __reduce_ex__(self, version: Any) -> Any:
        raise RuntimeError("not today")


def test_a_record_that_can_not_be_copied_does_not_show_it() -> None:
    """A record of a class of the program."""
    given = Uncopied("shop", 20, "shop.py", 7, "hello", ({"password": SECRET},), None)
    seen = conversion(redact=["password"]).as_seen(given)
    assert seen.getMessage() == "<a record that can't be shown: not today>"


def shown(given: logging.LogRecord, **options: Any) -> dict[str, Any]:
    """Return its fields as a consumer finds them."""
    item = conversion(redact=["password"], **options).convert(given, None)
    found: dict[str, Any] = json.loads(item.record.value or b"")
    return found


def test_everything_else_is_seen() -> None:
    """Other fields are shown, and values that have a text by nature."""
    given = record(
        held=Login("ada", SECRET), price=Decimal("9.90"), error=ValueError("why"), n=7, o=Opaque()
    )
    made = shown(given)
    assert made["held"] == {"user": "ada", "password": "[redacted]"}
    assert (made["price"], made["error"], made["n"]) == ("9.90", "ValueError: why", 7)
    assert made["o"] == "<Opaque>"
    assert made["message"] == "sold tea"


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("%d of %.1f for %s", (1, 2.5, "ada"), "1 of 2.5 for ada"),
        ("%s", (Decimal("9.90"),), "9.90"),
        ("%.1f", (Decimal("9.90"),), "9.9"),
        ("failed: %s", (ValueError("why"),), "failed: why"),
        ("%s", ({"user": "ada", "password": 1},), "{'user': 'ada', 'password': '[redacted]'}"),
        ("%(user)s %(password)s %(n)03d", {"user": "ada", "password": 1, "n": 7}, None),
        ("%s", (Opaque(),), "<Opaque>"),
        ({"event": "login", "password": 1}, (), {"event": "login", "password": "[redacted]"}),
    ],
    ids=repr,
)
def test_messages_show_no_hidden_value(message: Any, arguments: Any, expected: Any) -> None:
    """Numbers stay numbers for the format, objects are shown as structures."""
    made = shown(record(msg=message, args=arguments))["message"]
    assert made == ("ada [redacted] 007" if expected is None else expected)


def test_an_exception_keeps_everything_else() -> None:
    """Its type, the frames, and the texts of others."""
    error = ValueError({"password": SECRET})
    error.__cause__ = KeyError("plain")
    made = shown(record(exc_info=raised(error)))["exception"]
    assert made["type"] == "ValueError"
    assert made["message"] == "[redacted]"
    assert "KeyError: 'plain'" in made["traceback"]
    assert "in raised" in made["traceback"]
    assert made["traceback"].endswith("ValueError: [redacted]\n")


def test_an_exception_of_texts_is_shown_whole() -> None:
    """No names stand in a text."""
    made = shown(record(exc_info=raised(ValueError("card", 7))))["exception"]
    assert made["message"] == "('card', 7)"


class Rude(dict[str, Any]):
    """Arguments whose methods raise."""

    def items(self) -> Any:
        raise RuntimeError("not today")


@pytest.mark.parametrize("arguments", [Rude(password=SECRET), types.MappingProxyType({})], ids=repr)
def test_odd_arguments_do_not_cost_the_record(arguments: Mapping[str, Any]) -> None:
    """Their methods may raise anything."""
    made = shown(record(msg="hello %(password)s", args=arguments))
    assert "hello" in made["message"]
    assert SECRET not in repr(made)


@pytest.mark.parametrize(
    ("extras", "options"),
    [
        ({"word": SECRET}, {"rename": {"word": "password"}}),
        ({"password": SECRET, "word": "x"}, {"rename": {"word": "password"}}),
        ({"password": SECRET}, {"rename": {"password": "word"}}),
        ({}, {"fields": {"password": SECRET}}),
        ({"password": SECRET}, {"context": lambda: {"password": SECRET}}),
        ({"password": SECRET}, {"key_maker": lambda fields: fields["password"]}),
    ],
)
def test_no_option_uncovers_a_value(extras: dict[str, Any], options: dict[str, Any]) -> None:
    """A renamed field hides its value under the old name and under the new one."""
    item = conversion(redact=["password"], **options).convert(record(**extras), None)
    assert SECRET not in repr(item)


@pytest.mark.parametrize(
    "options",
    [
        *[{"key_field": name} for name in ("password", "user.Password", "password.hash")],
        *[{"headers": {"p": name}} for name in ("PASSWORD", "user.password")],
        {"key_field": "word", "rename": {"word": "password"}},
        {"headers": {"w": "word"}, "rename": {"word": "password"}},
    ],
    ids=str,
)
def test_a_key_or_a_header_that_would_show_it_is_refused(options: dict[str, Any]) -> None:
    """The options contradict each other."""
    with pytest.raises(ConfigurationError, match="which redact hides"):
        conversion(redact=["password"], **options)


def test_replaced_values_are_named_when_values_are_redacted() -> None:
    """Values are made plain before, and once more when they are written: all names are kept."""
    made = shown(record(a=float("nan"), b="\ud800"))
    assert made["kiel_logging"] == {"replaced": ["a", "b"]}


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
