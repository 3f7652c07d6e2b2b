"""Sequence numbers without holes, and epochs that rise where a fate is unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiel_logging.delivery.batch import Batch, Identity, Stamp
from kiel_logging.delivery.idempotence import Idempotence
from kiel_logging.records import Record, TopicPartition
from tests.support.examples import examples

LOGS_0, LOGS_1 = TopicPartition("logs", 0), TopicPartition("logs", 1)
LAST_EPOCH = 2**15 - 1
RECORD = Record(None, b"", (), 0)


def batch(records: int = 1, at: TopicPartition = LOGS_0) -> Batch:
    """A batch of so many records."""
    made = Batch(at, arrival=1, deadline=120.0)
    for token in range(records):
        made.extend([RECORD], [token], 40)
    return made


def identified(producer_id: int = 1000, epoch: int = 0) -> Idempotence:
    """With the identity that a broker gave."""
    made = Idempotence()
    made.take_identity(producer_id, epoch)
    return made


def stamped(idempotence: Idempotence, made: Batch) -> tuple[int, int, int]:
    """Stamp it; return producer id, epoch and base sequence."""
    idempotence.stamp(made)
    assert made.stamp is not None
    return (*made.stamp.identity, made.stamp.base_sequence)


def sent_up_to(sequence: int) -> Idempotence:
    """As after so many records to LOGS_0."""
    made = identified()
    first = batch()
    made.stamp(first)
    first.stamp = Stamp(Identity(1000, 0), sequence)
    made.give_up(first)
    return made


# -- stamps ----------------------------------------------------------------------------------------


def test_sequences_count_records() -> None:
    """The base of a batch is where the one before it ended."""
    idempotence = identified()
    assert stamped(idempotence, batch(3)) == (1000, 0, 0)
    assert stamped(idempotence, batch(2)) == (1000, 0, 3)
    assert stamped(idempotence, batch(1)) == (1000, 0, 5)


def test_every_partition_counts_by_itself() -> None:
    """From 0."""
    idempotence = identified()
    stamped(idempotence, batch(3, LOGS_0))
    assert stamped(idempotence, batch(1, LOGS_1)) == (1000, 0, 0)
    assert stamped(idempotence, batch(1, LOGS_0)) == (1000, 0, 3)


def test_a_batch_keeps_its_stamp_through_retries() -> None:
    """Its fate may be unknown, and the broker drops what it has already."""
    idempotence = identified()
    first = batch(3)
    assert stamped(idempotence, first) == stamped(idempotence, first) == (1000, 0, 0)
    assert stamped(idempotence, batch()) == (1000, 0, 3)


def test_a_batch_keeps_its_stamp_when_the_epoch_rises_meanwhile() -> None:
    """Another partition's trouble is none of its own."""
    idempotence = identified()
    first = batch(3)
    idempotence.stamp(first)
    idempotence.bump_epoch()
    assert stamped(idempotence, first) == (1000, 0, 0)
    assert stamped(idempotence, batch()) == (1000, 1, 0)


@pytest.mark.parametrize(
    ("before", "records", "after"),
    [
        (2**31 - 2, 1, 2**31 - 1),
        (2**31 - 1, 1, 0),
        (2**31 - 3, 3, 0),
        (2**31 - 2, 5, 3),
    ],
)
def test_sequences_wrap(before: int, records: int, after: int) -> None:
    """From 2**31-1 to 0, also within a batch; never to a negative number."""
    idempotence = sent_up_to(before)
    assert stamped(idempotence, batch(records)) == (1000, 0, before)
    assert stamped(idempotence, batch()) == (1000, 0, after)


# -- giving up -------------------------------------------------------------------------------------


def test_numbers_of_what_is_surely_not_in_the_log_are_given_back() -> None:
    """Else the next batch would leave a hole, and be refused."""
    idempotence = identified()
    stamped(idempotence, batch(3))
    lost = batch(4)
    stamped(idempotence, lost)
    idempotence.give_up(lost)
    assert lost.stamp is None
    assert stamped(idempotence, batch()) == (1000, 0, 3)


def test_an_unknown_fate_makes_the_epoch_rise() -> None:
    """Under which every partition starts again at 0 (KIP-360)."""
    idempotence = identified()
    stamped(idempotence, batch(9, LOGS_1))
    lost = batch(4)
    stamped(idempotence, lost)
    lost.ambiguous = True
    idempotence.give_up(lost)
    assert stamped(idempotence, batch(1, LOGS_0)) == (1000, 1, 0)
    assert stamped(idempotence, batch(1, LOGS_1)) == (1000, 1, 0)


