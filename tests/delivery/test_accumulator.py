"""The accumulator's law, sentence by sentence. Time is a number that the tests add to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.delivery.accumulator import UNKNOWN, Accumulator, Ended
from kiel_logging.delivery.batch import Batch, Identity, Stamp, State, memory_of
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


def test_nothing_is_due_before_a_seal() -> None:
    """Records wait for others."""
    acc = accumulator()
    assert append(acc, "a", "b") == []
    assert acc.ready(0.0) == []


def test_batch_size_records_make_a_seal() -> None:
    """The last of them is told which tokens it sealed."""
    acc = accumulator(batch_size=3)
    assert append(acc, "a", "b") == []
    assert append(acc, "c") == ["a", "b", "c"]
    assert acc.ready(0.0) == [LOGS_0]


def test_batch_size_counts_over_all_topics() -> None:
    """As in the seed: unsent messages, wherever they go."""
    acc = accumulator(batch_size=3)
    append(acc, "a", to=LOGS_0)
    append(acc, "b", to=LOGS_1)
    assert append(acc, "c", to=AUDIT_0) == ["a", "b", "c"]
    assert sorted(acc.ready(0.0)) == [AUDIT_0, LOGS_0, LOGS_1]


def test_the_count_starts_again_after_a_seal() -> None:
    """However the seal came about."""
    acc = accumulator(batch_size=2)
    assert append(acc, "a", "b") == ["a", "b"]
    assert append(acc, "c") == []
    assert acc.seal() == ["c"]
    assert append(acc, "d") == []
    assert append(acc, "e") == ["d", "e"]


def test_every_record_is_a_batch_of_its_own_with_batch_size_1() -> None:
    """The default of the seed."""
    acc = accumulator(batch_size=1)
    assert append(acc, "a") == ["a"]
    assert drained(acc).tokens == ["a"]


def test_held_records_count_too() -> None:
    """A caller that waits for its batch is not kept waiting by metadata alone."""
    acc = accumulator(batch_size=2)
    assert list(acc.hold("new", None, record(), "held", 0.0)) == []
    assert append(acc, "a") == ["held", "a"]


def test_the_linger_starts_with_the_first_unsealed_record() -> None:
    """Later ones don't prolong it."""
    acc = accumulator()
    append(acc, "a", now=0.0)
    append(acc, "b", now=LINGER - 1)
    acc.seal_if_lingered(LINGER - 0.001)
    assert acc.ready(LINGER) == []
    acc.seal_if_lingered(LINGER)
    assert acc.ready(LINGER) == [LOGS_0]


def test_the_linger_starts_again_after_a_seal() -> None:
    """With the first record behind it."""
    acc = accumulator()
    append(acc, "a", now=0.0)
    acc.seal()
    acc.drain(LOGS_0)
    append(acc, "b", now=3.0)
    acc.seal_if_lingered(LINGER)
    assert acc.seal() == ["b"]


def test_a_flush_seals_everything() -> None:
    """All partitions, and the tokens of all of them are returned."""
    acc = accumulator()
    append(acc, "a", to=LOGS_0)
    append(acc, "b", to=AUDIT_0)
    assert acc.seal() == ["a", "b"]
    assert sorted(acc.ready(0.0)) == [AUDIT_0, LOGS_0]


def test_seals_are_counted() -> None:
    """Those that sealed something: sticky partitioners change their choice with them."""
    acc = accumulator(batch_size=2)
    acc.seal()
    assert acc.seals == 0
    append(acc, "a", "b", "c")
    acc.seal()
    assert acc.seals == 2


def test_a_seal_of_nothing_is_nothing() -> None:
    """It may be made at any time."""
    acc = accumulator()
    assert acc.seal() == []
    acc.seal_if_lingered(1e9)
    assert acc.ready(1e9) == []


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


def test_a_record_larger_than_a_batch_gets_one_of_its_own() -> None:
    """Whether it may be sent is not decided here."""
    acc = accumulator(max_batch_bytes=10)
    append(acc, "a", "b")
    acc.seal()
    assert drained(acc).tokens == ["a"]


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


