"""The meaning of a broker's answer for a batch: one table, and how long to wait before a retry.

Source: the errors that Kafka documents for Produce, and what the Java client does about each.
"""

from enum import Enum
from random import Random
from typing import Final

from kiel_logging.wire.error_codes import ErrorCode


class Outcome(Enum):
    """The fate of the batch."""

    ACKED = "delivered"
    DUPLICATE = "delivered by an earlier attempt"
    RETRY = "sent again after a backoff; it is surely not in the log"
    AMBIGUOUS = "sent again after a backoff; it may be in the log"
    REFRESH = "sent again after a metadata refresh"
    SPLIT = "sent again in halves"
    RECODE = "sent again uncompressed; given up, or deferred, if it was"
    RENUMBER = "sent again under new sequence numbers"
    FENCED = "sent again under a new producer id, unless it may be in the log"
    REFUSE = "given up, or deferred: somebody can put the cause right"
    FAIL = "given up: the brokers will never store this"


OUTCOMES: Final = {
    ErrorCode.none: Outcome.ACKED,
    # The broker remembers the batch but not its offset: more than five batches came since.
    ErrorCode.duplicate_sequence_number: Outcome.DUPLICATE,
    # The partition is led by another broker by now, or by none for a moment.
    ErrorCode.not_leader_or_follower: Outcome.REFRESH,
    ErrorCode.leader_not_available: Outcome.REFRESH,
    ErrorCode.fenced_leader_epoch: Outcome.REFRESH,
    ErrorCode.unknown_leader_epoch: Outcome.REFRESH,
    ErrorCode.replica_not_available: Outcome.REFRESH,
    # The leader's disk failed: another replica takes over.
    ErrorCode.kafka_storage_error: Outcome.REFRESH,
    # Deleted, made again under another id, or not yet known to this broker.
    ErrorCode.unknown_topic_or_partition: Outcome.REFRESH,
    ErrorCode.unknown_topic_id: Outcome.REFRESH,
    ErrorCode.inconsistent_topic_id: Outcome.REFRESH,
    # Refused before it was written: too few replicas are in sync, a quota is used up.
    ErrorCode.not_enough_replicas: Outcome.RETRY,
    ErrorCode.throttling_quota_exceeded: Outcome.RETRY,
    # The bytes changed on the way: the CRC says so, not the content.
    ErrorCode.corrupt_message: Outcome.RETRY,
    # Written by the leader, and not by enough replicas in time: may stay or be truncated.
    ErrorCode.request_timed_out: Outcome.AMBIGUOUS,
    ErrorCode.not_enough_replicas_after_append: Outcome.AMBIGUOUS,
    # The connection ended on the broker's side of a proxy: the answer is what is missing.
    ErrorCode.network_exception: Outcome.AMBIGUOUS,
    # Larger than the topic's max.message.bytes, or the request than the broker takes at all.
    ErrorCode.message_too_large: Outcome.SPLIT,
    ErrorCode.record_list_too_large: Outcome.SPLIT,
    # An earlier batch is missing from the log, after an unclean election or a truncation: this one
    # is not there either, for the broker would have called it a duplicate.
    ErrorCode.out_of_order_sequence_number: Outcome.RENUMBER,
    # All that this producer wrote there was deleted (by retention), its numbers with it.
    ErrorCode.unknown_producer_id: Outcome.RENUMBER,
    # A later epoch of this producer id has written there.
    ErrorCode.invalid_producer_epoch: Outcome.FENCED,
    ErrorCode.producer_fenced: Outcome.FENCED,
    ErrorCode.invalid_producer_id_mapping: Outcome.FENCED,
    # The brokers are older than the codec, or look-alikes that have fewer.
    ErrorCode.unsupported_compression_type: Outcome.RECODE,
    # A retry alone does not change these: permission, configuration.
    ErrorCode.topic_authorization_failed: Outcome.REFUSE,
    ErrorCode.cluster_authorization_failed: Outcome.REFUSE,
    ErrorCode.invalid_required_acks: Outcome.REFUSE,
    ErrorCode.unsupported_version: Outcome.REFUSE,
    # The fault of the records themselves.
    ErrorCode.invalid_topic_exception: Outcome.FAIL,
    ErrorCode.invalid_record: Outcome.FAIL,
    ErrorCode.invalid_timestamp: Outcome.FAIL,
    ErrorCode.unsupported_for_message_format: Outcome.FAIL,
    ErrorCode.policy_violation: Outcome.FAIL,
}


def outcome_of(error: ErrorCode | int) -> Outcome:
    """Return what to do about ``error``: as the table says, else as Kafka classifies it."""
    if not isinstance(error, ErrorCode):
        return Outcome.REFUSE
    return OUTCOMES.get(error, Outcome.RETRY if error.is_retriable else Outcome.REFUSE)


def is_for_good(error: int) -> bool:
    """Whether the brokers will never store a record that they rejected with ``error``."""
    return OUTCOMES.get(error) in (Outcome.FAIL, Outcome.SPLIT)  # type: ignore[call-overload]


_JITTER: Final = 0.2


def backoff(attempts: int, *, first: float, most: float, rng: Random) -> float:
    """Return how long to wait after the ``attempts``-th failure (1 is the first).

    Doubles each time from ``first`` up to ``most`` (both in seconds), give or take a fifth, so
    that clients that failed together don't come back together (KIP-580).
    """
    # 2.0**62 is beyond any limit; without a bound the power itself would overflow.
    wait = min(most, first * 2.0 ** min(attempts - 1, 62))
    return wait * rng.uniform(1 - _JITTER, 1 + _JITTER)
