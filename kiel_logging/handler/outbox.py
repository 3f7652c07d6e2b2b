"""The outbox: items that are in the engine, at most a window of what the handler may buffer.

The rest waits in the buffer, where the overflow policy can still choose among it. The outbox
groups items by partition before they are appended. It runs on the loop thread.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from kiel_logging.config.options import ProducerOptions
from kiel_logging.delivery.accumulator import UNKNOWN
from kiel_logging.delivery.stalls import Stall
from kiel_logging.errors import BufferFull, RecordTooLarge
from kiel_logging.handler.buffer import BLOCK, DROP_OLDEST
from kiel_logging.handler.ledger import Trouble
from kiel_logging.handler.pausing_loop import resolve_on_a_daemon, run_on_a_daemon
from kiel_logging.handler.slices import group, totals
from kiel_logging.network.engine import Engine
from kiel_logging.network.pool import ConnectionPool
from kiel_logging.partitioners import BuiltIn
from kiel_logging.printable import printable
from kiel_logging.record.item import Item
from kiel_logging.records import TopicPartition
from kiel_logging.wire.sizes import BATCH_OVERHEAD

if TYPE_CHECKING:
    from kiel_logging.handler.record_options import HandlerOptions
    from kiel_logging.handler.shipper import Shipper

WINDOW: Final = 4
"""The outbox holds at most one part in so many of what the handler may buffer."""

STALLED: Final = 2
"""One part in so many of it may wait here for partitions that can't be sent to, besides."""


class _Group(list[Item]):
    """The items of a slice that go to one partition."""

    __slots__ = ("topic_partition",)

    def __init__(self, topic_partition: TopicPartition) -> None:
        super().__init__()
        self.topic_partition = topic_partition