def test_one_batch_of_a_partition_is_in_flight_at_a_time() -> None:
    """However many wait behind it; other partitions don't."""
    acc = accumulator(max_batch_bytes=full_after(1))
    append(acc, "a", "b", "c", to=LOGS_0)
    append(acc, "d", to=LOGS_1)
    acc.seal()
    first = drained(acc, LOGS_0)
    assert acc.ready(0.0) == [LOGS_1]
    acc.complete(first)
    assert LOGS_0 in acc.ready(0.0)


def test_peek_tells_what_drain_would_take() -> None:
    """Without taking it."""
    acc = accumulator()
    append(acc, "a")
    acc.seal()
    assert acc.peek(LOGS_0) is acc.peek(LOGS_0)
    assert acc.peek(LOGS_0) is acc.drain(LOGS_0)


# -- order and retries -----------------------------------------------------------------------------


def test_a_batch_that_comes_back_goes_first() -> None:
    """Before what stood behind it, and with the records it had."""
    acc = accumulator(max_batch_bytes=full_after(1))
    append(acc, "a", "b", "c")
    acc.seal()
    first = drained(acc)
    acc.reenqueue(first, ERROR, retry_at=0.0)
    append(acc, "d")
    order = []
    while acc.ready(0.0):
        batch = acc.drain(LOGS_0)
        order += batch.tokens
        acc.complete(batch)
        acc.seal()
    assert order == ["a", "b", "c", "d"]
    assert (first.attempts, first.last_error) == (2, ERROR)


def test_nothing_joins_a_batch_that_was_sent() -> None:
    """What is sent again is the same to the byte."""
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


def test_a_success_ends_the_rest() -> None:
    """The next batch of that partition goes at once."""
    acc = accumulator(max_batch_bytes=full_after(1))
    append(acc, "a", "b")
    acc.seal()
    acc.reenqueue(drained(acc), ERROR, retry_at=7.0)
    acc.complete(drained(acc, now=7.0))
    assert acc.ready(0.0) == [LOGS_0]


# -- a batch that is too large ---------------------------------------------------------------------


def test_the_halves_of_a_split_take_its_place() -> None:
    """Before what stood behind it, due at once, one after the other."""
    acc = accumulator(max_batch_bytes=full_after(4))
    append(acc, "a", "b", "c", "d", "e")
    acc.seal()
    acc.split(drained(acc))
    order = []
    while acc.ready(0.0):
        batch = acc.drain(LOGS_0)
        order.append(batch.tokens)
        acc.complete(batch)
    assert order == [["a", "b"], ["c", "d"], ["e"]]


def test_a_split_changes_no_counter_but_moves_records_back() -> None:
    """From in flight to buffered."""
    acc = accumulator()
    append(acc, "a", "b", "c")
    acc.seal()
    acc.split(drained(acc))
    assert counters(acc) == (3, 0, 3 * EACH)


def test_a_flush_waits_for_the_parts() -> None:
    """Both of them (KAFKA-19479: a flush that did not lost data)."""
    acc = accumulator()
    append(acc, "a", "b")
    acc.seal()
    acc.split(drained(acc))
    assert not acc.delivered_up_to(acc.arrivals)
    acc.complete(drained(acc))
    assert not acc.delivered_up_to(acc.arrivals)
    acc.complete(drained(acc))
    assert acc.delivered_up_to(acc.arrivals)


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


def test_held_records_wait() -> None:
    """Nothing of their topic is ready, however long or full."""
    acc = accumulator(batch_size=1)
    acc.hold("new", b"k", record(), "a", 0.0)
    acc.seal()
    assert acc.ready(1e9) == []
    assert acc.is_held("new")
    assert not acc.is_held("logs")
    assert acc.held_topics() == ["new"]


def test_release_queues_them_in_order_where_they_belong() -> None:
    """The partition is chosen by the key, and they are due at once."""
    acc = accumulator()
    for token, key in enumerate([0, 1, 0, 1, 1]):
        acc.hold("logs", key, record(b"%d" % token), token, 0.0)
    assert acc.release("logs", lambda key: key) == []
    assert drained(acc, LOGS_0).tokens == [0, 2]
    assert drained(acc, LOGS_1).tokens == [1, 3, 4]
    assert not acc.is_held("logs")


