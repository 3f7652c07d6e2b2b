"""The records of one partition that travel together.

The law::

    QUEUED ──drain──▶ IN_FLIGHT ──complete──▶ DELIVERED
       ▲                  │ ├──────fail──────▶ FAILED
       └────reenqueue─────┘ └─────split──────▶ SPLIT, into two that are QUEUED
    QUEUED ──fail──▶ FAILED
    QUEUED ──withdraw──▶ WITHDRAWN: its records are with their owner again, or queued anew

Only a queued batch takes records, and only until it was sent once: a batch that is sent again is
the same to the byte.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from kiel_logging.records import RECORD_MEMORY_OVERHEAD, Record, TopicPartition
from kiel_logging.wire.sizes import BATCH_OVERHEAD, plain_record, record_size, size_in_batch

SEQUENCES: Final = 2**31
"""Sequence numbers wrap at it."""


def memory_of(record: Record) -> int:
    """Return the bytes of memory that a queued record takes."""
    return record_size(record) + RECORD_MEMORY_OVERHEAD


class Identity(NamedTuple):
    """The producer of a batch, as the brokers know it."""

    producer_id: int
    epoch: int


class Stamp(NamedTuple):
    """The numbers of a batch, from its first attempt on."""

    identity: Identity
    base_sequence: int

    def after(self, records: int) -> "Stamp":
        """Return the numbers that follow those of so many records."""
        return Stamp(self.identity, (self.base_sequence + records) % SEQUENCES)


class State(Enum):
    """Where a batch is in its life."""

    QUEUED = "queued"
    IN_FLIGHT = "in flight"
    DELIVERED = "delivered"
    FAILED = "failed"
    SPLIT = "split"
    WITHDRAWN = "withdrawn"


_LAW: Final = {
    State.QUEUED: (State.IN_FLIGHT, State.FAILED, State.WITHDRAWN),
    State.IN_FLIGHT: (State.QUEUED, State.DELIVERED, State.FAILED, State.SPLIT),
}
"""The states that may follow; those that are left out are ends."""


class Batch:
    """Records in the order in which they were appended, each with its owner's token.

    Attributes:
        arrival: the number of its first record among all that the accumulator took.
        deadline: when it is too late to deliver it, in seconds of the owner's clock.
        unsealed: how many of its records came since the last seal.
        size: bytes of the encoded batch at most, uncompressed.
        memory: bytes that it takes in memory.
        stamp: its producer id, epoch and base sequence; None when it has none (yet).
        ambiguous: whether the brokers may have it without our knowing.
        restamped: whether its record has another time than it came with.
        sent_bytes: how many it took when it was sent last, compressed.
        torn: whether it has the numbers of a part of an ambiguous one.
    """

    def __init__(self, topic_partition: TopicPartition, *, arrival: int, deadline: float) -> None:
        self.topic_partition = topic_partition
        self.arrival = arrival
        self.deadline = deadline
        self.state = State.QUEUED
        self.records: list[Record] = []
        self.tokens: list[Any] = []
        self.size = BATCH_OVERHEAD
        self.memory = 0
        self.unsealed = 0
        self.attempts = 0
        self.last_error: Exception | None = None
        self.stamp: Stamp | None = None
        self.ambiguous = False
        self.torn = False
        self.restamped = False
        self.sent_bytes = 0

    def __repr__(self) -> str:
        return (
            f"<Batch {self.topic_partition} of {len(self)} {self.state.value}"
            f" attempts={self.attempts}>"
        )

    def __len__(self) -> int:
        return len(self.records)

    @property
    def ended(self) -> bool:
        """Whether its fate is decided, or is up to its parts."""
        return self.state not in _LAW

    @property
    def fresh(self) -> bool:
        """Whether it is surely not stored, and has no numbers: its records may be taken out."""
        return self.stamp is None and not self.ambiguous

    @property
    def sealed(self) -> bool:
        """Whether some of its records are due."""
        return self.unsealed < len(self.records)

    def room(self, limit: int) -> int:
        """Return how many more bytes may join without passing ``limit``."""
        return limit - self.size if self.attempts == 0 else 0

    def extend(self, records: Sequence[Record], tokens: Sequence[Any], size: int) -> None:
        """Add records of ``size`` bytes in all, each with what its owner wants back in the end."""
        assert self.state is State.QUEUED
        self.records += records
        self.tokens += tokens
        self.size += size
        self.memory += size + len(records) * RECORD_MEMORY_OVERHEAD
        self.unsealed += len(records)

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """How far it is filled; see ``cut_back()``."""
        return len(self.records), self.size, self.memory, self.unsealed

    def cut_back(self, extent: tuple[int, int, int, int]) -> None:
        """Take out what was added since it was filled so far."""
        records, self.size, self.memory, self.unsealed = extent
        del self.records[records:], self.tokens[records:]

    def become(self, state: State) -> None:
        """Enter ``state``, which the law allows after the present one."""
        assert state in _LAW.get(self.state, ())
        self.state = state

    def drain(self) -> None:
        """Be sent."""
        self.become(State.IN_FLIGHT)
        self.unsealed = 0
        self.attempts += 1

    def reenqueue(self, error: Exception) -> None:
        """Be sent again, because of ``error``."""
        self.become(State.QUEUED)
        self.last_error = error

    def restamp(self, timestamp: int) -> None:
        """Give the only record another time, in milliseconds of the epoch."""
        assert len(self) == 1
        self.records = [plain_record(self.records[0])._replace(timestamp=timestamp)]
        self.restamped = True

    def withdraw(self) -> None:
        """Give the records back unsent: to their owner, or to other partitions."""
        assert self.fresh
        self.become(State.WITHDRAWN)

    def cut(self, most: int) -> tuple[list[Any], int]:
        """Take up to ``most`` records out, oldest first.

        Returns:
            Their tokens, and how many bytes of memory they took.
        """
        assert self.state is State.QUEUED
        assert self.fresh
        tokens, records = self.tokens[:most], self.records[:most]
        del self.tokens[:most], self.records[:most]
        size = sum(map(size_in_batch, records))
        freed = size + len(records) * RECORD_MEMORY_OVERHEAD
        self.size -= size
        self.memory -= freed
        self.unsealed = min(self.unsealed, len(self))
        return tokens, freed

    def split(self) -> tuple["Batch", "Batch"]:
        """Return the halves of a batch that was too large, in order.

        If it is ambiguous they share its numbers.
        """
        assert len(self) > 1
        self.become(State.SPLIT)
        middle = len(self) // 2
        return self._part(0, middle), self._part(middle, len(self))

    def _part(self, start: int, end: int) -> "Batch":
        part = Batch(self.topic_partition, arrival=self.arrival, deadline=self.deadline)
        # Never below its parent's: a part takes no more records.
        part.attempts = self.attempts
        records = list(map(plain_record, self.records[start:end]))
        part.extend(records, self.tokens[start:end], sum(map(record_size, records)))
        part.unsealed = 0
        part.last_error = self.last_error
        if self.ambiguous and self.stamp is not None:
            part.stamp = self.stamp.after(start)
            part.ambiguous = part.torn = True
        return part
