"""Batches that are halved because a broker hangs up on them: perhaps it has them, perhaps not."""

from __future__ import annotations

import pytest

from kiel_logging.delivery.batch import Batch, Identity, Stamp
from kiel_logging.errors import ConnectionLost, ProducerFenced
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.produce import PartitionResult
from tests.delivery.settling import LOGS_0, Parts

CUT = ConnectionLost("it hung up")


def halve(parts: Parts) -> tuple[Batch, Batch]:
    """Let a broker hang up on four records; return the halves that come instead of them."""
    parts.append("a", "b", "c", "d")
    parts.settlement.unanswered(parts.send(), CUT, 0.0)
    parts.settlement.halve(parts.accumulator.drain(LOGS_0))
    first, second = parts.accumulator.queue(LOGS_0).batches
    return first, second


def answer(parts: Parts, error: ErrorCode, now: float) -> Batch:
    """Send the next batch, and let a broker answer."""
    batch = parts.send(now=now)
    parts.settlement.answered(batch, PartitionResult(error=error, base_offset=7), now)
    return batch


def test_halves_share_the_numbers_of_the_whole() -> None:
    """A broker that has nothing of it takes them, and recognises each when it is sent again."""
    parts = Parts()
    first, second = halve(parts)
    identity = parts.idempotence.identity
    assert identity is not None
    assert (first.stamp, second.stamp) == (Stamp(identity, 0), Stamp(identity, 2))
    parts.append("e")
    for _ in range(3):
        answer(parts, ErrorCode.none, 100.0)
    assert parts.ends.ended == ["a", "b", "c", "d", "e"]
    assert parts.idempotence.identity == identity


def test_a_producer_learns_that_the_whole_may_have_been_stored() -> None:
    """The broker refuses the numbers: sent again under others, it could be stored twice."""
    parts = Parts()
    halve(parts)
    answer(parts, ErrorCode.out_of_order_sequence_number, 100.0)
    assert isinstance(parts.ends.errors["a"], ProducerFenced)
    assert "whether it was stored is unknown" in str(parts.ends.errors["b"])


def test_a_handler_sends_it_again() -> None:
    """A record that is there twice has one number; one that is lost is lost."""
    parts = Parts(defers=True)
    halve(parts)
    refused = answer(parts, ErrorCode.out_of_order_sequence_number, 100.0)
    assert refused.stamp is None
    assert parts.ends.errors == {}
    answer(parts, ErrorCode.none, 200.0)
    assert parts.ends.ended == ["a", "b"]


@pytest.mark.parametrize("sent", [False, True])
def test_halves_of_a_batch_that_is_surely_not_stored_get_other_numbers(sent: bool) -> None:
    """The whole gives its own back, if it has any."""
    parts = Parts()
    parts.append("a", "b", "c", "d")
    if sent:
        answer(parts, ErrorCode.not_leader_or_follower, 0.0)
    parts.settlement.halve(parts.accumulator.drain(LOGS_0))
    first, second = parts.accumulator.queue(LOGS_0).batches
    assert first.stamp is second.stamp is None
    assert answer(parts, ErrorCode.none, 100.0).stamp == Stamp(parts.idempotence.identity, 0)  # type: ignore[arg-type]
    assert answer(parts, ErrorCode.none, 100.0).stamp == Stamp(parts.idempotence.identity, 2)  # type: ignore[arg-type]


def test_all_numbers_are_forgotten_with_the_cluster() -> None:
    """Another producer may have them in the next one, which would take records for its repeats."""
    parts = Parts()
    halve(parts)
    parts.append("e")
    parts.settlement.leave_cluster()
    parts.idempotence.identity = Identity(1000, 7)
    for base in (0, 2, 4):
        batch = answer(parts, ErrorCode.none, 100.0)
        assert batch.stamp == Stamp(parts.idempotence.identity, base)  # type: ignore[arg-type]
        assert not batch.torn
    assert parts.ends.ended == ["a", "b", "c", "d", "e"]