def test_release_of_one_topic_leaves_the_others() -> None:
    """Each waits for its own."""
    acc = accumulator()
    acc.hold("logs", None, record(), "a", 0.0)
    acc.hold("audit", None, record(), "b", 0.0)
    acc.release("logs", lambda _key: 0)
    assert acc.held_topics() == ["audit"]
    assert acc.ready(0.0) == [LOGS_0]


def test_a_record_that_no_partition_can_be_chosen_for_ends_alone() -> None:
    """With what the partitioner raised; those before and behind it are queued."""
    bad_key = ValueError("no such partition")

    def choose(key: Any) -> int:
        if key == "bad":
            raise bad_key
        return 0

    acc = accumulator()
    for token, key in enumerate(["good", "bad", "good"]):
        acc.hold("logs", key, record(), token, 0.0)
    assert acc.release("logs", choose) == [Ended(1, bad_key)]
    assert drained(acc).tokens == [0, 2]
    assert acc.outstanding == 2


def test_giving_up_a_topic_ends_all_that_is_held_for_it() -> None:
    """In order, with the one error; other topics stay."""
    acc = accumulator()
    acc.hold("gone", None, record(), "a", 0.0)
    acc.hold("gone", None, record(), "b", 0.0)
    acc.hold("new", None, record(), "c", 0.0)
    assert acc.give_up_held("gone", ERROR) == [Ended("a", ERROR), Ended("b", ERROR)]
    assert acc.give_up_held("gone", ERROR) == []
    assert acc.held_topics() == ["new"]
    assert counters(acc) == (1, 0, EACH)


# -- time ------------------------------------------------------------------------------------------


def test_nothing_to_do_has_no_deadline() -> None:
    """Before the first record, and after the last has ended."""
    acc = accumulator(batch_size=1)
    assert acc.next_deadline(0.0) is None
    append(acc, "a")
    acc.complete(drained(acc))
    assert acc.next_deadline(0.0) is None


def test_the_linger_is_the_first_deadline() -> None:
    """From the first unsealed record."""
    acc = accumulator()
    append(acc, "a", now=10.0)
    append(acc, "b", now=12.0)
    assert acc.next_deadline(12.0) == 10.0 + LINGER


def test_then_a_queued_batch_has_until_its_first_record_times_out() -> None:
    """Records that joined later don't prolong it."""
    acc = accumulator()
    append(acc, "a", now=10.0)
    append(acc, "b", now=12.0)
    acc.seal()
    assert acc.next_deadline(20.0) == 10.0 + TIMEOUT


def test_a_retry_is_a_deadline() -> None:
    """When it comes before others."""
    acc = accumulator()
    append(acc, "a")
    acc.seal()
    acc.reenqueue(drained(acc), ERROR, retry_at=33.0)
    assert acc.next_deadline(20.0) == 33.0


def test_held_records_have_a_deadline() -> None:
    """The first of each topic."""
    acc = accumulator()
    acc.hold("new", None, record(), "a", 8.0)
    acc.hold("new", None, record(), "b", 9.0)
    acc.seal()
    assert acc.next_deadline(9.0) == 8.0 + TIMEOUT


def test_deadlines_behind_an_overdue_batch_in_flight_are_told() -> None:
    """It is left to its request's timeout; the others must expire in time."""
    acc = accumulator(max_batch_bytes=full_after(1))
    append(acc, "a", now=0.0)
    append(acc, "b", now=50.0)
    acc.seal()
    drained(acc)
    assert acc.expire(TIMEOUT + 1) == []
    assert acc.next_deadline(TIMEOUT + 1) == 50.0 + TIMEOUT


def test_a_deadline_is_always_ahead() -> None:
    """What is over was done already, or is done now: a timer for it would spin."""
    acc = accumulator()
    append(acc, "a", now=0.0)
    assert acc.next_deadline(LINGER) == TIMEOUT
    assert acc.next_deadline(TIMEOUT) is None


