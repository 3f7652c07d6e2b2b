"""The life of a batch: every transition there is, and none other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kiel_logging.delivery.batch import Batch, Identity, Stamp, State
from kiel_logging.records import RECORD_MEMORY_OVERHEAD, Record, TopicPartition
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
    "complete": Batch.complete,
    "fail": Batch.fail,
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
    """A bug of ours is loud, and leaves the batch as it was."""
    made = batch_in(state)
    with pytest.raises(AssertionError):
        VERBS[verb](made)
    assert made.state is state
    assert made.tokens == [0, 1]


@pytest.mark.parametrize("state", State)
def test_ended_is_when_its_fate_is_decided(state: State) -> None:
    """Delivered, failed, or up to its parts or to those who have its records."""
    ended = (State.DELIVERED, State.FAILED, State.SPLIT, State.WITHDRAWN)
    assert batch_in(state).ended == (state in ended)


def test_a_new_batch_is_empty() -> None:
    """But for the header, which every batch takes."""
    made = Batch(LOGS_0, arrival=4, deadline=9.0)
    assert (len(made), made.size, made.memory, made.attempts) == (0, BATCH_OVERHEAD, 0, 0)
    assert (made.arrival, made.deadline, made.last_error) == (4, 9.0, None)


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


def test_records_and_tokens_keep_their_order() -> None:
    """Each token at the place of its record."""
    made = Batch(LOGS_0, arrival=1, deadline=1.0)
    records = [Record(None, b"%d" % number, (), number) for number in range(5)]
    made.extend(records[:2], [0, 1], 20)
    made.extend(records[2:], [2, 3, 4], 30)
    assert made.records == records
    assert made.tokens == [0, 1, 2, 3, 4]
    assert (made.size, made.memory) == (BATCH_OVERHEAD + 50, 50 + 5 * RECORD_MEMORY_OVERHEAD)


def test_there_is_room_up_to_the_limit() -> None:
    """And not for a byte more."""
    made = batch(2)
    assert made.has_room(50, made.size + 50)
    assert not made.has_room(51, made.size + 50)


def test_a_batch_that_was_sent_once_takes_no_more() -> None:
    """What is sent again is what was sent before."""
    made = batch()
    made.drain()
    made.reenqueue(ERROR)
    assert not made.has_room(1, 1_000_000)


def test_a_batch_is_sealed_once_one_of_its_records_is() -> None:
    """Unsealed are those that came since."""
    made = batch(2)
    assert not made.sealed
    made.unsealed = 0
    assert made.sealed
    made.extend([RECORD], ["late"], 50)
    assert made.sealed


def test_a_batch_that_comes_back_is_sealed() -> None:
    """It was due once, so it is due again."""
    made = batch(2)
    made.drain()
    made.reenqueue(ERROR)
    assert made.sealed


def test_attempts_are_counted_and_the_last_error_is_kept() -> None:
    """For the message of the error that ends it."""
    made = batch()
    for attempt in (1, 2, 3):
        error = ConnectionError(f"attempt {attempt}")
        made.drain()
        made.reenqueue(error)
        assert (made.attempts, made.last_error) == (attempt, error)


# -- a split ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("records", range(2, 8))
def test_a_split_makes_two_halves_in_order(records: int) -> None:
    """Neither is empty, so that splitting comes to an end (KAFKA-8350)."""
    made = batch(records)
    made.drain()
    first, second = made.split()
    assert first.tokens + second.tokens == list(range(records))
    assert first.records + second.records == made.records
    assert len(second) - len(first) in (0, 1)


def test_the_parts_of_a_split_together_are_the_whole() -> None:
    """Memory adds up; the header is there twice."""
    made = batch(5)
    made.drain()
    first, second = made.split()
    assert first.memory + second.memory == made.memory
    assert first.size + second.size == made.size + BATCH_OVERHEAD


def test_the_parts_of_a_split_inherit() -> None:
    """Partition, age and deadline; they are due at once, and take no more records."""
    made = batch(4, arrival=7, deadline=99.0)
    made.drain()
    for part in made.split():
        assert (part.topic_partition, part.arrival, part.deadline) == (LOGS_0, 7, 99.0)
        assert (part.state, part.attempts) == (State.QUEUED, 1)
        assert part.sealed
        assert not part.has_room(1, 1_000_000)


def test_the_parts_of_a_split_start_without_sequence_numbers() -> None:
    """Each gets its own when it is sent, and neither is in any log."""
    made = batch(4)
    made.drain()
    assert [(part.stamp, part.ambiguous) for part in made.split()] == [(None, False)] * 2


def test_a_single_record_can_not_be_split() -> None:
    """Whoever asks has to give it up."""
    made = batch(1)
    made.drain()
    with pytest.raises(AssertionError):
        made.split()
    assert made.state is State.IN_FLIGHT


def test_repr_tells_where_it_stands() -> None:
    """Partition, size, state and attempts."""
    made = batch(3)
    made.drain()
    assert repr(made) == "<Batch logs[0] of 3 in flight attempts=1>"
