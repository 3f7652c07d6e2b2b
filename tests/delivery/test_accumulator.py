"""The accumulator's law, sentence by sentence. Time is a number that the tests add to."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.delivery.accumulator import UNKNOWN, Accumulator
from kiel_logging.delivery.batch import Batch, Identity, Stamp, memory_of
from kiel_logging.records import Record, TopicPartition
from kiel_logging.wire.sizes import BATCH_OVERHEAD, record_size

LOGS_0, LOGS_1 = TopicPartition("logs", 0), TopicPartition("logs", 1)
AUDIT_0 = TopicPartition("audit", 0)
LINGER, TIMEOUT = 5.0, 120.0
ERROR = ConnectionError("the broker went away")


def accumulator(batch_size: int = 100, max_batch_bytes: int = 1_000_000) -> Accumulator:
    """Lingers for 5 and gives up after 120."""
    return Accumulator(
        batch_size=batch_size,
        linger=LINGER,
        max_batch_bytes=max_batch_bytes,
        delivery_timeout=TIMEOUT,
    )


def record(value: bytes | None = b"value", key: bytes | None = None) -> Record:
    """A record of which only its value matters."""
    return Record(key, value, (), 0)


def append(
    acc: Accumulator, *tokens: Any, to: TopicPartition = LOGS_0, now: float = 0.0
) -> list[Any]:
    """Append a record for each token; return what the last one sealed."""
    sealed: Any = ()
    for token in tokens:
        sealed = acc.append(to, record(), token, now)
    return list(sealed)


def drained(acc: Accumulator, topic_partition: TopicPartition = LOGS_0, now: float = 0.0) -> Batch:
    """Drain a partition that is ready."""
    assert topic_partition in acc.ready(now)
    return acc.drain(topic_partition)


def counters(acc: Accumulator) -> tuple[int, int, int]:
    """Records queued or held, records in flight, bytes of memory."""
    return acc.buffered, acc.in_flight, acc.memory


def full_after(records: int) -> int:
    """The bytes of a batch that just takes so many of our records."""
    return BATCH_OVERHEAD + records * record_size(record())


EACH = memory_of(record())


# -- a seal: batch_size, linger, flush -------------------------------------------------------------


def test_batch_size_records_or_a_flush_make_a_seal() -> None:
    """Records are counted since the last seal, over all topics, held ones as well; the call that
    seals returns their tokens."""
    acc = accumulator(batch_size=3)
    assert append(acc, "a") == []
    assert list(acc.hold("new", None, record(), "held", 0.0)) == []
    assert acc.ready(0.0) == []
    assert append(acc, "b", to=AUDIT_0) == ["a", "held", "b"]
    assert sorted(acc.ready(0.0)) == [AUDIT_0, LOGS_0]
    assert append(acc, "c", to=LOGS_1) == []
    assert acc.seal() == ["c"]
    assert acc.seal() == []
    assert append(acc, "d", "e") == []
    assert append(acc, "f") == ["d", "e", "f"]


def test_the_linger_starts_with_the_first_unsealed_record() -> None:
    """Later ones don't prolong it."""
    acc = accumulator()
    append(acc, "a", now=0.0)
    append(acc, "b", now=LINGER - 1)
    acc.seal_if_lingered(LINGER - 0.001)
    assert acc.ready(LINGER) == []
    acc.seal_if_lingered(LINGER)
    assert acc.ready(LINGER) == [LOGS_0]
    append(acc, "c", now=LINGER + 3.0)
    acc.seal_if_lingered(2 * LINGER)
    assert acc.seal() == ["c"], "it starts again with the first record behind a seal"


def test_seals_are_counted() -> None:
    """Those that sealed something: sticky partitioners change their choice with them."""
    acc = accumulator(batch_size=2)
    acc.seal()
    assert acc.seals == 0
    append(acc, "a", "b", "c")
    acc.seal()
    assert acc.seals == 2


def test_records_may_join_a_sealed_batch_until_it_is_sent() -> None:
    """Under load the next batch grows while one is out."""
    acc = accumulator()
    append(acc, "a")
    acc.seal()
    append(acc, "late")
    assert drained(acc).tokens == ["a", "late"]


# -- a partition is due ----------------------------------------------------------------------------


