"""Records that wait to be sent: a queue of batches per partition, at most one batch in flight each.

The law:

- Every record that was appended or held ends in exactly one batch that is completed or failed.
- Records of a partition leave in the order in which they came; one batch of a partition is in
  flight at a time, so a retry can't overtake.
- A partition is due when a seal covered its first batch, or a second batch stands behind it.
  A seal comes when ``batch_size`` records came since the last one, ``linger`` after the first of
  them, or on flush.
- Records of a topic whose partitions aren't known are held, in order, until they are. So are those
  of a partition that is gone, in front of later ones.

Tokens are opaque: they come back with the batch.
"""

import contextlib
import heapq
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any, Final, NamedTuple

from kiel_logging.delivery.batch import Batch, State
from kiel_logging.records import RECORD_MEMORY_OVERHEAD, Record, TopicPartition
from kiel_logging.wire.sizes import plain_record, record_size, size_in_batch

UNKNOWN: Final = -1
"""The partition of records that are held until the partitions of their topic are known."""

_FEW: Final = 64
_SLACK: Final = 1.0
"""Seconds by which a record may be given up before its time, for its batch's first one's sake."""


class Held(NamedTuple):
    """A record that waits for its topic's partitions to be known."""

    key: Any
    record: Record
    token: Any
    size: int
    arrival: int
    deadline: float


class Ended(NamedTuple):
    """Held records end one by one: the token of one, and its error."""

    token: Any
    error: Exception


_arrival_of: Final = attrgetter("arrival")


class Waiting(NamedTuple):
    """How many records are queued or held, and the bytes of memory that they take."""

    records: int
    memory: int


class Queue:
    """The batches of one partition.

    Attributes:
        batches: those that wait, oldest first.
        in_flight: the one that is being sent.
        retry_at: when the first may be sent again.
        records: how many are queued; those of a batch in flight are not.
        memory: bytes that they take.
    """

    def __init__(self) -> None:
        self.batches: deque[Batch] = deque()
        self.in_flight: Batch | None = None
        self.retry_at = 0.0
        self.records = self.memory = 0

    def put_first(self, batch: Batch) -> None:
        """Queue ``batch`` in front of the others."""
        self.batches.appendleft(batch)
        self.records += len(batch)
        self.memory += batch.memory

    def take(self, batch: Batch) -> None:
        """Remove ``batch`` from those that wait."""
        self.batches.remove(batch)
        self.records -= len(batch)
        self.memory -= batch.memory

    @property
    def unfinished(self) -> list[Batch]:
        """All batches, the one in flight first, then oldest first."""
        return [*([self.in_flight] if self.in_flight else []), *self.batches]

    @property
    def due(self) -> bool:
        """Whether a batch is to be sent, now or after a backoff."""
        return self.in_flight is None and (
            len(self.batches) > 1 or (len(self.batches) == 1 and self.batches[0].sealed)
        )


class _Line(deque[Held]):
    """The records that are held for one topic, and the bytes of memory that they take."""

    __slots__ = ("memory",)

    def __init__(self, held: Iterable[Held] = ()) -> None:
        super().__init__(held)
        self.memory = 0


