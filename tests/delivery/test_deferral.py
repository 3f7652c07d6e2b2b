"""Topics that the brokers reject for now: how long they wait, and what is tried then."""

from __future__ import annotations

import pytest

from kiel_logging.delivery.batch import Batch, State
from kiel_logging.delivery.deferral import FIRST, MOST, Deferrals
from kiel_logging.errors import DeliveryTimeout, ProducerClosed, TopicAuthorizationFailed
from kiel_logging.records import Record, TopicPartition
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.produce import PartitionResult
from tests.delivery.settling import LOGS_0, LOGS_1, TIMEOUT, Parts

FORBIDDEN = PermissionError("forbidden")
AUDIT_0 = TopicPartition("audit", 0)


def answer(error: ErrorCode) -> PartitionResult:
    """A broker's answer for a batch."""
    return PartitionResult(error=error, base_offset=7 if error is ErrorCode.none else -1)


def batch_of(topic: str) -> Batch:
    """A batch that is in flight."""
    batch = Batch(TopicPartition(topic, 0), arrival=1, deadline=100.0)
    batch.drain()
    return batch


# -- the waits of a topic --------------------------------------------------------------------------


def test_a_wait_doubles_with_each_rejection_up_to_the_most() -> None:
    """From 2 seconds on, to a minute."""
    deferrals, now, waits = Deferrals(), 10.0, []
    for _ in range(7):
        assert deferrals.reject("logs", FORBIDDEN, now)
        waits.append(deferrals.until("logs") - now)
        now = deferrals.until("logs")
    assert waits == [FIRST, 4.0, 8.0, 16.0, 32.0, MOST, MOST]


def test_a_trial_blocks_the_rest_while_it_is_in_flight() -> None:
    """However it comes back, but delivered, the next may be tried."""
    deferrals = Deferrals()
    deferrals.reject("logs", FORBIDDEN, 0.0)
    trial = batch_of("logs")
    deferrals.sent(trial)
    assert deferrals.blocks("logs", FIRST)
    trial.reenqueue(FORBIDDEN)
    assert not deferrals.blocks("logs", FIRST)
    assert deferrals.error("logs") is FORBIDDEN


def test_the_next_wait_to_end_is_the_deadline() -> None:
    """None once all are over."""
    deferrals = Deferrals()
    deferrals.reject("logs", FORBIDDEN, 0.0)
    deferrals.reject("audit", FORBIDDEN, 1.0)
    assert deferrals.next_deadline(1.0) == FIRST
    assert deferrals.next_deadline(FIRST) == 1.0 + FIRST
    assert deferrals.next_deadline(10.0) is None


def test_the_end_of_a_wait_is_noticed_once() -> None:
    """For each wait."""
    deferrals = Deferrals()
    deferrals.reject("logs", FORBIDDEN, 0.0)
    assert [deferrals.end_waits(now) for now in (1.0, FIRST, FIRST)] == [False, True, False]
    deferrals.reject("logs", FORBIDDEN, 5.0)
    assert [deferrals.end_waits(now) for now in (5.0, 10.0)] == [False, True]


def test_only_the_topic_that_was_rejected_waits() -> None:
    """Until the end of the wait, which rejections of other batches in flight don't prolong."""
    deferrals = Deferrals()
    deferrals.reject("logs", FORBIDDEN, 10.0)
    assert not deferrals.reject("logs", FORBIDDEN, 11.0)
    assert deferrals.blocks("logs", 10.0 + FIRST - 0.001)
    assert not deferrals.blocks("audit", 10.0)
    assert not deferrals.blocks("logs", 10.0 + FIRST)


@pytest.mark.parametrize(("at", "over"), [(20.0, True), (11.0, False)])
def test_a_delivery_ends_the_deferral_and_the_next_begins_anew(at: float, over: bool) -> None:
    """During a wait it does not end that: the batch was in flight beside the rejected one. The
    next rejection waits for the shortest time again either way."""
    deferrals = Deferrals()
    for now in (0.0, 10.0):
        deferrals.reject("logs", FORBIDDEN, now)
    deferrals.delivered("logs", at)
    assert (deferrals.error("logs") is None) == over
    assert deferrals.blocks("logs", at) == (not over)
    deferrals.reject("logs", FORBIDDEN, 20.0)
    assert deferrals.until("logs") == 20.0 + FIRST


# -- an owner that defers --------------------------------------------------------------------------


def deferring() -> Parts:
    """Parts whose owner keeps what the brokers reject for now."""
    return Parts(defers=True)


def rejected(parts: Parts, *tokens: str, now: float = 10.0) -> Batch:
    """A batch of `logs[0]` that may not be written for now."""
    parts.append(*tokens, now=now)
    batch = parts.send(now=now)
    parts.settlement.answered(batch, answer(ErrorCode.topic_authorization_failed), now)
    return batch


def test_a_rejected_batch_waits_with_its_whole_topic() -> None:
    """All partitions; other topics continue; no end is reported, but the wait is."""
    parts = deferring()
    parts.append("b", to=LOGS_1)
    parts.append("other", to=AUDIT_0)
    batch = rejected(parts, "a")
    assert batch.state is State.QUEUED
    assert parts.sendable(10.0 + FIRST - 0.001) == [AUDIT_0]
    assert set(parts.sendable(10.0 + FIRST)) == {AUDIT_0, LOGS_0, LOGS_1}
    assert parts.ends.ended == []
    ((topic, error),) = parts.ends.deferred_topics
    assert topic == "logs"
    assert isinstance(error, TopicAuthorizationFailed)


