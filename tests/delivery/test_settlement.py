"""The consequences of an answer: for the queue, numbers, leaders, and the records' owner."""

from __future__ import annotations

import logging

import pytest

from kiel_logging.delivery.batch import Batch, Identity, State
from kiel_logging.delivery.settlement import rejection
from kiel_logging.errors import (
    BrokerRejected,
    DeliveryTimeout,
    ProducerClosed,
    ProducerFenced,
    RecordTooLarge,
    TopicAuthorizationFailed,
    UnknownTopic,
)
from kiel_logging.records import Record
from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.metadata import Leader
from kiel_logging.wire.produce import PartitionResult
from tests.delivery.settling import BACKOFF, LOGS_0, LOGS_1, TIMEOUT, Parts

CUT = ConnectionError("the connection was cut")
ALLOW = "allow this client's user to Write (and, for a new topic, Create) on it"


def answer(
    error: ErrorCode | int, leader: Leader | None = None, message: str | None = None
) -> PartitionResult:
    """A broker's answer for a batch."""
    return PartitionResult(error=error, base_offset=-1, leader=leader, message=message)


def sent(parts: Parts, *tokens: str) -> Batch:
    """A batch that is in flight."""
    parts.append(*(tokens or ("a", "b")))
    return parts.send()


# -- delivered -------------------------------------------------------------------------------------


def test_an_acknowledged_batch_is_delivered() -> None:
    """Each record at its offset."""
    parts = Parts()
    batch = sent(parts, "a", "b", "c")
    parts.settlement.answered(batch, PartitionResult(error=ErrorCode.none, base_offset=40), 1.0)
    assert parts.ends.delivered_at == {"a": 40, "b": 41, "c": 42}
    assert parts.accumulator.outstanding == 0


def test_a_duplicate_is_delivered() -> None:
    """By the attempt that was not answered, at an offset that the broker no longer knows."""
    parts = Parts()
    batch = sent(parts)
    batch.ambiguous = True
    parts.settlement.answered(batch, answer(ErrorCode.duplicate_sequence_number), 1.0)
    assert parts.ends.delivered_at == {"a": -1, "b": -1}


def test_a_duplicate_of_what_was_sent_once_is_not_believed() -> None:
    """Under its numbers the broker has another batch: it is sent under new ones."""
    parts = Parts()
    batch = sent(parts)
    parts.settlement.answered(batch, answer(ErrorCode.duplicate_sequence_number), 1.0)
    assert parts.ends.delivered_at == {}
    assert (batch.state, batch.stamp) == (State.QUEUED, None)


# -- sent again ------------------------------------------------------------------------------------

# Error -> whether the batch may be in the log then, and whether it keeps its numbers.
AGAIN = {
    ErrorCode.not_enough_replicas: (False, True),
    ErrorCode.not_leader_or_follower: (False, True),
    ErrorCode.request_timed_out: (True, True),
    ErrorCode.not_enough_replicas_after_append: (True, True),
    ErrorCode.out_of_order_sequence_number: (False, False),
    ErrorCode.invalid_producer_epoch: (False, False),
}


@pytest.mark.parametrize("error", AGAIN)
def test_a_batch_is_sent_again_after_a_backoff(error: ErrorCode) -> None:
    """No end is reported, and the backoff grows with the attempts."""
    parts = Parts()
    batch = sent(parts)
    stamp = batch.stamp
    parts.settlement.answered(batch, answer(error), 10.0)
    assert parts.accumulator.ready(10.0 + BACKOFF - 0.001) == []
    assert parts.accumulator.ready(10.0 + BACKOFF) == [LOGS_0]
    assert (batch.ambiguous, batch.stamp == stamp) == AGAIN[error]
    assert parts.ends.ended == []
    parts.idempotence.identity = Identity(2000, 0)
    stamp = parts.send(now=20.0).stamp
    parts.settlement.unanswered(batch, CUT, 20.0)
    assert parts.accumulator.ready(20.0 + 2 * BACKOFF - 0.001) == []
    assert parts.accumulator.ready(20.0 + 2 * BACKOFF) == [LOGS_0]
    assert (batch.ambiguous, batch.stamp, batch.last_error) == (True, stamp, CUT)


@pytest.mark.parametrize("error", [*AGAIN, ErrorCode.message_too_large])
def test_a_batch_is_not_sent_again_past_its_deadline_or_while_closing(error: ErrorCode) -> None:
    """It fails, with the last error as the reason."""
    late, closing = Parts(), Parts()
    late.settlement.answered(sent(late), answer(error), TIMEOUT)
    assert isinstance(late.ends.errors["a"], DeliveryTimeout)
    assert "not delivered to logs[0] within 120000 ms" in str(late.ends.errors["a"])
    assert error.name.upper() in str(late.ends.errors["a"])
    batch = sent(closing)
    closing.settlement.closing = True
    closing.settlement.answered(batch, answer(error), 1.0)
    assert isinstance(closing.ends.errors["a"], ProducerClosed)
    assert closing.accumulator.outstanding == 0


