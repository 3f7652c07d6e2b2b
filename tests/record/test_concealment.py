"""``redact`` and everything that is made of a record: nothing shows what it hides."""

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

import pytest

from tests.record.test_conversion import conversion, record

SECRET = "s3cret"


@dataclasses.dataclass
class Login:
    """A dataclass."""

    user: str
    password: str


Pair = collections.namedtuple("Pair", "user password")


class Opaque:
    """An object that has a text of its own making, and nothing else."""

    def __init__(self) -> None:
        self.password = SECRET

    def __repr__(self) -> str:
        return f"Opaque(password={self.password!r})"


class Slotted:
    """As classes of attrs describe themselves."""

    __slots__ = ("password", "user")
    __attrs_attrs__ = (
        types.SimpleNamespace(name="user", repr=True),
        types.SimpleNamespace(name="password", repr=True),
    )

    def __init__(self) -> None:
        self.user, self.password = "ada", SECRET


class Model:
    """As models of pydantic describe themselves."""

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
    """Its exc_info."""
    try:
        raise error
    except type(error):
        return sys.exc_info()


@holders
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_nothing_shows_what_is_hidden(make: Callable[[], Any], options: dict[str, Any]) -> None:
    """Wherever in the record it is, and whatever is made of it."""
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
    for given in records:
        before = copy.copy(given.__dict__)
        assert SECRET not in repr(made.convert(given, formatter))
        assert given.__dict__ == before


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


def test_nor_does_a_record_that_can_not_be_copied_show_it() -> None:
    """Something of the program's own."""
    given = Uncopied("shop", 20, "shop.py", 7, "hello", ({"password": SECRET},), None)
    seen = conversion(redact=["password"]).as_seen(given)
    assert seen.getMessage() == "<a record that can't be shown: not today>"


def shown(given: logging.LogRecord, **options: Any) -> dict[str, Any]:
    """Its fields as a consumer finds them."""
    item = conversion(redact=["password"], **options).convert(given, None)
    found: dict[str, Any] = json.loads(item.record.value or b"")
    return found


def test_everything_else_is_seen() -> None:
    """What stands beside it, and what has its text by nature."""
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
def test_messages_are_made_of_what_may_be_seen(message: Any, arguments: Any, expected: Any) -> None:
    """Numbers stay numbers for the format, objects are shown as structures."""
    made = shown(record(msg=message, args=arguments))["message"]
    assert made == ("ada [redacted] 007" if expected is None else expected)


def test_an_exception_keeps_what_is_no_secret() -> None:
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
    """Whatever a program has put there."""
    made = shown(record(msg="hello %(password)s", args=arguments))
    assert "hello" in made["message"]
    assert SECRET not in repr(made)