def test_what_was_never_sent_has_no_numbers_to_give_back() -> None:
    """Nor an unknown fate."""
    idempotence = identified()
    stamped(idempotence, batch(3))
    idempotence.give_up(batch(4))
    assert stamped(idempotence, batch()) == (1000, 0, 3)


def test_numbers_of_an_epoch_that_is_over_are_not_given_back() -> None:
    """The next batch starts at 0 anyway."""
    idempotence = identified()
    stamped(idempotence, batch(3))
    lost = batch(4)
    stamped(idempotence, lost)
    idempotence.bump_epoch()
    idempotence.give_up(lost)
    assert stamped(idempotence, batch()) == (1000, 1, 0)


def test_refused_numbers_are_replaced() -> None:
    """Under the next epoch from 0, and the batch is known not to be in the log."""
    idempotence = identified()
    stamped(idempotence, batch(3))
    refused = batch(2)
    stamped(idempotence, refused)
    refused.ambiguous = True
    idempotence.renumber(refused)
    assert not refused.ambiguous
    assert stamped(idempotence, refused) == (1000, 1, 0)
    assert stamped(idempotence, batch()) == (1000, 1, 2)


# -- identity --------------------------------------------------------------------------------------


def test_there_is_none_until_a_broker_gives_one() -> None:
    """Nothing can be stamped before."""
    idempotence = Idempotence()
    assert idempotence.identity is None
    with pytest.raises(AssertionError):
        idempotence.stamp(batch())


def test_a_new_producer_id_starts_everything_again() -> None:
    """It has sent nothing yet."""
    idempotence = identified()
    stamped(idempotence, batch(3))
    idempotence.forget_identity()
    assert idempotence.identity is None
    idempotence.take_identity(2000, 0)
    assert stamped(idempotence, batch()) == (2000, 0, 0)


def test_the_last_epoch_is_followed_by_a_new_producer_id() -> None:
    """Epochs are 16 bits."""
    idempotence = identified(epoch=LAST_EPOCH - 1)
    idempotence.bump_epoch()
    assert idempotence.identity == Identity(1000, LAST_EPOCH)
    idempotence.bump_epoch()
    assert idempotence.identity is None


def test_an_epoch_can_not_rise_without_an_identity() -> None:
    """Two partitions' trouble may come at once: the second finds it gone."""
    idempotence = Idempotence()
    idempotence.bump_epoch()
    assert idempotence.identity is None


def test_repr_tells_who_it_is() -> None:
    """And for how many partitions it counts."""
    idempotence = identified()
    idempotence.stamp(batch())
    assert repr(idempotence) == ("<Idempotence Identity(producer_id=1000, epoch=0) partitions=1>")


# -- the law ---------------------------------------------------------------------------------------

fates = st.sampled_from(["delivered", "lost", "unknown, delivered", "unknown, lost", "refused"])


class Log:
    """A partition as a broker keeps it: takes what follows, and knows a repeat."""

    def __init__(self) -> None:
        self.epoch, self.next, self.batches = 0, 0, 0

    def append(self, stamp: Stamp, records: int) -> None:
        """Append a batch, or fail as the broker would."""
        epoch, expected = stamp.identity.epoch, self.next
        assert epoch >= self.epoch, "an old epoch"
        if epoch > self.epoch:
            expected = 0
        assert stamp.base_sequence == expected, "out of order"
        self.epoch, self.next = epoch, (expected + records) % 2**31
        self.batches += 1


@examples(200)
@given(st.lists(st.tuples(st.sampled_from([LOGS_0, LOGS_1]), st.integers(1, 5), fates)))
def test_a_broker_takes_every_number(steps: list[tuple[TopicPartition, int, str]]) -> None:
    """Whatever became of the batches before: no hole, no old epoch."""
    idempotence, logs = identified(), {LOGS_0: Log(), LOGS_1: Log()}
    for topic_partition, records, fate in steps:
        made, log = batch(records, topic_partition), logs[topic_partition]
        idempotence.stamp(made)
        made.ambiguous = fate.startswith("unknown")
        assert made.stamp is not None
        if fate == "refused":
            idempotence.renumber(made)
            idempotence.stamp(made)
        stored = log.batches
        if fate.endswith(("delivered", "refused")):
            log.append(made.stamp, records)
        if not fate.startswith(("delivered", "refused")):
            idempotence.give_up(made)
        assert log.batches == stored + fate.endswith(("delivered", "refused"))
