"""The errors of the protocol, beside another implementation's list of them."""

from __future__ import annotations

import pytest
from kio.schema.errors import ErrorCode as KioErrorCode

from kiel_logging.wire.error_codes import ErrorCode, error_code, error_name


def test_the_names_and_numbers_are_kafka_s() -> None:
    """All of them: an error is reported by its name."""
    assert {code.name: code.value for code in ErrorCode} == {
        code.name: code.value for code in KioErrorCode
    }


@pytest.mark.parametrize("theirs", KioErrorCode)
def test_an_error_is_retriable_where_kafka_says_so(theirs: KioErrorCode) -> None:
    """A producer retries those that it has no rule of its own for."""
    assert ErrorCode(theirs.value).is_retriable is theirs.retriable


def test_a_number_of_the_list_is_its_error() -> None:
    """It has a name."""
    assert error_code(6) is ErrorCode.not_leader_or_follower
    assert error_name(error_code(6)) == "NOT_LEADER_OR_FOLLOWER"


def test_a_number_that_is_not_in_the_list_stays_one() -> None:
    """A broker may be newer than this client; the message has the number to look up."""
    assert type(error_code(32_000)) is int
    assert error_name(error_code(32_000)) == "an unknown error (32000)"
