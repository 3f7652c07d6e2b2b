"""The errors of the protocol, beside another implementation's list of them."""

from __future__ import annotations

import pytest
from kio.schema.errors import ErrorCode as KioErrorCode

from kiel_logging.wire.error_codes import ErrorCode, error_code, error_name


@pytest.mark.parametrize("theirs", KioErrorCode)
def test_names_numbers_and_retriable_errors_are_kafka_s(theirs: KioErrorCode) -> None:
    """A producer retries retriable errors that it has no rule for, so none of these is missing."""
    ours = error_code(theirs.value)
    if isinstance(ours, ErrorCode):
        assert (ours.name, ours.is_retriable) == (theirs.name, theirs.retriable)
    else:
        assert not theirs.retriable


def test_an_error_is_reported_by_its_name() -> None:
    """By its number where it has none: a broker may be newer than this client."""
    assert error_code(6) is ErrorCode.not_leader_or_follower
    assert error_name(error_code(6)) == "NOT_LEADER_OR_FOLLOWER"
    assert type(error_code(32_000)) is int
    assert error_name(error_code(32_000)) == "an unknown error (32000)"