class Accumulator:
    """Queues records by partition, and knows which batches may go.

    Args:
        batch_size: records since the last seal, over all topics, that make the next.
        linger: seconds from the first unsealed record to a seal.
        max_batch_bytes: most bytes of one batch, uncompressed.
        delivery_timeout: seconds from a record's arrival until it is given up.

    Attributes:
        buffered: records that are queued or held.
        in_flight: records that are being sent.
        memory: bytes that all of them take, Python's overhead included.
        arrivals: how many records came so far.
        seals: how many seals there were.
        blocked: topics of which new records are held, and none is released, though their
            partitions are known; for the settlement to set.
    """

    def __init__(
        self, *, batch_size: int, linger: float, max_batch_bytes: int, delivery_timeout: float
    ) -> None:
        self._batch_size = batch_size
        self._linger = linger
        self._max_batch_bytes = max_batch_bytes
        self._delivery_timeout = delivery_timeout
        self._slack = max(_SLACK, linger)
        self._queues: dict[TopicPartition, Queue] = {}
        self._held: dict[str, _Line] = {}
        self._batch_limits: dict[str, int] = {}
        self._by_age: list[tuple[int, int, Batch]] = []
        self._remembered = 0
        self._compact_at = _FEW
        self._open: set[TopicPartition] = set()
        self._due: dict[TopicPartition, None] = {}
        self._unsealed: list[Any] = []
        self._seal_at: float | None = None
        self.blocked: set[str] = set()
        self.arrivals = 0
        self.seals = 0
        self.buffered = 0
        self.in_flight = 0
        self.memory = 0

    def __repr__(self) -> str:
        return f"<Accumulator buffered={self.buffered} in_flight={self.in_flight}>"

    @property
    def outstanding(self) -> int:
        """How many records have not ended."""
        return self.buffered + self.in_flight

    # Records come in.

    def append(
        self, topic_partition: TopicPartition, record: Record, token: Any, now: float
    ) -> Sequence[Any]:
        """Queue ``record``; return the tokens that it sealed by making up ``batch_size``."""
        return self.extend(topic_partition, [record], record_size(record), [token], now)

    def extend(
        self,
        topic_partition: TopicPartition,
        records: Sequence[Any],
        size: int,
        tokens: Sequence[Any],
        now: float,
    ) -> Sequence[Any]:
        """Queue ``records`` of one partition, in order; return as append does.

        They are records, or objects that have a ``record`` and its ``size``; ``size`` is the sum of
        ``size_in_batch()``.

        Raises:
            MemoryError: none of them is queued.
        """
        first, deadline = self.arrivals + 1, now + self._delivery_timeout
        after = self._counts_with(len(records), size, now)
        unsealed = len(self._unsealed)
        self._unsealed += tokens
        try:
            self._enqueue(topic_partition, records, size, tokens, first, deadline)
        except MemoryError:
            del self._unsealed[unsealed:]
            raise
        self.arrivals, self.buffered, self.memory, self._seal_at = after
        return self._seal_if_full()

    def hold(self, topic: str, key: Any, record: Record, token: Any, now: float) -> Sequence[Any]:
        """Keep ``record`` until the partitions of ``topic`` are known; return as append does.

        Raises:
            MemoryError: it is not kept.
        """
        size = record_size(record)
        after = self._counts_with(1, size, now)
        line = self._held.get(topic) or _Line()
        memory = line.memory + size + RECORD_MEMORY_OVERHEAD
        held = Held(key, record, token, size, after[0], now + self._delivery_timeout)
        self._unsealed.append(token)
        try:
            line.append(held)
            self._held[topic] = line  # takes no memory if it is there
        except MemoryError:
            self._unsealed.pop()
            raise
        line.memory = memory
        self.arrivals, self.buffered, self.memory, self._seal_at = after
        return self._seal_if_full()

    def is_held(self, topic: str) -> bool:
        """Whether records of ``topic`` wait, so that new ones must wait behind them."""
        return topic in self._held or topic in self.blocked

    def held_topics(self) -> list[str]:
        """Return the topics of which records are held."""
        return list(self._held)

    def release(self, topic: str, choose: Callable[[Any], int]) -> list[Ended]:
        """Queue what was held for ``topic``, in order, at the partitions that ``choose`` names.

        Returns the records for which ``choose`` raised.
        """
        refused = []
        for held in self._held.pop(topic, ()):
            try:
                partition = choose(held.key)
            except Exception as error:  # a partitioner of the user's may raise anything
                self._forget_held(held)
                refused.append(Ended(held.token, error))
            else:
                where = TopicPartition(topic, partition)
                _, record, token, size, arrival, deadline = held
                self._enqueue(where, [record], size, [token], arrival, deadline)
        self.seal()
        return refused

    def hold_again(self, topic_partition: TopicPartition, key_of: Callable[[Any], Any]) -> None:
        """Move what is queued for a partition that is gone to what is held for its topic.

        None of it may have numbers, or be in flight. ``key_of`` returns the key of a token.
        """
        queue = self._queues.pop(topic_partition)
        self._due.pop(topic_partition, None)
        self._open.discard(topic_partition)
        again = []
        for batch in queue.batches:
            batch.withdraw()
            for record, token in zip(map(plain_record, batch.records), batch.tokens, strict=True):
                size = record_size(record)
                again.append(
                    Held(key_of(token), record, token, size, batch.arrival, batch.deadline)
                )
        line = self._held.get(topic_partition.topic, _Line())
        # By arrival: others may have been held before. Of one batch all have that of its first.
        held = _Line(sorted([*again, *line], key=_arrival_of))
        held.memory = sum(one.size + RECORD_MEMORY_OVERHEAD for one in held)
        self.memory += held.memory - line.memory - queue.memory
        self._held[topic_partition.topic] = held

    def give_up_held(self, topic: str, error: Exception) -> list[Ended]:
        """End everything that is held for ``topic`` with ``error``."""
        dropped = self._held.pop(topic, _Line())
        for held in dropped:
            self._forget_held(held)
        return [Ended(held.token, error) for held in dropped]

    def _counts_with(self, records: int, size: int, now: float) -> tuple[int, int, int, float]:
        """Return what arrivals, buffered, memory and the time of the next seal will be."""
        return (
            self.arrivals + records,
            self.buffered + records,
            self.memory + size + records * RECORD_MEMORY_OVERHEAD,
            now + self._linger if self._seal_at is None else self._seal_at,
        )

    def _pop_held(self, line: _Line) -> Held:
        held = line.popleft()
        line.memory -= held.size + RECORD_MEMORY_OVERHEAD
        self._forget_held(held)
        return held

    def _forget_held(self, held: Held) -> None:
        self.buffered -= 1
        self.memory -= held.size + RECORD_MEMORY_OVERHEAD

    def _enqueue(
        self,
        topic_partition: TopicPartition,
        records: Sequence[Any],
        size: int,
        tokens: Sequence[Any],
        arrival: int,
        deadline: float,
    ) -> None:
        """Queue all of them; none if there is a MemoryError."""
        queue = self._queues.get(topic_partition)
        if queue is None:
            queue = self._queues[topic_partition] = Queue()
        counts = (
            queue.records + len(records),
            queue.memory + size + len(records) * RECORD_MEMORY_OVERHEAD,
        )
        batches, last = len(queue.batches), queue.batches[-1] if queue.batches else None
        extent = None if last is None else last.extent
        try:
            self._fill(topic_partition, queue, records, size, tokens, arrival, deadline)
        except MemoryError:
            while len(queue.batches) > batches:
                queue.batches.pop().withdraw()
            if last is not None and extent is not None:
                last.cut_back(extent)
            self._note_due(topic_partition, queue)
            raise
        queue.records, queue.memory = counts

    def _fill(
        self,
        topic_partition: TopicPartition,
        queue: Queue,
        records: Sequence[Any],
        size: int,
        tokens: Sequence[Any],
        arrival: int,
        deadline: float,
    ) -> None:
        limit = self._batch_limits.get(topic_partition.topic, self._max_batch_bytes)
        batch = queue.batches[-1] if queue.batches else None
        if batch is None or deadline > batch.deadline + self._slack:
            batch = self._new_batch(topic_partition, queue, arrival, deadline)
        self._open.add(topic_partition)
        if size <= batch.room(limit):
            batch.extend(records, tokens, size)
            return
        ends, start, before = list(accumulate(map(size_in_batch, records))), 0, 0
        while start < len(records):
            end = bisect_right(ends, before + batch.room(limit), start)
            if end == start and not len(batch):
                end += 1  # a batch has at least one record
            if end > start:
                batch.extend(records[start:end], tokens[start:end], ends[end - 1] - before)
                start, before = end, ends[end - 1]
            if start < len(records):
                batch = self._new_batch(topic_partition, queue, arrival + start, deadline)

    def _new_batch(
        self, topic_partition: TopicPartition, queue: Queue, arrival: int, deadline: float
    ) -> Batch:
        batch = Batch(topic_partition, arrival=arrival, deadline=deadline)
        queue.batches.append(batch)
        self._remember(batch)
        if len(queue.batches) > 1:
            self._note_due(topic_partition, queue)
        return batch

    def _seal_if_full(self) -> Sequence[Any]:
        try:
            return self.seal() if len(self._unsealed) >= self._batch_size else ()
        except MemoryError:  # then the linger does
            return ()

    # Time passes.

    def seal(self) -> Sequence[Any]:
        """Make all that is queued due; return the tokens that came since the last seal."""
        for topic_partition in self._open:
            queue = self._queues[topic_partition]
            for batch in queue.batches:
                batch.unsealed = 0
            self._note_due(topic_partition, queue)
        self._open.clear()
        seals = self.seals + bool(self._unsealed)
        sealed, self._unsealed, self._seal_at, self.seals = self._unsealed, [], None, seals
        return sealed

    def seal_if_lingered(self, now: float) -> None:
        """Seal when the linger is over."""
        if self._seal_at is not None and now >= self._seal_at:
            self.seal()

    def next_deadline(self, now: float) -> float | None:
        """Return when there is something to do next, should nothing happen until then."""
        moments = [self._queues[topic_partition].retry_at for topic_partition in self._due]
        moments += [held[0].deadline for held in self._held.values()]
        moments += self._batch_deadlines(now)
        if self._seal_at is not None:
            moments.append(self._seal_at)
        return min((moment for moment in moments if moment > now), default=None)

    def _batch_deadlines(self, now: float) -> list[float]:
        oldest = self._oldest()
        if oldest is None:
            return []
        if oldest.deadline > now:
            return [oldest.deadline]
        # The oldest is overdue and in flight; those behind it still have to expire in time.
        return [batch.deadline for *_, batch in self._by_age if batch.state is State.QUEUED]

    def expire(self, now: float) -> list[Batch]:
        """Return the queued batches whose time is over, no longer queued; fail() is the caller's.

        A batch in flight is left to its request's own timeout.
        """
        expired = []
        for batch in self._overdue(now):
            queue = self._queues[batch.topic_partition]
            queue.take(batch)
            self._note_due(batch.topic_partition, queue)
            expired.append(batch)
        return expired

    def overdue_topics(self, now: float) -> list[str]:
        """Return the topics of which held records are past their deadline."""
        return [topic for topic, held in self._held.items() if held[0].deadline <= now]

    def expire_held(self, topic: str, now: float, error: Exception) -> list[Ended]:
        """End the records held for ``topic`` whose time is over with ``error``."""
        ended = []
        held = self._held[topic]
        while held and held[0].deadline <= now:
            ended.append(Ended(self._pop_held(held).token, error))
        if not held:
            del self._held[topic]
        return ended

    def _overdue(self, now: float) -> Iterator[Batch]:
        """Yield queued batches past their deadline, oldest first; they leave the heap."""
        in_flight = []
        while (oldest := self._oldest()) is not None and oldest.deadline <= now:
            known = heapq.heappop(self._by_age)
            if oldest.state is State.QUEUED:
                yield oldest
            else:
                in_flight.append(known)
        for known in in_flight:
            heapq.heappush(self._by_age, known)

    def _remember(self, batch: Batch) -> None:
        self._remembered += 1
        heapq.heappush(self._by_age, (batch.arrival, self._remembered, batch))
        if len(self._by_age) > self._compact_at:
            # One that is stuck at the top would keep all that ended since.
            self._by_age = [known for known in self._by_age if not known[-1].ended]
            heapq.heapify(self._by_age)
            self._compact_at = 2 * len(self._by_age) + _FEW

    def _oldest(self) -> Batch | None:
        while self._by_age and self._by_age[0][-1].ended:
            heapq.heappop(self._by_age)
        return self._by_age[0][-1] if self._by_age else None

    # Records wait.

    def due(self) -> Iterable[TopicPartition]:
        """Return the partitions that have a batch to send, now or after a backoff."""
        return list(self._due)

    def partitions(self) -> list[TopicPartition]:
        """Return the partitions that records are queued for; ``UNKNOWN`` ones for held records."""
        queued = [where for where, queue in self._queues.items() if queue.batches]
        return queued + [TopicPartition(topic, UNKNOWN) for topic in self._held]

    def in_use(self) -> list[TopicPartition]:
        """Return the partitions that have a batch, queued or in flight."""
        return [where for where, one in self._queues.items() if one.batches or one.in_flight]

    def queue(self, topic_partition: TopicPartition) -> Queue:
        """Return the queue of a partition, to be looked at; an empty one if nothing ever came."""
        return self._queues.get(topic_partition) or Queue()

    def waiting(self, topic_partition: TopicPartition) -> Waiting:
        """Return what is queued for a partition; for ``UNKNOWN``, what is held for its topic."""
        if topic_partition.partition == UNKNOWN:
            line = self._held.get(topic_partition.topic, _Line())
            return Waiting(len(line), line.memory)
        queue = self.queue(topic_partition)
        return Waiting(queue.records, queue.memory)

    def outstanding_of(self, topic_partition: TopicPartition) -> int:
        """Return how many records of a partition are queued, held or in flight."""
        in_flight = self.queue(topic_partition).in_flight
        return self.waiting(topic_partition).records + (len(in_flight) if in_flight else 0)

    # Batches go out.

    def ready(self, now: float) -> Iterable[TopicPartition]:
        """Return the partitions that have a batch to send now."""
        return [
            topic_partition
            for topic_partition in self._due
            if self._queues[topic_partition].retry_at <= now
        ]

    def drain(self, topic_partition: TopicPartition) -> Batch:
        """Take the first batch of a partition that is ready."""
        queue = self._queues[topic_partition]
        batch = queue.batches[0]
        queue.take(batch)
        queue.in_flight = batch
        queue.retry_at = 0.0
        self.buffered -= len(batch)
        self.in_flight += len(batch)
        batch.drain()
        self._note_due(topic_partition, queue)
        return batch

    def reenqueue(self, batch: Batch, error: Exception, retry_at: float) -> None:
        """Put a batch back at the front of its queue, to be sent not before ``retry_at``."""
        batch.reenqueue(error)
        queue = self._queues[batch.topic_partition]
        queue.put_first(batch)
        queue.retry_at = retry_at
        self.buffered += len(batch)
        self._land(batch, queue)

    def split(self, batch: Batch, *, too_large: bool = True) -> None:
        """Put the halves of ``batch`` in its place; remember the size if it was ``too_large``."""
        parts = batch.split()
        queue = self._queues[batch.topic_partition]
        for part in reversed(parts):
            queue.put_first(part)
            self._remember(part)
        self.buffered += len(batch)
        self._land(batch, queue)
        if too_large:  # later batches of this topic would be as well
            self._batch_limits[batch.topic_partition.topic] = max(part.size for part in parts)

    def complete(self, batch: Batch) -> None:
        """End ``batch``, which was delivered."""
        batch.become(State.DELIVERED)
        self.memory -= batch.memory
        self._land(batch, self._queues[batch.topic_partition])

    def fail(self, batch: Batch) -> None:
        """Give up ``batch``: in flight, or returned by ``expire`` or ``take_queued``."""
        in_flight = batch.state is State.IN_FLIGHT
        batch.become(State.FAILED)
        self.memory -= batch.memory
        if in_flight:
            self._land(batch, self._queues[batch.topic_partition])
        else:
            self.buffered -= len(batch)

    def _land(self, batch: Batch, queue: Queue) -> None:
        self.in_flight -= len(batch)
        queue.in_flight = None
        self._note_due(batch.topic_partition, queue)

    def _note_due(self, topic_partition: TopicPartition, queue: Queue) -> None:
        if queue.due:
            self._due[topic_partition] = None
        else:
            self._due.pop(topic_partition, None)

    # The end.

    def take_queued(self, topic: str | None = None) -> list[Batch]:
        """Return the queued batches (of ``topic``), no longer queued, for the caller to fail()."""
        taken: list[Batch] = []
        for topic_partition, queue in self._queues.items():
            if topic is None or topic_partition.topic == topic:
                for batch in tuple(queue.batches):
                    queue.take(batch)
                    taken.append(batch)
                self._note_due(topic_partition, queue)
                self._open.discard(topic_partition)
        return taken

    def tokens_of(self, topic: str) -> Iterator[Any]:
        """Yield the tokens of all records of ``topic`` that have not ended, by partition."""
        for topic_partition, queue in self._queues.items():
            if topic_partition.topic == topic:
                for batch in queue.unfinished:
                    yield from batch.tokens
        for held in self._held.get(topic, ()):
            yield held.token

    def tokens(self) -> list[Any]:
        """Return the tokens of all records that have not ended, in the order of each partition."""
        topics = {topic_partition.topic for topic_partition in self._queues} | set(self._held)
        return [token for topic in topics for token in self.tokens_of(topic)]

    def first_tokens(self) -> list[Any]:
        """Return the token of the first record of each partition, and of each topic whose records
        are held; any thread may ask, and sees what was there a moment ago."""
        found = []
        for queue in list(self._queues.values()):
            with contextlib.suppress(IndexError):  # it was sent meanwhile
                found.append((queue.in_flight or queue.batches[0]).tokens[0])
        for line in list(self._held.values()):
            with contextlib.suppress(IndexError):
                found.append(line[0].token)
        return found

    def shed(self, topic_partition: TopicPartition, most: int) -> list[Any]:
        """Take up to ``most`` fresh records of a partition out, oldest first; return their tokens.

        For ``UNKNOWN``, records that are held for its topic.
        """
        if topic_partition.partition == UNKNOWN:
            return self._shed_held(topic_partition.topic, most)
        queue = self.queue(topic_partition)
        shed: list[Any] = []
        for batch in [one for one in queue.batches if one.fresh]:
            if len(batch) <= most - len(shed):
                queue.take(batch)
                batch.withdraw()
                tokens, freed = batch.tokens, batch.memory
            else:
                tokens, freed = batch.cut(most - len(shed))
                queue.records -= len(tokens)
                queue.memory -= freed
            shed += tokens
            self.buffered -= len(tokens)
            self.memory -= freed
        self._note_due(topic_partition, queue)
        return shed

    def _shed_held(self, topic: str, most: int) -> list[Any]:
        line = self._held.get(topic, _Line())
        shed = [self._pop_held(line).token for _ in range(min(most, len(line)))]
        if not line:
            self._held.pop(topic, None)
        return shed

    def delivered_up_to(self, arrival: int) -> bool:
        """Whether every record that came before or as the ``arrival``-th has ended."""
        oldest = self._oldest()
        if oldest is not None and oldest.arrival <= arrival:
            return False
        return all(held[0].arrival > arrival for held in self._held.values())