def test_the_owner_hears_of_each_wait() -> None:
    """Of one for all batches that were in flight, and of the next."""
    parts = deferring()
    parts.append("b", to=LOGS_1)
    beside = parts.send(LOGS_1)
    batch = rejected(parts, "a")
    parts.settlement.answered(beside, answer(ErrorCode.topic_authorization_failed), 10.0)
    assert len(parts.ends.deferred_topics) == 1
    assert parts.send(now=20.0) is batch
    parts.settlement.answered(batch, answer(ErrorCode.topic_authorization_failed), 20.0)
    assert len(parts.ends.deferred_topics) == 2
    assert parts.sendable(23.9) == []


@pytest.mark.parametrize(
    "error",
    [
        ErrorCode.topic_authorization_failed,
        ErrorCode.cluster_authorization_failed,
        ErrorCode.unsupported_compression_type,
        31_999,
    ],
)
def test_a_cause_that_can_be_put_right_waits(error: ErrorCode | int) -> None:
    """An error unknown to us as well."""
    parts = deferring()
    parts.append("a")
    parts.settlement.answered(parts.send(), PartitionResult(error=error, base_offset=-1), 0.0)
    assert parts.ends.ended == []
    assert parts.sendable(0.0) == []


@pytest.mark.parametrize("error", [ErrorCode.invalid_record, ErrorCode.policy_violation])
def test_a_record_s_own_fault_is_an_end(error: ErrorCode) -> None:
    """And no reason to wait for the others."""
    parts = deferring()
    parts.append("a")
    batch = parts.send()
    parts.append("b")
    parts.settlement.answered(batch, answer(error), 0.0)
    assert list(parts.ends.errors) == ["a"]
    assert parts.sendable(0.0) == [LOGS_0]


def test_a_trial_that_fails_makes_way_for_the_next() -> None:
    """It was at fault itself."""
    parts = deferring()
    batch = rejected(parts, "a")
    parts.append("b")
    parts.settlement.answered(parts.send(now=20.0), answer(ErrorCode.invalid_record), 20.0)
    assert batch.state is State.FAILED
    assert parts.send(now=20.0).tokens == ["b"]


def test_a_batch_that_may_be_stored_keeps_its_numbers() -> None:
    """A broker must be able to recognise it."""
    parts = deferring()
    parts.append("a")
    batch = parts.send()
    stamp = batch.stamp
    parts.settlement.unanswered(batch, ConnectionError("cut"), 0.0)
    parts.settlement.answered(parts.send(now=5.0), answer(ErrorCode.invalid_required_acks), 5.0)
    assert (batch.ambiguous, batch.stamp) == (True, stamp)


def test_a_fenced_batch_of_unknown_fate_is_sent_again() -> None:
    """Perhaps twice rather than perhaps not at all."""
    parts = deferring()
    parts.append("a")
    batch = parts.send()
    parts.settlement.unanswered(batch, ConnectionError("cut"), 0.0)
    parts.settlement.answered(parts.send(now=5.0), answer(ErrorCode.producer_fenced), 5.0)
    assert parts.ends.ended == []
    assert (batch.ambiguous, batch.stamp) == (False, None)


def test_the_delivery_timeout_holds_for_a_topic_that_waits() -> None:
    """Its reason is the rejection."""
    parts = deferring()
    rejected(parts, "a", now=0.0)
    parts.settlement.expire(TIMEOUT)
    assert isinstance(parts.ends.errors["a"], DeliveryTimeout)
    assert "TOPIC_AUTHORIZATION_FAILED" in str(parts.ends.errors["a"])


def test_nothing_waits_once_the_producer_is_closing() -> None:
    """A rejected batch ends as all others do."""
    parts = deferring()
    parts.append("a")
    batch = parts.send()
    parts.settlement.closing = True
    parts.settlement.answered(batch, answer(ErrorCode.topic_authorization_failed), 1.0)
    assert isinstance(parts.ends.errors["a"], ProducerClosed)
    assert parts.ends.deferred_topics == []


def test_a_client_that_is_rejected_waits_with_all_topics() -> None:
    """Held records as well."""
    parts = deferring()
    parts.append("a")
    parts.accumulator.hold("new", None, Record(None, b"", (), 0), "held", 0.0)
    parts.settlement.refuse_all(FORBIDDEN, 1.0)
    assert sorted(topic for topic, _ in parts.ends.deferred_topics) == ["logs", "new"]
    assert parts.ends.ended == []


def test_all_tokens_of_a_topic_are_found() -> None:
    """In flight, queued and held; of no other topic."""
    parts = deferring()
    parts.append("out")
    parts.send()
    parts.append("queued")
    parts.append("second", to=LOGS_1)
    parts.append("other", to=AUDIT_0)
    parts.accumulator.hold("logs", None, Record(None, b"", (), 0), "held", 0.0)
    found = sorted(parts.accumulator.tokens_of("logs"))
    assert found == ["held", "out", "queued", "second"]
