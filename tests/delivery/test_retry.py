"""The outcome of each error code, and how long a retry waits."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.delivery.retry import Outcome, backoff, is_for_good, outcome_of
from kiel_logging.wire.error_codes import ErrorCode
from tests.support.examples import examples

WRITTEN_DOWN = {
    Outcome.ACKED: {"none"},
    Outcome.DUPLICATE: {"duplicate_sequence_number"},
    Outcome.REFRESH: {
        "not_leader_or_follower",
        "leader_not_available",
        "fenced_leader_epoch",
        "unknown_leader_epoch",
        "replica_not_available",
        "kafka_storage_error",
        "unknown_topic_or_partition",
        "unknown_topic_id",
        "inconsistent_topic_id",
    },
    Outcome.RETRY: {"not_enough_replicas", "throttling_quota_exceeded", "corrupt_message"},
    Outcome.AMBIGUOUS: {
        "request_timed_out",
        "not_enough_replicas_after_append",
        "network_exception",
    },
    Outcome.SPLIT: {"message_too_large", "record_list_too_large"},
    Outcome.RENUMBER: {"out_of_order_sequence_number", "unknown_producer_id"},
    Outcome.FENCED: {"invalid_producer_epoch", "producer_fenced", "invalid_producer_id_mapping"},
    Outcome.RECODE: {"unsupported_compression_type"},
    Outcome.REFUSE: {
        "topic_authorization_failed",
        "cluster_authorization_failed",
        "invalid_required_acks",
        "unsupported_version",
    },
    Outcome.FAIL: {
        "invalid_topic_exception",
        "invalid_record",
        "invalid_timestamp",
        "unsupported_for_message_format",
        "policy_violation",
    },
}


@pytest.mark.parametrize("error", ErrorCode)
def test_every_error_has_an_outcome(error: ErrorCode) -> None:
    """Errors of the table their own; others are retried if Kafka calls them retriable."""
    rest = Outcome.RETRY if error.is_retriable else Outcome.REFUSE
    table = {name: outcome for outcome, names in WRITTEN_DOWN.items() for name in names}
    assert outcome_of(error) is table.get(error.name, rest)
    if error.is_retriable:
        assert outcome_of(error) not in (Outcome.REFUSE, Outcome.FAIL)


@pytest.mark.parametrize("number", [-2, 10_000, 32_767])
def test_an_error_of_the_future_is_a_refusal(number: int) -> None:
    """No client of today knows whether it is the record's fault."""
    assert outcome_of(number) is Outcome.REFUSE
    assert not is_for_good(number)


@pytest.mark.parametrize("error", ErrorCode)
def test_what_is_never_stored(error: ErrorCode) -> None:
    """A record that is at fault itself, or too large; all else may be stored later."""
    never = WRITTEN_DOWN[Outcome.FAIL] | WRITTEN_DOWN[Outcome.SPLIT]
    assert is_for_good(int(error)) == (error.name in never)


# -- backoff ---------------------------------------------------------------------------------------


class Middle(Random):
    """No jitter: the middle of every range."""

    def uniform(self, a: float, b: float) -> float:
        """Halfway."""
        return (a + b) / 2


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 1.0), (6, 1.0), (10_000, 1.0)],
)
def test_the_wait_doubles_up_to_the_most(attempts: int, expected: float) -> None:
    """From the first on; jitter aside."""
    assert backoff(attempts, first=0.1, most=1.0, rng=Middle()) == pytest.approx(expected)


@examples(200)
@given(
    attempts=st.integers(1, 10_000),
    first=st.floats(0, 1e6),
    more=st.floats(0, 1e6),
    seed=st.integers(),
)
def test_the_wait_is_within_a_fifth(attempts: int, first: float, more: float, seed: int) -> None:
    """Of the doubled first one, or of the most, after however many attempts."""
    most = first + more
    plain = backoff(attempts, first=first, most=most, rng=Middle())
    wait = backoff(attempts, first=first, most=most, rng=Random(seed))
    assert plain <= most
    assert plain * 0.8 <= wait <= plain * 1.2 or wait == pytest.approx(plain, rel=0.21)


def test_the_jitter_uses_its_whole_range() -> None:
    """Clients that failed together don't come back together (KIP-580)."""
    rng = Random(1)
    waits = [backoff(1, first=1.0, most=1.0, rng=rng) for _ in range(1000)]
    assert 0.8 <= min(waits) < 0.81
    assert 1.19 < max(waits) <= 1.2