@pytest.mark.parametrize(
    ("error", "hint", "leader"),
    [
        (ErrorCode.not_leader_or_follower, None, None),
        (ErrorCode.not_leader_or_follower, Leader(2, 6), 2),
        (ErrorCode.not_enough_replicas, None, 1),
    ],
)
def test_a_leader_that_moved_is_forgotten(
    error: ErrorCode, hint: Leader | None, leader: int | None
) -> None:
    """That of this partition; a hint names the new one, so no metadata has to be asked for
    (KIP-951). Other errors say nothing of the leader."""
    parts = Parts()
    parts.settlement.answered(sent(parts), answer(error, hint), 1.0)
    assert parts.topology.leader(LOGS_0) == leader
    assert parts.topology.leader(LOGS_1) == 1


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ErrorCode.out_of_order_sequence_number, ErrorCode.unknown_producer_id]
)
def test_refused_numbers_are_replaced(error: ErrorCode) -> None:
    """Under the next epoch."""
    parts = Parts()
    batch = sent(parts)
    parts.settlement.answered(batch, answer(error), 1.0)
    assert parts.send(now=10.0) is batch
    assert batch.stamp == (Identity(1000, 1), 0)


def test_a_fenced_producer_asks_for_another_id() -> None:
    """And sends under that what is surely not in the log."""
    parts = Parts()
    batch = sent(parts)
    parts.settlement.answered(batch, answer(ErrorCode.producer_fenced), 1.0)
    assert parts.idempotence.identity is None
    parts.idempotence.identity = Identity(2000, 0)
    assert parts.send(now=10.0) is batch
    assert batch.stamp == (Identity(2000, 0), 0)


def test_what_may_be_in_the_log_is_not_sent_under_another_id() -> None:
    """It could be there twice: the caller has to decide."""
    parts = Parts()
    parts.settlement.unanswered(sent(parts), CUT, 1.0)
    parts.settlement.answered(parts.send(now=9.0), answer(ErrorCode.producer_fenced), 9.0)
    assert isinstance(parts.ends.errors["a"], ProducerFenced)
    assert "whether it was stored is unknown" in str(parts.ends.errors["a"])


@pytest.mark.parametrize(("ambiguous", "epoch"), [(False, 0), (True, 1)])
def test_the_epoch_rises_after_an_unknown_fate_only(ambiguous: bool, epoch: int) -> None:
    """Else the numbers of what was given up are used again."""
    parts = Parts()
    batch = sent(parts)
    batch.ambiguous = ambiguous
    parts.settlement.answered(batch, answer(ErrorCode.invalid_record), 1.0)
    parts.append("c")
    assert parts.send(now=1.0).stamp == (Identity(1000, epoch), 0)