def test_a_queued_batch_expires_at_its_deadline() -> None:
    """Not before; then it is no longer queued, and fail() is the caller's."""
    acc = accumulator()
    append(acc, "a", "b", now=10.0)
    assert acc.expire(10.0 + TIMEOUT - 0.001) == []
    (expired,) = acc.expire(10.0 + TIMEOUT)
    assert (expired.tokens, expired.state) == (["a", "b"], State.QUEUED)
    acc.fail(expired)
    assert counters(acc) == (0, 0, 0)
    acc.seal()
    assert acc.ready(1e9) == []


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


def test_a_batch_in_flight_does_not_expire() -> None:
    """Its fate is unknown; when it comes back it does."""
    acc = accumulator()
    append(acc, "a")
    acc.seal()
    batch = drained(acc)
    assert acc.expire(TIMEOUT * 2) == []
    acc.reenqueue(batch, ERROR, retry_at=TIMEOUT * 2)
    assert acc.expire(TIMEOUT * 2) == [batch]


def test_a_batch_expires_once() -> None:
    """Those behind it stay."""
    acc = accumulator(max_batch_bytes=full_after(1))
    append(acc, "a", now=0.0)
    append(acc, "b", now=1.0)
    assert [batch.tokens for batch in acc.expire(TIMEOUT)] == [["a"]]
    acc.seal()
    assert drained(acc, now=TIMEOUT).tokens == ["b"]


def test_held_records_expire_one_by_one() -> None:
    """Each at its own deadline."""
    acc = accumulator()
    acc.hold("new", None, record(), "a", 0.0)
    acc.hold("new", None, record(), "b", 1.0)
    assert acc.expire_held("new", TIMEOUT - 0.001, ERROR) == []
    assert acc.expire_held("new", TIMEOUT, ERROR) == [Ended("a", ERROR)]
    assert acc.is_held("new")
    assert acc.expire_held("new", TIMEOUT + 1, ERROR) == [Ended("b", ERROR)]
    assert not acc.is_held("new")
    assert counters(acc) == (0, 0, 0)


def test_held_records_keep_their_deadline_when_they_are_released() -> None:
    """The time that a record waited for metadata is part of its delivery timeout."""
    acc = accumulator()
    acc.hold("logs", None, record(), "a", 0.0)
    acc.release("logs", lambda _key: 0)
    assert [batch.tokens for batch in acc.expire(TIMEOUT)] == [["a"]]


# -- counters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_counters_from_arrival_to_end(end: str) -> None:
    """Buffered, then in flight, back when it returns, and nothing at last."""
    acc = accumulator()
    append(acc, "a", "b")
    assert counters(acc) == (2, 0, 2 * EACH)
    acc.seal()
    batch = drained(acc)
    assert counters(acc) == (0, 2, 2 * EACH)
    acc.reenqueue(batch, ERROR, 0.0)
    assert counters(acc) == (2, 0, 2 * EACH)
    getattr(acc, end)(drained(acc))
    assert counters(acc) == (0, 0, 0)


def test_memory_is_the_bytes_and_what_python_needs_around_them() -> None:
    """For queued and held records alike."""
    acc = accumulator()
    large = record(b"v" * 10_000, key=b"k" * 100)
    acc.append(LOGS_0, large, "a", 0.0)
    acc.hold("new", None, large, "b", 0.0)
    assert acc.memory == 2 * memory_of(large)
    assert memory_of(large) > 10_100


def test_outstanding_is_all_that_has_not_ended() -> None:
    """Queued, held and in flight."""
    acc = accumulator()
    append(acc, "a", to=LOGS_0)
    acc.seal()
    drained(acc)
    append(acc, "b", to=LOGS_1)
    acc.hold("new", None, record(), "c", 0.0)
    assert (acc.buffered, acc.in_flight, acc.outstanding) == (2, 1, 3)
    assert repr(acc) == "<Accumulator buffered=2 in_flight=1>"


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


