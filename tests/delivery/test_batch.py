"""The life of a batch: every transition there is, and none other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.delivery.batch import Batch, Identity, Stamp, State
from kiel_logging.records import Record, TopicPartition
from kiel_logging.wire.sizes import BATCH_OVERHEAD, record_size

LOGS_0 = TopicPartition("logs", 0)
ERROR = ConnectionError("the broker went away")
RECORD = Record(b"key", b"value", (), 0)


def batch(records: int = 1, *, arrival: int = 1, deadline: float = 120.0) -> Batch:
    """A queued batch; its tokens count from 0."""
    made = Batch(LOGS_0, arrival=arrival, deadline=deadline)
    for token in range(records):
        made.extend([RECORD], [token], record_size(RECORD))
    return made


VERBS: dict[str, Callable[[Batch], Any]] = {
    "extend": lambda b: b.extend([RECORD], ["token"], 50),
    "drain": Batch.drain,
    "reenqueue": lambda b: b.reenqueue(ERROR),
    "complete": lambda b: b.become(State.DELIVERED),
    "fail": lambda b: b.become(State.FAILED),
    "split": Batch.split,
    "withdraw": Batch.withdraw,
    "cut": lambda b: b.cut(1),
}
WAYS: dict[State, tuple[str, ...]] = {
    State.QUEUED: (),
    State.IN_FLIGHT: ("drain",),
    State.DELIVERED: ("drain", "complete"),
    State.FAILED: ("fail",),
    State.SPLIT: ("drain", "split"),
    State.WITHDRAWN: ("withdraw",),
}
LAW: dict[State, dict[str, State]] = {
    State.QUEUED: {
        "extend": State.QUEUED,
        "drain": State.IN_FLIGHT,
        "fail": State.FAILED,
        "withdraw": State.WITHDRAWN,
        "cut": State.QUEUED,
    },
    State.IN_FLIGHT: {
        "reenqueue": State.QUEUED,
        "complete": State.DELIVERED,
        "fail": State.FAILED,
        "split": State.SPLIT,
    },
    State.DELIVERED: {},
    State.FAILED: {},
    State.SPLIT: {},
    State.WITHDRAWN: {},
}


def batch_in(state: State) -> Batch:
    """A batch that came to a state on the shortest way."""
    made = batch(2)
    for verb in WAYS[state]:
        VERBS[verb](made)
    assert made.state is state
    return made


@pytest.mark.parametrize(
    ("state", "verb", "after"),
    [(state, verb, after) for state, verbs in LAW.items() for verb, after in verbs.items()],
)
def test_a_legal_transition(state: State, verb: str, after: State) -> None:
    """As the picture in the module has it."""
    made = batch_in(state)
    VERBS[verb](made)
    assert made.state is after


@pytest.mark.parametrize(
    ("state", "verb"),
    [(state, verb) for state, legal in LAW.items() for verb in VERBS if verb not in legal],
)
def test_an_illegal_transition(state: State, verb: str) -> None:
    """A bug is loud, and leaves the batch as it was."""
    made = batch_in(state)
    with pytest.raises(AssertionError):
        VERBS[verb](made)
    assert made.state is state
    assert made.tokens == [0, 1]


@pytest.mark.parametrize("state", State)
def test_ended_is_when_its_fate_is_decided(state: State) -> None:
    """Delivered, failed, or up to its parts or to the owner of its records."""
    ended = (State.DELIVERED, State.FAILED, State.SPLIT, State.WITHDRAWN)
    assert batch_in(state).ended == (state in ended)


@pytest.mark.parametrize("verb", ["withdraw", "cut"])
@pytest.mark.parametrize("marked", ["stamp", "ambiguous"])
def test_what_may_be_stored_stays(verb: str, marked: str) -> None:
    """A batch that has numbers, or that the brokers may have, is sent again as it was."""
    made = batch(2)
    setattr(made, marked, Stamp(Identity(1, 0), 0) if marked == "stamp" else True)
    with pytest.raises(AssertionError):
        VERBS[verb](made)


def test_a_cut_takes_the_oldest_records_out() -> None:
    """With what they take of batch and memory; the rest is as if it had come alone."""
    records = [Record(None, b"x" * number, (), 0) for number in range(5)]
    sizes = [record_size(record) for record in records]
    made, rest = (Batch(LOGS_0, arrival=1, deadline=1.0) for _ in range(2))
    made.extend(records, [0, 1, 2, 3, 4], sum(sizes))
    rest.extend(records[2:], [2, 3, 4], sum(sizes[2:]))
    before = made.memory
    tokens, freed = made.cut(2)
    assert tokens == [0, 1]
    assert freed == before - rest.memory
    for name in ("records", "tokens", "size", "memory", "unsealed"):
        assert getattr(made, name) == getattr(rest, name)


def test_a_batch_is_sealed_once_one_of_its_records_is() -> None:
    """Unsealed are those that came since."""
    made = batch(2)
    assert not made.sealed
    made.unsealed = 0
    assert made.sealed
    made.extend([RECORD], ["late"], 50)
    assert made.sealed


def test_a_batch_that_comes_back_is_as_it_was() -> None:
    """It is due, takes no more records, and knows how often it was sent and why it came back."""
    made = batch(2)
    assert (made.room(made.size + 50), made.room(made.size - 1)) == (50, -1)
    for attempt in (1, 2, 3):
        error = ConnectionError(f"attempt {attempt}")
        made.drain()
        made.reenqueue(error)
        assert (made.attempts, made.last_error) == (attempt, error)
    assert made.sealed
    assert made.room(1_000_000) == 0


@pytest.mark.parametrize("records", range(2, 8))
def test_a_split_makes_two_halves_in_order(records: int) -> None:
    """Neither is empty, so that splitting comes to an end (KAFKA-8350). They have partition, age
    and deadline of the whole, are due, take no more records, and have no numbers yet."""
    made = batch(records, arrival=7, deadline=99.0)
    made.drain()
    first, second = made.split()
    assert first.tokens + second.tokens == list(range(records))
    assert first.records + second.records == made.records
    assert first.memory + second.memory == made.memory
    assert first.size + second.size == made.size + BATCH_OVERHEAD
    assert len(second) - len(first) in (0, 1)
    for part in (first, second):
        assert (part.topic_partition, part.arrival, part.deadline) == (LOGS_0, 7, 99.0)
        assert (part.state, part.attempts, part.sealed) == (State.QUEUED, 1, True)
        assert (part.stamp, part.ambiguous, part.room(1_000_000)) == (None, False, 0)


def test_a_single_record_can_not_be_split() -> None:
    """It has to be given up instead."""
    made = batch(1)
    made.drain()
    with pytest.raises(AssertionError):
        made.split()
    assert made.state is State.IN_FLIGHT
