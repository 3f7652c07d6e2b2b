"""Records whose time brokers refuse."""

from __future__ import annotations

import pytest

from kiel_logging.wire.error_codes import ErrorCode
from kiel_logging.wire.produce import PartitionResult
from tests.delivery.settling import Parts

REFUSED = PartitionResult(error=ErrorCode.invalid_timestamp, base_offset=-1)
STORED = PartitionResult(error=ErrorCode.none, base_offset=7)


def parts_with(time_to_store: int | None) -> Parts:
    """An owner that has three records, and this time for any that is refused."""
    parts = Parts(defers=True)
    parts.ends.time_to_store = time_to_store
    parts.append("a", "b", "c")
    return parts


def send_all(parts: Parts, wrong: str, *, always: bool = False) -> dict[str, int]:
    """Answer until nothing is left: batches with one record are refused.

    Returns the times under which the records are stored.
    """
    stored: dict[str, int] = {}
    while parts.accumulator.outstanding:
        batch = parts.send(now=10.0)
        if wrong in batch.tokens and (always or batch.records[batch.tokens.index(wrong)][3] == 0):
            parts.settlement.answered(batch, REFUSED, 10.0)
        else:
            stored |= {
                token: record[3] for token, record in zip(batch.tokens, batch.records, strict=True)
            }
            parts.settlement.answered(batch, STORED, 10.0)
    return stored


@pytest.mark.parametrize("wrong", ["a", "b", "c"])
def test_a_wrong_time_is_put_right(wrong: str) -> None:
    """That of the one record; all are stored, in order, under the owner's time and their own."""
    parts = parts_with(5_000)
    assert send_all(parts, wrong) == {**dict.fromkeys("abc", 0), wrong: 5_000}
    assert parts.ends.ended == ["a", "b", "c"]
    assert parts.ends.errors == {}


def test_a_time_is_put_right_once() -> None:
    """If brokers refuse the present as well, the record is given up; its neighbours are not."""
    parts = parts_with(5_000)
    assert send_all(parts, "b", always=True) == {"a": 0, "c": 0}
    assert list(parts.ends.errors) == ["b"]


def test_an_owner_may_let_it_fail() -> None:
    """It has no other time for it."""
    parts = parts_with(None)
    assert send_all(parts, "b") == {"a": 0, "c": 0}
    assert list(parts.ends.errors) == ["b"]
