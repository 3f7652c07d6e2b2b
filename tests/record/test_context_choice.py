"""What a record gets from the surroundings of the code that logs."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import pytest

from kiel_logging.errors import ConfigurationError
from kiel_logging.record.fields import context_choice
from tests.record.test_field_lookup import Hostile
from tests.record.test_log_record import Unshowable

REQUEST: ContextVar[Any] = ContextVar("REQUEST")
TENANT: ContextVar[Any] = ContextVar("TENANT", default="nobody's")


def taken(context: Any) -> Mapping[str, Any]:
    """What is taken here and now."""
    take = context_choice(context)
    assert take is not None
    return take()


def alone(run: Any, *args: Any) -> Any:
    """Run in a context in which no ContextVar has a value."""
    return contextvars.Context().run(run, *args)


@pytest.mark.parametrize("context", [None, {}])
def test_without_a_context_there_is_nothing_to_take(context: Any) -> None:
    """And nothing to call."""
    assert context_choice(context) is None


# -- context variables -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["r-1", 7, None, "", {"id": 7}], ids=repr)
def test_a_context_variable_is_a_field(value: Any) -> None:
    """Its value as it is."""

    def run() -> Mapping[str, Any]:
        REQUEST.set(value)
        return taken({"request": REQUEST})

    assert alone(run) == {"request": value}


def test_a_variable_without_a_value_is_left_out() -> None:
    """And no other."""
    assert alone(taken, {"request": REQUEST, "tenant": TENANT}) == {"tenant": "nobody's"}


def test_a_variable_is_read_each_time() -> None:
    """Not when the handler is made."""
    take = context_choice({"request": REQUEST})
    assert take is not None

    def run() -> Any:
        before = take()
        token = REQUEST.set("r-1")
        during = take()
        REQUEST.reset(token)
        return before, during, take()

    assert alone(run) == ({}, {"request": "r-1"}, {})


def test_each_thread_has_its_own() -> None:
    """Nothing is taken from the thread that made the handler."""
    take = context_choice({"request": REQUEST})
    seen: list[Any] = []
    assert take is not None

    def run() -> None:
        REQUEST.set("mine")
        thread = threading.Thread(target=lambda: alone(lambda: seen.append(take())))
        thread.start()
        thread.join()
        seen.append(take())

    alone(run)
    assert seen == [{}, {"request": "mine"}]


def test_each_task_has_its_own() -> None:
    """Also when they take turns."""
    take = context_choice({"request": REQUEST})
    assert take is not None

    async def request(number: int) -> Any:
        REQUEST.set(number)
        await asyncio.sleep(0)
        return take()

    async def main() -> Any:
        return await asyncio.gather(*(request(number) for number in range(3)))

    assert asyncio.run(main()) == [{"request": 0}, {"request": 1}, {"request": 2}]


# -- a callable ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [{}, {"request": 7, "user": {"id": 7}}, MappingProxyType({"request": 7})],
    ids=["empty", "dict", "mapping"],
)
def test_a_callable_returns_the_fields(values: Mapping[str, Any]) -> None:
    """A mapping of any kind."""
    assert taken(lambda: values) == values


def test_what_a_callable_returns_is_copied() -> None:
    """It may be what the program goes on to change."""
    values = {"request": 7}
    fields = taken(lambda: values)
    values.clear()
    assert fields == {"request": 7}


def test_the_names_of_fields_are_text() -> None:
    """Whatever the callable has them be."""
    assert taken(lambda: {7: "seven", None: "none", Unshowable(): 1}) == {
        "7": "seven",
        "None": "none",
        "<Unshowable that can't be shown: RuntimeError>": 1,
    }


def fail(error: Exception) -> Any:
    """Raise in an expression."""
    raise error


class Late(Mapping[str, Any]):
    """A mapping that fails when its items are asked for."""

    def __getitem__(self, key: str) -> Any:
        raise LookupError("the request is gone")

    def __iter__(self) -> Iterator[str]:
        return iter(["request"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("context", "what"),
    [
        (lambda: fail(RuntimeError("no request")), "RuntimeError: no request"),
        (
            lambda: fail(ValueError(Unshowable())),
            "ValueError: <ValueError that can't be shown: RuntimeError>",
        ),
        (lambda needed: {}, "TypeError: "),
        (Hostile, "RuntimeError: not today"),
        (Late, "LookupError: the request is gone"),
        (lambda: None, "NoneType returned: it must be a mapping"),
        (lambda: [("request", 7)], "list returned: it must be a mapping"),
    ],
    ids=["raises", "unshowable", "arguments", "hostile", "late", "None", "list"],
)
def test_a_callable_that_fails_costs_no_record(context: Any, what: str) -> None:
    """The record says what went wrong, and has no field of it."""
    fields = taken(context)
    assert fields.keys() == {"kiel_logging"}
    assert fields["kiel_logging"].keys() == {"context"}
    assert fields["kiel_logging"]["context"].startswith(what)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_is_let_through(stop: type[BaseException]) -> None:
    """A callable may be interrupted as anything else."""

    def context() -> Any:
        raise stop

    with pytest.raises(stop):
        taken(context)


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (7, "context=7 must be a mapping of names of fields to ContextVars, or a callable that "),
        ("shop.context", "context='shop.context' must be a mapping of names of fields to Context"),
        ([REQUEST], "context=[<ContextVar name='REQUEST' at "),
        (REQUEST, "context=<ContextVar name='REQUEST' at "),
        ({"": REQUEST}, "context has '': each name must be a str, and not empty"),
        ({7: REQUEST}, "context has 7: each name must be a str, and not empty"),
        ({"request": "r-1"}, "context has 'request': 'r-1', which is no ContextVar; in a dictC"),
        ({"request": REQUEST.get}, "context has 'request': <built-in method get of "),
        ({"level": REQUEST}, "context has 'level': that is a field of the record's own, choose"),
        ({"kiel_logging": REQUEST}, "context has 'kiel_logging': that is a field of the record's"),
    ],
)
def test_a_bad_context_is_refused(context: Any, message: str) -> None:
    """When the handler is made."""
    with pytest.raises(ConfigurationError) as refused:
        context_choice(context)
    assert str(refused.value).startswith(message)
