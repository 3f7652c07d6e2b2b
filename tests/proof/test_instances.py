"""The ids of instances: UUIDs that say when the instance began."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.proof.instances import INSTANCE, RANDOM_SIZE, began_at, new_instance

randoms = st.binary(min_size=RANDOM_SIZE, max_size=RANDOM_SIZE)


@given(st.integers(0, (1 << 48) - 1), randoms)
def test_an_id_is_a_uuid_that_has_the_time(now: int, random: bytes) -> None:
    """Of version 7, as RFC 9562 has it."""
    made = new_instance(now, random)
    assert INSTANCE.fullmatch(made)
    assert (uuid.UUID(made).version, uuid.UUID(made).variant) == (7, uuid.RFC_4122)
    assert began_at(made) == now


def test_ids_of_the_same_moment_differ() -> None:
    """By 74 bits."""
    made = {new_instance(7, bytes([n]) * RANDOM_SIZE) for n in range(64)}
    assert len(made) == 64


@pytest.mark.parametrize("instance", ["a" * 32, "0" * 32, uuid.UUID(int=4, version=4).hex])
def test_other_ids_do_not_say_when(instance: str) -> None:
    """Nothing is made of their first digits."""
    assert began_at(instance) is None