def test_a_full_batch_is_due_once_a_second_stands_behind_it() -> None:
    """Without waiting for batch_size or linger; the second waits for its own seal."""
    acc = accumulator(max_batch_bytes=full_after(2))
    append(acc, "a", "b")
    assert acc.ready(0.0) == []
    append(acc, "c")
    first = drained(acc)
    assert first.tokens == ["a", "b"]
    acc.complete(first)
    assert acc.ready(0.0) == []
    acc.seal()
    assert drained(acc).tokens == ["c"]


def test_a_batch_never_passes_the_limit() -> None:
    """Counted with its header."""
    acc = accumulator(max_batch_bytes=full_after(3))
    append(acc, *range(10))
    acc.seal()
    sizes = []
    while acc.ready(0.0):
        batch = acc.drain(LOGS_0)
        sizes.append((len(batch), batch.size))
        acc.complete(batch)
    assert sizes == [(3, full_after(3))] * 3 + [(1, full_after(1))]


# -- order and retries -----------------------------------------------------------------------------


def test_nothing_joins_a_batch_that_was_sent() -> None:
    """A batch that is sent again is the same to the byte."""
    acc = accumulator()
    append(acc, "a")
    acc.seal()
    acc.reenqueue(drained(acc), ERROR, retry_at=0.0)
    append(acc, "b")
    assert drained(acc).tokens == ["a"]


def test_a_partition_rests_until_its_retry() -> None:
    """The backoff: to the moment, and for that partition alone."""
    acc = accumulator()
    append(acc, "a", to=LOGS_0)
    append(acc, "b", to=LOGS_1)
    acc.seal()
    acc.reenqueue(drained(acc, LOGS_0), ERROR, retry_at=7.0)
    assert acc.ready(6.999) == [LOGS_1]
    assert sorted(acc.ready(7.0)) == [LOGS_0, LOGS_1]


# -- a batch that is too large ---------------------------------------------------------------------


def test_the_parts_of_a_split_expire_with_the_whole() -> None:
    """A split is no new beginning."""
    acc = accumulator()
    append(acc, "a", "b", now=3.0)
    acc.seal()
    acc.split(drained(acc, now=3.0))
    assert acc.expire(3.0 + TIMEOUT - 0.001) == []
    assert sorted(batch.tokens for batch in acc.expire(3.0 + TIMEOUT)) == [["a"], ["b"]]


def test_what_comes_next_for_the_topic_is_no_larger() -> None:
    """All its partitions have the limit that was met; other topics don't."""
    acc = accumulator()
    append(acc, "a", "b", "c", "d", to=LOGS_0)
    acc.seal()
    acc.split(drained(acc, LOGS_0))
    append(acc, *range(3), to=LOGS_1)
    append(acc, *range(3), to=AUDIT_0)
    acc.seal()
    assert drained(acc, LOGS_1).tokens == [0, 1]
    assert drained(acc, AUDIT_0).tokens == [0, 1, 2]


# -- records of topics that aren't known yet -------------------------------------------------------


# -- time ------------------------------------------------------------------------------------------


def test_the_next_deadline_is_the_nearest() -> None:
    """The linger of the first unsealed record; the retry of a batch; the time at which the first
    record of a batch, or of those that are held for a topic, is too old."""
    acc = accumulator()
    assert acc.next_deadline(0.0) is None
    acc.hold("new", None, record(), "held", 8.0)
    append(acc, "a", now=10.0)
    append(acc, "b", now=12.0)
    assert acc.next_deadline(12.0) == 8.0 + LINGER
    acc.seal()
    assert acc.next_deadline(12.0) == 8.0 + TIMEOUT
    acc.reenqueue(drained(acc, now=12.0), ERROR, retry_at=33.0)
    assert acc.next_deadline(12.0) == 33.0
    acc.give_up_held("new", ERROR)
    assert acc.next_deadline(33.0) == 10.0 + TIMEOUT


def test_deadlines_behind_an_overdue_batch_in_flight_count() -> None:
    """It is left to its request's timeout; the others must expire in time."""
    acc = accumulator(max_batch_bytes=full_after(1))
    append(acc, "a", now=0.0)
    append(acc, "b", now=50.0)
    acc.seal()
    drained(acc)
    assert acc.expire(TIMEOUT + 1) == []
    assert acc.next_deadline(TIMEOUT + 1) == 50.0 + TIMEOUT


def test_batches_expire_oldest_first_over_all_partitions() -> None:
    """And only those whose time is over."""
    acc = accumulator(max_batch_bytes=full_after(1))
    append(acc, "a", to=LOGS_0, now=0.0)
    append(acc, "b", to=AUDIT_0, now=1.0)
    append(acc, "c", to=LOGS_0, now=2.0)
    append(acc, "d", to=AUDIT_0, now=3.0)
    expired = acc.expire(TIMEOUT + 2.0)
    assert [batch.tokens for batch in expired] == [["a"], ["b"], ["c"]]
    assert acc.expire(TIMEOUT + 2.0) == []