# -- given up --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            ErrorCode.invalid_record,
            BrokerRejected,
            "the broker answered INVALID_RECORD (87) for logs[0]: no key",
        ),
        (
            ErrorCode.topic_authorization_failed,
            TopicAuthorizationFailed,
            f"the broker answered TOPIC_AUTHORIZATION_FAILED (29) for logs[0]: no key: {ALLOW}",
        ),
        (
            31_999,
            BrokerRejected,
            "the broker answered an error unknown to us (31999) for logs[0]: no key",
        ),
    ],
)
def test_an_error_for_good_fails_the_batch(
    error: int, kind: type[Exception], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With its name, number, partition, the broker's words and advice; it is logged as well, for
    perhaps no code looks at the future."""
    parts = Parts()
    batch = sent(parts)
    with caplog.at_level(logging.ERROR, "kiel_logging"):
        parts.settlement.answered(batch, answer(error, message="no key"), 1.0)
    failure = parts.ends.errors["a"]
    assert type(failure) is kind
    assert str(failure) == text
    assert getattr(failure, "error_code", None) == error
    assert parts.ends.ended == ["a", "b"]
    (record,) = caplog.records
    assert record.getMessage() == f"2 messages for logs[0] were not delivered: {text}"


# -- too large -------------------------------------------------------------------------------------


def test_a_batch_that_is_too_large_is_halved() -> None:
    """No end is reported; the halves are ready at once, under numbers without a hole."""
    parts = Parts()
    batch = sent(parts, "a", "b", "c", "d")
    parts.settlement.answered(batch, answer(ErrorCode.message_too_large), 1.0)
    assert batch.state is State.SPLIT
    first = parts.send(now=1.0)
    assert first.tokens == ["a", "b"]
    parts.settlement.answered(first, PartitionResult(error=ErrorCode.none, base_offset=0), 1.0)
    second = parts.send(now=1.0)
    assert second.tokens == ["c", "d"]
    assert (first.stamp, second.stamp) == ((Identity(1000, 0), 0), (Identity(1000, 0), 2))
    assert parts.ends.ended == ["a", "b"]


def test_a_record_that_is_too_large_fails_alone() -> None:
    """Halving ends there, and the others arrive."""
    parts = Parts()
    parts.settlement.answered(sent(parts), answer(ErrorCode.message_too_large), 1.0)
    parts.settlement.answered(parts.send(now=1.0), answer(ErrorCode.message_too_large), 1.0)
    last = parts.send(now=1.0)
    parts.settlement.answered(last, PartitionResult(error=ErrorCode.none, base_offset=7), 1.0)
    assert isinstance(parts.ends.errors["a"], RecordTooLarge)
    assert parts.ends.delivered_at == {"b": 7}


@pytest.mark.parametrize(("limit", "shown"), [(1000, "is 1000"), (None, "is less")])
def test_the_error_names_size_topic_and_limit(limit: int | None, shown: str) -> None:
    """The topic's own limit, where the broker gave it."""
    parts = Parts()
    parts.settlement.limits["logs"] = limit
    batch = sent(parts, "a")
    parts.settlement.answered(batch, answer(ErrorCode.message_too_large), 1.0)
    message = str(parts.ends.errors["a"])
    assert f"a message of {batch.size} bytes" in message
    assert "topic 'logs'" in message
    assert f"max.message.bytes {shown}" in message


# -- time, topics and the end ----------------------------------------------------------------------


def test_queued_records_expire() -> None:
    """The reason is the last error, else the trouble of the brokers, else the leader."""
    parts = Parts()
    parts.append("a", to=LOGS_0)
    parts.append("b", to=LOGS_1)
    parts.settlement.answered(parts.send(LOGS_0), answer(ErrorCode.not_enough_replicas), 1.0)
    parts.settlement.expire(TIMEOUT)
    assert "NOT_ENOUGH_REPLICAS" in str(parts.ends.errors["a"])
    assert str(parts.ends.errors["b"]) == (
        "not delivered to logs[1] within 120000 ms: its partition has no leader"
    )
    parts.append("c")
    parts.settlement.trouble = CUT
    parts.settlement.expire(TIMEOUT)
    assert str(parts.ends.errors["c"]).endswith("within 120000 ms: the connection was cut")


def test_held_records_expire() -> None:
    """Their topic never came into being."""
    parts = Parts()
    parts.accumulator.hold("new", None, Record(None, b"", (), 0), "a", 0.0)
    parts.settlement.expire(TIMEOUT - 0.001)
    assert parts.ends.ended == []
    parts.settlement.expire(TIMEOUT)
    assert isinstance(parts.ends.errors["a"], DeliveryTimeout)
    assert "not delivered to new within" in str(parts.ends.errors["a"])


def test_a_topic_that_does_not_come_back_is_given_up() -> None:
    """All that is held or queued for it; other topics stay."""
    parts = Parts()
    gone = UnknownTopic("logs is gone")
    parts.append("queued", to=LOGS_0)
    parts.accumulator.hold("logs", None, Record(None, b"", (), 0), "held", 0.0)
    parts.accumulator.hold("audit", None, Record(None, b"", (), 0), "other", 0.0)
    parts.settlement.give_up_topic("logs", gone)
    assert parts.ends.errors == {"held": gone, "queued": gone}
    assert parts.accumulator.outstanding == 1


def test_in_the_end_everything_is_given_up() -> None:
    """Held or queued; what is in flight ends with its connection."""
    parts = Parts()
    out = sent(parts, "out")
    parts.append("queued")
    parts.accumulator.hold("new", None, Record(None, b"", (), 0), "held", 0.0)
    parts.settlement.closing = True
    parts.settlement.trouble = CUT
    parts.settlement.give_up_all()
    assert sorted(parts.ends.ended) == ["held", "queued"]
    parts.settlement.unanswered(out, CUT, 1.0)
    assert sorted(parts.ends.ended) == ["held", "out", "queued"]
    assert all(isinstance(error, ProducerClosed) for error in parts.ends.errors.values())
    assert "the connection was cut" in str(parts.ends.errors["queued"])
    assert parts.accumulator.outstanding == 0


def test_a_broker_s_own_words_are_shown_and_do_nothing_else() -> None:
    """They are one short line, so that the advice behind them is read."""
    words = "policy\n2026-01-01 CRITICAL forged\x1b[2J\x1b]52;c;AAAA\x07\u202e" + "x" * 32_000
    text = str(rejection("logs[0]", ErrorCode.topic_authorization_failed, words))
    assert text.isprintable()
    assert len(text) < 700
    assert r"policy\n2026-01-01 CRITICAL forged\x1b[2J" in text
    assert text.endswith("allow this client's user to Write (and, for a new topic, Create) on it")


@pytest.mark.parametrize("defers", [True, False], ids=["handler", "Producer"])
def test_a_record_that_brokers_never_store_costs_itself_only(*, defers: bool) -> None:
    """For an owner that defers: the batch is halved until the record is alone."""
    parts = Parts(defers=defers)
    parts.append(*range(8))
    while parts.accumulator.outstanding:
        batch = parts.send()
        error = ErrorCode.invalid_record if 5 in batch.tokens else ErrorCode.none
        parts.settlement.answered(batch, PartitionResult(error=error, base_offset=0), 0.0)
    failed = [5] if defers else list(range(8))
    assert list(parts.ends.errors) == failed
    assert sorted(parts.ends.ended) == list(range(8))
