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
    made.identity = Identity(producer_id, epoch)
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


def test_a_batch_keeps_its_stamp_when_the_epoch_rises_meanwhile() -> None:
    """The trouble of another partition does not change it."""
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


def test_numbers_of_an_epoch_that_is_over_are_not_given_back() -> None:
    """The next batch starts at 0 anyway."""
    idempotence = identified()
    stamped(idempotence, batch(3))
    lost = batch(4)
    stamped(idempotence, lost)
    idempotence.bump_epoch()
    idempotence.give_up(lost)
    assert stamped(idempotence, batch()) == (1000, 1, 0)


# -- identity --------------------------------------------------------------------------------------


def test_the_last_epoch_is_followed_by_a_new_producer_id() -> None:
    """Epochs are 16 bits."""
    idempotence = identified(epoch=LAST_EPOCH - 1)
    idempotence.bump_epoch()
    assert idempotence.identity == Identity(1000, LAST_EPOCH)
    idempotence.bump_epoch()
    assert idempotence.identity is None
    idempotence.bump_epoch()  # two partitions' trouble may come at once
    idempotence.identity = Identity(2000, 0)
    assert stamped(idempotence, batch()) == (2000, 0, 0)


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
    idempotence.give_up(batch())  # that was never sent, and has no numbers to give back
    for topic_partition, records, fate in steps:
        made, log = batch(records, topic_partition), logs[topic_partition]
        idempotence.stamp(made)
        made.ambiguous = fate.startswith("unknown")
        idempotence.stamp(made)  # a retry keeps its numbers
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