class Outbox:
    """Appends items to an engine.

    Args:
        shipper: owns the engine, and so gets every item's end.
        options: the handler's. The window is a part of its buffer. Records for stalled partitions
            make way by its overflow policy; with a spool that has them evicted.
        engine_options: the engine's.
        pool: connections that are shared with other handlers, if any are.

    Attributes:
        engine: delivers what is taken.
        delivered_at: when it last delivered any, by its clock. To be set.
    """

    def __init__(
        self,
        shipper: "Shipper",
        options: "HandlerOptions",
        engine_options: ProducerOptions,
        pool: ConnectionPool | None = None,
    ) -> None:
        self.engine = Engine(
            engine_options,
            shipper,
            resolve=resolve_on_a_daemon,
            run_aside=run_on_a_daemon,
            pool=pool,
        )
        self.delivered_at = -math.inf
        self._overflow = options.overflow if options.spool is None else None
        self._patience = options.block_timeout if options.overflow == BLOCK else 0.0
        max_records, max_bytes = options.buffer_records, options.buffer_memory
        self._stalled_records = max(1, max_records // STALLED)
        self._stalled_bytes = max(1, max_bytes // STALLED)
        self._window_records = max(1, max_records // WINDOW)
        self._window_bytes = max(1, max_bytes // WINDOW)
        self._most_bytes = engine_options.max_request_size - BATCH_OVERHEAD
        self._partitioner = engine_options.partitioner
        self._groups: dict[TopicPartition, _Group] = {}
        self._routes: dict[str, tuple[Callable[[bytes], int], list[_Group]]] = {}
        self._keyless: dict[str, _Group] = {}
        self._revision = self._seals = 0
        """Of the topology and of the accumulator, when the three above were true."""
        self._grouped: deque[tuple[TopicPartition, list[Item]]] = deque()
        self._refused: deque[tuple[list[Item], Exception, object]] = deque()
        """Of ``take()``: what is to be appended, and to be refused. Empty unless memory ran out."""

    def __repr__(self) -> str:
        return f"<Outbox {self.engine}>"

    @property
    def in_flight(self) -> int:
        """Records that were sent and not acknowledged."""
        return self.engine.accumulator.in_flight

    @property
    def linger(self) -> float:
        """Seconds that records wait for others."""
        return self.engine.options.linger

    @property
    def room(self) -> int:
        """How many more records the window takes."""
        accumulator, stalled = self.engine.accumulator, self.engine.stalled
        records, memory = stalled.records, stalled.memory
        if self._many_stalled and not any(map(self._makes_way, stalled.partitions.values())):
            records = min(records, self._stalled_records)
            memory = min(memory, self._stalled_bytes)
        if accumulator.memory - memory >= self._window_bytes:
            return 0
        return max(0, self._window_records - (accumulator.outstanding - records))

    @property
    def _many_stalled(self) -> bool:
        """Whether stalled partitions have their part of what the handler may buffer."""
        stalled = self.engine.stalled
        return stalled.records >= self._stalled_records or stalled.memory >= self._stalled_bytes

    def _makes_way(self, stall: Stall) -> bool:
        """Whether more records for a stalled partition are given up, by the overflow policy.

        Only while others are delivered. When nothing is, the policy chooses among all that is
        buffered.
        """
        return self._overflow is not None and self.delivered_at > stall.since + self._patience

    def troubles(self) -> tuple[Trouble, ...]:
        """Return what keeps records from being delivered now; any thread may ask."""
        engine = self.engine
        began = time.time() - engine.clock()
        return tuple(
            Trouble(
                subject=printable(one.subject),
                kind=one.kind,
                error=printable(one.error),
                since=began + one.since,
                records=one.records,
            )
            for one in engine.troubles
        )

    def oldest(self) -> int | None:
        """Return when the oldest of its records was logged, in milliseconds since 1970; None if it
        has none; any thread may ask."""
        items: list[Item] = self.engine.accumulator.first_tokens()
        return min((one.record.timestamp for one in items), default=None)

    # For the spool.

    def long_stalled(self, seconds: float) -> set[TopicPartition]:
        """Return the partitions that could not be sent to for ``seconds``, while others could."""
        stalled = self.engine.stalled
        if not stalled.records:
            return set()
        before = self.engine.clock() - seconds
        return {
            topic_partition
            for topic_partition, stall in stalled.partitions.items()
            if stall.since <= before
        }

    def unfinished(self) -> list[Item]:
        """Return all that has not ended, in order; for a successor of a broken engine."""
        return [*self.engine.accumulator.tokens(), *self.rest()]

    def rest(self) -> list[Item]:
        """Return what ``take()`` had no memory to buffer, or to refuse."""
        lists = [items for _, items in self._grouped] + [items for items, *_ in self._refused]
        return list(chain.from_iterable(lists))

    def take(self, items: list[Item]) -> None:
        """Buffer ``items``, in order, and empty the list; what can't be sent counts as failed.

        Raises:
            MemoryError: what is not buffered is still in the list, or in ``unfinished()``: call
                this again, with that list.
        """
        self._append_all()
        if items:
            self._group_all(items)
            self._append_all()
        self.engine.poke()

    def _group_all(self, items: list[Item]) -> None:
        grouped: deque[tuple[TopicPartition, list[Item]]] = deque()
        try:
            self._forget_old_ways()
            filled = group(items, self._routes, self._keyless, self._find_group)
            for each in filled:
                where = each.topic_partition
                if where.partition == UNKNOWN:
                    grouped.extend((where, [item]) for item in each)
                else:
                    grouped.append((where, each[:]))
            for each in filled:
                each.clear()
        except Exception as error:
            self._revision = -1  # the groups are not used any more
            self._refused.clear()
            if isinstance(error, MemoryError):
                raise
            self._refused.append((items[:], error, items[0].topic))
            grouped.clear()
        self._grouped = grouped
        items.clear()

    def _append_all(self) -> None:
        # That a deque becomes shorter takes no memory; a list may.
        while self._grouped:
            self._append(*self._grouped[0])
            self._grouped.popleft()
        while self._refused:
            self.engine.refuse(*self._refused[0])
            self._refused.popleft()

    def _append(self, topic_partition: TopicPartition, items: list[Item]) -> None:
        """Buffer items of one partition. If there is a MemoryError, the first of ``_grouped`` has
        those that are not buffered: all that were not refused."""
        if totals(items).largest > self._most_bytes:
            items = self._without_large(topic_partition, items)
        if self._many_stalled:
            items = self._make_way(topic_partition, items)
            self._grouped[0] = topic_partition, items
        if topic_partition.partition == UNKNOWN:
            for item in items:  # the only one
                self.engine.hold(item.topic, item.key, item.record, item)
        elif items:  # a batch has at least one record
            self.engine.extend(topic_partition, items, totals(items).size, items)

    def _without_large(self, topic_partition: TopicPartition, items: list[Item]) -> list[Item]:
        """Refuse those of ``items`` that fit into no request; return the others."""
        small, refused = [], []
        for item in items:
            try:
                self.engine.check_size(item.topic, item.size)
                small.append(item)
            except RecordTooLarge as error:
                refused.append(([item], error, item.topic))
        rest = topic_partition, small
        self._refused += refused
        self._grouped[0] = rest
        return small

    def _make_way(self, topic_partition: TopicPartition, items: list[Item]) -> list[Item]:
        """Give up as many records for ``topic_partition``, if it is stalled, as ``items`` are.

        Return those of ``items`` that may still be queued.
        """
        stall = self.engine.stalled.partitions.get(topic_partition)
        if stall is None or not self._makes_way(stall):
            return items
        full = BufferFull(  # first, for it takes memory
            "the buffer's part for records that can't be sent now is full "
            f"({stall.error}): put that right, or raise buffer_records and buffer_memory"
        )
        oldest: list[Item] = []
        if self._overflow == DROP_OLDEST:
            oldest = self.engine.accumulator.shed(topic_partition, len(items))
        missing = len(items) - len(oldest)
        if missing:
            oldest += items[:missing]
        self._refused.append((oldest, full, topic_partition))
        return items[missing:]

    def _forget_old_ways(self) -> None:
        revision, seals = self.engine.topology.revision, self.engine.accumulator.seals
        if revision != self._revision:
            anew: tuple[Any, Any, Any] = {}, {}, {}
            self._groups, self._routes, self._keyless = anew
            self._revision = revision
        if seals != self._seals:
            self._seals, self._keyless = seals, {}

    def _find_group(self, item: Item) -> _Group | None:
        """Return where ``item`` goes; None when it is refused."""
        topic, key = item.topic, item.key
        try:
            topic_partition = self.engine.where(topic, key) or TopicPartition(topic, UNKNOWN)
        except MemoryError:
            raise
        except Exception as error:  # a partitioner of the user's may raise anything
            self._refused.append(([item], error, topic))
            return None
        found = self._group(topic_partition)
        if isinstance(self._partitioner, BuiltIn) and topic_partition.partition != UNKNOWN:
            if key is None and self._partitioner.sticks:
                self._keyless[topic] = found
            if topic not in self._routes and self._partitioner.hash is not None:
                partitions = self.engine.topology.partitions(topic) or ()
                groups = [self._group(TopicPartition(topic, number)) for number in partitions]
                self._routes[topic] = self._partitioner.hash, groups
        return found

    def _group(self, topic_partition: TopicPartition) -> _Group:
        found = self._groups.get(topic_partition)
        if found is None:
            found = self._groups[topic_partition] = _Group(topic_partition)
        return found
