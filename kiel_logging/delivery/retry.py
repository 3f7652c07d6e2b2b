"""What a broker's answer means for a batch: one table, and how long to wait before a retry.

Source: the errors that Kafka documents for Produce, and what the Java client does about each.
"""

from enum import Enum
from random import Random
from typing import Final

from kio.schema.errors import ErrorCode


class Outcome(Enum):
    """What happens to the batch."""

    ACKED = "delivered"
    RETRY = "sent again after a backoff"
    REFRESH = "sent again after a metadata refresh"
    FAIL = "given up: sending it again would give the same answer"


OUTCOMES: Final = {
    ErrorCode.none: Outcome.ACKED,
    # The partition is led by another broker by now, or by none for a moment.
    ErrorCode.not_leader_or_follower: Outcome.REFRESH,
    ErrorCode.leader_not_available: Outcome.REFRESH,
    ErrorCode.fenced_leader_epoch: Outcome.REFRESH,
    ErrorCode.unknown_leader_epoch: Outcome.REFRESH,
    ErrorCode.replica_not_available: Outcome.REFRESH,
    ErrorCode.kafka_storage_error: Outcome.REFRESH,
    # Deleted, made again under another id, or not yet known to this broker.
    ErrorCode.unknown_topic_or_partition: Outcome.REFRESH,
    ErrorCode.unknown_topic_id: Outcome.REFRESH,
    ErrorCode.inconsistent_topic_id: Outcome.REFRESH,
    # The broker is slow or short of replicas; it may well be better soon.
    ErrorCode.request_timed_out: Outcome.RETRY,
    ErrorCode.not_enough_replicas: Outcome.RETRY,
    ErrorCode.not_enough_replicas_after_append: Outcome.RETRY,
    ErrorCode.throttling_quota_exceeded: Outcome.RETRY,
    # The bytes changed on the way: the CRC says so, not the content.
    ErrorCode.corrupt_message: Outcome.RETRY,
}


def outcome_of(error: ErrorCode | int) -> Outcome:
    """Return what to do about ``error``: as the table says, else as Kafka classifies it."""
    if not isinstance(error, ErrorCode):
        return Outcome.FAIL
    return OUTCOMES.get(error, Outcome.RETRY if error.retriable else Outcome.FAIL)


_JITTER: Final = 0.2


def backoff(attempts: int, *, first: float, most: float, rng: Random) -> float:
    """Return how long to wait after the ``attempts``-th failure (1 is the first).

    Doubles each time from ``first`` up to ``most`` (both in seconds), give or take a fifth, so
    that clients that failed together don't come back together (KIP-580).
    """
    # 2.0**62 is beyond any limit; without a bound the power itself would overflow.
    wait = min(most, first * 2.0 ** min(attempts - 1, 62))
    return wait * rng.uniform(1 - _JITTER, 1 + _JITTER)
