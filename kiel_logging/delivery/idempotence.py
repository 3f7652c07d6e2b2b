"""Sequence numbers: they let a broker recognise a batch that is sent again (KIP-98).

The law:

- A batch is stamped with producer id, epoch and base sequence when it is first sent, and keeps the
  stamp through every retry: its fate may be unknown, and the broker drops what it has already.
- The sequences of a partition have no holes. A batch that is given up and is surely not in the log
  gives its numbers back; one whose fate is unknown makes the epoch rise (KIP-360), under which
  every partition starts again at 0.
- Sequences wrap from 2**31-1 to 0.

One batch in flight per partition is what makes this short. No clock, no I/O: the sender asks a
broker for the identity.
"""

from typing import Final

from kiel_logging.delivery.batch import Batch, Identity, Stamp
from kiel_logging.records import TopicPartition

_LAST_EPOCH: Final = 2**15 - 1


class Idempotence:
    """The producer's identity, and the next sequence of each partition.

    Attributes:
        identity: as a broker gave it, for the sender to set; None before, after the last epoch,
            and when another producer has the producer id.
    """

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self._next: dict[TopicPartition, Stamp] = {}

    def __repr__(self) -> str:
        return f"<Idempotence {self.identity} partitions={len(self._next)}>"

    def stamp(self, batch: Batch) -> None:
        """Number ``batch``, unless it is numbered already."""
        if batch.stamp is not None:
            return
        assert self.identity is not None
        following = self._next.get(batch.topic_partition)
        if following is None or following.identity != self.identity:
            following = Stamp(self.identity, 0)
        batch.stamp = following
        self._next[batch.topic_partition] = following.after(len(batch))

    def give_up(self, batch: Batch) -> None:
        """Make the next numbers acceptable: ``batch`` is not sent again under those that it has."""
        if batch.stamp is None:
            return
        if batch.ambiguous:
            self.bump_epoch()
        elif self._next[batch.topic_partition].identity == batch.stamp.identity:
            self._next[batch.topic_partition] = batch.stamp
        batch.stamp = None

    def renumber(self, batch: Batch) -> None:
        """Give ``batch``, which the broker does not have, other numbers: it refused these."""
        self.bump_epoch()
        batch.stamp = None
        batch.ambiguous = batch.torn = False

    def bump_epoch(self) -> None:
        """Begin the next epoch; after the last one, a new producer id has to be asked for."""
        if self.identity is None:
            return
        producer_id, epoch = self.identity
        self.identity = None if epoch == _LAST_EPOCH else Identity(producer_id, epoch + 1)

    def leave_cluster(self) -> None:
        """Forget the identity and all numbers, for they are a cluster's."""
        self._next.clear()
        self.identity = None
