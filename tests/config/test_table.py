"""The table of options, and everything that is made of it: it can't say two things."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from kiel_logging import AuditHandler, KafkaHandler, Producer
from kiel_logging.config.options import ACKS, PRODUCER
from kiel_logging.config.table import (
    FLAG,
    FLAG_OR_NONE,
    FUNCTION,
    INT32,
    POSITIVE_MILLISECONDS,
    REQUIRED,
    TEXT,
    Kind,
    Option,
    meanings,
    milliseconds,
    one_of,
    whole,
)
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.options import AUDIT, HANDLER
from tests.docs.pages import ROOT

TABLES: dict[type, dict[str, Option]] = {
    Producer: PRODUCER,
    KafkaHandler: HANDLER,
    AuditHandler: AUDIT,
}


@pytest.mark.parametrize("owner", TABLES)
def test_an_editor_completes_every_option(owner: type) -> None:
    """Each is a parameter, or a key of the TypedDict that stands for the keywords (PEP 692)."""
    *explicit, keywords = inspect.signature(vars(owner)["__init__"]).parameters.values()
    assert keywords.kind is keywords.VAR_KEYWORD
    (typed,) = keywords.annotation.__args__
    assert {one.name for one in explicit[1:]} | typed.__annotations__.keys() == TABLES[owner].keys()


@pytest.mark.parametrize("owner", TABLES)
def test_the_signature_shows_every_option(owner: type) -> None:
    """With its default, for help() and IPython."""
    shown = {name: one.default for name, one in inspect.signature(owner).parameters.items()}
    defaults = {name: row.default for name, row in TABLES[owner].items()}
    assert {**shown, "brokers": REQUIRED, "topic": REQUIRED} == {"topic": REQUIRED, **defaults}


@pytest.mark.parametrize("owner", TABLES)
def test_the_docstring_describes_every_option(owner: type) -> None:
    """By its meaning and by the values that it takes."""
    text = " ".join((owner.__doc__ or "").split())
    for name, meaning in meanings(TABLES[owner]).items():
        assert meaning.endswith(".")
        assert f"{name}: {meaning} Must be {TABLES[owner][name].kind.description}." in text


@pytest.mark.parametrize("owner", TABLES)
def test_a_default_is_a_value_that_the_option_takes(owner: type) -> None:
    """Given as it stands in the documentation, it changes nothing."""
    wrong = {n: row for n, row in TABLES[owner].items() if not row.kind.fits(row.default)}
    assert [name for name, row in wrong.items() if row.default is not REQUIRED] == []


@pytest.mark.parametrize("owner", [Producer, KafkaHandler])
def test_a_value_of_another_kind_is_refused(owner: Any) -> None:
    """When the client is made: which option, its value, and what it must be."""
    given: dict[str, Any] = {"brokers": "localhost", "topic": "logs"}
    bad = object()
    for name, row in TABLES[owner].items():
        if not row.kind.fits(bad):
            options = {each: given[each] for each in TABLES[owner] if each in given}
            with pytest.raises(ConfigurationError) as refused:
                owner(**{**options, name: bad})
            assert str(refused.value).startswith(f"{name}={bad!r} must be {row.kind.description}")


NO_NUMBERS: list[Any] = ["10", None, True, [], float("nan"), float("inf"), INT32 + 1, -1]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (whole(1), [1, 2, INT32], [0, 1.5, 1.0, *NO_NUMBERS]),
        (whole(4096), [4096], [4095]),
        (milliseconds(0), [0, 0.5, INT32], NO_NUMBERS),
        (milliseconds(1), [1, 1.5], [0, 0.5, *NO_NUMBERS]),
        (POSITIVE_MILLISECONDS, [0.1, INT32], [0, *NO_NUMBERS]),
        (FLAG, [True, False], [0, 1, "yes", None]),
        (FLAG_OR_NONE, [True, False, None], [0, 1, "yes"]),
        (TEXT, ["a"], ["", None, b"a", 7]),
        (FUNCTION, [print, None], ["print", 7, {}]),
        (ACKS, [-1, 0, 1], [2, -2, "all", "1", None, True, []]),
        (one_of("a", "b"), ["a", "b"], ["c", "A", None, ["a"]]),
    ],
)
def test_kinds_of_values(kind: Kind, good: list[Any], bad: list[Any]) -> None:
    """Each has its bounds, and no bool passes for a number."""
    assert [value for value in good if not kind.fits(value)] == []
    assert [value for value in bad if kind.fits(value)] == []


@pytest.mark.parametrize(
    ("page", "kind", "table"),
    [
        ("configuration.rst", "handler", HANDLER),
        ("configuration.rst", "audit", AUDIT.keys() - HANDLER.keys()),
        ("producer.rst", "producer", PRODUCER),
    ],
)
def test_the_documentation_shows_every_option(page: str, kind: str, table: Any) -> None:
    """Once; a table without names shows all."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(rf"^\.\. options:: {kind}\n((?:\n?   .+\n)*)", text, re.MULTILINE)
    assert named
    names = " ".join(named).split() or list(table)
    assert sorted(names) == sorted(table)


def test_a_program_that_is_packed_without_sources_has_no_meanings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """help() shows the rest: names and what they must be."""

    def no_source(_thing: object) -> str:
        raise OSError("source code not available")

    monkeypatch.setattr(inspect, "getsource", no_source)
    assert "linger_ms:  Must be a number of milliseconds" in (KafkaHandler.__doc__ or "")


class Tenanted(KafkaHandler):
    """A program's own handler, with an option more."""

    def __init__(self, brokers: str, topic: str, tenant: str, **options: Any) -> None:
        super().__init__(brokers, f"{tenant}.{topic}", **options)


def test_a_subclass_has_the_signature_that_it_is_written_with() -> None:
    """And not that of the class above it."""
    assert list(inspect.signature(Tenanted).parameters) == ["brokers", "topic", "tenant", "options"]


def test_a_subclass_takes_its_own_options_beside_properties() -> None:
    """As they were given."""
    handler = Tenanted.from_properties({"bootstrap.servers": "h"}, "logs", tenant="a", linger_ms=7)  # type: ignore[call-arg]
    handler.close()
    assert "to h:9092" in repr(handler)


@pytest.mark.parametrize(
    ("value", "hint"), [("blok", ": did you mean 'block'?"), ("zzz", ""), (7, ""), (None, "")]
)
def test_a_misspelt_name_gets_a_hint(value: object, hint: str) -> None:
    """Where there is one that is near."""
    with pytest.raises(ConfigurationError) as refused:
        one_of("block", "drop").check("overflow", value)
    assert str(refused.value) == f"overflow={value!r} must be one of 'block', 'drop'{hint}"