# -- the end ---------------------------------------------------------------------------------------


def test_take_queued_returns_every_queued_batch() -> None:
    """For the caller to fail; what is in flight stays so, and nothing is due."""
    acc = accumulator(max_batch_bytes=full_after(1))
    append(acc, "out", "a", "b", to=LOGS_0)
    append(acc, "c", to=AUDIT_0)
    acc.seal()
    out = drained(acc, LOGS_0)
    taken = acc.take_queued()
    assert [batch.tokens for batch in taken] == [["a"], ["b"], ["c"]]
    for batch in taken:
        acc.fail(batch)
    assert acc.ready(0.0) == []
    assert counters(acc) == (0, 1, EACH)
    acc.complete(out)
    assert counters(acc) == (0, 0, 0)
    assert acc.ready(0.0) == []


@pytest.mark.parametrize("ambiguous", [False, True])
@pytest.mark.parametrize("numbered", [False, True])
def test_what_was_sent_does_not_make_way(numbered: bool, ambiguous: bool) -> None:
    """A batch that has numbers, or may be with the brokers, is due as before."""
    acc = accumulator(max_batch_bytes=full_after(1))
    append(acc, "a", "b", "c")
    acc.seal()
    first = drained(acc)
    first.stamp = Stamp(Identity(7, 0), 0) if numbered else None
    first.ambiguous = ambiguous
    acc.reenqueue(first, ERROR, 0.0)
    stays = numbered or ambiguous
    assert acc.shed(LOGS_0, 3) == (["b", "c"] if stays else ["a", "b", "c"])
    assert acc.ready(0.0) == ([LOGS_0] if stays else [])


def test_a_late_record_has_its_own_time() -> None:
    """It is not given up for being in one queue with records that are nearly too old."""
    acc = accumulator()
    append(acc, "old", now=0.0)
    append(acc, "young", now=TIMEOUT - 1)
    [expired] = acc.expire(TIMEOUT)
    assert expired.tokens == ["old"]
    acc.fail(expired)
    assert acc.buffered == 1


def test_what_ended_is_forgotten_although_something_older_is_stuck() -> None:
    """Memory is bounded by what is outstanding."""
    acc = accumulator(batch_size=1)
    append(acc, "stuck", to=LOGS_0)
    for number in range(1000):
        append(acc, number, to=LOGS_1)
        acc.complete(acc.drain(LOGS_1))
    gc.collect()
    assert sum(type(known) is Batch for known in gc.get_objects()) < 200
    assert acc.buffered == 1


def test_a_blocked_topic_counts_as_held() -> None:
    """Though nothing of it is: new records have to wait behind those to come."""
    acc = accumulator()
    acc.blocked = {"logs"}
    assert acc.is_held("logs")
    assert acc.held_topics() == []
    acc.blocked = set()
    assert not acc.is_held("logs")


def test_which_partitions_records_wait_for() -> None:
    """Queued ones by partition, held ones by topic; not those that are in flight."""
    acc = accumulator()
    append(acc, "a", to=LOGS_0)
    append(acc, "b", to=LOGS_1)
    acc.hold("new", None, record(), "c", 0.0)
    acc.seal()
    drained(acc, LOGS_1)
    assert acc.partitions() == [LOGS_0, TopicPartition("new", UNKNOWN)]


# -- many at once ---------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(0, 120), max_size=12), max_size=5),
    st.integers(BATCH_OVERHEAD + 30, 400),
)
def test_many_at_once_are_queued_as_one_by_one(calls: list[list[int]], limit: int) -> None:
    """The same batches, whatever the sizes of their records."""
    at_once, one_by_one = (accumulator(10**6, limit) for _ in range(2))
    for values in filter(None, calls):
        records = [record(b"x" * size) for size in values]
        at_once.extend(LOGS_0, records, sum(map(record_size, records)), values, 0.0)
        for one, token in zip(records, values, strict=True):
            one_by_one.append(LOGS_0, one, token, 0.0)
    first, second = (acc.take_queued() for acc in (at_once, one_by_one))
    assert list(map(vars, first)) == list(map(vars, second))
    assert all(batch.size <= limit or len(batch) == 1 for batch in first)
    assert counters(at_once) == counters(one_by_one)
