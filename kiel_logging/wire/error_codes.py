"""The errors that brokers may answer this client's requests with, by Kafka's numbers.

All that Kafka calls retriable are here, for these are retried whether or not a rule names them.

Source: https://kafka.apache.org/protocol#protocol_error_codes
"""

from enum import IntEnum
from typing import Final, Self

RETRIABLE: Final = True


class ErrorCode(IntEnum):
    """An error of the protocol. Codes that are not in this list stay integers."""

    def __new__(cls, code: int, retriable: bool = False) -> Self:
        self = int.__new__(cls, code)
        self._value_ = code
        self.is_retriable = retriable
        return self

    is_retriable: bool
    """Whether Kafka calls the error one that may go away by itself."""

    unknown_server_error = -1
    none = 0
    corrupt_message = 2, RETRIABLE
    unknown_topic_or_partition = 3, RETRIABLE
    leader_not_available = 5, RETRIABLE
    not_leader_or_follower = 6, RETRIABLE
    request_timed_out = 7, RETRIABLE
    broker_not_available = 8
    replica_not_available = 9, RETRIABLE
    message_too_large = 10
    network_exception = 13, RETRIABLE
    coordinator_load_in_progress = 14, RETRIABLE
    coordinator_not_available = 15, RETRIABLE
    not_coordinator = 16, RETRIABLE
    invalid_topic_exception = 17
    record_list_too_large = 18
    not_enough_replicas = 19, RETRIABLE
    not_enough_replicas_after_append = 20, RETRIABLE
    invalid_required_acks = 21
    topic_authorization_failed = 29
    cluster_authorization_failed = 31
    invalid_timestamp = 32
    unsupported_sasl_mechanism = 33
    illegal_sasl_state = 34
    unsupported_version = 35
    invalid_partitions = 37
    invalid_replication_factor = 38
    invalid_config = 40
    not_controller = 41, RETRIABLE
    invalid_request = 42
    unsupported_for_message_format = 43
    policy_violation = 44
    out_of_order_sequence_number = 45
    duplicate_sequence_number = 46
    invalid_producer_epoch = 47
    invalid_txn_state = 48
    invalid_producer_id_mapping = 49
    invalid_transaction_timeout = 50
    concurrent_transactions = 51, RETRIABLE
    transactional_id_authorization_failed = 53
    security_disabled = 54
    kafka_storage_error = 56, RETRIABLE
    sasl_authentication_failed = 58
    unknown_producer_id = 59
    fetch_session_id_not_found = 70, RETRIABLE
    invalid_fetch_session_epoch = 71, RETRIABLE
    listener_not_found = 72, RETRIABLE
    fenced_leader_epoch = 74, RETRIABLE
    unknown_leader_epoch = 75, RETRIABLE
    unsupported_compression_type = 76
    offset_not_available = 78, RETRIABLE
    preferred_leader_not_available = 80, RETRIABLE
    eligible_leaders_not_available = 83, RETRIABLE
    election_not_needed = 84, RETRIABLE
    invalid_record = 87
    unstable_offset_commit = 88, RETRIABLE
    throttling_quota_exceeded = 89, RETRIABLE
    producer_fenced = 90
    resource_not_found = 91
    unknown_topic_id = 100, RETRIABLE
    inconsistent_topic_id = 103, RETRIABLE
    fetch_session_topic_id_error = 106, RETRIABLE
    transaction_abortable = 120
    share_session_not_found = 122, RETRIABLE
    invalid_share_session_epoch = 123, RETRIABLE
    rebootstrap_required = 129
    share_session_limit_reached = 133, RETRIABLE


_KNOWN: Final[dict[int, ErrorCode]] = {code.value: code for code in ErrorCode}


def error_code(code: int) -> ErrorCode | int:
    """Return the ErrorCode of a number; the number itself where there is none."""
    return _KNOWN.get(code, code)


def error_name(code: ErrorCode | int) -> str:
    """Return Kafka's name of the error, for messages: ``NOT_LEADER_OR_FOLLOWER``."""
    return code.name.upper() if isinstance(code, ErrorCode) else f"an unknown error ({int(code)})"
