"""The table of options, and everything that is made of it: it can't say two things."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from kiel_logging import AuditHandler, KafkaHandler, Producer
from kiel_logging.config.options import PRODUCER
from kiel_logging.config.table import REQUIRED, Option, meanings, one_of
from kiel_logging.errors import ConfigurationError
from kiel_logging.handler.options import AUDIT, HANDLER
from tests.docs.pages import ROOT

TABLES: dict[type, dict[str, Option]] = {
    Producer: PRODUCER,
    KafkaHandler: HANDLER,
    AuditHandler: AUDIT,
}
ROWS = [(owner, name) for owner, table in TABLES.items() for name in table]


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


@pytest.mark.parametrize(("owner", "name"), ROWS)
def test_the_docstring_describes_every_option(owner: type, name: str) -> None:
    """By its meaning and by the values that it takes."""
    text = " ".join((owner.__doc__ or "").split())
    meaning = meanings(TABLES[owner])[name]
    assert meaning.endswith(".")
    assert f"{name}: {meaning} Must be {TABLES[owner][name].kind.description}." in text


@pytest.mark.parametrize(("owner", "name"), ROWS)
def test_a_default_is_a_value_that_the_option_takes(owner: type, name: str) -> None:
    """Given as it stands in the documentation, it changes nothing."""
    row = TABLES[owner][name]
    assert row.default is REQUIRED or row.kind.check(name, row.default) is row.default


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