def test_take_queued_of_one_topic_leaves_the_others() -> None:
    """All its partitions, and no more."""
    acc = accumulator()
    append(acc, "a", to=LOGS_0)
    append(acc, "b", to=LOGS_1)
    append(acc, "c", to=AUDIT_0)
    acc.seal()
    for batch in acc.take_queued("logs"):
        acc.fail(batch)
    assert acc.ready(0.0) == [AUDIT_0]
    assert counters(acc) == (1, 0, EACH)


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


def test_after_take_queued_it_can_be_used_again() -> None:
    """No batch is left of what was taken."""
    acc = accumulator()
    append(acc, "a", "b")
    for batch in acc.take_queued():
        acc.fail(batch)
    append(acc, "c")
    acc.seal()
    assert drained(acc).tokens == ["c"]


def test_delivered_up_to_a_moment() -> None:
    """What a flush waits for: all that came before it, whoever is done first."""
    acc = accumulator()
    append(acc, "a", to=LOGS_0)
    append(acc, "b", to=LOGS_1)
    flushed = acc.arrivals
    acc.seal()
    first, second = drained(acc, LOGS_0), drained(acc, LOGS_1)
    append(acc, "later", to=LOGS_0)
    acc.complete(second)
    assert not acc.delivered_up_to(flushed)
    acc.complete(first)
    assert acc.delivered_up_to(flushed)
    assert not acc.delivered_up_to(acc.arrivals)


def test_a_failure_is_an_end_too() -> None:
    """A flush does not wait for what was given up."""
    acc = accumulator()
    append(acc, "a")
    (expired,) = acc.expire(TIMEOUT)
    acc.fail(expired)
    assert acc.delivered_up_to(acc.arrivals)


def test_held_records_are_not_delivered() -> None:
    """They keep the number of their arrival when they are released."""
    acc = accumulator()
    acc.hold("logs", None, record(), "held", 0.0)
    append(acc, "a", to=AUDIT_0)
    acc.seal()
    acc.complete(drained(acc, AUDIT_0))
    assert acc.delivered_up_to(0)
    assert not acc.delivered_up_to(1)
    acc.release("logs", lambda _key: 0)
    assert not acc.delivered_up_to(1)
    acc.complete(drained(acc, LOGS_0))
    assert acc.delivered_up_to(acc.arrivals)


def test_a_retry_is_not_delivered() -> None:
    """A batch that came back still counts by its first record."""
    acc = accumulator()
    append(acc, "a")
    acc.seal()
    acc.reenqueue(drained(acc), ERROR, retry_at=50.0)
    assert not acc.delivered_up_to(acc.arrivals)


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
    assert len(acc._by_age) < 200
    assert acc.buffered == 1


# -- partitions that are gone ----------------------------------------------------------------------


def hold_again(acc: Accumulator, *gone: TopicPartition) -> None:
    """Hold what is queued for partitions; the key of each record is its token."""
    for where in gone:
        acc.hold_again(where, lambda token: token)


def test_records_of_a_partition_that_is_gone_are_held_in_order() -> None:
    """With their keys, and with all that they take; nothing of the partition is due any more."""
    acc = accumulator(max_batch_bytes=full_after(2))
    append(acc, 1, 2, 3, to=LOGS_1)
    hold_again(acc, LOGS_1)
    assert acc.is_held("logs")
    assert list(acc.due()) == []
    assert counters(acc) == (3, 0, 3 * EACH)
    assert acc.waiting(TopicPartition("logs", UNKNOWN)) == (3, 3 * EACH)
    chosen = []
    acc.release("logs", lambda key: chosen.append(key) or 0)  # type: ignore[func-returns-value]
    assert chosen == [1, 2, 3]
    assert drained(acc).tokens == [1, 2]


def test_they_are_held_in_front_of_what_came_later() -> None:
    """Of several partitions, by the age of their batches."""
    acc = accumulator()
    append(acc, 1, to=LOGS_0)
    append(acc, 2, to=LOGS_1)
    acc.hold("logs", 3, record(), 3, 0.0)
    hold_again(acc, LOGS_0, LOGS_1)
    acc.release("logs", lambda _key: 0)
    assert drained(acc).tokens == [1, 2, 3]


