"""Which topic a log record goes to."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from kiel_logging.errors import ConfigurationError, InvalidTopic
from kiel_logging.record.route import topic_choice


def logged(**attributes: Any) -> logging.LogRecord:
    """A record with these attributes."""
    return logging.makeLogRecord({"name": "shop.cart", "levelname": "ERROR", **attributes})


# -- a name ----------------------------------------------------------------------------------------


def test_a_name_is_the_topic_of_every_record() -> None:
    """Whatever the record."""
    choose = topic_choice("app.logs")
    assert {choose(logged()), choose(logged(name="other"))} == {"app.logs"}


@pytest.mark.parametrize("name", ["", ".", "..", "two words", "größe", "x" * 250])
def test_a_name_that_kafka_refuses(name: str) -> None:
    """Is refused at once, and the message has the option and the value."""
    with pytest.raises(ConfigurationError) as refused:
        topic_choice(name)
    assert str(refused.value).startswith(f"topic={name!r}: ")


@pytest.mark.parametrize("topic", [None, 7, b"logs", ["logs"]])
def test_what_can_be_no_topic(topic: Any) -> None:
    """The message says what may be."""
    with pytest.raises(ConfigurationError) as refused:
        topic_choice(topic)
    assert str(refused.value) == (
        f"topic={topic!r} must be a name, a template such as 'logs.{{levelname}}', or a callable "
        "that takes the LogRecord"
    )


# -- a template ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "attributes", "expected"),
    [
        ("logs.{levelname}", {}, "logs.ERROR"),
        ("{name}", {}, "shop.cart"),
        ("{name}-{levelname}", {}, "shop.cart-ERROR"),
        ("tenant_{tenant}", {"tenant": 17}, "tenant_17"),
        ("{user[region]}", {"user": {"region": "eu"}}, "eu"),
        ("{number:04d}", {"number": 7}, "0007"),
        ("{name!s}", {}, "shop.cart"),
    ],
)
def test_a_template_is_filled_with_attributes(
    template: str, attributes: dict[str, Any], expected: str
) -> None:
    """The record's own, and extras."""
    assert topic_choice(template)(logged(**attributes)) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("logs.{levelname", "is no valid template"),
        ("logs.levelname}", "is no valid template"),
        ("logs {levelname}", "has 'logs '"),
        ("{levelname}/{name}", "has '/'"),
        ("{{logs}}", "has '{'"),
        ("logs.{}", "name an attribute of the LogRecord"),
        ("logs.{0}", "name an attribute of the LogRecord"),
    ],
)
def test_a_template_that_can_not_be_right(template: str, message: str) -> None:
    """Is refused at once, and the message has the option and the value."""
    with pytest.raises(ConfigurationError) as refused:
        topic_choice(template)
    assert f"topic={template!r}" in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("template", "attributes"),
    [
        ("logs.{tenant}", {}),
        ("logs.{tenant.name}", {"tenant": 17}),
        ("{user[region]}", {"user": {}}),
        ("{user[region]}", {"user": None}),
        ("{number:d}", {"number": "seven"}),
        ("logs.{tenant}", {"tenant": "two words"}),
        ("{tenant}", {"tenant": ""}),
        ("{tenant}", {"tenant": ".."}),
        ("logs.{tenant}", {"tenant": "x" * 250}),
        ("logs.{tenant}", {"tenant": "größe"}),
    ],
)
def test_a_record_that_does_not_fit_the_template(template: str, attributes: dict[str, Any]) -> None:
    """Is an error of that record alone: the next is chosen for."""
    choose = topic_choice(template)
    with pytest.raises(InvalidTopic):
        choose(logged(**attributes))
    fitting = {"tenant": type("T", (), {"name": "a", "__str__": lambda _: "a"})(), "number": 1}
    assert choose(logged(user={"region": "eu"}, **fitting))


def test_the_error_names_the_template_and_what_is_missing() -> None:
    """Whoever wrote the template has to find it."""
    with pytest.raises(InvalidTopic, match=r"topic template 'logs\.\{tenant\}': KeyError\('ten"):
        topic_choice("logs.{tenant}")(logged())


# -- a callable ------------------------------------------------------------------------------------


def test_a_callable_takes_the_record() -> None:
    """And returns the name."""
    choose = topic_choice(lambda record: f"logs.{record.levelname.lower()}")
    assert choose(logged()) == "logs.error"


@pytest.mark.parametrize("chosen", ["", "two words", None, 7, b"logs"])
def test_a_callable_that_returns_no_topic(chosen: Any) -> None:
    """Is an error of that record."""
    with pytest.raises(InvalidTopic):
        topic_choice(lambda _record: chosen)(logged())


def test_what_a_callable_raises_is_not_hidden() -> None:
    """It is told as it is."""

    def choose(record: logging.LogRecord) -> str:
        raise LookupError(record.levelname)

    with pytest.raises(LookupError, match="ERROR"):
        topic_choice(choose)(logged())
