"""Topic names: what Kafka allows."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.errors import InvalidTopic
from kiel_logging.topics import check_topic
from tests.support.examples import examples

LEGAL = string.ascii_letters + string.digits + "._-"


@pytest.mark.parametrize("name", ["logs", "a", "app.logs-v2_ERROR", "...", "-", "0", "x" * 249])
def test_a_legal_name_is_returned(name: str) -> None:
    """As it is."""
    assert check_topic(name) == name


@examples(200)
@given(st.text(alphabet=LEGAL, min_size=1, max_size=249).filter(lambda name: name.strip(".")))
def test_every_legal_character_everywhere(name: str) -> None:
    """Letters, digits, '.', '_' and '-'."""
    assert check_topic(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "a topic name can't be empty"),
        (".", "'.' is not allowed as a topic name"),
        ("..", "'..' is not allowed as a topic name"),
        ("x" * 250, "has 250 characters: Kafka allows 249"),
        ("two words", "has characters that Kafka refuses"),
        ("logs/app", "has characters that Kafka refuses"),
        ("logs\n", "has characters that Kafka refuses"),
        ("größe", "has characters that Kafka refuses"),
        ("logs\u0660", "has characters that Kafka refuses"),
        ("{levelname}", "has characters that Kafka refuses"),
        (None, "must be str, not NoneType"),
        (b"logs", "must be str, not bytes"),
        (7, "must be str, not int"),
    ],
)
def test_an_illegal_name_is_refused(name: Any, why: str) -> None:
    """The message says why."""
    with pytest.raises(InvalidTopic) as refused:
        check_topic(name)
    assert why in str(refused.value)


@examples(200)
@given(st.text(max_size=20).filter(lambda name: set(name) - set(LEGAL)))
def test_any_other_character_is_refused(name: str) -> None:
    """Wherever it stands."""
    with pytest.raises(InvalidTopic):
        check_topic(name)