def test_they_expire_when_their_batch_would_have() -> None:
    """And a flush waits for them."""
    acc = accumulator()
    append(acc, 1)
    hold_again(acc, LOGS_0)
    assert not acc.delivered_up_to(1)
    assert acc.expire_held("logs", TIMEOUT - 0.001, ERROR) == []
    assert acc.expire_held("logs", TIMEOUT, ERROR) == [Ended(1, ERROR)]
    assert counters(acc) == (0, 0, 0)


def test_a_blocked_topic_counts_as_held() -> None:
    """Though nothing of it is: new records have to wait behind those to come."""
    acc = accumulator()
    acc.blocked = {"logs"}
    assert acc.is_held("logs")
    assert acc.held_topics() == []
    acc.blocked = set()
    assert not acc.is_held("logs")


# -- records make way ------------------------------------------------------------------------------


def test_the_oldest_make_way() -> None:
    """Whole batches, and a part of the next; the rest is sent in order."""
    acc = accumulator(max_batch_bytes=full_after(2))
    append(acc, "a", "b", "c", "d", "e")
    assert acc.shed(LOGS_0, 3) == ["a", "b", "c"]
    assert counters(acc) == (2, 0, 2 * EACH)
    assert acc.waiting(LOGS_0) == (2, 2 * EACH)
    acc.seal()
    assert [drained(acc).tokens, acc.first(LOGS_0).tokens] == [["d"], ["d"]]  # type: ignore[union-attr]


def test_a_batch_that_may_be_stored_does_not_make_way() -> None:
    """Those behind it do."""
    acc = accumulator()
    append(acc, "a")
    acc.seal()
    batch = drained(acc)
    batch.ambiguous = True
    acc.reenqueue(batch, ERROR, 0.0)
    append(acc, "b")
    assert acc.shed(LOGS_0, 5) == ["b"]
    assert acc.shed(LOGS_0, 5) == []
    assert drained(acc) is batch


def test_held_records_make_way() -> None:
    """In the order in which they came; the rest is held."""
    acc = accumulator()
    for token in "abc":
        acc.hold("new", None, record(), token, 0.0)
    assert acc.shed(TopicPartition("new", UNKNOWN), 2) == ["a", "b"]
    assert acc.waiting(TopicPartition("new", UNKNOWN)) == (1, EACH)
    assert counters(acc) == (1, 0, EACH)
    assert acc.shed(TopicPartition("new", UNKNOWN), 2) == ["c"]
    assert not acc.is_held("new")


def test_which_partitions_records_wait_for() -> None:
    """Queued ones by partition, held ones by topic; not those that are in flight."""
    acc = accumulator()
    append(acc, "a", to=LOGS_0)
    append(acc, "b", to=LOGS_1)
    acc.hold("new", None, record(), "c", 0.0)
    acc.seal()
    drained(acc, LOGS_1)
    assert acc.partitions() == [LOGS_0, TopicPartition("new", UNKNOWN)]


def test_nothing_makes_way_where_nothing_waits() -> None:
    """Nor for a partition that was never heard of."""
    acc = accumulator()
    assert acc.shed(LOGS_0, 1) == acc.shed(TopicPartition("new", UNKNOWN), 1) == []


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
        at_once.extend(LOGS_0, records, list(map(record_size, records)), values, 0.0)
        for one, token in zip(records, values, strict=True):
            one_by_one.append(LOGS_0, one, token, 0.0)
    first, second = (acc.take_queued() for acc in (at_once, one_by_one))
    assert [vars_of(batch) for batch in first] == [vars_of(batch) for batch in second]
    assert all(batch.size <= limit or len(batch) == 1 for batch in first)
    assert counters(at_once) == counters(one_by_one)


def vars_of(batch: Batch) -> dict[str, Any]:
    """All that a batch is."""
    return {name: getattr(batch, name) for name in Batch.__slots__}
